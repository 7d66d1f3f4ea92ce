//! The one model that every result format is read into.
//!
//! It holds what a publisher needs (names in parts, outcome, duration, texts, attempts) and nothing about any
//! format or any service. Strings are as the file had them, decoded: control characters and line ends are kept,
//! because names are identity keys. Whoever prints or sends them must make them safe first, see [`crate::text`].

mod case;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use crate::model::case::{Flakiness, Origin, TestCase};
use crate::text::Text;

/// The format of a result file, found from its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Format {
    /// The JUnit XML family in all its dialects, GoogleTest XML included.
    JUnit,
    /// xUnit.net XML of version 2 and 3 (`assemblies` or a single `assembly` with collections).
    XUnit,
    /// xUnit.net XML of version 1 (`assembly` with classes).
    XUnitV1,
    /// NUnit 3 XML (`test-run`).
    NUnit3,
    /// NUnit 2 XML (`test-results`).
    NUnit2,
    /// Visual Studio TRX.
    Trx,
    /// CTest `Test.xml` (`Site` with `Testing`).
    CTest,
    /// GoogleTest JSON.
    GoogleTestJson,
    /// `go test -json`.
    GoTest,
    /// libtest or nextest JSON lines.
    Libtest,
    /// Common Test Report Format JSON.
    Ctrf,
    /// Test Anything Protocol, versions 12 to 14.
    Tap,
    /// The report that Helix's own reporter script writes beside the work item.
    HelixReport,
}

impl Format {
    /// A short stable name, for machines and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JUnit => "junit",
            Self::XUnit => "xunit",
            Self::XUnitV1 => "xunit-v1",
            Self::NUnit3 => "nunit3",
            Self::NUnit2 => "nunit2",
            Self::Trx => "trx",
            Self::CTest => "ctest",
            Self::GoogleTestJson => "googletest-json",
            Self::GoTest => "gotest-json",
            Self::Libtest => "libtest-json",
            Self::Ctrf => "ctrf",
            Self::Tap => "tap",
            Self::HelixReport => "helix-report",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A place in a result file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, counted from 1; 0 where no place is known.
    pub line: u64,
    /// Column, counted from 1, in bytes of the text after decoding to UTF-8; 0 where no place is known.
    pub column: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// An instant, in nanoseconds since 1970-01-01T00:00:00Z. Instants before 1980 never appear: writers use them to
/// say that they do not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Nanoseconds since the Unix epoch.
    pub unix_nanos: i64,
}

/// How a test ended. Where the signals of a file conflict, the worse one was taken; an outcome nobody knows is
/// [`Outcome::Unknown`], never passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It ran and its expectations held.
    Passed,
    /// It ran and an expectation did not hold.
    Failed,
    /// It could not be run to a verdict: set-up failed, it crashed, it threw what was no assertion.
    Errored,
    /// The runner stopped it for taking too long.
    TimedOut,
    /// It was left out on purpose; [`TestCase::skip_reason`] may say why.
    Skipped,
    /// It was not selected: explicit, disabled or filtered.
    NotRun,
    /// It ran without reaching a verdict.
    Inconclusive,
    /// The file names an outcome that is not known, or none.
    Unknown,
}

impl Outcome {
    /// All outcomes, in the order of declaration.
    pub const ALL: [Self; 8] = [
        Self::Passed,
        Self::Failed,
        Self::Errored,
        Self::TimedOut,
        Self::Skipped,
        Self::NotRun,
        Self::Inconclusive,
        Self::Unknown,
    ];

