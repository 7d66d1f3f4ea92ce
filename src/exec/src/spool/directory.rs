//! The spool's directory as a descriptor: every file is reached through it, by a plain name, and
//! no symbolic link is ever followed.
//!
//! A supervisor may run as a more powerful user than the spool's owner, and the owner can put
//! anything there. So what is opened has to be a regular file with one name, and what is created
//! is given to the owner.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, geteuid, unlinkat};

use super::SpoolError;
use super::layout;
use crate::sys;

const BASE: OFlag = OFlag::O_CLOEXEC.union(OFlag::O_NOFOLLOW);

/// An open spool directory.
#[derive(Debug)]
pub(crate) struct Directory {
    descriptor: OwnedFd,
    heir: Option<(Uid, Gid)>,
}

impl Directory {
    /// Opens the directory at `path`, whose last part may not be a symbolic link.
    pub(crate) fn at(path: &Path) -> Result<Self, SpoolError> {
        nix::fcntl::open(
            path,
            BASE | OFlag::O_DIRECTORY | OFlag::O_RDONLY,
            Mode::empty(),
        )
        .map_err(io::Error::from)
        .and_then(Self::from_descriptor)
        .map_err(|source| system("open", &path.to_string_lossy(), source))
    }

    /// Takes a directory that is open already.
    pub(crate) fn from_descriptor(descriptor: OwnedFd) -> io::Result<Self> {
        let directory = File::from(descriptor);
        let metadata = directory.metadata()?;
        let own = geteuid();
        let heir = (own.is_root() && metadata.uid() != own.as_raw())
            .then(|| (Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid())));
        Ok(Self {
            descriptor: directory.into(),
            heir,
        })
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Opens a file for reading.
    pub(crate) fn open_file(&self, name: &str) -> Result<File, SpoolError> {
        // Non-blocking, so that a fifo put in a file's place does not hold the reader.
        self.open(name, OFlag::O_RDONLY | OFlag::O_NONBLOCK)
            .map_err(|source| system("open", name, source))
    }

    /// Makes a new empty file; one that is there already is an error.
    pub(crate) fn create_file(&self, name: &str) -> Result<File, SpoolError> {
        self.create(name)
            .map_err(|source| system("create", name, source))
    }

