//! Agents.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// All agents by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentList {
    /// The agents.
    pub agents: Vec<Agent>,
}

/// An agent as it was last known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Agent {
    /// Its name: that of its machine.
    pub name: String,
    /// How controllers came to know of it.
    pub origin: AgentOrigin,
    /// Where it can be called; empty where it keeps a line open itself.
    pub address: String,
    /// The controller that last heard of it.
    pub controller: String,
    /// Whether it is there.
    pub liveness: AgentLiveness,
    /// When it was last heard of.
    pub seen: Timestamp,
    /// Its capacity as it was told last; none before the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<AgentCapacity>,
}

/// How controllers came to know of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentOrigin {
    /// It is in a configuration.
    Configured,
    /// It announced itself with an address.
    Announced,
    /// It keeps a line open.
    Tunnelled,
}

/// Whether an agent is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentLiveness {
    /// It was heard of lately.
    Alive,
    /// It was not heard of for some time: nothing new is offered, what runs there is kept.
    Silent,
    /// It was silent for too long: what ran there is given to others.
    Lost,
}

/// What an agent can take, and why not more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentCapacity {
    /// `ready`, `full`, `draining`, `offline`, `quarantined`, `probation` or `not_isolated`.
    pub state: String,
    /// Why it takes no work, or less, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// The agent's version.
    pub version: String,
    /// Queues served. Empty: all.
    pub queues: Vec<String>,
    /// Operating system and version in words.
    pub operating_system: String,
    /// Such as `x86_64` or `aarch64`.
    pub architecture: String,
    /// What the machine grants.
    pub total: MachineResources,
    /// What is free now.
    pub free: MachineResources,
    /// Attempts that hold resources.
    pub running: Vec<RunningAttempt>,
    /// What the machine has.
    pub capabilities: Vec<AgentCapability>,
    /// Isolation that is not in force, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<String>,
}

/// Countable things of a machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineResources {
    /// Places for work items.
    pub slots: u32,
    /// Thousandths of a CPU.
    pub cpu_millis: u64,
    /// Main memory, bytes.
    pub memory_bytes: u64,
    /// Disk space for work items, bytes.
    pub disk_bytes: u64,
}

/// An attempt that holds resources of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunningAttempt {
    /// The attempt.
    pub attempt: String,
    /// Its work item.
    pub item: String,
    /// Its job.
    pub job: String,
    /// What people call the work item.
    pub name: String,
}

/// Something that a machine has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentCapability {
    /// Its name, in lower case.
    pub name: String,
    /// Versions, oldest first, or texts. Empty where it is just there.
    pub values: Vec<String>,
}

/// Why an agent is drained.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// For other operators.
    #[serde(default)]
    pub reason: String,
}

/// What draining an agent came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drained {
    /// The agent.
    pub agent: String,
    /// Attempts that it still has.
    pub running: u32,
}

/// What resuming an agent came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Resumed {
    /// The agent.
    pub agent: String,
    /// Whether it takes work now; its capacity says why not.
    pub ready: bool,
}
