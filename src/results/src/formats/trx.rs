//! Visual Studio TRX, as `vstest`, Microsoft.Testing.Platform and `mstest.exe` write it.

use crate::formats::assembly_name;
use crate::formats::trx_definitions::{
    Definition, DefinitionId, Definitions, class_without_assembly,
};
use crate::formats::words;
use crate::model::{
    Attachment, AttachmentBody, Evidence, Origin, Outcome, Part, TestCase, Timestamp, Trait,
};
use crate::problem::ProblemKind;
use crate::session::{Session, join_text, number};
use crate::text::{Capture, Text, printable_line};
use crate::time::{Comma, Zone, between, instant, seconds};
use crate::xml::document::{ElementReader, Piece};
use crate::xml::tag::Tag;

/// Levels of parts that are told apart; what is deeper counts as the last of them.
const MOST_LEVELS: usize = 3;

/// What an open element means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Root,
    Results,
    /// A result that counts.
    Result,
    /// A result inside another.
    Inner,
    Output,
    ErrorInfo,
    TextMessages,
    Field(Field),
    /// Markup inside a text.
    Inside,
    Definitions,
    UnitTest,
    InUnitTest,
    Summary,
    RunInfo,
    /// A container inside a result that has no meaning of its own.
    Container,
    Other,
}

/// A text that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Message,
    StackTrace,
    StdOut,
    StdErr,
    /// `RunInfo > Text`.
    RunText,
}

/// Makes cases of TRX elements.
#[derive(Default)]
pub(crate) struct Trx {
    definitions: Definitions,
    result: Option<(DefinitionId, TestCase)>,
    /// Open results inside the result: the place of each in its list of parts, if it found room there.
    inner: Vec<Option<usize>>,
    field: Option<Field>,
    text: Capture,
    definition: Option<(DefinitionId, Definition)>,
    run_failure: Option<TestCase>,
}

impl ElementReader for Trx {
    type Node = Node;

    fn open(&mut self, parent: Option<Node>, tag: &Tag<'_>, session: &mut Session<'_>) -> Node {
        match (parent, tag.name()) {
            (None, _) => {
                session.run().name = session.name(tag.attribute(b"name").unwrap_or_default());
                Node::Root
            }
            (Some(Node::Field(_) | Node::Inside), _) => Node::Inside,
            (Some(Node::Root), b"Results") => Node::Results,
            (Some(Node::Root), b"TestDefinitions") => Node::Definitions,
            (Some(Node::Root), b"ResultSummary") => Node::Summary,
            (Some(Node::Root), b"Times") => {
                session.run().started = tag.attribute(b"start").and_then(utc);
                session.run().finished = tag.attribute(b"finish").and_then(utc);
                Node::Other
            }
            (Some(Node::Results), name) if is_result(name) => {
                self.open_result(tag, session);
                Node::Result
            }
            (Some(parent @ (Node::Result | Node::Inner | Node::Container)), name) => {
                self.open_in_result(parent, name, tag, session)
            }
            (Some(Node::Output), b"ErrorInfo") => Node::ErrorInfo,
            (Some(Node::Output), b"TextMessages") => Node::TextMessages,
            (Some(Node::Output), b"StdOut" | b"DebugTrace") => {
                self.open_field(Field::StdOut, session)
            }
            (Some(Node::Output), b"StdErr") => self.open_field(Field::StdErr, session),
            (Some(Node::TextMessages), b"Message") => self.open_field(Field::StdOut, session),
            (Some(Node::ErrorInfo), b"Message") => self.open_field(Field::Message, session),
            (Some(Node::ErrorInfo), b"StackTrace") => self.open_field(Field::StackTrace, session),
            (Some(Node::Definitions), _) => {
                self.open_definition(tag, session);
                Node::UnitTest
            }
            (Some(Node::UnitTest | Node::InUnitTest), name) => {
                self.read_definition(name, tag, session);
                Node::InUnitTest
            }
            (Some(Node::Summary), b"Counters") => {
                session.run().declared.total = tag.attribute(b"total").and_then(number);
                session.run().declared.failed = tag.attribute(b"failed").and_then(number);
                session.run().declared.errored = tag.attribute(b"error").and_then(number);
                Node::Other
            }
            (Some(Node::Summary), b"RunInfos") => Node::Summary,
            (Some(Node::Summary), b"RunInfo") => self.open_run_info(tag, session),
            (Some(Node::RunInfo), b"Text") => self.open_field(Field::RunText, session),
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
            Node::Result => self.finish_result(session),
            Node::Inner => {
                self.inner.pop();
            }
            Node::Field(field) => self.close_field(field, session),
            Node::UnitTest => {
                if let Some((id, definition)) = self.definition.take() {
                    self.definitions.add(id, definition, session);
                }
            }
            Node::Definitions => self.definitions.complete(session),
            Node::RunInfo => self.close_run_info(session),
            _ => {}
        }
    }

