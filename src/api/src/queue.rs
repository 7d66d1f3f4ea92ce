//! Queues.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// All queues by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueList {
    /// The queues.
    pub queues: Vec<Queue>,
}

/// A pool of like machines that jobs are sent to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Queue {
    /// Its name, unique without regard to case.
    pub name: String,
    /// For people. May be empty.
    pub description: String,
    /// Family of operating systems, such as `linux` or `osx`. May be empty.
    pub operating_system_group: String,
    /// Such as `x86_64` or `aarch64`. May be empty.
    pub architecture: String,
    /// How often a work item may be delivered, whatever comes of it: 1 or more.
    pub max_delivery_count: u32,
    /// Who may send jobs.
    pub visibility: Visibility,
    /// When the queue is expected to go away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_removal: Option<Timestamp>,
    /// Jobs of a queue with a higher number go first where machines serve several queues.
    pub priority: i32,
    /// Work items that have not ended.
    pub counts: QueueCounts,
}

/// Work items of a queue that have not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueCounts {
    /// Waiting.
    pub waiting: u64,
    /// Offered to an agent or running.
    pub running: u64,
}

/// What a queue is to be like. What is left out takes its default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueSettings {
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Family of operating systems, such as `linux` or `osx`.
    #[serde(default)]
    pub operating_system_group: String,
    /// Such as `x86_64` or `aarch64`.
    #[serde(default)]
    pub architecture: String,
    /// How often a work item may be delivered, whatever comes of it: 1 to 1000.
    #[serde(default = "default_deliveries")]
    #[schema(minimum = 1, maximum = 1000, default = 3)]
    pub max_delivery_count: u32,
    /// Who may send jobs.
    #[serde(default)]
    pub visibility: Visibility,
    /// When the queue is expected to go away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_removal: Option<Timestamp>,
    /// Jobs of a queue with a higher number go first where machines serve several queues.
    #[serde(default)]
    pub priority: i32,
}

/// Who may send jobs to a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Whoever may submit.
    #[default]
    Open,
    /// Only who may submit internal jobs.
    Internal,
}

fn default_deliveries() -> u32 {
    3
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            description: String::new(),
            operating_system_group: String::new(),
            architecture: String::new(),
            max_delivery_count: default_deliveries(),
            visibility: Visibility::default(),
            estimated_removal: None,
            priority: 0,
        }
    }
}
