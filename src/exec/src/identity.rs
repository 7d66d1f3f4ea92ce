//! Who a process is, beyond its number: process ids are reused, and start again after a reboot.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::sys;

/// A process id as the kernel counts them; positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessId(pub i32);

impl fmt::Display for ProcessId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// One process of one boot of this machine, never mistaken for another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// The kernel's name of this boot.
    pub boot_id: String,
    /// The process id.
    pub pid: ProcessId,
    /// When it started, in the unit of the system's process table: clock ticks since boot on
    /// Linux, microseconds since 1970 on macOS. Only good for comparing.
    pub start_time: u64,
}

/// Whether a process recorded earlier is still the one running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// That very process runs.
    Alive,
    /// It has ended: another boot, no such process, another process, or one that only waits to be
    /// collected by its parent.
    Dead,
    /// The process table could not be read.
    Unknown,
}

impl ProcessIdentity {
    /// The calling process.
    pub fn of_self() -> io::Result<Self> {
        Self::of(sys::own_pid())?
            .ok_or_else(|| io::Error::other("the process table does not list its reader"))
    }

    /// The process that has the id now; `None` when there is none.
    pub fn of(pid: ProcessId) -> io::Result<Option<Self>> {
        let Some(entry) = sys::process_entry(pid)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            boot_id: sys::boot_id()?,
            pid,
            start_time: entry.start_time,
        }))
    }

    /// Whether this process still runs.
    pub fn liveness(&self) -> Liveness {
        match sys::boot_id() {
            Ok(boot_id) if boot_id != self.boot_id => return Liveness::Dead,
            Ok(_) => {}
            Err(_) => return Liveness::Unknown,
        }
        match sys::process_entry(self.pid) {
            Ok(Some(entry)) if entry.start_time == self.start_time && !entry.is_zombie => {
                Liveness::Alive
            }
            Ok(_) => Liveness::Dead,
            Err(_) => Liveness::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_is_alive_only_for_the_same_boot_pid_and_start() {
        let own = ProcessIdentity::of_self().unwrap();
        assert_eq!(own.liveness(), Liveness::Alive);
        let reused = ProcessIdentity {
            start_time: own.start_time + 1,
            ..own.clone()
        };
        assert_eq!(reused.liveness(), Liveness::Dead);
        let rebooted = ProcessIdentity {
            boot_id: "another".to_owned(),
            ..own.clone()
        };
        assert_eq!(rebooted.liveness(), Liveness::Dead);
        let absent = ProcessIdentity {
            pid: ProcessId(i32::MAX),
            ..own
        };
        assert_eq!(absent.liveness(), Liveness::Dead);
    }

    #[test]
    fn zombie_counts_as_dead() {
        let mut child = std::process::Command::new("/bin/cat")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let pid = ProcessId(i32::try_from(child.id()).unwrap());
        let identity = ProcessIdentity::of(pid).unwrap().unwrap();
        assert_eq!(identity.liveness(), Liveness::Alive);
        child.kill().unwrap();
        let started = std::time::Instant::now();
        while identity.liveness() != Liveness::Dead {
            assert!(
                started.elapsed().as_secs() < 30,
                "killed child never became a zombie"
            );
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(identity.liveness(), Liveness::Dead);
    }
}
