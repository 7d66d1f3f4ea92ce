//! Whether a failed try is followed by another, and after which pause.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

use crate::error::{HttpProblem, Kind};

use super::options::RetryPolicy;

/// The tries of one download.
#[derive(Debug)]
pub(crate) struct Retries {
    policy: RetryPolicy,
    pauses: ExponentialBackoff,
}

impl Retries {
    pub(crate) fn new(policy: RetryPolicy) -> Self {
        Self {
            policy,
            pauses: pauses(&policy),
        }
    }

    /// The download came forward: the count of failures begins anew.
    pub(crate) fn progressed(&mut self) {
        self.pauses = pauses(&self.policy);
    }

    /// How long to wait before another try; `None` if there is none.
    pub(crate) fn pause_after(&mut self, problem: &HttpProblem) -> Option<Duration> {
        if problem.kind() != Kind::Transient {
            return None;
        }
        let own = self.pauses.next()?;
        match problem {
            HttpProblem::Status {
                retry_after: Some(requested),
                ..
            } => {
                // Jitter is added here as well: everybody was told the same time.
                Some((*requested).min(self.policy.longest_requested_pause) + own / 4)
            }
            _ => Some(own),
        }
    }
}

fn pauses(policy: &RetryPolicy) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(policy.first_pause)
        .with_max_delay(policy.longest_pause)
        .with_max_times(policy.tries.saturating_sub(1))
        .with_jitter()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, retry_after: Option<u64>) -> HttpProblem {
        HttpProblem::Status {
            code,
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn pauses_grow_and_end() {
        let policy = RetryPolicy {
            tries: 4,
            ..RetryPolicy::default()
        };
        let mut retries = Retries::new(policy);
        let pauses: Vec<_> = std::iter::from_fn(|| retries.pause_after(&status(503, None)))
            .take(10)
            .collect();
        assert_eq!(pauses.len(), 3);
        for (pause, factor) in pauses.iter().zip([1, 2, 4]) {
            let least = policy.first_pause * factor;
            assert!(*pause >= least && *pause <= 2 * least, "{pauses:?}");
        }
    }

    #[test]
    fn progress_begins_the_count_anew() {
        let mut retries = Retries::new(RetryPolicy {
            tries: 2,
            ..RetryPolicy::default()
        });
        for _ in 0..5 {
            assert!(retries.pause_after(&status(500, None)).is_some());
            retries.progressed();
        }
        assert!(retries.pause_after(&status(500, None)).is_some());
        assert!(retries.pause_after(&status(500, None)).is_none());
    }

    #[test]
    fn server_is_obeyed_within_the_cap() {
        let policy = RetryPolicy::default();
        let mut retries = Retries::new(policy);
        let pause = retries.pause_after(&status(429, Some(7))).unwrap();
        assert!(
            pause >= Duration::from_secs(7) && pause < Duration::from_secs(9),
            "{pause:?}"
        );
        let pause = retries.pause_after(&status(503, Some(86_400))).unwrap();
        assert!(pause >= policy.longest_requested_pause, "{pause:?}");
        assert!(
            pause < policy.longest_requested_pause + policy.longest_pause,
            "{pause:?}"
        );
    }

    #[test]
    fn what_will_not_pass_is_not_tried_again() {
        for problem in [
            status(404, None),
            status(403, Some(1)),
            HttpProblem::Redirect { reason: "x" },
            HttpProblem::Certificate {
                detail: String::new(),
            },
        ] {
            assert_eq!(
                Retries::new(RetryPolicy::default()).pause_after(&problem),
                None
            );
        }
    }
}
