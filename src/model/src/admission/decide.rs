//! The decision itself, and what of the agent it looks at.

use std::time::{Duration, SystemTime};

use super::refusal::{CoolingDown, Installation, MissingMeasure, Phase, Refusal};
use crate::capability::{CapabilityName, CapabilitySet, CapabilityValue, Missing};
use crate::health::{Health, Trust};
use crate::ids::{AttemptId, JobId, QueueName, WorkItemId};
use crate::pressure::PressureLevel;
use crate::provisioning::Provisioning;
use crate::resources::{ResourceKind, Resources, Shortfall};
use crate::version::Version;
use crate::work_item::{Network, WorkItem};

/// Whether an agent takes work at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Availability {
    /// It does.
    #[default]
    Accepting,
    /// It finishes what it has.
    Draining {
        /// Since when.
        since: SystemTime,
    },
    /// It was taken out of service, by somebody or by a check of its own that failed.
    Offline {
        /// Why, in the words of whoever did it; may be empty.
        reason: String,
    },
}

/// All of an agent that bears on taking an item.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentSnapshot {
    /// Whether it takes work at all.
    pub availability: Availability,
    /// The queues that it serves; empty for all.
    pub queues: Vec<QueueName>,
    /// How far it can hold a command back.
    pub isolation: IsolationSnapshot,
    /// What the machine offers.
    pub capabilities: CapabilitySet,
    /// What it could install.
    pub provisioners: Vec<ProvisionerSnapshot>,
    /// How it has been doing.
    pub health: Health,
    /// All there is.
    pub total: Resources,
    /// What is neither reserved nor, as far as the system can tell, in other use. Slots without
    /// regard to pressure.
    pub free: Resources,
    /// How hard pressed the machine is.
    pub pressure: PressureLevel,
    /// How many attempts hold a reservation.
    pub running: usize,
    /// When one of them must have ended at the latest, if that is known.
    pub free_by: Option<SystemTime>,
    /// The attempts that the agent remembers, running or ended.
    pub attempts: Vec<KnownAttempt>,
}

/// How far an agent can hold a command back, as far as that decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IsolationSnapshot {
    /// What the agent's configuration requires and is not in force.
    pub missing: Vec<MissingMeasure>,
    /// Why a command cannot be kept from the network; none if it can.
    pub network: Option<MissingMeasure>,
}

/// An attempt that an agent remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownAttempt {
    /// The attempt.
    pub attempt: AttemptId,
    /// Its work item.
    pub work_item: WorkItemId,
    /// Its job.
    pub job: JobId,
    /// Which delivery of the item it was, counted from 1.
    pub delivery: u32,
    /// The newer attempt that took its place, if the agent was told so.
    pub superseded_by: Option<AttemptId>,
}

/// A provisioner as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvisionerSnapshot {
    /// Its name in the configuration.
    pub name: String,
    /// The capability that it brings.
    pub capability: CapabilityName,
    /// The versions that it brings; empty if it installs whichever is asked for.
    pub versions: Vec<Version>,
    /// How long it usually takes, if known.
    pub usual_duration: Option<Duration>,
    /// What it is doing.
    pub state: Provisioning,
}

impl ProvisionerSnapshot {
    /// Whether what is missing would be there once it has run.
    #[must_use]
    pub fn brings(&self, missing: &Missing) -> bool {
        self.capability == missing.name
            && (self.versions.is_empty()
                || missing
                    .wanted
                    .is_met_by(&CapabilityValue::versions(self.versions.clone())))
    }
}

/// What taking an item means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// What to reserve for it.
    pub reserve: Resources,
    /// Whether it is a trial of a machine that comes out of quarantine.
    pub standing: Standing,
}

/// As what an item is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// As one of many.
    Regular,
    /// Alone, to see whether the machine is well.
    Trial,
}

