//! Directories by descriptor: the only way this room walks a tree it did not make itself.
//!
//! Every step names one component below an open directory and never follows a link there, so it
//! makes no difference what a path looked like a moment ago or what an archive planted on the way.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};

use crate::error::EntryKind;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory(File);

/// One entry of a directory, as far as a listing tells.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) name: Vec<u8>,
}

impl Directory {
    /// Opens `path`, the caller's own, following links in it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let directory = File::open(path)?;
        if !directory.metadata()?.is_dir() {
            return Err(Errno::ENOTDIR.into());
        }
        Ok(Self(directory))
    }

    /// Opens `path`, the caller's own, and makes it first where it is missing.
    pub(crate) fn open_or_create(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o755).create(path)?;
        Self::open(path)
    }

    /// One more handle on the same directory.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Opens the directory `name` in this one. Anything that is no directory is refused, a link to
    /// one included.
    pub(crate) fn enter(&self, name: &[u8]) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(Self(File::from(openat(self, name, flags, Mode::empty())?)))
    }

    /// Makes the directory `name`, open to its owner only until [`Self::set_mode`] says more.
    pub(crate) fn make(&self, name: &[u8]) -> io::Result<()> {
        Ok(mkdirat(self, name, Mode::S_IRWXU)?)
    }

    /// Makes the regular file `name`, which must not exist in any form, for writing.
    pub(crate) fn create_file(&self, name: &[u8]) -> io::Result<File> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(File::from(openat(
            self,
            name,
            flags,
            Mode::S_IRUSR | Mode::S_IWUSR,
        )?))
    }

    /// Opens the regular file `name` for reading.
    pub(crate) fn open_file(&self, name: &[u8]) -> io::Result<File> {
        // Non-blocking, because opening a pipe would otherwise wait for its writer.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = File::from(openat(self, name, flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(Errno::EINVAL.into());
        }
        Ok(file)
    }

    /// What is known of `name`, of a link itself and not of its target; `None` if it is missing.
    pub(crate) fn status(&self, name: &[u8]) -> io::Result<Option<FileStat>> {
        match fstatat(self, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(status) => Ok(Some(status)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The kind of `name`; `None` if it is missing.
    pub(crate) fn kind(&self, name: &[u8]) -> io::Result<Option<EntryKind>> {
        Ok(self.status(name)?.map(|status| kind_of(&status)))
    }

    /// Makes the symbolic link `name`.
    pub(crate) fn symlink(&self, target: &[u8], name: &[u8]) -> io::Result<()> {
        Ok(symlinkat(target, self, name)?)
    }

    /// Where the symbolic link `name` leads.
    pub(crate) fn read_link(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        Ok(readlinkat(self, name)?.into_vec())
    }

    /// Makes `name` in `other` one more name of the file `existing` in this directory.
    pub(crate) fn hard_link(&self, existing: &[u8], other: &Self, name: &[u8]) -> io::Result<()> {
        // Without `AT_SYMLINK_FOLLOW` a link is linked itself, never what it leads to.
        Ok(linkat(self, existing, other, name, AtFlags::empty())?)
    }

    /// Removes `name`, which is no directory.
    pub(crate) fn unlink(&self, name: &[u8]) -> io::Result<()> {
        Ok(unlinkat(self, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Removes the empty directory `name`.
    pub(crate) fn remove_directory(&self, name: &[u8]) -> io::Result<()> {
        Ok(unlinkat(self, name, UnlinkatFlags::RemoveDir)?)
    }

    /// Moves `name` to `new_name` in `other`.
    pub(crate) fn rename(&self, name: &[u8], other: &Self, new_name: &[u8]) -> io::Result<()> {
        Ok(renameat(self, name, other, new_name)?)
    }

    /// Sets the permission bits of this directory.
    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.0.set_permissions(Permissions::from_mode(mode))
    }

    /// Lets the owner do everything with the directory `name`, which may be unreadable by now.
    pub(crate) fn open_up(&self, name: &[u8]) -> io::Result<()> {
        Ok(fchmodat(
            self,
            name,
            Mode::S_IRWXU,
            FchmodatFlags::NoFollowSymlink,
        )?)
    }

    /// The metadata of this directory.
    pub(crate) fn metadata(&self) -> io::Result<fs::Metadata> {
        self.0.metadata()
    }

    /// The permission bits of this directory, and those beside them.
    pub(crate) fn mode(&self) -> io::Result<u32> {
        Ok(self.metadata()?.permissions().mode() & 0o7777)
    }

    /// The names in this directory, in no order, without `.` and `..`.
    pub(crate) fn list(&self) -> io::Result<impl Iterator<Item = io::Result<Listed>> + use<>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let listing = Dir::openat(self, ".", flags, Mode::empty())?;
        Ok(listing.into_iter().filter_map(|entry| match entry {
            Ok(entry) => match entry.file_name().to_bytes() {
                b"." | b".." => None,
                name => Some(Ok(Listed {
                    name: name.to_vec(),
                })),
            },
            Err(errno) => Some(Err(errno.into())),
        }))
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The kind of file that `status` describes.
pub(crate) fn kind_of(status: &FileStat) -> EntryKind {
    // The flags share bits, so they are compared whole.
    match SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => EntryKind::File,
        SFlag::S_IFDIR => EntryKind::Directory,
        SFlag::S_IFLNK => EntryKind::Symlink,
        SFlag::S_IFCHR => EntryKind::CharacterDevice,
        SFlag::S_IFBLK => EntryKind::BlockDevice,
        SFlag::S_IFIFO => EntryKind::Fifo,
        SFlag::S_IFSOCK => EntryKind::Socket,
        _ => EntryKind::Unknown,
    }
}

/// Whether `error` is this one of the system.
pub(crate) fn is_errno(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error().map(Errno::from_raw) == Some(errno)
}

/// Appends the component `name` to `path`, for messages.
pub(crate) fn join(path: &Path, name: &[u8]) -> std::path::PathBuf {
    path.join(OsStr::from_bytes(name))
}

/// Where a symbolic link leads, judged by its text alone.
///
/// A link is safe at `depth` directories below a root when its target is relative, climbs (`..`)
/// only at its very beginning, and by at most `depth` steps. That is enough, whatever other links
/// the tree holds and in whichever order they came: the kernel resolves the climb from the real
/// directory the link is in, which is `depth` below the root; what follows only descends, and each
/// link it meets on the way obeys the same rule. A climb *after* a descent would not be safe, since
/// that descent can pass through a link to a place nearer the root.
pub(crate) fn unsafe_link_target(target: &[u8], depth: usize) -> Option<&'static str> {
    if target.is_empty() {
        return Some("is empty");
    }
    if target.contains(&0) {
        return Some("contains a NUL byte");
    }
    if target.len() > MAX_LINK_TARGET {
        return Some("is longer than 4000 bytes");
    }
    if target.starts_with(b"/") {
        return Some("is absolute");
    }
    let mut climbed = 0_usize;
    let mut descended = false;
    for component in target.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." if descended => return Some("climbs after it has descended"),
            b".." => climbed += 1,
            _ => descended = true,
        }
    }
    (climbed > depth).then_some("leads outside the destination")
}

/// Longest target of a symbolic link, in bytes; a little less than any system's `PATH_MAX`.
pub(crate) const MAX_LINK_TARGET: usize = 4000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_target_is_safe_only_when_it_climbs_first_and_not_too_far() {
        for (target, depth, safe) in [
            ("a", 0, true),
            ("a/b", 0, true),
            ("./a//b/", 0, true),
            (".", 0, true),
            ("..", 0, false),
            ("..", 1, true),
            ("../a", 1, true),
            ("../../a", 1, false),
            ("./../a", 1, true),
            ("a/..", 5, false),
            ("a/../b", 5, false),
            ("../a/../b", 5, false),
            ("/a", 5, false),
            ("//a", 5, false),
            ("", 5, false),
            ("a\0b", 5, false),
            ("...", 0, true),
            ("..a", 0, true),
        ] {
            let found = unsafe_link_target(target.as_bytes(), depth);
            assert_eq!(found.is_none(), safe, "{target:?} at {depth}: {found:?}");
        }
        assert!(unsafe_link_target(&[b'a'; 4001], 0).is_some());
    }
}
