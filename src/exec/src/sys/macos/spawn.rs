//! Making a process, and what such a child may do to become another user.
//!
//! Type-checked for both architectures of macOS, never run.

use std::ffi::{c_int, c_void};
use std::io;

use nix::errno::Errno;
use nix::unistd::{ForkResult, Uid, fork};

use super::process_table::uses_of;
use crate::identity::ProcessId;
use crate::sys::Namespaces;
use crate::sys::clone::Placement;

/// The first instruction of a child.
pub(in crate::sys) type ChildMain = unsafe extern "C" fn(*const c_void) -> !;

/// Nothing binds a child to its parent here.
#[expect(clippy::unnecessary_wraps, reason = "the same on every system")]
pub(in crate::sys) fn bind_to_parent(_parent: c_int) -> Result<(), c_int> {
    Ok(())
}

/// What [`crate::sys::mark_close_on_exec`] has done is all there is.
pub(in crate::sys) fn close_on_exec_from(_first: u32) {}

/// Forks a child that starts in `child_main`.
///
/// # Safety
///
/// `child_main` may be called with `argument`, and makes system calls only.
pub(in crate::sys) unsafe fn spawn(
    child_main: ChildMain,
    argument: *const c_void,
    placement: &Placement<'_>,
) -> io::Result<ProcessId> {
    if placement.namespaces != Namespaces::default() || placement.group.is_some() {
        // Nobody gets here who has asked what there is.
        return Err(io::ErrorKind::Unsupported.into());
    }
    // SAFETY: the child makes system calls only until it executes a program.
    match unsafe { fork()? } {
        ForkResult::Parent { child } => Ok(ProcessId(child.as_raw())),
        // SAFETY: this function's own condition.
        ForkResult::Child => unsafe { child_main(argument) },
    }
}

/// Sets the groups of a child.
///
/// # Safety
///
/// The caller is a child between fork and execution or end.
pub(in crate::sys) unsafe fn set_groups(groups: &[libc::gid_t]) -> Result<(), c_int> {
    let count = c_int::try_from(groups.len()).map_err(|_| libc::EINVAL)?;
    // Not `initgroups`, which would have the directory service add groups of its own.
    // SAFETY: the kernel reads so many numbers from the slice.
    check(unsafe { libc::setgroups(count, groups.as_ptr()) })
}

/// Sets all three group ids of a child of root.
///
/// # Safety
///
/// As for [`set_groups`].
pub(in crate::sys) unsafe fn set_group(gid: libc::gid_t) -> Result<(), c_int> {
    // SAFETY: the call takes a number.
    check(unsafe { libc::setgid(gid) })
}

/// Sets all three user ids of a child of root.
///
/// # Safety
///
/// As for [`set_groups`].
pub(in crate::sys) unsafe fn set_user(uid: libc::uid_t) -> Result<(), c_int> {
    // SAFETY: the call takes a number.
    check(unsafe { libc::setuid(uid) })
}

/// As [`set_user`], for [`user_may_have_other_processes`].
///
/// # Safety
///
/// As for [`set_groups`].
pub(in crate::sys) unsafe fn set_user_that_may_have_no_other_process(
    uid: libc::uid_t,
) -> Result<(), c_int> {
    // SAFETY: this function's own condition.
    unsafe { set_user(uid) }
}

/// Whether this child is not the only process of the user that it has just become.
///
/// # Safety
///
/// As for [`set_groups`], after [`set_user_that_may_have_no_other_process`].
pub(in crate::sys) unsafe fn user_may_have_other_processes() -> bool {
    // What cannot be counted may be there.
    uses_of(Uid::current().as_raw()).is_none_or(|count| count > 1)
}

pub(super) fn check(result: c_int) -> Result<(), c_int> {
    if result < 0 {
        Err(Errno::last_raw())
    } else {
        Ok(())
    }
}
