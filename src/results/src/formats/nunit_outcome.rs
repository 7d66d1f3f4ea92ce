//! How NUnit says what became of a test.

use crate::model::Outcome;

/// The two generations of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Two,
    Three,
}

/// What a child of the case tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Child {
    #[default]
    None,
    Failure,
    Error,
}

/// The words around the outcome of a case.
#[derive(Debug, Default)]
pub(crate) struct CaseWords {
    /// Refines the result in version 3.
    pub(crate) label: String,
    /// `True` or `False` in version 2.
    pub(crate) executed: String,
    /// `True` or `False` in version 2.
    pub(crate) success: String,
    child: Child,
}

impl CaseWords {
    pub(crate) fn clear(&mut self) {
        self.label.clear();
        self.executed.clear();
        self.success.clear();
        self.child = Child::None;
    }

    /// Notes a `failure` or `error` child.
    pub(crate) fn told(&mut self, element: &[u8]) {
        self.child = match (self.child, element) {
            (Child::Failure, _) | (_, b"failure") => Child::Failure,
            _ => Child::Error,
        };
    }

    /// Whether the case carries a failure that `outcome` denies.
    pub(crate) fn contradicts(&self, outcome: &Outcome) -> bool {
        *outcome == Outcome::Passed && self.child != Child::None
    }

    pub(crate) fn outcome(&self, version: Version, result: &str) -> Outcome {
        match version {
            Version::Three => self.outcome_3(result),
            Version::Two => self.outcome_2(result),
        }
    }

    fn outcome_3(&self, result: &str) -> Outcome {
        match result {
            "Passed" | "Success" | "Warning" => Outcome::Passed,
            "Failed" | "Failure" | "Error" => match self.label.as_str() {
                "Error" | "Invalid" | "Cancelled" => Outcome::Errored,
                _ if result == "Error" => Outcome::Errored,
                _ => Outcome::Failed,
            },
            "Skipped" | "Ignored" => match self.label.as_str() {
                "Explicit" => Outcome::NotRun,
                _ => Outcome::Skipped,
            },
            "Inconclusive" => Outcome::Inconclusive,
            _ if self.child != Child::None => Outcome::Failed,
            _ => Outcome::Unknown,
        }
    }

    fn outcome_2(&self, result: &str) -> Outcome {
        match result {
            "Success" | "Passed" => Outcome::Passed,
            "Failure" | "Failed" => Outcome::Failed,
            // A test that cannot be run is as good as one that fails, or nobody would mend it.
            "Error" | "NotRunnable" | "Invalid" | "Cancelled" => Outcome::Errored,
            "Ignored" | "Skipped" => Outcome::Skipped,
            "Inconclusive" => Outcome::Inconclusive,
            // Before version 2.5 there was no such attribute.
            "" => match self.child {
                Child::Failure => Outcome::Failed,
                Child::Error => Outcome::Errored,
                Child::None if self.executed.eq_ignore_ascii_case("false") => Outcome::Skipped,
                Child::None if self.success.eq_ignore_ascii_case("false") => Outcome::Failed,
                Child::None => Outcome::Passed,
            },
            _ => Outcome::Unknown,
        }
    }
}
