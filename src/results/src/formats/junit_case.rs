//! A `testcase` in the making: signals are gathered while its children are read, the worst one is its outcome.

use crate::formats::junit::{Hints, Owner, Stream};
use crate::formats::words;
use crate::model::{
    Attachment, AttachmentBody, Attempt, Evidence, Outcome, SourceLocation, TestCase, Trait,
};
use crate::problem::ProblemKind;
use crate::session::{Session, join_text};
use crate::text::{Text, prefix, printable_line};
use crate::time::{Comma, Zone, instant, seconds};
use crate::xml::tag::Tag;

/// A child element that tells how the case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Failure,
    Error,
    Skipped,
    /// It passed, but the runner was not content.
    Warning,
    /// A later attempt of a case that never passed.
    Rerun(AttemptKind),
    /// An earlier attempt of a case that passed in the end.
    Flaky(AttemptKind),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptKind {
    Failure,
    Error,
}

impl Signal {
    pub(crate) fn of_element(name: &[u8]) -> Option<Self> {
        match name {
            b"failure" => Some(Self::Failure),
            b"error" => Some(Self::Error),
            b"skipped" | b"ignored" | b"disabled" | b"skip" => Some(Self::Skipped),
            b"warning" => Some(Self::Warning),
            b"rerunFailure" => Some(Self::Rerun(AttemptKind::Failure)),
            b"rerunError" => Some(Self::Rerun(AttemptKind::Error)),
            b"flakyFailure" => Some(Self::Flaky(AttemptKind::Failure)),
            b"flakyError" => Some(Self::Flaky(AttemptKind::Error)),
            _ => None,
        }
    }

    pub(crate) fn is_attempt(self) -> bool {
        match self {
            Self::Rerun(_) | Self::Flaky(_) => true,
            Self::Failure | Self::Error | Self::Skipped | Self::Warning => false,
        }
    }
}

/// The case that is being read.
#[derive(Default)]
pub(crate) struct CaseDraft {
    case: Option<Box<TestCase>>,
    hints: Hints,
    /// Attributes of the signal that is being read.
    message: Text,
    kind: String,
    attempt: Option<Box<Attempt>>,
    skip: Option<Box<Evidence>>,
    warning: Text,
    open: Option<Signal>,
}

impl CaseDraft {
    pub(crate) fn is_open(&self) -> bool {
        self.case.is_some()
    }

    /// Begins a case.
    pub(crate) fn begin(&mut self, case: Box<TestCase>) -> (&mut TestCase, &mut Hints) {
        self.hints.clear();
        self.skip = None;
        self.warning = Text::default();
        self.attempt = None;
        self.open = None;
        (self.case.insert(case), &mut self.hints)
    }

    pub(crate) fn open_signal(&mut self, signal: Signal, tag: &Tag<'_>, session: &mut Session<'_>) {
        self.open = Some(signal);
        self.message = Text::default();
        self.kind.clear();
        let mut attempt = Attempt {
            outcome: Outcome::Failed,
            duration: None,
            started: None,
            evidence: Evidence::default(),
        };
        for (key, value) in tag.attributes() {
            match key {
                b"message" => {
                    self.message = session.attribute_text(value, session.limits().message_bytes)
                }
                b"type" => self.kind = session.name(value),
                b"time" => attempt.duration = seconds(value, Comma::Groups),
                b"timestamp" => attempt.started = instant(value, Zone::Required),
                _ => {}
            }
        }
        self.attempt = signal.is_attempt().then(|| Box::new(attempt));
    }

