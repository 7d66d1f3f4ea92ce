//! What a process sees of the machine is the same for all of them here: each of these says so.
//!
//! Type-checked for both architectures of macOS, never run.

use std::io;

/// Directories in which anybody may put anything.
pub(crate) const TEMPORARY_DIRECTORIES: [&str; 2] = ["/private/tmp", "/private/var/tmp"];

const REASON: &str = "macOS shows every process the same machine";

pub(crate) fn leave_mount_namespace() -> io::Result<()> {
    Err(missing())
}

pub(crate) fn hide_processes() -> io::Result<()> {
    Err(missing())
}

pub(crate) fn has_namespaces(_: &str) -> io::Result<()> {
    Err(missing())
}

pub(crate) fn has_private_temporary() -> io::Result<()> {
    Err(missing())
}

/// What would bind a process to write nowhere else.
pub(crate) fn landlock_version() -> io::Result<u32> {
    Err(missing())
}

/// Whether programs with a setuid bit can be kept from giving their owner's rights.
pub(crate) fn can_forgo_privileges() -> Result<(), &'static str> {
    Err("macOS has no mark for it: a program with a setuid bit gives the rights of its owner")
}

fn missing() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, REASON)
}
