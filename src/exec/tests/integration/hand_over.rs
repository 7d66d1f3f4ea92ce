//! Directories that change hands: what happens when that fails or is cut off, and what of a
//! stranger's is never touched.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use helix_exec::launcher::{Refusal, Reply, Request};
use helix_exec::spool::status::{Ending, StartStep};
use helix_exec::{Directories, LaunchRequest};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::isolated::Isolated;
use crate::support::{is_alive, pid_in, until};

fn request_for(launcher: &mut Isolated) -> (LaunchRequest, Directories) {
    let line = "(trap '' TERM HUP; setsid sleep 1002 & echo $! > daemon); echo mine > file; \
                chmod 0 file; echo there; sleep 1003";
    let request = launcher.shell(line);
    let directories = request.directories.clone().unwrap();
    (request, directories)
}

#[test]
fn killed_supervisor_leaves_nobody_behind_and_its_directories_can_be_had_back() {
    let Some(mut launcher) = Isolated::start() else {
        return;
    };
    let (request, directories) = request_for(&mut launcher);
    let work = request.working_directory.as_path().to_owned();
    let attempt = launcher.launch(request);
    attempt.wait_for_log("there");
    let daemon = pid_in(&work.join("daemon"));
    kill(Pid::from_raw(attempt.supervisor.pid.0), Signal::SIGKILL).unwrap();
    until("the daemon is gone", || (!is_alive(daemon)).then_some(()));
    assert_eq!(work.join("file").metadata().unwrap().uid(), launcher.uid(0));
    let transferred = launcher.reclaim(directories);
    assert!(transferred.changed >= 4, "{transferred:?}");
    assert_eq!(
        (transferred.strangers, transferred.failed),
        (0, 0),
        "{transferred:?}"
    );
    assert_eq!(fs::read_to_string(work.join("file")).unwrap(), "mine\n");
    assert_eq!(work.join("file").metadata().unwrap().uid(), 0);
    let (ended, _) = launcher.run_shell("true");
    assert_eq!(ended.ending, Ending::Exited { code: 0 });
}

#[test]
fn new_launcher_ends_what_killed_supervisors_of_the_last_one_left() {
    let Some(mut launcher) = Isolated::start() else {
        return;
    };
    let (request, directories) = request_for(&mut launcher);
    let work = request.working_directory.as_path().to_owned();
    let attempt = launcher.launch(request);
    attempt.wait_for_log("there");
    let lives_on = launcher.shell("while [ ! -e go ]; do sleep 0.01; done; exit 4");
    let other_work = lives_on.working_directory.as_path().to_owned();
    let lives_on = launcher.launch(lives_on);
    lives_on.command();
    let daemon = pid_in(&work.join("daemon"));
    launcher.stop_hard();
    kill(Pid::from_raw(attempt.supervisor.pid.0), Signal::SIGKILL).unwrap();
    until("the supervisor is gone", || {
        (!is_alive(attempt.supervisor.pid.0)).then_some(())
    });
    assert!(is_alive(daemon), "nobody was there to kill it");
    launcher.start_again();
    until("the daemon is gone", || (!is_alive(daemon)).then_some(()));
    assert_eq!(launcher.reclaim(directories).failed, 0);
    // Who still has a supervisor is left alone, and its slot with it.
    let (ended, log) = launcher.run_shell("id -u");
    assert_eq!(ended.ending, Ending::Exited { code: 0 });
    assert!(!log.contains(&launcher.uid(1).to_string()), "{log}");
    fs::write(other_work.join("go"), "").unwrap();
    assert_eq!(lives_on.wait().ending, Ending::Exited { code: 4 });
}

#[test]
fn directories_of_a_command_that_is_looked_after_are_not_brought_back() {
    let Some(mut launcher) = Isolated::start() else {
        return;
    };
    let (request, directories) = request_for(&mut launcher);
    let work = request.working_directory.as_path().to_owned();
    let attempt = launcher.launch(request);
    attempt.wait_for_log("there");
    let reply = launcher.ask(&Request::Reclaim {
        number: 98,
        directories: directories.clone(),
    });
    let refused = Reply::Refused {
        number: 98,
        refusal: Refusal::InUse { slot: 0 },
    };
    assert_eq!(reply, refused);
    assert_eq!(work.metadata().unwrap().uid(), launcher.uid(0));
    attempt.stop(
        helix_exec::control::StopReason::Cancel,
        std::time::Duration::ZERO,
    );
    let ended = attempt.wait();
    assert_eq!(ended.run_as.unwrap().uid, launcher.uid(0));
    assert_eq!(launcher.reclaim(directories).changed, 0);
}

