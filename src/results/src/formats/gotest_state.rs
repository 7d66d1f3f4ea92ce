//! What is known of the packages and tests of a `go test` run between their events.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::formats::gotest_output::{framed_message, location_of};
use crate::model::{Attempt, Origin, Outcome, Position, TestCase, Timestamp};
use crate::problem::ProblemKind;
use crate::session::Session;
use crate::text::{Capture, Text, printable_line};

/// Tests and packages known at one time; more of them are read without their output.
const MOST_OPEN: usize = 20_000;

/// Bytes kept of what a package prints outside its tests, and of a build.
const PACKAGE_BYTES: usize = 32 << 10;

/// What an event tells about an end.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ended {
    pub(crate) duration: Option<Duration>,
    pub(crate) time: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    package: Arc<str>,
    test: String,
}

/// A test that has begun.
struct Open {
    order: u64,
    position: Position,
    started: Option<Timestamp>,
    output: Capture,
}

/// A package that has begun.
#[derive(Default)]
struct Package {
    failed: u64,
    output: Capture,
}

/// A failed test that may be run again.
struct Failed {
    order: u64,
    case: TestCase,
    /// How often its package had ended when it failed: a later run of the package is another attempt, while within
    /// one run `-count` repeats tests on purpose.
    package_run: u64,
}

#[derive(Default)]
pub(crate) struct GoState {
    open: HashMap<Key, Open>,
    packages: HashMap<Arc<str>, Package>,
    failed: HashMap<Key, Failed>,
    builds: HashMap<String, Capture>,
    package_runs: u64,
    order: u64,
    held_bytes: usize,
    overflow: Overflow,
}

/// Whether something was let go for want of room, which is told once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Overflow {
    #[default]
    None,
    Told,
}

impl GoState {
    pub(crate) fn package_started(&mut self, package: &str, session: &mut Session<'_>) {
        self.package(package, session);
    }

    /// The package, made known if there is room.
    fn package(
        &mut self,
        name: &str,
        session: &mut Session<'_>,
    ) -> Option<(Arc<str>, &mut Package)> {
        let known = self
            .packages
            .get_key_value(name)
            .map(|(name, _)| name.clone());
        let name = match known {
            Some(name) => name,
            None if self.packages.len() < MOST_OPEN => Arc::from(name),
            None => {
                self.tell_overflow(session);
                return None;
            }
        };
        let package = self
            .packages
            .entry(name.clone())
            .or_insert_with(|| Package {
                failed: 0,
                output: Capture::new(PACKAGE_BYTES),
            });
        Some((name, package))
    }

    fn key(&mut self, package: &str, test: &str, session: &mut Session<'_>) -> Key {
        let package = match self.package(package, session) {
            Some((name, _)) => name,
            None => Arc::from(package),
        };
        Key {
            package,
            test: test.to_owned(),
        }
    }

    pub(crate) fn test_started(
        &mut self,
        package: &str,
        test: &str,
        started: Option<Timestamp>,
        session: &mut Session<'_>,
    ) {
        if self.open.len() >= MOST_OPEN {
            return self.tell_overflow(session);
        }
        let key = self.key(package, test, session);
        self.order += 1;
        let output = Capture::new(session.limits().output_bytes);
        let open = Open {
            order: self.order,
            position: session.position(),
            started,
            output,
        };
        self.open.insert(key, open);
    }

    pub(crate) fn output(
        &mut self,
        package: &str,
        test: &str,
        text: &str,
        session: &mut Session<'_>,
    ) {
        if self.held_bytes > session.limits().held_bytes / 2 {
            return self.tell_overflow(session);
        }
        if test.is_empty() {
            let kept = self.package(package, session).map_or(0, |(_, package)| {
                let before = package.output.kept_bytes();
                package.output.push(text.as_bytes());
                package.output.kept_bytes().saturating_sub(before)
            });
            self.held_bytes += kept;
            return;
        }
        let key = self.key(package, test, session);
        if let Some(open) = self.open.get_mut(&key) {
            let before = open.output.kept_bytes();
            open.output.push(text.as_bytes());
            self.held_bytes += open.output.kept_bytes().saturating_sub(before);
        }
    }

