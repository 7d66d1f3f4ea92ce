//! Jobs, and what is asked of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What came of a submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Submitted {
    /// The job's id.
    pub job: String,
    /// Whether the same submission had come before; nothing was done then.
    pub repeated: bool,
    /// Its work items.
    pub items: u64,
    /// Work items that were granted fewer retries than asked for, as the queue delivers at most so
    /// often.
    pub items_with_fewer_retries: u64,
    /// The most retries that the queue can grant.
    pub most_retries: u32,
    /// What is odd about the job, one sentence each, such as a queue that is to be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A page of jobs, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// What to give as `after` to get the next page; none on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A job as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// The queue that it was sent to.
    pub queue: String,
    /// For people.
    pub name: String,
    /// The name of the token that submitted it.
    pub creator: String,
    /// Where it comes from, such as a repository and branch. May be empty.
    pub source: String,
    /// Higher goes first within a queue.
    pub priority: i32,
    /// Whatever else the sender wanted to find again.
    pub properties: BTreeMap<String, String>,
    /// The job whose items that did not pass are run again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<String>,
    /// Where it stands.
    pub state: JobState,
    /// When it was stored.
    pub created: Timestamp,
    /// When the last of its items ended; none while one has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Why it was cancelled, if it was; may be empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<String>,
    /// Its items by state.
    pub counts: JobCounts,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Nothing of it has been started.
    Waiting,
    /// Some of it has been started, not all has ended.
    Running,
    /// All items passed, at once or on a retry.
    Passed,
    /// All items ended, and not all passed.
    Failed,
    /// It was cancelled and all items ended, not all of them passed.
    Cancelled,
}

/// Work items of a job by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobCounts {
    /// All of them.
    pub total: u64,
    /// Waiting.
    pub waiting: u64,
    /// Offered to an agent or running.
    pub running: u64,
    /// Passed, at once or on a retry.
    pub passed: u64,
    /// Those of the passed ones that needed a retry.
    pub passed_on_retry: u64,
    /// Failed with no retry left.
    pub failed: u64,
    /// Took too long.
    pub timed_out: u64,
    /// Cancelled.
    pub cancelled: u64,
    /// Deliveries spent without a result.
    pub dead: u64,
}

/// Why something is cancelled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {
    /// For other people. At most 1024 bytes.
    #[serde(default)]
    pub reason: String,
}

/// What cancelling did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cancelled {
    /// Items that waited and have ended by it.
    pub ended: u64,
    /// Items that run and were asked to end.
    pub stopping: u64,
    /// Items that had ended before.
    pub untouched: u64,
}

/// How a job is run again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryRequest {
    /// The new job's id, so that a repeated request is recognised. Left out: one is made of the old
    /// job's id, so that a job is retried once unless ids are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The new job's name. Left out: that of the old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Work items to run again, by id or name. Left out: all that ended and did not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<String>>,
}

/// Tests that passed only on a retry, the most frequent first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlakyList {
    /// The tests.
    pub tests: Vec<FlakyTest>,
}

/// A test that failed in an attempt whose item passed in a later one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlakyTest {
    /// Full name of the test.
    pub name: String,
    /// What people call the work item.
    pub item_name: String,
    /// The queue.
    pub queue: String,
    /// In how many items it did so.
    pub times: u64,
    /// The last time.
    pub last: Timestamp,
    /// The job of the last time.
    pub last_job: String,
    /// The item of the last time.
    pub last_item: String,
}

impl JobState {
    /// Whether nothing more happens.
    #[must_use]
    pub fn is_ended(self) -> bool {
        match self {
            Self::Waiting | Self::Running => false,
            Self::Passed | Self::Failed | Self::Cancelled => true,
        }
    }
}

impl JobCounts {
    /// Items that have ended, however.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.passed + self.failed + self.timed_out + self.cancelled + self.dead
    }
}
