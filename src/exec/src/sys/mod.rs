//! The kernel, where `nix` has no safe call for it: the only module with `unsafe`.
//!
//! Each function here is safe to call from anywhere in this room and checks what it needs itself.
//! What differs between systems is in a file for each, behind the same names.
#![expect(
    unsafe_code,
    reason = "calls the kernel; every block states why it is sound"
)]

mod clone;
#[cfg(target_os = "linux")]
mod confine;
#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod log;
mod process;
mod socket;
#[cfg(target_os = "linux")]
mod view;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
pub(crate) use files::{
    change_mode, change_owner, make_mutable, open_to_look, rename_to_free_name,
};
#[cfg(target_os = "linux")]
use linux as system;
#[cfg(target_os = "linux")]
pub(crate) use log::LogPlace;
#[cfg(target_os = "macos")]
use macos as system;
#[cfg(target_os = "linux")]
pub(crate) use view::{
    TEMPORARY_DIRECTORIES, detached_mount, has_namespaces, hide_processes, leave_mount_namespace,
};

pub(crate) use clone::{
    Confinement, Fork, Namespaces, Start, StartFailure, exit_now, fork, ignored_signals,
    signal_all_of, start,
};
pub(crate) use process::{mark_close_on_exec, own_pid, peek_exit, reap, usage_of_children};
pub(crate) use socket::{bind_socket, connect_socket, handed_over_listener, peer_uid};
pub(crate) use system::{
    Signals, adopt_orphans, boot_id, children, clock, has_other_children, hide_memory, list_tree,
    name_process, open_directory_flags, process_entry, processes_of, send_signal, set_room_aside,
    widen_pipe,
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
