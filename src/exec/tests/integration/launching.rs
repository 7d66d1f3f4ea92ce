//! The launcher itself: whom it obeys, what it refuses, what it leaves behind.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use helix_exec::control::StopReason;
use helix_exec::frame::{self, MAX_LAUNCHER_FRAME};
use helix_exec::launcher::{Refusal, Reply, Request};
use helix_exec::spool::status::Ending;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Launcher, PATIENCE, config, is_alive, until};

#[test]
fn two_hundred_launches_leave_nothing_behind() {
    let mut launcher = Launcher::start();
    let (mut open, mut supervisors) = (None, Vec::new());
    for round in 0..200 {
        let request = launcher.shell("(true &); echo $$");
        let attempt = launcher.launch(request);
        assert_eq!(attempt.wait().ending, Ending::Exited { code: 0 });
        std::fs::remove_dir_all(&attempt.spool).unwrap();
        supervisors.push(attempt.supervisor.pid.0);
        if round == 20 {
            open = Some(settled_descriptors(&launcher));
        }
    }
    until("every supervisor is gone", || {
        supervisors
            .iter()
            .all(|pid| !std::fs::exists(format!("/proc/{pid}")).unwrap())
            .then_some(())
    });
    assert_eq!(settled_descriptors(&launcher), open.unwrap());
    assert_eq!(
        std::fs::read_dir(launcher.path().join("spools"))
            .unwrap()
            .count(),
        0
    );
    assert_eq!(std::fs::read_dir(launcher.work()).unwrap().count(), 0);
}

/// Open descriptors of the launcher once it is idle: with no child but one spare supervisor.
fn settled_descriptors(launcher: &Launcher) -> usize {
    let directory = format!("/proc/{}/fd", launcher.child.id());
    let children = format!("/proc/{0}/task/{0}/children", launcher.child.id());
    until("the launcher has collected its supervisors", || {
        let children = std::fs::read_to_string(&children).unwrap();
        let children: Vec<i32> = children
            .split(' ')
            .filter_map(|pid| pid.parse().ok())
            .collect();
        (children.len() == 1 && is_alive(children[0])).then_some(())
    });
    std::fs::read_dir(directory).unwrap().count()
}

#[test]
fn spare_supervisor_is_replaced_when_it_was_killed_and_goes_with_its_launcher() {
    let mut launcher = Launcher::start();
    let spare = |launcher: &Launcher| {
        let children = format!("/proc/{0}/task/{0}/children", launcher.child.id());
        until("there is a spare", || {
            std::fs::read_to_string(&children)
                .ok()?
                .trim()
                .parse::<i32>()
                .ok()
        })
    };
    for _ in 0..5 {
        let killed = until("the spare is killed", || {
            // The supervisor of the command before may be all there is yet, and be gone by now.
            let spare = spare(&launcher);
            kill(Pid::from_raw(spare), Signal::SIGKILL).ok()?;
            Some(spare)
        });
        until("the killed one was collected", || {
            (!std::fs::exists(format!("/proc/{killed}")).unwrap()).then_some(())
        });
        let (ended, _) = launcher.run_shell("exit 7");
        assert_eq!(ended.ending, Ending::Exited { code: 7 });
    }
    let last = spare(&launcher);
    launcher.child.kill().unwrap();
    launcher.child.wait().unwrap();
    until("the spare is gone", || (!is_alive(last)).then_some(()));
}

#[test]
fn sixty_four_attempts_at_once_are_each_answered_and_end() {
    let mut launcher = Launcher::start();
    let requests: Vec<_> = (0..64)
        .map(|n| launcher.shell(&format!("sleep 0.2; exit {n}")))
        .collect();
    let spools: Vec<_> = requests
        .iter()
        .map(|r| r.spool.as_path().to_owned())
        .collect();
    for (number, request) in (0..).zip(requests) {
        launcher.send(number, request);
    }
    let mut answered = [false; 64];
    for _ in 0..64 {
        match launcher.reply() {
            Reply::Launched { number, supervisor } => {
                let place = usize::try_from(number).unwrap();
                assert!(!std::mem::replace(&mut answered[place], true));
                let attempt = crate::support::Attempt {
                    supervisor,
                    spool: spools[place].clone(),
                };
                let code = i32::try_from(number).unwrap();
                assert_eq!(attempt.wait().ending, Ending::Exited { code });
            }
            reply => panic!("{reply:?}"),
        }
    }
}

#[test]
fn requests_outside_the_configuration_are_refused_and_touch_nothing() {
    let mut launcher = Launcher::start();
    let mut request = launcher.command(&["/bin/true"]);
    request.working_directory = "/etc".into();
    let spool = request.spool.clone();
    assert!(matches!(
        launcher.try_launch(request),
        Err(Refusal::Forbidden { field, .. }) if field == "working_directory"
    ));
    let mut request = launcher.command(&["/bin/true"]);
    request.spool = launcher.work().into();
    assert!(matches!(
        launcher.try_launch(request),
        Err(Refusal::Forbidden { field, .. }) if field == "spool"
    ));
    let names: Vec<_> = std::fs::read_dir(spool.as_path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("console.") && !name.starts_with("index."))
        .collect();
    assert_eq!(names, ["status.next"]);
}

