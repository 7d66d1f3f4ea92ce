//! Whether an agent can be trusted with work: quarantine after failures of its own, then probation.
//!
//! Only failures of the machine count, never those of the work: a test that fails says that the
//! machine works. After enough of them in a row the agent takes nothing for a while, then one item
//! at a time until one of them shows that the machine is well, or sends it back for longer.

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
            Ending::Exited(_)
            | Ending::Signalled { .. }
            | Ending::OutputLimit
            | Ending::OutOfMemory {
                limit_bytes: Some(_),
            } => Self::Works,
            // A command that hangs may hang because of the machine, or not; and where memory was
            // short without a limit of its own, others may have had it.
            Ending::TimedOut(_)
            | Ending::Cancelled { .. }
            | Ending::OutOfMemory { limit_bytes: None } => Self::Nothing,
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
    /// Attempts that were running when a quarantine began do not end it when they go well, for they
    /// may not have needed what is broken, and do not prolong it when they fail.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::outcome::{
        CancelledBy, InfrastructureCause, PayloadFault, StartFailure, TimeoutKind,
    };
    use crate::testing::{at, seconds};

    fn policy() -> HealthPolicy {
        HealthPolicy {
            max_failures: 3,
            first_quarantine: seconds(100),
            max_quarantine: seconds(300),
        }
    }

    /// Applies evidence at given seconds to a healthy agent.
    fn after(evidence: &[(u64, Evidence)]) -> Health {
        evidence
            .iter()
            .fold(Health::default(), |health, (second, evidence)| {
                health.after(*evidence, &policy(), at(*second))
            })
    }

    use Evidence::{Nothing, Suspect, Works};

    #[test]
    fn failures_in_a_row_lead_to_quarantine_then_probation() {
        let quarantined = after(&[(0, Suspect), (1, Suspect), (2, Suspect)]);
        let expected = Health::Quarantined {
            failures: 3,
            round: 1,
            until: at(102),
        };
        assert_eq!(quarantined, expected);
        let withheld = Trust::Withheld {
            failures: 3,
            until: Some(at(102)),
        };
        assert_eq!(quarantined.trust(0, at(101)), withheld);
        assert_eq!(quarantined.trust(0, at(102)), Trust::OneTrial);
        assert_eq!(
            quarantined.trust(1, at(102)),
            Trust::Withheld {
                failures: 3,
                until: None
            }
        );
    }

    #[test]
    fn success_between_failures_starts_the_count_anew() {
        let health = after(&[
            (0, Suspect),
            (1, Suspect),
            (2, Works),
            (3, Suspect),
            (4, Suspect),
        ]);
        assert_eq!(health, Health::Healthy { failures: 2 });
        assert_eq!(health.trust(7, at(4)), Trust::Full);
    }

    #[test]
    fn trial_decides_between_health_and_a_longer_quarantine() {
        let quarantined = [(0, Suspect), (0, Suspect), (0, Suspect)];
        let well = after(&[&quarantined[..], &[(100, Works)]].concat());
        assert_eq!(well, Health::default());
        let until = |evidence: &[(u64, Evidence)]| {
            let Health::Quarantined { until, .. } = after(&[&quarantined, evidence].concat())
            else {
                panic!("not in quarantine after {evidence:?}");
            };
            until
        };
        assert_eq!(until(&[(100, Suspect)]), at(300));
        assert_eq!(until(&[(100, Suspect), (300, Suspect)]), at(600));
        assert_eq!(
            until(&[(100, Suspect), (300, Suspect), (600, Suspect)]),
            at(900)
        );
    }

    #[test]
    fn items_from_before_the_quarantine_neither_end_nor_prolong_it() {
        let quarantined = [(0, Suspect), (0, Suspect), (0, Suspect)];
        let health = after(&[&quarantined[..], &[(50, Works), (60, Suspect)]].concat());
        assert_eq!(
            health,
            Health::Quarantined {
                failures: 4,
                round: 1,
                until: at(100)
            }
        );
    }

    #[test]
    fn attempt_that_says_nothing_changes_nothing() {
        let health = after(&[(0, Suspect), (1, Nothing), (2, Suspect)]);
        assert_eq!(health, Health::Healthy { failures: 2 });
        let probation = after(&[(0, Suspect), (0, Suspect), (0, Suspect), (100, Nothing)]);
        assert_eq!(
            probation,
            Health::Probation {
                failures: 3,
                round: 1
            }
        );
    }

    #[test]
    fn only_the_machines_own_failures_count() {
        let check = |ending: Ending, expected: Evidence| {
            assert_eq!(Evidence::of(&ending), expected, "{ending:?}");
        };
        check(Ending::Exited(0), Works);
        check(Ending::Exited(1), Works);
        check(
            Ending::Signalled {
                signal: 11,
                core_dumped: true,
            },
            Works,
        );
        check(Ending::OutputLimit, Works);
        let hungry = |limit_bytes| Ending::OutOfMemory { limit_bytes };
        check(hungry(Some(1)), Works);
        check(hungry(None), Nothing);
        check(
            Ending::TimedOut(TimeoutKind::Wall(Duration::from_secs(1))),
            Nothing,
        );
        check(
            Ending::Cancelled {
                by: CancelledBy::Client {
                    reason: String::new(),
                },
            },
            Nothing,
        );
        let program = || "x".to_owned();
        check(
            Ending::CouldNotStart(StartFailure::NotFound { program: program() }),
            Nothing,
        );
        check(
            Ending::CouldNotStart(StartFailure::NoRoom { reason: program() }),
            Suspect,
        );
        let payload = |fault| {
            let cause = InfrastructureCause::Payload {
                payload: program(),
                fault,
                reason: program(),
            };
            Ending::Infrastructure(cause)
        };
        check(payload(PayloadFault::Sender), Nothing);
        check(payload(PayloadFault::Transport), Nothing);
        check(payload(PayloadFault::Machine), Suspect);
        let full = InfrastructureCause::DiskFull { detail: program() };
        check(Ending::Infrastructure(full), Suspect);
        let requested = InfrastructureCause::Requested { reason: program() };
        check(Ending::Infrastructure(requested), Nothing);
        check(
            Ending::Infrastructure(InfrastructureCause::MachineRebooted),
            Nothing,
        );
    }

    #[test]
    fn odd_policies_do_no_harm() {
        let strict = HealthPolicy {
            max_failures: 0,
            ..policy()
        };
        let health = Health::default().after(Suspect, &strict, at(0));
        assert_eq!(
            health,
            Health::Quarantined {
                failures: 1,
                round: 1,
                until: at(100)
            }
        );
        let endless = HealthPolicy {
            max_failures: 1,
            first_quarantine: Duration::MAX,
            max_quarantine: Duration::MAX,
        };
        let health = Health::default().after(Suspect, &endless, at(0));
        assert!(matches!(health, Health::Quarantined { until, .. } if until > at(1 << 40)));
    }

    fn any_evidence() -> impl Strategy<Value = Evidence> {
        prop::sample::select(vec![Works, Suspect, Nothing])
    }

    proptest! {
        #[test]
        fn history_keeps_its_promises(
            steps in prop::collection::vec((0_u64..150, any_evidence()), 0..60),
        ) {
            let (mut health, mut now, mut in_a_row) = (Health::default(), 0, 0);
            for (wait, evidence) in steps {
                now += wait;
                let before = health.at(at(now));
                health = health.after(evidence, &policy(), at(now));
                in_a_row = match (evidence, &before) {
                    (Suspect, _) => in_a_row + 1,
                    (Works, Health::Healthy { .. } | Health::Probation { .. }) => 0,
                    (Works | Nothing, _) => in_a_row,
                };
                match &health {
                    Health::Healthy { failures } => {
                        prop_assert_eq!(*failures, in_a_row);
                        prop_assert!(in_a_row < 3);
                        prop_assert_eq!(health.trust(9, at(now)), Trust::Full);
                    }
                    Health::Quarantined { failures, until, .. } => {
                        prop_assert_eq!(*failures, in_a_row);
                        prop_assert!(in_a_row >= 3);
                        prop_assert!(*until <= at(now + 300), "capped");
                        prop_assert!(health.trust(0, *until) == Trust::OneTrial, "it ends");
                    }
                    Health::Probation { .. } => {
                        prop_assert!(in_a_row >= 3);
                        prop_assert_eq!(health.trust(0, at(now)), Trust::OneTrial);
                        let withheld = matches!(health.trust(1, at(now)), Trust::Withheld { .. });
                        prop_assert!(withheld);
                    }
                }
            }
        }

        #[test]
        fn failing_tests_never_quarantine(codes in prop::collection::vec(any::<i32>(), 0..40)) {
            let health = codes.iter().fold(Health::default(), |health, code| {
                health.after(Evidence::of(&Ending::Exited(*code)), &policy(), at(0))
            });
            prop_assert_eq!(health, Health::default());
        }
    }
}
