//! One attempt from acceptance to the day it may be forgotten.
//!
//! [`AttemptState::after`] holds the whole table. The agent writes events down before it acts on
//! them; replaying them after a crash gives the state to go on from, and [`AttemptState::recovery`]
//! says how.

use std::time::SystemTime;

use crate::admission::Refusal;
use crate::ids::AttemptId;
use crate::outcome::{Ending, Judgement, TimeoutKind};

/// Where an attempt stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptState {
    /// The agent has taken it; nothing has been done.
    Accepted {
        /// Since when.
        since: SystemTime,
    },
    /// Files are being fetched and unpacked.
    Preparing {
        /// Since when.
        since: SystemTime,
    },
    /// The launcher has been asked to start the command; whether it did is not known yet.
    Starting {
        /// Since when.
        since: SystemTime,
    },
    /// The command runs.
    Running {
        /// Since when.
        since: SystemTime,
    },
    /// The command has been told to end; the tree is not gone yet.
    Stopping {
        /// Since when the command has been running; none if it is not known to run yet.
        running_since: Option<SystemTime>,
        /// Since when it is being stopped.
        since: SystemTime,
        /// Why it is being stopped. Later reasons do not change it.
        cause: StopCause,
    },
    /// The tree is gone, or never was; results, files and log are being brought in.
    Collecting {
        /// Since when.
        since: SystemTime,
        /// How the command ended.
        ending: Ending,
    },
    /// It is judged; the client has not acknowledged that.
    Finished {
        /// Since when.
        since: SystemTime,
        /// What was made of it.
        judgement: Box<Judgement>,
    },
    /// Its files asked for what the machine lacks. It was never started and does not count.
    RefusedAfterUnpack {
        /// Since when.
        since: SystemTime,
        /// What is missing.
        refusal: Box<Refusal>,
    },
    /// The client has it in writing. The agent may forget it.
    Settled {
        /// Since when.
        since: SystemTime,
        /// What the client acknowledged.
        conclusion: Conclusion,
    },
}

/// How an attempt came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conclusion {
    /// It was judged.
    Judged(Box<Judgement>),
    /// It was refused after unpacking.
    Refused(Box<Refusal>),
}

/// Why a running command is being stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopCause {
    /// A client wants it.
    Cancelled {
        /// Why, in the client's words; may be empty.
        reason: String,
    },
    /// A newer attempt of the item has taken its place.
    Superseded {
        /// The newer one.
        by: AttemptId,
    },
    /// A time ran out.
    TimedOut(TimeoutKind),
    /// It printed more than it may.
    OutputLimit,
    /// The agent shuts down and cannot wait.
    AgentShutDown,
}

/// What happens to an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptEvent {
    /// When.
    pub at: SystemTime,
    /// What.
    pub kind: AttemptEventKind,
}

/// What can happen to an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptEventKind {
    /// Fetching of its files began.
    PreparationStarted,
    /// Its files ask for what the machine lacks.
    RefusedAfterUnpack(Box<Refusal>),
    /// The launcher was asked to start the command. Written before asking.
    LaunchRequested,
    /// The command's own first instruction is due.
    CommandStarted,
    /// The tree was told to end.
    StopRequested(StopCause),
    /// The tree is gone, or will never be. Before [`AttemptEventKind::LaunchRequested`] only an
    /// ending that needs no launch is possible.
    Ended(Ending),
    /// Results, files and log are in; the verdict is formed.
    Judged(Box<Judgement>),
    /// The client has it in writing.
    Acknowledged,
}

/// An event that cannot happen in the state the attempt is in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an attempt that is {state} cannot see the event `{event}`")]
pub struct IllegalTransition {
    /// The state, as [`AttemptState::name`] gives it.
    pub state: &'static str,
    /// The event, as [`AttemptEventKind::name`] gives it.
    pub event: &'static str,
}

