//! xUnit.net XML of all versions.
//!
//! Versions 2 and 3 nest `assemblies > assembly > collection > test`, version 1 has `assembly > class > test`; what
//! a `test` holds is near enough to read all of them in one place. Many writers that are not xUnit.net use this
//! shape too, so nothing is taken for granted: attributes may be missing and counters may lie.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::formats::{assembly_name, words};
use crate::model::{Attachment, AttachmentBody, Origin, Outcome, SourceLocation, TestCase, Trait};
use crate::problem::ProblemKind;
use crate::session::{Session, number};
use crate::text::{Capture, Text, printable_line};
use crate::time::{Comma, Zone, clock, instant, seconds};
use crate::xml::document::{ElementReader, Piece};
use crate::xml::tag::Tag;

/// What an open element means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Root,
    Assembly,
    Test,
    /// `error`: a failure outside any test.
    Error,
    Failure,
    Reason,
    Field(Field),
    Attachment,
    /// Markup inside a text: its own text belongs to the text around it.
    Inside,
    Other,
}

/// A text of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Message,
    StackTrace,
    Output,
    Warning,
}

/// What the children of a test have told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Nothing,
    Reason,
    Failure,
}

/// How the writer escapes texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// Versions before 3 and other writers differ too much to undo anything.
    Unknown,
    /// As the writer of version 3 does it.
    Version3,
}

/// Makes cases of xUnit elements.
pub(crate) struct XUnit {
    assembly: Arc<str>,
    escapes: Escapes,
    case: Option<Box<TestCase>>,
    told: Told,
    /// The text that is being read.
    open: Option<Field>,
    text: Capture,
    /// Reason of a skip, apart from the message of a failure.
    reason: Text,
    warnings: Text,
    attachment: Option<Attachment>,
}

impl Default for XUnit {
    fn default() -> Self {
        Self {
            assembly: Arc::from(""),
            escapes: Escapes::Unknown,
            case: None,
            told: Told::Nothing,
            open: None,
            text: Capture::default(),
            reason: Text::default(),
            warnings: Text::default(),
            attachment: None,
        }
    }
}

impl ElementReader for XUnit {
    type Node = Node;

    fn open(&mut self, parent: Option<Node>, tag: &Tag<'_>, session: &mut Session<'_>) -> Node {
        match (parent, tag.name()) {
            (_, b"test") => {
                self.finish_case(session);
                self.open_test(tag, session);
                Node::Test
            }
            (_, b"assembly") => {
                self.open_assembly(tag, session);
                Node::Assembly
            }
            (None, _) => {
                self.read_schema(tag);
                Node::Root
            }
            (Some(Node::Field(_) | Node::Inside | Node::Attachment), _) => Node::Inside,
            (_, b"error") => {
                self.finish_case(session);
                self.open_error(tag, session);
                Node::Error
            }
            (Some(Node::Test | Node::Error), b"failure") => {
                self.told = Told::Failure;
                if let (Some(case), Some(kind)) = (&mut self.case, tag.attribute(b"exception-type"))
                {
                    case.evidence.kind = session.name(kind);
                }
                Node::Failure
            }
            (Some(Node::Test), b"reason") => {
                self.told = self.told.max(Told::Reason);
                session.start_text(&mut self.text, session.limits().message_bytes);
                Node::Reason
            }
            (Some(Node::Test), b"output") => self.open_field(Field::Output, session),
            (Some(Node::Failure), b"message") => self.open_field(Field::Message, session),
            (Some(Node::Failure), b"stack-trace") => self.open_field(Field::StackTrace, session),
            // Version 1 wraps the reason once more.
            (Some(Node::Reason), _) => Node::Inside,
            (Some(_), b"trait") => {
                self.add_trait(tag, session);
                Node::Other
            }
            (Some(_), b"warning") => self.open_field(Field::Warning, session),
            (Some(_), b"attachment") => self.open_attachment(tag, session),
            (Some(_), _) => Node::Other,
        }
    }

