//! GoogleTest JSON: `testsuites[].testsuite[]`. Its XML is of the JUnit family.

use crate::json::document::{Scalar, ValueReader};
use crate::model::{Outcome, SourceLocation, TestCase, Trait};
use crate::session::{Session, join_text, number};
use crate::text::{Text, printable_line};
use crate::time::{Comma, Zone, instant, seconds};

/// What an open object or array means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Root,
    Suites,
    Suite,
    Tests,
    Test,
    Messages(Messages),
    Message(Messages),
    Other,
}

/// What a list of messages is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Messages {
    Failures,
    Skips,
}

/// Makes cases of the objects of a report.
#[derive(Default)]
pub(crate) struct GoogleTestJson {
    suite: String,
    draft: Option<Draft>,
}

struct Draft {
    case: TestCase,
    status: String,
    result: String,
    file: String,
    line: Option<u64>,
}

impl ValueReader for GoogleTestJson {
    type Node = Node;

    fn open(&mut self, parent: Option<Node>, key: &[u8], session: &mut Session<'_>) -> Node {
        match (parent, key) {
            (None, _) => Node::Root,
            (Some(Node::Root), b"testsuites") => Node::Suites,
            (Some(Node::Suites), _) => {
                self.suite.clear();
                Node::Suite
            }
            (Some(Node::Suite), b"testsuite") => Node::Tests,
            (Some(Node::Tests), _) => {
                let case = TestCase::new(self.suite.as_str().into(), session.position());
                self.draft = Some(Draft {
                    case,
                    status: String::new(),
                    result: String::new(),
                    file: String::new(),
                    line: None,
                });
                Node::Test
            }
            (Some(Node::Test), b"failures") => Node::Messages(Messages::Failures),
            (Some(Node::Test), b"skipped") => Node::Messages(Messages::Skips),
            (Some(Node::Messages(messages)), _) => {
                if let Some(draft) = &mut self.draft
                    && messages == Messages::Failures
                {
                    // That it is there says that the test failed, whatever it holds.
                    draft.case.outcome = Outcome::Failed;
                }
                Node::Message(messages)
            }
            (Some(_), _) => Node::Other,
        }
    }

    fn keep(&self, node: Node, _: &[u8], session: &Session<'_>) -> usize {
        let limits = session.limits();
        match node {
            Node::Message(_) => limits.stack_bytes,
            Node::Root | Node::Suite | Node::Test => limits.name_bytes,
            Node::Suites | Node::Tests | Node::Messages(_) | Node::Other => 0,
        }
    }

    fn scalar(&mut self, node: Node, key: &[u8], value: Scalar<'_>, session: &mut Session<'_>) {
        match (node, key, value) {
            (Node::Root, b"name", Scalar::Text(text)) => {
                session.run().name = session.captured_name(text);
            }
            (Node::Root, b"tests", Scalar::Number(text)) => {
                session.run().declared.total = number(text)
            }
            (Node::Root, b"failures", Scalar::Number(text)) => {
                session.run().declared.failed = number(text);
            }
            (Node::Suite, b"name", Scalar::Text(text)) => self.suite = session.captured_name(text),
            (Node::Test, key, value) => self.test_scalar(key, value, session),
            (Node::Message(messages), b"failure" | b"message", Scalar::Text(text)) => {
                let limits = session.limits();
                let message = session.finish_text(text);
                let Some(draft) = &mut self.draft else { return };
                match messages {
                    Messages::Failures => {
                        if draft.case.evidence.message.is_empty() {
                            draft.case.evidence.message = message.clone();
                        }
                        join_text(&mut draft.case.evidence.stack, message, limits.stack_bytes);
                    }
                    Messages::Skips => {
                        join_text(
                            &mut draft.case.evidence.message,
                            message,
                            limits.message_bytes,
                        );
                    }
                }
            }
            _ => {}
        }
    }

    fn close(&mut self, node: Node, session: &mut Session<'_>) {
        if node == Node::Test
            && let Some(draft) = self.draft.take()
        {
            session.emit(draft.finish());
        }
    }

    fn finish(&mut self, session: &mut Session<'_>) -> Option<String> {
        let draft = self.draft.take()?;
        let name = printable_line(&draft.case.full_name(), 200);
        if draft.case.outcome == Outcome::Failed {
            session.emit(draft.finish());
            return Some(format!("the failed test `{name}` is incomplete"));
        }
        Some(format!("the test `{name}` was not finished and is lost"))
    }
}

impl GoogleTestJson {
    fn test_scalar(&mut self, key: &[u8], value: Scalar<'_>, session: &mut Session<'_>) {
        let Some(draft) = &mut self.draft else { return };
        match (key, value) {
            (b"line", Scalar::Number(text)) => draft.line = number(text),
            (b"name", Scalar::Text(text)) => draft.case.name = session.captured_name(text),
            (b"classname", Scalar::Text(text)) => {
                draft.case.class = session.captured_name(text).into()
            }
            (b"status", Scalar::Text(text)) => draft.status = session.captured_name(text),
            (b"result", Scalar::Text(text)) => draft.result = session.captured_name(text),
            (b"file", Scalar::Text(text)) => draft.file = session.captured_name(text),
            (b"time", Scalar::Text(text)) => {
                let text = session.captured_name(text);
                draft.case.duration =
                    seconds(text.trim_end_matches('s').as_bytes(), Comma::Decimal);
            }
            (b"timestamp", Scalar::Text(text)) => {
                draft.case.started =
                    instant(session.captured_name(text).as_bytes(), Zone::Required);
            }
            (b"value_param" | b"type_param", Scalar::Text(text)) => {
                let name = String::from_utf8_lossy(key).into_owned();
                let value = session.captured_name(text);
                session.push_entry(&mut draft.case.traits, Trait { name, value });
            }
            _ => {}
        }
    }
}

impl Draft {
    fn finish(self) -> TestCase {
        let mut case = self.case;
        if case.outcome == Outcome::Failed {
            // The first failure is the message; where it is the only one, it need not be told twice.
            if case.evidence.message == case.evidence.stack {
                case.evidence.stack = Text::default();
            }
        } else {
            case.outcome = match (self.status.as_str(), self.result.as_str()) {
                ("NOTRUN", _) | (_, "SUPPRESSED") => Outcome::NotRun,
                (_, "SKIPPED") => Outcome::Skipped,
                ("RUN", _) | (_, "COMPLETED") => Outcome::Passed,
                _ => Outcome::Unknown,
            };
        }
        if !self.file.is_empty() {
            case.location = Some(SourceLocation {
                file: self.file,
                line: self.line,
            });
        }
        case.raw_outcome = if self.result.is_empty() {
            self.status
        } else {
            self.result
        }
        .into();
        case
    }
}
