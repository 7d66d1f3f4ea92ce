//! The JUnit XML family.
//!
//! There is no standard, only writers. What they have in common: `testcase` elements at any depth, an outcome told
//! by child elements (and by attributes where there are none), texts in attributes and bodies. Totals of suites
//! differ from their elements in one file out of five and are never used to count.

use std::borrow::Cow;

use crate::formats::junit_case::{CaseDraft, Signal};
use crate::formats::suites::SuitePath;
use crate::formats::words;
use crate::model::{Origin, Outcome, TestCase, Trait};
use crate::session::{Session, number};
use crate::text::Capture;
use crate::time::{Comma, Zone, instant, seconds};
use crate::xml::document::{ElementReader, Piece};
use crate::xml::tag::Tag;

/// What an open element means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    /// `testsuites`, or a root that is no suite.
    Root,
    Suite,
    Case,
    /// A child of a case that tells its outcome.
    Signal(Signal),
    /// Markup inside a text: its own text belongs to the text around it.
    Inside(Text),
    /// `failure` or `error` of a suite itself.
    SuiteFailure(Outcome),
    Output(Stream, Owner),
    AttemptStack,
    Properties,
    Property,
    /// An element of no interest; what is below it may be.
    Other,
}

/// Which text a piece of text belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Text {
    Body,
    AttemptStack,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// Whose output it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Case,
    Attempt,
}

/// Makes cases of JUnit elements.
#[derive(Default)]
pub(crate) struct JUnit {
    suites: SuitePath,
    draft: CaseDraft,
    /// A failure of a suite that is being read.
    suite_failure: Option<Box<TestCase>>,
    body: Capture,
    stack: Capture,
    output: Capture,
    property: Option<Trait>,
    property_text: Capture,
}

impl ElementReader for JUnit {
    type Node = Node;

    fn open(&mut self, parent: Option<Node>, tag: &Tag<'_>, session: &mut Session<'_>) -> Node {
        match (parent, tag.name()) {
            // Wherever it stands: inside another case it means that the end of that one is missing.
            (_, b"testcase") => {
                self.draft.finish(session);
                self.open_case(tag, session);
                Node::Case
            }
            (Some(Node::Case | Node::Signal(_)), name) => {
                self.open_in_case(parent, name, tag, session)
            }
            (Some(Node::Inside(text)), _) => Node::Inside(text),
            (Some(Node::AttemptStack), _) => Node::Inside(Text::AttemptStack),
            (Some(Node::SuiteFailure(_)), _) => Node::Inside(Text::Body),
            (Some(Node::Output(..)), _) => Node::Other,
            (Some(Node::Properties), b"property") => self.open_property(tag, session),
            (_, b"testsuite") => {
                self.open_suite(parent, tag, session);
                Node::Suite
            }
            (None, _) => {
                read_run(tag, session);
                Node::Root
            }
            (Some(Node::Suite | Node::Root), name @ (b"failure" | b"error")) => {
                self.open_suite_failure(name, tag, session)
            }
            (Some(_), _) => Node::Other,
        }
    }

    fn text(&mut self, node: Node, piece: Piece<'_>, _: &mut Session<'_>) {
        match node {
            Node::Signal(_) | Node::SuiteFailure(_) | Node::Inside(Text::Body) => {
                piece.push_to(&mut self.body)
            }
            Node::AttemptStack | Node::Inside(Text::AttemptStack) => piece.push_to(&mut self.stack),
            Node::Output(..) => piece.push_to(&mut self.output),
            Node::Property => piece.push_to(&mut self.property_text),
            Node::Root | Node::Suite | Node::Case | Node::Properties | Node::Other => {}
        }
    }

