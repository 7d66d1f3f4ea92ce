//! Signals: as something to poll, to a process that is still the same, and their actions.
//!
//! Type-checked for both architectures of macOS, never run.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::process_table::process_entry;
use crate::sys::{ProcessEntry, Received};

/// Highest signal number.
pub(in crate::sys) const LAST_SIGNAL: c_int = 31;

/// Where the handler writes to; -1 for nowhere.
static WAKER: AtomicI32 = AtomicI32::new(-1);

/// Signals as something to poll: a handler sends their numbers through a socket.
#[derive(Debug)]
pub(crate) struct Signals {
    receiver: UnixDatagram,
    /// Kept open for the handler.
    _sender: UnixDatagram,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        let (receiver, sender) = UnixDatagram::pair()?;
        receiver.set_nonblocking(true)?;
        sender.set_nonblocking(true)?;
        WAKER.store(sender.as_raw_fd(), Ordering::SeqCst);
        for number in [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT] {
            set_action(number, on_signal as *const () as libc::sighandler_t)?;
        }
        for number in [libc::SIGHUP, libc::SIGPIPE, libc::SIGQUIT] {
            set_action(number, libc::SIG_IGN)?;
        }
        Ok(Self {
            receiver,
            _sender: sender,
        })
    }

    /// The next signal that came in, if one has.
    pub(crate) fn next(&self) -> Option<Received> {
        let mut number = [0];
        self.receiver.recv(&mut number).ok()?;
        let is_child = c_int::from(number[0]) == libc::SIGCHLD;
        Some(if is_child {
            Received::Child
        } else {
            Received::Terminate
        })
    }

    /// Readable when a signal is there.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        WAKER.store(-1, Ordering::SeqCst);
    }
}

extern "C" fn on_signal(number: c_int) {
    let descriptor = WAKER.load(Ordering::SeqCst);
    let byte = u8::try_from(number).unwrap_or(0);
    // SAFETY: `send` is safe in a handler; the byte lives through the call. The error number is
    // put back, as whatever was interrupted may be about to look at it.
    unsafe {
        let errno = *libc::__error();
        libc::send(descriptor, (&raw const byte).cast(), 1, 0);
        *libc::__error() = errno;
    }
}

fn set_action(number: c_int, action: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: the structure is plain data, filled before use; the handler, if it is one, is a
    // function of the right type that does only what a handler may.
    let result = unsafe {
        let mut new: libc::sigaction = std::mem::zeroed();
        new.sa_sigaction = action;
        new.sa_flags = libc::SA_RESTART;
        libc::sigemptyset(&raw mut new.sa_mask);
        libc::sigaction(number, &raw const new, std::ptr::null_mut())
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sends a signal to the process that the entry describes, unless another has its id by now.
pub(crate) fn send_signal(entry: &ProcessEntry, signal: Signal) {
    let still = process_entry(entry.pid).ok().flatten();
    if still.is_some_and(|now| now.start_time == entry.start_time) {
        // It may have ended since; what is left of the race is a few instructions long.
        let _ = kill(Pid::from_raw(entry.pid.0), signal);
    }
}

/// Whether this process ignores a signal.
pub(in crate::sys) fn is_ignored(number: c_int) -> bool {
    // SAFETY: the structure is plain data for the kernel to fill; no new action is set.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(number, std::ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Gives a signal its default action.
pub(in crate::sys) fn set_default_action(number: c_int) {
    // SAFETY: the default action needs no handler.
    unsafe {
        libc::signal(number, libc::SIG_DFL);
    }
}
