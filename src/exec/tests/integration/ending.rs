//! How attempts end, and that the endings are told apart.

use std::time::Duration;

use helix_exec::control::StopReason;
use helix_exec::spool::status::{Ending, StartStep, WaitStatus};

use crate::support::{Launcher, PATIENCE, is_alive, pid_in};

#[test]
fn exit_codes_and_signals_are_told_apart() {
    let mut launcher = Launcher::start();
    for code in [0, 1, 42, 127, 255] {
        let (ended, _) = launcher.run_shell(&format!("exit {code}"));
        assert_eq!(ended.ending, Ending::Exited { code });
        assert_eq!(ended.wait_status, Some(WaitStatus::Exited(code)));
    }
    for signal in [6, 9, 15] {
        let (ended, _) = launcher.run_shell(&format!("kill -{signal} $$"));
        match ended.ending {
            Ending::Signalled { signal: told, .. } => assert_eq!(told, signal),
            ending => panic!("{ending:?}"),
        }
    }
}

#[test]
fn output_comes_back_by_stream_and_in_order() {
    let mut launcher = Launcher::start();
    let request = launcher.shell("echo to output; sleep 0.05; echo to error >&2");
    let attempt = launcher.launch(request);
    let ended = attempt.wait();
    assert_eq!(ended.ending, Ending::Exited { code: 0 });
    assert_eq!(attempt.log(), "first line\nto output\nto error\n");
    assert_eq!(ended.output.console_bytes, 30);
}

#[test]
fn command_that_cannot_start_is_never_an_exit() {
    let mut launcher = Launcher::start();
    let check =
        |launcher: &mut Launcher, change: &dyn Fn(&mut helix_exec::LaunchRequest), step, errno| {
            let mut request = launcher.command(&["/bin/true"]);
            change(&mut request);
            let (ended, log) = launcher.run(request);
            match &ended.ending {
                Ending::CouldNotStart {
                    step: told,
                    errno: number,
                    message,
                } => {
                    assert_eq!((*told, *number), (step, errno), "{message}");
                    assert!(message.len() > 10, "{message}");
                }
                ending => panic!("{ending:?} with {log}"),
            }
            assert_eq!(ended.wait_status, None);
            assert_eq!(log, "first line\n");
        };
    let work = launcher.work();
    std::fs::write(work.join("plain"), "#!/bin/sh\n").unwrap();
    let execute = StartStep::Execute;
    check(
        &mut launcher,
        &|r| r.command[0] = "/no/such".into(),
        execute,
        libc::ENOENT,
    );
    check(
        &mut launcher,
        &|r| r.command[0] = "no-such-program".into(),
        execute,
        libc::ENOENT,
    );
    check(
        &mut launcher,
        &|r| r.command[0] = "./plain".into(),
        execute,
        libc::EACCES,
    );
    check(
        &mut launcher,
        &|r| r.command[0] = "/etc/passwd/x".into(),
        execute,
        libc::ENOENT,
    );
    let directory = StartStep::WorkingDirectory;
    check(
        &mut launcher,
        &|r| r.working_directory = work.join("none").into(),
        directory,
        libc::ENOENT,
    );
    check(
        &mut launcher,
        &|r| r.working_directory = work.join("plain").into(),
        directory,
        libc::ENOTDIR,
    );
    let huge = "x".repeat(3 << 20);
    check(
        &mut launcher,
        &|r| r.command.push(huge.clone().into()),
        execute,
        libc::E2BIG,
    );
}

#[test]
fn silence_and_wall_limits_stop_the_tree_and_are_told_apart() {
    let mut launcher = Launcher::start();
    let limit = Duration::from_millis(300);
    let mut request = launcher.shell("echo up; sleep 1000");
    request.limits.silence = Some(limit);
    let (ended, _) = launcher.run(request);
    assert_eq!(ended.ending, Ending::SilenceTimeout { limit });
    assert_eq!(
        ended.wait_status,
        Some(WaitStatus::Signalled {
            signal: 15,
            core_dumped: false
        })
    );
    assert!(ended.elapsed >= limit && ended.elapsed < PATIENCE);

    let mut request = launcher.shell("while :; do echo busy; sleep 0.01; done");
    request.limits.silence = Some(PATIENCE);
    request.limits.wall = Some(limit);
    let (ended, log) = launcher.run(request);
    assert_eq!(ended.ending, Ending::WallTimeout { limit });
    assert!(log.contains("busy"));
}

