//! NUnit XML of version 3 (`test-run`) and 2 (`test-results`), which differ in attributes more than in shape.

use std::sync::Arc;

use crate::formats::assembly_name;
use crate::formats::nunit_outcome::{CaseWords, Version};
use crate::formats::suites::SuitePath;
use crate::formats::words;
use crate::model::{Attachment, AttachmentBody, Origin, Outcome, TestCase, Timestamp, Trait};
use crate::problem::ProblemKind;
use crate::session::{Session, join_text, number};
use crate::text::{Capture, Text, printable_line};
use crate::time::{Comma, Zone, between, instant, seconds};
use crate::xml::document::{ElementReader, Piece};
use crate::xml::tag::Tag;

/// Failures of suites that wait for the end of their suite; more of them are told at once.
const MOST_HELD: usize = 64;

/// Bytes kept of each text of a failure that waits.
const HELD_BYTES: usize = 16 << 10;

/// What an open element means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Root,
    Suite,
    /// What a suite or the root holds its suites and cases in.
    Container,
    Case,
    /// `failure` or `error` of a case or, in `Owner::Suite`, of a suite.
    Failure(Owner),
    Reason,
    /// The checks of a case, each with a text of its own.
    Assertions,
    Assertion,
    Field(Field),
    /// Markup inside a text.
    Inside,
    Properties,
    Attachments,
    Other,
}

/// Whose failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Case,
    Suite,
}

/// A text that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Message(Owner),
    StackTrace(Owner),
    Reason,
    Assertion,
    Output,
    FilePath,
    Description,
}

/// Where in a suite its own failure happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Site {
    /// In its set-up, which its cases may repeat; or not told.
    SetUp,
    /// In its tear-down, which no case tells of.
    TearDown,
    /// Not in itself.
    Elsewhere,
}

struct Suite {
    site: Site,
    failures_before: u64,
    /// Its own failure, waiting for what its cases tell.
    failure: Option<Box<TestCase>>,
}

/// Makes cases of NUnit elements.
pub(crate) struct NUnit {
    version: Version,
    assembly: Arc<str>,
    names: SuitePath,
    suites: Vec<Suite>,
    held: usize,
    failures: u64,
    case: Option<TestCase>,
    words: CaseWords,
    /// What the assertions of the case say.
    assertions: Text,
    attachment: Option<Attachment>,
    field: Option<Field>,
    text: Capture,
}

impl NUnit {
    pub(crate) fn new(version: Version) -> Self {
        Self {
            version,
            assembly: Arc::from(""),
            names: SuitePath::default(),
            suites: Vec::new(),
            held: 0,
            failures: 0,
            case: None,
            words: CaseWords::default(),
            assertions: Text::default(),
            attachment: None,
            field: None,
            text: Capture::default(),
        }
    }
}

impl ElementReader for NUnit {
    type Node = Node;

