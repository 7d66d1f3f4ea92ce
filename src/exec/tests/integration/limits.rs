//! What a command may use of the machine, and what is counted of it. Most of it needs a kernel
//! with all controllers of control groups.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use helix_exec::control::StopReason;
use helix_exec::launcher::{self, Config, ControlGroups, Measure};
use helix_exec::spool::status::{Ended, Ending, IoBytes, OutOfMemory, Status};
use helix_exec::{LaunchRequest, ResourceLimits};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::isolated::Isolated;
use crate::support::{Attempt, PATIENCE, is_alive, skipped, until};

const MIB: u64 = 1 << 20;

/// Holds so many MiB at a time and says so.
const HOG: &str = r#"perl -e 'my $x = "x" x ($ARGV[0] << 20); print "has $ARGV[0] MiB\n"'"#;

/// A launcher whose kernel limits and counts everything; without one says that the calling test is
/// skipped.
fn start() -> Option<Isolated> {
    start_with(|_| {})
}

fn start_with(change: impl FnOnce(&mut Config)) -> Option<Isolated> {
    let mut launcher = Isolated::start_with(change)?;
    let isolation = launcher.isolation();
    let needed = [Measure::Memory, Measure::Cpu, Measure::Io];
    let missing = isolation.missing.iter();
    match missing
        .into_iter()
        .find(|missing| needed.contains(&missing.measure))
    {
        None => Some(launcher),
        Some(missing) => {
            skipped(&format!("no {}: {}", missing.measure.name(), missing.why));
            None
        }
    }
}

fn limited(launcher: &mut Isolated, line: &str, resources: ResourceLimits) -> LaunchRequest {
    LaunchRequest {
        resources,
        ..launcher.shell(line)
    }
}

fn memory(mib: u64) -> ResourceLimits {
    ResourceLimits {
        memory_bytes: Some(mib * MIB),
        ..ResourceLimits::default()
    }
}

/// Another command of the same launcher, which must not notice anything.
struct Neighbour(Attempt);

impl Neighbour {
    fn start(launcher: &mut Isolated) -> Self {
        let request = launcher.shell("i=0; while :; do echo tick $((i += 1)).; sleep 0.05; done");
        let neighbour = Self(launcher.launch(request));
        neighbour.0.wait_for_log("tick 1.");
        neighbour
    }

    /// It still works: more comes of it than there was.
    fn goes_on(&self) {
        let before = self.0.log().len();
        until("the neighbour has said more", || {
            (self.0.log().len() > before).then_some(())
        });
    }

    fn stop(self) {
        self.goes_on();
        self.0.stop(StopReason::Cancel, Duration::ZERO);
        let ended = self.0.wait();
        assert_eq!(ended.ending, Ending::Cancelled);
        assert_eq!(ended.out_of_memory, OutOfMemory::default());
    }
}

/// The directory of a slot's group.
fn slot(launcher: &Isolated, number: u32) -> PathBuf {
    group(launcher).join(format!("slot-{number}"))
}

fn group(launcher: &Isolated) -> PathBuf {
    launcher.hierarchy().join(launcher.group_name())
}

fn victims(ended: &Ended) -> Vec<(i32, &str)> {
    let victims = ended.out_of_memory.victims.iter();
    victims
        .map(|victim| (victim.pid.0, victim.name.as_str()))
        .collect()
}

#[test]
fn command_that_takes_too_much_memory_is_killed_and_named() {
    let Some(mut launcher) = start() else { return };
    let neighbour = Neighbour::start(&mut launcher);
    let request = limited(&mut launcher, &format!("exec {HOG} 512"), memory(48));
    let (ended, log) = launcher.run(request);
    let limit = Some(48 * MIB);
    assert_eq!(ended.ending, Ending::OutOfMemory { limit }, "{log}");
    assert_eq!(ended.out_of_memory.kills, 1);
    assert_eq!(victims(&ended), [(ended.command.unwrap().0, "perl")]);
    let peak = ended.usage.peak_memory_bytes.unwrap();
    assert!((40 * MIB..=48 * MIB).contains(&peak), "{peak}");
    neighbour.goes_on();
    let (ended, _) = launcher.run_shell("exit 7");
    assert_eq!(ended.ending, Ending::Exited { code: 7 });
    assert_eq!(ended.out_of_memory, OutOfMemory::default());
    neighbour.stop();
}

