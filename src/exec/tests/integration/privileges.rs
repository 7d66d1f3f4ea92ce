//! The privileged steps of an isolated command, as the kernel sees them, against the document that
//! lists them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use helix_exec::Network;
use helix_exec::launcher::Measure;
use helix_exec::spool::status::Ending;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::isolated::Isolated;
use crate::support::{skipped, until};

/// System calls that change who a process is, what it sees, or whose a file is; and those by which
/// that is proven.
const TRACED: &str = "bind,capget,capset,chdir,chmod,chown,clone,clone3,close_range,dup2,execve,\
    fchdir,fchmod,fchmodat,fchown,fchownat,flock,fork,getgroups,getresgid,getresuid,ioctl,keyctl,\
    lchown,mount,move_mount,open_tree,pivot_root,prctl,prlimit64,setfsgid,setfsuid,setgid,\
    setgroups,setns,setregid,setresgid,setresuid,setreuid,setrlimit,setsid,setuid,umount2,unshare,\
    vfork";

/// Calls that only matter by what they are about, and are nobody's privilege otherwise.
const UNPRIVILEGED: [&str; 3] = ["PR_SET_NAME", "FIONBIO", "RLIMIT_STACK"];

/// Traces a process and all that come from it, from now on.
pub(crate) fn trace(pid: u32, file: &Path, expressions: &[String]) -> Option<Child> {
    let tracer = Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(file)
        .args(expressions.iter().flat_map(|expression| ["-e", expression]))
        .args(["-p", &pid.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(tracer) = tracer else {
        skipped("there is no strace");
        return None;
    };
    until("the launcher is traced", || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("TracerPid:"));
        (!line.unwrap().ends_with("\t0")).then_some(())
    });
    Some(tracer)
}

/// Has a tracer let go of what it traces.
pub(crate) fn stop(tracer: &mut Child) {
    let pid = Pid::from_raw(i32::try_from(tracer.id()).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    tracer.wait().unwrap();
}

/// What a supervisor and its children did, each repetition once: the names of the calls, or of what
/// they are about.
fn steps(trace: &str, supervisor: i32) -> Vec<String> {
    let supervisor = supervisor.to_string();
    let calls = || {
        let lines = trace.lines();
        lines.filter_map(|line| line.split_once(char::is_whitespace))
    };
    let children = calls().filter_map(|(pid, call)| {
        let (_, child) = call.rsplit_once(" = ")?;
        (pid == supervisor && call.contains("clone3")).then_some(child)
    });
    let mut own: BTreeSet<&str> = children.chain([supervisor.as_str()]).collect();
    let mut steps: Vec<String> = Vec::new();
    for (pid, call) in calls() {
        let Some((name, arguments)) = call.trim_start().split_once('(') else {
            continue;
        };
        // The rest of a call that is there already begins with an angle.
        if !own.contains(pid) || name.starts_with('<') {
            continue;
        }
        let word = |place: usize| {
            let word = arguments.split([',', ')', ' ']).filter(|it| !it.is_empty());
            word.clone().nth(place).unwrap_or_default().to_owned()
        };
        let step = match name {
            "prctl" => word(0),
            "prlimit64" => word(1),
            "ioctl" if word(1) == "FIONBIO" => word(1),
            name => name.to_owned(),
        };
        if name == "execve" {
            // What it does after that is its program's.
            own.remove(pid);
        }
        if steps.last() != Some(&step) && !UNPRIVILEGED.contains(&step.as_str()) {
            steps.push(step);
        }
    }
    steps
}

/// The calls that the document sets in bold, from the supervisor on.
fn documented() -> Vec<String> {
    let document = include_str!("../../PRIVILEGES.md");
    let (_, list) = document.split_once("## Supervisor, before").unwrap();
    let (list, _) = list.split_once("## What a client may ask").unwrap();
    let bold = list.split("**`").skip(1);
    bold.map(|rest| rest.split_once("`**").unwrap().0.to_owned())
        .collect()
}

#[test]
fn privileged_steps_are_those_of_the_document() {
    let Some(mut launcher) = Isolated::start() else {
        return;
    };
    let needed = [
        Measure::Tree,
        Measure::PrivateTemporary,
        Measure::PrivateIpc,
        Measure::NoNetwork,
    ];
    let isolation = launcher.isolation();
    if !needed.iter().all(|measure| isolation.has(*measure)) {
        skipped(&format!("{:?}", isolation.missing));
        return;
    }
    let file = launcher.path().join("trace");
    let Some(mut tracer) = trace(launcher.pid(), &file, &[format!("trace={TRACED}")]) else {
        return;
    };
    // Takes the supervisor that was there already, and is not traced.
    launcher.run_shell("true");
    let mut request = launcher.shell("true");
    request.network = Network::Loopback;
    let attempt = launcher.launch(request);
    let ended = attempt.wait();
    assert_eq!(ended.ending, Ending::Exited { code: 0 });
    let supervisor = attempt.supervisor.pid.0;
    let own = format!("{supervisor} ");
    let trace = until("the supervisor has given its slot up", || {
        let trace = fs::read_to_string(&file).ok()?;
        let is_there = trace
            .lines()
            .any(|line| line.starts_with(&own) && line.contains("LOCK_UN"));
        is_there.then_some(trace)
    });
    stop(&mut tracer);
    assert_eq!(steps(&trace, supervisor), documented(), "{trace}");
}
