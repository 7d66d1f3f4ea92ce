//! `go test -json`: one event per line.
//!
//! Events of many tests are interleaved, so what a test prints is gathered until the test ends. A failed test is
//! held back even longer, to the end of the file as far as room allows: tools that run failed tests again append
//! to the same stream, and only then is it known whether the test passed in the end.

use crate::formats::gotest_state::{Ended, GoState};
use crate::json::document::{Scalar, ValueReader};
use crate::model::Outcome;
use crate::session::Session;
use crate::text::Text;
use crate::time::{Comma, Zone, instant, seconds};

/// What an open object or array means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Event,
    Other,
}

/// The fields of one event.
#[derive(Debug, Default)]
struct Event {
    action: String,
    package: String,
    import_path: String,
    test: String,
    output: Text,
    ended: Ended,
}

/// Makes cases of events.
#[derive(Default)]
pub(crate) struct GoTest {
    event: Event,
    state: GoState,
}

impl ValueReader for GoTest {
    type Node = Node;

    fn open(&mut self, parent: Option<Node>, _: &[u8], _: &mut Session<'_>) -> Node {
        match parent {
            None => {
                self.event = Event::default();
                Node::Event
            }
            Some(_) => Node::Other,
        }
    }

    fn keep(&self, node: Node, key: &[u8], session: &Session<'_>) -> usize {
        let limits = session.limits();
        match (node, key) {
            (Node::Event, b"Output") => limits.message_bytes,
            (Node::Event, _) => limits.name_bytes,
            (Node::Other, _) => 0,
        }
    }

    fn scalar(&mut self, node: Node, key: &[u8], value: Scalar<'_>, session: &mut Session<'_>) {
        if node == Node::Other {
            return;
        }
        match (key, value) {
            (b"Output", Scalar::Text(text)) => self.event.output = session.finish_text(text),
            (b"Elapsed", Scalar::Number(number)) => {
                self.event.ended.duration = seconds(number, Comma::Decimal);
            }
            (b"Elapsed", Scalar::Text(text)) => {
                let text = session.captured_name(text);
                self.event.ended.duration = seconds(text.as_bytes(), Comma::Decimal);
            }
            (b"Time", Scalar::Text(text)) => {
                let text = session.captured_name(text);
                self.event.ended.time = instant(text.as_bytes(), Zone::Required);
            }
            (key, Scalar::Text(text)) => {
                let field = match key {
                    b"Action" => &mut self.event.action,
                    b"Package" => &mut self.event.package,
                    b"ImportPath" => &mut self.event.import_path,
                    b"Test" => &mut self.event.test,
                    _ => return,
                };
                *field = session.captured_name(text);
            }
            _ => {}
        }
    }

    fn close(&mut self, node: Node, session: &mut Session<'_>) {
        if node == Node::Event {
            let event = std::mem::take(&mut self.event);
            self.obey(event, session);
        }
    }

    fn finish(&mut self, session: &mut Session<'_>) -> Option<String> {
        self.state.finish(session)
    }
}

impl GoTest {
    fn obey(&mut self, event: Event, session: &mut Session<'_>) {
        let Event {
            action,
            package,
            import_path,
            test,
            output,
            ended,
        } = event;
        if package.is_empty() && import_path.is_empty() {
            return;
        }
        let outcome = match action.as_str() {
            "pass" | "bench" => Outcome::Passed,
            "fail" => Outcome::Failed,
            "skip" => Outcome::Skipped,
            "start" => return self.state.package_started(&package, session),
            "run" => {
                return self
                    .state
                    .test_started(&package, &test, ended.time, session);
            }
            "output" => return self.state.output(&package, &test, output.as_str(), session),
            "build-output" => {
                return self
                    .state
                    .build_output(&import_path, output.as_str(), session);
            }
            // Pauses tell nothing of the outcome; neither do actions of versions to come.
            _ => return,
        };
        if test.is_empty() {
            self.state.package_ended(&package, outcome, session);
        } else {
            self.state
                .test_ended(&package, &test, outcome, action.into(), ended, session);
        }
    }
}
