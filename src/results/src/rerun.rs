//! The same test in several files taken for one test that was run again.
//!
//! Files are read twice: once into a [`RerunIndex`], which keeps a few bytes for each test, and once more through
//! [`Reruns`], which then knows of each case whether it comes again. So only tests that failed and come again are
//! held back, and a sink behind it gets each test once: the last pass, or where there is none the first failure,
//! with the other failed executions as its attempts.
//!
//! A test that is named twice in one file (data rows whose arguments were cut off, `-count=2`) stays two tests: the
//! first one goes with the first one of the next file, the second with the second.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::fold::executions_in_file;
use crate::model::{Flakiness, Outcome, Position, TestCase, TestRun};
use crate::problem::{Problem, ProblemKind};
use crate::sink::Sink;

/// Bounds on the memory that joining reruns takes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RerunLimits {
    /// Tests that are told apart, about 50 bytes each; later ones count once per file. Default 1 million.
    pub tests: usize,
    /// Bytes of failed executions held back until the last one of their test has come. Default 32 MiB.
    pub held_bytes: usize,
}

impl Default for RerunLimits {
    fn default() -> Self {
        Self {
            tests: 1_000_000,
            held_bytes: 32 << 20,
        }
    }
}

/// Which tests stand in the files, how often, and how they ended. The sink of the first reading.
#[derive(Debug)]
pub struct RerunIndex {
    limits: RerunLimits,
    /// Keyed by chance, so that no file can be made whose names collide with those of another.
    hasher: RandomState,
    entries: HashMap<u64, Entry>,
    file: u32,
    unlisted: u64,
}

/// A test, or one of those that share a name.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Executions that were counted in the first reading and have not come in the second.
    executions: u32,
    /// The file it was last seen in, and how often its name came there.
    file: u32,
    seen: u32,
    passed: bool,
    failed: bool,
    told: bool,
}

impl RerunIndex {
    /// An empty index.
    #[must_use]
    pub fn new(limits: RerunLimits) -> Self {
        Self {
            limits,
            hasher: RandomState::new(),
            entries: HashMap::new(),
            file: 0,
            unlisted: 0,
        }
    }

    /// To be called before each file.
    pub fn next_file(&mut self) {
        self.file += 1;
    }

    /// The entry of a case: the one of its name, or for the second of that name in this file another.
    fn key(&mut self, case: &TestCase) -> u64 {
        let hash = |number: u32| {
            let identity = (&case.suite, &case.class, &case.name, number);
            self.hasher.hash_one(identity)
        };
        let (first, file) = (hash(1), self.file);
        let Some(entry) = self.entries.get_mut(&first) else {
            return first;
        };
        if entry.file != file {
            (entry.file, entry.seen) = (file, 0);
        }
        entry.seen += 1;
        match entry.seen {
            1 => first,
            number => hash(number),
        }
    }

    fn add(&mut self, case: &TestCase) {
        let key = self.key(case);
        let full = self.entries.len() >= self.limits.tests;
        let file = self.file;
        let entry = match self.entries.entry(key) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(_) if full => {
                self.unlisted += 1;
                return;
            }
            std::collections::hash_map::Entry::Vacant(entry) => entry.insert(Entry {
                executions: 0,
                file,
                seen: 1,
                passed: false,
                failed: false,
                told: false,
            }),
        };
        entry.executions += 1;
        entry.passed |= case.outcome == Outcome::Passed;
        entry.failed |= case.outcome.is_failure() || case.is_flaky();
    }
}

impl Sink for RerunIndex {
    fn case(&mut self, case: &mut TestCase) -> ControlFlow<()> {
        self.add(case);
        ControlFlow::Continue(())
    }
}

/// The second reading: hands each test once to the sink behind it. The files must come in the same order as in
/// the first. Call [`Reruns::finish`] at the end.
///
/// A joined case has the position of its last execution, which is in the file that is being read when it is handed
/// on.
#[derive(Debug)]
pub struct Reruns<S> {
    inner: S,
    index: RerunIndex,
    held: HashMap<u64, Vec<TestCase>>,
    held_bytes: usize,
    joined: u64,
    state: Joining,
    current_file: Arc<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joining {
    On,
    /// More was to be held than may be.
    GivenUp,
}

impl<S: Sink> Reruns<S> {
    /// Puts the joining in front of `inner`. `index` has seen all files.
    pub fn new(mut index: RerunIndex, inner: S) -> Self {
        // The second reading begins in another file than the first ended in.
        index.next_file();
        Self {
            inner,
            index,
            held: HashMap::new(),
            held_bytes: 0,
            joined: 0,
            state: Joining::On,
            current_file: Arc::from(""),
        }
    }

    /// To be called before each file.
    pub fn next_file(&mut self) {
        self.index.next_file();
    }