/// What to do about an attempt that an agent finds in its records when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recovery {
    /// The command cannot have started: end it as an infrastructure failure.
    EndAsNeverStarted,
    /// The command may run, or may have ended meanwhile: find its supervisor, or what that left on
    /// disk.
    Attach,
    /// The tree is gone: bring in results, files and log again, from the start.
    CollectAgain,
    /// It is judged: say so until the client acknowledges.
    ReportAgain,
    /// Nothing: it may be forgotten.
    Forget,
}

impl AttemptState {
    /// The first state of every attempt.
    #[must_use]
    pub fn accepted(at: SystemTime) -> Self {
        Self::Accepted { since: at }
    }

    /// The state after a list of events.
    ///
    /// # Errors
    ///
    /// The first event that cannot happen where it stands.
    pub fn replay(
        accepted_at: SystemTime,
        events: impl IntoIterator<Item = AttemptEvent>,
    ) -> Result<Self, IllegalTransition> {
        events
            .into_iter()
            .try_fold(Self::accepted(accepted_at), Self::after)
    }

    /// The state after an event: the whole table of what may follow what.
    ///
    /// # Errors
    ///
    /// The event cannot happen in this state.
    pub fn after(self, event: AttemptEvent) -> Result<Self, IllegalTransition> {
        use AttemptEventKind as Event;
        let since = event.at;
        let illegal = IllegalTransition {
            state: self.name(),
            event: event.kind.name(),
        };
        match (self, event.kind) {
            (Self::Accepted { .. }, Event::PreparationStarted) => Ok(Self::Preparing { since }),
            (Self::Preparing { .. }, Event::RefusedAfterUnpack(refusal)) => {
                Ok(Self::RefusedAfterUnpack { since, refusal })
            }
            (Self::Preparing { .. }, Event::LaunchRequested) => Ok(Self::Starting { since }),
            (Self::Starting { .. }, Event::CommandStarted) => Ok(Self::Running { since }),
            // The wish to stop may cross with the news that the command runs.
            (Self::Starting { .. }, Event::StopRequested(cause)) => Ok(Self::Stopping {
                running_since: None,
                since,
                cause,
            }),
            (
                Self::Stopping {
                    running_since: None,
                    since,
                    cause,
                },
                Event::CommandStarted,
            ) => Ok(Self::Stopping {
                running_since: Some(event.at),
                since,
                cause,
            }),
            (
                Self::Running {
                    since: running_since,
                },
                Event::StopRequested(cause),
            ) => Ok(Self::Stopping {
                running_since: Some(running_since),
                since,
                cause,
            }),
            // Two reasons to stop may cross too; the first is the one that the ending is told by.
            (stopping @ Self::Stopping { .. }, Event::StopRequested(_)) => Ok(stopping),
            (Self::Accepted { .. } | Self::Preparing { .. }, Event::Ended(ending))
                if !ending.follows_launch() =>
            {
                Ok(Self::Collecting { since, ending })
            }
            (
                Self::Starting { .. } | Self::Running { .. } | Self::Stopping { .. },
                Event::Ended(ending),
            ) => Ok(Self::Collecting { since, ending }),
            (Self::Collecting { .. }, Event::Judged(judgement)) => {
                Ok(Self::Finished { since, judgement })
            }
            (Self::Finished { judgement, .. }, Event::Acknowledged) => Ok(Self::Settled {
                since,
                conclusion: Conclusion::Judged(judgement),
            }),
            (Self::RefusedAfterUnpack { refusal, .. }, Event::Acknowledged) => Ok(Self::Settled {
                since,
                conclusion: Conclusion::Refused(refusal),
            }),
            // An acknowledgement may be repeated by a client that did not hear the answer.
            (settled @ Self::Settled { .. }, Event::Acknowledged) => Ok(settled),
            (
                Self::Accepted { .. },
                Event::RefusedAfterUnpack(_)
                | Event::LaunchRequested
                | Event::CommandStarted
                | Event::StopRequested(_)
                | Event::Ended(_)
                | Event::Judged(_)
                | Event::Acknowledged,
            )
            | (
                Self::Preparing { .. },
                Event::PreparationStarted
                | Event::CommandStarted
                | Event::StopRequested(_)
                | Event::Ended(_)
                | Event::Judged(_)
                | Event::Acknowledged,
            )
            | (
                Self::Starting { .. },
                Event::PreparationStarted
                | Event::RefusedAfterUnpack(_)
                | Event::LaunchRequested
                | Event::Judged(_)
                | Event::Acknowledged,
            )
            | (
                Self::Running { .. } | Self::Stopping { .. },
                Event::PreparationStarted
                | Event::RefusedAfterUnpack(_)
                | Event::LaunchRequested
                | Event::CommandStarted
                | Event::Judged(_)
                | Event::Acknowledged,
            )
            | (
                Self::Collecting { .. },
                Event::PreparationStarted
                | Event::RefusedAfterUnpack(_)
                | Event::LaunchRequested
                | Event::CommandStarted
                | Event::StopRequested(_)
                | Event::Ended(_)
                | Event::Acknowledged,
            )
            | (
                Self::Finished { .. } | Self::RefusedAfterUnpack { .. } | Self::Settled { .. },
                Event::PreparationStarted
                | Event::RefusedAfterUnpack(_)
                | Event::LaunchRequested
                | Event::CommandStarted
                | Event::StopRequested(_)
                | Event::Ended(_)
                | Event::Judged(_),
            ) => Err(illegal),
        }
    }

