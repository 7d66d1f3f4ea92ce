//! Whether an agent could run what waits, judged from afar by what the agent said of itself last.
//!
//! The words are those of admission, so that "why does nobody take it" is answered by the same code
//! that decides whom to ask. The agent has the last word all the same: what it reported may be old,
//! and some of what it decides by it does not report.

mod nearest;

pub use nearest::nearest_misses;

use std::time::SystemTime;

use crate::admission::{AgentSnapshot, Availability, Refusal, decide};
use crate::capability::CapabilitySet;
use crate::health::Health;
use crate::ids::{AttemptId, FriendlyName, JobId, QueueName, WorkItemId};
use crate::resources::Resources;
use crate::work_item::WorkItem;

/// What an agent said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentReport {
    /// Whether it takes work.
    pub state: ReportedState,
    /// Why it does not, or takes less, one sentence each.
    pub reasons: Vec<String>,
    /// Its version.
    pub version: String,
    /// The queues that it serves; empty for all.
    pub queues: Vec<QueueName>,
    /// Operating system and version in words.
    pub operating_system: String,
    /// Such as `x86_64` or `aarch64`.
    pub architecture: String,
    /// Changes with each boot of the machine.
    pub boot_id: String,
    /// All that may be given to work items.
    pub total: Resources,
    /// What is free of it; slots under present pressure.
    pub free: Resources,
    /// What holds resources.
    pub running: Vec<ReportedAttempt>,
    /// What the machine has.
    pub capabilities: CapabilitySet,
    /// Isolation in force for every work item, in words.
    pub isolation: Vec<String>,
    /// Isolation that is not in force, and why.
    pub degraded: Vec<String>,
}

/// Whether an agent takes work, in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportedState {
    /// It does.
    Ready,
    /// It will again once a slot is free.
    Full,
    /// It finishes what it has.
    Draining {
        /// Since when.
        since: SystemTime,
    },
    /// It was taken out of service.
    Offline,
    /// It failed too often in a row.
    Quarantined {
        /// When it will be tried again, if it said so.
        until: Option<SystemTime>,
    },
    /// It takes one item at a time after a quarantine.
    Probation,
    /// Isolation that its configuration requires is not in force.
    NotIsolated,
}

/// An attempt that holds resources of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedAttempt {
    /// The attempt.
    pub attempt: AttemptId,
    /// Its item.
    pub work_item: WorkItemId,
    /// Its job.
    pub job: JobId,
    /// What people call the item.
    pub friendly_name: FriendlyName,
    /// What it holds.
    pub reserved: Resources,
}

/// Why an agent would not run an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    /// It would refuse it.
    Refused(Refusal),
    /// It takes nothing at all just now.
    Withheld {
        /// The reason in capitals, as in a refusal.
        reason: &'static str,
        /// Why, in its own words; one line without a full stop.
        message: String,
    },
}

impl Misfit {
    /// A stable name of the reason, for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.reason(),
            Self::Withheld { reason, .. } => reason,
        }
    }

    /// Why, in one line without a full stop.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Refused(refusal) => refusal.sentence(),
            Self::Withheld { message, .. } => message.clone(),
        }
    }

    /// Whether it may pass without anybody changing the item, the machine or its configuration.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.retriable(),
            Self::Withheld { .. } => true,
        }
    }
}

/// Whether an agent could run an item if nothing else ran there and it took work: queue, size, tools.
///
/// # Errors
///
/// Why it never could, as it is.
pub fn could_ever(
    work_item: &WorkItem,
    agent: &AgentReport,
    now: SystemTime,
) -> Result<(), Refusal> {
    let idle = AgentSnapshot {
        free: agent.total,
        ..snapshot(agent)
    };
    decide(work_item, &idle, now).map(drop)
}

/// The same as [`could_ever`] without the reason, for those who ask it of very many.
#[must_use]
pub fn fits_ever(work_item: &WorkItem, agent: &AgentReport) -> bool {
    (agent.queues.is_empty() || agent.queues.contains(&work_item.queue))
        && agent
            .total
            .shortfalls(&work_item.resources.amounts())
            .is_empty()
        && agent
            .capabilities
            .missing(&work_item.requirements)
            .is_empty()
}

/// Whether an agent could take an item now, with so much free.
///
/// # Errors
///
/// Why not. What never changes comes before what passes by itself.
pub fn could_now(
    work_item: &WorkItem,
    agent: &AgentReport,
    free: Resources,
    now: SystemTime,
) -> Result<(), Misfit> {
    could_ever(work_item, agent, now).map_err(Misfit::Refused)?;
    if let Some(misfit) = withheld(agent) {
        return Err(misfit);
    }
    let present = AgentSnapshot {
        free,
        ..snapshot(agent)
    };
    decide(work_item, &present, now)
        .map(drop)
        .map_err(Misfit::Refused)
}

/// Why an agent takes nothing at all; none if it does.
#[must_use]
pub fn withheld(agent: &AgentReport) -> Option<Misfit> {
    let (reason, otherwise) = match agent.state {
        ReportedState::Ready | ReportedState::Full => return None,
        ReportedState::Draining { since } => {
            return Some(Misfit::Refused(Refusal::Draining { since }));
        }
        ReportedState::Probation if agent.running.is_empty() => return None,
        ReportedState::Probation => (
            "UNHEALTHY",
            "this machine is on probation, one item at a time, and one is running",
        ),
        ReportedState::Offline => ("OFFLINE", "this machine was taken out of service"),
        ReportedState::Quarantined { .. } => ("UNHEALTHY", "this machine is in quarantine"),
        ReportedState::NotIsolated => (
            "NOT_ISOLATED",
            "this machine cannot hold work items back as its configuration requires",
        ),
    };
    let message = if agent.reasons.is_empty() {
        otherwise.to_owned()
    } else {
        agent.reasons.join("; ")
    };
    Some(Misfit::Withheld { reason, message })
}

/// An agent as admission sees it, as far as it reports that. Pressure has been taken off the free
/// slots, so that it does not count again.
fn snapshot(agent: &AgentReport) -> AgentSnapshot {
    AgentSnapshot {
        availability: Availability::Accepting,
        queues: agent.queues.clone(),
        capabilities: agent.capabilities.clone(),
        health: Health::default(),
        total: agent.total,
        free: agent.free,
        running: agent.running.len(),
        ..AgentSnapshot::default()
    }
}

#[cfg(test)]
mod tests;
