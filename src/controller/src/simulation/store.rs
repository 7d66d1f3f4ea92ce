//! A store that takes its time, is away now and then, and does not always say what it did.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;
use helix_model::ids::{AttemptId, JobId, QueueName, WorkItemId};
use helix_store::{
    Agent, AgentName, Attempt, Cancelled, Change, ControllerId, Fence, FlakyTest, Held, Item, Job,
    JobEvent, JobFilter, Lane, LaneId, MemoryStore, NewJob, Page, Progress, Queue, QueueCounts,
    Refusal, Settlement, Store, StoreError, Submitted, Taken,
};
use tokio::sync::broadcast;

use super::chance::Chance;

/// A store as a controller sees it. What is kept is shared by all of them.
#[derive(Debug)]
pub(super) struct FaultyStore {
    pub(super) store: MemoryStore,
    pub(super) chance: Chance,
    pub(super) is_faulty: Arc<AtomicBool>,
}

impl FaultyStore {
    async fn before(&self) -> Result<(), StoreError> {
        if self.chance.per_mille(300) {
            tokio::time::sleep(self.chance.millis(5)).await;
        }
        self.fault()
    }

    fn fault(&self) -> Result<(), StoreError> {
        if self.is_faulty.load(Ordering::Relaxed) && self.chance.per_mille(15) {
            return Err(StoreError::Unavailable("simulated".to_owned()));
        }
        Ok(())
    }

    async fn after(&self) -> Result<(), StoreError> {
        if self.chance.per_mille(300) {
            tokio::time::sleep(self.chance.millis(5)).await;
        }
        self.fault()
    }
}

macro_rules! faulty {
    ($self:ident, $call:expr) => {{
        $self.before().await?;
        let answer = $call.await?;
        $self.after().await?;
        Ok(answer)
    }};
}

#[async_trait]
impl Store for FaultyStore {
    async fn put_queue(&self, queue: Queue) -> Result<(), StoreError> {
        faulty!(self, self.store.put_queue(queue))
    }

    async fn queues(&self) -> Result<Vec<(Queue, QueueCounts)>, StoreError> {
        faulty!(self, self.store.queues())
    }

    async fn queue(&self, name: &QueueName) -> Result<Option<(Queue, QueueCounts)>, StoreError> {
        faulty!(self, self.store.queue(name))
    }

    async fn remove_queue(&self, name: &QueueName) -> Result<bool, StoreError> {
        faulty!(self, self.store.remove_queue(name))
    }

    async fn submit(&self, job: NewJob, now: SystemTime) -> Result<Submitted, StoreError> {
        faulty!(self, self.store.submit(job, now))
    }

    async fn job(&self, job: &JobId) -> Result<Option<Job>, StoreError> {
        faulty!(self, self.store.job(job))
    }

    async fn jobs(
        &self,
        filter: &JobFilter,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<Job>, StoreError> {
        faulty!(self, self.store.jobs(filter, after, limit))
    }

    async fn items(
        &self,
        job: &JobId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<Item>, StoreError> {
        faulty!(self, self.store.items(job, after, limit))
    }

    async fn item(&self, job: &JobId, item: &str) -> Result<Option<Item>, StoreError> {
        faulty!(self, self.store.item(job, item))
    }

    async fn specification(
        &self,
        item: &WorkItemId,
    ) -> Result<Option<(Vec<u8>, Vec<u8>)>, StoreError> {
        faulty!(self, self.store.specification(item))
    }

    async fn attempts(&self, item: &WorkItemId) -> Result<Vec<Attempt>, StoreError> {
        faulty!(self, self.store.attempts(item))
    }

    async fn attempt(&self, attempt: &AttemptId) -> Result<Option<Attempt>, StoreError> {
        faulty!(self, self.store.attempt(attempt))
    }

    async fn short_log(&self, attempt: &AttemptId) -> Result<Option<Vec<u8>>, StoreError> {
        faulty!(self, self.store.short_log(attempt))
    }

    async fn refusals(&self, item: &WorkItemId) -> Result<Vec<Refusal>, StoreError> {
        faulty!(self, self.store.refusals(item))
    }

    async fn events(
        &self,
        job: &JobId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<JobEvent>, StoreError> {
        faulty!(self, self.store.events(job, after, limit))
    }

    async fn flaky(
        &self,
        queue: Option<&QueueName>,
        since: SystemTime,
        limit: u32,
    ) -> Result<Vec<FlakyTest>, StoreError> {
        faulty!(self, self.store.flaky(queue, since, limit))
    }

    async fn cancel(
        &self,
        job: &JobId,
        item: Option<&WorkItemId>,
        reason: &str,
        now: SystemTime,
    ) -> Result<Cancelled, StoreError> {
        faulty!(self, self.store.cancel(job, item, reason, now))
    }

    async fn lanes(&self) -> Result<Vec<Lane>, StoreError> {
        faulty!(self, self.store.lanes())
    }

    async fn take(
        &self,
        controller: &ControllerId,
        lane: LaneId,
        agent: &AgentName,
        attempts: &[AttemptId],
        now: SystemTime,
    ) -> Result<Vec<Taken>, StoreError> {
        faulty!(
            self,
            self.store.take(controller, lane, agent, attempts, now)
        )
    }

    async fn give_back(
        &self,
        fence: &Fence,
        refusal: &Refusal,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        faulty!(self, self.store.give_back(fence, refusal, now))
    }

    async fn record(&self, fence: &Fence, progress: Progress) -> Result<(), StoreError> {
        faulty!(self, self.store.record(fence, progress))
    }

    async fn settle(
        &self,
        fence: &Fence,
        settlement: Settlement,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        faulty!(self, self.store.settle(fence, settlement, now))
    }

    async fn beat(&self, controller: &ControllerId, now: SystemTime) -> Result<(), StoreError> {
        faulty!(self, self.store.beat(controller, now))
    }

    async fn adopt_own(
        &self,
        controller: &ControllerId,
        now: SystemTime,
    ) -> Result<Vec<Held>, StoreError> {
        faulty!(self, self.store.adopt_own(controller, now))
    }

    async fn adopt_orphans(
        &self,
        controller: &ControllerId,
        silent_since: SystemTime,
        now: SystemTime,
    ) -> Result<Vec<Held>, StoreError> {
        faulty!(
            self,
            self.store.adopt_orphans(controller, silent_since, now)
        )
    }

    async fn held(&self, controller: &ControllerId) -> Result<Vec<Held>, StoreError> {
        faulty!(self, self.store.held(controller))
    }

    async fn save_agent(&self, agent: Agent) -> Result<(), StoreError> {
        faulty!(self, self.store.save_agent(agent))
    }

    async fn agents(&self) -> Result<Vec<Agent>, StoreError> {
        faulty!(self, self.store.agents())
    }

    async fn remove_agent(&self, name: &AgentName) -> Result<bool, StoreError> {
        faulty!(self, self.store.remove_agent(name))
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.store.changes()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        faulty!(self, self.store.ping())
    }
}
