//! What is left of an attempt once it has ended: gathered from its events, shown
//! at the end, and turned into the exit code. No input or output in here.

use std::time::Duration;

use helix_proto::agent::v1::{
    ArtifactKind, ArtifactStored, AttemptEvent, EndingKind, Finished, Requeued, ResultsRead,
    Returned, Verdict, VerdictKind, attempt_event::Kind, returned,
};

use crate::client::answer::Refusal;
use crate::exit::Exit;
use crate::render::{Palette, text, units, verdict};

/// What is known of an attempt so far.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    elapsed: Option<Duration>,
    results: Option<ResultsRead>,
    artifacts: Artifacts,
    end: Option<End>,
}

/// The terminal event.
#[derive(Debug, Clone)]
pub(crate) enum End {
    /// The work item is decided.
    Finished(Finished),
    /// It failed with retries left.
    Requeued(Requeued),
    /// Nothing was learned.
    Returned(Returned),
}

#[derive(Debug, Default)]
struct Artifacts {
    first: Vec<ArtifactStored>,
    number: u64,
    bytes: u64,
}

/// A person does not read more; `--json` has all.
const SHOWN_ARTIFACTS: usize = 20;
const SHOWN_FAILURES: usize = 20;
const SHOWN_PROBLEMS: usize = 10;
const SHOWN_FAILURE_LINES: usize = 12;

impl Summary {
    /// Remembers what of `event` is worth it.
    pub(crate) fn observe(&mut self, event: &AttemptEvent) {
        match &event.kind {
            Some(Kind::Exited(exited)) => self.elapsed = units::wire_duration(exited.elapsed),
            Some(Kind::ResultsRead(results)) => self.results = Some(results.clone()),
            Some(Kind::ArtifactStored(artifact)) => self.artifacts.add(artifact),
            Some(Kind::Finished(finished)) => self.end = Some(End::Finished(finished.clone())),
            Some(Kind::Requeued(requeued)) => self.end = Some(End::Requeued(requeued.clone())),
            Some(Kind::Returned(returned)) => self.end = Some(End::Returned(returned.clone())),
            Some(
                Kind::Console(_)
                | Kind::ConsoleGap(_)
                | Kind::Accepted(_)
                | Kind::Preparing(_)
                | Kind::Started(_)
                | Kind::Warning(_),
            )
            | None => {}
        }
    }

    /// The terminal event, once it came.
    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// What to show once the attempt has ended; what belongs together is one
    /// text of several lines.
    pub(crate) fn lines(&self, palette: Palette) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(results) = &self.results {
            result_lines(results, palette, &mut lines);
        }
        self.artifacts.lines(palette, &mut lines);
        if let Some(end) = &self.end {
            lines.push(end.line(self.elapsed, palette));
        }
        lines
    }
}

impl Artifacts {
    fn add(&mut self, artifact: &ArtifactStored) {
        self.number += 1;
        self.bytes = self.bytes.saturating_add(artifact.size_bytes);
        if self.first.len() < SHOWN_ARTIFACTS {
            self.first.push(artifact.clone());
        }
    }

    fn lines(&self, palette: Palette, lines: &mut Vec<String>) {
        if self.number == 0 {
            return;
        }
        let files = units::count(self.number, "file");
        let mut block = format!("{files} stored, {}", units::bytes(self.bytes));
        for artifact in &self.first {
            let kind = match artifact.kind() {
                ArtifactKind::Unspecified | ArtifactKind::Upload => "",
                ArtifactKind::ConsoleLog => ", console log",
                ArtifactKind::TestResult => ", test results",
                ArtifactKind::Dump => ", dump",
            };
            let size = units::bytes(artifact.size_bytes);
            block.push_str(&format!(
                "\n    {} ({size}{kind}) {}",
                text::clean(&artifact.name),
                palette.dim(text::clean(&artifact.url))
            ));
        }
        let more = self.number.saturating_sub(SHOWN_ARTIFACTS as u64);
        if more > 0 {
            block.push_str(&format!("\n    … and {more} more"));
        }
        lines.push(block);
    }
}

fn result_lines(results: &ResultsRead, palette: Palette, lines: &mut Vec<String>) {
    let counts = results.counts.unwrap_or_default();
    for failure in results.failures.iter().take(SHOWN_FAILURES) {
        let name = text::clean(&failure.name);
        let mut block = format!("{} {name}", palette.red("failed test:"));
        for body in [&failure.message, &failure.stack] {
            if !body.trim().is_empty() {
                block.push('\n');
                block.push_str(&text::indented(body, "    ", SHOWN_FAILURE_LINES));
            }
        }
        lines.push(block);
    }
    let more = counts
        .failed
        .saturating_sub(results.failures.len().min(SHOWN_FAILURES) as u64);
    if more > 0 && !results.failures.is_empty() {
        lines.push(format!("… and {}", units::count(more, "more failed test")));
    }
    for problem in results.problems.iter().take(SHOWN_PROBLEMS) {
        let problem = text::line(problem, 300);
        lines.push(format!(
            "{} {problem}",
            palette.yellow("unreadable results:")
        ));
    }
    let files = units::count(results.files.len() as u64, "result file");
    lines.push(format!("{} ({files})", verdict::counts(&counts, palette)));
}