    fn open(&mut self, parent: Option<Node>, tag: &Tag<'_>, session: &mut Session<'_>) -> Node {
        match (parent, tag.name()) {
            (_, b"test-case") => {
                self.finish_case(session);
                self.open_case(tag, session);
                Node::Case
            }
            (None | Some(Node::Root | Node::Suite | Node::Container), b"test-suite") => {
                self.open_suite(tag, session);
                Node::Suite
            }
            (None, _) => {
                self.read_run(tag, session);
                Node::Root
            }
            (Some(Node::Field(_) | Node::Inside), _) => Node::Inside,
            (Some(Node::Suite), b"failure" | b"error") => {
                self.begin_suite_failure(session);
                Node::Failure(Owner::Suite)
            }
            (Some(Node::Case), name @ (b"failure" | b"error")) => {
                self.words.told(name);
                Node::Failure(Owner::Case)
            }
            (Some(Node::Case), b"assertions") => Node::Assertions,
            (Some(Node::Assertions), b"assertion") => Node::Assertion,
            (Some(Node::Case), b"reason") => Node::Reason,
            (Some(Node::Case), b"output") => self.open_field(Field::Output, session),
            (Some(Node::Case), b"properties" | b"categories") => Node::Properties,
            (Some(Node::Case), b"attachments") => Node::Attachments,
            (Some(Node::Properties), b"property") => {
                self.add_trait(tag, b"name", b"value", session)
            }
            (Some(Node::Properties), b"category") => self.add_trait(tag, b"", b"name", session),
            (Some(Node::Attachments), b"attachment") => {
                self.close_attachment(session);
                self.attachment = Some(Attachment {
                    name: String::new(),
                    media_type: None,
                    body: AttachmentBody::Path(String::new()),
                });
                Node::Attachments
            }
            (Some(Node::Attachments), b"filePath") => self.open_field(Field::FilePath, session),
            (Some(Node::Attachments), b"description") => {
                self.open_field(Field::Description, session)
            }
            (Some(Node::Failure(owner)), b"message") => {
                self.open_field(Field::Message(owner), session)
            }
            (Some(Node::Failure(owner)), b"stack-trace") => {
                self.open_field(Field::StackTrace(owner), session)
            }
            (Some(Node::Assertion), b"message") => self.open_field(Field::Assertion, session),
            (Some(Node::Reason), b"message") => self.open_field(Field::Reason, session),
            (Some(Node::Suite | Node::Root), b"results") => Node::Container,
            (Some(_), _) => Node::Other,
        }
    }

    fn text(&mut self, node: Node, piece: Piece<'_>, _: &mut Session<'_>) {
        if let Node::Field(_) | Node::Inside = node {
            piece.push_to(&mut self.text);
        }
    }

    fn close(&mut self, node: Node, session: &mut Session<'_>) {
        match node {
            Node::Case => self.finish_case(session),
            Node::Suite => self.close_suite(session),
            Node::Field(field) => self.close_field(field, session),
            Node::Attachments => self.close_attachment(session),
            Node::Root
            | Node::Container
            | Node::Failure(_)
            | Node::Reason
            | Node::Assertions
            | Node::Assertion
            | Node::Inside
            | Node::Properties
            | Node::Other => {}
        }
    }

    fn finish(&mut self, session: &mut Session<'_>) -> Option<String> {
        if let Some(field) = self.field {
            self.close_field(field, session);
        }
        let lost = self.case.as_ref().map(|case| {
            format!(
                "the test `{}` is incomplete",
                printable_line(&case.full_name(), 200)
            )
        });
        // The outcome stands in the start tag, so that what is there can be believed.
        self.finish_case(session);
        while !self.suites.is_empty() {
            self.close_suite(session);
        }
        lost
    }
}

impl NUnit {
    fn read_run(&mut self, tag: &Tag<'_>, session: &mut Session<'_>) {
        let (mut date, mut time): (&[u8], &[u8]) = (b"", b"");
        for (key, value) in tag.attributes() {
            match key {
                b"name" => {
                    session.run().name = session.name(value);
                    self.assembly = assembly_name(&session.run().name).into();
                }
                b"engine-version" => {
                    session.run().tool = format!("NUnit {}", session.name(value));
                }
                b"start-time" => session.run().started = utc(value),
                b"end-time" => session.run().finished = utc(value),
                b"date" => date = value,
                b"time" => time = value,
                b"total" if self.version == Version::Three => {
                    session.run().declared.total = number(value);
                }
                b"failed" | b"failures" => session.run().declared.failed = number(value),
                b"errors" => session.run().declared.errored = number(value),
                b"skipped" => session.run().declared.skipped = number(value),
                _ => {}
            }
        }
        if session.run().started.is_none() {
            session.run().started = utc(&[date, b"T", time].concat());
        }
    }

