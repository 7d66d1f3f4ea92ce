//! The kernel's log, for what is told nowhere else: whom it killed for want of memory.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::time::{ClockId, clock_gettime};

use crate::identity::ProcessId;
use crate::spool::status::Victim;

/// The log's clock and this process's may differ by so much.
const CLOCK_SLACK: Duration = Duration::from_secs(1);

/// Records that are looked at; more have no room in the kernel's buffer as a rule.
const MAX_RECORDS: usize = 65_536;

/// Larger than a record can be.
const RECORD_BYTES: usize = 8192;

/// Now, as the kernel's log counts.
pub(crate) fn log_clock() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map(Duration::from)
        .unwrap_or_default()
}

/// Processes of a control group that the kernel says it has killed since then because the group
/// had no memory left. Empty where the log may not be read, or has forgotten.
pub(crate) fn out_of_memory_victims(group: &Path, since: Duration) -> Vec<Victim> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let Ok(log) = open("/dev/kmsg", flags, Mode::empty()) else {
        return Vec::new();
    };
    let mut log = File::from(log);
    let mut buffer = [0; RECORD_BYTES];
    let mut victims = Vec::new();
    // Each read is one record.
    for _ in 0..MAX_RECORDS {
        match log.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                let record = String::from_utf8_lossy(&buffer[..length]);
                victims.extend(victim(&record, group, since));
            }
            // Overwritten while it was to be read: the next one is there.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    victims
}

/// See `Documentation/ABI/testing/dev-kmsg` and `mm/oom_kill.c` of the kernel.
fn victim(record: &str, group: &Path, since: Duration) -> Option<Victim> {
    let (prefix, text) = record.split_once(';')?;
    let micros: u64 = prefix.split(',').nth(2)?.parse().ok()?;
    if Duration::from_micros(micros) + CLOCK_SLACK < since {
        return None;
    }
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
            let found = victim(record, Path::new("/a/slot-1"), Duration::from_secs(100));
            let found = found
                .as_ref()
                .map(|victim| (victim.pid.0, victim.name.as_str()));
            assert_eq!(found, expected, "{record}");
        };
        let record = |time: u64, group: &str, name: &str| {
            format!(
                "6,77,{time},-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,\
                 mems_allowed=0,oom_memcg={group},task_memcg={group},task={name},pid=42,uid=61000\n"
            )
        };
        check(&record(100_000_000, "/a/slot-1", "hog"), Some((42, "hog")));
        check(
            &record(100_000_000, "/a/slot-1", "x,pid=1"),
            Some((42, "x,pid=1")),
        );
        check(&record(100_000_000, "/a/slot-2", "hog"), None);
        check(&record(98_000_000, "/a/slot-1", "hog"), None);
        check("6,77,100000000,-;something else", None);
        check("", None);
    }
}
