//! What waits.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use helix_model::fairness::Turn;
use helix_model::ids::{JobId, QueueName};
use helix_model::matching::fits_ever;
use helix_model::resources::Resources;
use helix_store::LaneId;
use tokio::time::Instant;

use super::{AgentKey, Board, Lane, Want, WantKey};
use crate::core::lane_item;

/// How many wants are kept although nothing wants them just now.
const SPARE_WANTS: usize = 1024;

/// How long a lane is left alone at most that had nothing to give: its items may be kept from agents,
/// and the store does not say for how long.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// How many agents must have come away with nothing before a lane is left alone.
const EMPTY_TAKES: u32 = 3;

impl Board {
    /// A reading of the lanes begins: what is taken while it lasts may or may not be in it.
    pub(crate) fn begin_reading(&mut self) {
        self.readings += 1;
    }

    /// Takes in what waits, all of it.
    pub(crate) fn set_lanes(
        &mut self,
        lanes: Vec<helix_store::Lane>,
        now: Instant,
        clock: SystemTime,
    ) {
        let mut gone: std::collections::BTreeSet<LaneId> = self.lanes.keys().copied().collect();
        for lane in lanes {
            gone.remove(&lane.id);
            self.set_lane(lane, now, clock);
        }
        for id in gone {
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.waiting = 0;
                self.settle_lane(id);
            }
        }
        self.drop_spare_wants();
    }

    fn set_lane(&mut self, read: helix_store::Lane, now: Instant, clock: SystemTime) {
        let id = read.id;
        let want = self.want(&read.queue, &read.demand);
        let job = self.jobs.entry(read.job.clone()).or_default();
        let running_changed = job.running != read.job_running;
        job.running = read.job_running;
        job.lanes.insert(id);
        let mut is_new = false;
        let lane = self.lanes.entry(id).or_insert_with(|| {
            is_new = true;
            Lane {
                job: read.job.clone(),
                want,
                queue_priority: read.queue_priority,
                job_priority: read.job_priority,
                waiting: 0,
                planned: 0,
                turn: None,
                paused: None,
                empty_takes: 0,
            }
        });
        if is_new && let Some(want) = self.wants.get_mut(&want) {
            want.lanes += 1;
        }
        let has_more = read.waiting > lane.waiting;
        lane.waiting = read.waiting;
        lane.queue_priority = read.queue_priority;
        lane.job_priority = read.job_priority;
        // What has come may be for those whom the rest was not for.
        if has_more {
            lane.empty_takes = 0;
            self.unblock_lane(id);
        }
        let wait = read
            .not_before
            .and_then(|at| at.duration_since(clock).ok())
            // A clock that is set must not leave it waiting for ever.
            .map(|wait| wait.min(LONGEST_PAUSE));
        match wait {
            Some(wait) => self.pause_lane(id, now + wait),
            None if has_more => self.resume_lane(id),
            None => {}
        }
        if running_changed {
            self.turn_job(&read.job);
        }
        self.settle_lane(id);
    }

    /// The want of a demand, made if need be.
    fn want(&mut self, queue: &QueueName, demand: &[u8]) -> WantKey {
        let name = (queue.clone(), demand.to_vec());
        if let Some(key) = self.want_keys.get(&name) {
            return *key;
        }
        let key = WantKey(self.key());
        let item = lane_item(queue, demand).map(Arc::new);
        if let Err(problems) = &item {
            tracing::error!(queue = %queue, problems = ?problems, "demand cannot be read");
        }
        let item = item.ok();
        let amounts = item
            .as_ref()
            .map_or(Resources::default(), |item| item.resources.amounts());
        self.want_keys.insert(name.clone(), key);
        self.wants.insert(
            key,
            Want {
                name,
                item,
                amounts,
                lanes: 0,
                ready: std::collections::BTreeSet::new(),
                able: std::collections::BTreeSet::new(),
                open: std::collections::BTreeSet::new(),
            },
        );
        let agents: Vec<AgentKey> = self.agents.keys().copied().collect();
        for agent in agents {
            if self.is_able(agent, key) {
                self.set_able(agent, key);
                self.settle_room(agent);
            }
        }
        key
    }

    /// Whether an agent that is there could ever run a want.
    pub(super) fn is_able(&self, agent: AgentKey, want: WantKey) -> bool {
        let item = self.wants.get(&want).and_then(|want| want.item.as_deref());
        let agent = self.agents.get(&agent).filter(|agent| agent.is_connected);
        let report = agent.and_then(|agent| agent.report.as_deref());
        item.zip(report)
            .is_some_and(|(item, report)| fits_ever(item, report))
    }

    /// Brings a lane into its place after a change: in its want if it has something to give, out of
    /// everything if nothing is left of it.
    pub(super) fn settle_lane(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        let Some(want) = self.wants.get_mut(&lane.want) else {
            return;
        };
        let job = self.jobs.get(&lane.job);
        let (running, served) = job.map_or((0, 0), |job| (job.running, job.served));
        let turn = (lane.waiting > lane.planned && lane.paused.is_none())
            .then(|| Turn::new(lane.queue_priority, lane.job_priority, running, served));
        if turn != lane.turn {
            if let Some(old) = lane.turn.take() {
                want.ready.remove(&(old, id));
            }
            if let Some(new) = turn {
                want.ready.insert((new, id));
                self.touched.insert(lane.want);
            }
            lane.turn = turn;
        } else if turn.is_some() {
            self.touched.insert(lane.want);
        }
        if lane.waiting == 0 && lane.planned == 0 {
            want.lanes = want.lanes.saturating_sub(1);
            if let Some(paused) = lane.paused {
                self.lanes_due.remove(&(paused, id));
            }
            let job = lane.job.clone();
            self.lanes.remove(&id);
            if let Some(known) = self.jobs.get_mut(&job) {
                known.lanes.remove(&id);
                if known.lanes.is_empty() {
                    // What it has running is read again with its next lane.
                    self.jobs.remove(&job);
                }
            }
        }
    }

    /// Brings all lanes of a job into their places.
    pub(super) fn turn_job(&mut self, job: &JobId) {
        let lanes: Vec<LaneId> = match self.jobs.get(job) {
            Some(job) => job.lanes.iter().copied().collect(),
            None => return,
        };
        for lane in lanes {
            self.settle_lane(lane);
        }
    }

    /// Nothing could be taken from a lane for an agent, or less than there seemed to be.
    pub(super) fn came_away_empty(&mut self, id: LaneId, now: Instant) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        lane.empty_takes = lane.empty_takes.saturating_add(1);
        if lane.empty_takes >= EMPTY_TAKES {
            let doublings = (lane.empty_takes - EMPTY_TAKES).min(8);
            let pause = FIRST_PAUSE * (1 << doublings);
            self.pause_lane(id, now + pause.min(LONGEST_PAUSE));
        }
    }

    fn pause_lane(&mut self, id: LaneId, until: Instant) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            if let Some(old) = lane.paused.replace(until) {
                self.lanes_due.remove(&(old, id));
            }
            self.lanes_due.insert((until, id));
            self.settle_lane(id);
        }
    }

    fn resume_lane(&mut self, id: LaneId) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            if let Some(old) = lane.paused.take() {
                self.lanes_due.remove(&(old, id));
            }
            self.settle_lane(id);
        }
    }

    /// Resumes the lanes whose pause is over.
    pub(super) fn resume_due_lanes(&mut self, now: Instant) {
        while let Some((at, id)) = self.lanes_due.first().copied() {
            if at > now {
                return;
            }
            self.lanes_due.remove(&(at, id));
            self.resume_lane(id);
        }
    }

    fn drop_spare_wants(&mut self) {
        if self.wants.len() <= SPARE_WANTS {
            return;
        }
        let spare: Vec<WantKey> = self
            .wants
            .iter()
            .filter(|(_, want)| want.lanes == 0)
            .map(|(key, _)| *key)
            .collect();
        for key in spare {
            let Some(want) = self.wants.remove(&key) else {
                continue;
            };
            self.want_keys.remove(&want.name);
            self.touched.remove(&key);
            for agent in want.able {
                if let Some(agent) = self.agents.get_mut(&agent) {
                    agent.able.remove(&key);
                    agent.open.remove(&key);
                    agent.refused.remove(&key);
                }
            }
        }
    }
}
