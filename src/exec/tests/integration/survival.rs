//! What a crash of one party, or a full disk, does to the others.

use std::time::Duration;

use helix_exec::control::{self, StopReason};
use helix_exec::spool::status::{Ending, Status};
use helix_exec::{Liveness, SpoolReader, SpoolWriter};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Launcher, PATIENCE, is_alive, pid_in, skipped, until};

#[test]
fn attempt_goes_on_and_ends_when_its_launcher_is_killed() {
    let mut launcher = Launcher::start();
    nix::unistd::mkfifo(&launcher.work().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let request = launcher.shell("echo before; read -r go < fifo; echo after; exit 3");
    let attempt = launcher.launch(request);
    attempt.wait_for_log("before");
    launcher.child.kill().unwrap();
    launcher.child.wait().unwrap();
    assert_eq!(attempt.supervisor.liveness(), Liveness::Alive);
    std::fs::write(launcher.work().join("fifo"), "go\n").unwrap();
    let ended = attempt.wait();
    assert_eq!(ended.ending, Ending::Exited { code: 3 });
    assert_eq!(ended.supervisor, attempt.supervisor);
    assert!(attempt.log().ends_with("before\nafter\n"));
    until("the supervisor is gone", || {
        (attempt.supervisor.liveness() == Liveness::Dead).then_some(())
    });
}

#[test]
fn limits_hold_and_orders_are_taken_without_a_launcher() {
    let mut launcher = Launcher::start();
    let limit = Duration::from_millis(700);
    let mut request = launcher.shell("exec sleep 1000");
    request.limits.wall = Some(limit);
    let timed = launcher.launch(request);
    let request = launcher.shell("exec sleep 1000");
    let stopped = launcher.launch(request);
    launcher.child.kill().unwrap();
    stopped.stop(StopReason::Cancel, PATIENCE);
    assert_eq!(stopped.wait().ending, Ending::Cancelled);
    assert_eq!(timed.wait().ending, Ending::WallTimeout { limit });
}

#[test]
fn killed_supervisor_leaves_no_final_status_and_takes_its_command_along() {
    let mut launcher = Launcher::start();
    let request = launcher.shell("echo $$ > pid; echo running; exec sleep 1000");
    let attempt = launcher.launch(request);
    attempt.wait_for_log("running");
    let command = pid_in(&launcher.work().join("pid"));
    assert_eq!(attempt.command().0, command);
    kill(Pid::from_raw(attempt.supervisor.pid.0), Signal::SIGKILL).unwrap();
    until("the supervisor is gone", || {
        (attempt.supervisor.liveness() == Liveness::Dead).then_some(())
    });
    match attempt.status() {
        Some(Status::Launched(launched)) => assert_eq!(launched.supervisor, attempt.supervisor),
        status => panic!("{status:?}"),
    }
    assert!(control::connect(&attempt.spool).is_err());
    until("the command is gone", || (!is_alive(command)).then_some(()));
    // What it wrote is there, and more can be added.
    let mut writer = SpoolWriter::resume(&attempt.spool, Default::default()).unwrap();
    writer.append(helix_exec::spool::Stream::Agent, b"interrupted\n");
    assert_eq!(attempt.log(), "first line\nrunning\ninterrupted\n");
}

#[test]
fn damaged_spool_gives_what_is_left_of_it() {
    let mut launcher = Launcher::start();
    let request = launcher.shell("echo out; exit 0");
    let attempt = launcher.launch(request);
    attempt.wait();
    let status = attempt.spool.join("status.json");
    let whole = std::fs::read(&status).unwrap();
    for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&status, &whole[..cut]).unwrap();
        assert_eq!(attempt.status(), None, "cut at {cut}");
    }
    std::fs::write(&status, vec![0; whole.len()]).unwrap();
    assert_eq!(attempt.status(), None);
    std::fs::write(&status, b"{\"state\":\"of a later version\"}").unwrap();
    assert!(attempt.reader().status().is_err());
    std::fs::write(&status, &whole).unwrap();
    for entry in std::fs::read_dir(&attempt.spool).unwrap() {
        let path = entry.unwrap().path();
        if path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("index.")
        {
            std::fs::write(path, b"\x01cut").unwrap();
        }
    }
    let bytes: Vec<u8> = attempt
        .pieces()
        .into_iter()
        .flat_map(|(_, bytes)| bytes)
        .collect();
    assert_eq!(bytes, b"first line\nout\n");
}

#[test]
fn full_disk_neither_blocks_nor_ends_a_command_and_is_reported() {
    let Some(disk) = SmallDisk::mount("size=2m") else {
        return;
    };
    let mut launcher = Launcher::start_in(disk.directory(), |_| {});
    let request = launcher.shell("head -c 30000000 /dev/zero; echo; echo end; exit 4");
    let attempt = launcher.launch(request);
    let ended = attempt.wait();
    assert_eq!(ended.ending, Ending::Exited { code: 4 });
    assert_eq!(ended.output.raw_bytes, 30_000_005);
    assert_eq!(ended.output.console_bytes, 11 + 30_000_005);
    assert!(ended.output.lost_bytes > 27_000_000, "{:?}", ended.output);
    assert_eq!(ended.spool_problems[0].errno, libc_enospc());
    let log = attempt.reader().write_log(&mut std::io::sink()).unwrap();
    assert_eq!(log.missing_bytes, ended.output.lost_bytes);
    assert_eq!(attempt.reader().size().unwrap(), ended.output.console_bytes);
    // The gap is where it was, for whoever writes on.
    let writer = SpoolWriter::resume(&attempt.spool, Default::default()).unwrap();
    assert_eq!(writer.position(), ended.output.console_bytes);
}

#[test]
fn disk_that_has_room_again_is_used_again() {
    let Some(disk) = SmallDisk::mount("size=2m") else {
        return;
    };
    let mut launcher = Launcher::start_in(disk.directory(), |_| {});
    let work = launcher.work();
    std::fs::write(work.join("ballast"), vec![1; 1_500_000]).unwrap();
    let line = "head -c 1000000 /dev/zero; while [ -e ballast ]; do sleep 0.01; done; \
                while [ ! -e enough ]; do echo again; sleep 0.01; done";
    let request = launcher.shell(line);
    let attempt = launcher.launch(request);
    until("something was lost", || {
        let size = attempt.reader().size().unwrap();
        let free = nix::sys::statvfs::statvfs(&work)
            .unwrap()
            .blocks_available();
        (size > 11 && free == 0).then_some(())
    });
    std::fs::remove_file(work.join("ballast")).unwrap();
    attempt.wait_for_log("bytes dropped ...]\nagain\n");
    std::fs::write(work.join("enough"), "").unwrap();
    let ended = attempt.wait();
    assert!(ended.output.lost_bytes > 0 && ended.output.lost_bytes < 1_000_100);
    let log = SpoolReader::open(&attempt.spool)
        .unwrap()
        .write_log(&mut std::io::sink())
        .unwrap();
    assert_eq!(log.missing_bytes, ended.output.lost_bytes);
}

/// A small file system of its own, unmounted when it is dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, and a word why, where mounting is not allowed.
    fn mount(options: &str) -> Option<Self> {
        let disk = tempfile::tempdir().unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(disk.path())
            .output();
        let problem = match mount {
            Ok(output) if output.status.success() => return Some(Self(disk)),
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        skipped(&format!("no small disk: {problem}"));
        None
    }

    fn directory(&self) -> tempfile::TempDir {
        tempfile::tempdir_in(self.0.path()).unwrap()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.0.path())
            .status();
    }
}

fn libc_enospc() -> i32 {
    nix::Error::ENOSPC as i32
}
