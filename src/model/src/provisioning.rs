//! One background installation per provisioner: when it may start, and when not again.

use std::time::{Duration, SystemTime};

use crate::backoff::{doubled, later};

/// Where a provisioner stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Provisioning {
    /// It may start.
    #[default]
    Idle,
    /// An installation is under way.
    Running {
        /// When it started.
        since: SystemTime,
        /// When it should be done, if there is experience or configuration to say so.
        expected_end: Option<SystemTime>,
        /// When it will be stopped.
        deadline: SystemTime,
        /// How many installations in a row failed before this one.
        failures: u32,
    },
    /// The last installation failed; not before `until` again.
    CoolingDown {
        /// When the next one may start.
        until: SystemTime,
        /// What the last one said.
        last_error: String,
        /// How many installations in a row failed.
        failures: u32,
    },
}

/// The times of one provisioner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProvisioningPolicy {
    /// How long an installation may take.
    pub time_limit: Duration,
    /// How long one usually takes, if known.
    pub usual_duration: Option<Duration>,
    /// How long to wait after the first failure; doubles with each further one in a row.
    pub first_cool_down: Duration,
    /// The longest wait.
    pub max_cool_down: Duration,
}

impl Default for ProvisioningPolicy {
    fn default() -> Self {
        Self {
            time_limit: Duration::from_secs(60 * 60),
            usual_duration: None,
            first_cool_down: Duration::from_secs(5 * 60),
            max_cool_down: Duration::from_secs(4 * 60 * 60),
        }
    }
}

/// How an installation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstallationEnd {
    /// The probe sees what was to be installed.
    Seen,
    /// The installer said it was done, but the probe does not see the tool. A failure, or the same
    /// installation would be started over and over.
    NotSeen,
    /// The installer failed.
    Failed {
        /// What it said, in one sentence.
        error: String,
    },
    /// The installer took longer than its limit and was stopped.
    TimedOut,
}

/// Why no installation starts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartRefused {
    /// One is under way.
    #[error("an installation is under way")]
    UnderWay {
        /// When it started.
        since: SystemTime,
    },
    /// The last one failed and the wait is not over.
    #[error("the last installation failed ({last_error}) and may not be repeated yet")]
    CoolingDown {
        /// When the wait is over.
        until: SystemTime,
        /// What the last one said.
        last_error: String,
    },
}

/// An end was reported of an installation that is not under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no installation is under way")]
pub struct NotUnderWay;

impl Provisioning {
    /// Whether an installation may start now.
    #[must_use]
    pub fn may_start(&self, now: SystemTime) -> bool {
        match self {
            Self::Idle => true,
            Self::Running { .. } => false,
            Self::CoolingDown { until, .. } => now >= *until,
        }
    }

    /// Starts an installation.
    ///
    /// # Errors
    ///
    /// One is under way, or the last one failed too short a while ago.
    pub fn start(
        &self,
        policy: &ProvisioningPolicy,
        now: SystemTime,
    ) -> Result<Self, StartRefused> {
        let failures = match self {
            Self::Idle => 0,
            Self::Running { since, .. } => {
                return Err(StartRefused::UnderWay { since: *since });
            }
            Self::CoolingDown {
                until,
                last_error,
                failures,
            } => {
                if now < *until {
                    return Err(StartRefused::CoolingDown {
                        until: *until,
                        last_error: last_error.clone(),
                    });
                }
                *failures
            }
        };
        Ok(Self::Running {
            since: now,
            expected_end: policy
                .usual_duration
                .and_then(|usual| now.checked_add(usual)),
            deadline: later(now, policy.time_limit),
            failures,
        })
    }

    /// Notes how an installation ended.
    ///
    /// # Errors
    ///
    /// None is under way.
    pub fn end(
        &self,
        end: InstallationEnd,
        policy: &ProvisioningPolicy,
        now: SystemTime,
    ) -> Result<Self, NotUnderWay> {
        let failures = match self {
            Self::Running { failures, .. } => failures.saturating_add(1),
            Self::Idle | Self::CoolingDown { .. } => return Err(NotUnderWay),
        };
        let last_error = match end {
            InstallationEnd::Seen => return Ok(Self::Idle),
            InstallationEnd::NotSeen => {
                "the installer ended well, but the probe does not find the tool".to_owned()
            }
            InstallationEnd::Failed { error } => error,
            InstallationEnd::TimedOut => {
                format!(
                    "the installer took longer than {} s",
                    policy.time_limit.as_secs()
                )
            }
        };
        let wait = doubled(policy.first_cool_down, policy.max_cool_down, failures);
        Ok(Self::CoolingDown {
            until: later(now, wait),
            last_error,
            failures,
        })
    }

