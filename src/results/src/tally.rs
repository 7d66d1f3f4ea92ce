//! Many files folded into counts and a bounded list of what is worth telling.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Read;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crate::limits::Limits;
use crate::model::{Origin, Outcome, Position, TestCase, TestRun};
use crate::problem::{Problem, ProblemKind, ReadError};
use crate::read::{ReadEnd, ReadReport, read};
use crate::sink::Sink;
use crate::text::{Text, prefix};

/// How much a [`Tally`] keeps beside the counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TallyLimits {
    /// Failed cases kept, the first ones. Default 50.
    pub failures: usize,
    /// Flaky cases kept, the first ones. Default 50.
    pub flaky: usize,
    /// Slowest cases kept. Default 10.
    pub slowest: usize,
    /// Problems kept, the first ones. Default 50.
    pub problems: usize,
    /// Bytes kept of each text: name, message, stack. Default 4 KiB.
    pub text_bytes: usize,
}

impl Default for TallyLimits {
    fn default() -> Self {
        Self {
            failures: 50,
            flaky: 50,
            slowest: 10,
            problems: 50,
            text_bytes: 4 << 10,
        }
    }
}

/// How many cases ended in which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passed, flaky ones included.
    pub passed: u64,
    /// Failed.
    pub failed: u64,
    /// Errored.
    pub errored: u64,
    /// Timed out.
    pub timed_out: u64,
    /// Skipped.
    pub skipped: u64,
    /// Not run.
    pub not_run: u64,
    /// Inconclusive.
    pub inconclusive: u64,
    /// Outcome not known.
    pub unknown: u64,
    /// Of the passed ones, those that failed before.
    pub flaky: u64,
}

impl Counts {
    /// All cases.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.passed + self.failures() + self.skipped + self.not_run + self.inconclusive
    }

    /// Cases that make a run red: failed, errored, timed out and unknown.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failed + self.errored + self.timed_out + self.unknown
    }

    /// The number of cases with this outcome.
    #[must_use]
    pub fn of(&self, outcome: Outcome) -> u64 {
        match outcome {
            Outcome::Passed => self.passed,
            Outcome::Failed => self.failed,
            Outcome::Errored => self.errored,
            Outcome::TimedOut => self.timed_out,
            Outcome::Skipped => self.skipped,
            Outcome::NotRun => self.not_run,
            Outcome::Inconclusive => self.inconclusive,
            Outcome::Unknown => self.unknown,
        }
    }

    /// Counts one case.
    pub fn add(&mut self, case: &TestCase) {
        let count = match case.outcome {
            Outcome::Passed => &mut self.passed,
            Outcome::Failed => &mut self.failed,
            Outcome::Errored => &mut self.errored,
            Outcome::TimedOut => &mut self.timed_out,
            Outcome::Skipped => &mut self.skipped,
            Outcome::NotRun => &mut self.not_run,
            Outcome::Inconclusive => &mut self.inconclusive,
            Outcome::Unknown => &mut self.unknown,
        };
        *count += 1;
        if case.is_flaky() {
            self.flaky += 1;
        }
    }
}

/// The essence of one case, with bounded texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseBrief {
    /// The result file it stands in.
    pub file: Arc<str>,
    /// Where in that file.
    pub position: Position,
    /// Its container, see [`TestCase::suite`].
    pub suite: Arc<str>,
    /// Its full name, see [`TestCase::full_name`].
    pub name: String,
    /// Recorded test or synthesised failure.
    pub origin: Origin,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took, where the file says so.
    pub duration: Option<Duration>,
    /// Executions the file tells of.
    pub executions: usize,
    /// Type of the failure.
    pub kind: String,
    /// The message; for a flaky case that of its first failed attempt.
    pub message: String,
    /// The stack trace; for a flaky case that of its first failed attempt.
    pub stack: String,
}

