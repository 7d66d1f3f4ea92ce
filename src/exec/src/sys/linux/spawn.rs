//! Making a process that shares this one's memory until it executes its program, and what such a
//! child may do past the C library.
//!
//! The assembly for x86-64 is run by every test; that for 64-bit ARM has been compiled, never run.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;

use crate::identity::ProcessId;
use crate::sys::Namespaces;
use crate::sys::clone::Placement;

/// Stack of a child between clone and execution: a few frames of system calls.
const CHILD_STACK_WORDS: usize = 1 << 10;

/// Has clone3 start the child in a control group, see clone(2). Not in every C library's headers.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The first instruction of a child.
pub(in crate::sys) type ChildMain = unsafe extern "C" fn(*const c_void) -> !;

/// Sets the groups of a child, past the C library, which would do it in all threads.
///
/// # Safety
///
/// The caller is a child between clone and execution or end.
pub(in crate::sys) unsafe fn set_groups(groups: &[libc::gid_t]) -> Result<(), c_int> {
    // SAFETY: the kernel reads so many numbers from the slice.
    let result = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    if result < 0 {
        Err(Errno::last_raw())
    } else {
        Ok(())
    }
}

/// Sets all three group ids of a child.
///
/// # Safety
///
/// As for [`set_groups`].
pub(in crate::sys) unsafe fn set_group(gid: libc::gid_t) -> Result<(), c_int> {
    // SAFETY: the call takes numbers only.
    let result = unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) };
    if result < 0 {
        Err(Errno::last_raw())
    } else {
        Ok(())
    }
}

/// Sets all three user ids of a child.
///
/// # Safety
///
/// As for [`set_groups`].
pub(in crate::sys) unsafe fn set_user(uid: libc::uid_t) -> Result<(), c_int> {
    // SAFETY: the call takes numbers only.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
    if result < 0 {
        Err(Errno::last_raw())
    } else {
        Ok(())
    }
}

/// As [`set_user`], for [`user_may_have_other_processes`].
///
/// # Safety
///
/// As for [`set_groups`].
pub(in crate::sys) unsafe fn set_user_that_may_have_no_other_process(
    uid: libc::uid_t,
) -> Result<(), c_int> {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure is plain data that the kernel reads; the rest is this function's own
    // condition.
    unsafe {
        if libc::setrlimit(libc::RLIMIT_NPROC, &raw const none) < 0 {
            return Err(Errno::last_raw());
        }
        set_user(uid)
    }
}

/// Whether this child is not the only process of the user that it has just become.
///
/// A process that becomes a user who has reached the limit on processes is let go on, but may not
/// execute anything, see execve(2), EAGAIN: which is found out before it is seen that a directory
/// is nothing to execute. Kernels before 5.14 say so a process too early.
///
/// # Safety
///
/// As for [`set_groups`], after [`set_user_that_may_have_no_other_process`].
pub(in crate::sys) unsafe fn user_may_have_other_processes() -> bool {
    let none = [std::ptr::null()];
    // SAFETY: a C string and two arrays that end with a null.
    unsafe { libc::execve(c"/".as_ptr(), none.as_ptr(), none.as_ptr()) };
    Errno::last_raw() == libc::EAGAIN
}

/// Has this child killed when its parent dies, and makes sure that it has not died already.
pub(in crate::sys) fn bind_to_parent(parent: c_int) -> Result<(), c_int> {
    // SAFETY: these calls take numbers only.
    unsafe {
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) < 0 {
            return Err(Errno::last_raw());
        }
        if libc::getppid() == parent {
            Ok(())
        } else {
            Err(libc::ESRCH)
        }
    }
}

/// Second net under [`crate::sys::mark_close_on_exec`], for descriptors that came in since.
pub(in crate::sys) fn close_on_exec_from(first: u32) {
    // SAFETY: the call takes numbers only; older kernels refuse it.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
    }
}

