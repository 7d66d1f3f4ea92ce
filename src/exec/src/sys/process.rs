//! Waiting for children without collecting them, and other small matters of processes.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::sys::wait::{WaitPidFlag, WaitStatus as Waited, waitpid};
use nix::unistd::{Pid, getpid};

use crate::identity::ProcessId;
use crate::spool::status::{Usage, WaitStatus};

/// The calling process.
pub(crate) fn own_pid() -> ProcessId {
    ProcessId(getpid().as_raw())
}

/// A child that has ended, left in place: its id stays taken, and so does that of its group.
/// `None` when none has. With an id, asks for that child alone; without, for any.
pub(crate) fn peek_exit(pid: Option<ProcessId>) -> io::Result<Option<(ProcessId, WaitStatus)>> {
    let (kind, id) = match pid {
        Some(ProcessId(pid)) => (libc::P_PID, libc::id_t::try_from(pid).unwrap_or(0)),
        None => (libc::P_ALL, 0),
    };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: all-zero bytes are a valid `siginfo_t`, which is plain data.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is a `siginfo_t` that the call may write to for its duration.
    let result = unsafe { libc::waitid(kind, id, &raw mut info, flags) };
    if result != 0 {
        return match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
            error => Err(error),
        };
    }
    // SAFETY: `waitid` has succeeded, so `info` describes a child or is still zero; both make
    // these fields of the union readable, as they are plain numbers.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    let status = match info.si_code {
        libc::CLD_KILLED => WaitStatus::Signalled {
            signal: status,
            core_dumped: false,
        },
        libc::CLD_DUMPED => WaitStatus::Signalled {
            signal: status,
            core_dumped: true,
        },
        _ => WaitStatus::Exited(status),
    };
    Ok(Some((ProcessId(pid), status)))
}

/// Collects a child if it has ended; whether it has, or is no child any more.
pub(crate) fn reap(pid: ProcessId) -> bool {
    loop {
        match waitpid(Pid::from_raw(pid.0), Some(WaitPidFlag::WNOHANG)) {
            Ok(Waited::StillAlive) => return false,
            Err(nix::Error::EINTR) => {}
            Ok(_) | Err(_) => return true,
        }
    }
}

/// What all collected children, and the children these had collected, have used.
pub(crate) fn usage_of_children() -> Usage {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else {
        return Usage::default();
    };
    let span = |micros: i64| Duration::from_micros(u64::try_from(micros).unwrap_or(0));
    // The unit of this one number differs: kilobytes everywhere but on Apple's systems.
    let unit = if cfg!(target_vendor = "apple") {
        1
    } else {
        1024
    };
    Usage {
        user_time: span(usage.user_time().num_microseconds()),
        system_time: span(usage.system_time().num_microseconds()),
        max_resident_bytes: u64::try_from(usage.max_rss()).unwrap_or(0) * unit,
        ..Usage::default()
    }
}

/// Has every descriptor from the given one on closed when this process executes a program.
/// Whatever this process was started with and does not know of is thereby kept from its children.
pub(crate) fn mark_close_on_exec(first: RawFd) -> io::Result<()> {
    let directory = if cfg!(target_os = "linux") {
        "/proc/self/fd"
    } else {
        "/dev/fd"
    };
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let Some(descriptor) = name.to_str().and_then(|name| name.parse::<RawFd>().ok()) else {
            continue;
        };
        if descriptor < first {
            continue;
        }
        // SAFETY: `fcntl` with these commands takes any number; one that is not an open
        // descriptor (the directory's own, by now) is an error that concerns nobody.
        unsafe {
            let flags = libc::fcntl(descriptor, libc::F_GETFD);
            if flags >= 0 {
                libc::fcntl(descriptor, libc::F_SETFD, flags | libc::FD_CLOEXEC);
            }
        }
    }
    Ok(())
}
