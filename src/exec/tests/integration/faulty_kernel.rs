//! A kernel that lacks a system call, or fails one in the middle of an isolated start: the command
//! runs as it must, or not at all.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use helix_exec::launcher::Measure;
use helix_exec::spool::status::{Ended, Ending, StartStep};

use crate::isolated::Isolated;
use crate::privileges::{stop, trace};
use crate::support::skipped;

/// Runs a command while system calls are tampered with, as strace's `inject` has it; `None` where
/// that cannot be tried.
fn run_with(faults: &[&str]) -> Option<(Isolated, Ended, String)> {
    let mut launcher = Isolated::start()?;
    let isolation = launcher.isolation();
    if !isolation.has(Measure::PrivateTemporary) || !isolation.has(Measure::Tree) {
        skipped(&format!("{:?}", isolation.missing));
        return None;
    }
    let names: Vec<_> = faults
        .iter()
        .filter_map(|fault| fault.split(':').next())
        .collect();
    let mut expressions = vec![format!("trace={}", names.join(","))];
    expressions.extend(faults.iter().map(|fault| format!("inject={fault}")));
    let file = launcher.path().join("trace");
    let mut tracer = trace(launcher.pid(), &file, &expressions)?;
    // Takes the supervisor that was there already, and is not traced.
    launcher.run_shell("true");
    let request =
        launcher.shell("id -u; id -G; cat /proc/self/cgroup; ls -l /proc/self/fd | wc -l");
    let work = request.working_directory.as_path().to_owned();
    let (ended, log) = launcher.run(request);
    stop(&mut tracer);
    assert_eq!(work.metadata().unwrap().uid(), 0, "it was given back");
    let trace = fs::read_to_string(file).unwrap();
    for name in names {
        let line = trace.lines().find(|line| line.contains(name));
        assert!(
            line.is_some_and(|line| line.contains("INJECTED")),
            "{trace}"
        );
    }
    Some((launcher, ended, log))
}

fn check_runs(faults: &[&str]) {
    let Some((launcher, ended, log)) = run_with(faults) else {
        return;
    };
    assert_eq!(
        ended.ending,
        Ending::Exited { code: 0 },
        "{faults:?}: {log}"
    );
    let user = launcher.uid(0);
    assert!(log.contains(&format!("\n{user}\n{user}\n")), "{log}");
    let group = format!("0::/{}/slot-0\n", launcher.group_name());
    assert!(log.contains(&group), "{log}");
    // Three, that of the listing, and the line above them.
    assert!(log.ends_with("\n5\n"), "{log}");
}

fn check_does_not_start(fault: &str, step: StartStep) {
    let Some((mut launcher, ended, log)) = run_with(&[fault]) else {
        return;
    };
    match ended.ending {
        Ending::CouldNotStart { step: got, .. } => assert_eq!(got, step, "{fault}"),
        ending => panic!("{fault}: {ending:?}: {log}"),
    }
    assert_eq!(log, "first line\n", "{fault}");
    let (ended, log) = launcher.run_shell("true");
    assert_eq!(ended.ending, Ending::Exited { code: 0 }, "{fault}: {log}");
}

#[test]
fn command_runs_isolated_on_a_kernel_without_newer_calls() {
    check_runs(&["clone3:error=ENOSYS"]);
    check_runs(&["close_range:error=ENOSYS"]);
    check_runs(&["clone3:error=EPERM", "close_range:error=EINVAL"]);
}

#[test]
fn command_that_cannot_be_isolated_does_not_run() {
    check_does_not_start("open_tree:error=ENOSYS", StartStep::PrivateDirectories);
    check_does_not_start("move_mount:error=EPERM", StartStep::PrivateDirectories);
    check_does_not_start("mount:error=EPERM", StartStep::PrivateDirectories);
    check_does_not_start("capset:error=EPERM", StartStep::Identity);
    check_does_not_start("keyctl:error=EACCES", StartStep::Identity);
}

#[test]
fn kernel_that_only_says_that_it_has_obeyed_is_found_out() {
    check_does_not_start("setgroups:retval=0", StartStep::Identity);
    check_does_not_start("setresgid:retval=0", StartStep::Identity);
}