    pub(crate) fn build_output(
        &mut self,
        import_path: &str,
        text: &str,
        session: &mut Session<'_>,
    ) {
        if self.builds.len() >= MOST_OPEN || self.held_bytes > session.limits().held_bytes / 2 {
            return self.tell_overflow(session);
        }
        // The path of the build is the package, with the package under test behind it in brackets.
        let package = import_path
            .split_once(' ')
            .map_or(import_path, |(package, _)| package);
        let build = self
            .builds
            .entry(package.to_owned())
            .or_insert_with(|| Capture::new(PACKAGE_BYTES));
        let before = build.kept_bytes();
        build.push(text.as_bytes());
        self.held_bytes += build.kept_bytes().saturating_sub(before);
    }

    pub(crate) fn test_ended(
        &mut self,
        package: &str,
        test: &str,
        outcome: Outcome,
        word: Cow<'static, str>,
        ended: Ended,
        session: &mut Session<'_>,
    ) {
        let key = self.key(package, test, session);
        let open = self.open.remove(&key);
        let mut case = self.case(&key, open, session);
        case.outcome = outcome;
        case.raw_outcome = word;
        case.duration = ended.duration;
        if outcome != Outcome::Passed {
            let output = case.evidence.stdout.as_str();
            case.evidence.message = framed_message(output);
            case.location = location_of(output);
        }
        if outcome.is_failure() {
            if let Some((_, package)) = self.package(package, session) {
                package.failed += 1;
            }
            self.hold_failed(key, case, session);
        } else if outcome == Outcome::Passed && self.is_rerun(&key) {
            if let Some(failed) = self.failed.remove(&key) {
                self.held_bytes = self.held_bytes.saturating_sub(failed.case.bytes());
                let mut first = failed.case;
                case.attempts = std::mem::take(&mut first.attempts);
                case.attempts.insert(0, attempt_of(first));
            }
            session.emit(case);
        } else {
            session.emit(case);
        }
    }

    fn case(&mut self, key: &Key, open: Option<Open>, session: &mut Session<'_>) -> TestCase {
        let position = open
            .as_ref()
            .map_or(session.position(), |open| open.position);
        let mut case = TestCase::new(key.package.clone(), position);
        case.class = key.package.clone();
        case.name.clone_from(&key.test);
        if let Some(mut open) = open {
            self.held_bytes = self.held_bytes.saturating_sub(open.output.kept_bytes());
            case.started = open.started;
            case.evidence.stdout = session.finish_text(&mut open.output);
        }
        case
    }

    fn is_rerun(&self, key: &Key) -> bool {
        self.failed
            .get(key)
            .is_some_and(|failed| failed.package_run < self.package_runs)
    }

    fn hold_failed(&mut self, key: Key, case: TestCase, session: &mut Session<'_>) {
        if self.is_rerun(&key) {
            if let Some(failed) = self.failed.get_mut(&key) {
                failed.package_run = self.package_runs;
                self.held_bytes += case.bytes();
                session.push_entry(&mut failed.case.attempts, attempt_of(case));
            }
            return;
        }
        let bytes = case.bytes();
        if self.held_bytes + bytes > session.limits().held_bytes {
            // No room to wait: what failed is said now, and a later attempt will be a case of its own.
            self.tell_overflow(session);
            session.emit(case);
            return;
        }
        self.held_bytes += bytes;
        self.order += 1;
        let failed = Failed {
            order: self.order,
            case,
            package_run: self.package_runs,
        };
        if let Some(earlier) = self.failed.insert(key, failed) {
            self.held_bytes = self.held_bytes.saturating_sub(earlier.case.bytes());
            session.emit(earlier.case);
        }
    }