    pub(crate) fn close_signal(
        &mut self,
        signal: Signal,
        body: Text,
        stack: Text,
        session: &mut Session<'_>,
    ) {
        self.open = None;
        let message = std::mem::take(&mut self.message);
        let kind = std::mem::take(&mut self.kind);
        let limits = session.limits();
        let Some(case) = &mut self.case else { return };
        match signal {
            Signal::Failure | Signal::Error => {
                let outcome = failure_outcome(signal == Signal::Failure, &kind);
                // Of several the worst for the reader wins: a failure says more than an error.
                if case.outcome != Outcome::Failed {
                    case.outcome = outcome;
                }
                let mut evidence = Evidence {
                    message,
                    kind,
                    stack: body,
                    ..Evidence::default()
                };
                message_from_stack(&mut evidence);
                join_text(
                    &mut case.evidence.message,
                    evidence.message,
                    limits.message_bytes,
                );
                join_text(&mut case.evidence.stack, evidence.stack, limits.stack_bytes);
                if case.evidence.kind.is_empty() {
                    case.evidence.kind = evidence.kind;
                }
            }
            Signal::Skipped => {
                let mut evidence = Evidence {
                    message,
                    kind,
                    stack: body,
                    ..Evidence::default()
                };
                message_from_stack(&mut evidence);
                self.skip.get_or_insert_with(|| Box::new(evidence));
            }
            Signal::Warning => {
                join_text(&mut self.warning, message, limits.message_bytes);
                join_text(&mut self.warning, body, limits.message_bytes);
            }
            Signal::Rerun(attempt_kind) | Signal::Flaky(attempt_kind) => {
                let Some(mut attempt) = self.attempt.take() else {
                    return;
                };
                attempt.outcome = failure_outcome(attempt_kind == AttemptKind::Failure, &kind);
                attempt.evidence.message = message;
                attempt.evidence.kind = kind;
                attempt.evidence.stack = if stack.is_empty() { body } else { stack };
                message_from_stack(&mut attempt.evidence);
                session.push_entry(&mut case.attempts, *attempt);
            }
        }
    }

    pub(crate) fn add_output(
        &mut self,
        stream: Stream,
        owner: Owner,
        output: Text,
        session: &mut Session<'_>,
    ) {
        let limit = session.limits().output_bytes;
        let evidence = match (owner, &mut self.attempt, &mut self.case) {
            (Owner::Attempt, Some(attempt), _) => &mut attempt.evidence,
            (_, _, Some(case)) => &mut case.evidence,
            (_, _, None) => return,
        };
        match stream {
            Stream::Out => join_text(&mut evidence.stdout, output, limit),
            Stream::Err => join_text(&mut evidence.stderr, output, limit),
        }
    }

    pub(crate) fn add_trait(&mut self, property: Trait, session: &mut Session<'_>) {
        let Some(case) = &mut self.case else { return };
        // By a convention of several readers, this property names a file.
        if property.name == "attachment" {
            let body = AttachmentBody::Path(property.value);
            let attachment = Attachment {
                name: String::new(),
                media_type: None,
                body,
            };
            session.push_entry(&mut case.attachments, attachment);
        } else {
            session.push_entry(&mut case.traits, property);
        }
    }

    /// Hands out the case with its final outcome.
    pub(crate) fn finish(&mut self, session: &mut Session<'_>) {
        let Some(case) = &mut self.case else { return };
        let hints = &mut self.hints;
        if !hints.file.is_empty() {
            let file = std::mem::take(&mut hints.file);
            case.location = Some(SourceLocation {
                file,
                line: hints.line,
            });
        }
        let failed = case.outcome.is_failure() && case.outcome != Outcome::Unknown;
        match self.skip.take() {
            Some(skip) if failed => settle_failed_and_skipped(case, *skip, session),
            Some(skip) => {
                case.outcome = skip_outcome(&skip, &hints.status);
                case.evidence.kind = skip.kind;
                case.evidence.message = skip.message;
                case.evidence.stack = skip.stack;
            }
            None if failed => {}
            None => {
                case.outcome = outcome_of_attributes(hints);
                if case.outcome == Outcome::Passed && !self.warning.is_empty() {
                    case.evidence.message = std::mem::take(&mut self.warning);
                }
            }
        }
        let word = if hints.result.is_empty() {
            &mut hints.status
        } else {
            &mut hints.result
        };
        case.raw_outcome = std::mem::take(word);
        properties_in_output(case, session);
        if let Some(case) = self.case.take() {
            session.emit_record(case);
        }
    }

    /// The document was cut off while this case was being read. If a failure was seen it is handed out as far as
    /// it goes; otherwise its name is told as lost.
    pub(crate) fn cut(
        &mut self,
        body: Text,
        stack: Text,
        output: Text,
        session: &mut Session<'_>,
    ) -> Option<String> {
        if let Some(signal) = self.open.take() {
            self.close_signal(signal, body, stack, session);
        }
        if !output.is_empty() {
            self.add_output(Stream::Out, Owner::Case, output, session);
        }
        let case = self.case.as_ref()?;
        let name = printable_line(&case.full_name(), 200);
        let failed = case.outcome.is_failure() && case.outcome != Outcome::Unknown;
        if failed {
            self.finish(session);
            return Some(format!("the failed test `{name}` is incomplete"));
        }
        self.case = None;
        Some(format!("the test `{name}` was not finished and is lost"))
    }
}

