//! Totals of a suite, and what they say about tests whose own outcome is lost.

use std::fmt;

use crate::model::Outcome;

/// How many tests ended in which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SuiteTotals {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
    /// How many the runner meant to run; known at the beginning only.
    pub(crate) planned: u64,
}

/// What became of tests whose outcome is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// By the totals all of them passed.
    Passed,
    /// By the totals all of them were ignored.
    Ignored,
    /// The totals are reached without them: some test printed that they had begun.
    NeverWas,
    /// Nobody can say.
    Lost,
}

impl Verdict {
    pub(crate) fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Passed => Some(Outcome::Passed),
            Self::Ignored => Some(Outcome::Skipped),
            Self::NeverWas => None,
            Self::Lost => Some(Outcome::Errored),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "by the totals they passed",
            Self::Ignored => "by the totals they were ignored",
            Self::NeverWas => "by the totals there are no such tests",
            Self::Lost => "they count as errors",
        })
    }
}

impl SuiteTotals {
    /// Takes the number under `key` of the event at the end of a suite.
    pub(crate) fn set(&mut self, key: &[u8], value: u64) {
        match key {
            b"passed" | b"measured" => self.passed = self.passed.saturating_add(value),
            b"failed" => self.failed = value,
            b"test_count" => self.planned = value,
            b"ignored" | b"allowed_fail" => self.ignored = self.ignored.saturating_add(value),
            _ => {}
        }
    }

    pub(crate) fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Skipped => self.ignored += 1,
            _ => self.failed += 1,
        }
    }

    /// How many of the planned tests have no outcome.
    pub(crate) fn left(&self) -> u64 {
        self.planned
            .saturating_sub(self.passed + self.failed + self.ignored)
    }

    /// What became of `missing` tests, if `self` is what the runner says and `counted` what was found.
    pub(crate) fn verdict_on_missing(&self, counted: &Self, missing: u64) -> Verdict {
        let passed = self.passed.saturating_sub(counted.passed);
        let failed = self.failed.saturating_sub(counted.failed);
        let ignored = self.ignored.saturating_sub(counted.ignored);
        match (passed, failed, ignored) {
            (0, 0, 0) => Verdict::NeverWas,
            (passed, 0, 0) if passed == missing => Verdict::Passed,
            (0, 0, ignored) if ignored == missing => Verdict::Ignored,
            _ => Verdict::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_tests_passed_only_if_the_totals_leave_no_other_way() {
        let totals = SuiteTotals {
            passed: 5,
            failed: 1,
            ignored: 2,
            planned: 8,
        };
        for (passed, failed, ignored, missing, verdict) in [
            (4, 1, 2, 1, Verdict::Passed),
            (5, 1, 1, 1, Verdict::Ignored),
            (5, 0, 2, 1, Verdict::Lost),
            (4, 0, 2, 2, Verdict::Lost),
            (4, 1, 2, 2, Verdict::Lost),
            (5, 1, 2, 1, Verdict::NeverWas),
            (6, 1, 2, 1, Verdict::NeverWas),
        ] {
            let counted = SuiteTotals {
                passed,
                failed,
                ignored,
                planned: 8,
            };
            assert_eq!(totals.verdict_on_missing(&counted, missing), verdict);
        }
    }
}
