//! Common Test Report Format: one JSON document, tests in `results.tests`.

use crate::formats::ctrf_outcome::{outcome_of, status_of};
use crate::json::document::{Scalar, ValueReader};
use crate::model::{
    Attachment, AttachmentBody, Attempt, Evidence, Flakiness, Origin, Outcome, Part,
    SourceLocation, TestCase, Trait,
};
use crate::session::{Session, join_text, number};
use crate::text::{as_u64, printable_line};
use crate::time::{from_unix_milliseconds, milliseconds};

/// What an open object or array means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Root,
    Results,
    Tool,
    Summary,
    Tests,
    Test,
    /// A list of strings or an object of names and values in a test.
    List(List),
    Attempts,
    Attempt,
    /// A list of output lines.
    Output(Owner, Stream),
    Attachments,
    Attachment,
    Steps,
    Step,
    Extra(ExtraOf),
    Other,
}

/// What an `extra` object adds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExtraOf {
    Test,
    Attempt,
    Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    Suite,
    Tags,
    Labels,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Test,
    Attempt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// Makes cases of the objects of a report.
#[derive(Default)]
pub(crate) struct Ctrf {
    draft: Option<Draft>,
}

struct Draft {
    case: TestCase,
    status: String,
    raw_status: String,
    suite: String,
    file: String,
    line: Option<u64>,
    retries: Option<u64>,
    attempt: Option<AttemptDraft>,
    attachment: Option<Attachment>,
    /// The step that is read, if it found room.
    step: Option<usize>,
}

struct AttemptDraft {
    status: String,
    raw_status: String,
    attempt: Attempt,
}

impl ValueReader for Ctrf {
    type Node = Node;

    fn open(&mut self, parent: Option<Node>, key: &[u8], session: &mut Session<'_>) -> Node {
        match (parent, key) {
            (None, _) => Node::Root,
            (Some(Node::Root), b"results") => Node::Results,
            (Some(Node::Results), b"tool") => Node::Tool,
            (Some(Node::Results), b"summary") => Node::Summary,
            (Some(Node::Results), b"tests") => Node::Tests,
            (Some(Node::Tests), _) => {
                self.draft = Some(Draft::new(session));
                Node::Test
            }
            (Some(Node::Test), b"suite") => Node::List(List::Suite),
            (Some(Node::Test), b"tags") => Node::List(List::Tags),
            (Some(Node::Test), b"labels") => Node::List(List::Labels),
            (Some(Node::Test), b"stdout") => Node::Output(Owner::Test, Stream::Out),
            (Some(Node::Test), b"stderr") => Node::Output(Owner::Test, Stream::Err),
            (Some(Node::Attempt), b"stdout") => Node::Output(Owner::Attempt, Stream::Out),
            (Some(Node::Attempt), b"stderr") => Node::Output(Owner::Attempt, Stream::Err),
            (Some(Node::Test), b"retryAttempts") => Node::Attempts,
            (Some(Node::Attempts), _) => {
                let attempt = Attempt {
                    outcome: Outcome::Unknown,
                    duration: None,
                    started: None,
                    evidence: Evidence::default(),
                };
                if let Some(draft) = &mut self.draft {
                    draft.attempt = Some(AttemptDraft {
                        status: String::new(),
                        raw_status: String::new(),
                        attempt,
                    });
                }
                Node::Attempt
            }
            (Some(Node::Test), b"extra") => Node::Extra(ExtraOf::Test),
            (Some(Node::Attempt), b"extra") => Node::Extra(ExtraOf::Attempt),
            (Some(Node::Step), b"extra") => Node::Extra(ExtraOf::Step),
            (Some(Node::Test), b"steps") => Node::Steps,
            (Some(Node::Steps), _) => {
                self.open_step(session);
                Node::Step
            }
            (Some(Node::Test | Node::Attempt), b"attachments") => Node::Attachments,
            (Some(Node::Attachments), _) => {
                if let Some(draft) = &mut self.draft {
                    draft.attachment = Some(Attachment {
                        name: String::new(),
                        media_type: None,
                        body: AttachmentBody::Path(String::new()),
                    });
                }
                Node::Attachment
            }
            (Some(_), _) => Node::Other,
        }
    }

