//! The machine and this process: clocks, disks, names.
//!
//! Type-checked for both architectures of macOS, never run.

use std::ffi::{CStr, c_int};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};

use super::process_table::query;
use crate::sys::own_pid;

/// How a directory is opened only to enter it or to open what it holds.
pub(crate) fn open_directory_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC
}

/// Time on a clock that goes on while the machine sleeps and that nobody sets.
pub(crate) fn clock() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map(Duration::from)
        .unwrap_or_default()
}

/// As `poll`, with a time limit that may be less than a millisecond: there is no such call here, so
/// it does not wait at all.
pub(crate) fn poll_briefly(polled: &mut [PollFd<'_>], _: Duration) -> nix::Result<c_int> {
    poll(polled, PollTimeout::ZERO)
}

/// The kernel's name of this boot.
pub(crate) fn boot_id() -> io::Result<String> {
    let mut buffer = [0_u8; 64];
    let mut length = buffer.len();
    // SAFETY: the name is a C string, and the kernel writes at most `length` bytes to the buffer.
    let result = unsafe {
        libc::sysctlbyname(
            c"kern.bootsessionuuid".as_ptr(),
            buffer.as_mut_ptr().cast(),
            &raw mut length,
            std::ptr::null_mut(),
            0,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let text = CStr::from_bytes_until_nul(&buffer).map_err(io::Error::other)?;
    Ok(text.to_string_lossy().into_owned())
}

/// Threads of this process.
pub(crate) fn thread_count() -> io::Result<usize> {
    // SAFETY: all-zero is a valid value of this plain structure.
    let mut info: libc::proc_taskinfo = unsafe { std::mem::zeroed() };
    query(own_pid(), libc::PROC_PIDTASKINFO, &mut info)?
        .then(|| usize::try_from(info.pti_threadnum).unwrap_or(0))
        .ok_or_else(|| io::Error::other("the process table does not list its reader"))
}

/// Names cannot be set here.
pub(crate) fn name_process(_name: &CStr) {}

/// There is no such thing here; orphans go to the system's first process.
#[expect(clippy::unnecessary_wraps, reason = "the same on every system")]
pub(crate) fn adopt_orphans() -> io::Result<()> {
    Ok(())
}

/// Pipes grow by themselves here.
pub(crate) fn widen_pipe(_pipe: impl AsFd, _bytes: c_int) {}

/// Has the disk keep room for a file that is to be written later. That the file system cannot is
/// no error; that the disk is full is one.
pub(crate) fn set_room_aside(file: &File, bytes: i64) -> io::Result<()> {
    let mut store = libc::fstore_t {
        fst_flags: libc::F_ALLOCATEALL,
        fst_posmode: libc::F_PEOFPOSMODE,
        fst_offset: 0,
        fst_length: bytes,
        fst_bytesalloc: 0,
    };
    match fcntl(file, FcntlArg::F_PREALLOCATE(&mut store)) {
        Err(errno @ (Errno::ENOSPC | Errno::EDQUOT)) => Err(errno.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Nothing to do: a child here has memory of its own from the start, and nobody but root looks into
/// the processes of another user.
pub(crate) fn hide_memory() {}
