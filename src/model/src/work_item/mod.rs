//! A work item as it is handed to an agent: one command, its files, and what it needs.
//!
//! Every field has a type that can only hold a legal value, so that whoever has a [`WorkItem`]
//! need not check it again. The conversions from the wire say which field was wrong.

mod command;
mod delivery;
mod environment;
mod glob;
mod limits;
mod payload;
mod secret;

pub use command::{Argv, Command, CommandError, MAX_ARGUMENT_BYTES, ShellLine};
pub use delivery::{Delivery, DeliveryCounts, DeliveryError};
pub use environment::{Environment, EnvironmentError, EnvironmentProblem};
pub use glob::{ArtifactGlob, GlobError, MAX_GLOB_BYTES};
pub use limits::{
    DEFAULT_KILL_GRACE, DEFAULT_WALL_TIMEOUT, Limit, LimitError, Limits, MAX_KILL_GRACE,
    MAX_OUTPUT_BYTES, MAX_WALL_TIMEOUT, MIN_OUTPUT_BYTES, WantedLimits,
};
pub use payload::{
    Commit, CommitError, GitUrl, Payload, PayloadSource, PayloadUrl, Sha256, Sha256Error,
    Submodules, UrlError,
};
pub use secret::{MIN_SECRET_BYTES, Secret, SecretError};

use crate::capability::Requirement;
use crate::ids::{AttemptId, FriendlyName, JobId, QueueName, WorkItemId};
use crate::resources::ResourcesWanted;

/// One command with its files and conditions, in one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkItem {
    /// The item, the same in all its attempts.
    pub id: WorkItemId,
    /// The job that it belongs to.
    pub job: JobId,
    /// This attempt; never given twice.
    pub attempt: AttemptId,
    /// What people call the item.
    pub friendly_name: FriendlyName,
    /// The queue that it was sent to.
    pub queue: QueueName,
    /// What to run.
    pub command: Command,
    /// Variables for the command, on top of the agent's own `HELIX_*` ones.
    pub environment: Environment,
    /// Texts to be masked wherever they show in the log.
    pub secrets: Vec<Secret>,
    /// The item's own files, unpacked into its working directory.
    pub payloads: Vec<Payload>,
    /// Files shared by the items of the job.
    pub correlation_payloads: Vec<Payload>,
    /// How long it may run and how much it may print.
    pub limits: Limits,
    /// Whether standard output and standard error are kept apart.
    pub output_mode: OutputMode,
    /// How much of the machine it needs.
    pub resources: ResourcesWanted,
    /// Which network the command sees.
    pub network: Network,
    /// What the machine must have.
    pub requirements: Vec<Requirement>,
    /// Which files to ship besides what lies in the upload directory.
    pub artifacts: Vec<ArtifactGlob>,
    /// How often the item has been tried, and how often it may be.
    pub delivery: Delivery,
}

/// Which network a command sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Network {
    /// That of the machine.
    #[default]
    Machine,
    /// A loopback device of its own and nothing else.
    None,
}

/// How the two output streams of a command are captured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum OutputMode {
    /// Two pipes: every byte is known to be output or error, the order between the two is not
    /// exact.
    Separate,
    /// One pipe for both: the order is exact, which stream it was is lost. This is what Helix does.
    #[default]
    Merged,
}
