//! Whether an agent can be trusted with work: quarantine after failures of its own, then probation.
//!
//! Only failures of the machine count, never those of the work: a test that fails says that the machine
//! works. After enough of them in a row the agent takes nothing for a while, then one item at a time until one
//! of them shows that the machine is well, or sends it back for longer.

use std::time::{Duration, SystemTime};

use crate::backoff::{doubled, later};
use crate::outcome::{Blame, Ending};

/// How the agent has been doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It takes work.
    Healthy {
        /// How many of the last attempts in a row failed by fault of the machine.
        failures: u32,
    },
    /// It takes none.
    Quarantined {
        /// How many attempts in a row failed by fault of the machine.
        failures: u32,
        /// Which quarantine in a row this is, counted from 1.
        round: u32,
        /// When probation begins.
        until: SystemTime,
    },
    /// It takes one item at a time, to see whether it is well.
    Probation {
        /// How many attempts in a row failed by fault of the machine.
        failures: u32,
        /// Which quarantine in a row it comes from, counted from 1.
        round: u32,
    },
}

/// When to quarantine and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthPolicy {
    /// How many failures in a row lead to quarantine; 0 counts as 1.
    pub max_failures: u32,
    /// How long the first quarantine lasts; doubles with each that follows without a success.
    pub first_quarantine: Duration,
    /// The longest quarantine.
    pub max_quarantine: Duration,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            max_failures: 3,
            first_quarantine: Duration::from_secs(5 * 60),
            max_quarantine: Duration::from_secs(2 * 60 * 60),
        }
    }
}

/// What the end of an attempt says about the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// It ran the command to its end, whatever that was.
    Works,
    /// It failed to do its part.
    Suspect,
    /// Nothing either way.
    Nothing,
}

impl Evidence {
    /// What an ending says about the machine.
    #[must_use]
    pub fn of(ending: &Ending) -> Self {
        match ending {
            Ending::Exited(_) | Ending::Signalled { .. } | Ending::OutputLimit => Self::Works,
            // A command that hangs may hang because of the machine, or not.
            Ending::TimedOut(_) | Ending::Cancelled { .. } => Self::Nothing,
            Ending::CouldNotStart(failure) => Self::from_blame(failure.blame()),
            Ending::Infrastructure(cause) => Self::from_blame(cause.blame()),
        }
    }

    fn from_blame(blame: Blame) -> Self {
        match blame {
            Blame::Machine => Self::Suspect,
            Blame::WorkItem | Blame::Elsewhere => Self::Nothing,
        }
    }
}

/// Whether an item may be taken, as far as health goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// As many as fit.
    Full,
    /// This one, as a trial.
    OneTrial,
    /// None.
    Withheld {
        /// How many attempts in a row failed by fault of the machine.
        failures: u32,
        /// When it may be different; none while a trial is running.
        until: Option<SystemTime>,
    },
}

impl Default for Health {
    fn default() -> Self {
        Self::Healthy { failures: 0 }
    }
}

impl Health {
    /// The state at a time: a quarantine that is over is probation.
    #[must_use]
    pub fn at(&self, now: SystemTime) -> Self {
        match self {
            Self::Quarantined {
                failures,
                round,
                until,
            } if now >= *until => Self::Probation {
                failures: *failures,
                round: *round,
            },
            Self::Healthy { .. } | Self::Quarantined { .. } | Self::Probation { .. } => {
                self.clone()
            }
        }
    }

    /// The state after an attempt has ended.
    ///
    /// Attempts that were running when a quarantine began do not end it when they go well, for they may not have
    /// needed what is broken, and do not prolong it when they fail.
    #[must_use]
    pub fn after(&self, evidence: Evidence, policy: &HealthPolicy, now: SystemTime) -> Self {
        let state = self.at(now);
        match (state, evidence) {
            (state, Evidence::Nothing) => state,
            (Self::Healthy { .. } | Self::Probation { .. }, Evidence::Works) => Self::default(),
            (state @ Self::Quarantined { .. }, Evidence::Works) => state,
            (Self::Healthy { failures }, Evidence::Suspect) => {
                let failures = failures.saturating_add(1);
                if failures >= policy.max_failures.max(1) {
                    quarantine(failures, 1, policy, now)
                } else {
                    Self::Healthy { failures }
                }
            }
            (
                Self::Quarantined {
                    failures,
                    round,
                    until,
                },
                Evidence::Suspect,
            ) => Self::Quarantined {
                failures: failures.saturating_add(1),
                round,
                until,
            },
            (Self::Probation { failures, round }, Evidence::Suspect) => quarantine(
                failures.saturating_add(1),
                round.saturating_add(1),
                policy,
                now,
            ),
        }
    }

    /// Whether one more item may be taken while `running` are under way.
    #[must_use]
    pub fn trust(&self, running: usize, now: SystemTime) -> Trust {
        match self.at(now) {
            Self::Healthy { .. } => Trust::Full,
            Self::Quarantined {
                failures, until, ..
            } => Trust::Withheld {
                failures,
                until: Some(until),
            },
            Self::Probation { failures, .. } if running > 0 => Trust::Withheld {
                failures,
                until: None,
            },
            Self::Probation { .. } => Trust::OneTrial,
        }
    }
}

fn quarantine(failures: u32, round: u32, policy: &HealthPolicy, now: SystemTime) -> Health {
    let length = doubled(policy.first_quarantine, policy.max_quarantine, round);
    Health::Quarantined {
        failures,
        round,
        until: later(now, length),
    }
}
