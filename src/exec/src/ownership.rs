//! Directories that change hands: from the client to the command's user, and back.
//!
//! The walk is done with the rights of root over names that an untrusted party has chosen, so it
//! follows nothing: each thing is opened by its plain name without following a link, looked at
//! through that descriptor, and its owner changed through that same descriptor. Only what belongs
//! to the party that hands over changes: a hard link to a stranger's file stays the stranger's. The
//! walk does not cross into other file systems.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::{Dir, OwningIter};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag};
use nix::unistd::{Gid, Uid};
use serde::{Deserialize, Serialize};

use crate::sys::{self, Thing};

/// Directories open at a time on the way down; two descriptors each. What lies deeper is moved to
/// the top first.
const MAX_DEPTH: usize = 200;

/// Problems that are told one by one.
const MAX_PROBLEMS: usize = 8;

/// What a change of hands has come to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Transferred {
    /// Files and directories whose owner was changed.
    pub changed: u64,
    /// Those that belong to neither party, or lie in another file system, and were left alone on
    /// purpose: a hard link to a stranger's file is in nobody's way.
    pub strangers: u64,
    /// Times that something should have changed hands, or been looked into, and could not be.
    pub failed: u64,
    /// The first few of what went wrong, in words that name the file's own name, not its path.
    pub problems: Vec<String>,
}

impl Transferred {
    fn problem(&mut self, operation: &str, name: &CStr, errno: Errno) {
        self.failed += 1;
        if self.problems.len() < MAX_PROBLEMS {
            let name = name.to_string_lossy();
            self.problems
                .push(format!("{operation} `{name}`: {}", errno.desc()));
        }
    }

    /// This and another, as one.
    pub(crate) fn add(&mut self, other: Self) {
        self.changed += other.changed;
        self.strangers += other.strangers;
        self.failed += other.failed;
        let room = MAX_PROBLEMS.saturating_sub(self.problems.len());
        self.problems.extend(other.problems.into_iter().take(room));
    }
}

/// From whom to whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change<'a> {
    /// Whose things change hands.
    pub(crate) from: &'a [Uid],
    pub(crate) to: (Uid, Gid),
    pub(crate) modes: Modes,
}

/// What becomes of the modes of what changes hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Modes {
    /// They stay.
    Keep,
    /// The new owner can read all, enter all directories and remove everything, whatever the old
    /// one has left. What keeps even root from changing a file is taken off.
    Regain,
}

/// Changes the owner of a directory and of all that it holds.
pub(crate) fn transfer(top: &OwnedFd, change: Change<'_>) -> Transferred {
    let mut walk = Walk {
        change,
        top: top.as_fd(),
        device: 0,
        transferred: Transferred::default(),
        levels: Vec::new(),
        hung_up: 0,
        pending: Vec::new(),
    };
    walk.run();
    walk.transferred
}

struct Walk<'a> {
    change: Change<'a>,
    top: BorrowedFd<'a>,
    /// The file system of the top.
    device: libc::dev_t,
    transferred: Transferred,
    /// From the top to where the walk is.
    levels: Vec<Level>,
    /// How many names were made for directories that lay too deep.
    hung_up: u64,
    /// Those of them that are still to be entered.
    pending: Vec<CString>,
}

/// A directory that is being listed.
struct Level {
    directory: OwnedFd,
    entries: OwningIter,
}

