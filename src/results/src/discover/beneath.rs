//! Opening what lies below a directory that is open already, and nothing that a link or a name leads to elsewhere.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use thiserror::Error;

/// Device and inode: what makes two paths the same file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

/// What is wrong with a link: that it is one.
#[derive(Debug, Error)]
#[error("is a link, and links are not followed")]
struct IsLink;

pub(super) fn is_link(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|source| source.is::<IsLink>())
}

pub(super) fn directory_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK
}

/// Opens a directory below `root` one component at a time, since `O_NOFOLLOW` guards only the last one.
pub(super) fn open_directory_beneath(root: &OwnedFd, relative: &Path) -> io::Result<OwnedFd> {
    let mut directory = root.try_clone()?;
    for component in relative.components() {
        let Component::Normal(name) = component else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        directory = openat(directory.as_fd(), name, directory_flags(), Mode::empty())?;
    }
    Ok(directory)
}

/// Opens a regular file in `directory`, and nothing else.
pub(super) fn open_file(directory: &OwnedFd, name: &OsStr) -> io::Result<(OwnedFd, FileStat)> {
    // Opening a FIFO waits for a writer unless told not to; O_NOCTTY and the check of the type keep devices out.
    let flags = OFlag::O_RDONLY
        | OFlag::O_NOFOLLOW
        | OFlag::O_CLOEXEC
        | OFlag::O_NONBLOCK
        | OFlag::O_NOCTTY;
    let file =
        openat(directory.as_fd(), name, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::ELOOP => io::Error::other(IsLink),
            errno => errno.into(),
        })?;
    let status = fstat(&file)?;
    if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(io::Error::other("is no regular file"));
    }
    Ok((file, status))
}

#[cfg_attr(
    target_os = "linux",
    expect(
        clippy::useless_conversion,
        reason = "the types of these fields differ between systems"
    )
)]
pub(super) fn identity(status: &FileStat) -> Identity {
    // A device number is an opaque value, negative on some systems: only its being the same matters.
    let device = i128::from(status.st_dev);
    Identity {
        device: u64::try_from(device & i128::from(u64::MAX)).unwrap_or(0),
        inode: u64::from(status.st_ino),
    }
}
