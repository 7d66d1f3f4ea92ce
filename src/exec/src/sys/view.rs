//! What a process and its children see of the machine: mounts, and other people's processes.

use std::fs;
use std::io;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Directories in which anybody may put anything.
pub(crate) const TEMPORARY_DIRECTORIES: [&str; 2] = ["/tmp", "/var/tmp"];

const NOTHING: Option<&str> = None;

/// Has this process see its own mounts: what the machine mounts later is seen here, what is
/// mounted here is seen by nobody else.
pub(crate) fn leave_mount_namespace() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(NOTHING, "/", NOTHING, flags, NOTHING)?;
    Ok(())
}

/// Has everybody who sees this process's mounts, root excepted, see only processes of the same
/// user in `/proc`. Needs mounts of its own.
pub(crate) fn hide_processes() -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // The word, and not the number: kernels before 5.8 do not know it, and would have changed
    // every `/proc` of the machine by the number.
    mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        flags,
        Some("hidepid=invisible"),
    )?;
    Ok(())
}

/// Whether the kernel has namespaces of this kind.
pub(crate) fn has_namespaces(kind: &str) -> io::Result<()> {
    fs::symlink_metadata(format!("/proc/self/ns/{kind}")).map(drop)
}