    /// Opens a file for writing at its start; made when it is absent.
    pub(crate) fn open_or_create_file(&self, name: &str) -> Result<File, SpoolError> {
        match self.open(name, OFlag::O_WRONLY | OFlag::O_NONBLOCK) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.create_file(name),
            Err(source) => Err(system("open", name, source)),
            Ok(file) => Ok(file),
        }
    }

    /// Makes an empty file; one that is there already is emptied.
    pub(crate) fn create_or_empty_file(&self, name: &str) -> Result<File, SpoolError> {
        match self.create(name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self
                .open(name, OFlag::O_WRONLY | OFlag::O_NONBLOCK)
                .and_then(|file| file.set_len(0).map(|()| file))
                .map_err(|source| system("empty", name, source)),
            result => result.map_err(|source| system("create", name, source)),
        }
    }

    /// Makes a socket that listens, the owner's like everything in the directory, which is at
    /// `path`.
    pub(crate) fn bind_socket(&self, path: &Path, name: &str) -> io::Result<UnixListener> {
        sys::bind_socket(self.as_fd(), path, name, self.heir)
    }

    /// Size of a file in bytes; `None` when there is none.
    pub(crate) fn length(&self, name: &str) -> Result<Option<u64>, SpoolError> {
        match fstatat(&self.descriptor, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(u64::try_from(stat.st_size).unwrap_or(0))),
            Err(nix::Error::ENOENT) => Ok(None),
            Err(errno) => Err(system("look at", name, errno.into())),
        }
    }

    /// The whole of a small file; at most `limit` bytes of it.
    pub(crate) fn read_small(&self, name: &str, limit: u64) -> Result<Vec<u8>, SpoolError> {
        let mut bytes = Vec::new();
        self.open_file(name)?
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(|source| system("read", name, source))?;
        Ok(bytes)
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), SpoolError> {
        renameat(&self.descriptor, from, &self.descriptor, to)
            .map_err(|errno| system("rename", from, errno.into()))
    }

    /// Removes a file; that it is gone already is fine.
    pub(crate) fn remove(&self, name: &str) -> Result<(), SpoolError> {
        match unlinkat(&self.descriptor, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(nix::Error::ENOENT) => Ok(()),
            Err(errno) => Err(system("remove", name, errno.into())),
        }
    }

    /// Start offsets of the console segments, ascending.
    pub(crate) fn segments(&self) -> Result<Vec<u64>, SpoolError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let list = || -> nix::Result<Vec<u64>> {
            let mut starts = Vec::new();
            for entry in Dir::openat(&self.descriptor, ".", flags, Mode::empty())?.iter() {
                starts.extend(layout::console_offset(entry?.file_name().to_bytes()));
            }
            starts.sort_unstable();
            Ok(starts)
        };
        list().map_err(|errno| system("list", ".", errno.into()))
    }

    fn open(&self, name: &str, flags: OFlag) -> io::Result<File> {
        let file = File::from(openat(&self.descriptor, name, BASE | flags, Mode::empty())?);
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.nlink() > 1 {
            return Err(io::Error::other("not a regular file with one name"));
        }
        // One that the owner has moved here, and could not write to itself.
        if self
            .heir
            .is_some_and(|(uid, _)| metadata.uid() != uid.as_raw())
        {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(file)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        let flags = BASE | OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let file = openat(&self.descriptor, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        self.hand_over(file.into())
    }

    fn hand_over(&self, file: File) -> io::Result<File> {
        if let Some((uid, gid)) = self.heir {
            fchown(&file, Some(uid), Some(gid))?;
        }
        Ok(file)
    }
}

/// A system error with what was done to which file.
pub(crate) fn system(operation: &'static str, name: &str, source: io::Error) -> SpoolError {
    SpoolError::System {
        operation,
        name: name.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::unistd::chown;

    use super::*;

    const OWNER: u32 = 61_003;

    #[test]
    fn what_root_makes_is_the_owners_and_what_is_not_the_owners_is_left_alone() {
        if !geteuid().is_root() {
            crate::skipped("only root works in directories of others");
            return;
        }
        let own = Some(Uid::from_raw(OWNER));
        let top = tempfile::tempdir().unwrap();
        chown(top.path(), own, Some(Gid::from_raw(OWNER))).unwrap();
        let directory = Directory::at(top.path()).unwrap();
        let owner = |name: &str| {
            let metadata = top.path().join(name).symlink_metadata().unwrap();
            (metadata.uid(), metadata.gid())
        };
        directory.create_file("made").unwrap();
        let listener = directory.bind_socket(top.path(), "ctl").unwrap();
        assert_eq!(owner("made"), (OWNER, OWNER));
        assert_eq!(owner("ctl"), (OWNER, OWNER));
        drop(listener);
        std::fs::write(top.path().join("back"), "").unwrap();
        assert_eq!(owner("back"), (0, 0), "the process is root again");

        std::fs::write(top.path().join("roots"), "kept").unwrap();
        std::fs::write(top.path().join("linked"), "kept").unwrap();
        chown(&top.path().join("linked"), own, None).unwrap();
        std::fs::hard_link(top.path().join("linked"), top.path().join("other")).unwrap();
        symlink("made", top.path().join("link")).unwrap();
        for name in ["roots", "linked", "link"] {
            assert!(directory.open_or_create_file(name).is_err(), "{name}");
            assert!(directory.create_or_empty_file(name).is_err(), "{name}");
        }
        assert_eq!(std::fs::read(top.path().join("roots")).unwrap(), b"kept");
        directory.open_or_create_file("made").unwrap();
    }
}