fn failure_outcome(is_failure: bool, kind: &str) -> Outcome {
    match (kind, is_failure) {
        ("test timeout", _) => Outcome::TimedOut,
        (_, true) => Outcome::Failed,
        (_, false) => Outcome::Errored,
    }
}

/// A case that both failed and was skipped. The failure wins, save where the writer marks an expected failure.
fn settle_failed_and_skipped(case: &mut TestCase, skip: Evidence, session: &mut Session<'_>) {
    let reason = skip.message.as_str();
    if reason.starts_with("TEST_CASE tagged with !") {
        case.outcome = Outcome::Skipped;
        let mut failure = std::mem::replace(&mut case.evidence.message, skip.message);
        let stack = std::mem::take(&mut case.evidence.stack);
        join_text(&mut failure, stack, session.limits().stack_bytes);
        case.evidence.stack = failure;
        return;
    }
    let name = printable_line(&case.name, 200);
    session.problem(ProblemKind::Contradiction, case.position, || {
        format!("`{name}` is both failed and skipped; it counts as failed")
    });
}

fn skip_outcome(skip: &Evidence, status: &str) -> Outcome {
    // CTest says "skipped" of a test whose program is missing.
    if skip
        .message
        .as_str()
        .starts_with("Unable to find executable")
    {
        return Outcome::Errored;
    }
    match status {
        "disabled" | "Disabled" => Outcome::NotRun,
        "inconclusive" | "Inconclusive" => Outcome::Inconclusive,
        _ => Outcome::Skipped,
    }
}

/// The outcome of a case that has no child to tell it.
fn outcome_of_attributes(hints: &Hints) -> Outcome {
    let words = [
        outcome_of_word(&hints.status),
        outcome_of_word(&hints.result),
    ];
    let has = |outcome| words.contains(&Some(outcome));
    if has(Outcome::Failed) {
        Outcome::Failed
    } else if has(Outcome::Errored) {
        Outcome::Errored
    } else if has(Outcome::NotRun) {
        Outcome::NotRun
    } else if has(Outcome::Skipped) || hints.skipped.is_some() {
        Outcome::Skipped
    } else {
        Outcome::Passed
    }
}

/// What a `status` or `result` word says. Writers use these attributes for many things, so a word that is not
/// known says nothing; the elements have told the outcome then.
fn outcome_of_word(word: &str) -> Option<Outcome> {
    match words::outcome(word) {
        Some(Outcome::Passed) | None => None,
        other => other,
    }
}

/// Where the message stands only in the body, its first line that says something becomes the message.
pub(crate) fn message_from_stack(evidence: &mut Evidence) {
    if !evidence.message.is_empty() {
        return;
    }
    if let Some(line) = evidence
        .stack
        .as_str()
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
    {
        evidence.message = Text::from(prefix(line, 4 << 10));
    }
}

/// Reads the lines by which tests tell properties and attachments through their output.
fn properties_in_output(case: &mut TestCase, session: &mut Session<'_>) {
    if case.evidence.stdout.is_empty() {
        return;
    }
    let output = std::mem::take(&mut case.evidence.stdout);
    if memchr::memmem::find(output.as_str().as_bytes(), b"[[").is_some() {
        for line in output.as_str().lines().map(str::trim) {
            if let Some(path) = between(line, "[[ATTACHMENT|") {
                let body = AttachmentBody::Path(session.plain_name(path.as_bytes()));
                let attachment = Attachment {
                    name: String::new(),
                    media_type: None,
                    body,
                };
                push_new(&mut case.attachments, attachment, session);
            } else if let Some((name, value)) =
                between(line, "[[PROPERTY|").and_then(|text| text.split_once('='))
            {
                let name = session.plain_name(name.as_bytes());
                let value = session.plain_name(value.as_bytes());
                push_new(&mut case.traits, Trait { name, value }, session);
            }
        }
    }
    case.evidence.stdout = output;
}

/// Adds what the elements of the case have not told already, as they have where the file was made from another
/// one whose output is carried along.
fn push_new<T: PartialEq>(list: &mut Vec<T>, entry: T, session: &mut Session<'_>) {
    if !list.contains(&entry) {
        session.push_entry(list, entry);
    }
}

fn between<'t>(line: &'t str, opening: &str) -> Option<&'t str> {
    line.strip_prefix(opening)?.strip_suffix("]]")
}
