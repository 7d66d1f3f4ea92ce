//! Why an agent does not take a work item, for programs and for people.

use std::fmt;
use std::time::{Duration, SystemTime};

use super::sentence::sentence;
use crate::capability::Missing;
use crate::ids::{AttemptId, QueueName};
use crate::pressure::PressureLevel;
use crate::resources::Shortfall;

/// Why an agent does not take a work item. A refusal never costs the item an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The request itself is wrong.
    BadRequest {
        /// Everything that is wrong with it; never empty.
        problems: Vec<FieldProblem>,
    },
    /// The attempt is known here already, running or ended.
    Duplicate {
        /// The attempt.
        attempt: AttemptId,
    },
    /// A newer attempt of the same item is known here.
    Superseded {
        /// The attempt that came too late.
        attempt: AttemptId,
        /// The newer one.
        by: AttemptId,
    },
    /// The machine was taken out of service, by somebody or by a check of its own that failed.
    Offline {
        /// Why, in the words of whoever did it; may be empty.
        reason: String,
    },
    /// The agent finishes what it has and takes nothing new.
    Draining {
        /// Since when.
        since: SystemTime,
    },
    /// The item was sent to a queue that this agent does not serve.
    WrongQueue {
        /// The item's queue.
        asked: QueueName,
        /// The agent's queues.
        served: Vec<QueueName>,
    },
    /// The machine cannot hold the item back as far as the agent's configuration or the item
    /// itself asks for.
    NotIsolated {
        /// Everything that is asked for and not in force; never empty.
        missing: Vec<MissingMeasure>,
    },
    /// The machine failed too often in a row.
    Unhealthy {
        /// How often.
        failures: u32,
        /// When it will be tried again; none while a trial item is running.
        until: Option<SystemTime>,
    },
    /// The item wants more than this machine has at all.
    TooLarge {
        /// Everything of which it wants too much, against the machine's total; never empty.
        shortfalls: Vec<Shortfall>,
    },
    /// Tools are missing, and what is missing cannot all be installed now.
    MissingCapability {
        /// Everything that is missing; never empty.
        missing: Vec<Missing>,
        /// Installations of some of it, under way or about to start; fewer than there are missing
        /// tools.
        installations: Vec<Installation>,
        /// Installations that failed and will be tried again later.
        cooling_down: Vec<CoolingDown>,
    },
    /// Tools are missing, and all of them are being installed or about to be.
    Provisioning {
        /// One entry for each missing tool; never empty.
        installations: Vec<Installation>,
    },
    /// Not enough slots are free.
    SlotsFull {
        /// How many the machine has.
        slots: u32,
        /// How many the item wants.
        wanted: u32,
        /// How many are free; what pressure takes away does not count as free.
        free: u32,
        /// How hard pressed the machine is.
        pressure: PressureLevel,
        /// When a running item must have ended at the latest, if that is known.
        free_by: Option<SystemTime>,
    },
    /// Not enough CPU is free.
    CpuShort {
        /// How much the item wants, in thousandths of one CPU.
        wanted: u64,
        /// How much is free, in thousandths of one CPU.
        free: u64,
        /// How much the machine has, in thousandths of one CPU.
        total: u64,
        /// When a running item must have ended at the latest, if that is known.
        free_by: Option<SystemTime>,
    },
    /// Not enough memory is free.
    MemoryShort {
        /// How much the item wants, in bytes.
        wanted: u64,
        /// How much is free, in bytes.
        free: u64,
        /// How much the machine has, in bytes.
        total: u64,
        /// When a running item must have ended at the latest, if that is known.
        free_by: Option<SystemTime>,
    },
    /// Not enough disk space is free.
    DiskShort {
        /// How much the item wants, in bytes.
        wanted: u64,
        /// How much is free, in bytes.
        free: u64,
        /// How much the machine has, in bytes.
        total: u64,
        /// When a running item must have ended at the latest, if that is known.
        free_by: Option<SystemTime>,
    },
}

/// Something that is to hold work items back and does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingMeasure {
    /// Its name in the agent's configuration, such as `user`.
    pub name: String,
    /// Why it is not in force, as in "no users are configured".
    pub why: String,
}

/// A field of a request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldProblem {
    /// Which field, such as `work_item.payloads[2].destination`.
    pub path: String,
    /// What is wrong with it, as a sentence without a full stop.
    pub message: String,
}

/// A missing tool that is being installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// The name of the provisioner in the configuration.
    pub provisioner: String,
    /// What is missing.
    pub missing: Missing,
    /// How far it is.
    pub phase: Phase,
}

/// How far an installation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The agent starts it because of this refusal; once, if several missing tools name the same
    /// provisioner.
    ToStart {
        /// When it should be done, if there is experience or configuration to say so.
        expected_end: Option<SystemTime>,
    },
    /// It is under way.
    UnderWay {
        /// Since when.
        since: SystemTime,
        /// When it should be done, if there is experience or configuration to say so.
        expected_end: Option<SystemTime>,
    },
}

