//! The command's tree: who is in it, how it is asked to end, how it is killed.
//!
//! The command itself is not collected before the end. So its id, which is also that of its
//! process group and session, cannot become that of a stranger, and the group may be signalled at
//! any time.

use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::control_group::Group;
use crate::identity::ProcessId;
use crate::spool::status::{ListedProcess, WaitStatus};
use crate::sys::{self, ProcessEntry};

/// Rounds of killing that are tried at a time before the dying get time to die.
const ROUNDS: usize = 4;

/// The tree under one command.
#[derive(Debug)]
pub(super) struct Tree {
    command: ProcessId,
    wait_status: Option<WaitStatus>,
}

impl Tree {
    /// The tree of a command that was just started as leader of a session.
    pub(super) fn new(command: ProcessId) -> Self {
        Self {
            command,
            wait_status: None,
        }
    }

    /// The command, also when it is long gone.
    pub(super) fn command(&self) -> ProcessId {
        self.command
    }

    /// How the command has ended; `None` while it runs.
    pub(super) fn wait_status(&self) -> Option<WaitStatus> {
        self.wait_status
    }

    /// Sees what has become of the command, and collects the orphans that have ended before it.
    pub(super) fn look_at_children(&mut self) {
        while self.wait_status.is_none() {
            match sys::peek_exit(None) {
                Ok(Some((pid, status))) if pid == self.command => self.wait_status = Some(status),
                Ok(Some((pid, _))) => {
                    sys::reap(pid);
                }
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// All living processes of the tree but the command. The dead among them are collected.
    pub(super) fn others(&self, group: Option<&Group>) -> Vec<ProcessEntry> {
        // As a rule the command has ended and nobody is left.
        if self.wait_status.is_some()
            && sys::has_other_children(self.command).is_ok_and(|has| !has)
            && group.is_none_or(|group| group.is_populated().is_ok_and(|is| !is))
        {
            return Vec::new();
        }
        loop {
            // A process table that cannot be read shows nobody. What the group holds dies all the
            // same.
            let mut entries = sys::list_tree(self.command).unwrap_or_default();
            self.add_members(group, &mut entries);
            let mut has_collected = false;
            entries.retain(|entry| {
                if entry.is_zombie && entry.parent == sys::own_pid() {
                    has_collected |= sys::reap(entry.pid);
                }
                !entry.is_zombie
            });
            // Children of one that died during the listing may have come to this process since,
            // and be in no list.
            if !has_collected {
                return entries;
            }
        }
    }

    /// Processes of the group that are no descendants of this one: one that was moved into it, or
    /// whose parent was.
    fn add_members(&self, group: Option<&Group>, entries: &mut Vec<ProcessEntry>) {
        let members = group.and_then(|group| group.members().ok());
        for pid in members.unwrap_or_default() {
            let is_known = pid == self.command || entries.iter().any(|entry| entry.pid == pid);
            if !is_known && let Ok(Some(entry)) = sys::process_entry(pid) {
                entries.push(entry);
            }
        }
    }

    /// Asks every process of the tree to end.
    pub(super) fn ask(&self, group: Option<&Group>) {
        self.signal_all(Signal::SIGTERM, &self.others(group));
        // A stopped process would not see it before it is continued.
        self.signal_all(Signal::SIGCONT, &self.others(group));
    }

    /// Kills every process of the tree; who, besides the command, still lives.
    pub(super) fn kill(&self, group: Option<&Group>) -> Vec<ProcessEntry> {
        let mut others = self.others(group);
        for _ in 0..ROUNDS {
            // All at once, before they can multiply. What that cannot do, the rest does.
            let _ = group.map(Group::kill);
            self.signal_all(Signal::SIGKILL, &others);
            others = self.others(group);
            if others.is_empty() {
                break;
            }
        }
        others
    }

    /// Collects the command. Nothing of the tree may be signalled any more after that.
    pub(super) fn collect(self) {
        sys::reap(self.command);
    }

    fn signal_all(&self, signal: Signal, others: &[ProcessEntry]) {
        // Fails only when nobody is left in the group.
        let _ = killpg(Pid::from_raw(self.command.0), signal);
        for entry in others.iter().filter(|entry| entry.group != self.command) {
            sys::send_signal(entry, signal);
        }
    }
}

/// The entry as a status lists it, its name passed through `show`.
pub(super) fn listed(entry: &ProcessEntry, show: impl Fn(&str) -> String) -> ListedProcess {
    ListedProcess {
        pid: entry.pid,
        name: show(&entry.name),
        // Finer than the process table's own clock would be made up.
        age: Duration::from_millis(u64::try_from(entry.age.as_millis()).unwrap_or(u64::MAX)),
    }
}
