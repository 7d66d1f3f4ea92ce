//! The kernel, where `nix` has no safe call for it: the only module with `unsafe`.
//!
//! Each function here is safe to call from anywhere in this room and checks what it needs itself.
//! What differs between systems is in a file for each, behind the same names.
#![expect(
    unsafe_code,
    reason = "calls the kernel; every block states why it is sound"
)]

mod clone;
mod process;
mod socket;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(target_os = "macos")]
use macos as system;

pub(crate) use clone::{
    Confinement, Fork, Namespaces, Start, StartFailure, exit_now, fork, ignored_signals,
    signal_all_of, start,
};
pub(crate) use process::{mark_close_on_exec, own_pid, peek_exit, reap, usage_of_children};
pub(crate) use socket::handed_over_listener;
pub(crate) use system::{
    LogPlace, Signals, TEMPORARY_DIRECTORIES, Thing, adopt_orphans, bind_socket, boot_id,
    can_forgo_privileges, change_mode, change_owner, children, clock, connect_socket, disk_use_of,
    give_socket, has_namespaces, has_other_children, has_private_temporary, hide_memory,
    hide_processes, landlock_version, leave_mount_namespace, list_tree, name_process,
    open_directory_flags, peer_uid, poll_briefly, process_entry, processes_of, rename_to_free_name,
    send_signal, set_room_aside, widen_pipe,
};

use std::time::Duration;

use crate::identity::ProcessId;

/// One line of the process table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProcessEntry {
    pub(crate) pid: ProcessId,
    pub(crate) parent: ProcessId,
    pub(crate) group: ProcessId,
    pub(crate) session: ProcessId,
    /// Only good for comparing, see [`crate::ProcessIdentity::start_time`].
    pub(crate) start_time: u64,
    /// How long it has been running.
    pub(crate) age: Duration,
    pub(crate) is_zombie: bool,
    pub(crate) name: String,
}

/// A signal that a [`Signals`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// A child has changed its state.
    Child,
    /// Somebody asks this process to end.
    Terminate,
}