#[test]
fn next_command_of_a_user_finds_the_last_ones_directories_closed_though_it_was_cut_off() {
    let Some(mut launcher) = Isolated::start() else {
        return;
    };
    let (request, directories) = request_for(&mut launcher);
    let work = request.working_directory.as_path().to_owned();
    let attempt = launcher.launch(request);
    attempt.wait_for_log("there");
    kill(Pid::from_raw(attempt.supervisor.pid.0), Signal::SIGKILL).unwrap();
    until("the supervisor is gone", || {
        (!is_alive(attempt.supervisor.pid.0)).then_some(())
    });
    let line = format!("id -u; ls {}", work.display());
    let (ended, log) = launcher.run_shell(&line);
    assert!(log.contains(&format!("\n{}\n", launcher.uid(0))), "{log}");
    assert!(log.contains("Permission denied"), "{log}");
    assert_ne!(ended.ending, Ending::Exited { code: 0 });
    assert_eq!(work.join("file").metadata().unwrap().uid(), 0);
    let transferred = launcher.reclaim(directories);
    assert_eq!((transferred.changed, transferred.failed), (0, 0));
}

#[test]
fn directories_that_cannot_all_be_handed_over_stay_with_the_client() {
    let Some(mut launcher) = Isolated::start() else {
        return;
    };
    let request = launcher.shell("true");
    let parent = request.directories.clone().unwrap().parent;
    let parent = parent.as_path();
    fs::write(parent.join("e/file"), "").unwrap();
    fs::set_permissions(parent.join("e/file"), fs::Permissions::from_mode(0o400)).unwrap();
    nix::unistd::chown(&parent.join("t"), Some(4242.into()), None).unwrap();
    let refusal = launcher.try_launch(request).err().unwrap();
    assert!(refusal.to_string().contains("belongs to user 4242"));
    for (name, mode) in [(".", 0o700), ("e", 0o755), ("e/file", 0o400)] {
        let metadata = parent.join(name).metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (0, 0), "{name}");
        assert_eq!(metadata.mode() & 0o7777, mode, "{name}");
    }
    assert_eq!(parent.join("t").metadata().unwrap().uid(), 4242);
    let (ended, _) = launcher.run_shell("true");
    assert_eq!(ended.ending, Ending::Exited { code: 0 });
}

#[test]
fn spool_that_is_not_the_clients_is_refused() {
    let Some(mut launcher) = Isolated::start() else {
        return;
    };
    let request = launcher.shell("true");
    let spool = request.spool.as_path().to_owned();
    nix::unistd::chown(&spool, Some(4242.into()), None).unwrap();
    let refusal = launcher.try_launch(request).err().unwrap();
    assert!(
        refusal.to_string().contains("belongs to user 4242"),
        "{refusal}"
    );
    // A root that was replaced by a link leads to what is somebody else's.
    let request = launcher.shell("true");
    let spools = launcher.path().join("spools");
    let away = launcher.path().join("away");
    fs::rename(&spools, launcher.path().join("moved")).unwrap();
    fs::create_dir_all(away.join("2")).unwrap();
    nix::unistd::chown(&away.join("2"), Some(4242.into()), None).unwrap();
    std::os::unix::fs::symlink(&away, &spools).unwrap();
    let refusal = launcher.try_launch(request).err().unwrap();
    assert!(
        refusal.to_string().contains("belongs to user 4242"),
        "{refusal}"
    );
    assert_eq!(fs::read_dir(away.join("2")).unwrap().count(), 0);
}

#[test]
fn command_starts_in_no_directory_of_a_stranger() {
    let Some(mut launcher) = Isolated::start() else {
        return;
    };
    let mut request = launcher.shell("cat open");
    let shut = launcher.work().join("shut");
    fs::create_dir_all(shut.join("below")).unwrap();
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(shut.join("below/open"), "secret").unwrap();
    nix::unistd::chown(&shut.join("below"), Some(4242.into()), None).unwrap();
    request.working_directory = shut.join("below").into();
    let (ended, log) = launcher.run(request);
    assert!(matches!(
        ended.ending,
        Ending::CouldNotStart {
            step: StartStep::WorkingDirectory,
            ..
        }
    ));
    assert!(!log.contains("secret"), "{log}");
}
