//! JSON lines of Rust's `libtest` and of `cargo nextest`.
//!
//! The stream does not name its binaries, and output of tests that write past the runner lands between its lines
//! and inside them. What is lost by that is made out from the totals at the end of each suite.

use std::collections::HashMap;

use crate::formats::libtest_suite::{SuiteTotals, Verdict};
use crate::formats::rust_panic;
use crate::json::document::{Scalar, ValueReader};
use crate::model::{
    Attempt, Evidence, Flakiness, Origin, Outcome, Position, SourceLocation, TestCase,
};
use crate::problem::ProblemKind;
use crate::session::{Session, number};
use crate::text::{Text, printable_line};
use crate::time::{Comma, seconds};

/// Tests of a suite that are known to have begun; more of them are not checked for having ended.
const MOST_STARTED: usize = 50_000;

/// What an open object or array means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Event,
    Other,
}

/// What kind of thing an event is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Subject {
    #[default]
    Other,
    Suite,
    Test,
    Bench,
}

/// The fields of one event.
#[derive(Debug, Default)]
struct Event {
    subject: Subject,
    word: String,
    name: String,
    duration: Option<std::time::Duration>,
    stdout: Text,
    message: Text,
    reason: String,
    totals: SuiteTotals,
}

/// Makes cases of events.
#[derive(Default)]
pub(crate) struct Libtest {
    event: Event,
    started: HashMap<String, (u64, Position)>,
    order: u64,
    counted: SuiteTotals,
    suite: SuiteState,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum SuiteState {
    #[default]
    Closed,
    Open,
}

impl ValueReader for Libtest {
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
            (Node::Event, b"stdout") => limits.output_bytes,
            (Node::Event, b"message") => limits.message_bytes,
            (Node::Event, _) => limits.name_bytes,
            (Node::Other, _) => 0,
        }
    }

    fn scalar(&mut self, node: Node, key: &[u8], value: Scalar<'_>, session: &mut Session<'_>) {
        if node == Node::Other {
            return;
        }
        let event = &mut self.event;
        match (key, value) {
            (b"stdout", Scalar::Text(text)) => event.stdout = session.finish_text(text),
            (b"message", Scalar::Text(text)) => event.message = session.finish_text(text),
            (b"name", Scalar::Text(text)) => event.name = session.captured_name(text),
            (b"event", Scalar::Text(text)) => event.word = session.captured_name(text),
            (b"reason", Scalar::Text(text)) => event.reason = session.captured_name(text),
            (b"type", Scalar::Text(text)) => {
                event.subject = match session.captured_name(text).as_str() {
                    "suite" => Subject::Suite,
                    "test" => Subject::Test,
                    "bench" => Subject::Bench,
                    _ => Subject::Other,
                };
            }
            (b"exec_time", Scalar::Number(text)) => event.duration = seconds(text, Comma::Decimal),
            (b"exec_time", Scalar::Text(text)) => {
                let text = session.captured_name(text);
                event.duration = seconds(text.trim_end_matches('s').as_bytes(), Comma::Decimal);
            }
            (key, Scalar::Number(value)) => event.totals.set(key, number(value).unwrap_or(0)),
            _ => {}
        }
    }

    fn close(&mut self, node: Node, session: &mut Session<'_>) {
        if node == Node::Event {
            let event = std::mem::take(&mut self.event);
            match event.subject {
                Subject::Suite => self.suite_event(&event, session),
                Subject::Test | Subject::Bench => self.test_event(event, session),
                Subject::Other => {}
            }
        }
    }

    fn finish(&mut self, session: &mut Session<'_>) -> Option<String> {
        if self.suite == SuiteState::Closed && self.started.is_empty() {
            return None;
        }
        let running = self.started.len();
        self.emit_unfinished(Verdict::Lost, session);
        let left = self.counted.left();
        Some(format!(
            "{running} tests were running, and {left} had not begun"
        ))
    }
}

impl Libtest {
    fn suite_event(&mut self, event: &Event, session: &mut Session<'_>) {
        if event.word == "started" {
            // A suite that begins inside another shows that the other died.
            self.emit_unfinished(Verdict::Lost, session);
            self.counted = SuiteTotals {
                planned: event.totals.planned,
                ..SuiteTotals::default()
            };
            self.suite = SuiteState::Open;
            return;
        }
        let missing = u64::try_from(self.started.len()).unwrap_or(u64::MAX);
        let verdict = event.totals.verdict_on_missing(&self.counted, missing);
        if missing > 0 {
            session.problem(ProblemKind::Damaged, session.position(), || {
                format!("the outcome of {missing} tests is lost in what they printed; {verdict}")
            });
        }
        self.emit_unfinished(verdict, session);
        let unseen = event.totals.failed.saturating_sub(self.counted.failed);
        if unseen > 0 {
            let mut case = TestCase::new("".into(), session.position());
            case.origin = Origin::Synthesised;
            case.outcome = Outcome::Failed;
            case.name = "(suite)".to_owned();
            case.evidence.message =
                Text::from(format!("{unseen} more tests failed than the file tells of"));
            session.emit(case);
        }
        self.suite = SuiteState::Closed;
        self.counted = SuiteTotals::default();
    }

