//! What can go wrong with a store.

use helix_model::ids::{AttemptId, JobId, QueueName, WorkItemId};

/// Why a store did not do what it was asked to. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The attempt has another keeper by now, has ended, or was given back: whoever asked must let
    /// go of it.
    #[error("attempt `{0}` is no longer looked after by this controller")]
    Fenced(AttemptId),
    /// There is no such queue.
    #[error("there is no queue `{0}`")]
    UnknownQueue(QueueName),
    /// There is no such job.
    #[error("there is no job `{0}`")]
    UnknownJob(JobId),
    /// There is no such work item in the job.
    #[error("the job has no work item `{0}`")]
    UnknownItem(WorkItemId),
    /// A job of this id is there and has other items.
    #[error("there is another job with the id `{0}`")]
    JobExists(JobId),
    /// Two work items of a job have one name or one id.
    #[error("the job has two work items called `{0}`")]
    ItemTwice(String),
    /// A queue with waiting or running work cannot go.
    #[error("queue `{0}` still has work items that have not ended")]
    QueueInUse(QueueName),
    /// The call contradicts itself or what is stored; it would not work later either.
    #[error("the store was asked for what cannot be: {0}")]
    Invalid(String),
    /// The database cannot be reached or is busy for too long; the same call may work later.
    #[error("the database cannot be reached: {0}")]
    Unavailable(String),
    /// The database is full, damaged, of a newer release, or refuses what it should take.
    #[error("the database failed: {0}")]
    Broken(String),
}
