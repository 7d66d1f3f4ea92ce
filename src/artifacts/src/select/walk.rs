//! The walk through directories that somebody else has written.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

use super::selected::{Identity, Selected, directory_flags, is_kind};
use super::{LeftOut, Limits, Problem, Rule, Selection, Take};
use crate::name::{ArtifactName, encode};

/// Most levels, whatever the limits say: each holds a descriptor while it is walked.
const DEEPEST: usize = 256;

/// A selection in the making.
pub(super) struct Walk<'a> {
    limits: &'a Limits,
    selection: Selection,
    /// Names of files.
    names: HashSet<ArtifactName>,
    /// Directories in those names.
    directories: HashSet<ArtifactName>,
    identities: HashSet<Identity>,
    entries: usize,
    /// Files beyond the limit: where the first one is, and how many.
    beyond: Option<(String, usize)>,
    progress: Progress,
}

/// Whether the walk still looks at entries.
#[derive(PartialEq, Eq)]
enum Progress {
    Walking,
    /// The limit on entries was reached.
    Ended,
}

/// A rule being applied.
struct Root<'a> {
    rule: &'a Rule,
    descriptor: Arc<OwnedFd>,
    identity: Identity,
    owner: u32,
}

/// A directory being walked.
struct Level {
    descriptor: Arc<OwnedFd>,
    /// Its entries, last first.
    entries: Vec<OsString>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(reserved: &[ArtifactName], limits: &'a Limits) -> Self {
        let mut walk = Self {
            limits,
            selection: Selection::default(),
            names: HashSet::new(),
            directories: HashSet::new(),
            identities: HashSet::new(),
            entries: 0,
            beyond: None,
            progress: Progress::Walking,
        };
        for name in reserved {
            walk.claim(name.clone());
        }
        walk
    }

    pub(super) fn rule(&mut self, rule: &Rule) {
        let shown = || encode(rule.directory.as_os_str().as_bytes());
        let opened = open(&rule.directory, directory_flags(), Mode::empty())
            .and_then(|descriptor| fstat(&descriptor).map(|stat| (descriptor, stat)));
        match opened {
            Ok((descriptor, stat)) => {
                let root = Root {
                    rule,
                    descriptor: Arc::new(descriptor),
                    identity: Identity::of(&stat),
                    owner: stat.st_uid,
                };
                self.directories(&root);
            }
            // Nothing was put there.
            Err(Errno::ENOENT) => {}
            Err(Errno::ELOOP | Errno::ENOTDIR) => self.problem(shown(), LeftOut::NotADirectory),
            Err(errno) => self.problem(
                shown(),
                LeftOut::Unreadable {
                    operation: "open",
                    errno,
                },
            ),
        }
    }

    pub(super) fn finish(mut self) -> Selection {
        if let Some((path, files)) = self.beyond.take() {
            let limit = self.limits.files;
            // Said even if the list is full: it is the one that hides most.
            self.selection.problems.push(Problem {
                path,
                reason: LeftOut::TooManyFiles { limit, files },
            });
        }
        self.selection
    }

    /// Walks a rule's directory, depth first, without recursion.
    fn directories(&mut self, root: &Root<'_>) {
        let mut path = PathBuf::new();
        let mut levels = Vec::new();
        let Some(top) = self.level(root, Arc::clone(&root.descriptor), &path) else {
            return;
        };
        levels.push(top);
        while let Some(level) = levels.last_mut() {
            let Some(entry) = level.entries.pop() else {
                levels.pop();
                path.pop();
                continue;
            };
            let parent = Arc::clone(&level.descriptor);
            path.push(&entry);
            if let Some(directory) = self.entry(root, &parent, &entry, &path, levels.len())
                && let Some(level) = self.level(root, Arc::new(directory), &path)
            {
                levels.push(level);
            } else {
                path.pop();
            }
            if self.progress == Progress::Ended {
                return;
            }
        }
    }

