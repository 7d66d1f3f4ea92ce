//! Jobs, what is counted of them and what happened in them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use helix_model::ids::{AttemptId, JobId, QueueName, WorkItemId};

use crate::{AgentName, Held, NewItem};

/// A submission of work items to a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// Given by who submits, so that a repeated submission is recognised.
    pub id: JobId,
    /// Where it is sent.
    pub queue: QueueName,
    /// For people, one line.
    pub name: String,
    /// Who submits, as the API knows it. May be empty.
    pub creator: String,
    /// Where it comes from, such as a repository and branch. May be empty.
    pub source: String,
    /// Higher goes first within a queue. 0 is usual.
    pub priority: i32,
    /// Whatever else the sender wants to find again.
    pub properties: BTreeMap<String, String>,
    /// The job whose items that did not pass are run again.
    pub retry_of: Option<JobId>,
    /// At least one, at most 100,000.
    pub items: Vec<NewItem>,
}

/// What came of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// The job is stored.
    Now,
    /// It was stored before, by the same submission: same queue, and items with the same names,
    /// specifications, demands and retries in the same order. Their ids may differ: those of the first
    /// submission count.
    Before,
}

/// A job as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// As submitted.
    pub id: JobId,
    /// As submitted.
    pub queue: QueueName,
    /// As submitted.
    pub name: String,
    /// As submitted.
    pub creator: String,
    /// As submitted.
    pub source: String,
    /// As submitted.
    pub priority: i32,
    /// As submitted.
    pub properties: BTreeMap<String, String>,
    /// As submitted.
    pub retry_of: Option<JobId>,
    /// When it was stored.
    pub created: SystemTime,
    /// When the last of its items ended; none while one has not.
    pub ended: Option<SystemTime>,
    /// Why it was cancelled, if it was; may be empty.
    pub cancelled: Option<String>,
    /// Its items by state.
    pub counts: JobCounts,
}

/// Work items of a job by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// All of them.
    pub total: u64,
    /// Waiting.
    pub waiting: u64,
    /// Offered to an agent or running.
    pub running: u64,
    /// Ended: passed, on a retry or at once.
    pub passed: u64,
    /// Those of the passed ones that needed a retry.
    pub passed_on_retry: u64,
    /// Ended: failed with no retry left.
    pub failed: u64,
    /// Ended: took too long.
    pub timed_out: u64,
    /// Ended: cancelled.
    pub cancelled: u64,
    /// Ended: deliveries spent without a result.
    pub dead: u64,
}

/// Which jobs are wanted; all conditions hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Of this queue.
    pub queue: Option<QueueName>,
    /// Of this creator.
    pub creator: Option<String>,
    /// From this source.
    pub source: Option<String>,
    /// With this property.
    pub property: Option<(String, String)>,
    /// Only those that have not ended.
    pub open_only: bool,
}

/// One page of a list, newest or first first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it.
    pub entries: Vec<T>,
    /// Where the next page begins; none on the last. Means nothing but to the same call.
    pub next: Option<String>,
}

/// Something that happened in a job. Numbers grow within a job, with gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobEvent {
    /// Its number; later events have higher ones.
    pub number: u64,
    /// When.
    pub at: SystemTime,
    /// What.
    pub kind: JobEventKind,
}

/// What can happen in a job. Of one item: `ItemEnded` comes once, last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEventKind {
    /// It was submitted; its items wait.
    Submitted,
    /// An agent took an attempt of an item.
    AttemptStarted {
        /// The item.
        item: WorkItemId,
        /// The attempt.
        attempt: AttemptId,
        /// Where.
        agent: AgentName,
    },
    /// An attempt ended and the item waits again at the end of its queue.
    ItemRequeued {
        /// The item.
        item: WorkItemId,
        /// The attempt.
        attempt: AttemptId,
        /// Whether a failure is retried; else nothing was learned.
        retry: bool,
        /// Why, a sentence.
        reason: String,
    },
    /// The item came to its end. Its state says how.
    ItemEnded {
        /// The item.
        item: WorkItemId,
    },
    /// All items ended.
    Ended,
}

/// What cancelling did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cancelled {
    /// Items that waited and have ended by it.
    pub ended: u64,
    /// Attempts that an agent must be told to stop; their items end when they do.
    pub running: Vec<Held>,
    /// Items that had ended before.
    pub untouched: u64,
}

/// A test that failed in a failed attempt of an item that then passed on a retry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlakyTest {
    /// Full name of the test.
    pub name: String,
    /// The work item's friendly name.
    pub item_name: String,
    /// The queue.
    pub queue: QueueName,
    /// In how many items it did so.
    pub times: u64,
    /// The last time.
    pub last: SystemTime,
    /// The job of the last time.
    pub last_job: JobId,
    /// The item of the last time.
    pub last_item: WorkItemId,
}