    fn text(&mut self, node: Node, piece: Piece<'_>, _: &mut Session<'_>) {
        match node {
            Node::Field(_) | Node::Reason | Node::Attachment | Node::Inside => {
                piece.push_to(&mut self.text)
            }
            Node::Root
            | Node::Assembly
            | Node::Test
            | Node::Error
            | Node::Failure
            | Node::Other => {}
        }
    }

    fn close(&mut self, node: Node, session: &mut Session<'_>) {
        match node {
            Node::Test | Node::Error => self.finish_case(session),
            Node::Field(field) => self.close_field(field, session),
            Node::Reason => self.reason = self.finish_text(session),
            Node::Attachment => self.close_attachment(session),
            Node::Assembly => self.assembly = Arc::from(""),
            Node::Root | Node::Failure | Node::Inside | Node::Other => {}
        }
    }

    fn finish(&mut self, session: &mut Session<'_>) -> Option<String> {
        let case = self.case.as_mut()?;
        let name = printable_line(&case.full_name(), 200);
        if self.told < Told::Failure && case.outcome != Outcome::Failed {
            self.case = None;
            return Some(format!("the test `{name}` was not finished and is lost"));
        }
        if let Some(field) = self.open {
            self.close_field(field, session);
        }
        self.finish_case(session);
        Some(format!("the failed test `{name}` is incomplete"))
    }
}

impl XUnit {
    fn read_schema(&mut self, tag: &Tag<'_>) {
        if tag
            .attribute(b"schema-version")
            .and_then(number)
            .is_some_and(|version| version >= 2)
        {
            self.escapes = Escapes::Version3;
        }
    }

    fn open_assembly(&mut self, tag: &Tag<'_>, session: &mut Session<'_>) {
        self.read_schema(tag);
        let (mut date, mut time): (&[u8], &[u8]) = (b"", b"");
        let mut started = None;
        for (key, value) in tag.attributes() {
            match key {
                b"name" => self.assembly = Arc::from(assembly_name(&session.name(value))),
                b"test-framework" => session.run().tool = session.name(value),
                b"run-date" => date = value,
                b"run-time" => time = value,
                b"start-rtf" => started = instant(value, Zone::AssumeUtc),
                b"finish-rtf" => session.run().finished = instant(value, Zone::AssumeUtc),
                b"total" => add(&mut session.run().declared.total, value),
                b"failed" => add(&mut session.run().declared.failed, value),
                b"errors" => add(&mut session.run().declared.errored, value),
                b"skipped" => add(&mut session.run().declared.skipped, value),
                _ => {}
            }
        }
        let run = session.run();
        if run.name.is_empty() {
            run.name = self.assembly.as_ref().to_owned();
        }
        if run.started.is_none() {
            run.started =
                started.or_else(|| instant(&[date, b"T", time].concat(), Zone::AssumeUtc));
        }
    }

    fn open_test(&mut self, tag: &Tag<'_>, session: &mut Session<'_>) {
        let class = tag.attribute(b"type").unwrap_or_default();
        let case = self.begin(class, session);
        let mut file = None;
        let mut line = None;
        let mut exact: Option<Duration> = None;
        for (key, value) in tag.attributes() {
            match key {
                b"name" => session.read_name(value, &mut case.name),
                b"method" => session.read_name(value, &mut case.method),
                b"time" => case.duration = seconds(value, Comma::Decimal),
                b"time-rtf" => exact = clock(value),
                b"result" => case.raw_outcome = words::literal(value, session),
                b"start-rtf" => case.started = instant(value, Zone::AssumeUtc),
                b"source-file" => file = Some(session.name(value)),
                b"source-line" => line = number(value),
                _ => {}
            }
        }
        // The seconds are rounded; the clock form is not.
        case.duration = exact.or(case.duration);
        case.location = file
            .filter(|file| !file.is_empty())
            .map(|file| SourceLocation { file, line });
        if case.name.is_empty() && !case.method.is_empty() {
            case.name = match &*case.class {
                "" => case.method.clone(),
                class => format!("{class}.{}", case.method),
            };
        }
        // A result that says "failed" is enough to keep the case when the file is cut off behind it.
        if words::outcome(&case.raw_outcome) == Some(Outcome::Failed) {
            case.outcome = Outcome::Failed;
        }
    }

