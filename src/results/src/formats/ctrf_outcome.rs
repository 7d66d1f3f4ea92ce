//! Outcomes in the words of CTRF, both ways.

use crate::model::Outcome;

/// The outcome of a `status`, made more exact by a `rawStatus` that does not contradict it.
pub(crate) fn outcome_of(status: &str, raw: &str) -> Outcome {
    let coarse = match status {
        "passed" => Outcome::Passed,
        "failed" => Outcome::Failed,
        "skipped" => Outcome::Skipped,
        "pending" => Outcome::NotRun,
        "other" => Outcome::Inconclusive,
        _ => Outcome::Unknown,
    };
    let exact = Outcome::ALL
        .into_iter()
        .find(|outcome| outcome.as_str() == raw);
    match exact {
        Some(exact) if status_of(exact) == status => exact,
        _ => coarse,
    }
}

/// The `status` for an outcome.
pub(crate) fn status_of(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed | Outcome::Errored | Outcome::TimedOut => "failed",
        Outcome::Skipped => "skipped",
        Outcome::NotRun => "pending",
        Outcome::Inconclusive | Outcome::Unknown => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_survive_the_way_there_and_back() {
        for outcome in Outcome::ALL {
            assert_eq!(outcome_of(status_of(outcome), outcome.as_str()), outcome);
        }
    }

    #[test]
    fn raw_status_cannot_turn_a_failure_into_a_success() {
        assert_eq!(outcome_of("failed", "passed"), Outcome::Failed);
        assert_eq!(outcome_of("failed", "Timeout"), Outcome::Failed);
        assert_eq!(outcome_of("PASSED", "passed"), Outcome::Unknown);
        assert_eq!(outcome_of("", ""), Outcome::Unknown);
    }
}