    fn test_event(&mut self, event: Event, session: &mut Session<'_>) {
        let outcome = match event.word.as_str() {
            "started" => {
                if self.started.len() < MOST_STARTED {
                    self.order += 1;
                    self.started
                        .insert(event.name, (self.order, session.position()));
                }
                return;
            }
            // Only says that a test takes long; its outcome comes later.
            "timeout" => return,
            "ok" => Outcome::Passed,
            "failed" if event.reason == "time limit exceeded" => Outcome::TimedOut,
            "failed" => Outcome::Failed,
            "ignored" | "allowed_failure" => Outcome::Skipped,
            "" if event.subject == Subject::Bench => Outcome::Passed,
            _ => Outcome::Unknown,
        };
        let (name, attempts) = split_attempt(&event.name, &self.started);
        let position = self.started.remove(name).map(|(_, position)| position);
        if position.is_none() && self.is_forged(outcome) {
            let name = printable_line(name, 200);
            return session.problem(ProblemKind::ForeignText, session.position(), || {
                format!("an outcome of `{name}`, which never began, was taken for output of a test")
            });
        }
        self.counted.count(outcome);
        let mut case = case_of(name, position.unwrap_or(session.position()));
        case.outcome = outcome;
        case.raw_outcome = event.word.into();
        case.duration = event.duration;
        case.evidence.message = event.message;
        case.evidence.stdout = event.stdout;
        if outcome.is_failure() {
            explain(&mut case, event.reason);
        }
        for _ in 1..attempts {
            // The stream says how many there were, and of all but the last only that they failed.
            let attempt = Attempt {
                outcome: Outcome::Failed,
                duration: None,
                started: None,
                evidence: Evidence::default(),
            };
            session.push_entry(&mut case.attempts, attempt);
        }
        if attempts > 1 && outcome == Outcome::Passed {
            case.flakiness = Flakiness::Stated;
        }
        session.emit(case);
    }

    /// Whether the outcome of a test that never began was printed by another. A failure is believed anyway, and so
    /// is everything where not all beginnings are known.
    fn is_forged(&self, outcome: Outcome) -> bool {
        let beginnings_are_known =
            self.suite == SuiteState::Open && self.started.len() < MOST_STARTED;
        beginnings_are_known && !outcome.is_failure()
    }

    /// Hands out the tests that have begun and have no outcome.
    fn emit_unfinished(&mut self, verdict: Verdict, session: &mut Session<'_>) {
        let mut started: Vec<(String, (u64, Position))> = self.started.drain().collect();
        started.sort_unstable_by_key(|(_, (order, _))| *order);
        for (name, (_, position)) in started {
            let Some(outcome) = verdict.outcome() else {
                continue;
            };
            let mut case = case_of(&name, position);
            case.outcome = outcome;
            self.counted.count(case.outcome);
            if case.outcome.is_failure() {
                case.evidence.message = Text::from("the test did not end, or its outcome is lost");
            }
            session.emit(case);
        }
    }
}

/// Nextest puts the binary in front of the test.
fn case_of(full: &str, position: Position) -> TestCase {
    let (suite, name) = full.split_once('$').unwrap_or(("", full));
    let mut case = TestCase::new(suite.into(), position);
    case.class = suite.into();
    case.name = name.to_owned();
    case
}

/// Nextest puts the number of the attempt behind the test. A test may also be named so; then it has begun so.
fn split_attempt<'n>(name: &'n str, started: &HashMap<String, (u64, Position)>) -> (&'n str, u32) {
    const MOST_ATTEMPTS: u32 = 1_000;
    if !started.contains_key(name)
        && let Some((test, attempts)) = name.rsplit_once('#')
        && started.contains_key(test)
        && let Ok(attempts) = attempts.parse()
    {
        return (test, u32::min(attempts, MOST_ATTEMPTS));
    }
    (name, 1)
}

fn explain(case: &mut TestCase, reason: String) {
    let output = case.evidence.stdout.as_str();
    if let Some(panic) = rust_panic::find(output) {
        if case.evidence.message.is_empty() {
            case.evidence.message = Text::from(panic.message);
        }
        case.location = Some(SourceLocation {
            file: panic.file.to_owned(),
            line: Some(panic.line),
        });
    }
    if case.evidence.message.is_empty() {
        let line = output.lines().map(str::trim).find(|line| !line.is_empty());
        case.evidence.message = Text::from(line.unwrap_or(&reason));
    }
    case.evidence.kind = match printable_line(&reason, 200) {
        reason if reason.is_empty() => "panic".to_owned(),
        reason => reason,
    };
}
