//! Work items.

use std::time::SystemTime;

use helix_model::ids::{AttemptId, FriendlyName, JobId, WorkItemId};
use helix_model::work_item::Delivery;

use crate::AgentName;

/// A work item to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewItem {
    /// Unique in the store.
    pub id: WorkItemId,
    /// Unique in the job.
    pub name: FriendlyName,
    /// How it is run; opaque here.
    pub specification: Vec<u8>,
    /// What it wants of a machine, in a form of which equal wants have equal bytes; opaque here.
    /// Items of a job with the same demand share a lane.
    pub demand: Vec<u8>,
    /// How many retries the sender asked for. Clamped by the queue's deliveries when it is stored.
    pub retries_requested: u32,
    /// Where a retry may run.
    pub retry_place: RetryPlace,
}

/// Where the retry of an item may run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum RetryPlace {
    /// On any machine.
    #[default]
    Anywhere,
    /// On another machine than the last, for as long as there is hope of one.
    AnotherMachine,
}

/// A work item as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The item.
    pub id: WorkItemId,
    /// Its job.
    pub job: JobId,
    /// What people call it.
    pub name: FriendlyName,
    /// Where a retry may run.
    pub retry_place: RetryPlace,
    /// The delivery that is under way or comes next, or was the last: also how many retries were
    /// asked for, granted and used.
    pub delivery: Delivery,
    /// Where it stands.
    pub state: ItemState,
    /// Whether cancelling was asked for, and why (may be empty).
    pub cancel_requested: Option<String>,
    /// Since when it has been in its state.
    pub since: SystemTime,
    /// How many attempts it has had, the present one included.
    pub attempts: u32,
}

/// Where a work item stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemState {
    /// In its queue.
    Waiting,
    /// An attempt is written down and its agent is being asked.
    Offered {
        /// The attempt.
        attempt: AttemptId,
        /// Who is asked.
        agent: AgentName,
    },
    /// An agent has it.
    Running {
        /// The attempt.
        attempt: AttemptId,
        /// Where.
        agent: AgentName,
    },
    /// Nothing more happens.
    Ended(ItemEnd),
}

/// How an item came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemEnd {
    /// How.
    pub kind: ItemEndKind,
    /// The exit code as Helix clients know it: the command's, or a negative one where there is none.
    pub helix_exit_code: i32,
    /// What decided, in capitals, such as `EXIT_CODE`. Empty where it passed.
    pub reason: String,
    /// The same in words. Empty where it passed.
    pub message: String,
}

/// How an item can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ItemEndKind {
    /// It passed in its first delivery that told anything.
    Passed,
    /// It passed after a failure.
    PassedOnRetry,
    /// It failed with no retry left.
    Failed,
    /// It took too long.
    TimedOut,
    /// It was cancelled.
    Cancelled,
    /// Its deliveries were spent without a result: the dead letters.
    Dead,
}

/// Why an agent did not take an item, the last time it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Who refused.
    pub agent: AgentName,
    /// The reason in capitals, such as `MISSING_CAPABILITY`.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// When.
    pub at: SystemTime,
    /// Until when this agent is not asked again for this item.
    pub until: SystemTime,
    /// How often it has refused it, for whatever reason.
    pub times: u32,
}
