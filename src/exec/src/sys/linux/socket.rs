//! Unix sockets in directories whose paths may be longer than a socket address: reached through
//! `/proc/self/fd`.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{Gid, Uid, fchownat, geteuid, setfsgid, setfsuid};

/// Bytes of a socket address, its terminating zero included.
const ADDRESS_BYTES: usize = 108;

/// Connects to the socket `name` in the directory at `path`.
pub(crate) fn connect_socket(path: &Path, name: &str) -> io::Result<UnixStream> {
    let direct = path.join(name);
    if direct.as_os_str().len() < ADDRESS_BYTES {
        return UnixStream::connect(direct);
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = open(path, flags, Mode::empty())?;
    UnixStream::connect(descriptor_path(directory.as_fd()).join(name))
}

/// Makes the socket `name` in a directory that is open, as the owner's where there is one.
pub(crate) fn bind_socket(
    directory: impl AsFd,
    _: &Path,
    name: &str,
    owner: Option<(Uid, Gid)>,
) -> io::Result<UnixListener> {
    let _guise = owner.map(Guise::put_on);
    UnixListener::bind(descriptor_path(directory.as_fd()).join(name))
}

/// Gives a socket that this process has just made to a user. Nothing else that may have come to be
/// at its place is given away.
pub(crate) fn give_socket(path: &Path, uid: Uid) -> io::Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let socket = open(path, flags, Mode::empty())?;
    let stat = fstat(&socket)?;
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    if kind != SFlag::S_IFSOCK || stat.st_uid != geteuid().as_raw() || stat.st_nlink != 1 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    fchownat(&socket, c"", Some(uid), None, AtFlags::AT_EMPTY_PATH)?;
    Ok(())
}

/// The user at the other end of a connected socket, as the kernel knows it.
pub(crate) fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    Ok(getsockopt(stream, PeerCredentials)?.uid())
}

/// While it is there, what this process of root makes in a file system is another user's. Changing
/// the owner afterwards would need the name, behind which that user could put something else.
struct Guise {
    uid: Uid,
    gid: Gid,
}

impl Guise {
    fn put_on((uid, gid): (Uid, Gid)) -> Self {
        Self {
            gid: setfsgid(gid),
            uid: setfsuid(uid),
        }
    }
}

impl Drop for Guise {
    fn drop(&mut self) {
        setfsuid(self.uid);
        setfsgid(self.gid);
    }
}

fn descriptor_path(directory: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/self/fd/{}", directory.as_raw_fd()).into()
}