#[test]
fn command_that_exits_well_within_the_grace_period_has_timed_out_all_the_same() {
    let mut launcher = Launcher::start();
    let limit = Duration::from_millis(200);
    let line = "trap 'echo told to end; exit 0' TERM; while :; do sleep 0.01; done";
    let mut request = launcher.shell(line);
    request.limits.wall = Some(limit);
    let (ended, log) = launcher.run(request);
    assert_eq!(ended.ending, Ending::WallTimeout { limit });
    assert_eq!(ended.wait_status, Some(WaitStatus::Exited(0)));
    assert!(log.ends_with("told to end\n"), "{log}");
}

#[test]
fn ignored_sigterm_is_followed_by_sigkill_after_the_grace_period() {
    let mut launcher = Launcher::start();
    let line = "trap '' TERM; (trap '' TERM; echo $$; sleep 1000) & echo ready; wait";
    let request = launcher.shell(line);
    let attempt = launcher.launch(request);
    attempt.wait_for_log("ready");
    let grace = Duration::from_millis(300);
    attempt.stop(StopReason::Cancel, grace);
    let ended = attempt.wait();
    assert_eq!(ended.ending, Ending::Cancelled);
    assert_eq!(
        ended.wait_status,
        Some(WaitStatus::Signalled {
            signal: 9,
            core_dumped: false
        })
    );
    assert!(ended.elapsed >= grace);
    assert!(ended.leftovers_total >= 1, "{:?}", ended.leftovers);
}

#[test]
fn output_is_still_read_during_the_grace_period() {
    let mut launcher = Launcher::start();
    // More than any pipe holds: it ends only if somebody reads.
    let line = "trap 'head -c 3000000 /dev/zero; echo done; exit 3' TERM; echo ready; \
                while :; do :; done";
    let request = launcher.shell(line);
    let attempt = launcher.launch(request);
    attempt.wait_for_log("ready");
    attempt.stop(StopReason::Interrupt, PATIENCE);
    let ended = attempt.wait();
    assert_eq!(ended.ending, Ending::Interrupted);
    assert_eq!(ended.wait_status, Some(WaitStatus::Exited(3)));
    assert_eq!(ended.output.raw_bytes, 6 + 3_000_000 + 5);
}

#[test]
fn second_stop_with_a_shorter_grace_period_shortens_it() {
    let mut launcher = Launcher::start();
    let request = launcher.shell("trap '' TERM; echo ready; while :; do sleep 0.01; done");
    let attempt = launcher.launch(request);
    attempt.wait_for_log("ready");
    attempt.stop(StopReason::Cancel, PATIENCE * 10);
    attempt.stop(StopReason::Interrupt, Duration::ZERO);
    assert_eq!(attempt.wait().ending, Ending::Cancelled);
}

#[test]
fn supervisor_that_is_told_to_end_ends_its_tree_first() {
    let mut launcher = Launcher::start();
    let request = launcher.shell("echo $$ > pid; exec sleep 1000");
    let attempt = launcher.launch(request);
    let command = pid_in(&launcher.work().join("pid"));
    let supervisor = nix::unistd::Pid::from_raw(attempt.supervisor.pid.0);
    nix::sys::signal::kill(supervisor, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(attempt.wait().ending, Ending::Interrupted);
    assert!(!is_alive(command));
}

#[test]
fn output_limit_ends_a_command_that_never_stops_talking() {
    let mut launcher = Launcher::start();
    let mut request = launcher.shell("exec yes");
    request.limits.output_bytes = Some(1_000_000);
    let (ended, _) = launcher.run(request);
    assert_eq!(ended.ending, Ending::OutputLimit { limit: 1_000_000 });
    assert!(ended.output.raw_bytes > 1_000_000);
}

#[test]
fn stopped_process_is_continued_so_that_it_sees_the_request_to_end() {
    let mut launcher = Launcher::start();
    let request =
        launcher.shell("trap 'echo bye; exit 0' TERM; echo ready; kill -STOP $$; sleep 1000");
    let attempt = launcher.launch(request);
    attempt.wait_for_log("ready");
    attempt.stop(StopReason::Cancel, PATIENCE);
    let ended = attempt.wait();
    assert_eq!(ended.ending, Ending::Cancelled);
    assert_ne!(
        ended.wait_status,
        Some(WaitStatus::Signalled {
            signal: 9,
            core_dumped: false
        })
    );
}

#[test]
fn usage_of_the_whole_tree_is_recorded() {
    let mut launcher = Launcher::start();
    let line = "(i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done) & wait; exit 0";
    let (ended, _) = launcher.run_shell(line);
    assert!(
        ended.usage.user_time > Duration::from_millis(10),
        "{:?}",
        ended.usage
    );
    assert!(
        ended.usage.max_resident_bytes > 100_000,
        "{:?}",
        ended.usage
    );
    assert!(ended.ended_at > ended.started_at);
}
