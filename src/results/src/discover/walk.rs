//! The walk itself: directory by directory, shallow ones first, within its bounds.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::dir::{Dir, Type};
use nix::sys::stat::{FileStat, Mode, fstat};

use super::beneath::{
    Identity, directory_flags, identity, is_link, open_directory_beneath, open_file,
};
use super::{DiscoverError, DiscoverLimits, Discovery, Found};

pub(super) struct Walk<'a> {
    limits: &'a DiscoverLimits,
    discovery: Discovery,
    files_seen: HashSet<Identity>,
    directories_seen: HashSet<Identity>,
    entries: usize,
    total_bytes: u64,
}

/// A directory still to be read. Only its path is kept, so that pending directories cost no descriptor.
struct Pending {
    relative: PathBuf,
    depth: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(limits: &'a DiscoverLimits) -> Self {
        Self {
            limits,
            discovery: Discovery::default(),
            files_seen: HashSet::new(),
            directories_seen: HashSet::new(),
            entries: 0,
            total_bytes: 0,
        }
    }

    /// What was found.
    pub(super) fn finish(self) -> Discovery {
        self.discovery
    }

    pub(super) fn root(&mut self, path: &Path) -> Result<(), DiscoverError> {
        let root = nix::fcntl::open(path, directory_flags(), Mode::empty()).map_err(|errno| {
            DiscoverError::Root {
                path: path.to_owned(),
                source: errno.into(),
            }
        })?;
        let root = Arc::new(root);
        let mut pending = VecDeque::from([Pending {
            relative: PathBuf::new(),
            depth: 0,
        }]);
        while let Some(directory) = pending.pop_front() {
            if let Err(error) = self.directory(&root, path, &directory, &mut pending) {
                self.pass_over(&path.join(&directory.relative), &error.to_string());
            }
        }
        Ok(())
    }

    fn directory(
        &mut self,
        root: &Arc<OwnedFd>,
        root_path: &Path,
        pending: &Pending,
        queue: &mut VecDeque<Pending>,
    ) -> io::Result<()> {
        let directory = open_directory_beneath(root, &pending.relative)?;
        if !self.directories_seen.insert(identity(&fstat(&directory)?)) {
            return Ok(());
        }
        let (names, subdirectories) =
            self.list(directory.try_clone()?, &root_path.join(&pending.relative))?;
        for name in names {
            let relative = pending.relative.join(&name);
            let path = root_path.join(&relative);
            match open_file(&directory, &name) {
                Ok((_, status)) => self.file(root, relative, path, &status),
                Err(error) => {
                    let listed = self.discovery.passed_over.len();
                    self.pass_over(&path, &error.to_string());
                    if is_link(&error) {
                        let line = self.discovery.passed_over.get(listed).cloned();
                        self.discovery.links.extend(line);
                    }
                }
            }
        }
        for name in subdirectories {
            let relative = pending.relative.join(name);
            if pending.depth < self.limits.depth {
                queue.push_back(Pending {
                    relative,
                    depth: pending.depth + 1,
                });
            } else {
                self.pass_over(
                    &root_path.join(relative),
                    "is nested too deep to be entered",
                );
            }
        }
        Ok(())
    }

    /// The names of possible result files and of directories in one directory, each sorted.
    fn list(
        &mut self,
        directory: OwnedFd,
        path: &Path,
    ) -> io::Result<(BTreeSet<OsString>, BTreeSet<OsString>)> {
        let mut names = BTreeSet::new();
        let mut subdirectories = BTreeSet::new();
        let mut directory = Dir::from_fd(directory)?;
        for entry in directory.iter() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            if self.entries >= self.limits.entries {
                self.pass_over(path, "has more entries than are looked at");
                break;
            }
            self.entries += 1;
            match entry.file_type() {
                Some(Type::Directory) => {
                    subdirectories.insert(name.to_owned());
                }
                Some(Type::File) if self.limits.names.fit(name) => {
                    names.insert(name.to_owned());
                }
                Some(Type::Symlink) if self.limits.names.fit(name) => {
                    names.insert(name.to_owned());
                }
                Some(_) => {}
                // Some file systems do not say; opening tells, and fails harmlessly on the wrong kind.
                None => {
                    if self.limits.names.fit(name) {
                        names.insert(name.to_owned());
                    } else {
                        subdirectories.insert(name.to_owned());
                    }
                }
            }
        }
        Ok((names, subdirectories))
    }

    fn file(&mut self, root: &Arc<OwnedFd>, relative: PathBuf, path: PathBuf, status: &FileStat) {
        let bytes = u64::try_from(status.st_size).unwrap_or(0);
        let identity = identity(status);
        if self.files_seen.contains(&identity) {
            return;
        }
        if self.discovery.files.len() >= self.limits.files {
            return self.pass_over(&path, "is one result file more than are read");
        }
        if bytes > self.limits.file_bytes {
            return self.pass_over(&path, "is larger than a result file may be");
        }
        if self.total_bytes.saturating_add(bytes) > self.limits.total_bytes {
            return self.pass_over(&path, "would make the result files too large together");
        }
        self.total_bytes += bytes;
        self.files_seen.insert(identity);
        self.discovery.files.push(Found {
            relative,
            path,
            bytes,
            root: root.clone(),
            identity,
        });
    }

    fn pass_over(&mut self, path: &Path, why: &str) {
        if self.discovery.passed_over.len() < 100 {
            let path = path.to_string_lossy();
            let path = crate::text::printable_line(&path, 1024);
            self.discovery.passed_over.push(format!("`{path}`: {why}"));
        } else {
            self.discovery.passed_over_unlisted += 1;
        }
    }
}