    fn close(&mut self, node: Node, session: &mut Session<'_>) {
        match node {
            Node::Case => self.draft.finish(session),
            Node::Suite => self.suites.leave(),
            Node::Signal(signal) => {
                let body = session.finish_text(&mut self.body);
                let stack = session.finish_text(&mut self.stack);
                self.draft.close_signal(signal, body, stack, session);
            }
            Node::SuiteFailure(outcome) => self.close_suite_failure(outcome, session),
            Node::Output(stream, owner) => {
                let output = session.finish_text(&mut self.output);
                self.draft.add_output(stream, owner, output, session);
            }
            Node::Property => self.close_property(session),
            Node::Root | Node::Inside(_) | Node::AttemptStack | Node::Properties | Node::Other => {}
        }
    }

    fn finish(&mut self, session: &mut Session<'_>) -> Option<String> {
        if let Some(case) = self.suite_failure.take() {
            session.emit_record(case);
        }
        if session.is_over() {
            return None;
        }
        // A text that was being read when the file was cut belongs to the case it stood in.
        let body = session.finish_text(&mut self.body);
        let stack = session.finish_text(&mut self.stack);
        let output = session.finish_text(&mut self.output);
        self.draft.cut(body, stack, output, session)
    }
}

impl JUnit {
    fn open_suite(&mut self, parent: Option<Node>, tag: &Tag<'_>, session: &mut Session<'_>) {
        let name = tag
            .attribute(b"name")
            .or_else(|| tag.attribute(b"package"))
            .unwrap_or_default();
        let name = session.name(name);
        if parent.is_none() {
            read_run(tag, session);
        } else {
            if session.run().host.is_empty()
                && let Some(host) = tag.attribute(b"hostname")
            {
                session.run().host = session.name(host);
            }
            if session.run().started.is_none()
                && let Some(stamp) = tag.attribute(b"timestamp")
            {
                session.run().started = instant(stamp, Zone::Required);
            }
        }
        self.suites.enter(&name);
    }

    fn open_case(&mut self, tag: &Tag<'_>, session: &mut Session<'_>) {
        let class = tag
            .attribute(b"classname")
            .filter(|class| !class.is_empty())
            .or_else(|| tag.attribute(b"class"));
        let case = session.record(self.suites.path(), class.unwrap_or_default());
        let (case, hints) = self.draft.begin(case);
        for (key, value) in tag.attributes() {
            match key {
                b"name" => session.read_name(value, &mut case.name),
                b"time" => case.duration = seconds(value, Comma::Groups),
                b"timestamp" => case.started = instant(value, Zone::Required),
                b"file" => hints.file = session.name(value),
                b"line" => hints.line = number(value),
                b"status" => hints.status = words::literal(value, session),
                b"result" => hints.result = words::literal(value, session),
                b"skipped" | b"disabled" | b"ignored" if !is_no(value) => {
                    hints.skipped = Some(session.name(value))
                }
                b"value_param" | b"type_param" | b"owner" | b"group" | b"tags" => {
                    let name = String::from_utf8_lossy(key).into_owned();
                    let value = session.name(value);
                    session.push_entry(&mut case.traits, Trait { name, value });
                }
                _ => {}
            }
        }
    }

    fn open_in_case(
        &mut self,
        parent: Option<Node>,
        name: &[u8],
        tag: &Tag<'_>,
        session: &mut Session<'_>,
    ) -> Node {
        let owner = match parent {
            Some(Node::Signal(signal)) => {
                if !signal.is_attempt() {
                    return Node::Inside(Text::Body);
                }
                Owner::Attempt
            }
            _ => Owner::Case,
        };
        match (owner, name) {
            (_, b"system-out") => self.open_output(Stream::Out, owner, session),
            (_, b"system-err") => self.open_output(Stream::Err, owner, session),
            (Owner::Attempt, b"stackTrace") => {
                session.start_text(&mut self.stack, session.limits().stack_bytes);
                Node::AttemptStack
            }
            (Owner::Attempt, _) => Node::Inside(Text::Body),
            (Owner::Case, b"properties") => Node::Properties,
            (Owner::Case, b"property") => self.open_property(tag, session),
            (Owner::Case, _) => match Signal::of_element(name) {
                Some(signal) => {
                    session.start_text(&mut self.body, session.limits().stack_bytes);
                    self.draft.open_signal(signal, tag, session);
                    Node::Signal(signal)
                }
                None => Node::Other,
            },
        }
    }