    /// Whether an installation is under way that should have been stopped by now.
    #[must_use]
    pub fn is_overdue(&self, now: SystemTime) -> bool {
        match self {
            Self::Running { deadline, .. } => now >= *deadline,
            Self::Idle | Self::CoolingDown { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{at, seconds};

    fn policy() -> ProvisioningPolicy {
        ProvisioningPolicy {
            time_limit: seconds(600),
            usual_duration: Some(seconds(100)),
            first_cool_down: seconds(10),
            max_cool_down: seconds(60),
        }
    }

    fn failed(error: &str) -> InstallationEnd {
        InstallationEnd::Failed {
            error: error.to_owned(),
        }
    }

    #[test]
    fn second_start_is_refused_while_one_is_under_way() {
        let running = Provisioning::Idle.start(&policy(), at(0)).expect("idle");
        let expected = Provisioning::Running {
            since: at(0),
            expected_end: Some(at(100)),
            deadline: at(600),
            failures: 0,
        };
        assert_eq!(running, expected);
        let refused = StartRefused::UnderWay { since: at(0) };
        assert_eq!(running.start(&policy(), at(50)), Err(refused));
        assert!(!running.may_start(at(50)));
        assert!(!running.is_overdue(at(599)));
        assert!(running.is_overdue(at(600)));
    }

    #[test]
    fn failures_wait_longer_each_time_and_a_success_forgets_them() {
        let mut state = Provisioning::Idle;
        let mut now = 0;
        for wait in [10, 20, 40, 60, 60] {
            state = state.start(&policy(), at(now)).expect("the wait is over");
            state = state
                .end(failed("no space"), &policy(), at(now))
                .expect("it runs");
            let refused = StartRefused::CoolingDown {
                until: at(now + wait),
                last_error: "no space".to_owned(),
            };
            assert_eq!(state.start(&policy(), at(now + wait - 1)), Err(refused));
            now += wait;
        }
        state = state.start(&policy(), at(now)).expect("the wait is over");
        state = state
            .end(InstallationEnd::Seen, &policy(), at(now))
            .expect("it runs");
        assert_eq!(state, Provisioning::Idle);
    }

    #[test]
    fn installer_that_brings_nothing_is_not_started_over_and_over() {
        let check = |end: InstallationEnd, says: &str| {
            let running = Provisioning::Idle.start(&policy(), at(0)).expect("idle");
            let state = running.end(end, &policy(), at(5)).expect("it runs");
            let Provisioning::CoolingDown {
                until,
                last_error,
                failures: 1,
            } = state
            else {
                panic!("{state:?} is not cooling down after its first failure");
            };
            assert_eq!((until, last_error.as_str()), (at(15), says));
        };
        check(
            InstallationEnd::NotSeen,
            "the installer ended well, but the probe does not find the tool",
        );
        check(
            InstallationEnd::TimedOut,
            "the installer took longer than 600 s",
        );
    }

    #[test]
    fn end_of_nothing_is_an_error() {
        assert_eq!(
            Provisioning::Idle.end(InstallationEnd::Seen, &policy(), at(0)),
            Err(NotUnderWay)
        );
    }

    proptest! {
        #[test]
        fn installations_never_overlap_and_never_start_too_soon(
            steps in prop::collection::vec((0_u64..40, 0_u8..6), 0..80),
        ) {
            let (mut state, mut now) = (Provisioning::Idle, 0);
            let (mut under_way, mut failures, mut not_before) = (false, 0_u32, 0);
            for (wait, action) in steps {
                now += wait;
                if action < 3 {
                    prop_assert_eq!(state.may_start(at(now)), !under_way && now >= not_before);
                    match state.start(&policy(), at(now)) {
                        Ok(next) => {
                            prop_assert!(!under_way && now >= not_before);
                            under_way = true;
                            state = next;
                        }
                        Err(StartRefused::UnderWay { .. }) => prop_assert!(under_way),
                        Err(StartRefused::CoolingDown { until, .. }) => {
                            prop_assert!(!under_way);
                            prop_assert_eq!(until, at(not_before));
                        }
                    }
                } else {
                    let end = match action {
                        3 => InstallationEnd::Seen,
                        4 => InstallationEnd::NotSeen,
                        _ => failed("x"),
                    };
                    match state.end(end, &policy(), at(now)) {
                        Ok(next) => {
                            prop_assert!(under_way);
                            under_way = false;
                            failures = if action == 3 { 0 } else { failures + 1 };
                            not_before = if action == 3 { now } else {
                                now + (10 << (failures - 1).min(8)).min(60)
                            };
                            state = next;
                        }
                        Err(NotUnderWay) => prop_assert!(!under_way),
                    }
                }
            }
        }
    }
}
