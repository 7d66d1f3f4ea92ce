//! A socket that somebody else has made.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;

/// The listening socket that a service manager has handed over as this process's descriptor 3, if
/// it says so in the environment (`LISTEN_PID`, `LISTEN_FDS`). To be asked for once.
pub(crate) fn handed_over_listener() -> io::Result<Option<UnixListener>> {
    const FIRST: RawFd = 3;
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(std::process::id()) || number("LISTEN_FDS") != Some(1) {
        return Ok(None);
    }
    // SAFETY: `fcntl` with this command takes any number.
    if unsafe { libc::fcntl(FIRST, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and the service manager's word makes it ours alone.
    let descriptor = unsafe { OwnedFd::from_raw_fd(FIRST) };
    let listener = UnixListener::from(descriptor);
    // An error for anything but a unix socket.
    listener.local_addr()?;
    Ok(Some(listener))
}
