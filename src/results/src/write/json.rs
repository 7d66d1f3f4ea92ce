//! Writes everything that was read as JSON, one object per line.
//!
//! Objects have a `type`: `run` (a document begins), `case`, `problem`, and at the end one `summary`. Absent values
//! are left out. Times are in nanoseconds.

use std::io;
use std::ops::ControlFlow;

use serde::Serialize;

use crate::model::{
    Attachment, AttachmentBody, Attempt, Evidence, Flakiness, Origin, Part, TestCase, TestRun,
};
use crate::problem::Problem;
use crate::sink::Sink;
use crate::tally::Counts;
use crate::write::output::Output;

/// Writes each thing as it comes. Call [`JsonWriter::finish`] at the end for the summary.
#[derive(Debug)]
pub struct JsonWriter<W: io::Write> {
    output: Output<W>,
    counts: Counts,
    file: std::sync::Arc<str>,
}

impl<W: io::Write> JsonWriter<W> {
    /// Begins to write.
    pub fn new(inner: W) -> Self {
        Self {
            output: Output::new(inner),
            counts: Counts::default(),
            file: "".into(),
        }
    }

    /// Writes the summary and gives back what everything was written to.
    ///
    /// # Errors
    ///
    /// The first error of any write since the beginning.
    pub fn finish(mut self) -> io::Result<W> {
        let counts = self.counts;
        self.line(&Line::Summary {
            total: counts.total(),
            passed: counts.passed,
            failed: counts.failed,
            errored: counts.errored,
            timed_out: counts.timed_out,
            skipped: counts.skipped,
            not_run: counts.not_run,
            inconclusive: counts.inconclusive,
            unknown: counts.unknown,
            flaky: counts.flaky,
        });
        self.output.finish()
    }

    fn line(&mut self, line: &Line<'_>) {
        self.output.put_json(line);
        self.output.put(format_args!("\n"));
    }
}

impl<W: io::Write> Sink for JsonWriter<W> {
    fn run_started(&mut self, run: &TestRun) {
        self.file = run.file.clone();
        self.line(&Line::Run {
            file: &run.file,
            format: run.format.as_str(),
        });
    }

    fn case(&mut self, case: &mut TestCase) -> ControlFlow<()> {
        self.counts.add(case);
        let file = self.file.clone();
        self.line(&Line::Case(Box::new(Case::of(case, &file))));
        self.output.flow()
    }

    fn problem(&mut self, problem: Problem) {
        self.line(&Line::Problem {
            file: &problem.file,
            line: problem.position.line,
            column: problem.position.column,
            kind: problem.kind.as_str(),
            detail: &problem.detail,
        });
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'c> {
    Run {
        file: &'c str,
        format: &'static str,
    },
    Case(Box<Case<'c>>),
    Problem {
        file: &'c str,
        line: u64,
        column: u64,
        kind: &'static str,
        detail: &'c str,
    },
    Summary {
        total: u64,
        passed: u64,
        failed: u64,
        errored: u64,
        timed_out: u64,
        skipped: u64,
        not_run: u64,
        inconclusive: u64,
        unknown: u64,
        flaky: u64,
    },
}

#[derive(Serialize)]
struct Case<'c> {
    file: &'c str,
    line: u64,
    column: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    suite: &'c str,
    #[serde(skip_serializing_if = "str::is_empty")]
    class: &'c str,
    #[serde(skip_serializing_if = "str::is_empty")]
    method: &'c str,
    name: &'c str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    raw_outcome: &'c str,
    synthesised: bool,
    flaky: bool,
    /// Whether the file itself says so, be there attempts or not.
    stated_flaky: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_unix_ns: Option<i64>,
    #[serde(flatten)]
    texts: Texts<'c>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<AttemptView<'c>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parts: Vec<PartView<'c>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<AttachmentView<'c>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    traits: Vec<(&'c str, &'c str)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_file: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_line: Option<u64>,
}

#[derive(Serialize)]
struct Texts<'c> {
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'c str,
    #[serde(skip_serializing_if = "str::is_empty")]
    kind: &'c str,
    #[serde(skip_serializing_if = "str::is_empty")]
    stack: &'c str,
    #[serde(skip_serializing_if = "str::is_empty")]
    stdout: &'c str,
    #[serde(skip_serializing_if = "str::is_empty")]
    stderr: &'c str,
}

