//! What macOS offers: fork, process groups and sessions, and a process table to search.
//!
//! There is no adoption of orphans: what leaves both the session and the line of living parents is
//! out of sight here. Nor is there a way to bind a child's life to its parent's.

use std::ffi::{CStr, c_int, c_void};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{ForkResult, Pid, getsid};

use super::{ProcessEntry, Received, own_pid};
use crate::identity::ProcessId;

/// Highest signal number.
pub(super) const LAST_SIGNAL: c_int = 31;

/// State of a process that waits to be collected, as `sys/proc.h` has it.
const SZOMB: u32 = 5;

/// The first instruction of a child.
pub(super) type ChildMain = unsafe extern "C" fn(*const c_void) -> !;

/// How a directory is opened only to enter it or to open what it holds.
pub(crate) fn open_directory_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC
}

/// Time on a clock that goes on while the machine sleeps and that nobody sets.
pub(crate) fn clock() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map(Duration::from)
        .unwrap_or_default()
}

/// The kernel's name of this boot.
pub(crate) fn boot_id() -> io::Result<String> {
    let mut buffer = [0_u8; 64];
    let mut length = buffer.len();
    // SAFETY: the name is a C string, and the kernel writes at most `length` bytes to the buffer.
    let result = unsafe {
        libc::sysctlbyname(
            c"kern.bootsessionuuid".as_ptr(),
            buffer.as_mut_ptr().cast(),
            &raw mut length,
            std::ptr::null_mut(),
            0,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let text = CStr::from_bytes_until_nul(&buffer).map_err(io::Error::other)?;
    Ok(text.to_string_lossy().into_owned())
}

/// Threads of this process.
pub(crate) fn thread_count() -> io::Result<usize> {
    // SAFETY: all-zero is a valid value of this plain structure.
    let mut info: libc::proc_taskinfo = unsafe { std::mem::zeroed() };
    query(own_pid(), libc::PROC_PIDTASKINFO, &mut info)?
        .then(|| usize::try_from(info.pti_threadnum).unwrap_or(0))
        .ok_or_else(|| io::Error::other("the process table does not list its reader"))
}

/// Names cannot be set here.
pub(crate) fn name_process(_name: &CStr) {}

/// There is no such thing here; orphans go to the system's first process.
#[expect(clippy::unnecessary_wraps, reason = "the same on every system")]
pub(crate) fn adopt_orphans() -> io::Result<()> {
    Ok(())
}

/// Pipes grow by themselves here.
pub(crate) fn widen_pipe(_pipe: impl AsFd, _bytes: c_int) {}

/// Has the disk keep room for a file that is to be written later. That the file system cannot is
/// no error; that the disk is full is one.
pub(crate) fn set_room_aside(file: &File, bytes: i64) -> io::Result<()> {
    let mut store = libc::fstore_t {
        fst_flags: libc::F_ALLOCATEALL,
        fst_posmode: libc::F_PEOFPOSMODE,
        fst_offset: 0,
        fst_length: bytes,
        fst_bytesalloc: 0,
    };
    match fcntl(file, FcntlArg::F_PREALLOCATE(&mut store)) {
        Err(errno @ (Errno::ENOSPC | Errno::EDQUOT)) => Err(errno.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Where the handler writes to; -1 for nowhere.
static WAKER: AtomicI32 = AtomicI32::new(-1);

/// Signals as something to poll: a handler sends their numbers through a socket.
#[derive(Debug)]
pub(crate) struct Signals {
    receiver: UnixDatagram,
    /// Kept open for the handler.
    _sender: UnixDatagram,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        let (receiver, sender) = UnixDatagram::pair()?;
        receiver.set_nonblocking(true)?;
        sender.set_nonblocking(true)?;
        WAKER.store(sender.as_raw_fd(), Ordering::SeqCst);
        for number in [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT] {
            set_action(number, on_signal as *const () as libc::sighandler_t)?;
        }
        for number in [libc::SIGHUP, libc::SIGPIPE, libc::SIGQUIT] {
            set_action(number, libc::SIG_IGN)?;
        }
        Ok(Self {
            receiver,
            _sender: sender,
        })
    }

    /// The next signal that came in, if one has.
    pub(crate) fn next(&self) -> Option<Received> {
        let mut number = [0];
        self.receiver.recv(&mut number).ok()?;
        let is_child = c_int::from(number[0]) == libc::SIGCHLD;
        Some(if is_child {
            Received::Child
        } else {
            Received::Terminate
        })
    }

    /// Readable when a signal is there.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        WAKER.store(-1, Ordering::SeqCst);
    }
}

extern "C" fn on_signal(number: c_int) {
    let descriptor = WAKER.load(Ordering::SeqCst);
    let byte = u8::try_from(number).unwrap_or(0);
    // SAFETY: `send` is safe in a handler; the byte lives through the call. The error number is
    // put back, as whatever was interrupted may be about to look at it.
    unsafe {
        let errno = *libc::__error();
        libc::send(descriptor, (&raw const byte).cast(), 1, 0);
        *libc::__error() = errno;
    }
}

fn set_action(number: c_int, action: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: the structure is plain data, filled before use; the handler, if it is one, is a
    // function of the right type that does only what a handler may.
    let result = unsafe {
        let mut new: libc::sigaction = std::mem::zeroed();
        new.sa_sigaction = action;
        new.sa_flags = libc::SA_RESTART;
        libc::sigemptyset(&raw mut new.sa_mask);
        libc::sigaction(number, &raw const new, std::ptr::null_mut())
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The process table's line about a process; `None` when there is none.
pub(crate) fn process_entry(pid: ProcessId) -> io::Result<Option<ProcessEntry>> {
    // SAFETY: all-zero is a valid value of this plain structure.
    let mut info: libc::proc_bsdinfo = unsafe { std::mem::zeroed() };
    if !query(pid, libc::PROC_PIDTBSDINFO, &mut info)? {
        return Ok(None);
    }
    let number = |id: u32| ProcessId(i32::try_from(id).unwrap_or(0));
    let since_epoch =
        Duration::from_secs(info.pbi_start_tvsec) + Duration::from_micros(info.pbi_start_tvusec);
    let session = getsid(Some(Pid::from_raw(pid.0))).map_or(0, Pid::as_raw);
    let name: Vec<u8> = info
        .pbi_comm
        .iter()
        .map(|byte| byte.to_ne_bytes()[0])
        .take_while(|b| *b != 0)
        .collect();
    Ok(Some(ProcessEntry {
        pid,
        parent: number(info.pbi_ppid),
        group: number(info.pbi_pgid),
        session: ProcessId(session),
        start_time: u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX),
        age: SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH + since_epoch)
            .unwrap_or_default(),
        is_zombie: info.pbi_status == SZOMB,
        name: String::from_utf8_lossy(&name).into_owned(),
    }))
}

/// All processes but `leader` that are in its group or session, or descend from this process or
/// from one of those.
pub(crate) fn list_tree(leader: ProcessId) -> io::Result<Vec<ProcessEntry>> {
    let mut strangers = Vec::new();
    for pid in all_processes()? {
        if pid != leader && pid != own_pid() {
            strangers.extend(process_entry(pid)?);
        }
    }
    let mut members: Vec<ProcessEntry> = Vec::new();
    loop {
        let (found, rest): (Vec<_>, Vec<_>) = strangers.into_iter().partition(|entry| {
            entry.group == leader
                || entry.session == leader
                || entry.parent == leader
                || entry.parent == own_pid()
                || members.iter().any(|member| member.pid == entry.parent)
        });
        if found.is_empty() {
            return Ok(members);
        }
        members.extend(found);
        strangers = rest;
    }
}

/// Whether anybody else may be in the tree: here it takes the whole table to know.
pub(crate) fn has_other_children(_leader: ProcessId) -> io::Result<bool> {
    Ok(true)
}

/// Sends a signal to the process that the entry describes, unless another has its id by now.
pub(crate) fn send_signal(entry: &ProcessEntry, signal: Signal) {
    let still = process_entry(entry.pid).ok().flatten();
    if still.is_some_and(|now| now.start_time == entry.start_time) {
        // It may have ended since; what is left of the race is a few instructions long.
        let _ = kill(Pid::from_raw(entry.pid.0), signal);
    }
}

fn all_processes() -> io::Result<Vec<ProcessId>> {
    // Room for many more than there are, as the table may grow meanwhile.
    // SAFETY: a null buffer of no size asks for the number alone.
    let count = unsafe { libc::proc_listallpids(std::ptr::null_mut(), 0) };
    let room = usize::try_from(count).map_err(|_| io::Error::last_os_error())? * 2 + 64;
    let mut pids: Vec<libc::pid_t> = vec![0; room];
    let bytes = c_int::try_from(size_of_val(pids.as_slice())).unwrap_or(c_int::MAX);
    // SAFETY: the kernel writes at most so many bytes to the buffer, which has them.
    let count = unsafe { libc::proc_listallpids(pids.as_mut_ptr().cast(), bytes) };
    pids.truncate(usize::try_from(count).map_err(|_| io::Error::last_os_error())?);
    Ok(pids
        .into_iter()
        .filter(|pid| *pid > 0)
        .map(ProcessId)
        .collect())
}

/// Fills a structure of plain data about a process; whether there is such a process.
fn query<T>(pid: ProcessId, flavor: c_int, info: &mut T) -> io::Result<bool> {
    let size = c_int::try_from(size_of::<T>()).unwrap_or(c_int::MAX);
    // SAFETY: the kernel writes at most `size` bytes to the structure, which is that large; each
    // caller pairs the flavour with its own structure.
    let written =
        unsafe { libc::proc_pidinfo(pid.0, flavor, 0, std::ptr::from_mut(info).cast(), size) };
    if written == size {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        error => Err(error),
    }
}

/// Nothing binds a child to its parent here.
#[expect(clippy::unnecessary_wraps, reason = "the same on every system")]
pub(super) fn bind_to_parent(_parent: c_int) -> Result<(), c_int> {
    Ok(())
}

/// What [`super::mark_close_on_exec`] has done is all there is.
pub(super) fn close_on_exec_from(_first: u32) {}

/// Whether this process ignores a signal.
pub(super) fn is_ignored(number: c_int) -> bool {
    // SAFETY: the structure is plain data for the kernel to fill; no new action is set.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(number, std::ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Gives a signal its default action.
pub(super) fn set_default_action(number: c_int) {
    // SAFETY: the default action needs no handler.
    unsafe {
        libc::signal(number, libc::SIG_DFL);
    }
}

/// Forks a child that starts in `child_main`.
///
/// # Safety
///
/// `child_main` may be called with `argument`.
pub(super) unsafe fn spawn(
    child_main: ChildMain,
    argument: *const c_void,
) -> io::Result<ProcessId> {
    // SAFETY: the child makes system calls only until it executes a program.
    match unsafe { nix::unistd::fork()? } {
        ForkResult::Parent { child } => Ok(ProcessId(child.as_raw())),
        // SAFETY: this function's own condition.
        ForkResult::Child => unsafe { child_main(argument) },
    }
}