/// Makes a child that shares this process's memory, starts in `child_main` on a stack of its own,
/// and has this process suspended until it executes a program or ends.
///
/// # Safety
///
/// `child_main` may be called with `argument`, does not unwind, and changes no memory that this
/// process relies on.
pub(in crate::sys) unsafe fn spawn(
    child_main: ChildMain,
    argument: *const c_void,
    placement: &Placement<'_>,
) -> io::Result<ProcessId> {
    let mut stack = vec![0_u128; CHILD_STACK_WORDS];
    // SAFETY: the stack is ours, and lives until the child has left it, as this process stands
    // still until then; the rest is this function's own condition.
    let result = unsafe { clone3(&mut stack, child_main, argument, placement) };
    let result = match result {
        // Refused by sandboxes that cannot look into its arguments.
        Err(Errno::ENOSYS | Errno::EPERM) if placement.group.is_none() => {
            // SAFETY: as above.
            unsafe { clone(&mut stack, child_main, argument, placement.namespaces) }
        }
        result => result,
    };
    Ok(ProcessId(result?))
}

/// What a clone is told of namespaces.
fn namespace_flags(namespaces: Namespaces) -> c_int {
    let flag = |wanted, flag| if wanted { flag } else { 0 };
    flag(namespaces.mounts, libc::CLONE_NEWNS)
        | flag(namespaces.ipc, libc::CLONE_NEWIPC)
        | flag(namespaces.network, libc::CLONE_NEWNET)
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
unsafe fn clone3(
    stack: &mut [u128],
    child_main: ChildMain,
    argument: *const c_void,
    placement: &Placement<'_>,
) -> nix::Result<c_int> {
    // SAFETY: all-zero is what the kernel takes for "not used" in every field.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | namespace_flags(placement.namespaces);
    arguments.flags = u64::from(flags.cast_unsigned());
    if let Some(group) = placement.group {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::from(group.as_raw_fd().cast_unsigned());
    }
    arguments.exit_signal = libc::SIGCHLD as u64;
    arguments.stack = stack.as_mut_ptr() as u64;
    arguments.stack_size = size_of_val(stack) as u64;
    let result: i64;
    // SAFETY: `arguments` is as large as said, and its stack is memory of the caller. The child
    // comes out of the system call with the registers of the parent and the new stack, aligned to
    // sixteen bytes as both ends of it are; it goes straight into `child_main`, which never
    // returns. To the parent this is an ordinary system call. Memory is clobbered, as the child
    // may write to it.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") &raw const arguments,
            in("rsi") size_of::<libc::clone_args>(),
            in("r12") child_main,
            in("r13") argument,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    // SAFETY: the same.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x10",
            "blr x9",
            "brk 1",
            "2:",
            in("x8") libc::SYS_clone3,
            inlateout("x0") &raw const arguments => result,
            in("x1") size_of::<libc::clone_args>(),
            in("x9") child_main,
            in("x10") argument,
        );
    }
    pid_or_errno(result)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn clone3(
    _: &mut [u128],
    _: ChildMain,
    _: *const c_void,
    _: &Placement<'_>,
) -> nix::Result<c_int> {
    Err(Errno::ENOSYS)
}

/// The C library's clone does the same, but cannot start the child in a control group.
unsafe fn clone(
    stack: &mut [u128],
    child_main: ChildMain,
    argument: *const c_void,
    namespaces: Namespaces,
) -> nix::Result<c_int> {
    struct Call(ChildMain, *const c_void);
    extern "C" fn enter(call: *mut c_void) -> c_int {
        // SAFETY: the pointer is to the `Call` below, whose parts belong together.
        unsafe {
            let Call(child_main, argument) = *call.cast::<Call>();
            child_main(argument)
        }
    }
    let mut call = Call(child_main, argument);
    let shared = libc::CLONE_VM | libc::CLONE_VFORK;
    let flags = shared | namespace_flags(namespaces) | libc::SIGCHLD;
    // SAFETY: the pointer is to the end of the stack, which grows down on every architecture that
    // this is built for; `call` lives on, as this process stands still until the child is gone.
    let pid = unsafe {
        let top = stack.as_mut_ptr_range().end;
        libc::clone(enter, top.cast(), flags, (&raw mut call).cast())
    };
    Errno::result(pid)
}

fn pid_or_errno(result: i64) -> nix::Result<c_int> {
    match c_int::try_from(result) {
        Ok(pid) if pid > 0 => Ok(pid),
        Ok(negated) => Err(Errno::from_raw(-negated)),
        Err(_) => Err(Errno::EOVERFLOW),
    }
}