    /// What to do about an attempt that was in this state when the agent stopped.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        match self {
            Self::Accepted { .. } | Self::Preparing { .. } => Recovery::EndAsNeverStarted,
            Self::Starting { .. } | Self::Running { .. } | Self::Stopping { .. } => {
                Recovery::Attach
            }
            Self::Collecting { .. } => Recovery::CollectAgain,
            Self::Finished { .. } | Self::RefusedAfterUnpack { .. } => Recovery::ReportAgain,
            Self::Settled { .. } => Recovery::Forget,
        }
    }

    /// Since when the attempt has been in this state.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        match self {
            Self::Accepted { since }
            | Self::Preparing { since }
            | Self::Starting { since }
            | Self::Running { since }
            | Self::Stopping { since, .. }
            | Self::Collecting { since, .. }
            | Self::Finished { since, .. }
            | Self::RefusedAfterUnpack { since, .. }
            | Self::Settled { since, .. } => *since,
        }
    }

    /// Whether the attempt holds on to its slot and resources.
    #[must_use]
    pub fn is_active(&self) -> bool {
        match self {
            Self::Accepted { .. }
            | Self::Preparing { .. }
            | Self::Starting { .. }
            | Self::Running { .. }
            | Self::Stopping { .. }
            | Self::Collecting { .. } => true,
            Self::Finished { .. } | Self::RefusedAfterUnpack { .. } | Self::Settled { .. } => false,
        }
    }

    /// The name of the state, for logs and messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Preparing { .. } => "preparing",
            Self::Starting { .. } => "starting",
            Self::Running { .. } => "running",
            Self::Stopping { .. } => "stopping",
            Self::Collecting { .. } => "collecting",
            Self::Finished { .. } => "finished",
            Self::RefusedAfterUnpack { .. } => "refused after unpacking",
            Self::Settled { .. } => "settled",
        }
    }
}

impl AttemptEventKind {
    /// The name of the event, for logs and messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::PreparationStarted => "preparation started",
            Self::RefusedAfterUnpack(_) => "refused after unpacking",
            Self::LaunchRequested => "launch requested",
            Self::CommandStarted => "command started",
            Self::StopRequested(_) => "stop requested",
            Self::Ended(_) => "ended",
            Self::Judged(_) => "judged",
            Self::Acknowledged => "acknowledged",
        }
    }
}

#[cfg(test)]
mod tests;
