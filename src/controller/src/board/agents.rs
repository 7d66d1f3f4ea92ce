//! Who has room.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use helix_model::ids::{AttemptId, JobId};
use helix_model::matching::{AgentReport, ReportedState, fits_ever, withheld};
use helix_model::resources::Resources;
use helix_model::work_item::WorkItem;
use helix_store::{AgentName, LaneId};
use tokio::time::Instant;

use super::{Agent, AgentKey, Board, WantKey};

/// An attempt of this controller at an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeldAt {
    /// What it holds there.
    pub(crate) reserve: Resources,
    /// Its job.
    pub(crate) job: JobId,
}

impl Board {
    /// An agent said something of itself. Returns the attempts that it runs and this controller knows
    /// nothing of.
    pub(crate) fn reported(&mut self, name: &AgentName, report: AgentReport) -> Vec<AttemptId> {
        let key = self.agent_key(name);
        let Some(agent) = self.agents.get_mut(&key) else {
            return Vec::new();
        };
        let is_as_before = agent.is_connected
            && agent.report.as_ref().is_some_and(|before| {
                before.queues == report.queues
                    && before.total == report.total
                    && before.capabilities == report.capabilities
            });
        let running: BTreeSet<&AttemptId> = report
            .running
            .iter()
            .map(|running| &running.attempt)
            .collect();
        agent.ended.retain(|attempt, _| running.contains(attempt));
        let strangers = running
            .iter()
            .filter(|attempt| {
                !agent.held.contains_key(**attempt) && !agent.ended.contains_key(**attempt)
            })
            .map(|attempt| (*attempt).clone())
            .collect();
        agent.report = Some(Arc::new(report));
        agent.is_connected = true;
        // What it says now is newer than what it said when it refused.
        agent.full_until = None;
        if !is_as_before {
            // Tools that were missing may be there now.
            agent.refused.clear();
            self.settle_able(key);
        }
        self.settle_room(key);
        strangers
    }

    /// There is no line to an agent any more.
    pub(crate) fn disconnected(&mut self, name: &AgentName) {
        let key = self.agent_key(name);
        if let Some(agent) = self.agents.get_mut(&key) {
            agent.is_connected = false;
            self.settle_able(key);
            self.settle_room(key);
        }
    }

    /// This controller has an attempt at an agent that it did not plan: one that it took over. Nothing
    /// new goes there before [`Board::attached`].
    pub(crate) fn adopted(&mut self, name: &AgentName, attempt: &AttemptId, held: HeldAt) {
        let key = self.agent_key(name);
        if let Some(agent) = self.agents.get_mut(&key) {
            agent.attaching.insert(attempt.clone());
            agent.held.insert(attempt.clone(), held);
            self.settle_room(key);
        }
    }

    /// The agent has said what became of an attempt that was taken over, if anything.
    pub(crate) fn attached(&mut self, name: &AgentName, attempt: &AttemptId) {
        let key = self.agent_key(name);
        if let Some(agent) = self.agents.get_mut(&key)
            && agent.attaching.remove(attempt)
        {
            self.settle_room(key);
        }
    }

    /// An attempt holds nothing at its agent any more, or never did.
    pub(crate) fn released(&mut self, name: &AgentName, attempt: &AttemptId) {
        let key = self.agent_key(name);
        let Some(agent) = self.agents.get_mut(&key) else {
            return;
        };
        agent.attaching.remove(attempt);
        let Some(held) = agent.held.remove(attempt) else {
            return;
        };
        let is_reported = agent.report.as_ref().is_some_and(|report| {
            let mut running = report.running.iter();
            running.any(|running| running.attempt == *attempt)
        });
        if is_reported {
            agent.ended.insert(attempt.clone(), held.reserve);
        }
        if let Some(job) = self.jobs.get_mut(&held.job) {
            job.running = job.running.saturating_sub(1);
            self.turn_job(&held.job);
        }
        self.settle_room(key);
    }

    /// An agent refused an attempt of a lane: it is left alone with what that lane wants for a time,
    /// or altogether, as it says to be full.
    pub(crate) fn refused(
        &mut self,
        name: &AgentName,
        want: &(helix_model::ids::QueueName, Vec<u8>),
        is_full: bool,
        until: Instant,
    ) {
        let key = self.agent_key(name);
        let want = self.want_keys.get(want).copied();
        let Some(agent) = self.agents.get_mut(&key) else {
            return;
        };
        if is_full {
            agent.full_until = Some(until);
        } else if let Some(want) = want {
            agent.refused.insert(want, until);
        }
        self.agents_due.insert((until, key));
        self.settle_room(key);
    }

    /// Whether an agent other than this one is there that could ever run an item.
    pub(crate) fn another_could(&self, item: &WorkItem, except: &AgentName) -> bool {
        self.agents.values().any(|agent| {
            agent.is_connected
                && agent.name != *except
                && agent
                    .report
                    .as_deref()
                    .is_some_and(|report| withheld(report).is_none() && fits_ever(item, report))
        })
    }