    /// A short stable name, for machines and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Errored => "errored",
            Self::TimedOut => "timed-out",
            Self::Skipped => "skipped",
            Self::NotRun => "not-run",
            Self::Inconclusive => "inconclusive",
            Self::Unknown => "unknown",
        }
    }

    /// Whether this outcome makes a run red: failed, errored, timed out, or unknown.
    #[must_use]
    pub fn is_failure(self) -> bool {
        match self {
            Self::Failed | Self::Errored | Self::TimedOut | Self::Unknown => true,
            Self::Passed | Self::Skipped | Self::NotRun | Self::Inconclusive => false,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one execution of a test left behind in words. Empty texts mean that the file had none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The failure message, or for a skipped test the reason.
    pub message: Text,
    /// The type of the failure: an exception class or whatever word the writer used.
    pub kind: String,
    /// The stack trace, or the long form of the failure.
    pub stack: Text,
    /// Captured standard output, head and tail.
    pub stdout: Text,
    /// Captured standard error, head and tail.
    pub stderr: Text,
}

impl Evidence {
    fn bytes(&self) -> usize {
        let texts = [&self.message, &self.stack, &self.stdout, &self.stderr];
        self.kind.len() + texts.iter().map(|text| text.as_str().len()).sum::<usize>()
    }
}

/// An earlier execution of the same test in the same file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// How this attempt ended.
    pub outcome: Outcome,
    /// How long it took, where the file says so.
    pub duration: Option<Duration>,
    /// When it began, where the file says so.
    pub started: Option<Timestamp>,
    /// Its texts.
    pub evidence: Evidence,
}

/// A part of a test that is not counted by itself: a data row, a sub-test, a member of an ordered test.
/// Parts are a flat list in file order; a part belongs to the nearest earlier one of the level above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// 1 for a direct part of the test, 2 for a part of a part; never more than 3, deeper ones are lifted up.
    pub level: u8,
    /// Display name, as the file has it.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took, where the file says so.
    pub duration: Option<Duration>,
    /// When it began, where the file says so.
    pub started: Option<Timestamp>,
    /// Its texts.
    pub evidence: Evidence,
}

/// Something a test attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Display name, may be empty.
    pub name: String,
    /// Media type, where the file says so.
    pub media_type: Option<String>,
    /// What it is.
    pub body: AttachmentBody,
}

/// The content of an [`Attachment`], or where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachmentBody {
    /// A path exactly as the file has it. It is untrusted: it may be absolute, from another machine, or point
    /// anywhere. Never open it without resolving it below the result directory.
    Path(String),
    /// Text inside the file.
    Text(Text),
    /// Base64 inside the file, white space included, not decoded.
    Base64(String),
    /// Content inside the file that was larger than the limits allow and was not kept.
    TooLarge {
        /// Its size in the file, in bytes.
        bytes: u64,
    },
}

impl Attachment {
    fn bytes(&self) -> usize {
        let body = match &self.body {
            AttachmentBody::Path(text) | AttachmentBody::Base64(text) => text.len(),
            AttachmentBody::Text(text) => text.as_str().len(),
            AttachmentBody::TooLarge { .. } => 0,
        };
        self.name.len() + body
    }
}

/// One name and value pair attached to a test: a trait, category, tag, label or property. Names may repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trait {
    /// The name, for instance `category`.
    pub name: String,
    /// The value, may be empty.
    pub value: String,
}

/// Where a test is in the source code of its project, as the runner says. Untrusted text, not a path to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLocation {
    /// Source file as written.
    pub file: String,
    /// Line, counted from 1.
    pub line: Option<u64>,
}

/// Totals that a file claims about itself. They are often wrong; use them as a sign of loss, never as counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeclaredTotals {
    /// All tests.
    pub total: Option<u64>,
    /// Failed tests.
    pub failed: Option<u64>,
    /// Tests with errors.
    pub errored: Option<u64>,
    /// Skipped tests.
    pub skipped: Option<u64>,
}

/// One document of a result file. A file holds more than one if documents were appended to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestRun {
    /// Name of the file, as the caller gave it.
    pub file: Arc<str>,
    /// Its format.
    pub format: Format,
    /// Name the run gives itself; may be empty.
    pub name: String,
    /// The tool that wrote it, with version, where the file says so; may be empty.
    pub tool: String,
    /// The machine it ran on, where the file says so; may be empty.
    pub host: String,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// What the file claims about its own totals.
    pub declared: DeclaredTotals,
    /// Cases read from this document, synthesised ones included.
    pub cases: u64,
}

impl TestRun {
    /// A run about which only file and format are known yet.
    #[must_use]
    pub fn new(file: Arc<str>, format: Format) -> Self {
        Self {
            file,
            format,
            name: String::new(),
            tool: String::new(),
            host: String::new(),
            started: None,
            finished: None,
            declared: DeclaredTotals::default(),
            cases: 0,
        }
    }
}
