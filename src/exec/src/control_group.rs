//! Control groups, version 2: one for each slot, kept and used again.
//!
//! Nobody leaves a group that it may not write to, whatever sessions it makes and however often it
//! forks, so a group is a tree that can be listed, counted and killed as a whole. What the kernel
//! counts in a group is read before and after, as the group outlives each command in it. See
//! cgroups(7) and the kernel's `cgroup-v2.rst`.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;

use crate::identity::ProcessId;
use crate::launcher::{ControlGroups, Weights};
use crate::request::ResourceLimits;
use crate::spool::status::IoBytes;

/// The group that the launcher moves to, out of the way of the slots' groups.
const OWN_GROUP: &str = "launcher";

/// Length of the period in which a share of CPU time is dealt out, in microseconds.
const CPU_PERIOD: u64 = 100_000;

/// Memory that a group may still hold, in bytes, to be used again: less than is worth its making
/// anew, and the most by which the peak of the next attempt is too high.
const FREE_BURDEN: u64 = 4 << 20;

/// The group in which the slots' groups are.
#[derive(Debug)]
pub(crate) struct Hierarchy {
    directory: PathBuf,
    /// The same as the kernel names it in its log.
    name: PathBuf,
    controllers: Controllers,
    weights: Weights,
}

/// What the kernel limits and counts in the groups of a hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Controllers {
    pub(crate) memory: bool,
    pub(crate) processes: bool,
    pub(crate) cpu: bool,
    pub(crate) io: bool,
}

impl Hierarchy {
    /// Sets up the groups that the configuration wants; why it cannot be done, in words.
    pub(crate) fn prepare(
        wanted: &ControlGroups,
        weights: Weights,
    ) -> Result<Option<Self>, String> {
        let name = match wanted {
            ControlGroups::None => return Ok(None),
            ControlGroups::Own => own_group()?,
            ControlGroups::Beneath(name) => name.clone(),
        };
        let mount = mount_point()?;
        let below = name.strip_prefix("/").unwrap_or(&name);
        let directory = mount.join(below);
        let at =
            |what: &str, error: io::Error| format!("{what} `{}`: {error}", directory.display());
        fs::create_dir_all(&directory).map_err(|error| at("make the group", error))?;
        if *wanted == ControlGroups::Own {
            // No process may be in a group that has limited groups beneath it.
            let leaf = directory.join(OWN_GROUP);
            fs::create_dir_all(&leaf).map_err(|error| at("make a group in", error))?;
            move_members(&directory, &leaf).map_err(|error| at("move out of", error))?;
        }
        if *wanted != ControlGroups::Own {
            // A controller is only there if it is handed down all the way. What cannot be is seen
            // below.
            let mut ancestor = mount;
            for part in below.components() {
                let _ = enable_controllers(&ancestor);
                ancestor.push(part);
            }
        }
        let controllers = enable_controllers(&directory);
        // What is there but cannot be used is found out now and not by the first command.
        let probe = Group::open(&directory, 0).map_err(|error| at("make a group in", error))?;
        drop(probe);
        Ok(Some(Self {
            directory,
            name: Path::new("/").join(below),
            controllers,
            weights,
        }))
    }

    pub(crate) fn controllers(&self) -> Controllers {
        self.controllers
    }

    /// The group of a slot, made if need be, with its limits set.
    pub(crate) fn group(&self, slot: u32, limits: &ResourceLimits) -> io::Result<Group> {
        let group = Group::open(&self.directory, slot)?;
        group.limit(self.controllers, limits, self.weights)?;
        Ok(group)
    }

    /// The group of a slot as its last holder left it; `None` when there is none.
    pub(crate) fn existing_group(&self, slot: u32) -> io::Result<Option<Group>> {
        match Group::open_existing(&self.directory.join(group_name(slot))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            result => result.map(Some),
        }
    }

    /// The group of a slot as the kernel's log names it.
    pub(crate) fn name_in_log(&self, slot: u32) -> PathBuf {
        self.name.join(group_name(slot))
    }