impl Walk<'_> {
    fn run(&mut self) {
        match Thing::open(self.top, c".").and_then(|top| Ok((top.stat()?, top))) {
            Ok((stat, top)) => {
                self.device = stat.st_dev;
                self.take(&top, &stat, c".");
            }
            Err(errno) => self.transferred.problem("look at", c".", errno),
        }
        self.enter(Ok(self.top), c".");
        loop {
            self.walk_levels();
            let Some(name) = self.pending.pop() else {
                return;
            };
            match Thing::open(self.top, &name) {
                Ok(directory) => self.enter(directory.as_directory(), &name),
                Err(errno) => self.transferred.problem("open", &name, errno),
            }
        }
    }

    fn walk_levels(&mut self) {
        while let Some(level) = self.levels.last_mut() {
            match level.entries.next() {
                None => {
                    self.levels.pop();
                }
                Some(Ok(entry)) if is_self_or_parent(entry.file_name()) => {}
                Some(Ok(entry)) => self.visit(entry.file_name()),
                Some(Err(errno)) => {
                    self.transferred.problem("list", c".", errno);
                    self.levels.pop();
                }
            }
        }
    }

    fn visit(&mut self, name: &CStr) {
        let Some(level) = self.levels.last() else {
            return;
        };
        let thing = match Thing::open(level.directory.as_fd(), name) {
            Ok(thing) => thing,
            // Removed since it was listed.
            Err(Errno::ENOENT) => return,
            Err(errno) => return self.transferred.problem("open", name, errno),
        };
        let stat = match thing.stat() {
            Ok(stat) if stat.st_dev == self.device => stat,
            Ok(_) => return self.transferred.strangers += 1,
            Err(errno) => return self.transferred.problem("look at", name, errno),
        };
        self.take(&thing, &stat, name);
        if is_directory(&stat) {
            if self.levels.len() < MAX_DEPTH {
                self.enter(thing.as_directory(), name);
            } else {
                self.hang_up(name);
            }
        }
    }

    /// Changes the owner of one thing, through its descriptor.
    fn take(&mut self, thing: &Thing, stat: &FileStat, name: &CStr) {
        let Change { from, to, modes } = self.change;
        if !from.contains(&Uid::from_raw(stat.st_uid)) {
            if stat.st_uid != to.0.as_raw() {
                self.transferred.strangers += 1;
            }
            return;
        }
        let mut changed = thing.change_owner(to);
        if changed == Err(Errno::EPERM) && modes == Modes::Regain {
            changed = thing
                .make_mutable(is_directory(stat))
                .and_then(|()| thing.change_owner(to));
        }
        if let Err(errno) = changed {
            return self.transferred.problem("change the owner of", name, errno);
        }
        self.transferred.changed += 1;
        if modes == Modes::Regain
            && let Some(mode) = regained(stat)
            && let Err(errno) = thing.change_mode(mode)
        {
            self.transferred.problem("change the mode of", name, errno);
        }
    }

    fn enter(&mut self, directory: nix::Result<BorrowedFd<'_>>, name: &CStr) {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let level = directory.and_then(|directory| {
            let directory = openat(directory, c".", flags, Mode::empty())?;
            let entries = Dir::from_fd(directory.try_clone().map_err(last_errno)?)?;
            Ok(Level {
                directory,
                entries: entries.into_iter(),
            })
        });
        match level {
            Ok(level) => self.levels.push(level),
            Err(errno) => self.transferred.problem("list", name, errno),
        }
    }

    /// Moves a directory that lies too deep to the top, to be walked when all else is done.
    fn hang_up(&mut self, name: &CStr) {
        let Some(level) = self.levels.last() else {
            return;
        };
        if self.change.modes == Modes::Keep {
            return self.transferred.problem("go down into", name, Errno::ELOOP);
        }
        let moved = loop {
            self.hung_up += 1;
            let new = format!(".too-deep-{}", self.hung_up);
            let Ok(new) = CString::new(new) else { return };
            match sys::rename_to_free_name(level.directory.as_fd(), name, self.top, &new) {
                Err(Errno::EEXIST) => {}
                moved => break moved.map(|()| new),
            }
        };
        match moved {
            Ok(new) => self.pending.push(new),
            Err(errno) => self.transferred.problem("bring up", name, errno),
        }
    }
}

fn last_errno(error: io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

/// The mode that gives the owner what it needs; `None` when it is that already.
fn regained(stat: &FileStat) -> Option<Mode> {
    let needed = match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFDIR => Mode::S_IRWXU,
        SFlag::S_IFREG => Mode::S_IRUSR | Mode::S_IWUSR,
        _ => return None,
    };
    let mode = Mode::from_bits_truncate(stat.st_mode);
    let special = Mode::S_ISUID | Mode::S_ISGID;
    let wanted = (mode | needed).difference(special);
    (wanted != mode).then_some(wanted)
}

fn is_directory(stat: &FileStat) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits()
}