    fn open_output(&mut self, stream: Stream, owner: Owner, session: &mut Session<'_>) -> Node {
        session.start_text(&mut self.output, session.limits().output_bytes);
        Node::Output(stream, owner)
    }

    fn open_property(&mut self, tag: &Tag<'_>, session: &mut Session<'_>) -> Node {
        if !self.draft.is_open() {
            return Node::Other;
        }
        let name = session.name(tag.attribute(b"name").unwrap_or_default());
        let value = session.name(tag.attribute(b"value").unwrap_or_default());
        self.property = Some(Trait { name, value });
        session.start_text(&mut self.property_text, session.limits().message_bytes);
        Node::Property
    }

    fn close_property(&mut self, session: &mut Session<'_>) {
        let text = session.finish_text(&mut self.property_text);
        if let Some(mut property) = self.property.take() {
            if property.value.is_empty() {
                property.value = text.as_str().trim().to_owned();
            }
            self.draft.add_trait(property, session);
        }
    }

    fn open_suite_failure(
        &mut self,
        name: &[u8],
        tag: &Tag<'_>,
        session: &mut Session<'_>,
    ) -> Node {
        let outcome = if name == b"failure" {
            Outcome::Failed
        } else {
            Outcome::Errored
        };
        let mut case = session.record(self.suites.path(), b"");
        case.origin = Origin::Synthesised;
        case.outcome = outcome;
        case.name = format!("{}.{}", self.suites.last(), String::from_utf8_lossy(name));
        if let Some(message) = tag.attribute(b"message") {
            case.evidence.message = session.attribute_text(message, session.limits().message_bytes);
        }
        if let Some(kind) = tag.attribute(b"type") {
            case.evidence.kind = session.name(kind);
        }
        self.suite_failure = Some(case);
        session.start_text(&mut self.body, session.limits().stack_bytes);
        Node::SuiteFailure(outcome)
    }

    fn close_suite_failure(&mut self, outcome: Outcome, session: &mut Session<'_>) {
        let body = session.finish_text(&mut self.body);
        if let Some(mut case) = self.suite_failure.take() {
            case.outcome = outcome;
            case.evidence.stack = body;
            crate::formats::junit_case::message_from_stack(&mut case.evidence);
            session.emit_record(case);
        }
    }
}

/// What the attributes of a case say beside its name.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    pub(crate) file: String,
    pub(crate) line: Option<u64>,
    pub(crate) status: Cow<'static, str>,
    pub(crate) result: Cow<'static, str>,
    /// The value of an attribute that marks it as skipped.
    pub(crate) skipped: Option<String>,
}

impl Hints {
    pub(crate) fn clear(&mut self) {
        self.file.clear();
        self.line = None;
        self.status = Cow::Borrowed("");
        self.result = Cow::Borrowed("");
        self.skipped = None;
    }
}

fn is_no(value: &[u8]) -> bool {
    matches!(value.trim_ascii(), b"" | b"0" | b"false" | b"False")
}

/// Takes what the root element says about the run.
fn read_run(tag: &Tag<'_>, session: &mut Session<'_>) {
    for (key, value) in tag.attributes() {
        match key {
            b"name" => session.run().name = session.name(value),
            b"hostname" => session.run().host = session.name(value),
            b"timestamp" => session.run().started = instant(value, Zone::Required),
            b"tests" => session.run().declared.total = number(value),
            b"failures" => session.run().declared.failed = number(value),
            b"errors" => session.run().declared.errored = number(value),
            b"skipped" | b"skip" | b"ignored" => session.run().declared.skipped = number(value),
            _ => {}
        }
    }
}
