//! What follows for a work item from the end of an attempt, as the controller decides it.
//!
//! The agent says the same in its terminal event, by the counters that it was handed. The controller
//! is the authority: it decides by its own, and what the agent said is only compared.

use std::time::Duration;

use crate::outcome::{HELIX_EXIT_CANCELLED, HELIX_EXIT_DEAD_LETTER, HELIX_EXIT_TIMEOUT};
use crate::work_item::Delivery;

/// How an attempt ended, as far as it decides what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttemptEnd {
    /// It passed.
    Passed,
    /// The item is to blame.
    Failed,
    /// It took too long or fell silent.
    TimedOut,
    /// Somebody cancelled it.
    Cancelled,
    /// A newer attempt of the item took its place, which the controller knows nothing of.
    Superseded,
    /// Machine, agent, network or payload is to blame.
    Infrastructure,
    /// The agent found out after unpacking that it lacks what the files ask for.
    Refused,
    /// Nobody will ever tell.
    Lost,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// The item has come to its end.
    End(ItemEnd),
    /// It waits again at the end of its queue.
    Wait {
        /// As this delivery.
        delivery: Delivery,
        /// What for.
        because: WaitBecause,
    },
}

/// How an item comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ItemEnd {
    /// It passed, and no failure came before.
    Passed,
    /// It passed after a failure.
    PassedOnRetry,
    /// It failed with no retry left.
    Failed,
    /// It took too long.
    TimedOut,
    /// It was cancelled.
    Cancelled,
    /// Its deliveries are spent without a result.
    Dead,
}

/// Why an item waits again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WaitBecause {
    /// A failure is retried.
    Retry,
    /// Nothing was learned: it was the machine.
    Returned,
    /// The machine lacks what its files ask for. It costs no delivery.
    Refused,
}

/// What follows from the end of an attempt.
#[must_use]
pub fn follow(end: AttemptEnd, delivery: &Delivery) -> Follow {
    let wait = |next: Option<Delivery>, because, otherwise| match next {
        Some(delivery) => Follow::Wait { delivery, because },
        None => Follow::End(otherwise),
    };
    match end {
        AttemptEnd::Passed if delivery.retries_used() > 0 => Follow::End(ItemEnd::PassedOnRetry),
        AttemptEnd::Passed => Follow::End(ItemEnd::Passed),
        AttemptEnd::Failed => wait(
            delivery.after_failure(),
            WaitBecause::Retry,
            ItemEnd::Failed,
        ),
        AttemptEnd::TimedOut => Follow::End(ItemEnd::TimedOut),
        AttemptEnd::Cancelled => Follow::End(ItemEnd::Cancelled),
        AttemptEnd::Infrastructure | AttemptEnd::Superseded | AttemptEnd::Lost => wait(
            delivery.after_infrastructure(),
            WaitBecause::Returned,
            ItemEnd::Dead,
        ),
        AttemptEnd::Refused => Follow::Wait {
            delivery: *delivery,
            because: WaitBecause::Refused,
        },
    }
}

impl ItemEnd {
    /// The exit code that Helix clients see, where it does not come from the command.
    #[must_use]
    pub fn helix_exit_code(self) -> Option<i32> {
        match self {
            Self::Passed | Self::PassedOnRetry | Self::Failed => None,
            Self::TimedOut => Some(HELIX_EXIT_TIMEOUT),
            Self::Cancelled => Some(HELIX_EXIT_CANCELLED),
            Self::Dead => Some(HELIX_EXIT_DEAD_LETTER),
        }
    }
}

/// What an agent said would follow, by its own counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announced {
    /// Nothing: the item is decided.
    Finished,
    /// A retry.
    Requeued {
        /// Number of the next delivery.
        next_delivery: u32,
        /// Retries used by then.
        next_retries_used: u32,
    },
    /// Another delivery, or none: nothing was learned.
    Returned {
        /// Number of the next delivery, none if they are spent.
        next_delivery: Option<u32>,
    },
}

/// Whether what an agent said would follow is what does. Where it is not, the controller's own
/// decision stands, and somebody should hear of it.
#[must_use]
pub fn agrees(announced: Announced, follow: &Follow) -> bool {
    match (announced, follow) {
        (Announced::Finished, Follow::End(end)) => *end != ItemEnd::Dead,
        (
            Announced::Requeued {
                next_delivery,
                next_retries_used,
            },
            Follow::Wait {
                delivery,
                because: WaitBecause::Retry,
            },
        ) => (next_delivery, next_retries_used) == (delivery.number(), delivery.retries_used()),
        (
            Announced::Returned { next_delivery },
            Follow::Wait {
                delivery,
                because: WaitBecause::Returned | WaitBecause::Refused,
            },
        ) => next_delivery == Some(delivery.number()),
        (Announced::Returned { next_delivery }, Follow::End(end)) => {
            next_delivery.is_none() && *end == ItemEnd::Dead
        }
        (
            Announced::Finished | Announced::Requeued { .. } | Announced::Returned { .. },
            Follow::End(_) | Follow::Wait { .. },
        ) => false,
    }
}

/// How long an agent is kept from an item that it returned or lost, where another could run it.
pub const AVOID_AFTER_RETURN: Duration = Duration::from_secs(60);

/// How long an agent is kept from an item whose retry is to run elsewhere, where another could run
/// it.
pub const AVOID_AFTER_FAILURE: Duration = Duration::from_secs(10 * 60);

/// The shortest and the longest time that an agent is kept from what it refused, by the name of its
/// reason, and the time where it did not say one.
///
/// What was short may be free in a moment; what its owner has to change, or an installation, takes
/// longer.
#[must_use]
pub fn refusal_times(reason: &str) -> RefusalTimes {
    let seconds = |least, usual, most| RefusalTimes {
        least: Duration::from_secs(least),
        usual: Duration::from_secs(usual),
        most: Duration::from_secs(most),
    };
    match reason {
        // A free slot is reported by itself, so that the hint, which is when the slowest item must
        // have ended, is no reason to wait.
        "SLOTS_FULL" | "CPU_SHORT" | "MEMORY_SHORT" => RefusalTimes {
            least: Duration::from_millis(100),
            usual: Duration::from_millis(100),
            most: Duration::from_secs(1),
        },
        "DISK_SHORT" => seconds(1, 5, 30),
        "OFFLINE" | "DRAINING" | "UNHEALTHY" => seconds(1, 5, 300),
        "PROVISIONING" => seconds(1, 10, 300),
        "STATE_UNWRITABLE" => seconds(1, 10, 60),
        "MISSING_CAPABILITY" | "NOT_ISOLATED" | "TOO_LARGE" | "WRONG_QUEUE" => {
            seconds(5, 300, 3600)
        }
        "BAD_REQUEST" | "SUPERSEDED_ATTEMPT" => seconds(60, 600, 3600),
        // Of a later release.
        _ => seconds(1, 30, 600),
    }
}

/// Bounds of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusalTimes {
    /// At least.
    pub least: Duration,
    /// Where nothing is said.
    pub usual: Duration,
    /// At most.
    pub most: Duration,
}

impl RefusalTimes {
    /// A hint brought within the bounds, or what is usual without one.
    #[must_use]
    pub fn bound(&self, hint: Option<Duration>) -> Duration {
        hint.unwrap_or(self.usual).clamp(self.least, self.most)
    }
}

#[cfg(test)]
mod tests;
