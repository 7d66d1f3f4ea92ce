//! Unix sockets in directories whose paths may be longer than a socket address.

use std::io;
use std::os::fd::{AsFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Connects to the socket `name` in the directory at `path`.
pub(crate) fn connect_socket(path: &Path, name: &str) -> io::Result<UnixStream> {
    let direct = path.join(name);
    if fits(&direct) {
        return UnixStream::connect(direct);
    }
    via_descriptor(path, name, |short| UnixStream::connect(short))
}

/// Makes the socket `name` in the directory at `path`, which is open as `directory`.
pub(crate) fn bind_socket(
    directory: impl AsFd,
    path: &Path,
    name: &str,
) -> io::Result<UnixListener> {
    #[cfg(target_os = "linux")]
    {
        let _ = path;
        UnixListener::bind(descriptor_path(directory.as_fd()).join(name))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = directory;
        let direct = path.join(name);
        if fits(&direct) {
            UnixListener::bind(direct)
        } else {
            Err(too_long(&direct))
        }
    }
}

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

/// The user at the other end of a connected socket, as the kernel knows it.
pub(crate) fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
        Ok(getsockopt(stream, PeerCredentials)?.uid())
    }
    #[cfg(not(target_os = "linux"))]
    {
        Ok(nix::unistd::getpeereid(stream)?.0.as_raw())
    }
}

/// Whether the path fits a socket address, with its terminating zero.
fn fits(path: &Path) -> bool {
    // 108 bytes on Linux, 104 on Apple's systems; both counted with the zero.
    let room = if cfg!(target_os = "linux") { 108 } else { 104 };
    path.as_os_str().len() < room
}

#[cfg(target_os = "linux")]
fn descriptor_path(directory: std::os::fd::BorrowedFd<'_>) -> std::path::PathBuf {
    use std::os::fd::AsRawFd as _;
    format!("/proc/self/fd/{}", directory.as_raw_fd()).into()
}

#[cfg(target_os = "linux")]
fn via_descriptor<T>(
    path: &Path,
    name: &str,
    call: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    use nix::fcntl::{OFlag, open};
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = open(path, flags, nix::sys::stat::Mode::empty())?;
    call(&descriptor_path(directory.as_fd()).join(name))
}

#[cfg(not(target_os = "linux"))]
fn via_descriptor<T>(
    path: &Path,
    name: &str,
    _call: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    Err(too_long(&path.join(name)))
}

#[cfg(not(target_os = "linux"))]
fn too_long(path: &Path) -> io::Error {
    let problem = format!("`{}` is longer than a socket address", path.display());
    io::Error::new(io::ErrorKind::InvalidInput, problem)
}