#[derive(Serialize)]
struct AttemptView<'c> {
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_unix_ns: Option<i64>,
    #[serde(flatten)]
    texts: Texts<'c>,
}

#[derive(Serialize)]
struct PartView<'c> {
    level: u8,
    name: &'c str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_unix_ns: Option<i64>,
    #[serde(flatten)]
    texts: Texts<'c>,
}

#[derive(Serialize)]
struct AttachmentView<'c> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<&'c str>,
    /// The size of a content that was not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_not_kept: Option<u64>,
}

impl<'c> Case<'c> {
    fn of(case: &'c TestCase, file: &'c str) -> Self {
        Self {
            file,
            line: case.position.line,
            column: case.position.column,
            suite: &case.suite,
            class: &case.class,
            method: &case.method,
            name: &case.name,
            outcome: case.outcome.as_str(),
            raw_outcome: &case.raw_outcome,
            synthesised: case.origin == Origin::Synthesised,
            flaky: case.is_flaky(),
            stated_flaky: case.flakiness == Flakiness::Stated,
            duration_ns: case.duration.map(nanos),
            started_unix_ns: case.started.map(|started| started.unix_nanos),
            texts: Texts::of(&case.evidence),
            attempts: case.attempts.iter().map(AttemptView::of).collect(),
            parts: case.parts.iter().map(PartView::of).collect(),
            attachments: case.attachments.iter().map(AttachmentView::of).collect(),
            traits: case
                .traits
                .iter()
                .map(|entry| (entry.name.as_str(), entry.value.as_str()))
                .collect(),
            source_file: case
                .location
                .as_ref()
                .map(|location| location.file.as_str()),
            source_line: case.location.as_ref().and_then(|location| location.line),
        }
    }
}

impl<'c> Texts<'c> {
    fn of(evidence: &'c Evidence) -> Self {
        Self {
            message: evidence.message.as_str(),
            kind: &evidence.kind,
            stack: evidence.stack.as_str(),
            stdout: evidence.stdout.as_str(),
            stderr: evidence.stderr.as_str(),
        }
    }
}

impl<'c> AttemptView<'c> {
    fn of(attempt: &'c Attempt) -> Self {
        Self {
            outcome: attempt.outcome.as_str(),
            duration_ns: attempt.duration.map(nanos),
            started_unix_ns: attempt.started.map(|started| started.unix_nanos),
            texts: Texts::of(&attempt.evidence),
        }
    }
}

impl<'c> PartView<'c> {
    fn of(part: &'c Part) -> Self {
        Self {
            level: part.level,
            name: &part.name,
            outcome: part.outcome.as_str(),
            duration_ns: part.duration.map(nanos),
            started_unix_ns: part.started.map(|started| started.unix_nanos),
            texts: Texts::of(&part.evidence),
        }
    }
}

impl<'c> AttachmentView<'c> {
    fn of(attachment: &'c Attachment) -> Self {
        let mut view = Self {
            name: &attachment.name,
            media_type: attachment.media_type.as_deref(),
            path: None,
            text: None,
            base64: None,
            bytes_not_kept: None,
        };
        match &attachment.body {
            AttachmentBody::Path(path) => view.path = Some(path),
            AttachmentBody::Text(text) => view.text = Some(text.as_str()),
            AttachmentBody::Base64(text) => view.base64 = Some(text),
            AttachmentBody::TooLarge { bytes } => view.bytes_not_kept = Some(*bytes),
        }
        view
    }
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