#[test]
fn command_that_outlives_the_killing_of_its_child_ends_as_it_likes() {
    let Some(mut launcher) = start() else { return };
    let line = format!("{HOG} 512; echo child $?; {HOG} 512; exit 5");
    let request = limited(&mut launcher, &line, memory(48));
    let (ended, log) = launcher.run(request);
    assert_eq!(ended.ending, Ending::Exited { code: 5 }, "{log}");
    assert!(log.contains("child 137\n"), "{log}");
    assert_eq!(ended.out_of_memory.kills, 2);
    let victims = victims(&ended);
    assert_eq!(victims.len(), 2);
    for (pid, name) in victims {
        assert_ne!(pid, ended.command.unwrap().0);
        assert_eq!(name, "perl");
    }
}

#[test]
fn command_cannot_swap_its_way_around_the_limit() {
    let Some(mut launcher) = start() else { return };
    if fs::read_to_string("/proc/swaps").unwrap().lines().count() < 2 {
        return skipped("this machine has no swap space");
    }
    let request = limited(&mut launcher, &format!("exec {HOG} 96"), memory(48));
    let (ended, log) = launcher.run(request);
    let limit = Some(48 * MIB);
    assert_eq!(ended.ending, Ending::OutOfMemory { limit }, "{log}");
    assert!(!log.contains("has 96 MiB"), "{log}");
}

#[test]
fn want_of_memory_beyond_the_commands_own_limit_is_told_apart() {
    let Some(mut launcher) = start() else { return };
    let neighbour = Neighbour::start(&mut launcher);
    // In the place of a machine that has no more.
    fs::write(group(&launcher).join("memory.swap.max"), "0").unwrap();
    fs::write(group(&launcher).join("memory.max"), "96M").unwrap();
    for resources in [ResourceLimits::default(), memory(1024)] {
        let request = limited(&mut launcher, &format!("exec {HOG} 512"), resources);
        let (ended, log) = launcher.run(request);
        let limit = None;
        assert_eq!(ended.ending, Ending::OutOfMemory { limit }, "{log}");
        assert_eq!(victims(&ended), [(ended.command.unwrap().0, "perl")]);
    }
    neighbour.stop();
}

#[test]
fn killed_command_was_not_out_of_memory_unless_it_was() {
    let Some(mut launcher) = start() else { return };
    let request = limited(&mut launcher, "kill -9 $$", memory(48));
    let (ended, log) = launcher.run(request);
    assert!(
        matches!(ended.ending, Ending::Signalled { signal: 9, .. }),
        "{ended:?} {log}"
    );
    assert_eq!(ended.out_of_memory, OutOfMemory::default());
}

/// Waits until a bomb has gone off.
fn wait_for_refused_forks(group: &Path) {
    until("a fork was refused", || {
        let events = fs::read_to_string(group.join("pids.events")).ok()?;
        (events != "max 0\n").then_some(())
    });
}

#[test]
fn fork_bomb_is_confined_and_ends_at_its_wall_limit() {
    let Some(mut launcher) = start() else { return };
    let neighbour = Neighbour::start(&mut launcher);
    let limits = ResourceLimits {
        processes: Some(32),
        ..ResourceLimits::default()
    };
    let mut request = limited(&mut launcher, "exec perl -e 'fork while 1'", limits);
    let wall = Duration::from_secs(10);
    request.limits.wall = Some(wall);
    request.limits.grace = Duration::ZERO;
    let bomb = launcher.launch(request);
    wait_for_refused_forks(&slot(&launcher, 1));
    neighbour.goes_on();
    let (ended, _) = launcher.run_shell("exit 7");
    assert_eq!(ended.ending, Ending::Exited { code: 7 });
    assert!(launcher.isolation().has(Measure::Processes));
    let status = bomb.status();
    assert!(matches!(status, Some(Status::Launched(_))), "{status:?}");

    let ended = bomb.wait();
    assert_eq!(ended.ending, Ending::WallTimeout { limit: wall });
    assert!(ended.usage.refused_forks.unwrap() > 0);
    assert_eq!(ended.usage.peak_processes, Some(32));
    assert!(ended.leftovers_total > 8, "{}", ended.leftovers_total);
    assert_eq!(ended.survivors, []);
    assert_eq!(processes_of(launcher.uid(1)), Vec::<i32>::new());
    neighbour.stop();
}

#[test]
fn fork_bomb_that_has_lost_its_supervisor_is_ended() {
    let Some(mut launcher) = start() else { return };
    let limits = ResourceLimits {
        processes: Some(32),
        ..ResourceLimits::default()
    };
    let request = limited(&mut launcher, "exec perl -e 'fork while 1'", limits);
    let bomb = launcher.launch(request);
    wait_for_refused_forks(&slot(&launcher, 0));
    kill(Pid::from_raw(bomb.supervisor.pid.0), Signal::SIGKILL).unwrap();
    until("the bomb is gone", || {
        processes_of(launcher.uid(0)).is_empty().then_some(())
    });
    let (ended, log) = launcher.run_shell("cat /proc/self/cgroup; exit 7");
    assert_eq!(ended.ending, Ending::Exited { code: 7 }, "{log}");
    assert!(log.contains("/slot-0\n"), "{log}");
    assert_eq!(ended.leftovers_total, 0);
    assert_eq!(ended.usage.refused_forks, Some(0));
}