    fn finish(&mut self, session: &mut Session<'_>) -> Option<String> {
        if let Some(field) = self.field {
            self.close_field(field, session);
        }
        let lost = self.result.as_ref().map(|(_, case)| {
            format!(
                "the test `{}` is incomplete",
                printable_line(&case.full_name(), 200)
            )
        });
        // The outcome stands in the start tag, so that what is there can be believed.
        self.finish_result(session);
        self.close_run_info(session);
        self.definitions.complete(session);
        lost
    }
}

impl Trx {
    fn open_result(&mut self, tag: &Tag<'_>, session: &mut Session<'_>) {
        self.inner.clear();
        let mut case = TestCase::new("".into(), session.position());
        let mut id: &[u8] = b"";
        let mut end = None;
        for (key, value) in tag.attributes() {
            match key {
                b"testId" => id = value,
                b"testName" => case.name = session.name(value),
                b"outcome" => case.raw_outcome = words::literal(value, session),
                b"duration" => case.duration = seconds(value, Comma::Decimal),
                b"startTime" => case.started = utc(value),
                b"endTime" => end = utc(value),
                b"computerName" if session.run().host.is_empty() => {
                    session.run().host = session.name(value);
                }
                _ => {}
            }
        }
        case.duration = case.duration.or(between(case.started, end));
        case.outcome = outcome_of(&case.raw_outcome);
        self.result = Some((DefinitionId::new(id), case));
    }

    fn open_in_result(
        &mut self,
        parent: Node,
        name: &[u8],
        tag: &Tag<'_>,
        session: &mut Session<'_>,
    ) -> Node {
        match name {
            name if is_result(name) => {
                self.open_inner(tag, session);
                Node::Inner
            }
            b"Output" if parent != Node::Container => Node::Output,
            b"ResultFile" => self.add_attachment(tag.attribute(b"path"), session),
            b"A" => self.add_attachment(tag.attribute(b"href"), session),
            _ => Node::Container,
        }
    }

    fn open_inner(&mut self, tag: &Tag<'_>, session: &mut Session<'_>) {
        let level = u8::try_from((self.inner.len() + 1).min(MOST_LEVELS)).unwrap_or(1);
        let mut part = Part {
            level,
            name: String::new(),
            outcome: Outcome::Errored,
            duration: None,
            started: None,
            evidence: Evidence::default(),
        };
        let mut end = None;
        for (key, value) in tag.attributes() {
            match key {
                b"testName" => part.name = session.name(value),
                b"outcome" => part.outcome = outcome_of(&words::literal(value, session)),
                b"duration" => part.duration = seconds(value, Comma::Decimal),
                b"startTime" => part.started = utc(value),
                b"endTime" => end = utc(value),
                _ => {}
            }
        }
        part.duration = part.duration.or(between(part.started, end));
        let Some((_, case)) = &mut self.result else {
            return;
        };
        let place = case.parts.len();
        session.push_entry(&mut case.parts, part);
        self.inner.push((case.parts.len() > place).then_some(place));
    }

    fn open_field(&mut self, field: Field, session: &mut Session<'_>) -> Node {
        let limits = session.limits();
        let limit = match field {
            Field::Message | Field::RunText => limits.message_bytes,
            Field::StackTrace => limits.stack_bytes,
            Field::StdOut | Field::StdErr => limits.output_bytes,
        };
        session.start_text(&mut self.text, limit);
        self.field = Some(field);
        Node::Field(field)
    }

    fn close_field(&mut self, field: Field, session: &mut Session<'_>) {
        self.field = None;
        let text = session.finish_text(&mut self.text);
        let limits = session.limits();
        if field == Field::RunText {
            if let Some(case) = &mut self.run_failure {
                join_text(&mut case.evidence.message, text, limits.message_bytes);
            }
            return;
        }
        let Some((_, case)) = &mut self.result else {
            return;
        };
        let evidence = match self.inner.last() {
            None => &mut case.evidence,
            Some(None) => return,
            Some(Some(place)) => match case.parts.get_mut(*place) {
                Some(part) => &mut part.evidence,
                None => return,
            },
        };
        match field {
            Field::Message => join_text(&mut evidence.message, text, limits.message_bytes),
            Field::StackTrace => join_text(&mut evidence.stack, text, limits.stack_bytes),
            Field::StdErr => join_text(&mut evidence.stderr, text, limits.output_bytes),
            Field::StdOut | Field::RunText => {
                join_text(&mut evidence.stdout, text, limits.output_bytes);
            }
        }
    }

    fn add_attachment(&mut self, path: Option<&[u8]>, session: &mut Session<'_>) -> Node {
        if let (Some(path), Some((_, case))) = (path, &mut self.result) {
            let body = AttachmentBody::Path(session.name(path));
            let attachment = Attachment {
                name: String::new(),
                media_type: None,
                body,
            };
            session.push_entry(&mut case.attachments, attachment);
        }
        Node::Other
    }

    fn open_definition(&mut self, tag: &Tag<'_>, session: &mut Session<'_>) {
        let id = DefinitionId::new(tag.attribute(b"id").unwrap_or_default());
        let mut definition = Definition::default();
        if let Some(storage) = tag.attribute(b"storage") {
            definition.storage = Some(assembly_name(&session.name(storage)).into());
        }
        self.definition = Some((id, definition));
        self.add_trait("priority", tag.attribute(b"priority"), session);
    }

