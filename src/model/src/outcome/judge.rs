//! From how an attempt ended to whether it passed and what happens next.

use std::fmt;

use super::{Blame, CancelledBy, Ending, InfrastructureCause, StartFailure, TimeoutKind};
use crate::plain_words::bytes;
use crate::work_item::Delivery;

/// What Helix clients see of an item whose deliveries are spent without a result.
pub const HELIX_EXIT_DEAD_LETTER: i32 = -1;
/// What Helix clients see of a cancelled item. Helix has no code for it; this one no command can
/// return.
pub const HELIX_EXIT_CANCELLED: i32 = -2;
/// What Helix clients see of an item that took too long.
pub const HELIX_EXIT_TIMEOUT: i32 = -3;
/// What Helix clients see of an attempt that the infrastructure failed.
pub const HELIX_EXIT_INFRASTRUCTURE: i32 = -4;
/// What Helix clients see of an item that printed too much. Helix has no code for it; no command
/// can return it.
pub const HELIX_EXIT_OUTPUT_LIMIT: i32 = -5;

/// 128 and the number of the signal that nothing survives.
const EXIT_KILLED: i32 = 128 + 9;

/// What the result files of an attempt say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TestTally {
    /// Tests that passed, those that did so on a repetition included.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that were skipped.
    pub skipped: u64,
    /// Those of the passed tests that failed before they passed.
    pub flaky: u64,
    /// Places in result files that could not be read. They warn, they decide nothing.
    pub problems: u64,
}

impl TestTally {
    /// How many tests there are in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.passed
            .saturating_add(self.failed)
            .saturating_add(self.skipped)
    }
}

/// What a command may ask of the agent while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InnerRequest {
    /// Put the item back into the queue as if it had not run: its surroundings are broken.
    InfrastructureRetry {
        /// Why, in the item's words.
        reason: String,
    },
    /// Reboot the machine once the attempt is reported.
    Reboot {
        /// Why, in the item's words.
        reason: String,
    },
}

/// Whether the work item passed in this attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It did what it should.
    Passed,
    /// It did not.
    Failed(FailureReason),
    /// It took too long.
    TimedOut(TimeoutKind),
    /// It was not wanted any more.
    Cancelled(CancelledBy),
    /// Nothing was learned about it.
    Infrastructure(InfrastructureCause),
}

/// Which of the signals made an attempt a failure. The others are kept in the [`Judgement`] too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailureReason {
    /// The command said so, and no test did.
    ExitCode(i32),
    /// A signal ended the command.
    Signal {
        /// The number of the signal.
        signal: i32,
        /// Whether it left a core dump.
        core_dumped: bool,
    },
    /// Tests failed, whatever the command's exit code.
    Tests {
        /// How many; at least 1.
        failed: u64,
    },
    /// The command printed more than it may.
    OutputLimit,
    /// The command wanted more memory than it may have.
    OutOfMemory {
        /// How much it may have, in bytes; none when the limit was not its own.
        limit_bytes: Option<u64>,
    },
    /// The command cannot be started, here or elsewhere.
    CouldNotStart(StartFailure),
}

/// What happens to the work item next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// Nothing: this attempt was its last.
    Done,
    /// It failed and goes to the end of the queue.
    Requeue {
        /// The number of the delivery that follows.
        next_delivery: u32,
        /// How many retries are left after that one.
        retries_left: u32,
    },
    /// It could not be judged.
    Infrastructure {
        /// The number of the delivery that follows; none if they are spent, which ends the item.
        next_delivery: Option<u32>,
        /// Why it could not be judged, as a sentence.
        reason: String,
    },
}

/// What to do with the parsed results of the attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Results {
    /// They count.
    Report,
    /// They are kept with the attempt, but not reported: another delivery will bring the ones that
    /// count.
    Withhold,
}

/// All that follows from how an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Whether it passed.
    pub verdict: Verdict,
    /// What happens to the work item next.
    pub disposition: Disposition,
    /// What to do with its results.
    pub results: Results,
    /// Whether the machine is to be rebooted, and why.
    pub reboot: Option<String>,
    /// How the command ended, kept beside what was made of it.
    pub ending: Ending,
    /// What its result files said, kept beside what was made of it.
    pub tally: TestTally,
}

