//! What is handed between the store and who schedules.

use std::fmt;
use std::time::SystemTime;

use helix_model::ids::{AttemptId, FriendlyName, JobId, QueueName, WorkItemId};
use helix_model::work_item::Delivery;

use crate::{AgentName, Refusal, RetryPlace};

/// A controller, by the name in its configuration; one process at a time has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ControllerId(pub String);

impl fmt::Display for ControllerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// A lane, as the store counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub i64);

/// The waiting items of one job that want the same of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// The lane.
    pub id: LaneId,
    /// Its job.
    pub job: JobId,
    /// The job's queue.
    pub queue: QueueName,
    /// The queue's priority.
    pub queue_priority: i32,
    /// The job's priority.
    pub job_priority: i32,
    /// When the job was stored.
    pub created: SystemTime,
    /// What its items want, as they were stored with.
    pub demand: Vec<u8>,
    /// How many wait, those that may not go yet included.
    pub waiting: u64,
    /// Where none of them may go yet: when the first may. May have passed.
    pub not_before: Option<SystemTime>,
    /// How many items of the whole job are offered or running.
    pub job_running: u64,
}

/// The right to write about an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The attempt.
    pub attempt: AttemptId,
    /// As it was when the attempt was taken or adopted.
    pub epoch: u64,
}

/// An item that was taken from a lane, to be offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The attempt that is written down for it.
    pub fence: Fence,
    /// The item.
    pub item: WorkItemId,
    /// Its job.
    pub job: JobId,
    /// Its queue.
    pub queue: QueueName,
    /// What people call it.
    pub name: FriendlyName,
    /// Which delivery this is.
    pub delivery: Delivery,
    /// Where a retry may run.
    pub retry_place: RetryPlace,
    /// How it is run.
    pub specification: Vec<u8>,
}

/// An attempt that has not ended, and who must look after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The right to write about it.
    pub fence: Fence,
    /// Who looks after it.
    pub controller: ControllerId,
    /// The item.
    pub item: WorkItemId,
    /// Its job.
    pub job: JobId,
    /// Its queue.
    pub queue: QueueName,
    /// What people call it.
    pub name: FriendlyName,
    /// Which delivery it is.
    pub delivery: Delivery,
    /// Where a retry may run.
    pub retry_place: RetryPlace,
    /// How it is run.
    pub specification: Vec<u8>,
    /// Who was asked, or runs it.
    pub agent: AgentName,
    /// Whether the agent is known to have taken it.
    pub accepted: bool,
    /// When it was written down.
    pub offered: SystemTime,
    /// The number of the last event that is stored.
    pub last_event: u64,
    /// Why it is to be cancelled, if it is; may be empty.
    pub cancel_requested: Option<String>,
}

/// An agent that an item is kept from for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Avoid {
    /// Whom to avoid, and why.
    pub refusal: Refusal,
}
