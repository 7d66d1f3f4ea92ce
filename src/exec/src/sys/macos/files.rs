//! Files reached through descriptors and plain names, for those who may not follow anything.
//!
//! Type-checked for both architectures of macOS, never run.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, fstatat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};

/// Whatever has a name, held on to by itself and not by the name.
#[derive(Debug)]
pub(crate) enum Thing {
    /// Open.
    Open(OwnedFd),
    /// A socket, which cannot be opened: what was seen of it under its name.
    Named {
        directory: OwnedFd,
        name: CString,
        stat: FileStat,
    },
}

impl Thing {
    /// Looks at whatever has the name; a symbolic link is looked at itself.
    pub(crate) fn open(directory: BorrowedFd<'_>, name: &CStr) -> nix::Result<Self> {
        // Neither waits for anybody at the other end of a pipe, nor takes over a terminal.
        let flags = OFlag::from_bits_retain(libc::O_EVTONLY | libc::O_SYMLINK)
            | OFlag::O_NONBLOCK
            | OFlag::O_NOCTTY
            | OFlag::O_CLOEXEC;
        match openat(directory, name, flags, Mode::empty()) {
            Ok(thing) => Ok(Self::Open(thing)),
            Err(Errno::EOPNOTSUPP) => Ok(Self::Named {
                stat: fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?,
                directory: directory
                    .try_clone_to_owned()
                    .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?,
                name: name.to_owned(),
            }),
            Err(errno) => Err(errno),
        }
    }

    pub(crate) fn stat(&self) -> nix::Result<FileStat> {
        match self {
            Self::Open(thing) => fstat(thing),
            Self::Named { stat, .. } => Ok(*stat),
        }
    }

    /// Changes user and group. A thing that is known by its name alone is removed instead: another
    /// may have the name by now, and to lose a name in one's own directory is the least that can
    /// happen to its owner. A socket is of no use once nobody listens on it.
    pub(crate) fn change_owner(&self, owner: (Uid, Gid)) -> nix::Result<()> {
        match self {
            Self::Open(thing) => change_owner(thing.as_fd(), owner),
            Self::Named {
                directory, name, ..
            } => unlinkat(directory, name.as_c_str(), UnlinkatFlags::NoRemoveDir),
        }
    }

    /// Changes the mode of a thing that is no symbolic link.
    pub(crate) fn change_mode(&self, mode: Mode) -> nix::Result<()> {
        change_mode(self.as_directory()?, mode)
    }

    /// Takes off the marks that keep even root from changing a thing.
    pub(crate) fn make_mutable(&self, _is_directory: bool) -> nix::Result<()> {
        const MARKS: u32 =
            libc::UF_IMMUTABLE | libc::UF_APPEND | libc::SF_IMMUTABLE | libc::SF_APPEND;
        let thing = self.as_directory()?;
        let marks = fstat(thing)?.st_flags & !MARKS;
        // SAFETY: the descriptor is open for the time of the call, which takes numbers.
        Errno::result(unsafe { libc::fchflags(thing.as_raw_fd(), marks) }).map(drop)
    }

    /// What it is reached through, if it is open.
    pub(crate) fn as_directory(&self) -> nix::Result<BorrowedFd<'_>> {
        match self {
            Self::Open(thing) => Ok(thing.as_fd()),
            Self::Named { .. } => Err(Errno::ENOTDIR),
        }
    }
}

/// Changes user and group of exactly the thing that is open.
pub(crate) fn change_owner(thing: BorrowedFd<'_>, (uid, gid): (Uid, Gid)) -> nix::Result<()> {
    fchown(thing, Some(uid), Some(gid))
}

/// Changes the mode of exactly the thing that is open, which is no symbolic link.
pub(crate) fn change_mode(thing: BorrowedFd<'_>, mode: Mode) -> nix::Result<()> {
    fchmod(thing, mode)
}

/// Gives a thing another place and name, unless something has that name.
pub(crate) fn rename_to_free_name(
    from: BorrowedFd<'_>,
    name: &CStr,
    to: BorrowedFd<'_>,
    new: &CStr,
) -> nix::Result<()> {
    // SAFETY: descriptors that are open, and C strings.
    let renamed = unsafe {
        libc::renameatx_np(
            from.as_raw_fd(),
            name.as_ptr(),
            to.as_raw_fd(),
            new.as_ptr(),
            libc::RENAME_EXCL,
        )
    };
    Errno::result(renamed).map(drop)
}