/// Folds result files into counts, keeping memory bounded whatever the files hold.
///
/// Each case counts once per file it stands in. Cases of the same name in different files are not joined: whether
/// they are attempts of one test or two tests is not to be seen from the files.
#[derive(Debug, Default)]
pub struct Tally {
    limits: TallyLimits,
    counts: Counts,
    files_read: u64,
    files_cut_short: u64,
    files_without_results: u64,
    runs: u64,
    duration: Duration,
    failures: Vec<CaseBrief>,
    flaky: Vec<CaseBrief>,
    slowest: BinaryHeap<Reverse<Slow>>,
    problems: Vec<Problem>,
    problems_dropped: u64,
    losses: u64,
    unread: Vec<String>,
    current_file: Option<Arc<str>>,
}

/// A case ordered by its duration, and among equals by its name, so that the list does not depend on file order.
#[derive(Debug, PartialEq, Eq)]
struct Slow {
    duration: Duration,
    case: CaseBrief,
}

impl Ord for Slow {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.duration
            .cmp(&other.duration)
            .then_with(|| other.case.name.cmp(&self.case.name))
    }
}

impl PartialOrd for Slow {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Tally {
    /// An empty tally.
    #[must_use]
    pub fn new(limits: TallyLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Reads one file to its end and adds what it holds. `file` is the name used in briefs and problems; `stop` is
    /// asked often, and ends the reading once it answers true.
    ///
    /// # Errors
    ///
    /// When the file holds no results at all. The tally has then counted it under [`Tally::files_without_results`]
    /// and kept the error's text, so that a caller need not look at it.
    pub fn add_file(
        &mut self,
        input: &mut dyn Read,
        file: &str,
        limits: &Limits,
        stop: &dyn Fn() -> bool,
    ) -> Result<ReadReport, ReadError> {
        let result = read(input, file, limits, stop, self);
        self.file_ended(&result);
        result
    }

    /// Counts a file that was read through another sink in front of this one. [`Tally::add_file`] does so itself.
    pub fn file_ended(&mut self, result: &Result<ReadReport, ReadError>) {
        match result {
            Ok(report) => {
                self.files_read += 1;
                if report.end != ReadEnd::Complete {
                    self.files_cut_short += 1;
                }
                let told = report.problems_told;
                self.problems_dropped += report.problems.saturating_sub(told);
            }
            Err(error) => {
                self.files_without_results += 1;
                if self.unread.len() < self.limits.problems {
                    self.unread.push(crate::text::printable_line(
                        &error_chain(error),
                        self.limits.text_bytes,
                    ));
                }
            }
        }
    }

    /// Counts a case that stays with the caller.
    pub fn add(&mut self, case: &TestCase) {
        self.counts.add(case);
        if case.outcome.is_failure() {
            if self.failures.len() < self.limits.failures {
                self.failures.push(self.brief(case));
            }
        } else if case.is_flaky() && self.flaky.len() < self.limits.flaky {
            self.flaky.push(self.brief(case));
        }
        if let Some(duration) = case.duration {
            self.duration = self.duration.saturating_add(duration);
            self.note_slow(case, duration);
        }
    }

    /// How many cases ended in which way.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Files that gave results, or at least were result files.
    #[must_use]
    pub fn files_read(&self) -> u64 {
        self.files_read
    }

    /// Of the files read, those that were not read to a proper end: cut off, too large, or stopped.
    #[must_use]
    pub fn files_cut_short(&self) -> u64 {
        self.files_cut_short
    }

    /// Files that gave nothing: empty, unreadable, or no result file.
    #[must_use]
    pub fn files_without_results(&self) -> u64 {
        self.files_without_results
    }

    /// Why files gave nothing, one sentence each, for the first ones.
    #[must_use]
    pub fn unread(&self) -> &[String] {
        &self.unread
    }

    /// Documents found in the files.
    #[must_use]
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// The sum of all durations told; more than wall time where tests ran side by side.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// The first failed cases, in file order. [`Counts::failures`] tells how many there are in all.
    #[must_use]
    pub fn failures(&self) -> &[CaseBrief] {
        &self.failures
    }

    /// The first flaky cases, in file order.
    #[must_use]
    pub fn flaky(&self) -> &[CaseBrief] {
        &self.flaky
    }

    /// The slowest cases, slowest first.
    #[must_use]
    pub fn slowest(&self) -> Vec<&CaseBrief> {
        let mut slowest: Vec<&Slow> = self.slowest.iter().map(|Reverse(slow)| slow).collect();
        slowest.sort_by(|one, other| other.cmp(one));
        slowest.into_iter().map(|slow| &slow.case).collect()
    }

    /// The first problems, in order.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How many problems there were beyond [`Tally::problems`].
    #[must_use]
    pub fn problems_dropped(&self) -> u64 {
        self.problems_dropped
    }

    /// Whether any case failed, or results may be missing so that nobody can say that none did.
    #[must_use]
    pub fn is_red(&self) -> bool {
        self.counts.failures() > 0 || self.files_cut_short > 0
    }

    /// Whether results may be missing although their files were read: something in them was damaged, or they end
    /// too early.
    #[must_use]
    pub fn may_lack_results(&self) -> bool {
        self.losses > 0
    }

    fn brief(&self, case: &TestCase) -> CaseBrief {
        let limit = self.limits.text_bytes;
        let failed_attempt = case
            .attempts
            .iter()
            .find(|attempt| attempt.outcome.is_failure());
        let evidence = match failed_attempt {
            Some(attempt) if case.outcome == Outcome::Passed => &attempt.evidence,
            _ => &case.evidence,
        };
        let mut message = cut_text(&evidence.message, limit);
        // Of a test that failed by its rows or sub-tests only these tell why.
        if message.is_empty()
            && case.outcome.is_failure()
            && let Some(part) = case.parts.iter().find(|part| part.outcome.is_failure())
        {
            let part = format!("{}: {}", part.name, part.evidence.message);
            message = cut(part.trim_end_matches(": "), limit);
        }
        CaseBrief {
            file: self.current_file.clone().unwrap_or_default(),
            position: case.position,
            suite: case.suite.clone(),
            name: cut(&case.full_name(), limit),
            origin: case.origin,
            outcome: case.outcome,
            duration: case.duration,
            executions: case.attempts.len() + 1,
            kind: cut(&evidence.kind, limit),
            message,
            stack: cut_text(&evidence.stack, limit),
        }
    }

    fn note_slow(&mut self, case: &TestCase, duration: Duration) {
        if self.slowest.len() >= self.limits.slowest {
            match self.slowest.peek() {
                Some(Reverse(fastest)) if fastest.duration < duration => {}
                _ => return,
            }
            self.slowest.pop();
        }
        let case = self.brief(case);
        self.slowest.push(Reverse(Slow { duration, case }));
    }
}

impl Sink for Tally {
    fn run_started(&mut self, run: &TestRun) {
        self.runs += 1;
        self.current_file = Some(run.file.clone());
    }

    fn case(&mut self, case: &mut TestCase) -> ControlFlow<()> {
        self.add(case);
        ControlFlow::Continue(())
    }

    fn problem(&mut self, problem: Problem) {
        // A file without any test is whole: suites are empty at times.
        let is_loss = problem.kind.may_lose_results() && problem.kind != ProblemKind::NoTests;
        self.losses += u64::from(is_loss);
        if self.problems.len() < self.limits.problems {
            self.problems.push(problem);
        } else {
            self.problems_dropped += 1;
        }
    }
}

fn cut(text: &str, limit: usize) -> String {
    let kept = prefix(text, limit);
    if kept.len() == text.len() {
        kept.to_owned()
    } else {
        format!("{kept}...")
    }
}

fn cut_text(text: &Text, limit: usize) -> String {
    cut(text.as_str(), limit)
}

fn error_chain(error: &ReadError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
