//! CTest's `Test.xml`: `Site > Testing > Test`.

use std::io::Read;

use flate2::read::ZlibDecoder;

use crate::formats::base64;
use crate::formats::words;
use crate::model::{Attachment, AttachmentBody, Outcome, TestCase, Trait};
use crate::session::Session;
use crate::text::{Capture, Text, printable_line};
use crate::time::{Comma, from_unix_seconds, seconds};
use crate::xml::document::{ElementReader, Piece};
use crate::xml::tag::Tag;

/// What an open element means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Site,
    Testing,
    TestList,
    Test,
    Results,
    Named(Named),
    /// The output of the test.
    Measurement,
    Labels,
    Field(Field),
    Other,
}

/// A measurement that means something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    ExecutionTime,
    CompletionStatus,
    ExitCode,
    FailReason,
    AttachedFile,
    Other,
}

/// A text that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    StartTime(Scope),
    EndTime,
    Name,
    Path,
    Label,
    Value(Named),
    Output(Packing),
}

/// Whose time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Run,
    Test,
}

/// How an output is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    /// Base64 of a zlib stream, which CTest calls gzip.
    Compressed,
}

/// Makes cases of CTest elements.
#[derive(Default)]
pub(crate) struct CTest {
    case: Option<TestCase>,
    status: String,
    exit_code: String,
    attachment: Option<Attachment>,
    listed: u64,
    text: Capture,
}

impl ElementReader for CTest {
    type Node = Node;

    fn open(&mut self, parent: Option<Node>, tag: &Tag<'_>, session: &mut Session<'_>) -> Node {
        match (parent, tag.name()) {
            (None, _) => {
                session.run().name = session.name(tag.attribute(b"BuildName").unwrap_or_default());
                session.run().host = session.name(tag.attribute(b"Name").unwrap_or_default());
                session.run().tool = session.name(tag.attribute(b"Generator").unwrap_or_default());
                Node::Site
            }
            (Some(Node::Site), b"Testing") => Node::Testing,
            (Some(Node::Testing), b"TestList") => Node::TestList,
            (Some(Node::TestList), b"Test") => {
                self.listed += 1;
                Node::Other
            }
            (Some(Node::Testing), b"Test") => {
                self.open_test(tag, session);
                Node::Test
            }
            (Some(Node::Testing), b"StartTestTime") => {
                self.open_field(Field::StartTime(Scope::Run), session)
            }
            (Some(Node::Testing), b"EndTestTime") => self.open_field(Field::EndTime, session),
            (Some(Node::Test), b"StartTestTime") => {
                self.open_field(Field::StartTime(Scope::Test), session)
            }
            (Some(Node::Test), b"Name") => self.open_field(Field::Name, session),
            (Some(Node::Test), b"Path") => self.open_field(Field::Path, session),
            (Some(Node::Test), b"Results") => Node::Results,
            (Some(Node::Test), b"Labels") => Node::Labels,
            (Some(Node::Labels), b"Label") => self.open_field(Field::Label, session),
            (Some(Node::Results | Node::Test), b"NamedMeasurement") => {
                Node::Named(self.open_named(tag, session))
            }
            (Some(Node::Results), b"Measurement") => Node::Measurement,
            (Some(Node::Named(named)), b"Value") => self.open_field(Field::Value(named), session),
            (Some(Node::Measurement), b"Value") => {
                let packing = match tag.attribute(b"compression") {
                    Some(_) => Packing::Compressed,
                    None => Packing::Plain,
                };
                self.open_field(Field::Output(packing), session)
            }
            (Some(_), _) => Node::Other,
        }
    }

    fn text(&mut self, node: Node, piece: Piece<'_>, _: &mut Session<'_>) {
        if let Node::Field(_) = node {
            piece.push_to(&mut self.text);
        }
    }