/// A missing tool whose installation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoolingDown {
    /// The name of the provisioner in the configuration.
    pub provisioner: String,
    /// Which of the missing capabilities it would bring.
    pub missing: Missing,
    /// When it will be tried again.
    pub until: SystemTime,
    /// What the last try said.
    pub last_error: String,
}

impl Refusal {
    /// A stable name of the reason, for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BadRequest { .. } => "BAD_REQUEST",
            Self::Duplicate { .. } => "DUPLICATE_ATTEMPT",
            Self::Superseded { .. } => "SUPERSEDED_ATTEMPT",
            Self::Offline { .. } => "OFFLINE",
            Self::Draining { .. } => "DRAINING",
            Self::WrongQueue { .. } => "WRONG_QUEUE",
            Self::NotIsolated { .. } => "NOT_ISOLATED",
            Self::Unhealthy { .. } => "UNHEALTHY",
            Self::TooLarge { .. } => "TOO_LARGE",
            Self::MissingCapability { .. } => "MISSING_CAPABILITY",
            Self::Provisioning { .. } => "PROVISIONING",
            Self::SlotsFull { .. } => "SLOTS_FULL",
            Self::CpuShort { .. } => "CPU_SHORT",
            Self::MemoryShort { .. } => "MEMORY_SHORT",
            Self::DiskShort { .. } => "DISK_SHORT",
        }
    }

    /// Whether the same agent may take the same request later, without anybody changing the request
    /// or the agent's configuration.
    #[must_use]
    pub fn retriable(&self) -> bool {
        match self {
            Self::BadRequest { .. }
            | Self::Duplicate { .. }
            | Self::Superseded { .. }
            | Self::WrongQueue { .. }
            | Self::NotIsolated { .. }
            | Self::TooLarge { .. } => false,
            Self::MissingCapability {
                missing,
                installations,
                cooling_down,
            } => installations.len().saturating_add(cooling_down.len()) >= missing.len(),
            Self::Offline { .. }
            | Self::Draining { .. }
            | Self::Unhealthy { .. }
            | Self::Provisioning { .. }
            | Self::SlotsFull { .. }
            | Self::CpuShort { .. }
            | Self::MemoryShort { .. }
            | Self::DiskShort { .. } => true,
        }
    }

    /// Whether the refusal uses up a delivery of the item. It never does: nothing was started.
    #[must_use]
    pub const fn costs_attempt(&self) -> bool {
        false
    }

    /// How long to wait before asking the same agent again; none where nobody can know, or where it
    /// is of no use.
    #[must_use]
    pub fn retry_after(&self, now: SystemTime) -> Option<Duration> {
        let at = match self {
            Self::BadRequest { .. }
            | Self::Duplicate { .. }
            | Self::Superseded { .. }
            | Self::Offline { .. }
            | Self::Draining { .. }
            | Self::WrongQueue { .. }
            | Self::NotIsolated { .. }
            | Self::TooLarge { .. } => None,
            Self::Unhealthy { until, .. } => *until,
            Self::MissingCapability { .. } if !self.retriable() => None,
            Self::MissingCapability {
                installations,
                cooling_down,
                ..
            } => {
                let retries = cooling_down.iter().map(|cooling_down| cooling_down.until);
                last_end(installations).map(|end| retries.chain(end).max())?
            }
            Self::Provisioning { installations } => last_end(installations)?,
            Self::SlotsFull { free_by, .. }
            | Self::CpuShort { free_by, .. }
            | Self::MemoryShort { free_by, .. }
            | Self::DiskShort { free_by, .. } => *free_by,
        }?;
        // What should have happened by now may happen any moment.
        Some(
            at.duration_since(now)
                .unwrap_or_default()
                .max(SOONEST_RETRY),
        )
    }

    /// What is wrong, why, and what to do about it, for a person: one line without a full stop.
    #[must_use]
    pub fn sentence(&self) -> String {
        sentence(self)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.sentence())
    }
}

impl std::error::Error for Refusal {}

/// Asking again sooner than this would only make load.
const SOONEST_RETRY: Duration = Duration::from_secs(1);

/// When the last of some installations should be done: nothing if one of them has no expected end,
/// for all of them must be done; no time if there are none.
fn last_end(installations: &[Installation]) -> Option<Option<SystemTime>> {
    let ends: Option<Vec<SystemTime>> = installations
        .iter()
        .map(|installation| installation.phase.expected_end())
        .collect();
    ends.map(|ends| ends.into_iter().max())
}

impl Phase {
    /// When the installation should be done, if known.
    #[must_use]
    pub fn expected_end(&self) -> Option<SystemTime> {
        match self {
            Self::ToStart { expected_end } | Self::UnderWay { expected_end, .. } => *expected_end,
        }
    }
}
