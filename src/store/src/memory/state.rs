//! What the store in memory holds, and the steps that several calls share.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::SystemTime;

use helix_model::ids::{AttemptId, FriendlyName, JobId, QueueName, WorkItemId};

use crate::{
    Agent, AgentName, Attempt, AttemptState, Change, ControllerId, Fence, Held, Item, ItemEnd,
    ItemState, Job, JobCounts, JobEvent, JobEventKind, Lane, LaneId, Queue, QueueCounts, Refusal,
    rules,
};

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) queues: BTreeMap<QueueName, Queue>,
    pub(super) jobs: BTreeMap<JobId, JobEntry>,
    /// Jobs in the order in which they were stored.
    pub(super) order: BTreeMap<i64, JobId>,
    pub(super) lanes: BTreeMap<LaneId, LaneEntry>,
    /// Lanes in which something waits.
    pub(super) waiting_lanes: BTreeSet<LaneId>,
    pub(super) items: BTreeMap<WorkItemId, ItemEntry>,
    pub(super) attempts: BTreeMap<AttemptId, AttemptEntry>,
    /// Open attempts of each controller, in the order in which they were written down.
    pub(super) open: BTreeMap<ControllerId, BTreeMap<u64, AttemptId>>,
    pub(super) next_attempt: u64,
    /// What was given back, the last time that its agent refused its item.
    pub(super) given_back: HashSet<Fence>,
    pub(super) beats: BTreeMap<ControllerId, SystemTime>,
    pub(super) agents: BTreeMap<AgentName, Agent>,
    pub(super) flaky: Vec<FlakyEntry>,
    /// Hints to be given when the call is over.
    pub(super) changes: Vec<Change>,
}

#[derive(Debug)]
pub(super) struct JobEntry {
    pub(super) job: Job,
    pub(super) fingerprint: Vec<u8>,
    pub(super) items: Vec<WorkItemId>,
    pub(super) names: BTreeMap<FriendlyName, usize>,
    pub(super) events: Vec<JobEvent>,
    /// The place at the end of its lanes.
    pub(super) next_position: u64,
}

#[derive(Debug)]
pub(super) struct LaneEntry {
    pub(super) job: JobId,
    pub(super) demand: Vec<u8>,
    /// Items that may go, by their place.
    pub(super) ready: BTreeMap<u64, WorkItemId>,
    /// Items that may not go yet: until when, place, item.
    pub(super) delayed: BTreeSet<(SystemTime, u64, WorkItemId)>,
}

#[derive(Debug)]
pub(super) struct ItemEntry {
    pub(super) item: Item,
    pub(super) lane: LaneId,
    pub(super) position: u64,
    /// Until when it was put off, the last time that it was put into its lane.
    pub(super) not_before: Option<SystemTime>,
    pub(super) specification: Vec<u8>,
    pub(super) attempts: Vec<AttemptId>,
    pub(super) refusals: BTreeMap<AgentName, RefusalEntry>,
}

#[derive(Debug)]
pub(super) struct RefusalEntry {
    pub(super) refusal: Refusal,
    /// What was refused, so that the same said again is recognised.
    pub(super) fence: Option<Fence>,
}

#[derive(Debug)]
pub(super) struct AttemptEntry {
    pub(super) attempt: Attempt,
    /// Grows with each attempt that is written down.
    pub(super) number: u64,
    pub(super) short_log: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct FlakyEntry {
    pub(super) at: SystemTime,
    pub(super) name: String,
    pub(super) item_name: String,
    pub(super) queue: QueueName,
    pub(super) job: JobId,
    pub(super) item: WorkItemId,
}

impl AttemptEntry {
    pub(super) fn is_open(&self) -> bool {
        matches!(
            self.attempt.state,
            AttemptState::Offered | AttemptState::Running
        )
    }
}

impl LaneEntry {
    fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.delayed.is_empty()
    }
}

impl JobEntry {
    pub(super) fn tell(&mut self, at: SystemTime, kind: JobEventKind) {
        let number = self.events.last().map_or(0, |event| event.number) + 1;
        self.events.push(JobEvent { number, at, kind });
    }

    fn end_if_done(&mut self, now: SystemTime) {
        let counts = &self.job.counts;
        if counts.waiting == 0 && counts.running == 0 && self.job.ended.is_none() {
            self.job.ended = Some(now);
            self.tell(now, JobEventKind::Ended);
        }
    }
}

impl State {
    pub(super) fn queue_counts(&self, name: &QueueName) -> QueueCounts {
        let mut sum = QueueCounts::default();
        let open = self.jobs.values().filter(|entry| entry.job.queue == *name);
        for entry in open {
            sum.waiting += entry.job.counts.waiting;
            sum.running += entry.job.counts.running;
        }
        sum
    }

    pub(super) fn lane(&self, id: LaneId) -> Option<Lane> {
        let lane = self.lanes.get(&id)?;
        let job = &self.jobs.get(&lane.job)?.job;
        let queue = self.queues.get(&job.queue)?;
        let first = lane.delayed.first().map(|(until, ..)| *until);
        Some(Lane {
            id,
            job: job.id.clone(),
            queue: job.queue.clone(),
            queue_priority: queue.priority,
            job_priority: job.priority,
            created: job.created,
            demand: lane.demand.clone(),
            waiting: u64::try_from(lane.ready.len() + lane.delayed.len()).unwrap_or(u64::MAX),
            not_before: first.filter(|_| lane.ready.is_empty()),
            job_running: job.counts.running,
        })
    }

