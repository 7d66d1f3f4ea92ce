//! What became of the work items, and whether that is what was meant. Pure.

use std::time::Duration;

use helix_api::{Attempt, AttemptState, ItemState, Prospect, TestCounts};

use super::suites::Expected;
use crate::render::table::{Cell, Style, Table};
use crate::render::{Palette, text, units};

/// What is known of one work item.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// How many attempts were taken by an agent.
    pub(super) started: u32,
    /// How it looked when nothing else was left.
    pub(super) prospect: Option<Prospect>,
    end: Option<End>,
}

/// How it came to its end.
#[derive(Debug)]
struct End {
    state: ItemState,
    attempts: Vec<Attempt>,
}

impl Record {
    /// Remembers its end.
    pub(super) fn settle(&mut self, state: ItemState, attempts: Vec<Attempt>) {
        self.end = Some(End { state, attempts });
    }

    /// Whether it has come to its end.
    pub(super) fn is_settled(&self) -> bool {
        self.end.is_some()
    }

    /// Whether it went as it was meant to. A suite without tests proves nothing.
    pub(super) fn is_as(&self, expected: Expected) -> bool {
        let Some(End { state, attempts }) = &self.end else {
            return false;
        };
        let proven = self
            .counts()
            .is_some_and(|counts| counts.passed > 0 && counts.failed == 0);
        match expected {
            Expected::Passes => *state == ItemState::Passed && attempts.len() == 1 && proven,
            Expected::PassesOnRetry => {
                *state == ItemState::PassedOnRetry && attempts.len() == 2 && proven
            }
            Expected::NobodyCan => {
                *state == ItemState::Cancelled
                    && attempts.is_empty()
                    && self.prospect == Some(Prospect::Never)
            }
        }
    }

    fn verdict(&self) -> Cell {
        let never = self.prospect == Some(Prospect::Never);
        match self.end.as_ref().map(|end| end.state) {
            Some(ItemState::Passed) => Cell::styled("passed", Style::Good),
            Some(ItemState::PassedOnRetry) => Cell::styled("passed on retry", Style::Good),
            Some(ItemState::Failed) => Cell::styled("failed", Style::Bad),
            Some(ItemState::TimedOut) => Cell::styled("timed out", Style::Bad),
            Some(ItemState::Cancelled) if never => Cell::styled("nobody can run it", Style::Odd),
            Some(ItemState::Cancelled) => Cell::styled("cancelled", Style::Odd),
            Some(ItemState::Dead) => Cell::styled("no result", Style::Bad),
            Some(ItemState::Waiting | ItemState::Offered | ItemState::Running) | None => {
                Cell::styled("not ended", Style::Odd)
            }
        }
    }

    fn attempts(&self) -> &[Attempt] {
        self.end.as_ref().map_or(&[], |end| &end.attempts)
    }

    fn counts(&self) -> Option<TestCounts> {
        self.attempts().last().and_then(|attempt| attempt.counts)
    }

    fn time(&self) -> Duration {
        let seconds = self.attempts().iter().filter_map(|one| one.elapsed_seconds);
        Duration::try_from_secs_f64(seconds.sum()).unwrap_or_default()
    }
}

/// How an attempt ended, in a line.
pub(super) fn sentence(attempt: &Attempt, palette: Palette) -> String {
    let mut line = match attempt.state {
        AttemptState::Passed => palette.green("passed").to_string(),
        AttemptState::Failed | AttemptState::TimedOut | AttemptState::Lost => {
            palette.red(message(attempt, "failed")).to_string()
        }
        AttemptState::Cancelled | AttemptState::Infrastructure | AttemptState::Refused => {
            palette.yellow(message(attempt, "not judged")).to_string()
        }
        AttemptState::Offered | AttemptState::Running => "not ended".to_owned(),
    };
    if let Some(counts) = attempt.counts {
        line.push_str(&format!(", {} passed", counts.passed));
        if counts.failed > 0 {
            line.push_str(&format!(", {} failed", counts.failed));
        }
        if counts.skipped > 0 {
            line.push_str(&format!(", {} skipped", counts.skipped));
        }
    }
    line
}

