//! `__test_report_v2.json`, which Helix's own reporter script leaves beside a work item.
//!
//! The file also carries a token of the build service. It is not looked at: whatever stands under `azdo` is
//! skipped unread and can turn up in no case, problem or error.

use crate::formats::words;
use crate::json::document::{Scalar, ValueReader};
use crate::model::{Attachment, AttachmentBody, Outcome, TestCase, Trait};
use crate::session::Session;
use crate::text::printable_line;
use crate::time::{Comma, seconds};

/// What an open object or array means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Root,
    Results,
    Case,
    Attachments,
    Attachment,
    Other,
}

/// Whether the repository asked for failures of the test to be ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quarantine {
    No,
    Yes,
}

/// Makes cases of the objects of the report.
#[derive(Default)]
pub(crate) struct HelixReport {
    draft: Option<Draft>,
}

struct Draft {
    case: TestCase,
    quarantine: Quarantine,
    skip_reason: crate::text::Text,
    attachment: Option<Attachment>,
}

impl ValueReader for HelixReport {
    type Node = Node;

    fn open(&mut self, parent: Option<Node>, key: &[u8], session: &mut Session<'_>) -> Node {
        match (parent, key) {
            (None, _) => Node::Root,
            (Some(Node::Root), b"results") => Node::Results,
            (Some(Node::Results), _) => {
                self.draft = Some(Draft {
                    case: TestCase::new("".into(), session.position()),
                    quarantine: Quarantine::No,
                    skip_reason: crate::text::Text::default(),
                    attachment: None,
                });
                Node::Case
            }
            (Some(Node::Case), b"attachments") => Node::Attachments,
            (Some(Node::Attachments), _) => {
                if let Some(draft) = &mut self.draft {
                    draft.attachment = Some(Attachment {
                        name: String::new(),
                        media_type: None,
                        body: AttachmentBody::TooLarge { bytes: 0 },
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
            (Node::Case, b"failure_message" | b"skip_reason") => limits.message_bytes,
            (Node::Case, b"stack_trace") => limits.stack_bytes,
            (Node::Attachment, b"text") => limits.output_bytes,
            (Node::Case | Node::Attachment, _) => limits.name_bytes,
            (Node::Root | Node::Results | Node::Attachments | Node::Other, _) => 0,
        }
    }

    fn scalar(&mut self, node: Node, key: &[u8], value: Scalar<'_>, session: &mut Session<'_>) {
        let Some(draft) = &mut self.draft else { return };
        match (node, key, value) {
            (Node::Case, b"failure_message", Scalar::Text(text)) => {
                draft.case.evidence.message = session.finish_text(text);
            }
            (Node::Case, b"stack_trace", Scalar::Text(text)) => {
                draft.case.evidence.stack = session.finish_text(text)
            }
            (Node::Case, b"skip_reason", Scalar::Text(text)) => {
                draft.skip_reason = session.finish_text(text)
            }
            (Node::Case, b"ignored", Scalar::Bool(true)) => draft.quarantine = Quarantine::Yes,
            (Node::Case, b"duration_seconds", Scalar::Number(number)) => {
                draft.case.duration = seconds(number, Comma::Decimal);
            }
            (Node::Case, key, Scalar::Text(text)) => {
                let target = match key {
                    b"name" => &mut draft.case.name,
                    b"method" => &mut draft.case.method,
                    b"exception_type" => &mut draft.case.evidence.kind,
                    b"type" => {
                        draft.case.class = session.captured_name(text).into();
                        return;
                    }
                    b"result" => {
                        draft.case.raw_outcome = session.captured_name(text).into();
                        return;
                    }
                    _ => return,
                };
                *target = session.captured_name(text);
            }
            (Node::Attachment, b"name", Scalar::Text(text)) => {
                if let Some(attachment) = &mut draft.attachment {
                    attachment.name = session.captured_name(text);
                }
            }
            (Node::Attachment, b"text", Scalar::Text(text)) => {
                if let Some(attachment) = &mut draft.attachment {
                    attachment.body = AttachmentBody::Text(session.finish_text(text));
                }
            }
            _ => {}
        }
    }

    fn close(&mut self, node: Node, session: &mut Session<'_>) {
        match node {
            Node::Case => {
                if let Some(draft) = self.draft.take() {
                    session.emit(draft.finish());
                }
            }
            Node::Attachment => {
                if let Some(draft) = &mut self.draft
                    && let Some(attachment) = draft.attachment.take()
                {
                    session.push_entry(&mut draft.case.attachments, attachment);
                }
            }
            Node::Root | Node::Results | Node::Attachments | Node::Other => {}
        }
    }

    fn finish(&mut self, session: &mut Session<'_>) -> Option<String> {
        let draft = self.draft.take()?;
        let case = draft.finish();
        let name = printable_line(&case.full_name(), 200);
        if case.outcome.is_failure() && case.outcome != Outcome::Unknown {
            session.emit(case);
            return Some(format!("the failed test `{name}` is incomplete"));
        }
        Some(format!("the test `{name}` was not finished and is lost"))
    }
}

impl Draft {
    fn finish(mut self) -> TestCase {
        self.case.outcome = match (words::outcome(&self.case.raw_outcome), self.quarantine) {
            // The failure is on record in the texts; it was agreed beforehand that it must not count.
            (Some(outcome), Quarantine::Yes) if outcome.is_failure() => Outcome::Skipped,
            (Some(outcome), _) => outcome,
            (None, _) => Outcome::Unknown,
        };
        if self.quarantine == Quarantine::Yes {
            let entry = Trait {
                name: "quarantined".to_owned(),
                value: "true".to_owned(),
            };
            self.case.traits.push(entry);
        }
        if self.case.evidence.message.is_empty() {
            self.case.evidence.message = self.skip_reason;
        }
        self.case
    }
}
