//! The process table, and what it counts.
//!
//! Type-checked for both architectures of macOS, never run.

use std::ffi::c_int;
use std::io;
use std::time::{Duration, SystemTime};

use nix::unistd::{Pid, Uid, getsid};

use crate::identity::ProcessId;
use crate::spool::status::IoBytes;
use crate::sys::{ProcessEntry, own_pid};

/// State of a process that waits to be collected, as `sys/proc.h` has it.
const SZOMB: u32 = 5;

/// The process table's line about a process; `None` when there is none.
pub(crate) fn process_entry(pid: ProcessId) -> io::Result<Option<ProcessEntry>> {
    Ok(description(pid)?.map(|info| entry(pid, &info)))
}

fn description(pid: ProcessId) -> io::Result<Option<libc::proc_bsdinfo>> {
    // SAFETY: all-zero is a valid value of this plain structure.
    let mut info: libc::proc_bsdinfo = unsafe { std::mem::zeroed() };
    Ok(query(pid, libc::PROC_PIDTBSDINFO, &mut info)?.then_some(info))
}

fn entry(pid: ProcessId, info: &libc::proc_bsdinfo) -> ProcessEntry {
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
    ProcessEntry {
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
    }
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
pub(super) fn query<T>(pid: ProcessId, flavor: c_int, info: &mut T) -> io::Result<bool> {
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

/// Processes of a user, the dead that nobody has collected not among them.
pub(crate) fn processes_of(uid: Uid) -> io::Result<Vec<ProcessEntry>> {
    let mut entries = Vec::new();
    for pid in all_processes()? {
        let uid = uid.as_raw();
        if let Some(info) = description(pid)?
            && (info.pbi_ruid == uid || info.pbi_uid == uid)
        {
            entries.push(entry(pid, &info));
        }
    }
    entries.retain(|entry| !entry.is_zombie);
    Ok(entries)
}

/// Children of this process.
pub(crate) fn children() -> io::Result<Vec<ProcessId>> {
    let mut children = Vec::new();
    for pid in all_processes()? {
        let is_child = process_entry(pid)?.is_some_and(|entry| entry.parent == own_pid());
        children.extend(is_child.then_some(pid));
    }
    Ok(children)
}

/// What a process that has ended, but was not collected, has read from and written to disks.
pub(crate) fn disk_use_of(pid: ProcessId) -> Option<IoBytes> {
    // SAFETY: all-zero is a valid value of this plain structure.
    let mut info: libc::rusage_info_v4 = unsafe { std::mem::zeroed() };
    // SAFETY: the flavour is that of the structure, which the kernel fills.
    let result =
        unsafe { libc::proc_pid_rusage(pid.0, libc::RUSAGE_INFO_V4, (&raw mut info).cast()) };
    (result == 0).then_some(IoBytes {
        read: info.ri_diskio_bytesread,
        written: info.ri_diskio_byteswritten,
    })
}

/// How many processes a user has at least, up to two: the dead that nobody has collected among
/// them. Makes system calls only.
pub(super) fn uses_of(uid: libc::uid_t) -> Option<usize> {
    let mut pids: [libc::pid_t; 2] = [0; 2];
    let bytes = c_int::try_from(size_of_val(&pids)).unwrap_or(0);
    // SAFETY: the kernel writes at most so many bytes to the array, which has them.
    let written =
        unsafe { libc::proc_listpids(PROC_RUID_ONLY, uid, pids.as_mut_ptr().cast(), bytes) };
    let written = usize::try_from(written).ok().filter(|bytes| *bytes > 0)?;
    Some(written / size_of::<libc::pid_t>())
}

/// See `sys/proc_info.h`: processes by their real user.
const PROC_RUID_ONLY: u32 = 5;