    fn open_error(&mut self, tag: &Tag<'_>, session: &mut Session<'_>) {
        let assembly = self.assembly.clone();
        let case = self.begin(b"", session);
        case.origin = Origin::Synthesised;
        case.outcome = Outcome::Errored;
        let kind = session.name(tag.attribute(b"type").unwrap_or(b"error"));
        let name = session.name(tag.attribute(b"name").unwrap_or_default());
        case.name = match (&*assembly, name.as_str()) {
            ("", "") => kind,
            (assembly, "") => format!("{assembly}.{kind}"),
            ("", name) => format!("{kind}: {name}"),
            (assembly, name) => format!("{assembly}.{kind}: {name}"),
        };
        self.told = Told::Failure;
    }

    /// Begins a case.
    fn begin(&mut self, class: &[u8], session: &mut Session<'_>) -> &mut TestCase {
        self.told = Told::Nothing;
        self.reason = Text::default();
        self.warnings = Text::default();
        self.attachment = None;
        self.case.insert(session.record(&self.assembly, class))
    }

    fn open_field(&mut self, field: Field, session: &mut Session<'_>) -> Node {
        let limits = session.limits();
        let limit = match field {
            Field::Message | Field::Warning => limits.message_bytes,
            Field::StackTrace => limits.stack_bytes,
            Field::Output => limits.output_bytes,
        };
        session.start_text(&mut self.text, limit);
        self.open = Some(field);
        Node::Field(field)
    }

    fn close_field(&mut self, field: Field, session: &mut Session<'_>) {
        self.open = None;
        let text = match field {
            Field::Message | Field::Warning => self.finish_text(session),
            // These two are not escaped by any version.
            Field::StackTrace | Field::Output => session.finish_text(&mut self.text),
        };
        let limit = session.limits().message_bytes;
        let Some(case) = &mut self.case else { return };
        match field {
            Field::Message => case.evidence.message = text,
            Field::StackTrace => case.evidence.stack = text,
            Field::Output => case.evidence.stdout = text,
            Field::Warning => crate::session::join_text(&mut self.warnings, text, limit),
        }
    }

    /// The text that was read, with the escapes of the writer undone.
    fn finish_text(&mut self, session: &mut Session<'_>) -> Text {
        let text = session.finish_text(&mut self.text);
        match self.escapes {
            Escapes::Version3 if text.dropped_bytes() == 0 => match undo_escapes(text.as_str()) {
                Cow::Borrowed(_) => text,
                Cow::Owned(undone) => Text::from(undone),
            },
            Escapes::Version3 | Escapes::Unknown => text,
        }
    }

    fn add_trait(&mut self, tag: &Tag<'_>, session: &mut Session<'_>) {
        if let Some(case) = &mut self.case {
            let name = session.name(tag.attribute(b"name").unwrap_or_default());
            let value = session.name(tag.attribute(b"value").unwrap_or_default());
            session.push_entry(&mut case.traits, Trait { name, value });
        }
    }

    fn open_attachment(&mut self, tag: &Tag<'_>, session: &mut Session<'_>) -> Node {
        if self.case.is_none() {
            return Node::Other;
        }
        self.attachment = Some(Attachment {
            name: session.name(tag.attribute(b"name").unwrap_or_default()),
            media_type: tag
                .attribute(b"media-type")
                .map(|value| session.name(value)),
            body: AttachmentBody::TooLarge { bytes: 0 },
        });
        session.start_text(&mut self.text, session.limits().output_bytes);
        Node::Attachment
    }

    fn close_attachment(&mut self, session: &mut Session<'_>) {
        let text = session.finish_text(&mut self.text);
        let (Some(case), Some(mut attachment)) = (&mut self.case, self.attachment.take()) else {
            return;
        };
        attachment.body = match (&attachment.media_type, text.dropped_bytes()) {
            (None, _) => AttachmentBody::Text(text),
            (Some(_), 0) => AttachmentBody::Base64(text.into_string()),
            // Half of an encoded content is of no use.
            (Some(_), dropped) => AttachmentBody::TooLarge { bytes: dropped },
        };
        session.push_entry(&mut case.attachments, attachment);
    }