    fn read_definition(&mut self, name: &[u8], tag: &Tag<'_>, session: &mut Session<'_>) {
        match name {
            b"TestMethod" => {
                let class = tag.attribute(b"className").map(|value| session.name(value));
                let method = session.name(tag.attribute(b"name").unwrap_or_default());
                let Some((_, definition)) = &mut self.definition else {
                    return;
                };
                if let Some(class) = class {
                    let class = class_without_assembly(&class);
                    // Some adapters write the full name here, others the method alone.
                    let inner = method
                        .strip_prefix(class)
                        .and_then(|rest| rest.strip_prefix('.'));
                    definition.method = inner.unwrap_or(&method).to_owned();
                    definition.class = Some(class.into());
                } else {
                    definition.method = method;
                }
            }
            b"TestCategoryItem" => {
                self.add_trait("category", tag.attribute(b"TestCategory"), session);
            }
            b"Owner" => self.add_trait("owner", tag.attribute(b"name"), session),
            _ => {}
        }
    }

    fn add_trait(&mut self, name: &str, value: Option<&[u8]>, session: &mut Session<'_>) {
        if let (Some(value), Some((_, definition))) = (value, &mut self.definition) {
            let value = session.name(value);
            session.push_entry(
                &mut definition.traits,
                Trait {
                    name: name.to_owned(),
                    value,
                },
            );
        }
    }

    fn open_run_info(&mut self, tag: &Tag<'_>, session: &mut Session<'_>) -> Node {
        let word = words::literal(tag.attribute(b"outcome").unwrap_or_default(), session);
        if !outcome_of(&word).is_failure() {
            return Node::Other;
        }
        let mut case = TestCase::new(session.run().name.as_str().into(), session.position());
        case.origin = Origin::Synthesised;
        case.outcome = Outcome::Errored;
        case.name = "RunInfo".to_owned();
        case.raw_outcome = word;
        self.run_failure = Some(case);
        Node::RunInfo
    }

    fn close_run_info(&mut self, session: &mut Session<'_>) {
        if let Some(case) = self.run_failure.take() {
            // Loggers also put here, as errors, the lines by which xUnit says that a test failed.
            let message = case.evidence.message.as_str().trim();
            if !(message.starts_with("[xUnit.net ") && message.ends_with("[FAIL]")) {
                session.emit(case);
            }
        }
    }

    fn finish_result(&mut self, session: &mut Session<'_>) {
        let Some((id, mut case)) = self.result.take() else {
            return;
        };
        self.inner.clear();
        if case.outcome == Outcome::Passed
            && let Some(part) = case.parts.iter().find(|part| part.outcome.is_failure())
        {
            let name = printable_line(&case.name, 200);
            case.outcome = part.outcome;
            session.problem(ProblemKind::Contradiction, case.position, || {
                format!("`{name}` says it passed and has a part that failed; it counts as failed")
            });
        }
        let left_out = matches!(case.outcome, Outcome::Skipped | Outcome::NotRun);
        if left_out && case.evidence.message.is_empty() {
            // Older adapters tell the reason only on standard output.
            case.evidence.message = Text::from(case.evidence.stdout.as_str().trim());
        }
        self.definitions.result(id, case, session);
    }
}

/// Whether an element of this name is the result of a test.
fn is_result(name: &[u8]) -> bool {
    matches!(
        name,
        b"UnitTestResult"
            | b"WebTestResult"
            | b"ManualTestResult"
            | b"GenericTestResult"
            | b"LoadTestResult"
            | b"TestResult"
            | b"TestResultAggregation"
    )
}

/// The writers leave the attribute out where the outcome is the first of their list, which is Error.
fn outcome_of(word: &str) -> Outcome {
    const WORDS: [(&str, Outcome); 14] = [
        ("Passed", Outcome::Passed),
        ("Failed", Outcome::Failed),
        ("NotExecuted", Outcome::Skipped),
        ("", Outcome::Errored),
        ("Error", Outcome::Errored),
        ("Timeout", Outcome::TimedOut),
        ("Aborted", Outcome::Errored),
        ("Disconnected", Outcome::Errored),
        ("Inconclusive", Outcome::Inconclusive),
        ("Warning", Outcome::Inconclusive),
        ("Completed", Outcome::Inconclusive),
        ("PassedButRunAborted", Outcome::Passed),
        ("NotRunnable", Outcome::NotRun),
        ("Pending", Outcome::NotRun),
    ];
    let known = WORDS
        .iter()
        .find(|(known, _)| word.eq_ignore_ascii_case(known));
    match known {
        Some((_, outcome)) => *outcome,
        // It never came to an end.
        None if word.eq_ignore_ascii_case("InProgress") => Outcome::Errored,
        None => Outcome::Unknown,
    }
}

fn utc(value: &[u8]) -> Option<Timestamp> {
    instant(value, Zone::AssumeUtc)
}
