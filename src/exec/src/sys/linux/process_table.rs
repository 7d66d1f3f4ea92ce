//! The process table, which is `/proc`.

use std::fs;
use std::io::{self, Read as _};
use std::time::Duration;

use nix::unistd::{SysconfVar, Uid, sysconf};

use super::machine::clock;
use crate::identity::ProcessId;
use crate::spool::status::IoBytes;
use crate::sys::{ProcessEntry, own_pid};

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
    let mut pending = children()?;
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

/// Whether this process has a child besides `leader`.
pub(crate) fn has_other_children(leader: ProcessId) -> io::Result<bool> {
    Ok(children()?.iter().any(|child| *child != leader))
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
        let status = match fs::read(entry.path().join("status")) {
            Ok(status) => status,
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(error),
        };
        if real_user(&status) == Some(uid.as_raw())
            && let Some(entry) = process_entry(ProcessId(pid))?
        {
            entries.push(entry);
        }
    }
    entries.retain(|entry| !entry.is_zombie);
    Ok(entries)
}

/// Control groups count this for the whole tree.
pub(crate) fn disk_use_of(_: ProcessId) -> Option<IoBytes> {
    None
}

/// The real user in a process's status. The name that stands before it is the process's own choice
/// and may be of any bytes; a line break is not among them, as the kernel writes that in letters.
fn real_user(status: &[u8]) -> Option<u32> {
    let users = status
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"Uid:"))?;
    let users = std::str::from_utf8(users).ok()?;
    users.split_ascii_whitespace().next()?.parse().ok()
}

/// Children of this process, which has one thread.
pub(crate) fn children() -> io::Result<Vec<ProcessId>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_of_any_name_is_found_by_its_user() {
        let status =
            |name: &[u8]| [b"Name:\t", name, b"\nUmask:\t0022\nUid:\t7\t8\t8\t8\n"].concat();
        for name in [&b"sh"[..], b"\xff\xfe", b"Uid:\t0", b"\\nUid:\t0"] {
            assert_eq!(real_user(&status(name)), Some(7), "{name:?}");
        }
        assert_eq!(real_user(b"Name:\tsh\n"), None);
    }

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
