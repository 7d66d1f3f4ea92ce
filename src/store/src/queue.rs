//! Queues.

use std::num::NonZeroU32;
use std::time::SystemTime;

use helix_model::ids::QueueName;

/// A pool of like machines that jobs are sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its name, unique without regard to case.
    pub name: QueueName,
    /// For people. May be empty.
    pub description: String,
    /// Family of operating systems, such as `linux` or `osx`. May be empty.
    pub operating_system_group: String,
    /// Such as `x86_64` or `aarch64`. May be empty.
    pub architecture: String,
    /// How often a work item may be delivered, whatever comes of it.
    pub max_delivery_count: NonZeroU32,
    /// Who may send jobs.
    pub visibility: Visibility,
    /// When the queue is expected to go away.
    pub estimated_removal: Option<SystemTime>,
    /// Jobs of a queue with a higher number go first where machines serve several queues.
    pub priority: i32,
}

/// Who may send jobs to a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Visibility {
    /// Whoever may submit.
    Open,
    /// Only who may submit internal jobs.
    Internal,
}

/// Work items of a queue that have not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Waiting.
    pub waiting: u64,
    /// Offered to an agent or running.
    pub running: u64,
}