    fn keep(&self, node: Node, key: &[u8], session: &Session<'_>) -> usize {
        let limits = session.limits();
        match (node, key) {
            (Node::Test | Node::Attempt, b"message") => limits.message_bytes,
            (Node::Test | Node::Attempt, b"trace") => limits.stack_bytes,
            (Node::Test, b"screenshot") => 0,
            (Node::Output(..), _) => limits.output_bytes,
            (Node::Other | Node::Results | Node::Root, _) => 0,
            _ => limits.name_bytes,
        }
    }

    fn scalar(&mut self, node: Node, key: &[u8], value: Scalar<'_>, session: &mut Session<'_>) {
        match node {
            Node::Tool | Node::Summary => read_run(key, value, session),
            Node::Test => self.test_scalar(key, value, session),
            Node::Attempt => self.attempt_scalar(key, value, session),
            Node::Step => self.step_scalar(key, value, session),
            Node::Extra(of) => self.extra_scalar(of, key, value, session),
            Node::List(list) => self.list_scalar(list, key, value, session),
            Node::Output(owner, stream) => {
                if let (Some(evidence), Scalar::Text(text)) = (self.evidence(owner), value) {
                    let output = session.finish_text(text);
                    let joined = match stream {
                        Stream::Out => &mut evidence.stdout,
                        Stream::Err => &mut evidence.stderr,
                    };
                    join_text(joined, output, session.limits().output_bytes);
                }
            }
            Node::Attachment => {
                let attachment = self
                    .draft
                    .as_mut()
                    .and_then(|draft| draft.attachment.as_mut());
                if let (Some(attachment), Scalar::Text(text)) = (attachment, value) {
                    let text = session.captured_name(text);
                    match key {
                        b"name" => attachment.name = text,
                        b"contentType" => attachment.media_type = Some(text),
                        b"path" => attachment.body = AttachmentBody::Path(text),
                        _ => {}
                    }
                }
            }
            Node::Root
            | Node::Results
            | Node::Tests
            | Node::Attempts
            | Node::Attachments
            | Node::Steps
            | Node::Other => {}
        }
    }