    fn open_suite(&mut self, tag: &Tag<'_>, session: &mut Session<'_>) {
        let name = session.name(tag.attribute(b"name").unwrap_or_default());
        let is_assembly = tag
            .attribute(b"type")
            .is_some_and(|kind| kind == b"Assembly");
        if is_assembly || (self.suites.is_empty() && self.assembly.is_empty()) {
            self.assembly = assembly_name(&name).into();
        }
        let failed = match self.version {
            Version::Three => tag.attribute(b"result") == Some(b"Failed"),
            Version::Two => true,
        };
        let site = match tag.attribute(b"site") {
            _ if !failed => Site::Elsewhere,
            Some(b"TearDown") => Site::TearDown,
            Some(b"SetUp") => Site::SetUp,
            // Version 2 does not tell, but repeats nothing of what happened in cases.
            None if self.version == Version::Two => Site::SetUp,
            _ => Site::Elsewhere,
        };
        self.names.enter(&name);
        self.suites.push(Suite {
            site,
            failures_before: self.failures,
            failure: None,
        });
    }

    fn begin_suite_failure(&mut self, session: &mut Session<'_>) {
        let Some(suite) = self.suites.last_mut() else {
            return;
        };
        if suite.site == Site::Elsewhere || suite.failure.is_some() {
            return;
        }
        let mut case = TestCase::new(self.assembly.clone(), session.position());
        case.origin = Origin::Synthesised;
        case.outcome = Outcome::Errored;
        let site = if suite.site == Site::TearDown {
            "TearDown"
        } else {
            "SetUp"
        };
        case.name = format!("{}.{site}", self.names.last());
        suite.failure = Some(Box::new(case));
        self.held += 1;
        if self.held > MOST_HELD
            && let Some(outermost) = self
                .suites
                .iter_mut()
                .find_map(|suite| suite.failure.take())
        {
            self.emit_suite_failure(*outermost, session);
        }
    }

    fn emit_suite_failure(&mut self, case: TestCase, session: &mut Session<'_>) {
        self.held -= 1;
        self.failures += 1;
        session.emit(case);
    }

    fn close_suite(&mut self, session: &mut Session<'_>) {
        self.names.leave();
        let Some(suite) = self.suites.pop() else {
            return;
        };
        let Some(case) = suite.failure else { return };
        let repeated = self.failures > suite.failures_before && suite.site == Site::SetUp;
        let message = case.evidence.message.as_str().trim();
        let echo = message.starts_with("One or more child tests")
            || message == "Child test failed"
            || (message.is_empty() && self.failures > suite.failures_before);
        // Version 2 does not say where it happened: a failure that is told twice is better than one that is lost.
        if echo || (repeated && self.version == Version::Three) {
            self.held -= 1;
        } else {
            self.emit_suite_failure(*case, session);
        }
    }

    fn open_case(&mut self, tag: &Tag<'_>, session: &mut Session<'_>) {
        self.words.clear();
        let case = self
            .case
            .insert(TestCase::new(self.assembly.clone(), session.position()));
        let mut end = None;
        for (key, value) in tag.attributes() {
            match key {
                b"fullname" => case.name = session.name(value),
                b"name" if case.name.is_empty() => case.name = session.name(value),
                b"classname" => case.class = session.shared_name(value),
                b"methodname" => case.method = session.name(value),
                b"result" => case.raw_outcome = words::literal(value, session),
                b"label" => self.words.label = session.name(value),
                b"executed" => self.words.executed = session.name(value),
                b"success" => self.words.success = session.name(value),
                b"duration" => case.duration = seconds(value, Comma::Decimal),
                b"time" if case.duration.is_none() => {
                    case.duration = seconds(value, Comma::Decimal);
                }
                b"start-time" => case.started = utc(value),
                b"end-time" => end = utc(value),
                _ => {}
            }
        }
        case.duration = case.duration.or(between(case.started, end));
        if case.class.is_empty()
            && let Some((class, method)) = split_name(&case.name)
        {
            case.class = session.shared_name(class.as_bytes());
            case.method = method.to_owned();
        }
    }

    fn open_field(&mut self, field: Field, session: &mut Session<'_>) -> Node {
        let limits = session.limits();
        let limit = match field {
            Field::Message(Owner::Suite) | Field::StackTrace(Owner::Suite) => HELD_BYTES,
            Field::Message(Owner::Case) | Field::Reason | Field::Assertion => limits.message_bytes,
            Field::StackTrace(Owner::Case) => limits.stack_bytes,
            Field::Output => limits.output_bytes,
            Field::FilePath | Field::Description => limits.name_bytes,
        };
        session.start_text(&mut self.text, limit);
        self.field = Some(field);
        Node::Field(field)
    }

