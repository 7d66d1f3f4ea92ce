//! What Linux offers: clone with shared memory, pid descriptors, sub-reapers, `/proc`.

use std::ffi::{CStr, c_int, c_void};
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, fallocate, fcntl};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, Uid, sysconf};

use super::clone::Placement;
use super::{Namespaces, ProcessEntry, Received, own_pid};
use crate::identity::ProcessId;

/// Highest signal number; 64 is the last real-time signal.
pub(super) const LAST_SIGNAL: c_int = 64;

/// Stack of a child between clone and execution: a few frames of system calls.
const CHILD_STACK_WORDS: usize = 1 << 10;

/// Has clone3 start the child in a control group, see clone(2). Not in every C library's headers.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The first instruction of a child.
pub(super) type ChildMain = unsafe extern "C" fn(*const c_void) -> !;

/// How a directory is opened only to enter it or to open what it holds.
pub(crate) fn open_directory_flags() -> OFlag {
    OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC
}

/// Time since boot, suspended or not; no setting of the time of day moves it.
pub(crate) fn clock() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map(Duration::from)
        .unwrap_or_default()
}

/// The kernel's name of this boot.
pub(crate) fn boot_id() -> io::Result<String> {
    static KNOWN: OnceLock<String> = OnceLock::new();
    if let Some(boot_id) = KNOWN.get() {
        return Ok(boot_id.clone());
    }
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim_end()
        .to_owned();
    Ok(KNOWN.get_or_init(|| boot_id).clone())
}

/// Threads of this process.
pub(crate) fn thread_count() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}

/// What process tables show as this process's name; at most 15 bytes of it.
pub(crate) fn name_process(name: &CStr) {
    // A name is for people only, so nothing hangs on it.
    let _ = prctl::set_name(name);
}

/// Makes this process the parent of every descendant whose own parent dies.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    Ok(prctl::set_child_subreaper(true)?)
}

/// Asks for a pipe of so many bytes; less is fine.
pub(crate) fn widen_pipe(pipe: impl AsFd, bytes: c_int) {
    // Refused when the user's share of pipe memory is used up; the default is then kept.
    let _ = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(bytes));
}

/// Has the disk keep room for a file that is to be written later. That the file system cannot is
/// no error; that the disk is full is one.
pub(crate) fn set_room_aside(file: &fs::File, bytes: i64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, bytes) {
        Err(errno @ (Errno::ENOSPC | Errno::EDQUOT)) => Err(errno.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Signals as something to poll. From its making on no signal does anything else to this process,
/// save those that cannot be held back.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
        let set = SigSet::from_iter([Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT]);
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self(SignalFd::with_flags(&set, flags)?))
    }

    /// The next signal that came in, if one has.
    pub(crate) fn next(&self) -> Option<Received> {
        let info = self.0.read_signal().ok().flatten()?;
        let is_child = u32::try_from(libc::SIGCHLD) == Ok(info.ssi_signo);
        Some(if is_child {
            Received::Child
        } else {
            Received::Terminate
        })
    }

    /// Readable when a signal is there.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The process table's line about a process; `None` when there is none.
pub(crate) fn process_entry(pid: ProcessId) -> io::Result<Option<ProcessEntry>> {
    let mut line = Vec::with_capacity(512);
    let read = fs::File::open(format!("/proc/{pid}/stat"))
        .and_then(|mut file| file.read_to_end(&mut line));
    match read {
        Ok(_) => {}
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(error),
    }
    parse_stat(pid, &line)
        .map(Some)
        .ok_or_else(|| io::Error::other("a line of the process table is not understood"))
}