#[test]
fn spool_serves_one_supervisor_only() {
    let mut launcher = Launcher::start();
    let request = launcher.shell("echo ready; exec sleep 1000");
    let again = request.clone();
    let attempt = launcher.launch(request);
    attempt.wait_for_log("ready");
    let refused = |launcher: &mut Launcher| match launcher.try_launch(again.clone()) {
        Err(Refusal::Failed { step, .. }) => assert!(step.contains("spool"), "{step}"),
        Err(refusal) => panic!("{refusal:?}"),
        Ok(_) => panic!("launched twice"),
    };
    refused(&mut launcher);
    attempt.stop(StopReason::Cancel, Duration::ZERO);
    attempt.wait();
    refused(&mut launcher);
    assert_eq!(attempt.wait().ending, Ending::Cancelled);
    let mut request = launcher.command(&["/bin/true"]);
    std::fs::remove_dir_all(request.spool.as_path()).unwrap();
    assert!(matches!(
        launcher.try_launch(request.clone()),
        Err(Refusal::Failed { errno: 2, .. })
    ));
    std::os::unix::fs::symlink(&attempt.spool, request.spool.as_path()).unwrap();
    assert!(launcher.try_launch(request.clone()).is_err());
    request.spool = format!("{}/", request.spool.as_path().display()).into();
    assert!(launcher.try_launch(request).is_err());
}

#[test]
fn launcher_full_of_supervisors_says_so_and_recovers() {
    let mut launcher = Launcher::start_with(|config| config.maxima.supervisors = 1);
    let request = launcher.shell("exec sleep 1000");
    let attempt = launcher.launch(request);
    let request = launcher.shell("exit 0");
    let again = request.clone();
    assert_eq!(
        launcher.try_launch(request).err(),
        Some(Refusal::Full {
            running: 1,
            limit: 1
        })
    );
    attempt.stop(StopReason::Cancel, Duration::ZERO);
    attempt.wait();
    until("there is room again", || {
        launcher.try_launch(again.clone()).ok()
    })
    .wait();
}

#[test]
fn launcher_ends_with_its_connection_and_its_supervisors_do_not() {
    let mut launcher = Launcher::start();
    let request = launcher.shell("echo ready; exec sleep 1000");
    let attempt = launcher.launch(request);
    attempt.wait_for_log("ready");
    launcher
        .connection
        .shutdown(std::net::Shutdown::Both)
        .unwrap();
    assert!(launcher.child.wait().unwrap().success());
    attempt.stop(StopReason::Cancel, PATIENCE);
    assert_eq!(attempt.wait().ending, Ending::Cancelled);
}

#[test]
fn launcher_on_a_socket_serves_its_user_and_stops_on_sigterm() {
    let mut other = Launcher::start();
    let directory = tempfile::tempdir().unwrap();
    let configuration = directory.path().join("launcher.json");
    let configured = serde_json::to_vec(&config(other.path())).unwrap();
    std::fs::write(&configuration, configured).unwrap();
    let socket = directory.path().join("socket");
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_helix-launcher"));
        command
            .arg("--config")
            .arg(&configuration)
            .arg("--socket")
            .arg(&socket);
        let child = command.spawn().unwrap();
        let stream = until("the launcher listens", || UnixStream::connect(&socket).ok());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        (child, stream)
    };
    let (mut killed, _) = start();
    killed.kill().unwrap();
    killed.wait().unwrap();
    // What is left of a dead launcher's socket is replaced.
    let (mut child, mut stream) = start();
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    let launch = other.shell("echo ready; exec sleep 1000");
    let spool = launch.spool.as_path().to_owned();
    let request = Request::Launch {
        number: 1,
        launch: Box::new(launch),
    };
    frame::write(&mut stream, &request, MAX_LAUNCHER_FRAME).unwrap();
    let supervisor = match frame::read(&mut stream, MAX_LAUNCHER_FRAME).unwrap() {
        Some(Reply::Launched {
            number: 1,
            supervisor,
        }) => supervisor,
        reply => panic!("{reply:?}"),
    };
    let attempt = crate::support::Attempt { supervisor, spool };
    attempt.wait_for_log("ready");
    kill(
        Pid::from_raw(i32::try_from(child.id()).unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!socket.exists());
    assert!(is_alive(attempt.supervisor.pid.0));
    attempt.stop(StopReason::Cancel, PATIENCE);
    assert_eq!(attempt.wait().ending, Ending::Cancelled);
}

#[test]
fn strangers_are_not_served() {
    let own = nix::unistd::geteuid().as_raw();
    let mut launcher = Launcher::start_with(|config| config.client_uid = own + 1);
    // The connection belongs to a user that the configuration does not name.
    assert!(!launcher.child.wait().unwrap().success());
}

#[test]
fn client_that_talks_nonsense_loses_its_connection() {
    let mut launcher = Launcher::start();
    std::io::Write::write_all(&mut launcher.connection, b"\0\0\0\x04true").unwrap();
    assert!(launcher.child.wait().unwrap().success());
}

#[test]
fn spool_path_longer_than_a_socket_address_is_fine_where_the_system_allows() {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("d".repeat(100)).join("e".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    let directory = tempfile::tempdir_in(deep).unwrap();
    let mut launcher = Launcher::start_in(directory, |_| {});
    let request = launcher.shell("echo ready; exec sleep 1000");
    let attempt = launcher.launch(request);
    attempt.stop(StopReason::Cancel, PATIENCE);
    assert_eq!(attempt.wait().ending, Ending::Cancelled);
}