    fn close(&mut self, node: Node, session: &mut Session<'_>) {
        match node {
            Node::Test => {
                if let Some(draft) = self.draft.take() {
                    session.emit(draft.finish());
                }
            }
            Node::Attempt => {
                if let Some(draft) = &mut self.draft
                    && let Some(mut read) = draft.attempt.take()
                {
                    read.attempt.outcome = outcome_of(&read.status, &read.raw_status);
                    session.push_entry(&mut draft.case.attempts, read.attempt);
                }
            }
            Node::Attachment => {
                if let Some(draft) = &mut self.draft
                    && let Some(attachment) = draft.attachment.take()
                {
                    session.push_entry(&mut draft.case.attachments, attachment);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, session: &mut Session<'_>) -> Option<String> {
        let case = self.draft.take()?.finish();
        let name = printable_line(&case.name, 200);
        if case.outcome.is_failure() && case.outcome != Outcome::Unknown {
            session.emit(case);
            return Some(format!("the failed test `{name}` is incomplete"));
        }
        Some(format!("the test `{name}` was not finished and is lost"))
    }
}

impl Ctrf {
    fn evidence(&mut self, owner: Owner) -> Option<&mut Evidence> {
        let draft = self.draft.as_mut()?;
        match owner {
            Owner::Test => Some(&mut draft.case.evidence),
            Owner::Attempt => draft
                .attempt
                .as_mut()
                .map(|read| &mut read.attempt.evidence),
        }
    }

    fn test_scalar(&mut self, key: &[u8], value: Scalar<'_>, session: &mut Session<'_>) {
        let Some(draft) = &mut self.draft else { return };
        match (key, value) {
            (b"message", Scalar::Text(text)) => {
                draft.case.evidence.message = session.finish_text(text)
            }
            (b"trace", Scalar::Text(text)) => draft.case.evidence.stack = session.finish_text(text),
            (b"duration", Scalar::Number(text)) => draft.case.duration = milliseconds(text),
            (b"start", Scalar::Number(text)) => draft.case.started = from_unix_milliseconds(text),
            (b"line", Scalar::Number(text)) => draft.line = number(text),
            (b"retries", Scalar::Number(text)) => draft.retries = number(text),
            (b"flaky", Scalar::Bool(true)) => draft.case.flakiness = Flakiness::Stated,
            (key, Scalar::Text(text)) => {
                let field = match key {
                    b"name" => &mut draft.case.name,
                    b"status" => &mut draft.status,
                    b"rawStatus" => &mut draft.raw_status,
                    b"suite" => &mut draft.suite,
                    b"filePath" => &mut draft.file,
                    _ => return,
                };
                *field = session.captured_name(text);
            }
            _ => {}
        }
    }

    fn attempt_scalar(&mut self, key: &[u8], value: Scalar<'_>, session: &mut Session<'_>) {
        let Some(draft) = &mut self.draft else { return };
        let Some(AttemptDraft {
            status, attempt, ..
        }) = &mut draft.attempt
        else {
            return;
        };
        match (key, value) {
            (b"status", Scalar::Text(text)) => *status = session.captured_name(text),
            (b"message", Scalar::Text(text)) => {
                attempt.evidence.message = session.finish_text(text)
            }
            (b"trace", Scalar::Text(text)) => attempt.evidence.stack = session.finish_text(text),
            (b"duration", Scalar::Number(text)) => attempt.duration = milliseconds(text),
            (b"start", Scalar::Number(text)) => attempt.started = from_unix_milliseconds(text),
            _ => {}
        }
    }

    fn open_step(&mut self, session: &mut Session<'_>) {
        if let Some(draft) = &mut self.draft {
            let step = Part {
                level: 1,
                name: String::new(),
                outcome: Outcome::Unknown,
                duration: None,
                started: None,
                evidence: Evidence::default(),
            };
            let before = draft.case.parts.len();
            session.push_entry(&mut draft.case.parts, step);
            draft.step = (draft.case.parts.len() > before).then_some(before);
        }
    }

    fn step_scalar(&mut self, key: &[u8], value: Scalar<'_>, session: &mut Session<'_>) {
        let Some(draft) = &mut self.draft else { return };
        let step = draft.step.and_then(|place| draft.case.parts.get_mut(place));
        if let (Some(step), Scalar::Text(text)) = (step, value) {
            let text = session.captured_name(text);
            match key {
                b"name" => step.name = text,
                b"status" => step.outcome = outcome_of(&text, ""),
                _ => {}
            }
        }
    }

    fn extra_scalar(
        &mut self,
        of: ExtraOf,
        key: &[u8],
        value: Scalar<'_>,
        session: &mut Session<'_>,
    ) {
        let Some(draft) = &mut self.draft else { return };
        match (of, key, value) {
            (ExtraOf::Test, b"synthesised", Scalar::Bool(true)) => {
                draft.case.origin = Origin::Synthesised
            }
            (ExtraOf::Test, b"class", Scalar::Text(text)) => {
                draft.case.class = session.captured_name(text).into()
            }
            (ExtraOf::Test, b"method", Scalar::Text(text)) => {
                draft.case.method = session.captured_name(text)
            }
            (ExtraOf::Test, b"kind", Scalar::Text(text)) => {
                draft.case.evidence.kind = session.captured_name(text)
            }
            (ExtraOf::Attempt, b"kind", Scalar::Text(text)) => {
                if let Some(attempt) = &mut draft.attempt {
                    attempt.attempt.evidence.kind = session.captured_name(text);
                }
            }
            (ExtraOf::Attempt, b"rawStatus", Scalar::Text(text)) => {
                if let Some(attempt) = &mut draft.attempt {
                    attempt.raw_status = session.captured_name(text);
                }
            }
            (ExtraOf::Step, b"rawStatus", Scalar::Text(text)) => {
                let raw = session.captured_name(text);
                let step = draft.step.and_then(|place| draft.case.parts.get_mut(place));
                if let Some(step) = step {
                    step.outcome = outcome_of(status_of(step.outcome), &raw);
                }
            }
            _ => {}
        }
    }

    fn list_scalar(
        &mut self,
        list: List,
        key: &[u8],
        value: Scalar<'_>,
        session: &mut Session<'_>,
    ) {
        let Some(draft) = &mut self.draft else { return };
        let value = match value {
            Scalar::Text(text) => session.captured_name(text),
            Scalar::Number(text) => session.plain_name(text),
            Scalar::Bool(value) => value.to_string(),
            Scalar::Null => return,
        };
        match list {
            List::Suite => {
                if !draft.suite.is_empty() {
                    draft.suite.push_str(" > ");
                }
                if draft.suite.len() < session.limits().name_bytes {
                    draft.suite.push_str(&value);
                }
            }
            List::Tags => {
                let tag = Trait {
                    name: "tag".to_owned(),
                    value,
                };
                session.push_entry(&mut draft.case.traits, tag);
            }
            List::Labels => {
                let name = session.plain_name(key);
                session.push_entry(&mut draft.case.traits, Trait { name, value });
            }
        }
    }
}

impl Draft {
    fn new(session: &Session<'_>) -> Self {
        Self {
            case: TestCase::new("".into(), session.position()),
            status: String::new(),
            raw_status: String::new(),
            suite: String::new(),
            file: String::new(),
            line: None,
            retries: None,
            attempt: None,
            attachment: None,
            step: None,
        }
    }

    fn finish(mut self) -> TestCase {
        self.case.outcome = outcome_of(&self.status, &self.raw_status);
        let word = if self.raw_status.is_empty() {
            self.status
        } else {
            self.raw_status
        };
        self.case.raw_outcome = word.into();
        self.case.suite = self.suite.into();
        if !self.file.is_empty() {
            self.case.location = Some(SourceLocation {
                file: self.file,
                line: self.line,
            });
        }
        // Some writers list the last attempt among the retries, which is what the case itself tells.
        let attempts = &mut self.case.attempts;
        let all_listed = self
            .retries
            .is_some_and(|retries| as_u64(attempts.len()) > retries);
        if all_listed
            && attempts
                .last()
                .is_some_and(|last| last.outcome == self.case.outcome)
        {
            attempts.pop();
        }
        self.case
    }
}

fn read_run(key: &[u8], value: Scalar<'_>, session: &mut Session<'_>) {
    match (key, value) {
        (b"name", Scalar::Text(text)) => session.run().tool = session.captured_name(text),
        (b"version", Scalar::Text(text)) => {
            let version = session.captured_name(text);
            let tool = &mut session.run().tool;
            if !tool.is_empty() {
                tool.push(' ');
            }
            tool.push_str(&version);
        }
        (b"tests", Scalar::Number(text)) => session.run().declared.total = number(text),
        (b"failed", Scalar::Number(text)) => session.run().declared.failed = number(text),
        (b"skipped", Scalar::Number(text)) => session.run().declared.skipped = number(text),
        (b"start", Scalar::Number(text)) => session.run().started = from_unix_milliseconds(text),
        (b"stop", Scalar::Number(text)) => session.run().finished = from_unix_milliseconds(text),
        _ => {}
    }
}