/// All descendants of this process but `leader`, the dead that nobody has collected included.
/// Orphans of the tree are among them, as this process adopts them. Of a tree that changes
/// meanwhile some may be missing, but then their parents are there, or have died since.
pub(crate) fn list_tree(leader: ProcessId) -> io::Result<Vec<ProcessEntry>> {
    let mut entries = Vec::new();
    let mut pending = own_children()?;
    while let Some(pid) = pending.pop() {
        let Some(entry) = process_entry(pid)? else {
            continue;
        };
        // The dead have no children any more.
        if !entry.is_zombie {
            pending.extend(children_of(pid)?);
        }
        if pid != leader {
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// Sends a signal to exactly the process that the entry describes; nothing if it is gone.
pub(crate) fn send_signal(entry: &ProcessEntry, signal: Signal) {
    // SAFETY: `pidfd_open` takes two numbers.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, entry.pid.0, 0) };
    let Ok(descriptor) = c_int::try_from(descriptor) else {
        return;
    };
    if descriptor < 0 {
        if Errno::last() == Errno::ENOSYS {
            // Before Linux 5.3 a race of microseconds against the reuse of an id has to do.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(entry.pid.0), signal);
        }
        return;
    }
    // SAFETY: the kernel has just made this descriptor for us alone.
    let process = unsafe { OwnedFd::from_raw_fd(descriptor) };
    // The descriptor holds on to whoever has the id now: look at it again before using it.
    let still = process_entry(entry.pid).ok().flatten();
    if still.is_some_and(|now| now.start_time == entry.start_time) {
        // SAFETY: the descriptor is open; no information is passed along, as the null says.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                process.as_raw_fd(),
                signal as c_int,
                std::ptr::null::<c_void>(),
                0,
            );
        }
    }
}

/// Whether this process has a child besides `leader`.
pub(crate) fn has_other_children(leader: ProcessId) -> io::Result<bool> {
    Ok(own_children()?.iter().any(|child| *child != leader))
}

/// Processes of a user, the dead that nobody has collected not among them.
pub(crate) fn processes_of(uid: Uid) -> io::Result<Vec<ProcessEntry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // The owner of a process that may not be looked into is root: its status tells the truth.
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let users = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        let is_of_user = users
            .and_then(|users| users.split_ascii_whitespace().next())
            .is_some_and(|real| real.parse() == Ok(uid.as_raw()));
        if is_of_user && let Some(entry) = process_entry(ProcessId(pid))? {
            entries.push(entry);
        }
    }
    entries.retain(|entry| !entry.is_zombie);
    Ok(entries)
}

/// Keeps other processes of the same user, or of one that it becomes, from looking into this one.
pub(crate) fn hide_memory() {
    // Fails on no kernel that this runs on.
    let _ = prctl::set_dumpable(false);
}

/// Children of this process, which has one thread.
pub(crate) fn children() -> io::Result<Vec<ProcessId>> {
    own_children()
}

/// Children of this process, which has one thread.
fn own_children() -> io::Result<Vec<ProcessId>> {
    let own = own_pid();
    match fs::read_to_string(format!("/proc/self/task/{own}/children")) {
        Ok(list) => Ok(parse_children(&list).collect()),
        // The kernel was built without these files.
        Err(error) if is_gone(&error) => children_by_scan(own),
        Err(error) => Err(error),
    }
}

fn parse_children(list: &str) -> impl Iterator<Item = ProcessId> {
    list.split_ascii_whitespace()
        .filter_map(|number| number.parse().ok())
        .map(ProcessId)
}

