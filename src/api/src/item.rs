//! Work items.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Attempt, Refusal};

/// A page of work items in the order of submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ItemPage {
    /// The work items.
    pub items: Vec<Item>,
    /// What to give as `after` to get the next page; none on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A work item as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Item {
    /// Its id.
    pub id: String,
    /// Its job.
    pub job: String,
    /// What people call it, unique in the job.
    pub name: String,
    /// Where it stands.
    pub state: ItemState,
    /// Since when it has been there.
    pub since: Timestamp,
    /// Its delivery that is under way or comes next, or was the last, counted from 1.
    pub delivery: u32,
    /// How often it may be delivered, whatever comes of it.
    pub max_deliveries: u32,
    /// Its retries.
    pub retries: Retries,
    /// How many attempts it has had, the present one included.
    pub attempts: u32,
    /// Whether it passed in the end although an attempt had failed before.
    pub partial_failure: bool,
    /// The attempt that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<String>,
    /// The agent that has the attempt under way, or is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The exit code, once it has ended: the command's, or a negative one where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What decided its end, in capitals, such as `EXIT_CODE`. Absent where it passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why it is to be cancelled, if it is; may be empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_requested: Option<String>,
}

/// How often a work item may be tried again after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Retries {
    /// Asked for by who submitted it.
    pub requested: u32,
    /// Granted: fewer where the queue does not deliver that often.
    pub granted: u32,
    /// Used so far.
    pub used: u32,
}

/// A work item with everything that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ItemDetail {
    /// The work item.
    pub item: Item,
    /// What it runs, secrets left out: the arguments one after the other, or a line for the shell.
    pub command: Vec<String>,
    /// Every attempt, first first.
    pub attempts: Vec<Attempt>,
    /// Why agents did not take it when they were asked, one entry each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refusal>,
}

/// Where a work item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ItemState {
    /// In its queue.
    Waiting,
    /// An agent is being asked.
    Offered,
    /// An agent has it.
    Running,
    /// Ended: it passed in its first delivery that told anything.
    Passed,
    /// Ended: it passed after a failure.
    PassedOnRetry,
    /// Ended: it failed with no retry left.
    Failed,
    /// Ended: it took too long.
    TimedOut,
    /// Ended: it was cancelled.
    Cancelled,
    /// Ended: its deliveries were spent without a result.
    Dead,
}

impl ItemState {
    /// Whether nothing more happens.
    #[must_use]
    pub fn is_ended(self) -> bool {
        match self {
            Self::Waiting | Self::Offered | Self::Running => false,
            Self::Passed
            | Self::PassedOnRetry
            | Self::Failed
            | Self::TimedOut
            | Self::Cancelled
            | Self::Dead => true,
        }
    }

    /// Whether it passed, at once or on a retry.
    #[must_use]
    pub fn is_passed(self) -> bool {
        matches!(self, Self::Passed | Self::PassedOnRetry)
    }
}
