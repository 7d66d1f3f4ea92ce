//! What stands between a command and the rest of the machine, as far as this launcher on this
//! machine can put it there.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is in force for every command of a launcher, and what is not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Isolation {
    /// Commands that can have a user of their own at a time; `None` when they run as the
    /// launcher's.
    pub slots: Option<u32>,
    /// In force.
    pub in_force: Vec<Measure>,
    /// Not in force, and why.
    pub missing: Vec<Missing>,
}

impl Isolation {
    /// Whether a measure is in force.
    #[must_use]
    pub fn has(&self, measure: Measure) -> bool {
        self.in_force.contains(&measure)
    }

    pub(super) fn add(&mut self, measure: Measure) {
        self.in_force.push(measure);
    }

    pub(super) fn lack(&mut self, measure: Measure, why: impl Into<String>) {
        self.missing.push(Missing {
            measure,
            why: why.into(),
        });
    }
}

/// A measure that is not in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Which.
    pub measure: Measure,
    /// Why it is not, as in "no users are configured".
    pub why: String,
}

/// One thing that holds a command back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// A session, a process group and an environment from nothing.
    Session,
    /// A user of its own, without any privilege.
    User,
    /// No way to regain one: a program with a setuid bit gives nothing.
    NoNewPrivileges,
    /// A tree that no process of it can leave, ended as a whole.
    Tree,
    /// A limit on the memory of the tree.
    Memory,
    /// A limit on the processes of the tree.
    Processes,
    /// A limit on the CPU time of the tree.
    Cpu,
    /// A fair share of the disks, and a count of what was read and written.
    Io,
    /// A `/tmp`, `/var/tmp` and `/dev/shm` of its own.
    PrivateTemporary,
    /// Nobody else's processes in `/proc`.
    HiddenProcesses,
    /// Message queues, semaphores and shared memory of its own.
    PrivateIpc,
    /// No writing but to its own directories and devices, where that is configured.
    BoundWrites,
    /// No network, for those who ask for none.
    NoNetwork,
}

impl Measure {
    /// All there are.
    pub const ALL: [Self; 13] = [
        Self::Session,
        Self::User,
        Self::NoNewPrivileges,
        Self::Tree,
        Self::Memory,
        Self::Processes,
        Self::Cpu,
        Self::Io,
        Self::PrivateTemporary,
        Self::HiddenProcesses,
        Self::PrivateIpc,
        Self::BoundWrites,
        Self::NoNetwork,
    ];

    /// Its name in configuration files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::User => "user",
            Self::NoNewPrivileges => "no-new-privileges",
            Self::Tree => "tree",
            Self::Memory => "memory",
            Self::Processes => "processes",
            Self::Cpu => "cpu",
            Self::Io => "io",
            Self::PrivateTemporary => "private-tmp",
            Self::HiddenProcesses => "hidden-processes",
            Self::PrivateIpc => "private-ipc",
            Self::BoundWrites => "bound-writes",
            Self::NoNetwork => "no-network",
        }
    }
}

impl fmt::Display for Measure {
    /// What it is, as in "a user of its own".
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Session => "a session and an environment of its own",
            Self::User => "a user of its own, without privileges",
            Self::NoNewPrivileges => "no way to gain privileges",
            Self::Tree => "a process tree that nothing leaves",
            Self::Memory => "a limit on memory",
            Self::Processes => "a limit on processes",
            Self::Cpu => "a limit on CPU time",
            Self::Io => "a fair share of the disks",
            Self::PrivateTemporary => "a private /tmp",
            Self::HiddenProcesses => "a /proc without the processes of others",
            Self::PrivateIpc => "private shared memory and message queues",
            Self::BoundWrites => "no writing outside of its own directories",
            Self::NoNetwork => "no network where none is asked for",
        })
    }
}