impl End {
    /// The verdict, unless a refusal took its place.
    pub(crate) fn verdict(&self) -> Option<&Verdict> {
        match self {
            Self::Finished(Finished { verdict, .. }) | Self::Requeued(Requeued { verdict, .. }) => {
                verdict.as_ref()
            }
            Self::Returned(returned) => match &returned.cause {
                Some(returned::Cause::Verdict(verdict)) => Some(verdict),
                Some(returned::Cause::Refusal(_)) | None => None,
            },
        }
    }

    /// The refusal that was found after unpacking.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Returned(Returned {
                cause: Some(returned::Cause::Refusal(refusal)),
                ..
            }) => Some(refusal.clone().into()),
            Self::Returned(_) | Self::Finished(_) | Self::Requeued(_) => None,
        }
    }

    /// How a program ends that was asked to end as the work item did.
    pub(crate) fn exit(&self) -> Exit {
        if self.refusal().is_some() {
            return Exit::Refused;
        }
        match self.verdict() {
            Some(verdict) => verdict_exit(verdict),
            None => Exit::Infrastructure,
        }
    }

    /// The last line about an attempt.
    fn line(&self, elapsed: Option<Duration>, palette: Palette) -> String {
        let mut line = match (self.verdict(), self.refusal()) {
            (Some(verdict), _) => verdict::sentence(verdict, palette),
            (None, Some(refusal)) => {
                format!(
                    "{} {}",
                    palette.yellow("refused:"),
                    text::clean(&refusal.to_string())
                )
            }
            (None, None) => palette.yellow("ended without a verdict").to_string(),
        };
        if let Some(elapsed) = elapsed {
            let elapsed = format!("({})", units::duration(elapsed));
            line.push_str(&format!(" {}", palette.dim(elapsed)));
        }
        let (next, reboot) = match self {
            Self::Finished(finished) => {
                let next = match finished.passed_on_retry {
                    true => "passed only after earlier deliveries failed".to_owned(),
                    false => String::new(),
                };
                (next, &finished.reboot_requested)
            }
            Self::Requeued(requeued) => {
                let left = match requeued.retries_left {
                    0 => "no retry is left after it".to_owned(),
                    1 => "1 retry is left after it".to_owned(),
                    more => format!("{more} retries are left after it"),
                };
                let next = requeued.next_delivery_number;
                (
                    format!("to be delivered again as number {next}, {left}"),
                    &requeued.reboot_requested,
                )
            }
            Self::Returned(returned) => {
                let next = match returned.next_delivery_number {
                    0 => "all deliveries are spent".to_owned(),
                    next => format!("to be delivered again as number {next}, no retry is used"),
                };
                (next, &returned.reboot_requested)
            }
        };
        if !next.is_empty() {
            line.push_str(&format!("; {next}"));
        }
        if !reboot.is_empty() {
            line.push_str(&format!("; wants a reboot: {}", text::line(reboot, 200)));
        }
        line
    }
}

