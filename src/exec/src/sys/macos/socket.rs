//! Unix sockets, whose paths have to fit a socket address here.
//!
//! Type-checked for both architectures of macOS, never run.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nix::unistd::{Gid, Uid, getegid, geteuid, getpeereid, setegid, seteuid};

/// Bytes of a socket address, its terminating zero included.
const ADDRESS_BYTES: usize = 104;

/// Connects to the socket `name` in the directory at `path`.
pub(crate) fn connect_socket(path: &Path, name: &str) -> io::Result<UnixStream> {
    UnixStream::connect(fitting(&path.join(name))?)
}

/// Makes the socket `name` in the directory at `path`, as the owner's where there is one.
pub(crate) fn bind_socket(
    _: impl AsFd,
    path: &Path,
    name: &str,
    owner: Option<(Uid, Gid)>,
) -> io::Result<UnixListener> {
    let path = path.join(name);
    let path = fitting(&path)?;
    let _guise = owner.map(Guise::put_on).transpose()?;
    UnixListener::bind(path)
}

/// Gives a socket that this process has just made to a user. By its path, as a socket cannot be
/// opened: so its directory has to be closed to others.
pub(crate) fn give_socket(path: &Path, uid: Uid) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/")).metadata()?;
    if directory.uid() != geteuid().as_raw() || directory.mode() & 0o022 != 0 {
        return Err(io::Error::other("others may write to its directory"));
    }
    lchown(path, Some(uid.as_raw()), None)
}

/// The user at the other end of a connected socket, as the kernel knows it.
pub(crate) fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    Ok(getpeereid(stream)?.0.as_raw())
}

/// While it is there, this process of root does everything as another user, who cannot signal it
/// for that: real and saved user stay root's.
struct Guise {
    uid: Uid,
    gid: Gid,
}

impl Guise {
    fn put_on((uid, gid): (Uid, Gid)) -> io::Result<Self> {
        let own = Self {
            uid: geteuid(),
            gid: getegid(),
        };
        // Dropped on the way out when one of them fails.
        setegid(gid)?;
        seteuid(uid)?;
        Ok(own)
    }
}

impl Drop for Guise {
    fn drop(&mut self) {
        // The saved user is root, so neither can fail.
        let _ = seteuid(self.uid);
        let _ = setegid(self.gid);
    }
}

fn fitting(path: &Path) -> io::Result<&Path> {
    if path.as_os_str().len() < ADDRESS_BYTES {
        return Ok(path);
    }
    let problem = format!("`{}` is longer than a socket address", path.display());
    Err(io::Error::new(io::ErrorKind::InvalidInput, problem))
}