fn is_self_or_parent(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::path::Path;

    use nix::unistd::{chown, geteuid};
    use tempfile::TempDir;

    use super::*;

    const FROM: u32 = 61_001;
    const TO: u32 = 61_002;

    /// A directory to try in; `None` without the right to change owners.
    fn top() -> Option<TempDir> {
        if !geteuid().is_root() {
            crate::skipped("only root can change owners");
            return None;
        }
        let top = TempDir::new().unwrap();
        give(top.path(), FROM);
        Some(top)
    }

    fn give(path: &Path, uid: u32) {
        chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid))).unwrap();
    }

    fn run(top: &TempDir, modes: Modes) -> Transferred {
        let directory = fs::File::open(top.path()).unwrap().into();
        let change = Change {
            from: &[Uid::from_raw(FROM)],
            to: (Uid::from_raw(TO), Gid::from_raw(TO)),
            modes,
        };
        transfer(&directory, change)
    }

    fn owner(path: &Path) -> u32 {
        path.symlink_metadata().unwrap().uid()
    }

    #[test]
    fn only_what_belongs_to_the_one_who_hands_over_changes_hands() {
        let Some(top) = top() else { return };
        let at = |name: &str| top.path().join(name);
        fs::create_dir(at("own")).unwrap();
        give(&at("own"), FROM);
        fs::write(at("own/file"), b"").unwrap();
        give(&at("own/file"), FROM);
        let stranger = TempDir::new_in(top.path().parent().unwrap()).unwrap();
        fs::write(stranger.path().join("secret"), b"").unwrap();
        give(&stranger.path().join("secret"), 0);
        fs::hard_link(stranger.path().join("secret"), at("own/link")).unwrap();
        fs::write(stranger.path().join("theirs"), b"").unwrap();
        give(&stranger.path().join("theirs"), FROM);
        symlink(stranger.path().join("theirs"), at("out")).unwrap();
        symlink(stranger.path(), at("away")).unwrap();

        let transferred = run(&top, Modes::Keep);

        assert_eq!(transferred.changed, 3, "{transferred:?}");
        assert_eq!(owner(&at("own")), TO);
        assert_eq!(owner(&at("own/file")), TO);
        assert_eq!(owner(&stranger.path().join("secret")), 0);
        assert_eq!(owner(&stranger.path().join("theirs")), FROM);
        // The stranger's file, and the two links that this test has made as root.
        assert_eq!(
            (transferred.strangers, transferred.failed),
            (3, 0),
            "{transferred:?}"
        );
    }

    #[test]
    fn modes_that_shut_the_new_owner_out_are_opened_only_when_regaining() {
        for (modes, expected) in [
            (Modes::Keep, [0o000, 0o4111]),
            (Modes::Regain, [0o700, 0o711]),
        ] {
            let Some(top) = top() else { return };
            let (directory, file) = (top.path().join("shut"), top.path().join("shut/file"));
            fs::create_dir(&directory).unwrap();
            fs::write(&file, b"").unwrap();
            give(&file, FROM);
            give(&directory, FROM);
            let mode = |path: &Path| path.symlink_metadata().unwrap().mode() & 0o7777;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o4111)).unwrap();
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o0)).unwrap();
            let transferred = run(&top, modes);
            assert_eq!(
                (transferred.changed, transferred.failed),
                (3, 0),
                "{transferred:?}"
            );
            assert_eq!(mode(&directory), expected[0]);
            // The kernel itself takes the set-user-id bit off when the owner changes.
            assert_eq!(
                mode(&file) & 0o777,
                expected[1] & 0o777 | if modes == Modes::Regain { 0o600 } else { 0 }
            );
            assert_eq!(mode(&file) & 0o7000, 0);
        }
    }

    #[test]
    fn tree_of_any_depth_changes_hands_whole() {
        let Some(top) = top() else { return };
        let depth = MAX_DEPTH * 3 + 7;
        let mut directory: OwnedFd = fs::File::open(top.path()).unwrap().into();
        for _ in 0..depth {
            nix::sys::stat::mkdirat(&directory, c"d", Mode::S_IRWXU).unwrap();
            directory =
                openat(&directory, c"d", sys::open_directory_flags(), Mode::empty()).unwrap();
            sys::change_owner(
                directory.as_fd(),
                (Uid::from_raw(FROM), Gid::from_raw(FROM)),
            )
            .unwrap();
        }
        let transferred = run(&top, Modes::Regain);
        assert_eq!(transferred.changed, depth as u64 + 1, "{transferred:?}");
        assert_eq!((transferred.strangers, transferred.failed), (0, 0));
        assert_eq!(transferred.problems, Vec::<String>::new());
        assert_eq!(owner(&top.path().join(".too-deep-1")), TO);
    }

    #[test]
    fn file_that_even_root_cannot_change_is_made_changeable() {
        let Some(top) = top() else { return };
        let file = top.path().join("immutable");
        fs::write(&file, b"").unwrap();
        give(&file, FROM);
        let set = std::process::Command::new("chattr")
            .arg("+i")
            .arg(&file)
            .status();
        if !set.is_ok_and(|status| status.success()) {
            crate::skipped("files cannot be made immutable here");
            return;
        }
        let kept = run(&top, Modes::Keep);
        assert_eq!(kept.failed, 1, "{kept:?}");
        give(top.path(), FROM);
        let regained = run(&top, Modes::Regain);
        assert_eq!((regained.changed, regained.failed), (2, 0), "{regained:?}");
        assert_eq!(owner(&file), TO);
    }
}