    fn close(&mut self, node: Node, session: &mut Session<'_>) {
        match node {
            Node::Test => self.finish_test(session),
            Node::TestList => session.run().declared.total = Some(self.listed),
            Node::Field(field) => self.close_field(field, session),
            Node::Named(Named::AttachedFile) => {
                if let (Some(case), Some(attachment)) = (&mut self.case, self.attachment.take()) {
                    session.push_entry(&mut case.attachments, attachment);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, session: &mut Session<'_>) -> Option<String> {
        let case = self.case.as_ref()?;
        let name = printable_line(&case.name, 200);
        if case.raw_outcome == "failed" {
            self.finish_test(session);
            return Some(format!("the failed test `{name}` is incomplete"));
        }
        Some(format!("the test `{name}` was not finished and is lost"))
    }
}

impl CTest {
    fn open_test(&mut self, tag: &Tag<'_>, session: &mut Session<'_>) {
        self.status.clear();
        self.exit_code.clear();
        self.attachment = None;
        let mut case = TestCase::new("".into(), session.position());
        case.raw_outcome = words::literal(tag.attribute(b"Status").unwrap_or_default(), session);
        self.case = Some(case);
    }

    fn open_named(&mut self, tag: &Tag<'_>, session: &mut Session<'_>) -> Named {
        match tag.attribute(b"name").unwrap_or_default() {
            b"Execution Time" => Named::ExecutionTime,
            b"Completion Status" => Named::CompletionStatus,
            b"Exit Code" => Named::ExitCode,
            b"Fail Reason" => Named::FailReason,
            _ if tag.attribute(b"type") == Some(b"file") => {
                let name = tag.attribute(b"filename").unwrap_or_default();
                self.attachment = Some(Attachment {
                    name: session.name(name),
                    media_type: tag
                        .attribute(b"compression")
                        .map(|value| session.name(value)),
                    body: AttachmentBody::TooLarge { bytes: 0 },
                });
                Named::AttachedFile
            }
            _ => Named::Other,
        }
    }

    fn open_field(&mut self, field: Field, session: &mut Session<'_>) -> Node {
        let limits = session.limits();
        let limit = match field {
            Field::Output(_) | Field::Value(Named::AttachedFile) => limits.output_bytes,
            Field::Value(Named::FailReason) => limits.message_bytes,
            Field::Value(Named::Other) => 0,
            _ => limits.name_bytes,
        };
        session.start_text(&mut self.text, limit);
        Node::Field(field)
    }

    fn close_field(&mut self, field: Field, session: &mut Session<'_>) {
        let text = session.finish_text(&mut self.text);
        let bytes = text.as_str().as_bytes();
        match field {
            Field::StartTime(Scope::Run) => session.run().started = from_unix_seconds(bytes),
            Field::EndTime => session.run().finished = from_unix_seconds(bytes),
            Field::Value(Named::CompletionStatus) => self.status = text.into_string(),
            Field::Value(Named::ExitCode) => self.exit_code = text.into_string(),
            _ => self.set_on_case(field, text, session),
        }
    }

    fn set_on_case(&mut self, field: Field, text: Text, session: &mut Session<'_>) {
        let Some(case) = &mut self.case else { return };
        match field {
            Field::StartTime(Scope::Test) => {
                case.started = from_unix_seconds(text.as_str().as_bytes());
            }
            Field::Name => case.name = text.into_string(),
            Field::Path => case.suite = text.as_str().into(),
            Field::Label => {
                let label = Trait {
                    name: "label".to_owned(),
                    value: text.into_string(),
                };
                session.push_entry(&mut case.traits, label);
            }
            Field::Value(Named::ExecutionTime) => {
                case.duration = seconds(text.as_str().as_bytes(), Comma::Decimal);
            }
            Field::Value(Named::FailReason) => case.evidence.message = text,
            Field::Value(Named::AttachedFile) => {
                if let Some(attachment) = &mut self.attachment {
                    attachment.body = match text.dropped_bytes() {
                        0 => AttachmentBody::Base64(text.into_string()),
                        // Half of an encoded content is of no use.
                        dropped => AttachmentBody::TooLarge { bytes: dropped },
                    };
                }
            }
            Field::Output(Packing::Plain) => case.evidence.stdout = text,
            Field::Output(Packing::Compressed) => {
                session.start_text(&mut self.text, session.limits().output_bytes);
                unpack(&text, &mut self.text);
                case.evidence.stdout = session.finish_text(&mut self.text);
            }
            _ => {}
        }
    }

    fn finish_test(&mut self, session: &mut Session<'_>) {
        let Some(mut case) = self.case.take() else {
            return;
        };
        let timed_out = self.exit_code == "Timeout" || self.status == "Timeout";
        case.outcome = match &*case.raw_outcome {
            "passed" => Outcome::Passed,
            "failed" if timed_out => Outcome::TimedOut,
            "failed" if self.status.starts_with("Unable to find executable") => Outcome::Errored,
            "failed" => Outcome::Failed,
            "notrun" => match self.status.as_str() {
                // CTest itself counts these as failures.
                status if status.starts_with("Unable to find executable") => Outcome::Errored,
                "Required Files Missing"
                | "Fixture dependency failed"
                | "Missing Configuration" => Outcome::Errored,
                status if status.starts_with("SKIP_") => Outcome::Skipped,
                _ => Outcome::NotRun,
            },
            _ => Outcome::Unknown,
        };
        if case.outcome != Outcome::Passed {
            if case.evidence.message.is_empty() && self.status != "Completed" {
                case.evidence.message = Text::from(self.status.as_str());
            }
            case.evidence.kind = std::mem::take(&mut self.exit_code);
        }
        session.emit(case);
    }
}

/// Unpacks base64 of a zlib stream, as far as it is whole and fits.
fn unpack(packed: &Text, target: &mut Capture) {
    if packed.dropped_bytes() > 0 {
        target.push(b"[packed output that is too large to unpack]");
        return;
    }
    let Some(bytes) = base64::decode(packed.as_str()) else {
        return target.push(packed.as_str().as_bytes());
    };
    // A stream that unpacks to a thousand times its size is stopped long before it costs anything.
    let most = u64::try_from(bytes.len())
        .unwrap_or(u64::MAX)
        .saturating_mul(100)
        .max(1 << 20);
    let mut stream = ZlibDecoder::new(bytes.as_slice()).take(most);
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        target.push(&buffer[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_output_is_unpacked_and_odd_output_kept() {
        let mut capture = Capture::new(100);
        unpack(
            &Text::from("eJzzSM3JyVcIzy/KSVF09Al3jAz2cw1zDSKFyQUA6eMU3Q=="),
            &mut capture,
        );
        assert!(capture.finish().0.as_str().starts_with("Hello World!"));
        unpack(&Text::from("not base64!"), &mut capture);
        assert_eq!(capture.finish().0.as_str(), "not base64!");
        unpack(&Text::from("AAAA"), &mut capture);
        assert_eq!(capture.finish().0.as_str(), "");
    }
}