fn message(attempt: &Attempt, otherwise: &str) -> String {
    text::clean(attempt.message.as_deref().unwrap_or(otherwise)).into()
}

/// The table at the end, each line ended.
pub(super) fn table<'a>(
    records: impl IntoIterator<Item = (&'a str, &'a Record)>,
    palette: Palette,
) -> String {
    let head = [
        "WORK ITEM",
        "ATTEMPTS",
        "VERDICT",
        "PASSED",
        "FAILED",
        "SKIPPED",
        "TIME",
    ];
    let mut table = Table::new(head);
    let number = |counts: Option<TestCounts>, of: fn(&TestCounts) -> u64| {
        counts.map_or_else(String::new, |counts| of(&counts).to_string())
    };
    for (name, record) in records {
        let counts = record.counts();
        let time = match record.attempts() {
            [] => String::new(),
            _ => units::duration(record.time()),
        };
        table.push([
            name.into(),
            record.attempts().len().to_string().into(),
            record.verdict(),
            number(counts, |counts| counts.passed).into(),
            number(counts, |counts| counts.failed).into(),
            number(counts, |counts| counts.skipped).into(),
            time.into(),
        ]);
    }
    table.render(palette)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(state: AttemptState, passed: u64, failed: u64) -> Attempt {
        let json = serde_json::json!({
            "number": 1, "id": "a", "item": "i", "job": "j", "delivery": 1, "retries_used": 0,
            "agent": "m", "controller": "c", "state": state, "offered": "2026-01-02T03:04:05Z",
            "elapsed_seconds": 0.25, "log": "/log", "log_bytes": 0,
            "counts": {
                "total": passed + failed, "passed": passed, "failed": failed, "skipped": 0,
                "flaky": 0, "inconclusive": 0
            }
        });
        serde_json::from_value(json).unwrap()
    }

    fn record(state: ItemState, attempts: Vec<Attempt>) -> Record {
        let mut record = Record::default();
        record.settle(state, attempts);
        record
    }

    #[test]
    fn only_what_was_meant_counts_as_success() {
        let good = || attempt(AttemptState::Passed, 3, 0);
        let bad = || attempt(AttemptState::Failed, 1, 2);
        assert!(!Record::default().is_as(Expected::Passes), "it never ended");
        let plain = record(ItemState::Passed, vec![good()]);
        assert!(plain.is_as(Expected::Passes));
        assert!(!plain.is_as(Expected::PassesOnRetry));
        let flaky = record(ItemState::PassedOnRetry, vec![bad(), good()]);
        assert!(flaky.is_as(Expected::PassesOnRetry));
        assert!(!flaky.is_as(Expected::Passes), "it needed a retry");
        let empty = record(ItemState::Passed, vec![attempt(AttemptState::Passed, 0, 0)]);
        assert!(!empty.is_as(Expected::Passes), "no test was read");

        let mut nobody = record(ItemState::Cancelled, Vec::new());
        assert!(!nobody.is_as(Expected::NobodyCan), "nobody asked why");
        nobody.prospect = Some(Prospect::Never);
        assert!(nobody.is_as(Expected::NobodyCan));
    }

    #[test]
    fn the_table_has_all_that_counts() {
        let good = attempt(AttemptState::Passed, 3, 0);
        let bad = attempt(AttemptState::Failed, 1, 2);
        let flaky = record(ItemState::PassedOnRetry, vec![bad, good]);
        let mut nobody = record(ItemState::Cancelled, Vec::new());
        nobody.prospect = Some(Prospect::Never);
        let never = Record::default();
        let rows = [("a 1.0", &flaky), ("b 1.0", &nobody), ("c 1.0", &never)];
        insta::assert_snapshot!(table(rows, Palette::Plain), @r"
        WORK ITEM  ATTEMPTS  VERDICT            PASSED  FAILED  SKIPPED  TIME
        a 1.0      2         passed on retry    3       0       0        500 ms
        b 1.0      0         nobody can run it
        c 1.0      0         not ended
        ");
    }
}
