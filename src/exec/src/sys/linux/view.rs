//! What a process and its children see of the machine: mounts, and other people's processes.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;

/// Directories in which anybody may put anything.
pub(crate) const TEMPORARY_DIRECTORIES: [&str; 2] = ["/tmp", "/var/tmp"];

/// Where processes share memory by name.
const SHARED_MEMORY: &str = "/dev/shm";

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

/// Whether temporary directories of its own can be put into a namespace: tried in this process's.
pub(crate) fn has_private_temporary() -> io::Result<()> {
    let root = open("/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    detached_mount(root.as_fd())?;
    if fs::symlink_metadata(SHARED_MEMORY).is_ok() {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("tmpfs"), SHARED_MEMORY, Some("tmpfs"), flags, NOTHING)?;
        umount2(SHARED_MEMORY, MntFlags::MNT_DETACH)?;
    }
    Ok(())
}

/// Whether programs with a setuid bit can be kept from giving their owner's rights: always, as no
/// command is started otherwise.
#[expect(clippy::unnecessary_wraps, reason = "the same on every system")]
pub(crate) fn can_forgo_privileges() -> Result<(), &'static str> {
    Ok(())
}

/// A directory as a mount that is nowhere yet; see open_tree(2). There since Linux 5.2.
pub(super) fn detached_mount(directory: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const OPEN_TREE_CLONE: libc::c_int = 1;
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC | libc::AT_EMPTY_PATH;
    // SAFETY: numbers and a C string.
    let result = unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            directory.as_raw_fd(),
            c"".as_ptr(),
            flags,
        )
    };
    let descriptor = RawFd::try_from(result).map_err(io::Error::other)?;
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
