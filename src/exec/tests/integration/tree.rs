//! Whatever a command leaves behind is found, named and killed.

use std::time::{Duration, Instant};

use helix_exec::control::StopReason;
use helix_exec::spool::status::Ending;

use crate::support::{Launcher, PATIENCE, is_alive, pid_in};

#[test]
fn daemon_that_holds_the_pipes_cannot_keep_an_attempt_alive() {
    let mut launcher = Launcher::start();
    // A double fork and a session of its own, still with both pipes.
    let line = "(setsid sh -c 'trap \"\" TERM HUP; echo $$ > pid; echo daemon; sleep 1000' &) ; \
                while [ ! -s pid ]; do :; done; exit 5";
    let started = Instant::now();
    let (ended, log) = launcher.run_shell(line);
    assert!(started.elapsed() < PATIENCE);
    assert_eq!(ended.ending, Ending::Exited { code: 5 });
    assert!(log.contains("daemon"));
    let daemon = pid_in(&launcher.work().join("pid"));
    assert!(!is_alive(daemon));
    let listed = ended
        .leftovers
        .iter()
        .find(|left| left.pid.0 == daemon)
        .unwrap();
    assert_eq!(listed.name, "sh");
    assert!(listed.age < PATIENCE);
    assert_eq!(ended.leftovers_total as usize, ended.leftovers.len());
    assert_eq!(ended.survivors, []);
}

#[test]
fn pipe_held_by_a_stranger_is_not_waited_for() {
    let mut launcher = Launcher::start();
    // The stranger opens the command's output through /proc and was never in its tree.
    let line = "echo $$ > pid; while [ ! -e held ]; do :; done; echo last";
    let request = launcher.shell(line);
    let attempt = launcher.launch(request);
    let command = pid_in(&launcher.work().join("pid"));
    let held = std::fs::File::options()
        .write(true)
        .open(format!("/proc/{command}/fd/1"))
        .unwrap();
    std::fs::write(launcher.work().join("held"), "").unwrap();
    let ended = attempt.wait();
    assert_eq!(ended.ending, Ending::Exited { code: 0 });
    assert!(attempt.log().ends_with("last\n"));
    drop(held);
}

#[test]
fn process_that_is_about_to_end_by_itself_is_not_left_over() {
    let mut launcher = Launcher::start();
    // The reader outlives the command by as long as it takes to see that there is no more.
    let (ended, log) = launcher.run_shell("seq 1 20000 | tail -n 1 & sleep 0.2; exit 0");
    assert_eq!(
        (ended.leftovers_total, log.contains("20000")),
        (0, true),
        "{log}"
    );
    std::fs::write(
        launcher.work().join("tee.sh"),
        "mkfifo pipe; tee copy < pipe & exec > pipe; seq 1 50000; echo end",
    )
    .unwrap();
    for _ in 0..5 {
        let (ended, log) = launcher.run_shell("rm -f pipe; sh tee.sh");
        assert_eq!(ended.leftovers_total, 0, "{:?}", ended.leftovers);
        assert!(log.ends_with("\n50000\nend\n"));
    }
}

#[test]
fn stop_reaches_every_descendant_wherever_it_hides() {
    let mut launcher = Launcher::start();
    let line = "sleep 1001 & (setsid sh -c 'echo $$ > a; exec sleep 1002' &); \
                setsid sh -c 'setsid sleep 1003 & echo $! > b; wait' & \
                while [ ! -s a ] || [ ! -s b ]; do :; done; echo ready; sleep 1004";
    let request = launcher.shell(line);
    let attempt = launcher.launch(request);
    attempt.wait_for_log("ready");
    let hidden = [
        pid_in(&launcher.work().join("a")),
        pid_in(&launcher.work().join("b")),
    ];
    attempt.stop(StopReason::Cancel, PATIENCE);
    let ended = attempt.wait();
    // All of them end when asked, so nothing has to be killed.
    assert_eq!(
        (&ended.ending, ended.leftovers_total),
        (&Ending::Cancelled, 0)
    );
    assert!(ended.elapsed < PATIENCE);
    for pid in hidden {
        assert!(!is_alive(pid));
    }
}

#[test]
fn tree_that_never_stands_still_is_killed() {
    let mut launcher = Launcher::start();
    // Eight processes that each hand on to a child in a new session and end, again and again;
    // none stays long enough to be found where it was seen. They give up by themselves at last.
    let script = "[ $1 -gt 2000 ] || setsid sh hop.sh $(($1 + 1)) &";
    std::fs::write(launcher.work().join("hop.sh"), script).unwrap();
    let line = "for i in 1 2 3 4 5 6 7 8; do sh hop.sh 0 & done; sleep 0.1; exit 0";
    let (ended, _) = launcher.run_shell(line);
    assert_eq!(ended.ending, Ending::Exited { code: 0 });
    assert_eq!(ended.survivors, []);
    let work = launcher.work();
    for entry in std::fs::read_dir("/proc").unwrap() {
        // Most are not processes, and of those that are, some have ended meanwhile.
        let path = entry.unwrap().path().join("cwd");
        assert_ne!(
            std::fs::read_link(path).ok().as_deref(),
            Some(work.as_path())
        );
    }
}

#[test]
fn orphans_that_end_early_leave_no_zombies() {
    let mut launcher = Launcher::start();
    let line = "i=0; while [ $i -lt 50 ]; do (true &); i=$((i+1)); done; sleep 0.2; \
                cat /proc/$PPID/task/$PPID/children; exit 0";
    let (ended, log) = launcher.run_shell(line);
    assert_eq!(ended.ending, Ending::Exited { code: 0 });
    let children = log.lines().last().unwrap().split_whitespace().count();
    // The command itself, and perhaps an orphan that has not quite ended.
    assert!(children <= 3, "{log}");
    assert!(ended.elapsed >= Duration::from_millis(200));
}
