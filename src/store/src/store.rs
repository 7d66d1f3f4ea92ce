//! The interface.

use std::fmt;
use std::time::SystemTime;

use async_trait::async_trait;
use helix_model::ids::{AttemptId, JobId, QueueName, WorkItemId};
use tokio::sync::broadcast;

use crate::{
    Agent, AgentName, Attempt, Cancelled, ControllerId, Fence, FlakyTest, Held, Item, Job,
    JobEvent, JobFilter, Lane, LaneId, NewJob, Page, Progress, Queue, QueueCounts, Refusal,
    Settlement, StoreError, Submitted, Taken,
};

/// Something changed that somebody may wait for. A hint: it may come for nothing, twice, or, when
/// another controller made the change and the database cannot tell, late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Something waits in this queue that did not.
    Waiting(QueueName),
    /// A job has a new event.
    Job(JobId),
    /// Attempts are to be cancelled.
    Cancel,
    /// Hints were lost: look at everything.
    Everything,
}

/// Everything that must not be forgotten. Each call is one transaction, durable when it returns.
///
/// A future that is dropped may or may not have done its work. All calls but [`Store::take`] may be
/// repeated: the second time changes nothing more, save that adopting raises the epoch each time.
/// Times are kept to the microsecond. A page has at least 1 and at most 1000 entries, whatever is asked.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Makes a queue, or gives it new settings; items stored before keep the retries they were granted.
    async fn put_queue(&self, queue: Queue) -> Result<(), StoreError>;
    /// All queues by name, with what has not ended in them.
    async fn queues(&self) -> Result<Vec<(Queue, QueueCounts)>, StoreError>;
    /// One queue.
    async fn queue(&self, name: &QueueName) -> Result<Option<(Queue, QueueCounts)>, StoreError>;
    /// Removes a queue without open work; its ended jobs stay. Whether it was there.
    async fn remove_queue(&self, name: &QueueName) -> Result<bool, StoreError>;

    /// Stores a job whole or not at all.
    async fn submit(&self, job: NewJob, now: SystemTime) -> Result<Submitted, StoreError>;
    /// One job.
    async fn job(&self, job: &JobId) -> Result<Option<Job>, StoreError>;
    /// Jobs, newest first; at most `limit` (1 to 1000) a page.
    async fn jobs(
        &self,
        filter: &JobFilter,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<Job>, StoreError>;
    /// Items of a job in the order of submission; at most `limit` (1 to 1000) a page.
    async fn items(
        &self,
        job: &JobId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<Item>, StoreError>;
    /// One item, by its id or, failing that, by its name.
    async fn item(&self, job: &JobId, item: &str) -> Result<Option<Item>, StoreError>;
    /// An item as it was submitted: specification and demand.
    async fn specification(
        &self,
        item: &WorkItemId,
    ) -> Result<Option<(Vec<u8>, Vec<u8>)>, StoreError>;
    /// All attempts of an item, first first.
    async fn attempts(&self, item: &WorkItemId) -> Result<Vec<Attempt>, StoreError>;
    /// One attempt.
    async fn attempt(&self, attempt: &AttemptId) -> Result<Option<Attempt>, StoreError>;
    /// The log of an ended attempt that is kept in the store itself.
    async fn short_log(&self, attempt: &AttemptId) -> Result<Option<Vec<u8>>, StoreError>;
    /// Why agents did not take an item, one entry each.
    async fn refusals(&self, item: &WorkItemId) -> Result<Vec<Refusal>, StoreError>;
    /// Events of a job after a number, first first, at most `limit`.
    async fn events(
        &self,
        job: &JobId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<JobEvent>, StoreError>;
    /// Tests that passed only on a retry since then, the most frequent first, at most `limit`.
    async fn flaky(
        &self,
        queue: Option<&QueueName>,
        since: SystemTime,
        limit: u32,
    ) -> Result<Vec<FlakyTest>, StoreError>;

    /// Ends what waits of a job, or one item of it, and marks what runs. The first reason stays.
    async fn cancel(
        &self,
        job: &JobId,
        item: Option<&WorkItemId>,
        reason: &str,
        now: SystemTime,
    ) -> Result<Cancelled, StoreError>;

    /// Lanes in which something waits.
    async fn lanes(&self) -> Result<Vec<Lane>, StoreError>;
    /// Takes the first items of a lane that may go to this agent now, at most one for each of the
    /// attempt ids, and writes their attempts down. An id that is in use is an error. Not to be
    /// repeated: who does not hear the answer finds them with [`Store::held`].
    async fn take(
        &self,
        controller: &ControllerId,
        lane: LaneId,
        agent: &AgentName,
        attempts: &[AttemptId],
        now: SystemTime,
    ) -> Result<Vec<Taken>, StoreError>;
    /// The agent did not take it: the item waits again in its old place, the attempt is as if it had
    /// never been, the refusal is kept (how often is counted here). An item whose cancelling was asked
    /// for ends instead. An attempt that an agent has taken cannot be given back.
    async fn give_back(
        &self,
        fence: &Fence,
        refusal: &Refusal,
        now: SystemTime,
    ) -> Result<(), StoreError>;
    /// Something became known about a running attempt.
    async fn record(&self, fence: &Fence, progress: Progress) -> Result<(), StoreError>;
    /// An attempt ended, and what becomes of its item. An item whose cancelling was asked for ends as
    /// cancelled where it would wait again. Repeating it is no error.
    async fn settle(
        &self,
        fence: &Fence,
        settlement: Settlement,
        now: SystemTime,
    ) -> Result<(), StoreError>;

    /// Says that a controller is alive.
    async fn beat(&self, controller: &ControllerId, now: SystemTime) -> Result<(), StoreError>;
    /// Takes over what this controller held before it restarted; counts as a beat.
    async fn adopt_own(
        &self,
        controller: &ControllerId,
        now: SystemTime,
    ) -> Result<Vec<Held>, StoreError>;
    /// Takes over what controllers hold that have not beaten since then (a beat at that very time
    /// counts), or never; counts as a beat.
    async fn adopt_orphans(
        &self,
        controller: &ControllerId,
        silent_since: SystemTime,
        now: SystemTime,
    ) -> Result<Vec<Held>, StoreError>;
    /// What a controller holds.
    async fn held(&self, controller: &ControllerId) -> Result<Vec<Held>, StoreError>;

    /// Remembers what is known of an agent.
    async fn save_agent(&self, agent: Agent) -> Result<(), StoreError>;
    /// All agents by name.
    async fn agents(&self) -> Result<Vec<Agent>, StoreError>;
    /// Forgets an agent. Whether it was there.
    async fn remove_agent(&self, name: &AgentName) -> Result<bool, StoreError>;

    /// Hints of changes from now on. Who lags behind looks at everything.
    fn changes(&self) -> broadcast::Receiver<Change>;
    /// Whether the database answers.
    async fn ping(&self) -> Result<(), StoreError>;
}
