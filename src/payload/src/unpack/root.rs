//! The destination of an archive: entries are made below it, and nowhere else.
//!
//! Two rules keep everything inside. Each component of a name is opened by its own, below the open
//! directory before it, and never through a link. And a symbolic link is only made when its text
//! alone proves that it stays inside, wherever other links lead.
//!
//! What happens when a name comes twice: a file or link takes the place of a file or link, which is
//! removed first, so nothing is ever written through a link or into a hard-linked file. A directory
//! neither replaces nor is replaced.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::directory::{Directory, is_errno, join, unsafe_link_target};
use crate::error::{ArchiveProblem, EntryKind, Error, show_bytes};

use super::name::EntryName;

/// An open destination.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    directory: Directory,
    /// The directories from the root down to where the last entry was made, with their names:
    /// neighbours in an archive are neighbours in the tree. They stay valid because no directory
    /// is ever removed or replaced here.
    open: Vec<(Vec<u8>, Directory)>,
    mode_mask: u32,
}

impl Root {
    /// Opens `path`, made first where it is missing.
    pub(super) fn open(path: &Path, mode_mask: u32) -> Result<Self, Error> {
        let directory = Directory::open_or_create(path)
            .map_err(|error| Error::io("open the destination", path, error))?;
        Ok(Self {
            path: path.to_path_buf(),
            directory,
            open: Vec::new(),
            mode_mask: mode_mask & 0o777,
        })
    }

    /// Makes the directory `name`, or gives an existing one this mode.
    pub(super) fn directory(&mut self, name: &EntryName, mode: u32) -> Result<(), Error> {
        let mode = self.directory_mode(mode);
        let path = self.path.clone();
        let directory = self.walk(name, name.components())?;
        // The root's own mode belongs to the caller.
        if name.split().is_some() {
            directory
                .set_mode(mode)
                .map_err(|error| Error::io("set the mode of", join(&path, name.raw()), error))?;
        }
        Ok(())
    }

    /// Makes the empty file `name` with this mode, for writing.
    pub(super) fn file(&mut self, name: &EntryName, mode: u32) -> Result<File, Error> {
        let mode = (mode & self.mode_mask) | 0o600;
        let file = self.make(name, "create", |parent, leaf| parent.create_file(leaf))?;
        file.set_permissions(Permissions::from_mode(mode))
            .map_err(|error| Error::io("set the mode of", self.place(name), error))?;
        Ok(file)
    }

    /// Makes the symbolic link `name`.
    pub(super) fn symlink(&mut self, name: &EntryName, target: &[u8]) -> Result<(), Error> {
        if let Some(reason) = unsafe_link_target(target, name.parents()) {
            let target = show_bytes(target);
            return Err(name.refuse(ArchiveProblem::LinkTarget { target, reason }));
        }
        self.make(name, "create the link", |parent, leaf| {
            parent.symlink(target, leaf)
        })
    }

    /// Makes `name` one more name of the regular file `target`.
    pub(super) fn hard_link(&mut self, name: &EntryName, target: &EntryName) -> Result<(), Error> {
        let refused = || {
            name.refuse(ArchiveProblem::HardLinkTarget {
                target: show_bytes(target.raw()),
            })
        };
        let (parents, target_leaf) = target.split().ok_or_else(refused)?;
        let mut directory = self
            .directory
            .try_clone()
            .map_err(|error| Error::io("open the destination", &self.path, error))?;
        for parent in parents {
            directory = directory.enter(parent).map_err(|_| refused())?;
        }
        if !matches!(directory.kind(target_leaf), Ok(Some(EntryKind::File))) {
            return Err(refused());
        }
        if name.components().eq(target.components()) {
            // A file that is a link to itself is there already; removing it first would lose it.
            return Ok(());
        }
        self.make(name, "create the hard link", |parent, leaf| {
            directory.hard_link(target_leaf, parent, leaf)
        })
    }

    /// Where `name` lies, for messages.
    pub(super) fn place(&self, name: &EntryName) -> PathBuf {
        name.components()
            .fold(self.path.clone(), |path, component| join(&path, component))
    }

    /// Calls `create` for the last component of `name`, once more after removing a file or link
    /// that is in its place.
    fn make<T>(
        &mut self,
        name: &EntryName,
        operation: &'static str,
        create: impl Fn(&Directory, &[u8]) -> io::Result<T>,
    ) -> Result<T, Error> {
        let place = self.path.clone();
        let failed = |error| Error::io(operation, join(&place, name.raw()), error);
        let Some((parents, leaf)) = name.split() else {
            return Err(name.refuse(ArchiveProblem::DirectoryInTheWay));
        };
        let parent = self.walk(name, parents)?;
        match create(parent, leaf) {
            Err(error) if is_errno(&error, Errno::EEXIST) => {}
            done => return done.map_err(failed),
        }
        if parent.kind(leaf).map_err(failed)? == Some(EntryKind::Directory) {
            return Err(name.refuse(ArchiveProblem::DirectoryInTheWay));
        }
        parent.unlink(leaf).map_err(failed)?;
        create(parent, leaf).map_err(failed)
    }

    /// The directory that `components` lead to, making those that are missing.
    fn walk<'a, 'n>(
        &'a mut self,
        name: &EntryName,
        components: impl Iterator<Item = &'n [u8]>,
    ) -> Result<&'a Directory, Error> {
        let mut components = components.peekable();
        let mut shared = 0;
        while let (Some((open, _)), Some(component)) = (self.open.get(shared), components.peek()) {
            if open != component {
                break;
            }
            shared += 1;
            components.next();
        }
        self.open.truncate(shared);
        for component in components {
            let parent = self
                .open
                .last()
                .map_or(&self.directory, |(_, directory)| directory);
            let directory = self.step(name, parent, component)?;
            self.open.push((component.to_vec(), directory));
        }
        Ok(self
            .open
            .last()
            .map_or(&self.directory, |(_, directory)| directory))
    }

    /// The directory `component` of `parent`, made if it is missing.
    fn step(
        &self,
        name: &EntryName,
        parent: &Directory,
        component: &[u8],
    ) -> Result<Directory, Error> {
        let failed = |error| Error::io("open the directory", join(&self.path, name.raw()), error);
        match parent.enter(component) {
            Err(error) if is_errno(&error, Errno::ENOENT) => {}
            Err(error) if is_errno(&error, Errno::ENOTDIR) || is_errno(&error, Errno::ELOOP) => {
                let found = parent
                    .kind(component)
                    .map_err(failed)?
                    .unwrap_or(EntryKind::Unknown);
                let component = show_bytes(component);
                return Err(name.refuse(ArchiveProblem::NotADirectory { component, found }));
            }
            entered => return entered.map_err(failed),
        }
        let made = || -> io::Result<Directory> {
            parent.make(component)?;
            let directory = parent.enter(component)?;
            directory.set_mode(self.directory_mode(0o755))?;
            Ok(directory)
        };
        made().map_err(|error| Error::io("create the directory", self.place(name), error))
    }

    fn directory_mode(&self, mode: u32) -> u32 {
        (mode & self.mode_mask) | 0o700
    }
}
