//! Verdicts, counts and endings in words.

use helix_proto::agent::v1::{AttemptState, Ending, EndingKind, TestCounts, Verdict, VerdictKind};

use super::table::Style;
use super::{Palette, text, units};

/// The verdict's class in one word or two.
pub(crate) fn kind_text(kind: VerdictKind) -> &'static str {
    match kind {
        VerdictKind::Unspecified => "unknown",
        VerdictKind::Passed => "passed",
        VerdictKind::Failed => "failed",
        VerdictKind::TimedOut => "timed out",
        VerdictKind::Cancelled => "cancelled",
        VerdictKind::Infrastructure => "infrastructure",
    }
}

/// How a verdict of this class looks.
pub(crate) fn kind_style(kind: VerdictKind) -> Style {
    match kind {
        VerdictKind::Passed => Style::Good,
        VerdictKind::Failed | VerdictKind::TimedOut => Style::Bad,
        VerdictKind::Cancelled | VerdictKind::Infrastructure | VerdictKind::Unspecified => {
            Style::Odd
        }
    }
}

/// The verdict in its colour, with its sentence: `failed: 2 tests failed`.
pub(crate) fn sentence(verdict: &Verdict, palette: Palette) -> String {
    let word = kind_text(verdict.kind());
    let kind = match kind_style(verdict.kind()) {
        Style::Good => palette.green(word).to_string(),
        Style::Bad => palette.red(word).to_string(),
        Style::Odd | Style::Faint | Style::Normal => palette.yellow(word).to_string(),
    };
    // The sentence may begin with the same word.
    let message = verdict
        .message
        .strip_prefix(word)
        .unwrap_or(&verdict.message);
    match message.trim_start_matches([':', ' ']) {
        "" => kind,
        message => format!("{kind}: {}", text::line(message, 500)),
    }
}

/// Where an attempt stands, in a word.
pub(crate) fn attempt_state_text(state: AttemptState) -> &'static str {
    match state {
        AttemptState::Unspecified => "unknown",
        AttemptState::Preparing => "preparing",
        AttemptState::Running => "running",
        AttemptState::Collecting => "collecting",
        AttemptState::Ended => "ended",
    }
}

/// `96 tests: 93 passed, 2 failed, 1 skipped`; what is zero is left out.
pub(crate) fn counts(counts: &TestCounts, palette: Palette) -> String {
    let parts = [
        (counts.passed, "passed", Style::Good),
        (counts.failed, "failed", Style::Bad),
        (counts.skipped, "skipped", Style::Odd),
        (counts.inconclusive, "inconclusive", Style::Odd),
        (counts.flaky, "passed only after failing", Style::Odd),
    ];
    let mut shown = Vec::new();
    for (number, what, style) in parts {
        if number == 0 {
            continue;
        }
        let part = format!("{number} {what}");
        shown.push(match style {
            Style::Good => palette.green(part).to_string(),
            Style::Bad => palette.red(part).to_string(),
            Style::Odd | Style::Faint | Style::Normal => palette.yellow(part).to_string(),
        });
    }
    let total = units::count(counts.total, "test");
    if shown.is_empty() {
        total
    } else {
        format!("{total}: {}", shown.join(", "))
    }
}

/// How the command ended: `exited with code 101`, `ended by signal 9`.
pub(crate) fn ending(ending: &Ending) -> String {
    let kind = match ending.kind() {
        EndingKind::Unspecified => "ended",
        EndingKind::Exited => "exited",
        EndingKind::Signalled => "ended",
        EndingKind::WallTimeout => "ran into the wall timeout",
        EndingKind::SilenceTimeout => "ran into the silence timeout",
        EndingKind::Cancelled => "was cancelled",
        EndingKind::OutputLimit => "wrote more than its limit",
        EndingKind::OutOfMemory => "ran out of memory",
        EndingKind::CouldNotStart => "could not be started",
        EndingKind::Infrastructure => "ended in an unknown way",
    };
    let how = match (ending.exit_code, ending.signal) {
        (Some(code), _) => format!(" with code {code}"),
        (None, Some(signal)) => format!(" by signal {signal}"),
        (None, None) => String::new(),
    };
    let core = if ending.core_dumped {
        " and dumped core"
    } else {
        ""
    };
    // A limit ends a command; the code or signal is what came of it.
    let kind = match ending.kind() {
        EndingKind::Exited | EndingKind::Signalled | EndingKind::Unspecified => kind.to_owned(),
        _ if how.is_empty() => kind.to_owned(),
        _ => format!("{kind} and ended"),
    };
    format!("{kind}{how}{core}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_leave_out_what_is_zero() {
        let all = TestCounts {
            total: 9,
            passed: 4,
            failed: 2,
            skipped: 1,
            flaky: 1,
            inconclusive: 1,
        };
        assert_eq!(
            counts(&all, Palette::Plain),
            "9 tests: 4 passed, 2 failed, 1 skipped, 1 inconclusive, 1 passed only after failing"
        );
        let one = TestCounts {
            total: 1,
            passed: 1,
            ..TestCounts::default()
        };
        assert_eq!(counts(&one, Palette::Plain), "1 test: 1 passed");
        assert_eq!(counts(&TestCounts::default(), Palette::Plain), "0 tests");
    }

    #[test]
    fn endings_name_what_ended_them() {
        let check = |kind: EndingKind, exit_code, signal, expected: &str| {
            let shown = ending(&Ending {
                kind: kind.into(),
                exit_code,
                signal,
                ..Ending::default()
            });
            assert_eq!(shown, expected);
        };
        check(EndingKind::Exited, Some(101), None, "exited with code 101");
        check(EndingKind::Signalled, None, Some(11), "ended by signal 11");
        check(
            EndingKind::WallTimeout,
            None,
            Some(9),
            "ran into the wall timeout and ended by signal 9",
        );
        check(
            EndingKind::Cancelled,
            Some(0),
            None,
            "was cancelled and ended with code 0",
        );
        check(
            EndingKind::OutOfMemory,
            None,
            Some(9),
            "ran out of memory and ended by signal 9",
        );
        check(
            EndingKind::CouldNotStart,
            None,
            None,
            "could not be started",
        );
    }
}
