//! Who has room, and what waits: the two sides that the scheduler brings together.
//!
//! Synchronous and without a clock. Nothing here is remembered: after a restart it is built anew from
//! the store and from what agents say. What it costs follows what changed, not how much there is:
//!
//! - Lanes that want the same are one **want**. Which agents could ever run a want is worked out
//!   when either of them is new or changes.
//! - Each want knows the agents that have room for it now (**open**), the least loaded first, and its
//!   lanes with something to give, in the order of their turns.
//! - [`Board::plan`] looks only at wants that something happened to.
//!
//! An agent's room is what it reported, less what was sent there since and is not in the report, plus
//! what is in the report and has ended since. So neither a late report nor a quick end leads to too
//! many offers or too few.

mod agents;
mod lanes;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use helix_model::fairness::Turn;
use helix_model::ids::{AttemptId, JobId, QueueName};
use helix_model::matching::AgentReport;
use helix_model::resources::Resources;
use helix_model::work_item::WorkItem;
use helix_store::{AgentName, LaneId};
use tokio::time::Instant;

pub(crate) use agents::HeldAt;
pub(crate) use plan::Plan;

/// An agent, for the length of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct AgentKey(u32);

/// A want, for the length of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct WantKey(u32);

/// All that waits, and who has room.
#[derive(Debug, Default)]
pub(crate) struct Board {
    lanes: BTreeMap<LaneId, Lane>,
    jobs: BTreeMap<JobId, Job>,
    wants: BTreeMap<WantKey, Want>,
    want_keys: BTreeMap<(QueueName, Vec<u8>), WantKey>,
    agents: BTreeMap<AgentKey, Agent>,
    agent_keys: BTreeMap<AgentName, AgentKey>,
    /// Wants that something happened to since the last plan.
    touched: BTreeSet<WantKey>,
    /// When to look at an agent again, as a time is over that it was kept from something.
    agents_due: BTreeSet<(Instant, AgentKey)>,
    /// The same for lanes.
    lanes_due: BTreeSet<(Instant, LaneId)>,
    next_key: u32,
    /// Counts what was given out, so that who was served longest ago can be told.
    served: u64,
    /// Counts readings of the lanes.
    readings: u64,
}

/// The waiting items of one job that want the same.
#[derive(Debug)]
struct Lane {
    job: JobId,
    want: WantKey,
    queue_priority: i32,
    job_priority: i32,
    /// As the store said last, less what was taken since.
    waiting: u64,
    /// Of these, how many are being taken.
    planned: u64,
    /// Its place in its want, if it is there.
    turn: Option<Turn>,
    /// Until when nothing is taken from it.
    paused: Option<Instant>,
    /// How often in a row nothing could be taken from it.
    empty_takes: u32,
}

/// What a job has running.
#[derive(Debug, Default)]
struct Job {
    running: u64,
    served: u64,
    lanes: BTreeSet<LaneId>,
}

/// What some lanes want of a machine.
#[derive(Debug)]
struct Want {
    name: (QueueName, Vec<u8>),
    /// None if it cannot be read: nobody can run it then.
    item: Option<Arc<WorkItem>>,
    amounts: Resources,
    /// All its lanes.
    lanes: u32,
    /// Those with something to give.
    ready: BTreeSet<(Turn, LaneId)>,
    /// Agents that are there and could ever run it.
    able: BTreeSet<AgentKey>,
    /// Of these, those with room for it now, by their load.
    open: BTreeSet<(u32, AgentKey)>,
}

/// An agent and its room.
#[derive(Debug)]
struct Agent {
    name: AgentName,
    report: Option<Arc<AgentReport>>,
    is_connected: bool,
    /// Attempts that must be attached to before anything new is offered.
    attaching: BTreeSet<AttemptId>,
    /// What this controller has there, or on its way there.
    held: BTreeMap<AttemptId, HeldAt>,
    /// What has ended since it was reported as running.
    ended: BTreeMap<AttemptId, Resources>,
    free: Resources,
    /// Slots in use, in thousandths of all.
    load: u32,
    /// Wants that it could ever run, and of these those that it is open to.
    able: BTreeSet<WantKey>,
    open: BTreeSet<WantKey>,
    /// Until when it takes nothing, as it said to be full although it seemed not to be.
    full_until: Option<Instant>,
    /// Wants that it refused, and until when it is kept from them.
    refused: BTreeMap<WantKey, Instant>,
    /// Lanes that had nothing for it, and until when and how often in a row.
    empty: BTreeMap<LaneId, (Instant, u32)>,
}

impl Board {
    fn key(&mut self) -> u32 {
        self.next_key = self.next_key.wrapping_add(1);
        self.next_key
    }

    /// When there may be something to plan by the passing of time alone.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let agent = self.agents_due.first().map(|(at, _)| *at);
        let lane = self.lanes_due.first().map(|(at, _)| *at);
        agent.into_iter().chain(lane).min()
    }

    /// How many items wait, as far as is known.
    pub(crate) fn waiting(&self) -> u64 {
        self.lanes.values().map(|lane| lane.waiting).sum()
    }

    /// Whether this controller has an attempt at an agent, or on its way there.
    pub(crate) fn holds(&self, name: &AgentName, attempt: &AttemptId) -> bool {
        let agent = self
            .agent_keys
            .get(name)
            .and_then(|key| self.agents.get(key));
        agent.is_some_and(|agent| agent.held.contains_key(attempt))
    }

    /// What an agent said of itself last, and what is free there.
    pub(crate) fn agent(&self, name: &AgentName) -> (Option<Arc<AgentReport>>, Resources) {
        let agent = self
            .agent_keys
            .get(name)
            .and_then(|key| self.agents.get(key));
        agent.map_or((None, Resources::default()), |agent| {
            (agent.report.clone(), agent.free)
        })
    }
}

#[cfg(test)]
mod tests;
