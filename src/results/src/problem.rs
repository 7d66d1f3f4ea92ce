//! What can be wrong with a result file: problems that leave results standing, and errors that leave none.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::model::Position;

/// Something wrong in a file that was read anyway: where, what, and what was lost by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Name of the file, as the caller gave it.
    pub file: Arc<str>,
    /// Where it was noticed.
    pub position: Position,
    /// What kind of thing it is.
    pub kind: ProblemKind,
    /// One sentence fragment: what is wrong and what was lost or assumed. Bounded, and free of control characters.
    pub detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        // What concerns the whole file has no place in it.
        if self.position.line > 0 {
            write!(f, ":{}", self.position)?;
        }
        write!(f, ": {}: {}", self.kind, self.detail)
    }
}

/// The kinds of [`Problem`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProblemKind {
    /// The file ends inside the document: its writer died or the copy was cut.
    Truncated,
    /// Markup or syntax that no conforming writer produces; reading went on behind it.
    Damaged,
    /// Reading ended early because the input failed, the caller said stop, or the file is larger than allowed.
    Incomplete,
    /// A single thing in the file was larger, deeper or more numerous than the limits allow and was cut.
    LimitReached,
    /// Bytes that are not valid in the file's encoding were replaced by U+FFFD.
    InvalidBytes,
    /// The encoding the file declares is unknown or is not the one it is in.
    Encoding,
    /// Text that is no part of the document stands before or after it.
    ForeignText,
    /// The totals of the file differ from its own elements, or a plan from what was run.
    TotalsDiffer,
    /// An outcome that is not known, or none where one must be.
    UnknownOutcome,
    /// Signals that contradict each other; the worse one was taken.
    Contradiction,
    /// The document holds no test at all.
    NoTests,
}

impl ProblemKind {
    /// A short stable name, for machines and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Damaged => "damaged",
            Self::Incomplete => "incomplete",
            Self::LimitReached => "limit-reached",
            Self::InvalidBytes => "invalid-bytes",
            Self::Encoding => "encoding",
            Self::ForeignText => "foreign-text",
            Self::TotalsDiffer => "totals-differ",
            Self::UnknownOutcome => "unknown-outcome",
            Self::Contradiction => "contradiction",
            Self::NoTests => "no-tests",
        }
    }

    /// Whether test results may be missing because of it. Where this is false the counts can be trusted.
    #[must_use]
    pub fn may_lose_results(self) -> bool {
        match self {
            Self::Truncated | Self::Damaged | Self::Incomplete | Self::NoTests => true,
            Self::LimitReached
            | Self::InvalidBytes
            | Self::Encoding
            | Self::ForeignText
            | Self::TotalsDiffer
            | Self::UnknownOutcome
            | Self::Contradiction => false,
        }
    }
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a file gave no results at all.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Not a single byte could be read.
    #[error("cannot read `{file}`")]
    Input {
        /// Name of the file, as the caller gave it.
        file: Arc<str>,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is empty, or holds nothing but white space.
    #[error("`{file}` is empty")]
    Empty {
        /// Name of the file, as the caller gave it.
        file: Arc<str>,
    },
    /// The file is something else than a test result in a known format.
    #[error("`{file}` is not a test result file that is understood: {found}")]
    Unrecognised {
        /// Name of the file, as the caller gave it.
        file: Arc<str>,
        /// What it looks like, for instance "an HTML page".
        found: String,
    },
    /// The caller said stop before anything could be recognised.
    #[error("reading `{file}` was stopped before it began")]
    Stopped {
        /// Name of the file, as the caller gave it.
        file: Arc<str>,
    },
}