/// Decides whether an agent takes an item.
///
/// The checks, in this order; the first that does not hold is the answer:
///
/// 1. the attempt is new here and the newest of its item ([`Refusal::Duplicate`],
///    [`Refusal::Superseded`]);
/// 2. the agent is in service ([`Refusal::Offline`], [`Refusal::Draining`]);
/// 3. it serves the queue ([`Refusal::WrongQueue`]);
/// 4. it can hold the item back as far as it has to ([`Refusal::NotIsolated`]);
/// 5. the machine has as much as is wanted at all ([`Refusal::TooLarge`]);
/// 6. the machine is trusted ([`Refusal::Unhealthy`]);
/// 7. the tools are there ([`Refusal::MissingCapability`], [`Refusal::Provisioning`]);
/// 8. enough is free: slots, CPU, memory, disk.
///
/// Identity comes first, because a repeated request must be recognised whatever else has changed
/// since. What never changes comes before what passes by itself, so that nobody waits in vain for a
/// slot; and tools come before free resources, so that an installation starts while the machine is
/// busy.
///
/// # Errors
///
/// The refusal. Nothing has been reserved or started then; installations with [`Phase::ToStart`]
/// are for the caller to start.
pub fn decide(
    work_item: &WorkItem,
    agent: &AgentSnapshot,
    now: SystemTime,
) -> Result<Admission, Refusal> {
    check_identity(work_item, agent)?;
    check_availability(agent)?;
    check_queue(work_item, agent)?;
    check_isolation(work_item, agent)?;
    let reserve = work_item.resources.amounts();
    check_size(&reserve, agent)?;
    let standing = check_health(agent, now)?;
    check_capabilities(work_item, agent, now)?;
    check_free(&reserve, agent)?;
    Ok(Admission { reserve, standing })
}

fn check_identity(work_item: &WorkItem, agent: &AgentSnapshot) -> Result<(), Refusal> {
    let attempt = &work_item.attempt;
    if let Some(known) = agent
        .attempts
        .iter()
        .find(|known| known.attempt == *attempt)
    {
        return Err(match &known.superseded_by {
            Some(by) => Refusal::Superseded {
                attempt: attempt.clone(),
                by: by.clone(),
            },
            None => Refusal::Duplicate {
                attempt: attempt.clone(),
            },
        });
    }
    let newer = agent
        .attempts
        .iter()
        .filter(|known| known.work_item == work_item.id && known.job == work_item.job)
        .filter(|known| known.delivery > work_item.delivery.number())
        .max_by_key(|known| known.delivery);
    match newer {
        Some(newer) => Err(Refusal::Superseded {
            attempt: attempt.clone(),
            by: newer.attempt.clone(),
        }),
        None => Ok(()),
    }
}

fn check_availability(agent: &AgentSnapshot) -> Result<(), Refusal> {
    match &agent.availability {
        Availability::Accepting => Ok(()),
        Availability::Draining { since } => Err(Refusal::Draining { since: *since }),
        Availability::Offline { reason } => Err(Refusal::Offline {
            reason: reason.clone(),
        }),
    }
}

fn check_queue(work_item: &WorkItem, agent: &AgentSnapshot) -> Result<(), Refusal> {
    if agent.queues.is_empty() || agent.queues.contains(&work_item.queue) {
        return Ok(());
    }
    Err(Refusal::WrongQueue {
        asked: work_item.queue.clone(),
        served: agent.queues.clone(),
    })
}

fn check_isolation(work_item: &WorkItem, agent: &AgentSnapshot) -> Result<(), Refusal> {
    let IsolationSnapshot { missing, network } = &agent.isolation;
    let mut missing = missing.clone();
    match work_item.network {
        Network::Machine => {}
        // It may be required besides.
        Network::None => missing.extend(network.clone().filter(|it| !missing.contains(it))),
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Refusal::NotIsolated { missing })
    }
}

fn check_size(reserve: &Resources, agent: &AgentSnapshot) -> Result<(), Refusal> {
    let shortfalls = agent.total.shortfalls(reserve);
    if shortfalls.is_empty() {
        Ok(())
    } else {
        Err(Refusal::TooLarge { shortfalls })
    }
}