#[test]
fn share_of_the_processors_is_kept() {
    let Some(mut launcher) = start() else { return };
    let limits = ResourceLimits {
        cpu_millis: Some(200),
        ..ResourceLimits::default()
    };
    // Two at once, as the limit is on all of them together.
    let line = "while :; do :; done & while :; do :; done";
    let mut request = limited(&mut launcher, line, limits);
    request.limits.wall = Some(Duration::from_secs(8));
    request.limits.grace = Duration::ZERO;
    let (ended, log) = launcher.run(request);
    assert!(matches!(ended.ending, Ending::WallTimeout { .. }), "{log}");
    let used = ended.usage.user_time + ended.usage.system_time;
    let share = used.as_secs_f64() / ended.elapsed.as_secs_f64();
    assert!(
        (0.1..0.4).contains(&share),
        "{used:?} in {:?}",
        ended.elapsed
    );
}

#[test]
fn each_attempt_is_counted_from_zero_in_a_slot_that_is_used_again() {
    let Some(mut launcher) = start() else { return };
    let line = format!(
        "{HOG} 96; dd if=/dev/zero of=file bs=1M count=8 conv=fsync; \
         for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.5 & done; wait; \
         perl -e '1 while (times)[0] < 2'; rm file"
    );
    let (large, log) = launcher.run_shell(&line);
    assert_eq!(large.ending, Ending::Exited { code: 0 }, "{log}");
    let (small, log) = launcher.run_shell("exit 0");
    assert_eq!(small.ending, Ending::Exited { code: 0 }, "{log}");

    let (large, small) = (large.usage, small.usage);
    let peak = large.peak_memory_bytes.unwrap();
    assert!((96 * MIB..256 * MIB).contains(&peak), "{large:?}");
    assert!(small.peak_memory_bytes.unwrap() < 32 * MIB, "{small:?}");
    let written = |io: Option<IoBytes>| io.unwrap().written;
    assert!(
        (8 * MIB..64 * MIB).contains(&written(large.io_bytes)),
        "{large:?}"
    );
    assert!(written(small.io_bytes) < MIB, "{small:?}");
    assert!(large.user_time >= Duration::from_secs(2), "{large:?}");
    assert!(small.user_time < Duration::from_secs(1), "{small:?}");
    assert!(large.peak_processes.unwrap() > 10, "{large:?}");
    assert!(
        small.peak_processes.is_none_or(|peak| peak < 5),
        "{small:?}"
    );
    assert_eq!(large.refused_forks, Some(0));
}

#[test]
fn limits_of_the_launcher_narrow_those_of_a_request() {
    let most = ResourceLimits {
        memory_bytes: Some(48 * MIB),
        cpu_millis: Some(1500),
        processes: Some(16),
    };
    let Some(mut launcher) = start_with(|config| config.maxima.resources = most) else {
        return;
    };
    for (asked, mib) in [(Some(1024 * MIB), 48), (None, 48), (Some(32 * MIB), 32)] {
        let resources = ResourceLimits {
            memory_bytes: asked,
            cpu_millis: Some(100_000),
            processes: Some(8),
        };
        let request = limited(&mut launcher, "exec sleep 1000", resources);
        let attempt = launcher.launch(request);
        let limit = |name: &str| fs::read_to_string(slot(&launcher, 0).join(name)).unwrap();
        assert_eq!(limit("memory.max"), format!("{}\n", mib * MIB));
        assert_eq!(limit("memory.swap.max"), "0\n");
        assert_eq!(limit("cpu.max"), "150000 100000\n");
        assert_eq!(limit("pids.max"), "8\n");
        attempt.stop(StopReason::Cancel, Duration::ZERO);
        assert_eq!(attempt.wait().ending, Ending::Cancelled);
    }
    // What one command was held to does not hold the next.
    let request = launcher.shell("exec sleep 1000");
    let attempt = launcher.launch(request);
    let limit = fs::read_to_string(slot(&launcher, 0).join("pids.max"));
    assert_eq!(limit.unwrap(), "16\n");
    attempt.stop(StopReason::Cancel, Duration::ZERO);
    attempt.wait();
}