    /// Reads the entries of a directory.
    fn level(&mut self, root: &Root<'_>, descriptor: Arc<OwnedFd>, path: &Path) -> Option<Level> {
        let unreadable = |errno| LeftOut::Unreadable {
            operation: "read directory",
            errno,
        };
        // A directory stream owns its descriptor, and shares the cursor of a duplicate: `.` makes
        // one of its own.
        let stream =
            openat(&*descriptor, ".", directory_flags(), Mode::empty()).and_then(Dir::from_fd);
        let mut stream = match stream {
            Ok(stream) => stream,
            Err(errno) => {
                self.problem(shown(root.rule, path), unreadable(errno));
                return None;
            }
        };
        let mut entries = Vec::new();
        for entry in stream.iter() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) => {
                    self.problem(shown(root.rule, path), unreadable(errno));
                    break;
                }
            };
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if self.entries == self.limits.entries {
                self.progress = Progress::Ended;
                let limit = self.limits.entries;
                self.problem(shown(root.rule, path), LeftOut::TooManyEntries { limit });
                break;
            }
            self.entries += 1;
            entries.push(OsStr::from_bytes(name).to_owned());
        }
        entries.sort_unstable_by(|first, second| second.cmp(first));
        Some(Level {
            descriptor,
            entries,
        })
    }

    /// Looks at one entry: selects a file, opens a directory that is to be walked.
    fn entry(
        &mut self,
        root: &Root<'_>,
        parent: &OwnedFd,
        entry: &OsStr,
        path: &Path,
        depth: usize,
    ) -> Option<OwnedFd> {
        let stat = match fstatat(parent, entry, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Gone since the directory was read.
            Err(Errno::ENOENT) => return None,
            Err(errno) => {
                if root.takes(path) || root.enters(path) {
                    let reason = LeftOut::Unreadable {
                        operation: "look at",
                        errno,
                    };
                    self.problem(shown(root.rule, path), reason);
                }
                return None;
            }
        };
        if is_kind(&stat, SFlag::S_IFDIR) {
            return self.directory(root, parent, entry, path, depth, &stat);
        }
        if !root.takes(path) {
            return None;
        }
        if is_kind(&stat, SFlag::S_IFREG) {
            self.file(root, path, &stat);
        } else {
            self.problem(shown(root.rule, path), what_else(&stat));
        }
        None
    }

    fn directory(
        &mut self,
        root: &Root<'_>,
        parent: &OwnedFd,
        entry: &OsStr,
        path: &Path,
        depth: usize,
        stat: &FileStat,
    ) -> Option<OwnedFd> {
        if !root.enters(path) {
            return None;
        }
        let limit = self.limits.depth.min(DEEPEST);
        let left_out = if !root.identity.same_device(Identity::of(stat)) {
            LeftOut::OtherFileSystem
        } else if depth > limit {
            LeftOut::TooDeep { limit }
        } else {
            match openat(parent, entry, directory_flags(), Mode::empty()) {
                Ok(directory) => return Some(directory),
                Err(Errno::ENOENT) => return None,
                Err(Errno::ELOOP | Errno::ENOTDIR) => LeftOut::NotADirectory,
                Err(errno) => LeftOut::Unreadable {
                    operation: "open directory",
                    errno,
                },
            }
        };
        self.problem(shown(root.rule, path), left_out);
        None
    }

    fn file(&mut self, root: &Root<'_>, path: &Path, stat: &FileStat) {
        let identity = Identity::of(stat);
        if self.identities.contains(&identity) {
            return;
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let limit = self.limits.total_bytes;
        let left_out = if !root.identity.same_device(identity) {
            LeftOut::OtherFileSystem
        } else if stat.st_nlink > 1 && stat.st_uid != root.owner {
            // Not every system keeps people from linking to files that they may not read.
            LeftOut::ForeignHardLink
        } else if self.selection.files.len() >= self.limits.files {
            let (_, files) = self
                .beyond
                .get_or_insert_with(|| (shown(root.rule, path), 0));
            *files += 1;
            return;
        } else if size > limit.saturating_sub(self.selection.total_bytes) {
            LeftOut::TooManyBytes { limit, size }
        } else if let Some(name) = self.name(root.rule, path) {
            self.identities.insert(identity);
            self.claim(name.clone());
            self.selection.total_bytes += size;
            self.selection.files.push(Selected {
                name,
                kind: root.rule.kind,
                size,
                root: Arc::clone(&root.descriptor),
                components: path.iter().map(OsStr::to_owned).collect(),
                identity,
            });
            return;
        } else {
            LeftOut::Unnameable
        };
        self.problem(shown(root.rule, path), left_out);
    }

    /// A name that no other file has. Nor is it a directory in another's name, or beneath
    /// another's name: a folder could not hold both.
    fn name(&self, rule: &Rule, path: &Path) -> Option<ArtifactName> {
        let wanted = match &rule.beneath {
            Some(beneath) => ArtifactName::from_path(beneath.to_path().join(path)),
            None => ArtifactName::from_path(path),
        };
        let mut directory: Option<ArtifactName> = None;
        for parent in wanted.as_ref().ok()?.parents() {
            let parent = match &directory {
                Some(directory) => directory.join_last_of(&parent),
                None => parent,
            };
            directory = Some(free(parent, |name| !self.names.contains(name)));
        }
        let name = match (&directory, wanted.ok()?) {
            (Some(directory), wanted) => directory.join_last_of(&wanted),
            (None, wanted) => wanted,
        };
        Some(free(name, |name| {
            !self.names.contains(name) && !self.directories.contains(name)
        }))
    }

    fn claim(&mut self, name: ArtifactName) {
        self.directories.extend(name.parents());
        self.names.insert(name);
    }

    fn problem(&mut self, path: String, reason: LeftOut) {
        if self.selection.problems.len() < self.limits.problems {
            self.selection.problems.push(Problem { path, reason });
        } else {
            self.selection.unlisted_problems += 1;
        }
    }
}