fn check_health(agent: &AgentSnapshot, now: SystemTime) -> Result<Standing, Refusal> {
    match agent.health.trust(agent.running, now) {
        Trust::Full => Ok(Standing::Regular),
        Trust::OneTrial => Ok(Standing::Trial),
        Trust::Withheld { failures, until } => Err(Refusal::Unhealthy { failures, until }),
    }
}

fn check_capabilities(
    work_item: &WorkItem,
    agent: &AgentSnapshot,
    now: SystemTime,
) -> Result<(), Refusal> {
    let missing = agent.capabilities.missing(&work_item.requirements);
    if missing.is_empty() {
        Ok(())
    } else {
        Err(refuse_missing(missing, &agent.provisioners, now))
    }
}

/// The refusal for tools that a machine lacks, required by the request or found in the payload.
///
/// `missing` must not be empty.
#[must_use]
pub fn refuse_missing(
    missing: Vec<Missing>,
    provisioners: &[ProvisionerSnapshot],
    now: SystemTime,
) -> Refusal {
    let mut installations = Vec::new();
    let mut cooling_down = Vec::new();
    for missing in &missing {
        // The order of the configuration decides between several that could bring the same.
        let mut able = provisioners
            .iter()
            .filter(|provisioner| provisioner.brings(missing));
        let ready = able.clone().find_map(|provisioner| {
            Some(Installation {
                provisioner: provisioner.name.clone(),
                missing: missing.clone(),
                phase: phase(provisioner, now)?,
            })
        });
        match ready {
            Some(installation) => installations.push(installation),
            None => cooling_down.extend(able.find_map(|provisioner| match &provisioner.state {
                Provisioning::Idle | Provisioning::Running { .. } => None,
                Provisioning::CoolingDown {
                    until,
                    last_error,
                    failures: _,
                } => Some(CoolingDown {
                    provisioner: provisioner.name.clone(),
                    missing: missing.clone(),
                    until: *until,
                    last_error: last_error.clone(),
                }),
            })),
        }
    }
    if installations.len() == missing.len() {
        Refusal::Provisioning { installations }
    } else {
        Refusal::MissingCapability {
            missing,
            installations,
            cooling_down,
        }
    }
}

/// How far the installation by a provisioner is; none while it cools down.
fn phase(provisioner: &ProvisionerSnapshot, now: SystemTime) -> Option<Phase> {
    match &provisioner.state {
        Provisioning::Running {
            since,
            expected_end,
            ..
        } => Some(Phase::UnderWay {
            since: *since,
            expected_end: *expected_end,
        }),
        state if state.may_start(now) => Some(Phase::ToStart {
            expected_end: provisioner
                .usual_duration
                .and_then(|usual| now.checked_add(usual)),
        }),
        Provisioning::Idle | Provisioning::CoolingDown { .. } => None,
    }
}

fn check_free(reserve: &Resources, agent: &AgentSnapshot) -> Result<(), Refusal> {
    let in_use = agent.total.slots.saturating_sub(agent.free.slots);
    let slots = agent.pressure.effective_slots(agent.total.slots, in_use);
    let free = Resources {
        slots: slots.saturating_sub(in_use),
        ..agent.free
    };
    let Some(Shortfall {
        kind,
        wanted,
        available,
    }) = free.shortfalls(reserve).into_iter().next()
    else {
        return Ok(());
    };
    let free_by = agent.free_by;
    Err(match kind {
        ResourceKind::Slots => Refusal::SlotsFull {
            slots: agent.total.slots,
            wanted: reserve.slots,
            free: free.slots,
            pressure: agent.pressure,
            free_by,
        },
        ResourceKind::Cpu => Refusal::CpuShort {
            wanted,
            free: available,
            total: agent.total.cpu_millis,
            free_by,
        },
        ResourceKind::Memory => Refusal::MemoryShort {
            wanted,
            free: available,
            total: agent.total.memory_bytes,
            free_by,
        },
        ResourceKind::Disk => Refusal::DiskShort {
            wanted,
            free: available,
            total: agent.total.disk_bytes,
            free_by,
        },
    })
}
