//! A store in memory: the reference for the others, and what simulations run on.
//!
//! It is deterministic: no clock, no randomness, no tasks, and every order is that of a tree or a
//! list. All clones are one store, so that a controller that is started anew finds what it left.

mod attempts;
mod jobs;
mod state;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use helix_model::ids::{AttemptId, JobId, QueueName, WorkItemId};
use tokio::sync::broadcast;

use crate::{
    Agent, AgentName, Attempt, Cancelled, Change, ControllerId, Fence, FlakyTest, Held, Item, Job,
    JobEvent, JobFilter, Lane, LaneId, LogPlace, NewJob, Page, Progress, Queue, QueueCounts,
    Refusal, Settlement, Store, StoreError, Submitted, Taken,
};
use state::State;

/// How many hints a receiver may lag behind.
const HINTS: usize = 1024;

/// A store in memory. Clones share what is stored.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    changes: broadcast::Sender<Change>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Arc::default(),
            changes: broadcast::Sender::new(HINTS),
        }
    }

    /// Runs one call, then gives its hints.
    fn call<T>(&self, call: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = call(&mut state);
        let changes = std::mem::take(&mut state.changes);
        drop(state);
        for change in changes {
            // Nobody need be listening.
            let _ = self.changes.send(change);
        }
        answer
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn put_queue(&self, queue: Queue) -> Result<(), StoreError> {
        self.call(|state| {
            state.changes.push(Change::Waiting(queue.name.clone()));
            // Removed first, as the key would keep the old spelling of the name.
            state.queues.remove(&queue.name);
            state.queues.insert(queue.name.clone(), queue);
        });
        Ok(())
    }

    async fn queues(&self) -> Result<Vec<(Queue, QueueCounts)>, StoreError> {
        let with_counts = |state: &mut State| {
            let queues = state.queues.values();
            queues
                .map(|queue| (queue.clone(), state.queue_counts(&queue.name)))
                .collect()
        };
        Ok(self.call(with_counts))
    }

    async fn queue(&self, name: &QueueName) -> Result<Option<(Queue, QueueCounts)>, StoreError> {
        Ok(self.call(|state| {
            let queue = state.queues.get(name)?.clone();
            Some((queue, state.queue_counts(name)))
        }))
    }

    async fn remove_queue(&self, name: &QueueName) -> Result<bool, StoreError> {
        self.call(|state| {
            let counts = state.queue_counts(name);
            if counts.waiting > 0 || counts.running > 0 {
                return Err(StoreError::QueueInUse(name.clone()));
            }
            Ok(state.queues.remove(name).is_some())
        })
    }

    async fn submit(&self, job: NewJob, now: SystemTime) -> Result<Submitted, StoreError> {
        self.call(|state| state.submit(job, now))
    }

    async fn job(&self, job: &JobId) -> Result<Option<Job>, StoreError> {
        Ok(self.call(|state| Some(state.jobs.get(job)?.job.clone())))
    }

    async fn jobs(
        &self,
        filter: &JobFilter,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<Job>, StoreError> {
        self.call(|state| state.jobs(filter, after, limit))
    }

    async fn items(
        &self,
        job: &JobId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<Item>, StoreError> {
        self.call(|state| state.items(job, after, limit))
    }

    async fn item(&self, job: &JobId, item: &str) -> Result<Option<Item>, StoreError> {
        Ok(self.call(|state| state.item(job, item)))
    }

    async fn specification(
        &self,
        item: &WorkItemId,
    ) -> Result<Option<(Vec<u8>, Vec<u8>)>, StoreError> {
        Ok(self.call(|state| {
            let entry = state.items.get(item)?;
            let lane = state.lanes.get(&entry.lane)?;
            Some((entry.specification.clone(), lane.demand.clone()))
        }))
    }

    async fn attempts(&self, item: &WorkItemId) -> Result<Vec<Attempt>, StoreError> {
        Ok(self.call(|state| {
            let item = state.items.get(item).into_iter();
            item.flat_map(|entry| &entry.attempts)
                .filter_map(|id| Some(state.attempts.get(id)?.attempt.clone()))
                .collect()
        }))
    }

    async fn attempt(&self, attempt: &AttemptId) -> Result<Option<Attempt>, StoreError> {
        Ok(self.call(|state| Some(state.attempts.get(attempt)?.attempt.clone())))
    }

    async fn short_log(&self, attempt: &AttemptId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.call(|state| {
            let entry = state.attempts.get(attempt)?;
            let here = entry.attempt.log == Some(LogPlace::Here);
            entry.short_log.clone().filter(|_| here)
        }))
    }

    async fn refusals(&self, item: &WorkItemId) -> Result<Vec<Refusal>, StoreError> {
        Ok(self.call(|state| {
            let item = state.items.get(item).into_iter();
            item.flat_map(|entry| entry.refusals.values())
                .map(|entry| entry.refusal.clone())
                .collect()
        }))
    }

    async fn events(
        &self,
        job: &JobId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<JobEvent>, StoreError> {
        self.call(|state| state.events(job, after, limit))
    }

    async fn flaky(
        &self,
        queue: Option<&QueueName>,
        since: SystemTime,
        limit: u32,
    ) -> Result<Vec<FlakyTest>, StoreError> {
        Ok(self.call(|state| state.flaky(queue, since, limit)))
    }

    async fn cancel(
        &self,
        job: &JobId,
        item: Option<&WorkItemId>,
        reason: &str,
        now: SystemTime,
    ) -> Result<Cancelled, StoreError> {
        self.call(|state| state.cancel(job, item, reason, now))
    }

    async fn lanes(&self) -> Result<Vec<Lane>, StoreError> {
        Ok(self.call(|state| {
            let waiting = state.waiting_lanes.iter();
            waiting.filter_map(|lane| state.lane(*lane)).collect()
        }))
    }

    async fn take(
        &self,
        controller: &ControllerId,
        lane: LaneId,
        agent: &AgentName,
        attempts: &[AttemptId],
        now: SystemTime,
    ) -> Result<Vec<Taken>, StoreError> {
        self.call(|state| state.take(controller, lane, agent, attempts, now))
    }

    async fn give_back(
        &self,
        fence: &Fence,
        refusal: &Refusal,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        self.call(|state| state.give_back(fence, refusal, now))
    }

    async fn record(&self, fence: &Fence, progress: Progress) -> Result<(), StoreError> {
        self.call(|state| state.record(fence, progress))
    }

    async fn settle(
        &self,
        fence: &Fence,
        settlement: Settlement,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        self.call(|state| state.settle(fence, settlement, now))
    }

    async fn beat(&self, controller: &ControllerId, now: SystemTime) -> Result<(), StoreError> {
        self.call(|state| state.beats.insert(controller.clone(), now));
        Ok(())
    }

    async fn adopt_own(
        &self,
        controller: &ControllerId,
        now: SystemTime,
    ) -> Result<Vec<Held>, StoreError> {
        Ok(self.call(|state| state.adopt_own(controller, now)))
    }

    async fn adopt_orphans(
        &self,
        controller: &ControllerId,
        silent_since: SystemTime,
        now: SystemTime,
    ) -> Result<Vec<Held>, StoreError> {
        Ok(self.call(|state| state.adopt_orphans(controller, silent_since, now)))
    }

    async fn held(&self, controller: &ControllerId) -> Result<Vec<Held>, StoreError> {
        Ok(self.call(|state| state.held_by(controller)))
    }

    async fn save_agent(&self, agent: Agent) -> Result<(), StoreError> {
        self.call(|state| state.agents.insert(agent.name.clone(), agent));
        Ok(())
    }

    async fn agents(&self) -> Result<Vec<Agent>, StoreError> {
        Ok(self.call(|state| state.agents.values().cloned().collect()))
    }

    async fn remove_agent(&self, name: &AgentName) -> Result<bool, StoreError> {
        Ok(self.call(|state| state.agents.remove(name).is_some()))
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