    fn finish_case(&mut self, session: &mut Session<'_>) {
        let Some(case) = &mut self.case else { return };
        if case.origin == Origin::Recorded {
            let word = words::outcome(&case.raw_outcome);
            if self.told == Told::Failure && word.is_some_and(|outcome| !outcome.is_failure()) {
                let name = printable_line(&case.name, 200);
                let word = printable_line(&case.raw_outcome, 40);
                session.problem(ProblemKind::Contradiction, case.position, || {
                    format!("the result of `{name}` is `{word}` and it has a failure; it counts as failed")
                });
            }
            case.outcome = match (self.told, word) {
                (Told::Failure, _) => Outcome::Failed,
                (_, Some(outcome)) => outcome,
                (Told::Reason, None) if case.raw_outcome.is_empty() => Outcome::Skipped,
                (_, None) => Outcome::Unknown,
            };
        }
        let left_out = matches!(case.outcome, Outcome::Skipped | Outcome::NotRun);
        if left_out || case.evidence.message.is_empty() {
            let said = if self.reason.is_empty() {
                &mut self.warnings
            } else {
                &mut self.reason
            };
            if !said.is_empty() {
                case.evidence.message = std::mem::take(said);
            }
        }
        if let Some(case) = self.case.take() {
            session.emit_record(case);
        }
    }
}

fn add(sum: &mut Option<u64>, value: &[u8]) {
    if let Some(value) = number(value) {
        *sum = Some(sum.unwrap_or(0).saturating_add(value));
    }
}

/// Undoes the escapes that the writer of version 3 puts into messages and reasons. A text with a backslash that
/// begins no such escape was not written that way and stays as it is.
fn undo_escapes(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut undone = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        undone.push_str(&rest[..at]);
        let escape = &rest[at + 1..];
        let (character, length) = match escape.as_bytes().first() {
            Some(b'\\') => ('\\', 1),
            Some(b'"') => ('"', 1),
            Some(b'n') => ('\n', 1),
            Some(b'r') => ('\r', 1),
            Some(b't') => ('\t', 1),
            Some(b'a') => ('\u{7}', 1),
            Some(b'b') => ('\u{8}', 1),
            Some(b'f') => ('\u{c}', 1),
            Some(b'v') => ('\u{b}', 1),
            // NUL ends texts in too many places to be brought back.
            Some(b'0') => (char::REPLACEMENT_CHARACTER, 1),
            Some(b'x') => match hexadecimal(&escape[1..]) {
                Some(escaped) => escaped,
                None => return Cow::Borrowed(text),
            },
            _ => return Cow::Borrowed(text),
        };
        undone.push(character);
        rest = &escape[length..];
    }
    undone.push_str(rest);
    Cow::Owned(undone)
}

/// The character of `\xNN` or `\xNNNN`, with the length including the `x`. Control characters have two digits,
/// the rest four.
fn hexadecimal(digits: &str) -> Option<(char, usize)> {
    let code = |length: usize| {
        let digits = digits.get(..length)?;
        digits
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit())
            .then(|| u32::from_str_radix(digits, 16).ok())?
    };
    if let Some(code) = code(4)
        && code >= 0xD800
    {
        return Some((
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
            5,
        ));
    }
    let character = char::from_u32(code(2)?).filter(|character| *character != '\0');
    Some((character.unwrap_or(char::REPLACEMENT_CHARACTER), 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_only_where_all_of_them_are_known() {
        for (text, expected) in [
            (r#"say \"hi\" \\ \t|"#, "say \"hi\" \\ \t|"),
            (r"\x1b[31mred\x1B[0m", "\u{1b}[31mred\u{1b}[0m"),
            (r"half \xd83d pair", "half \u{fffd} pair"),
            (r"nul \0 \x00", "nul \u{fffd} \u{fffd}"),
            (r"C:\temp\q", r"C:\temp\q"),
            (r"end \", r"end \"),
            (r"\xzz", r"\xzz"),
            (r"\x0aab", "\nab"),
        ] {
            assert_eq!(undo_escapes(text), expected, "{text}");
        }
    }
}