    /// The sink behind.
    pub fn inner(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Executions that were joined to another one of their test so far.
    #[must_use]
    pub fn joined(&self) -> u64 {
        self.joined
    }

    /// Hands on what is held back, says what could not be joined, and gives back the sink.
    pub fn finish(mut self) -> S {
        // Something is left only where a file was changed between the two readings.
        let _ = self.let_go();
        let (tests, unlisted) = (self.index.limits.tests, self.index.unlisted);
        if unlisted > 0 {
            self.limit_reached(format!(
                "there are more than {tests} tests; {unlisted} executions beyond them count once per file"
            ));
        }
        self.inner
    }

    fn limit_reached(&mut self, detail: String) {
        self.inner.problem(Problem {
            file: self.current_file.clone(),
            position: Position::default(),
            kind: ProblemKind::LimitReached,
            detail,
        });
    }

    fn hold(&mut self, key: u64, case: TestCase, last: bool) -> ControlFlow<()> {
        self.held_bytes += case.bytes();
        let executions = self.held.entry(key).or_default();
        executions.push(case);
        if last {
            let executions = self.held.remove(&key).unwrap_or_default();
            self.held_bytes = self
                .held_bytes
                .saturating_sub(executions.iter().map(TestCase::bytes).sum());
            return self.hand_on(executions);
        }
        if self.held_bytes <= self.index.limits.held_bytes {
            return ControlFlow::Continue(());
        }
        self.state = Joining::GivenUp;
        let most = self.index.limits.held_bytes;
        self.limit_reached(format!(
            "failed tests that come again take more than {most} bytes; from here on tests count once per file"
        ));
        self.let_go()
    }

    fn let_go(&mut self) -> ControlFlow<()> {
        self.held_bytes = 0;
        let mut held: Vec<Vec<TestCase>> = self.held.drain().map(|(_, held)| held).collect();
        held.sort_by_key(|executions| executions.first().map(|case| case.position));
        for executions in held {
            self.hand_on(executions)?;
        }
        ControlFlow::Continue(())
    }

    fn hand_on(&mut self, executions: Vec<TestCase>) -> ControlFlow<()> {
        self.joined += crate::text::as_u64(executions.len().saturating_sub(1));
        match join(executions) {
            Some(mut case) => self.inner.case(&mut case),
            None => ControlFlow::Continue(()),
        }
    }
}

impl<S: Sink> Sink for Reruns<S> {
    fn run_started(&mut self, run: &TestRun) {
        self.current_file = run.file.clone();
        self.inner.run_started(run);
    }

    fn case(&mut self, case: &mut TestCase) -> ControlFlow<()> {
        let key = self.index.key(case);
        let entry = match self.index.entries.get_mut(&key) {
            Some(entry) if self.state == Joining::On && entry.executions > 0 => entry,
            _ => return self.inner.case(case),
        };
        entry.executions -= 1;
        let last = entry.executions == 0;
        if entry.failed {
            return self.hold(key, std::mem::take(case), last);
        }
        // All went well: one stands for all, a passed one if there is any.
        if !entry.told && (case.outcome == Outcome::Passed || !entry.passed) {
            entry.told = true;
            return self.inner.case(case);
        }
        self.joined += 1;
        ControlFlow::Continue(())
    }

    fn problem(&mut self, problem: Problem) {
        self.inner.problem(problem);
    }