    pub(super) fn agent_key(&mut self, name: &AgentName) -> AgentKey {
        if let Some(key) = self.agent_keys.get(name) {
            return *key;
        }
        let key = AgentKey(self.key());
        self.agent_keys.insert(name.clone(), key);
        self.agents.insert(
            key,
            Agent {
                name: name.clone(),
                report: None,
                is_connected: false,
                attaching: BTreeSet::new(),
                held: std::collections::BTreeMap::new(),
                ended: std::collections::BTreeMap::new(),
                free: Resources::default(),
                load: 0,
                able: BTreeSet::new(),
                open: BTreeSet::new(),
                full_until: None,
                refused: std::collections::BTreeMap::new(),
                empty: std::collections::BTreeMap::new(),
            },
        );
        key
    }

    /// Works out anew which wants an agent could ever run.
    fn settle_able(&mut self, key: AgentKey) {
        let wants: Vec<WantKey> = self.wants.keys().copied().collect();
        for want in wants {
            if self.is_able(key, want) {
                self.set_able(key, want);
            } else {
                self.set_unable(key, want);
            }
        }
    }

    pub(super) fn set_able(&mut self, key: AgentKey, want: WantKey) {
        if let (Some(agent), Some(wanted)) = (self.agents.get_mut(&key), self.wants.get_mut(&want))
        {
            agent.able.insert(want);
            wanted.able.insert(key);
        }
    }

    fn set_unable(&mut self, key: AgentKey, want: WantKey) {
        if let (Some(agent), Some(wanted)) = (self.agents.get_mut(&key), self.wants.get_mut(&want))
        {
            agent.able.remove(&want);
            wanted.able.remove(&key);
            if agent.open.remove(&want) {
                wanted.open.remove(&(agent.load, key));
            }
        }
    }

    /// Works out anew what is free at an agent, and which wants that is enough for.
    pub(super) fn settle_room(&mut self, key: AgentKey) {
        let Some(agent) = self.agents.get_mut(&key) else {
            return;
        };
        let before = agent.load;
        (agent.free, agent.load) = room(agent);
        let takes_any = takes_work(agent);
        for want in agent.able.clone() {
            let Some(wanted) = self.wants.get_mut(&want) else {
                continue;
            };
            let is_open = takes_any
                && !agent.refused.contains_key(&want)
                && agent.free.shortfalls(&wanted.amounts).is_empty();
            if agent.open.contains(&want) {
                wanted.open.remove(&(before, key));
            }
            if is_open {
                wanted.open.insert((agent.load, key));
                agent.open.insert(want);
                if !wanted.ready.is_empty() {
                    self.touched.insert(want);
                }
            } else {
                agent.open.remove(&want);
            }
        }
    }

    /// Lets agents have again what they were kept from until now.
    pub(super) fn reopen_due_agents(&mut self, now: Instant) {
        while let Some((at, key)) = self.agents_due.first().copied() {
            if at > now {
                return;
            }
            self.agents_due.remove(&(at, key));
            let Some(agent) = self.agents.get_mut(&key) else {
                continue;
            };
            agent.full_until = agent.full_until.filter(|until| *until > now);
            agent.refused.retain(|_, until| *until > now);
            self.settle_room(key);
        }
    }

    /// A lane had nothing for an agent: it is not asked for a while.
    pub(super) fn block_lane(&mut self, key: AgentKey, lane: LaneId, now: Instant) {
        /// The first wait, and the longest.
        const FIRST: Duration = Duration::from_secs(1);
        const MOST: Duration = Duration::from_secs(30);
        let Some(agent) = self.agents.get_mut(&key) else {
            return;
        };
        let times = agent.empty.get(&lane).map_or(0, |(_, times)| *times);
        let wait = (FIRST * (1 << times.min(5))).min(MOST);
        // What is long over and of no lane any more.
        if agent.empty.len() > 64 {
            agent.empty.retain(|lane, _| self.lanes.contains_key(lane));
        }
        agent.empty.insert(lane, (now + wait, times + 1));
        self.agents_due.insert((now + wait, key));
    }

    /// Something new waits in a lane.
    pub(super) fn unblock_lane(&mut self, lane: LaneId) {
        let Some(want) = self.lanes.get(&lane).map(|lane| lane.want) else {
            return;
        };
        let able = self.wants.get(&want).map(|want| want.able.clone());
        for agent in able.unwrap_or_default() {
            if let Some(agent) = self.agents.get_mut(&agent) {
                agent.empty.remove(&lane);
            }
        }
    }
}

/// What is free at an agent, and how loaded it is.
fn room(agent: &Agent) -> (Resources, u32) {
    let Some(report) = agent.report.as_deref() else {
        return (Resources::default(), 0);
    };
    let reported: BTreeSet<&AttemptId> = report
        .running
        .iter()
        .map(|running| &running.attempt)
        .collect();
    let ended = agent.ended.values();
    let mut free = ended.fold(report.free, |free, amount| free.plus(*amount));
    for (attempt, held) in &agent.held {
        if !reported.contains(attempt) {
            free = free.minus(held.reserve);
        }
    }
    let free = free.least(report.total);
    let used = report.total.slots.saturating_sub(free.slots);
    let load = u64::from(used) * 1000 / u64::from(report.total.slots.max(1));
    (free, u32::try_from(load).unwrap_or(u32::MAX))
}

/// Whether an agent takes anything at all.
fn takes_work(agent: &Agent) -> bool {
    let Some(report) = agent.report.as_deref().filter(|_| agent.is_connected) else {
        return false;
    };
    let is_on_trial = report.state == ReportedState::Probation;
    withheld(report).is_none()
        && agent.attaching.is_empty()
        && agent.full_until.is_none()
        && (!is_on_trial || agent.held.is_empty())
}
