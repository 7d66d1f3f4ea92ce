//! The kernel's log, for what is told nowhere else: whom it killed for want of memory.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::identity::ProcessId;
use crate::spool::status::Victim;

/// Records that are looked at; more have no room in the kernel's buffer as a rule.
const MAX_RECORDS: usize = 65_536;

/// Larger than a record can be.
const RECORD_BYTES: usize = 8192;

/// A place in the log, from which on it is read. The log's times are no help in this: its clock is
/// nobody else's, and goes its own way for as long as the machine runs.
#[derive(Debug)]
pub(crate) struct LogPlace(File);

impl LogPlace {
    /// Behind all that was written so far; `None` where the log may not be read.
    pub(crate) fn end() -> Option<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let mut log = File::from(open("/dev/kmsg", flags, Mode::empty()).ok()?);
        log.seek(SeekFrom::End(0)).ok()?;
        Some(Self(log))
    }

    /// Processes of a control group that the kernel says it has killed since, for want of memory.
    /// Not all of them where the log has forgotten, or the kernel has not told: it does so ten
    /// times in five seconds.
    pub(crate) fn victims(mut self, group: &Path) -> Vec<Victim> {
        let mut buffer = [0; RECORD_BYTES];
        let mut victims = Vec::new();
        // Each read is one record.
        for _ in 0..MAX_RECORDS {
            match self.0.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    let record = String::from_utf8_lossy(&buffer[..length]);
                    victims.extend(victim(&record, group));
                }
                // Overwritten while it was to be read: the next one is there.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        victims
    }
}

/// See `Documentation/ABI/testing/dev-kmsg` and `mm/oom_kill.c` of the kernel.
fn victim(record: &str, group: &Path) -> Option<Victim> {
    let (_, text) = record.split_once(';')?;
    let text = text.lines().next()?.strip_prefix("oom-kill:")?;
    // The name of the victim is its own choice, commas included: all else stands before it, or
    // after the last of what follows it.
    let (before, rest) = text.split_once(",task=")?;
    let (name, numbers) = rest.rsplit_once(",pid=")?;
    let task_group = before
        .split(',')
        .find_map(|part| part.strip_prefix("task_memcg="))?;
    if Path::new(task_group) != group {
        return None;
    }
    Some(Victim {
        pid: ProcessId(numbers.split(',').next()?.parse().ok()?),
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn victims_are_read_from_the_kernels_record() {
        let check = |record: &str, expected: Option<(i32, &str)>| {
            let found = victim(record, Path::new("/a/slot-1"));
            let found = found
                .as_ref()
                .map(|victim| (victim.pid.0, victim.name.as_str()));
            assert_eq!(found, expected, "{record}");
        };
        let record = |group: &str, name: &str| {
            format!(
                "6,77,100000000,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,\
                 mems_allowed=0,oom_memcg={group},task_memcg={group},task={name},pid=42,uid=61000\n"
            )
        };
        check(&record("/a/slot-1", "hog"), Some((42, "hog")));
        check(&record("/a/slot-1", "x,pid=1"), Some((42, "x,pid=1")));
        check(&record("/a/slot-2", "hog"), None);
        check("6,77,100000000,-;something else", None);
        check("", None);
    }
}