#[test]
fn launcher_with_a_delegated_group_makes_way_and_finds_it_again() {
    let Some(mut launcher) = start() else { return };
    // A group as a service manager delegates one.
    let delegated = group(&launcher).join("delegated");
    fs::create_dir(&delegated).unwrap();
    let path = launcher.path().join("launcher.json");
    let mut config: Config = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config.control_groups = ControlGroups::Own;
    fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
    launcher.stop_hard();
    start_inside(&mut launcher, &path, &delegated);

    let resources = ResourceLimits {
        processes: Some(8),
        ..memory(48)
    };
    let line = format!("echo there; while ! [ -e go ]; do sleep 0.1; done; exec {HOG} 512");
    let request = limited(&mut launcher, &line, resources);
    let go = request.working_directory.as_path().join("go");
    let old = launcher.launch(request);
    old.wait_for_log("there");
    assert_eq!(members(&delegated), Vec::<u32>::new());
    assert_eq!(members(&delegated.join("slot-0")).len(), 2);
    assert!(members(&delegated.join("launcher")).contains(&launcher.pid()));

    for _ in 0..2 {
        launcher.stop_hard();
        start_inside(&mut launcher, &path, &delegated.join("launcher"));
        assert!(launcher.isolation().has(Measure::Memory));
        let (ended, log) = launcher.run_shell("cat /proc/self/cgroup; exit 7");
        assert_eq!(ended.ending, Ending::Exited { code: 7 }, "{log}");
        assert!(log.contains("/delegated/slot-1\n"), "{log}");
        let status = old.status();
        assert!(matches!(status, Some(Status::Launched(_))), "{status:?}");
    }
    fs::write(go, "").unwrap();
    let ended = old.wait();
    let limit = Some(48 * MIB);
    assert_eq!(ended.ending, Ending::OutOfMemory { limit });
    assert_eq!(victims(&ended).len(), 1);
    launcher.stop_hard();
    remove(&delegated);
}

/// Starts a launcher that is in a group from its first moment.
fn start_inside(launcher: &mut Isolated, config: &Path, group: &Path) {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", r#"echo $$ > "$0" && exec "$@""#])
        .arg(group.join("cgroup.procs"))
        .arg(env!("CARGO_BIN_EXE_helix-launcher"))
        .arg("--config")
        .arg(config)
        .arg("--connection");
    let (connection, child) = launcher::start_child(command).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    (launcher.connection, launcher.child) = (connection, child);
}

fn members(group: &Path) -> Vec<u32> {
    let members = fs::read_to_string(group.join("cgroup.procs")).unwrap();
    members.lines().map(|pid| pid.parse().unwrap()).collect()
}

fn groups_in(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).unwrap().map(|entry| entry.unwrap());
    let groups = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    groups.map(|entry| entry.path()).collect()
}

/// Removes a group with all that are in it, once nothing runs there.
fn remove(group: &Path) {
    for inner in groups_in(group) {
        remove(&inner);
    }
    until("a group is empty", || fs::remove_dir(group).ok());
}

/// Processes of a user that are not only waiting to be collected.
fn processes_of(uid: u32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_theirs = |pid: &i32| {
        fs::metadata(format!("/proc/{pid}")).is_ok_and(|metadata| metadata.uid() == uid)
    };
    pids.filter(is_theirs)
        .filter(|pid| is_alive(*pid))
        .collect()
}

#[test]
fn two_hundred_commands_leave_no_group_and_no_process_behind() {
    let Some(mut launcher) = start() else { return };
    for round in 0..200 {
        // Some leave something behind that is not easily found.
        let strays = u32::from(round % 20 == 0);
        let line = ["(true &)", "(setsid sleep 1000 &)"][strays as usize];
        let request = limited(&mut launcher, line, memory(48));
        let attempt = launcher.launch(request);
        let ended = attempt.wait();
        assert_eq!(ended.ending, Ending::Exited { code: 0 }, "{round}");
        assert!(ended.leftovers_total >= strays, "{round}");
        assert!(
            ended.usage.peak_memory_bytes.is_some_and(|peak| peak > 0),
            "{round}"
        );
        fs::remove_dir_all(&attempt.spool).unwrap();
    }
    for slot in 0..Isolated::SLOTS {
        assert_eq!(processes_of(launcher.uid(slot)), Vec::<i32>::new());
    }
    let groups = groups_in(&group(&launcher));
    for group in &groups {
        assert_eq!(members(group), Vec::<u32>::new(), "{}", group.display());
        let name = group.file_name().unwrap().to_str().unwrap();
        let number: u32 = name.strip_prefix("slot-").unwrap().parse().unwrap();
        assert!(number < Isolated::SLOTS, "{name}");
    }
    // Groups that were removed live on while the kernel remembers what they had in memory.
    let statistics = fs::read_to_string(group(&launcher).join("cgroup.stat")).unwrap();
    let dying = statistics
        .lines()
        .find_map(|line| line.strip_prefix("nr_dying_descendants "));
    let dying: u32 = dying.unwrap().parse().unwrap();
    assert!(dying < 50, "{statistics}");
}