    fn run_finished(&mut self, run: &TestRun) {
        self.inner.run_finished(run);
    }
}

/// One case of all executions of a test, in the order of the files.
fn join(mut executions: Vec<TestCase>) -> Option<TestCase> {
    if executions.len() < 2 {
        return executions.pop();
    }
    let last = executions.last()?.position;
    let main = executions
        .iter()
        .rposition(|case| case.outcome == Outcome::Passed)
        .or_else(|| executions.iter().position(|case| case.outcome.is_failure()))?;
    let passed = executions.get(main)?.outcome == Outcome::Passed;
    let mut attempts = Vec::new();
    let mut attachments = Vec::new();
    let mut flakiness = Flakiness::Unstated;
    for (index, case) in executions.iter_mut().enumerate() {
        if case.flakiness == Flakiness::Stated {
            flakiness = Flakiness::Stated;
        }
        attachments.append(&mut case.attachments);
        let failed = executions_in_file(case)
            .into_iter()
            .filter(|attempt| attempt.outcome.is_failure());
        // The first failure of a test that never passed is the record itself.
        let skipped = usize::from(index == main && !passed);
        attempts.extend(failed.skip(skipped));
    }
    let mut joined = executions.swap_remove(main);
    joined.attempts = attempts;
    joined.attachments = attachments;
    joined.flakiness = flakiness;
    joined.position = last;
    Some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::Collector;

    const RUN: &str = "a test of this module";

    fn case(name: &str, outcome: Outcome, line: u64) -> TestCase {
        let mut case = TestCase::new("suite".into(), Position { line, column: 1 });
        case.name = name.to_owned();
        case.outcome = outcome;
        case.evidence.message = format!("line {line}").into();
        case
    }

    fn run_of(number: usize) -> TestRun {
        TestRun::new(
            format!("{RUN} {number}").into(),
            crate::model::Format::JUnit,
        )
    }

    /// Reads files of (name, outcome) pairs twice; gives each case as its name, outcome, message and the messages
    /// of its attempts.
    fn joined(files: &[&[(&str, Outcome)]], limits: RerunLimits) -> (Vec<String>, Vec<Problem>) {
        let cases = |file: &[(&str, Outcome)], number: usize| -> Vec<TestCase> {
            let line = |at: usize| crate::text::as_u64(number * 100 + at + 1);
            let make =
                |(at, (name, outcome)): (usize, &(&str, Outcome))| case(name, *outcome, line(at));
            file.iter().enumerate().map(make).collect()
        };
        let mut index = RerunIndex::new(limits);
        for (number, file) in files.iter().enumerate() {
            index.next_file();
            for mut case in cases(file, number) {
                let _ = index.case(&mut case);
            }
        }
        let mut reruns = Reruns::new(index, Collector::new());
        for (number, file) in files.iter().enumerate() {
            reruns.next_file();
            reruns.run_started(&run_of(number));
            for mut case in cases(file, number) {
                let _ = reruns.case(&mut case);
            }
        }
        let collector = reruns.finish();
        let show = |case: &TestCase| {
            let attempts: Vec<&str> = case
                .attempts
                .iter()
                .map(|attempt| attempt.evidence.message.as_str())
                .collect();
            let flaky = if case.is_flaky() { " flaky" } else { "" };
            format!(
                "{} {}{flaky} ({}) {attempts:?}",
                case.name,
                case.outcome,
                case.evidence.message.as_str()
            )
        };
        (collector.cases().map(show).collect(), collector.problems)
    }

    fn check(files: &[&[(&str, Outcome)]], expected: &[&str]) {
        let (shown, problems) = joined(files, RerunLimits::default());
        assert_eq!(shown, expected);
        assert!(problems.is_empty(), "{problems:?}");
    }

    use Outcome::{Errored, Failed, Passed, Skipped};

    #[test]
    fn tests_of_one_file_stay_as_they_are() {
        check(
            &[&[("a", Failed), ("b", Passed), ("b", Failed)]],
            &[
                "a failed (line 1) []",
                "b passed (line 2) []",
                "b failed (line 3) []",
            ],
        );
    }

    #[test]
    fn pass_after_a_failure_is_flaky_and_so_is_a_failure_after_a_pass() {
        for files in [
            [[("a", Failed)], [("a", Passed)]],
            [[("a", Passed)], [("a", Failed)]],
        ] {
            let (shown, _) = joined(&[&files[0], &files[1]], RerunLimits::default());
            assert_eq!(shown.len(), 1);
            assert!(shown[0].starts_with("a passed flaky"), "{shown:?}");
        }
    }

    #[test]
    fn failures_are_all_kept_and_passes_are_told_once() {
        check(
            &[
                &[("a", Failed), ("b", Passed), ("c", Skipped)],
                &[("a", Errored), ("b", Passed), ("c", Passed), ("d", Passed)],
                &[("a", Skipped)],
            ],
            &[
                "b passed (line 2) []",
                "c passed (line 103) []",
                "d passed (line 104) []",
                "a failed (line 1) [\"line 101\"]",
            ],
        );
    }

    #[test]
    fn tests_that_share_a_name_in_one_file_stay_apart() {
        check(
            &[
                &[("a", Passed), ("a", Failed)],
                &[("a", Passed), ("a", Failed)],
            ],
            &["a passed (line 1) []", "a failed (line 2) [\"line 102\"]"],
        );
    }

    #[test]
    fn what_does_not_fit_is_told_and_counts_once_per_file() {
        let files: [&[(&str, Outcome)]; 2] = [
            &[("a", Failed), ("b", Failed)],
            &[("a", Passed), ("b", Passed)],
        ];
        let few = RerunLimits {
            tests: 1,
            ..RerunLimits::default()
        };
        let (shown, problems) = joined(&files, few);
        assert_eq!(shown.len(), 3, "{shown:?}");
        assert_eq!(problems.len(), 1, "{problems:?}");
        let small = RerunLimits {
            held_bytes: 10,
            ..RerunLimits::default()
        };
        let (shown, problems) = joined(&files, small);
        assert_eq!(shown.len(), 4, "{shown:?}");
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}
