//! Writes CTRF.
//!
//! The format has no word for most outcomes and no place for some of what is known. The exact outcome stands in
//! `rawStatus`, and what else there is in `extra`, which is made for this: class, method, the type of a failure,
//! and whether the case was synthesised. The summary comes last, when it is known.
//!
//! What it cannot carry: a missing duration (it must be a number, so that it is 0), parts of a second beyond those
//! of a millisecond in times of day, levels, durations and texts of parts, attachments that are no file, the
//! missing type of one that is, the order between tags and other traits, and the place in the result file.

use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use serde::Serialize;

use crate::formats::ctrf_outcome::status_of;
use crate::model::{
    Attachment, AttachmentBody, Attempt, Origin, Part, TestCase, TestRun, Timestamp, Trait,
};
use crate::sink::Sink;
use crate::tally::Counts;
use crate::write::output::Output;

/// Writes each case as it comes. Call [`CtrfWriter::finish`] at the end, or the document has none.
#[derive(Debug)]
pub struct CtrfWriter<W: io::Write> {
    output: Output<W>,
    counts: Counts,
    start: Option<Timestamp>,
    stop: Option<Timestamp>,
}

impl<W: io::Write> CtrfWriter<W> {
    /// Begins a document. `tool` is the program that ran the tests.
    pub fn new(inner: W, tool: &str) -> Self {
        let mut output = Output::new(inner);
        output.put(format_args!(
            "{{\"reportFormat\":\"CTRF\",\"specVersion\":\"0.0.0\",\"results\":{{\"tool\":{{\"name\":"
        ));
        output.put_json(&tool);
        output.put(format_args!("}},\"tests\":["));
        Self {
            output,
            counts: Counts::default(),
            start: None,
            stop: None,
        }
    }

    /// Ends the document and gives back what it was written to.
    ///
    /// # Errors
    ///
    /// The first error of any write since the beginning.
    pub fn finish(mut self) -> io::Result<W> {
        let counts = self.counts;
        self.output.put(format_args!("\n],\"summary\":"));
        self.output.put_json(&Summary {
            tests: counts.total(),
            passed: counts.passed,
            failed: counts.failed + counts.errored + counts.timed_out,
            skipped: counts.skipped,
            pending: counts.not_run,
            other: counts.inconclusive + counts.unknown,
            flaky: counts.flaky,
            start: self.start.map_or(0, milliseconds),
            stop: self.stop.or(self.start).map_or(0, milliseconds),
        });
        self.output.put(format_args!("}}}}\n"));
        self.output.finish()
    }
}

impl<W: io::Write> Sink for CtrfWriter<W> {
    fn case(&mut self, case: &mut TestCase) -> ControlFlow<()> {
        let separator = if self.counts.total() == 0 {
            "\n"
        } else {
            ",\n"
        };
        self.counts.add(case);
        self.output.put(format_args!("{separator}"));
        self.output.put_json(&Test::of(case));
        self.output.flow()
    }

    fn run_finished(&mut self, run: &TestRun) {
        self.start = self.start.into_iter().chain(run.started).min();
        self.stop = self.stop.into_iter().chain(run.finished).max();
    }
}

#[derive(Serialize)]
struct Summary {
    tests: u64,
    passed: u64,
    failed: u64,
    skipped: u64,
    pending: u64,
    other: u64,
    flaky: u64,
    start: i64,
    stop: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Test<'c> {
    name: &'c str,
    status: &'static str,
    raw_status: &'static str,
    /// The format wants a number here always.
    duration: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suite: Vec<&'c str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'c str,
    #[serde(skip_serializing_if = "str::is_empty")]
    trace: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_path: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stdout: Vec<&'c str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stderr: Vec<&'c str>,
    retries: usize,
    flaky: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    retry_attempts: Vec<RetryAttempt<'c>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<File<'c>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<Step<'c>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<&'c str>,
    #[serde(skip_serializing_if = "Labels::is_empty")]
    labels: Labels<'c>,
    #[serde(skip_serializing_if = "Extra::is_empty")]
    extra: Extra<'c>,
}

#[derive(Serialize)]
struct RetryAttempt<'c> {
    attempt: usize,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<i64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'c str,
    #[serde(skip_serializing_if = "str::is_empty")]
    trace: &'c str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stdout: Vec<&'c str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stderr: Vec<&'c str>,
    extra: AttemptExtra<'c>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AttemptExtra<'c> {
    raw_status: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    kind: &'c str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File<'c> {
    name: &'c str,
    content_type: &'c str,
    path: &'c str,
}

#[derive(Serialize)]
struct Step<'c> {
    name: &'c str,
    status: &'static str,
    extra: StepExtra,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StepExtra {
    raw_status: &'static str,
}

#[derive(Serialize)]
struct Extra<'c> {
    #[serde(skip_serializing_if = "str::is_empty")]
    class: &'c str,
    #[serde(skip_serializing_if = "str::is_empty")]
    method: &'c str,
    #[serde(skip_serializing_if = "str::is_empty")]
    kind: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    synthesised: Option<bool>,
}