fn verdict_exit(verdict: &Verdict) -> Exit {
    match verdict.kind() {
        VerdictKind::Passed => Exit::Success,
        VerdictKind::TimedOut => Exit::TimedOut,
        VerdictKind::Cancelled => Exit::Cancelled,
        VerdictKind::Infrastructure | VerdictKind::Unspecified => Exit::Infrastructure,
        VerdictKind::Failed => {
            let Some(ending) = &verdict.ending else {
                return Exit::Failed;
            };
            if ending.kind() == EndingKind::CouldNotStart {
                return Exit::CouldNotStart;
            }
            match (ending.exit_code, ending.signal) {
                // What does not fit is cut off as every shell does, save that a
                // failure must not become a zero.
                (Some(code), _) => match code.to_le_bytes()[0] {
                    0 => Exit::Failed,
                    code => Exit::Command(code),
                },
                (None, Some(signal)) => match u8::try_from(signal) {
                    Ok(signal) => Exit::Signal(signal),
                    Err(_) => Exit::Failed,
                },
                (None, None) => Exit::Failed,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use helix_proto::agent::v1::{self as wire, Ending, Exited, TestCounts, TestFailure};

    use super::*;

    fn ended(kind: VerdictKind, ending: Option<Ending>) -> End {
        let verdict = Verdict {
            kind: kind.into(),
            ending,
            ..Verdict::default()
        };
        End::Finished(Finished {
            verdict: Some(verdict),
            ..Finished::default()
        })
    }

    fn check_exit(kind: VerdictKind, ending: Option<Ending>, expected: u8) {
        assert_eq!(
            ended(kind, ending.clone()).exit().code(),
            expected,
            "{kind:?} {ending:?}"
        );
    }

    fn exited(code: i32) -> Option<Ending> {
        Some(Ending {
            kind: EndingKind::Exited.into(),
            exit_code: Some(code),
            ..Ending::default()
        })
    }

    #[test]
    fn the_exit_code_is_that_of_the_work_item() {
        check_exit(VerdictKind::Passed, exited(0), 0);
        check_exit(VerdictKind::Failed, exited(3), 3);
        check_exit(VerdictKind::Failed, exited(0), 1);
        check_exit(VerdictKind::Failed, exited(256), 1);
        check_exit(VerdictKind::Failed, exited(-1), 255);
        check_exit(VerdictKind::Failed, None, 1);
        let signal = Ending {
            kind: EndingKind::Signalled.into(),
            signal: Some(11),
            ..Ending::default()
        };
        check_exit(VerdictKind::Failed, Some(signal), 139);
        let not_started = Ending {
            kind: EndingKind::CouldNotStart.into(),
            ..Ending::default()
        };
        check_exit(VerdictKind::Failed, Some(not_started), 126);
        check_exit(VerdictKind::TimedOut, exited(0), 124);
        check_exit(VerdictKind::Cancelled, exited(0), 130);
        check_exit(VerdictKind::Infrastructure, None, 70);
    }

    #[test]
    fn a_refusal_after_unpacking_is_a_refusal() {
        let refusal = wire::Refusal {
            grpc_code: 9,
            reason: "MISSING_CAPABILITY".to_owned(),
            message: "There is no `xcode` 16.".to_owned(),
            ..wire::Refusal::default()
        };
        let end = End::Returned(Returned {
            cause: Some(returned::Cause::Refusal(refusal)),
            next_delivery_number: 1,
            ..Returned::default()
        });
        assert_eq!(end.exit(), Exit::Refused);
        insta::assert_snapshot!(
            end.line(None, Palette::Plain),
            @"refused: MISSING_CAPABILITY: There is no `xcode` 16.; to be delivered again as number 1, no retry is used"
        );
    }

    fn event(kind: Kind) -> AttemptEvent {
        AttemptEvent {
            kind: Some(kind),
            ..AttemptEvent::default()
        }
    }

    #[test]
    fn a_failed_attempt_is_summed_up() {
        let mut summary = Summary::default();
        summary.observe(&event(Kind::Exited(Exited {
            elapsed: Some(prost_types::Duration {
                seconds: 12,
                nanos: 0,
            }),
            ..Exited::default()
        })));
        let failure = |name: &str, message: &str| TestFailure {
            name: name.to_owned(),
            message: message.to_owned(),
            ..TestFailure::default()
        };
        summary.observe(&event(Kind::ResultsRead(ResultsRead {
            counts: Some(TestCounts {
                total: 9,
                passed: 4,
                failed: 5,
                ..TestCounts::default()
            }),
            failures: vec![
                failure("a::b", "left: 1\nright: 2\n"),
                failure("a::c\x1b[2J", ""),
            ],
            files: vec!["testResults.xml".to_owned()],
            problems: vec!["b.xml:3:7: ends too early".to_owned()],
        })));
        for number in 0..22 {
            let (name, kind) = match number {
                0 => ("console.log".to_owned(), ArtifactKind::ConsoleLog),
                _ => (format!("dumps/core.{number}"), ArtifactKind::Dump),
            };
            summary.observe(&event(Kind::ArtifactStored(ArtifactStored {
                url: format!("file:///a/{name}"),
                name,
                size_bytes: 1024,
                kind: kind.into(),
                ..ArtifactStored::default()
            })));
        }
        let verdict = Verdict {
            kind: VerdictKind::Failed.into(),
            message: "5 tests failed".to_owned(),
            ..Verdict::default()
        };
        summary.observe(&event(Kind::Requeued(Requeued {
            verdict: Some(verdict),
            next_delivery_number: 2,
            retries_left: 1,
            ..Requeued::default()
        })));
        let text = summary.lines(Palette::Plain).join("\n");
        let mut lines: Vec<&str> = text.lines().collect();
        // The middle of the list of files adds nothing.
        lines.drain(9..27);
        insta::assert_snapshot!(lines.join("\n"), @r"
        failed test: a::b
            left: 1
            right: 2
        failed test: a::c\u{1b}[2J
        … and 3 more failed tests
        unreadable results: b.xml:3:7: ends too early
        9 tests: 4 passed, 5 failed (1 result file)
        22 files stored, 22.0 KiB
            console.log (1.0 KiB, console log) file:///a/console.log
            dumps/core.19 (1.0 KiB, dump) file:///a/dumps/core.19
            … and 2 more
        failed: 5 tests failed (12 s); to be delivered again as number 2, 1 retry is left after it
        ");
    }
}