    /// Puts an item that is not in its lane into it, at its place.
    pub(super) fn enqueue(&mut self, item: &WorkItemId, not_before: Option<SystemTime>) {
        let Some(entry) = self.items.get_mut(item) else {
            return;
        };
        entry.not_before = not_before;
        let Some(lane) = self.lanes.get_mut(&entry.lane) else {
            return;
        };
        match not_before {
            Some(until) => {
                lane.delayed.insert((until, entry.position, item.clone()));
            }
            None => {
                lane.ready.insert(entry.position, item.clone());
            }
        }
        self.waiting_lanes.insert(entry.lane);
    }

    /// Forgets a lane in which nothing waits any more.
    pub(super) fn settle_lane(&mut self, lane_id: LaneId) {
        if self.lanes.get(&lane_id).is_some_and(LaneEntry::is_empty) {
            self.waiting_lanes.remove(&lane_id);
        }
    }

    /// Brings an item that is counted as running to its end.
    pub(super) fn end_running(&mut self, item: &WorkItemId, end: ItemEnd, now: SystemTime) {
        let kind = end.kind;
        let Some(entry) = self.items.get_mut(item) else {
            return;
        };
        entry.item.state = ItemState::Ended(end);
        entry.item.since = now;
        let Some(job) = self.jobs.get_mut(&entry.item.job) else {
            return;
        };
        job.job.counts.running -= 1;
        rules::count_end(&mut job.job.counts, kind, 1);
        job.tell(now, JobEventKind::ItemEnded { item: item.clone() });
        job.end_if_done(now);
        self.changes.push(Change::Job(job.job.id.clone()));
    }

    /// Brings waiting items of one job to their end.
    pub(super) fn end_waiting(
        &mut self,
        job_id: &JobId,
        items: &[WorkItemId],
        end: &ItemEnd,
        now: SystemTime,
    ) {
        for id in items {
            let Some(entry) = self.items.get_mut(id) else {
                continue;
            };
            entry.item.state = ItemState::Ended(end.clone());
            entry.item.since = now;
            let (lane_id, position) = (entry.lane, entry.position);
            if let Some(lane) = self.lanes.get_mut(&lane_id)
                && lane.ready.remove(&position).is_none()
                && let Some(until) = entry.not_before
            {
                lane.delayed.remove(&(until, position, id.clone()));
            }
            self.settle_lane(lane_id);
            if let Some(job) = self.jobs.get_mut(job_id) {
                job.job.counts.waiting -= 1;
                rules::count_end(&mut job.job.counts, end.kind, 1);
                job.tell(now, JobEventKind::ItemEnded { item: id.clone() });
            }
        }
        if let Some(job) = self.jobs.get_mut(job_id) {
            job.end_if_done(now);
        }
        if !items.is_empty() {
            self.changes.push(Change::Job(job_id.clone()));
        }
    }

    /// Removes an attempt from what its controller looks after.
    pub(super) fn let_go(&mut self, controller: &ControllerId, number: u64) {
        if let Some(open) = self.open.get_mut(controller) {
            open.remove(&number);
            if open.is_empty() {
                self.open.remove(controller);
            }
        }
    }

    /// Keeps why an agent is not to have an item for a time; the fence says what it gave back.
    pub(super) fn refuse(&mut self, item: &WorkItemId, refusal: &Refusal, fence: Option<&Fence>) {
        let Some(entry) = self.items.get_mut(item) else {
            return;
        };
        let before = entry.refusals.remove(&refusal.agent);
        if let Some(fence) = before.as_ref().and_then(|before| before.fence.as_ref()) {
            self.given_back.remove(fence);
        }
        self.given_back.extend(fence.cloned());
        let times = before.map_or(0, |before| before.refusal.times);
        let kept = RefusalEntry {
            refusal: Refusal {
                times: times.saturating_add(1),
                ..refusal.clone()
            },
            fence: fence.cloned(),
        };
        entry.refusals.insert(refusal.agent.clone(), kept);
    }

    pub(super) fn held(&self, attempt: &AttemptId) -> Option<Held> {
        let entry = self.attempts.get(attempt).filter(|entry| entry.is_open())?;
        let attempt = &entry.attempt;
        let item = self.items.get(&attempt.item)?;
        let job = self.jobs.get(&attempt.job)?;
        Some(Held {
            fence: Fence {
                attempt: attempt.id.clone(),
                epoch: attempt.epoch,
            },
            controller: attempt.controller.clone(),
            item: attempt.item.clone(),
            job: attempt.job.clone(),
            queue: job.job.queue.clone(),
            name: item.item.name.clone(),
            delivery: attempt.delivery,
            retry_place: item.item.retry_place,
            specification: item.specification.clone(),
            agent: attempt.agent.clone(),
            accepted: attempt.accepted.is_some(),
            offered: attempt.offered,
            last_event: attempt.last_event,
            cancel_requested: item.item.cancel_requested.clone(),
        })
    }

    pub(super) fn held_by(&self, controller: &ControllerId) -> Vec<Held> {
        let open = self.open.get(controller).into_iter().flatten();
        open.filter_map(|(_, id)| self.held(id)).collect()
    }
}

/// A job of which all items wait.
pub(super) fn all_waiting(total: u64) -> JobCounts {
    JobCounts {
        total,
        waiting: total,
        ..JobCounts::default()
    }
}