impl Extra<'_> {
    fn is_empty(&self) -> bool {
        self.class.is_empty()
            && self.method.is_empty()
            && self.kind.is_empty()
            && self.synthesised.is_none()
    }
}

/// Traits that are no tags, as an object. Where a name repeats, the object repeats it.
struct Labels<'c>(&'c [Trait]);

impl<'c> Labels<'c> {
    fn entries(&self) -> impl Iterator<Item = &'c Trait> {
        self.0.iter().filter(|entry| entry.name != "tag")
    }

    fn is_empty(&self) -> bool {
        self.entries().next().is_none()
    }
}

impl Serialize for Labels<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.entries().map(|entry| (&entry.name, &entry.value)))
    }
}

impl<'c> Test<'c> {
    fn of(case: &'c TestCase) -> Self {
        let evidence = &case.evidence;
        Self {
            name: &case.name,
            status: status_of(case.outcome),
            raw_status: case.outcome.as_str(),
            duration: case.duration.map_or(0.0, fractional_milliseconds),
            start: case.started.map(milliseconds),
            suite: if case.suite.is_empty() {
                Vec::new()
            } else {
                case.suite.split(" > ").collect()
            },
            message: evidence.message.as_str(),
            trace: evidence.stack.as_str(),
            file_path: case
                .location
                .as_ref()
                .map(|location| location.file.as_str()),
            line: case.location.as_ref().and_then(|location| location.line),
            stdout: chunks(evidence.stdout.as_str()),
            stderr: chunks(evidence.stderr.as_str()),
            retries: case.attempts.len(),
            flaky: case.is_flaky(),
            retry_attempts: case
                .attempts
                .iter()
                .enumerate()
                .map(RetryAttempt::of)
                .collect(),
            attachments: case.attachments.iter().filter_map(File::of).collect(),
            steps: case.parts.iter().map(Step::of).collect(),
            tags: tags(&case.traits),
            labels: Labels(&case.traits),
            extra: Extra {
                class: &case.class,
                method: &case.method,
                kind: &evidence.kind,
                synthesised: (case.origin == Origin::Synthesised).then_some(true),
            },
        }
    }
}

impl<'c> RetryAttempt<'c> {
    fn of((index, attempt): (usize, &'c Attempt)) -> Self {
        Self {
            attempt: index + 1,
            status: status_of(attempt.outcome),
            duration: attempt.duration.map(fractional_milliseconds),
            start: attempt.started.map(milliseconds),
            message: attempt.evidence.message.as_str(),
            trace: attempt.evidence.stack.as_str(),
            stdout: chunks(attempt.evidence.stdout.as_str()),
            stderr: chunks(attempt.evidence.stderr.as_str()),
            extra: AttemptExtra {
                raw_status: attempt.outcome.as_str(),
                kind: &attempt.evidence.kind,
            },
        }
    }
}

impl<'c> File<'c> {
    fn of(attachment: &'c Attachment) -> Option<Self> {
        match &attachment.body {
            AttachmentBody::Path(path) => Some(Self {
                name: &attachment.name,
                content_type: attachment
                    .media_type
                    .as_deref()
                    .unwrap_or("application/octet-stream"),
                path,
            }),
            AttachmentBody::Text(_)
            | AttachmentBody::Base64(_)
            | AttachmentBody::TooLarge { .. } => None,
        }
    }
}

impl<'c> Step<'c> {
    fn of(part: &'c Part) -> Self {
        Self {
            name: &part.name,
            status: status_of(part.outcome),
            extra: StepExtra {
                raw_status: part.outcome.as_str(),
            },
        }
    }
}

fn tags(traits: &[Trait]) -> Vec<&str> {
    traits
        .iter()
        .filter(|entry| entry.name == "tag")
        .map(|entry| entry.value.as_str())
        .collect()
}

/// An output as the list that the format wants. Cut into lines it could not be put together again exactly.
fn chunks(text: &str) -> Vec<&str> {
    if text.is_empty() {
        Vec::new()
    } else {
        vec![text]
    }
}

/// Exact to the nanosecond up to 100 days.
#[expect(
    clippy::cast_precision_loss,
    reason = "longer durations lose less than a microsecond"
)]
fn fractional_milliseconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e6
}

fn milliseconds(timestamp: Timestamp) -> i64 {
    timestamp.unix_nanos / 1_000_000
}