    /// Removes the group of a slot, to be made anew by whoever wants it next: with counters at
    /// zero, and without the memory of having been killed. (Linux kills what is cloned into a group
    /// that was ever killed as a whole, when the one who clones is in another that was not: seen on
    /// 6.18.)
    pub(crate) fn discard(&self, slot: u32) {
        // One that is not empty is emptied by whoever takes the slot next.
        let _ = fs::remove_dir(self.directory.join(group_name(slot)));
    }
}

/// The group of one slot.
#[derive(Debug)]
pub(crate) struct Group {
    directory: OwnedFd,
}

/// What a group has counted since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counters {
    pub(crate) user_time: Duration,
    pub(crate) system_time: Duration,
    pub(crate) io: Option<IoBytes>,
    pub(crate) out_of_memory_kills: u64,
    /// How often there was no memory left within the group's own limit.
    pub(crate) memory_limit_hits: u64,
    pub(crate) refused_forks: Option<u64>,
    pub(crate) peak_memory: Option<u64>,
    pub(crate) peak_processes: Option<u64>,
}

impl Group {
    fn open(parent: &Path, slot: u32) -> io::Result<Self> {
        let path = parent.join(group_name(slot));
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        Self::open_existing(&path)
    }

    fn open_existing(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(path, flags, Mode::empty())?;
        Ok(Self { directory })
    }

    /// To start a process in it.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// To have a process write its own way into it.
    pub(crate) fn entrance(&self) -> io::Result<File> {
        self.file("cgroup.procs", OFlag::O_WRONLY)
    }

    fn limit(
        &self,
        controllers: Controllers,
        limits: &ResourceLimits,
        weights: Weights,
    ) -> io::Result<()> {
        let number = |limit: Option<u64>| limit.map_or("max".to_owned(), |limit| limit.to_string());
        if controllers.memory {
            self.write("memory.max", &number(limits.memory_bytes))?;
            let swap = limits.memory_bytes.map_or("max", |_| "0");
            match self.write("memory.swap.max", swap) {
                // A kernel without swap has no such file.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result?,
            }
        }
        if controllers.processes {
            self.write("pids.max", &number(limits.processes.map(u64::from)))?;
        }
        if controllers.cpu {
            let quota = limits.cpu_millis.map(|millis| {
                // Less than a thousandth of a period is refused by the kernel.
                millis.saturating_mul(CPU_PERIOD / 1000).max(1000)
            });
            self.write("cpu.max", &format!("{} {CPU_PERIOD}", number(quota)))?;
            if let Some(weight) = weights.cpu {
                self.write("cpu.weight", &weight.to_string())?;
            }
        }
        if controllers.io
            && let Some(weight) = weights.io
        {
            self.write("io.weight", &format!("default {weight}"))?;
        }
        Ok(())
    }

    /// Processes in it, the dead that nobody has collected not among them.
    pub(crate) fn members(&self) -> io::Result<Vec<ProcessId>> {
        let list = self.read("cgroup.procs")?;
        Ok(list
            .split_ascii_whitespace()
            .filter_map(|number| number.parse().ok())
            // One that is out of sight from here has no number, and 0 means somebody else.
            .filter(|number| *number > 0)
            .map(ProcessId)
            .collect())
    }

    /// Whether a process is in it that has not been collected.
    pub(crate) fn is_populated(&self) -> io::Result<bool> {
        Ok(self.read("cgroup.events")?.contains("populated 1"))
    }

