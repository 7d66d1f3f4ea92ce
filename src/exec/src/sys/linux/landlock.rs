//! Landlock: a process that binds itself, and all that come from it, to write only beneath a few
//! directories. See landlock(7).

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

/// Rights to change something, with the version of Landlock that knows each first: to write to,
/// remove and make files of every kind; to move them between directories; to cut them short.
const WRITES: [(u32, u64); 12] = [
    (1, 1 << 1),
    (1, 1 << 4),
    (1, 1 << 5),
    (1, 1 << 6),
    (1, 1 << 7),
    (1, 1 << 8),
    (1, 1 << 9),
    (1, 1 << 10),
    (1, 1 << 11),
    (1, 1 << 12),
    (2, 1 << 13),
    (3, 1 << 14),
];

/// Directories of the machine that every command writes to: what it may there is for the modes of
/// what is in them to say.
const SHARED: [&str; 2] = ["/dev", "/proc"];

#[repr(C)]
struct RulesetAttributes {
    handled_access_fs: u64,
}

#[repr(C, packed)]
struct PathBeneathAttributes {
    allowed_access: u64,
    parent: RawFd,
}

const RULE_PATH_BENEATH: libc::c_int = 1;
const CREATE_RULESET_VERSION: libc::c_uint = 1;

/// The version of Landlock; an error where there is none.
pub(crate) fn landlock_version() -> io::Result<u32> {
    let none = std::ptr::null::<RulesetAttributes>();
    // SAFETY: with this flag the kernel reads nothing.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            none,
            0,
            CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(version).map_err(|_| io::Error::last_os_error())
}

/// Rules by which nothing may be changed but beneath these directories, in `/dev` and in `/proc`.
pub(super) fn write_only_beneath(directories: &[BorrowedFd<'_>]) -> io::Result<OwnedFd> {
    let version = landlock_version()?;
    let handled = WRITES
        .iter()
        .filter(|(since, _)| *since <= version)
        .fold(0, |all, (_, right)| all | right);
    let attributes = RulesetAttributes {
        handled_access_fs: handled,
    };
    // SAFETY: the kernel reads as many bytes of the structure as it is large.
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const attributes,
            size_of::<RulesetAttributes>(),
            0,
        )
    };
    let ruleset = RawFd::try_from(result).map_err(io::Error::other)?;
    if ruleset < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us alone.
    let ruleset = unsafe { OwnedFd::from_raw_fd(ruleset) };
    for directory in directories {
        allow(&ruleset, *directory, handled)?;
    }
    for path in SHARED {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(path, flags, Mode::empty())?;
        allow(&ruleset, directory.as_fd(), handled)?;
    }
    Ok(ruleset)
}

fn allow(ruleset: &OwnedFd, directory: BorrowedFd<'_>, rights: u64) -> io::Result<()> {
    let rule = PathBeneathAttributes {
        allowed_access: rights,
        parent: directory.as_raw_fd(),
    };
    // SAFETY: the kernel reads the structure, which is laid out as it has it.
    let added = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            RULE_PATH_BENEATH,
            &raw const rule,
            0,
        )
    };
    if added < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Binds this child to the rules.
///
/// # Safety
///
/// The caller is a child between clone and execution, and has given up gaining privileges.
pub(super) unsafe fn bind_to(ruleset: &OwnedFd) -> Result<(), libc::c_int> {
    // SAFETY: the call takes numbers only.
    let bound = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
    if bound < 0 {
        return Err(nix::Error::last_raw());
    }
    Ok(())
}