impl Root<'_> {
    fn takes(&self, path: &Path) -> bool {
        match &self.rule.take {
            Take::Everything => true,
            Take::Matching(globs) => globs.is_match(path),
        }
    }

    fn enters(&self, path: &Path) -> bool {
        match &self.rule.take {
            Take::Everything => true,
            Take::Matching(globs) => globs.may_match_beneath(path),
        }
    }
}

/// The name itself, or the first one with a number, that is free.
fn free(name: ArtifactName, is_free: impl Fn(&ArtifactName) -> bool) -> ArtifactName {
    if is_free(&name) {
        return name;
    }
    let mut number = 2;
    loop {
        let numbered = name.numbered(number);
        if is_free(&numbered) {
            return numbered;
        }
        number += 1;
    }
}

fn shown(rule: &Rule, path: &Path) -> String {
    let path = encode(path.as_os_str().as_bytes());
    match (&rule.beneath, path.is_empty()) {
        (_, true) => encode(rule.directory.as_os_str().as_bytes()),
        (Some(beneath), false) => format!("{beneath}/{path}"),
        (None, false) => path,
    }
}

fn what_else(stat: &FileStat) -> LeftOut {
    let kinds = [
        (SFlag::S_IFIFO, "fifo"),
        (SFlag::S_IFSOCK, "socket"),
        (SFlag::S_IFCHR, "character device"),
        (SFlag::S_IFBLK, "block device"),
    ];
    if is_kind(stat, SFlag::S_IFLNK) {
        return LeftOut::SymbolicLink;
    }
    let what = kinds.into_iter().find(|&(kind, _)| is_kind(stat, kind));
    LeftOut::Special {
        what: what.map_or("special file", |(_, what)| what),
    }
}
