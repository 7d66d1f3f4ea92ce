//! Who gets what.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use helix_model::ids::{AttemptId, QueueName};
use helix_store::{AgentName, LaneId};
use tokio::time::Instant;

use super::{AgentKey, Board, HeldAt, WantKey};

/// The most items that are taken in one call of the store.
const BATCH: usize = 64;

/// Items of a lane that are to go to an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// To whom.
    pub(crate) agent: AgentName,
    /// From where.
    pub(crate) lane: LaneId,
    /// What the lane wants: its queue and demand.
    pub(crate) want: (QueueName, Vec<u8>),
    /// One for each item; at least one.
    pub(crate) attempts: Vec<AttemptId>,
    /// After which reading of the lanes it was made.
    reading: u64,
}

impl Board {
    /// Decides who gets what of all that there is room for. What is planned counts as taken until
    /// [`Board::taken`] says what became of it.
    pub(crate) fn plan(
        &mut self,
        now: Instant,
        mut new_attempt: impl FnMut() -> AttemptId,
    ) -> Vec<Plan> {
        self.resume_due_lanes(now);
        self.reopen_due_agents(now);
        let mut given: BTreeMap<(AgentKey, LaneId), Vec<AttemptId>> = BTreeMap::new();
        while let Some(want) = self.touched.pop_first() {
            let mut tried: Option<(u32, AgentKey)> = None;
            while let Some(wanted) = self.wants.get(&want) {
                if wanted.ready.is_empty() {
                    break;
                }
                let from = tried.map_or(Bound::Unbounded, Bound::Excluded);
                let Some(next) = wanted.open.range((from, Bound::Unbounded)).next().copied() else {
                    break;
                };
                match self.best_lane(next.1, now) {
                    Some(lane) => {
                        let attempt = new_attempt();
                        self.give(next.1, lane, &attempt);
                        given.entry((next.1, lane)).or_default().push(attempt);
                    }
                    // All that is there was not for this one.
                    None => tried = Some(next),
                }
            }
        }
        let mut plans = Vec::new();
        for ((agent, lane), attempts) in given {
            let (Some(agent), Some(from)) = (self.agents.get(&agent), self.lanes.get(&lane)) else {
                continue;
            };
            let Some(want) = self.wants.get(&from.want) else {
                continue;
            };
            for attempts in attempts.chunks(BATCH) {
                plans.push(Plan {
                    agent: agent.name.clone(),
                    lane,
                    want: want.name.clone(),
                    attempts: attempts.to_vec(),
                    reading: self.readings,
                });
            }
        }
        plans
    }

    /// Whose turn it is of the lanes that an agent has room for.
    fn best_lane(&self, key: AgentKey, now: Instant) -> Option<LaneId> {
        let agent = self.agents.get(&key)?;
        let is_blocked =
            |lane: &LaneId| agent.empty.get(lane).is_some_and(|(until, _)| *until > now);
        let wants = agent.open.iter().filter_map(|want| self.wants.get(want));
        wants
            .filter_map(|want| want.ready.iter().find(|(_, lane)| !is_blocked(lane)))
            .min()
            .map(|(_, lane)| *lane)
    }

    fn give(&mut self, key: AgentKey, lane: LaneId, attempt: &AttemptId) {
        self.served += 1;
        let Some(from) = self.lanes.get_mut(&lane) else {
            return;
        };
        from.planned += 1;
        let job = from.job.clone();
        let reserve = self
            .wants
            .get(&from.want)
            .map(|want| want.amounts)
            .unwrap_or_default();
        if let Some(job) = self.jobs.get_mut(&job) {
            job.running += 1;
            job.served = self.served;
        }
        if let Some(agent) = self.agents.get_mut(&key) {
            let held = HeldAt {
                reserve,
                job: job.clone(),
            };
            agent.held.insert(attempt.clone(), held);
        }
        self.turn_job(&job);
        self.settle_room(key);
    }

    /// What became of a plan: which of its attempts were taken. Whether the lanes should be read
    /// again, as they are not what they seemed.
    pub(crate) fn taken(&mut self, plan: &Plan, ids: &BTreeSet<AttemptId>, now: Instant) -> bool {
        let (count, taken) = (plan.attempts.len(), ids.len());
        let was_read_meanwhile = plan.reading != self.readings;
        if let Some(lane) = self.lanes.get_mut(&plan.lane) {
            lane.planned = lane.planned.saturating_sub(count as u64);
            // A reading since then may have them out already; the next one will know.
            if !was_read_meanwhile {
                lane.waiting = lane.waiting.saturating_sub(taken as u64);
            }
            if taken > 0 {
                lane.empty_takes = 0;
            }
        }
        for attempt in plan.attempts.iter().filter(|id| !ids.contains(*id)) {
            self.released(&plan.agent, attempt);
        }
        if taken < count {
            let key = self.agent_key(&plan.agent);
            self.block_lane(key, plan.lane, now);
            if taken == 0 {
                self.came_away_empty(plan.lane, now);
            }
        } else {
            let key = self.agent_key(&plan.agent);
            if let Some(agent) = self.agents.get_mut(&key) {
                agent.empty.remove(&plan.lane);
            }
        }
        self.settle_lane(plan.lane);
        taken < count || was_read_meanwhile
    }

    /// The wants that nobody who is there could ever run.
    pub(crate) fn hopeless(&self) -> usize {
        let is_hopeless = |key: &WantKey| {
            self.wants
                .get(key)
                .is_some_and(|want| want.lanes > 0 && want.able.is_empty())
        };
        self.wants.keys().filter(|key| is_hopeless(key)).count()
    }
}