    /// Kills all that is in it, what is being forked included.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match self.write("cgroup.kill", "1") {
            // Before Linux 5.14 all that is known of is killed, again and again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                for pid in self.members()? {
                    let pid = nix::unistd::Pid::from_raw(pid.0);
                    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
                }
                Ok(())
            }
            result => result,
        }
    }

    /// What it has counted so far.
    pub(crate) fn counters(&self) -> Counters {
        // What cannot be read is not counted here.
        let read = |name| self.read(name).unwrap_or_default();
        let cpu = read("cpu.stat");
        let memory = read("memory.events");
        let micros = |name| Duration::from_micros(field(&cpu, name).unwrap_or(0));
        Counters {
            user_time: micros("user_usec"),
            system_time: micros("system_usec"),
            io: self.read("io.stat").ok().map(|table| io_bytes(&table)),
            out_of_memory_kills: field(&memory, "oom_kill").unwrap_or(0),
            memory_limit_hits: field(&memory, "oom").unwrap_or(0),
            refused_forks: field(&read("pids.events"), "max"),
            peak_memory: read("memory.peak").trim().parse().ok(),
            peak_processes: read("pids.peak").trim().parse().ok(),
        }
    }

    /// Whether what it still holds, such as the cache of files that were written in it, would be
    /// counted against its next user.
    pub(crate) fn is_burdened(&self) -> bool {
        let held = self.read("memory.current");
        held.is_ok_and(|held| {
            held.trim()
                .parse()
                .is_ok_and(|held: u64| held > FREE_BURDEN)
        })
    }

    /// Begins to watch for the most memory in use.
    pub(crate) fn watch_memory(&self) -> Option<MemoryWatch> {
        let mut file = self.file("memory.peak", OFlag::O_RDWR).ok()?;
        let was_reset = file.write_all(b"reset\n").is_ok();
        Some(MemoryWatch { file, was_reset })
    }

    fn file(&self, name: &str, flags: OFlag) -> io::Result<File> {
        let flags = flags | OFlag::O_CLOEXEC;
        Ok(openat(&self.directory, name, flags, Mode::empty())?.into())
    }

    fn read(&self, name: &str) -> io::Result<String> {
        let mut text = String::new();
        self.file(name, OFlag::O_RDONLY)?
            .read_to_string(&mut text)?;
        Ok(text)
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        self.file(name, OFlag::O_WRONLY)?
            .write_all(text.as_bytes())
            .map_err(|error| io::Error::new(error.kind(), format!("write {name}: {error}")))
    }
}

/// Counts the most memory of a group from one moment on, where the kernel can (Linux 6.12); else
/// from when the group was made.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    file: File,
    was_reset: bool,
}

impl MemoryWatch {
    /// Whether the count began with the watch.
    pub(crate) fn was_reset(&self) -> bool {
        self.was_reset
    }

    /// The most so far, in bytes.
    pub(crate) fn peak(&mut self) -> Option<u64> {
        let mut text = String::new();
        self.file.rewind().ok()?;
        self.file.read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    }
}

fn group_name(slot: u32) -> String {
    format!("slot-{slot}")
}

/// Where the hierarchy of version 2 is mounted: not always where it is on a machine that has no
/// other.
fn mount_point() -> Result<PathBuf, String> {
    let table = fs::read_to_string("/proc/self/mountinfo")
        .map_err(|error| format!("read /proc/self/mountinfo: {error}"))?;
    parse_mount_point(&table)
        .ok_or_else(|| "no hierarchy of control groups, version 2, is mounted".to_owned())
}

/// See proc_pid_mountinfo(5): the mount point is the fifth field, the type the one after the dash.
fn parse_mount_point(table: &str) -> Option<PathBuf> {
    table.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let kind = after.split(' ').next()?;
        let mut fields = before.split(' ').skip(3);
        // The root of the mount: of a part of the hierarchy the kernel's names would be others.
        let (root, path) = (fields.next()?, fields.next()?);
        (kind == "cgroup2" && root == "/").then(|| PathBuf::from(unescape(path)))
    })
}

/// Blanks and the like stand as a backslash and three octal digits.
fn unescape(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok())
        {
            Some(byte) => {
                text.push(char::from(byte));
                text.push_str(&part[3..]);
            }
            None => {
                text.push('\\');
                text.push_str(part);
            }
        }
    }
    text
}

