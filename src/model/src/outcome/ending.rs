//! How a command ended, or why it never ran.

use std::time::Duration;

use crate::ids::AttemptId;

/// How an attempt's command ended. What happened, not what to make of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It ended by itself with this code.
    Exited(i32),
    /// It was ended by a signal that the agent did not send.
    Signalled {
        /// The number of the signal.
        signal: i32,
        /// Whether it left a core dump.
        core_dumped: bool,
    },
    /// The agent ended it because it took too long.
    TimedOut(TimeoutKind),
    /// The agent ended it, or never started it, because it was told to.
    Cancelled {
        /// Who wanted that.
        by: CancelledBy,
    },
    /// The agent ended it because it printed more than it may.
    OutputLimit,
    /// The system killed it because it and its descendants wanted more memory than they may have.
    OutOfMemory {
        /// The limit in bytes; none when it was not one of their own.
        limit_bytes: Option<u64>,
    },
    /// It never ran: the system refused to start it.
    CouldNotStart(StartFailure),
    /// The agent could not do its part. Nothing is known about the work.
    Infrastructure(InfrastructureCause),
}

impl Ending {
    /// Whether it can only come about once the launcher was asked to start the command.
    #[must_use]
    pub fn follows_launch(&self) -> bool {
        match self {
            Self::Exited(_)
            | Self::Signalled { .. }
            | Self::TimedOut(_)
            | Self::OutputLimit
            | Self::OutOfMemory { .. }
            | Self::CouldNotStart(_) => true,
            Self::Cancelled { .. } | Self::Infrastructure(_) => false,
        }
    }
}

/// Which time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeoutKind {
    /// The time the command may run.
    Wall(Duration),
    /// The time it may go without printing.
    Silence(Duration),
}

/// Who wanted an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CancelledBy {
    /// A client of the agent.
    Client {
        /// Why, in the client's words; may be empty.
        reason: String,
    },
    /// A newer attempt of the same work item.
    Superseded {
        /// The newer attempt.
        by: AttemptId,
    },
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The work item's own: the same everywhere.
    WorkItem,
    /// This machine's: it may go well on another.
    Machine,
    /// Something that neither has in hand, such as a server with files.
    Elsewhere,
}

/// Why the system refused to start a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartFailure {
    /// There is no such program (`ENOENT`), or its interpreter is missing.
    #[error("the program `{program}` was not found")]
    NotFound {
        /// What was to be started.
        program: String,
    },
    /// It is there but cannot be executed (`EACCES`, `ENOEXEC`, `EISDIR`, …).
    #[error("the program `{program}` cannot be executed: {reason}")]
    NotExecutable {
        /// What was to be started.
        program: String,
        /// What the system said.
        reason: String,
    },
    /// Arguments and environment together are more than the system takes (`E2BIG`).
    #[error("arguments and environment are too large for the system")]
    ArgumentsTooLarge,
    /// The machine had no room: processes, memory, disk, descriptors (`EAGAIN`, `ENOMEM`, `ENOSPC`,
    /// `EMFILE`, …).
    #[error("the machine has no room for another process: {reason}")]
    NoRoom {
        /// What the system said.
        reason: String,
    },
    /// A step before the command's own start failed: user, group, directory, limits.
    #[error("the command's surroundings could not be set up: {reason}")]
    SetUp {
        /// Which step, and what the system said.
        reason: String,
    },
}

impl StartFailure {
    /// Whose fault it is.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::NotFound { .. } | Self::NotExecutable { .. } | Self::ArgumentsTooLarge => {
                Blame::WorkItem
            }
            Self::NoRoom { .. } | Self::SetUp { .. } => Blame::Machine,
        }
    }
}

/// Whose fault it is that files could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PayloadFault {
    /// What was sent is wrong: no such file, wrong digest, hostile or damaged archive.
    Sender,
    /// The server or the network on the way to it.
    Transport,
    /// This machine, such as a cache that cannot be written.
    Machine,
}

/// Why an agent could not do its part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InfrastructureCause {
    /// Files could not be fetched or unpacked.
    #[error("payload `{payload}` could not be prepared: {reason}")]
    Payload {
        /// Which one, without any token in its address.
        payload: String,
        /// Whose fault it is.
        fault: PayloadFault,
        /// What went wrong.
        reason: String,
    },
    /// The disk is full.
    #[error("the disk is full: {detail}")]
    DiskFull {
        /// Which directory, what was being written.
        detail: String,
    },
    /// The process that starts commands does not answer.
    #[error("the launcher cannot be reached: {detail}")]
    LauncherUnreachable {
        /// What was tried.
        detail: String,
    },
    /// The process that watched over the command is gone, and how the command ended with it.
    #[error("the supervisor of the command was lost: {detail}")]
    SupervisorLost {
        /// What is known.
        detail: String,
    },
    /// The record of the attempt on disk is damaged beyond use.
    #[error("the spool of the attempt is damaged: {detail}")]
    SpoolDamaged {
        /// What is wrong with it.
        detail: String,
    },
    /// The agent ended after it took the item and before it started the command.
    #[error("the agent was restarted before the command started")]
    AgentRestartedBeforeStart,
    /// The agent was told to end and could not wait for the command.
    #[error("the agent was shut down while the command ran")]
    AgentShutDown,
    /// The machine was rebooted while the command ran.
    #[error("the machine was rebooted while the command ran")]
    MachineRebooted,
    /// The system killed the command for want of memory on the machine, not by the item's own
    /// limit.
    #[error("the machine ran out of memory: {detail}")]
    MachineOutOfMemory {
        /// What the system said.
        detail: String,
    },
    /// Log and files could not be put into safe keeping.
    #[error("the artifact store cannot be reached: {detail}")]
    ArtifactStoreUnreachable {
        /// Which store, what it said.
        detail: String,
    },
    /// The system refused to start the command for reasons of its own.
    #[error("the command could not be started: {0}")]
    CouldNotStart(StartFailure),
    /// The work item itself said that its surroundings are broken.
    #[error("the work item asked for another machine: {reason}")]
    Requested {
        /// Why, in the item's words.
        reason: String,
    },
    /// The agent has a fault in itself.
    #[error("internal fault of the agent: {detail}")]
    AgentFault {
        /// What is known.
        detail: String,
    },
}

impl InfrastructureCause {
    /// Whose fault it is. Only the machine's own count towards its quarantine.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::Payload { fault, .. } => match fault {
                PayloadFault::Sender => Blame::WorkItem,
                PayloadFault::Transport => Blame::Elsewhere,
                PayloadFault::Machine => Blame::Machine,
            },
            Self::DiskFull { .. }
            | Self::LauncherUnreachable { .. }
            | Self::SupervisorLost { .. }
            | Self::SpoolDamaged { .. }
            | Self::MachineOutOfMemory { .. }
            | Self::AgentFault { .. } => Blame::Machine,
            // Someone restarted or rebooted on purpose, as a rule; and a store serves all machines.
            Self::AgentRestartedBeforeStart
            | Self::AgentShutDown
            | Self::MachineRebooted
            | Self::ArtifactStoreUnreachable { .. } => Blame::Elsewhere,
            Self::CouldNotStart(failure) => failure.blame(),
            // Else one work item could put a whole fleet into quarantine by asking often enough.
            Self::Requested { .. } => Blame::WorkItem,
        }
    }
}