/// Children of a process, of all its threads; none when it is gone.
fn children_of(parent: ProcessId) -> io::Result<Vec<ProcessId>> {
    let threads = match fs::read_dir(format!("/proc/{parent}/task")) {
        Ok(threads) => threads,
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut children = Vec::new();
    for thread in threads {
        let thread = match thread {
            Ok(thread) => thread,
            Err(error) if is_gone(&error) => break,
            Err(error) => return Err(error),
        };
        match fs::read_to_string(thread.path().join("children")) {
            Ok(list) => children.extend(parse_children(&list)),
            // The thread has ended, or the kernel was built without these files.
            Err(error) if is_gone(&error) && thread.path().exists() => {
                return children_by_scan(parent);
            }
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(children)
}

fn children_by_scan(parent: ProcessId) -> io::Result<Vec<ProcessId>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let entry = process_entry(ProcessId(pid))?;
        children.extend(
            entry
                .filter(|entry| entry.parent == parent)
                .map(|entry| entry.pid),
        );
    }
    Ok(children)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

fn parse_stat(pid: ProcessId, line: &[u8]) -> Option<ProcessEntry> {
    // The name stands in parentheses and may hold any byte, closing parentheses included.
    let open = line.iter().position(|byte| *byte == b'(')?;
    let close = line.iter().rposition(|byte| *byte == b')')?;
    let name = String::from_utf8_lossy(line.get(open + 1..close)?).into_owned();
    let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let mut number = || fields.next()?.parse().ok().map(ProcessId);
    let (parent, group, session) = (number()?, number()?, number()?);
    // Number 22 as proc_pid_stat(5) counts; the state was number 3, the session number 6.
    let start_time = fields.nth(15)?.parse().ok()?;
    Some(ProcessEntry {
        pid,
        parent,
        group,
        session,
        start_time,
        age: age(start_time),
        is_zombie: matches!(state, "Z" | "X"),
        name,
    })
}

fn age(start_ticks: u64) -> Duration {
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten();
    let per_second = per_second
        .and_then(|n| u64::try_from(n).ok())
        .filter(|n| *n > 0);
    let milliseconds = start_ticks.saturating_mul(1000) / per_second.unwrap_or(100);
    clock().saturating_sub(Duration::from_millis(milliseconds))
}

/// Sets the groups of a child, past the C library, which would do it in all threads.
///
/// # Safety
///
/// The caller is a child between clone and execution or end.
pub(super) unsafe fn set_groups(groups: &[libc::gid_t]) -> Result<(), c_int> {
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
pub(super) unsafe fn set_group(gid: libc::gid_t) -> Result<(), c_int> {
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
pub(super) unsafe fn set_user(uid: libc::uid_t) -> Result<(), c_int> {
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
pub(super) unsafe fn set_user_that_may_have_no_other_process(
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
pub(super) unsafe fn user_may_have_other_processes() -> bool {
    let none = [std::ptr::null()];
    // SAFETY: a C string and two arrays that end with a null.
    unsafe { libc::execve(c"/".as_ptr(), none.as_ptr(), none.as_ptr()) };
    Errno::last_raw() == libc::EAGAIN
}

/// Has this child killed when its parent dies, and makes sure that it has not died already.
pub(super) fn bind_to_parent(parent: c_int) -> Result<(), c_int> {
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

/// Larger than the kernel's description of an action on every architecture; the first word is the
/// handler, all zero is the default action.
type KernelAction = [u64; 8];

const KERNEL_MASK_BYTES: usize = 8;

/// Whether this process ignores a signal. Asked of the kernel, as the C library keeps two signals
/// for itself and does not tell.
pub(super) fn is_ignored(number: c_int) -> bool {
    let mut action: KernelAction = [0; 8];
    let none = std::ptr::null::<c_void>();
    // SAFETY: the kernel writes its structure to `action`, and has none to read.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            number,
            none,
            action.as_mut_ptr(),
            KERNEL_MASK_BYTES,
        )
    };
    result == 0 && action[0] == libc::SIG_IGN as u64
}

/// Gives a signal its default action.
pub(super) fn set_default_action(number: c_int) {
    let action: KernelAction = [0; 8];
    let none = std::ptr::null_mut::<c_void>();
    // SAFETY: the kernel reads its structure from `action`, and has nowhere to write.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            number,
            action.as_ptr(),
            none,
            KERNEL_MASK_BYTES,
        );
    }
}

/// Second net under [`super::mark_close_on_exec`], for descriptors that came in since.
pub(super) fn close_on_exec_from(first: u32) {
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
pub(super) unsafe fn spawn(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_a_process_may_hold_anything() {
        let line = b"7 (a) b\xff( c) S 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9";
        let entry = parse_stat(ProcessId(7), line).unwrap();
        assert_eq!(entry.name, "a) b\u{fffd}( c");
        assert_eq!((entry.parent.0, entry.group.0, entry.session.0), (1, 2, 3));
        assert_eq!((entry.start_time, entry.is_zombie), (4242, false));
        for cut in 0..line.len() - 8 {
            let _ = parse_stat(ProcessId(7), &line[..cut]);
        }
    }
}