    pub(crate) fn package_ended(
        &mut self,
        name: &str,
        outcome: Outcome,
        session: &mut Session<'_>,
    ) {
        self.package_runs += 1;
        let unfinished = match outcome {
            Outcome::Passed | Outcome::Skipped => Outcome::Inconclusive,
            _ => Outcome::Errored,
        };
        let never_ended = self.emit_unfinished(Some(name), unfinished, session);
        let package = self.packages.remove(name).unwrap_or_default();
        let build = self.builds.remove(name);
        let mut output = package.output;
        let kept = output.kept_bytes() + build.as_ref().map_or(0, Capture::kept_bytes);
        self.held_bytes = self.held_bytes.saturating_sub(kept);
        if outcome != Outcome::Failed || package.failed > 0 || never_ended > 0 {
            return;
        }
        // No test failed and yet the package did: it does not build, or died outside of its tests.
        let mut case = TestCase::new(name.into(), session.position());
        case.class = name.into();
        case.origin = Origin::Synthesised;
        case.outcome = Outcome::Errored;
        case.raw_outcome = Cow::Borrowed("fail");
        case.name = "(package)".to_owned();
        case.evidence.stdout = session.finish_text(&mut output);
        if let Some(mut build) = build {
            case.evidence.stack = session.finish_text(&mut build);
        }
        let said = if case.evidence.stack.is_empty() {
            &case.evidence.stdout
        } else {
            &case.evidence.stack
        };
        case.evidence.message = match framed_message(said.as_str()) {
            message if message.is_empty() => Text::from(said.as_str().trim()),
            message => message,
        };
        session.emit(case);
    }

    /// Hands out the tests that have begun and not ended, of one package or of all; says how many.
    fn emit_unfinished(
        &mut self,
        package: Option<&str>,
        outcome: Outcome,
        session: &mut Session<'_>,
    ) -> usize {
        let mut keys: Vec<(u64, Key)> = self
            .open
            .iter()
            .filter(|(key, _)| package.is_none_or(|package| *key.package == *package))
            .map(|(key, open)| (open.order, key.clone()))
            .collect();
        keys.sort_unstable_by_key(|(order, _)| *order);
        let count = keys.len();
        for (_, key) in keys {
            let open = self.open.remove(&key);
            let mut case = self.case(&key, open, session);
            case.outcome = outcome;
            let output = case.evidence.stdout.as_str();
            let panicked = output.lines().find(|line| line.starts_with("panic:"));
            case.evidence.message = Text::from(panicked.unwrap_or("the test did not end"));
            case.location = location_of(output);
            session.emit(case);
        }
        count
    }

    /// The file has ended: hands out what waits. Says what is missing.
    pub(crate) fn finish(&mut self, session: &mut Session<'_>) -> Option<String> {
        let mut failed: Vec<Failed> = std::mem::take(&mut self.failed).into_values().collect();
        failed.sort_unstable_by_key(|failed| failed.order);
        for failed in failed {
            session.emit(failed.case);
        }
        let first = self.open.iter().min_by_key(|(_, open)| open.order);
        let lost = first.map(|(key, _)| {
            let name = printable_line(&format!("{}.{}", key.package, key.test), 200);
            format!("`{name}` and others that were running have no outcome")
        });
        self.emit_unfinished(None, Outcome::Errored, session);
        lost.or_else(|| {
            let package = self.packages.keys().min()?;
            Some(format!(
                "the package `{}` has no outcome",
                printable_line(package, 200)
            ))
        })
    }

    fn tell_overflow(&mut self, session: &mut Session<'_>) {
        if self.overflow == Overflow::None {
            self.overflow = Overflow::Told;
            session.problem(ProblemKind::LimitReached, session.position(), || {
                "there is more going on at once than may be held; some output is not kept, and some reruns count \
                 as tests of their own"
                    .to_owned()
            });
        }
    }
}

fn attempt_of(case: TestCase) -> Attempt {
    Attempt {
        outcome: case.outcome,
        duration: case.duration,
        started: case.started,
        evidence: case.evidence,
    }
}
