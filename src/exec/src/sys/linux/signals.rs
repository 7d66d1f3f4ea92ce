//! Signals: as something to poll, to a process that is still the same, and their actions.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::process_table::process_entry;
use crate::sys::{ProcessEntry, Received};

/// Highest signal number; 64 is the last real-time signal.
pub(in crate::sys) const LAST_SIGNAL: c_int = 64;

/// Signals as something to poll. From its making on no signal does anything else to this process,
/// save those that cannot be held back.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
        let set = SigSet::from_iter([Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT]);
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self(SignalFd::with_flags(&set, flags)?))
    }

    /// The next signal that came in, if one has.
    pub(crate) fn next(&self) -> Option<Received> {
        let info = self.0.read_signal().ok().flatten()?;
        let is_child = u32::try_from(libc::SIGCHLD) == Ok(info.ssi_signo);
        Some(if is_child {
            Received::Child
        } else {
            Received::Terminate
        })
    }

    /// Readable when a signal is there.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends a signal to exactly the process that the entry describes; nothing if it is gone.
pub(crate) fn send_signal(entry: &ProcessEntry, signal: Signal) {
    // SAFETY: `pidfd_open` takes two numbers.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, entry.pid.0, 0) };
    let Ok(descriptor) = c_int::try_from(descriptor) else {
        return;
    };
    if descriptor < 0 {
        if Errno::last() == Errno::ENOSYS {
            // Before Linux 5.3 a race of microseconds against the reuse of an id has to do.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(entry.pid.0), signal);
        }
        return;
    }
    // SAFETY: the kernel has just made this descriptor for us alone.
    let process = unsafe { OwnedFd::from_raw_fd(descriptor) };
    // The descriptor holds on to whoever has the id now: look at it again before using it.
    let still = process_entry(entry.pid).ok().flatten();
    if still.is_some_and(|now| now.start_time == entry.start_time) {
        // SAFETY: the descriptor is open; no information is passed along, as the null says.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                process.as_raw_fd(),
                signal as c_int,
                std::ptr::null::<c_void>(),
                0,
            );
        }
    }
}

/// Larger than the kernel's description of an action on every architecture; the first word is the
/// handler, all zero is the default action.
type KernelAction = [u64; 8];

const KERNEL_MASK_BYTES: usize = 8;

/// Whether this process ignores a signal. Asked of the kernel, as the C library keeps two signals
/// for itself and does not tell.
pub(in crate::sys) fn is_ignored(number: c_int) -> bool {
    let mut action: KernelAction = [0; 8];
    let none = std::ptr::null::<c_void>();
    // SAFETY: the kernel writes its structure to `action`, and has none to read.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            number,
            none,
            action.as_mut_ptr(),
            KERNEL_MASK_BYTES,
        )
    };
    result == 0 && action[0] == libc::SIG_IGN as u64
}

/// Gives a signal its default action.
pub(in crate::sys) fn set_default_action(number: c_int) {
    let action: KernelAction = [0; 8];
    let none = std::ptr::null_mut::<c_void>();
    // SAFETY: the kernel reads its structure from `action`, and has nowhere to write.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            number,
            action.as_ptr(),
            none,
            KERNEL_MASK_BYTES,
        );
    }
}