    fn close_field(&mut self, field: Field, session: &mut Session<'_>) {
        self.field = None;
        let text = session.finish_text(&mut self.text);
        let suite = self
            .suites
            .last_mut()
            .and_then(|suite| suite.failure.as_mut());
        match (field, suite, &mut self.case) {
            (Field::Message(Owner::Suite), Some(case), _) => case.evidence.message = text,
            (Field::StackTrace(Owner::Suite), Some(case), _) => case.evidence.stack = text,
            (Field::Message(Owner::Case), _, Some(case)) => case.evidence.message = text,
            (Field::StackTrace(Owner::Case), _, Some(case)) => case.evidence.stack = text,
            // A failure repeats what its assertions say; a warning is told by them alone.
            (Field::Assertion, _, Some(_)) => {
                join_text(&mut self.assertions, text, session.limits().message_bytes);
            }
            // A passed test may give a reason too; a failure says more.
            (Field::Reason, _, Some(case)) if case.evidence.message.is_empty() => {
                case.evidence.message = text;
            }
            (Field::Output, _, Some(case)) => case.evidence.stdout = text,
            (Field::FilePath, _, _) => {
                if let Some(attachment) = &mut self.attachment {
                    attachment.body = AttachmentBody::Path(text.into_string());
                }
            }
            (Field::Description, _, _) => {
                if let Some(attachment) = &mut self.attachment {
                    attachment.name = text.into_string();
                }
            }
            _ => {}
        }
    }

    fn add_trait(
        &mut self,
        tag: &Tag<'_>,
        name: &[u8],
        value: &[u8],
        session: &mut Session<'_>,
    ) -> Node {
        let name = match name {
            b"" => "Category".to_owned(),
            name => session.name(tag.attribute(name).unwrap_or_default()),
        };
        let value = session.name(tag.attribute(value).unwrap_or_default());
        if let Some(case) = &mut self.case {
            session.push_entry(&mut case.traits, Trait { name, value });
        }
        Node::Other
    }

    fn close_attachment(&mut self, session: &mut Session<'_>) {
        if let (Some(attachment), Some(case)) = (self.attachment.take(), &mut self.case) {
            session.push_entry(&mut case.attachments, attachment);
        }
    }

    fn finish_case(&mut self, session: &mut Session<'_>) {
        self.close_attachment(session);
        let Some(case) = &mut self.case else { return };
        case.outcome = self.words.outcome(self.version, &case.raw_outcome);
        let assertions = std::mem::take(&mut self.assertions);
        if case.evidence.message.is_empty() {
            case.evidence.message = assertions;
        }
        if self.words.contradicts(&case.outcome) {
            case.outcome = Outcome::Failed;
            let name = printable_line(&case.name, 200);
            session.problem(ProblemKind::Contradiction, case.position, || {
                format!("`{name}` says it passed and has a failure; it counts as failed")
            });
        }
        if case.outcome.is_failure() {
            self.failures += 1;
        }
        if let Some(case) = self.case.take() {
            session.emit(case);
        }
    }
}

/// Class and method of a full name: split at the last point in front of the arguments.
fn split_name(name: &str) -> Option<(&str, &str)> {
    let before_arguments = name.split('(').next().unwrap_or(name);
    let (class, method) = before_arguments.rsplit_once('.')?;
    let fits = !class.is_empty() && !method.is_empty() && !class.contains(char::is_whitespace);
    fits.then_some((class, method))
}

fn utc(value: &[u8]) -> Option<Timestamp> {
    instant(value, Zone::AssumeUtc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_names_are_split_in_front_of_their_arguments() {
        assert_eq!(split_name("N.C.M(\"a.b\", 1.5)"), Some(("N.C", "M")));
        assert_eq!(split_name("N.C.M"), Some(("N.C", "M")));
        for name in ["M", "M(a.b)", ".M", "M.", "a sentence. And more", ""] {
            assert_eq!(split_name(name), None, "{name}");
        }
    }
}