/// Judges an attempt.
///
/// | ending | request for another machine | verdict | next |
/// |---|---|---|---|
/// | timed out, cancelled | any | the same | done, never retried |
/// | infrastructure, or no room to start it | any | infrastructure | next delivery, if any |
/// | any other | yes | infrastructure | next delivery, if any |
/// | exit 0, no failed test | no | passed | done |
/// | exit 0 or other, failed tests | no | failed: tests | requeue while retries are left |
/// | other exit, no failed test | no | failed: exit code | requeue while retries are left |
/// | signal, output limit, out of memory, no such program | no | failed: that | requeue while retries are left |
#[must_use]
pub fn judge(
    ending: &Ending,
    tally: &TestTally,
    requests: &[InnerRequest],
    delivery: &Delivery,
) -> Judgement {
    let verdict = verdict(ending, tally, requests);
    let disposition = match &verdict {
        Verdict::Passed | Verdict::TimedOut(_) | Verdict::Cancelled(_) => Disposition::Done,
        Verdict::Failed(_) => match delivery.after_failure() {
            Some(next) => Disposition::Requeue {
                next_delivery: next.number(),
                retries_left: next.retries_left(),
            },
            None => Disposition::Done,
        },
        Verdict::Infrastructure(cause) => Disposition::Infrastructure {
            next_delivery: delivery.after_infrastructure().map(|next| next.number()),
            reason: cause.to_string(),
        },
    };
    let results = match &disposition {
        // Without a delivery to follow these are all the results there will ever be.
        Disposition::Done
        | Disposition::Requeue { .. }
        | Disposition::Infrastructure {
            next_delivery: None,
            ..
        } => Results::Report,
        Disposition::Infrastructure {
            next_delivery: Some(_),
            ..
        } => Results::Withhold,
    };
    let reboot = requests.iter().find_map(|request| match request {
        InnerRequest::Reboot { reason } => Some(reason.clone()),
        InnerRequest::InfrastructureRetry { .. } => None,
    });
    Judgement {
        verdict,
        disposition,
        results,
        reboot,
        ending: ending.clone(),
        tally: *tally,
    }
}

fn verdict(ending: &Ending, tally: &TestTally, requests: &[InnerRequest]) -> Verdict {
    let requested = requests.iter().find_map(|request| match request {
        InnerRequest::InfrastructureRetry { reason } => {
            Some(Verdict::Infrastructure(InfrastructureCause::Requested {
                reason: reason.clone(),
            }))
        }
        InnerRequest::Reboot { .. } => None,
    });
    let failed = |reason| requested.clone().unwrap_or(Verdict::Failed(reason));
    match ending {
        Ending::TimedOut(kind) => Verdict::TimedOut(*kind),
        Ending::Cancelled { by } => Verdict::Cancelled(by.clone()),
        Ending::Infrastructure(cause) => Verdict::Infrastructure(cause.clone()),
        Ending::CouldNotStart(failure) => match failure.blame() {
            Blame::WorkItem => Verdict::Failed(FailureReason::CouldNotStart(failure.clone())),
            Blame::Machine | Blame::Elsewhere => {
                Verdict::Infrastructure(InfrastructureCause::CouldNotStart(failure.clone()))
            }
        },
        Ending::Signalled {
            signal,
            core_dumped,
        } => failed(FailureReason::Signal {
            signal: *signal,
            core_dumped: *core_dumped,
        }),
        Ending::OutputLimit => failed(FailureReason::OutputLimit),
        Ending::OutOfMemory { limit_bytes } => failed(FailureReason::OutOfMemory {
            limit_bytes: *limit_bytes,
        }),
        Ending::Exited(_) if tally.failed > 0 => failed(FailureReason::Tests {
            failed: tally.failed,
        }),
        Ending::Exited(0) => requested.unwrap_or(Verdict::Passed),
        Ending::Exited(code) => failed(FailureReason::ExitCode(*code)),
    }
}