fn own_group() -> Result<PathBuf, String> {
    let table = fs::read_to_string("/proc/self/cgroup")
        .map_err(|error| format!("read /proc/self/cgroup: {error}"))?;
    let group = table.lines().find_map(|line| line.strip_prefix("0::"));
    let group = group.ok_or("this process is in no control group of version 2")?;
    // A launcher that was here before it was restarted.
    let group = Path::new(group);
    let group = match group.file_name() {
        Some(name) if name == OWN_GROUP => group.parent().unwrap_or(group),
        _ => group,
    };
    if group == Path::new("/") {
        return Err(
            "this process is in the root of the hierarchy, which nobody can delegate".into(),
        );
    }
    Ok(group.to_owned())
}

fn move_members(from: &Path, to: &Path) -> io::Result<()> {
    // Those that come meanwhile are in the next list.
    loop {
        let members = fs::read_to_string(from.join("cgroup.procs"))?;
        if members.is_empty() {
            return Ok(());
        }
        for member in members.lines() {
            match fs::write(to.join("cgroup.procs"), member) {
                // It has ended.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                result => result?,
            }
        }
    }
}

/// Has the kernel limit and count in the groups of a directory what it can.
fn enable_controllers(directory: &Path) -> Controllers {
    let enable = |name: &str| {
        let written = fs::write(directory.join("cgroup.subtree_control"), format!("+{name}"));
        written.is_ok() && {
            let enabled = fs::read_to_string(directory.join("cgroup.subtree_control"));
            enabled.is_ok_and(|enabled| enabled.split_ascii_whitespace().any(|had| had == name))
        }
    };
    Controllers {
        memory: enable("memory"),
        processes: enable("pids"),
        cpu: enable("cpu"),
        io: enable("io"),
    }
}

/// The number after a name at the start of a line.
fn field(table: &str, name: &str) -> Option<u64> {
    table.lines().find_map(|line| {
        let (found, number) = line.split_once(' ')?;
        (found == name).then(|| number.trim().parse().ok())?
    })
}

fn io_bytes(table: &str) -> IoBytes {
    let sum = |key: &str| {
        table
            .split_ascii_whitespace()
            .filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok())
            .sum()
    };
    IoBytes {
        read: sum("rbytes="),
        written: sum("wbytes="),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchy_is_found_wherever_it_is_mounted() {
        let check = |line: &str, expected: Option<&str>| {
            let table = format!(
                "22 1 0:21 / /proc rw - proc proc rw\n\
                 30 1 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n{line}\n"
            );
            assert_eq!(
                parse_mount_point(&table),
                expected.map(PathBuf::from),
                "{line}"
            );
        };
        check(
            "31 1 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw",
            Some("/sys/fs/cgroup"),
        );
        check(
            "31 1 0:27 / /sys/fs/cgroup/unified rw - cgroup2 none rw",
            Some("/sys/fs/cgroup/unified"),
        );
        check(
            "31 1 0:27 / /a\\040b\\134c rw - cgroup2 none rw",
            Some("/a b\\c"),
        );
        // Part of another hierarchy, as in a container without a namespace for them.
        check(
            "31 1 0:27 /docker/1 /sys/fs/cgroup rw - cgroup2 none rw",
            None,
        );
        check("31 1 0:27 / /sys/fs/cgroup", None);
        check("", None);
    }

    #[test]
    fn counters_are_read_from_the_kernels_tables() {
        let cpu = "usage_usec 30\nuser_usec 20\nsystem_usec 10\n";
        assert_eq!(field(cpu, "user_usec"), Some(20));
        assert_eq!(field(cpu, "user"), None);
        assert_eq!(field("oom 1\noom_kill x\n", "oom_kill"), None);
        let io = "8:0 rbytes=1 wbytes=2 rios=9 wios=9 dbytes=5 dios=1\n8:16 rbytes=10 wbytes=20\n";
        assert_eq!(
            io_bytes(io),
            IoBytes {
                read: 11,
                written: 22
            }
        );
        assert_eq!(io_bytes(""), IoBytes::default());
    }
}
