//! Files reached through descriptors and plain names, for those who may not follow anything.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, fchmodat, fstat};
use nix::unistd::{Gid, Uid, fchownat};

/// Whatever has a name, held on to by itself and not by the name.
#[derive(Debug)]
pub(crate) struct Thing(OwnedFd);

impl Thing {
    /// Opens whatever has the name, only to look at it and to change it: nothing happens to a
    /// device or a pipe by it, and a symbolic link is opened itself.
    pub(crate) fn open(directory: BorrowedFd<'_>, name: &CStr) -> nix::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(directory, name, flags, Mode::empty()).map(Self)
    }

    pub(crate) fn stat(&self) -> nix::Result<FileStat> {
        fstat(&self.0)
    }

    /// Changes user and group.
    pub(crate) fn change_owner(&self, owner: (Uid, Gid)) -> nix::Result<()> {
        change_owner(self.0.as_fd(), owner)
    }

    /// Changes the mode of a thing that is no symbolic link.
    pub(crate) fn change_mode(&self, mode: Mode) -> nix::Result<()> {
        change_mode(self.0.as_fd(), mode)
    }

    /// Takes off the marks that keep even root from changing a regular file or a directory.
    pub(crate) fn make_mutable(&self, is_directory: bool) -> nix::Result<()> {
        make_mutable(self.0.as_fd(), is_directory)
    }

    /// What it is reached through.
    #[expect(clippy::unnecessary_wraps, reason = "the same on every system")]
    pub(crate) fn as_directory(&self) -> nix::Result<BorrowedFd<'_>> {
        Ok(self.0.as_fd())
    }
}

/// Changes user and group of exactly the thing that is open.
pub(crate) fn change_owner(thing: BorrowedFd<'_>, (uid, gid): (Uid, Gid)) -> nix::Result<()> {
    fchownat(thing, c"", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)
}

/// Changes the mode of exactly the thing that is open, which is no symbolic link.
pub(crate) fn change_mode(thing: BorrowedFd<'_>, mode: Mode) -> nix::Result<()> {
    // The one way there is before Linux 6.6: this link leads to the open thing and nowhere else.
    let link = format!("/proc/self/fd/{}", thing.as_raw_fd());
    fchmodat(
        nix::fcntl::AT_FDCWD,
        link.as_str(),
        mode,
        FchmodatFlags::FollowSymlink,
    )
}

fn make_mutable(thing: BorrowedFd<'_>, is_directory: bool) -> nix::Result<()> {
    let kind = if is_directory {
        OFlag::O_DIRECTORY
    } else {
        // Harmless to a pipe or a device that was put in the place of a file.
        OFlag::O_NONBLOCK | OFlag::O_NOCTTY
    };
    let link = format!("/proc/self/fd/{}", thing.as_raw_fd());
    let file = nix::fcntl::open(
        link.as_str(),
        OFlag::O_RDONLY | OFlag::O_CLOEXEC | kind,
        Mode::empty(),
    )?;
    let mut marks: libc::c_int = 0;
    // SAFETY: the request reads one number into `marks`, which is the right size and ours.
    let read = unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut marks) };
    Errno::result(read)?;
    marks &= !(IMMUTABLE | APPEND_ONLY);
    // SAFETY: the request reads one number from `marks`.
    let set = unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_SETFLAGS, &raw const marks) };
    Errno::result(set).map(drop)
}

/// `FS_IMMUTABLE_FL` and `FS_APPEND_FL` of `linux/fs.h`.
const IMMUTABLE: libc::c_int = 0x10;
const APPEND_ONLY: libc::c_int = 0x20;

/// Gives a thing another place and name, unless something has that name.
pub(crate) fn rename_to_free_name(
    from: BorrowedFd<'_>,
    name: &CStr,
    to: BorrowedFd<'_>,
    new: &CStr,
) -> nix::Result<()> {
    nix::fcntl::renameat2(
        from,
        name,
        to,
        new,
        nix::fcntl::RenameFlags::RENAME_NOREPLACE,
    )
}
