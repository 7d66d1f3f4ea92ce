//! The machine and this process: clocks, pipes, disks, names.

use std::ffi::{CStr, c_int};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, fallocate, fcntl};
use nix::poll::{PollFd, ppoll};
use nix::sys::prctl;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

/// How a directory is opened only to enter it or to open what it holds.
pub(crate) fn open_directory_flags() -> OFlag {
    OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC
}

/// Time since boot, suspended or not; no setting of the time of day moves it.
pub(crate) fn clock() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map(Duration::from)
        .unwrap_or_default()
}

/// As `poll`, with a time limit that may be less than a millisecond.
pub(crate) fn poll_briefly(polled: &mut [PollFd<'_>], limit: Duration) -> nix::Result<c_int> {
    ppoll(polled, Some(TimeSpec::from_duration(limit)), None)
}

/// The kernel's name of this boot.
pub(crate) fn boot_id() -> io::Result<String> {
    static KNOWN: OnceLock<String> = OnceLock::new();
    if let Some(boot_id) = KNOWN.get() {
        return Ok(boot_id.clone());
    }
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim_end()
        .to_owned();
    Ok(KNOWN.get_or_init(|| boot_id).clone())
}

/// Threads of this process.
pub(crate) fn thread_count() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}

/// What process tables show as this process's name; at most 15 bytes of it.
pub(crate) fn name_process(name: &CStr) {
    // A name is for people only, so nothing hangs on it.
    let _ = prctl::set_name(name);
}

/// Makes this process the parent of every descendant whose own parent dies.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    Ok(prctl::set_child_subreaper(true)?)
}

/// Asks for a pipe of so many bytes; less is fine.
pub(crate) fn widen_pipe(pipe: impl AsFd, bytes: c_int) {
    // Refused when the user's share of pipe memory is used up; the default is then kept.
    let _ = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(bytes));
}

/// Has the disk keep room for a file that is to be written later. That the file system cannot is
/// no error; that the disk is full is one.
pub(crate) fn set_room_aside(file: &fs::File, bytes: i64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, bytes) {
        Err(errno @ (Errno::ENOSPC | Errno::EDQUOT)) => Err(errno.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Keeps other processes of the same user, or of one that it becomes, from looking into this one.
pub(crate) fn hide_memory() {
    // Fails on no kernel that this runs on.
    let _ = prctl::set_dumpable(false);
}