impl Judgement {
    /// The exit code that Helix clients are shown.
    ///
    /// The command's own code where it has one, 128 + signal where a signal ended it (137 where
    /// that was for want of memory), 127 or 126 where it could not be started, and the negative `HELIX_EXIT_*` codes where the agent or the
    /// queue decided.
    #[must_use]
    pub fn helix_exit_code(&self) -> i32 {
        match &self.verdict {
            Verdict::TimedOut(_) => HELIX_EXIT_TIMEOUT,
            Verdict::Cancelled(_) => HELIX_EXIT_CANCELLED,
            Verdict::Infrastructure(_) => match &self.disposition {
                Disposition::Infrastructure {
                    next_delivery: None,
                    ..
                } => HELIX_EXIT_DEAD_LETTER,
                Disposition::Infrastructure {
                    next_delivery: Some(_),
                    ..
                }
                | Disposition::Done
                | Disposition::Requeue { .. } => HELIX_EXIT_INFRASTRUCTURE,
            },
            Verdict::Passed => 0,
            Verdict::Failed(reason) => match reason {
                FailureReason::ExitCode(code) => *code,
                FailureReason::Signal { signal, .. } => signal.saturating_add(128),
                FailureReason::Tests { .. } => match &self.ending {
                    Ending::Exited(code) => *code,
                    Ending::Signalled { signal, .. } => signal.saturating_add(128),
                    Ending::TimedOut(_)
                    | Ending::Cancelled { .. }
                    | Ending::OutputLimit
                    | Ending::OutOfMemory { .. }
                    | Ending::CouldNotStart(_)
                    | Ending::Infrastructure(_) => 0,
                },
                FailureReason::OutputLimit => HELIX_EXIT_OUTPUT_LIMIT,
                FailureReason::OutOfMemory { .. } => EXIT_KILLED,
                FailureReason::CouldNotStart(failure) => match failure {
                    StartFailure::NotFound { .. } => 127,
                    StartFailure::NotExecutable { .. }
                    | StartFailure::ArgumentsTooLarge
                    | StartFailure::NoRoom { .. }
                    | StartFailure::SetUp { .. } => 126,
                },
            },
        }
    }

    /// Whether the work item has come to its end with this attempt.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match &self.disposition {
            Disposition::Done => true,
            Disposition::Requeue { .. } => false,
            Disposition::Infrastructure { next_delivery, .. } => next_delivery.is_none(),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => formatter.write_str("passed"),
            Self::Failed(reason) => write!(formatter, "failed: {reason}"),
            Self::TimedOut(TimeoutKind::Wall(limit)) => {
                write!(
                    formatter,
                    "timed out: ran longer than {} s",
                    limit.as_secs_f64()
                )
            }
            Self::TimedOut(TimeoutKind::Silence(limit)) => {
                write!(
                    formatter,
                    "timed out: printed nothing for {} s",
                    limit.as_secs_f64()
                )
            }
            Self::Cancelled(CancelledBy::Client { reason }) if reason.is_empty() => {
                formatter.write_str("cancelled")
            }
            Self::Cancelled(CancelledBy::Client { reason }) => {
                write!(formatter, "cancelled: {reason}")
            }
            Self::Cancelled(CancelledBy::Superseded { by }) => {
                write!(formatter, "cancelled: superseded by attempt `{by}`")
            }
            Self::Infrastructure(cause) => write!(formatter, "infrastructure failure: {cause}"),
        }
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExitCode(code) => write!(formatter, "exit code {code}"),
            Self::Signal {
                signal,
                core_dumped: false,
            } => write!(formatter, "signal {signal}"),
            Self::Signal {
                signal,
                core_dumped: true,
            } => {
                write!(formatter, "signal {signal}, core dumped")
            }
            Self::Tests { failed: 1 } => formatter.write_str("1 test failed"),
            Self::Tests { failed } => write!(formatter, "{failed} tests failed"),
            Self::OutputLimit => formatter.write_str("printed more than it may"),
            Self::OutOfMemory {
                limit_bytes: Some(limit),
            } => write!(
                formatter,
                "wanted more than its {} of memory",
                bytes(*limit)
            ),
            Self::OutOfMemory { limit_bytes: None } => {
                formatter.write_str("killed for want of memory")
            }
            Self::CouldNotStart(failure) => failure.fmt(formatter),
        }
    }
}
