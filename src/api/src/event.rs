//! What happens in a job.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ItemState;

/// Events of a job, first first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventPage {
    /// The events.
    pub events: Vec<JobEvent>,
    /// What to give as `after` to get those that follow: the number of the last event here, or what
    /// was asked for where there is none.
    pub next: u64,
}

/// Something that happened in a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobEvent {
    /// Its number; later events have higher ones, with gaps.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: JobEventKind,
    /// The work item, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// What people call the work item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How the work item ended, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ItemState>,
    /// The attempt, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<String>,
    /// The agent that took the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Why the item waits again, or did not pass, a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What can happen in a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobEventKind {
    /// It was submitted; its items wait.
    Submitted,
    /// An agent took an attempt of an item.
    AttemptStarted,
    /// An attempt failed and the item waits again, at the end of its queue.
    ItemRetried,
    /// An attempt told nothing about the item, such as when a machine was lost, and the item waits
    /// again, at the end of its queue.
    ItemReturned,
    /// An item came to its end: said once.
    ItemEnded,
    /// All items ended: the last event.
    JobEnded,
    /// Something that this release does not know.
    #[serde(other)]
    Other,
}
