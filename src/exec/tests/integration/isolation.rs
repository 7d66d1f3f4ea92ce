//! Commands with a user, a control group and a view of their own: what they are, what they can
//! reach, and what is left when they are gone.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use helix_exec::launcher::{ControlGroups, Measure, Refusal, Reply, Request};
use helix_exec::spool::status::{Ended, Ending, Status};
use helix_exec::{Network, frame};

use crate::isolated::Isolated;
use crate::support::{is_alive, pid_in, skipped, until};

/// The line of a process's status file that begins with the word.
fn status_line(log: &str, word: &str) -> String {
    let line = log.lines().find(|line| line.starts_with(word));
    let line = line.unwrap_or_else(|| panic!("no `{word}` in {log}"));
    line[word.len()..]
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn command_has_a_user_of_its_own_and_no_privilege_at_all() {
    let Some(mut launcher) = Isolated::start() else {
        return;
    };
    let mut request = launcher.shell("cat /proc/self/status; echo user $USER $LOGNAME; id -G");
    request.environment.push(("USER".into(), "root".into()));
    request.environment.push(("LOGNAME".into(), "root".into()));
    let (ended, log) = launcher.run(request);
    assert_eq!(ended.ending, Ending::Exited { code: 0 }, "{log}");
    let user = launcher.uid(0);
    let four = |id: u32| [id.to_string().as_str(); 4].join(" ");
    assert_eq!(status_line(&log, "Uid:"), four(user));
    assert_eq!(status_line(&log, "Gid:"), four(user));
    assert_eq!(status_line(&log, "Groups:"), user.to_string());
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(status_line(&log, set), "0000000000000000", "{set}");
    }
    assert_eq!(status_line(&log, "NoNewPrivs:"), "1");
    assert_eq!(status_line(&log, "user "), format!("{user} {user}"));
}

#[test]
fn root_cannot_be_had_from_a_setuid_program() {
    let Some(mut launcher) = Isolated::start() else {
        return;
    };
    let program = launcher.path().join("id");
    fs::copy("/usr/bin/id", &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    let outside = Command::new(&program)
        .arg("-u")
        .uid_of(launcher.uid(1))
        .stdout(Stdio::piped())
        .output();
    assert_eq!(outside.unwrap().stdout, b"0\n", "it gives root to others");
    let (_, log) = launcher.run_shell(&format!("{} -u", program.display()));
    assert!(log.ends_with(&format!("\n{}\n", launcher.uid(0))), "{log}");
}

/// A command of the test's own as another user.
trait AsUser {
    fn uid_of(&mut self, uid: u32) -> &mut Self;
}

impl AsUser for Command {
    fn uid_of(&mut self, uid: u32) -> &mut Self {
        use std::os::unix::process::CommandExt as _;
        self.uid(uid)
            .gid(uid)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
    }
}

#[test]
fn directories_are_the_commands_while_it_runs_and_the_clients_again_after() {
    let Some(mut launcher) = Isolated::start() else {
        return;
    };
    let request = launcher.shell(
        "stat -c '%u %a' .. . given; echo new > new; mkdir -p shut/in; echo x > shut/in/file; \
         chmod 0 shut/in/file shut/in shut; chmod 400 given; ln -s /etc/passwd link; echo done",
    );
    let work = request.working_directory.as_path().to_owned();
    fs::write(work.join("given"), "").unwrap();
    let (ended, log) = launcher.run(request);
    let user = launcher.uid(0);
    let seen: Vec<_> = log.lines().skip(1).take(3).collect();
    assert_eq!(
        seen,
        [
            "0 710".to_owned(),
            format!("{user} 755"),
            format!("{user} 644")
        ],
        "{log}"
    );
    let given_back = ended.given_back.unwrap();
    assert_eq!(given_back.problems, Vec::<String>::new());
    for name in [
        ".",
        "given",
        "new",
        "shut",
        "shut/in",
        "shut/in/file",
        "link",
    ] {
        let metadata = work.join(name).symlink_metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (0, 0), "{name}");
        if metadata.is_dir() {
            assert_eq!(metadata.mode() & 0o700, 0o700, "{name}");
        }
    }
    assert_eq!(fs::metadata("/etc/passwd").unwrap().uid(), 0);
    assert_eq!(work.parent().unwrap().metadata().unwrap().gid(), 0);
}

#[test]
fn slots_are_closed_to_each_other() {
    let Some(mut launcher) = Isolated::start() else {
        return;
    };
    let request =
        launcher.shell("echo secret > secret; echo $$ > pid; echo there; exec sleep 1000");
    let (victim_work, victim_request) = (request.working_directory.clone(), request);
    let victim = launcher.launch(victim_request);
    victim.wait_for_log("there");
    let pid = pid_in(&victim_work.as_path().join("pid"));
    let line = format!(
        "cat {work}/secret; ls {work}/..; echo x >> {work}/secret; ls -d /proc/{pid}; \
         cat /proc/{pid}/environ; kill -9 {pid}; kill -9 {supervisor}; kill -9 -1; \
         ls /proc | grep -c '^[0-9]'; id -u",
        work = victim_work.as_path().display(),
        supervisor = victim.supervisor.pid,
    );
    let (ended, log) = launcher.run_shell(&format!("trap '' TERM; {line}"));
    // The last of them kills only its own tree, the shell not among it.
    assert_eq!(ended.ending, Ending::Exited { code: 0 }, "{log}");
    assert!(log.ends_with(&format!("{}\n", launcher.uid(1))), "{log}");
    assert!(
        !log.contains("secret\n") || !log.contains("\nsecret\n"),
        "{log}"
    );
    let denied = log.matches("Permission denied").count();
    assert!(denied >= 3, "{log}");
    if launcher.isolation().has(Measure::HiddenProcesses) {
        assert!(!log.contains(&format!("\n/proc/{pid}\n")), "{log}");
    }
    assert!(is_alive(pid), "{log}");
    assert_eq!(
        fs::read_to_string(victim_work.as_path().join("secret")).unwrap(),
        "secret\n"
    );
    victim.stop(
        helix_exec::control::StopReason::Cancel,
        std::time::Duration::ZERO,
    );
    assert_eq!(victim.wait().ending, Ending::Cancelled);
}

#[test]
fn tmp_is_private_and_empty_and_ends_with_the_attempt() {
    let Some(mut launcher) = Isolated::start() else {
        return;
    };
    if !launcher.isolation().has(Measure::PrivateTemporary) {
        skipped(&format!("{:?}", launcher.isolation().missing));
        return;
    }
    let name = format!("helix-test-{}", launcher.uid(0));
    let line = format!(
        "ls -A /tmp /var/tmp /dev/shm; echo 1 > /tmp/{name}; cat /var/tmp/{name}; \
         echo 2 > /dev/shm/{name}; ls /dev/shm"
    );
    let request = launcher.shell(&line);
    let parent = request.directories.clone().unwrap().parent;
    let (_, log) = launcher.run(request);
    assert_eq!(
        log,
        format!("first line\n/dev/shm:\n\n/tmp:\n\n/var/tmp:\n1\n{name}\n")
    );
    for place in ["/tmp", "/var/tmp", "/dev/shm"] {
        assert!(!PathBuf::from(place).join(&name).exists(), "{place}");
    }
    assert!(parent.as_path().join("t").join(&name).exists());
    let (_, log) = launcher.run_shell("ls -A /tmp /dev/shm");
    assert_eq!(log, "first line\n/dev/shm:\n\n/tmp:\n");
}

#[test]
fn shared_memory_ends_with_the_attempt() {
    let Some(mut launcher) = Isolated::start() else {
        return;
    };
    let (ended, log) = launcher.run_shell("ipcmk -M 4096 && ipcs -m | grep -c 4096");
    if !launcher.isolation().has(Measure::PrivateIpc) {
        skipped(&format!("{:?}", launcher.isolation().missing));
        return;
    }
    assert_eq!(ended.ending, Ending::Exited { code: 0 }, "{log}");
    assert!(log.ends_with("\n1\n"), "{log}");
    let left = fs::read_to_string("/proc/sysvipc/shm").unwrap();
    let user = launcher.uid(0).to_string();
    let is_theirs = |line: &&str| line.split_whitespace().any(|word| word == user);
    assert_eq!(left.lines().find(is_theirs), None);
}

#[test]
fn command_without_network_has_loopback_and_nothing_else() {
    let Some(mut launcher) = Isolated::start() else {
        return;
    };
    let mut request = launcher.shell("cat /proc/net/dev; cat /sys/class/net/lo/operstate");
    request.network = Network::Loopback;
    // The view of /sys is that of the machine, so what counts is /proc.
    let (_, log) = launcher.run(request);
    let devices: Vec<_> = log
        .lines()
        .filter_map(|line| line.split_once(':').map(|(name, _)| name.trim()))
        .collect();
    assert_eq!(devices, ["lo"], "{log}");
    let line = "python3 -c 'import socket; s = socket.socket(); s.bind((\"127.0.0.1\", 0)); \
                s.listen(); c = socket.create_connection(s.getsockname()); print(\"talks\")'";
    let mut request = launcher.shell(line);
    request.network = Network::Loopback;
    let (_, log) = launcher.run(request);
    assert!(log.ends_with("talks\n"), "{log}");
}

#[test]
fn what_escapes_the_session_is_killed_and_listed() {
    let Some(mut launcher) = Isolated::start() else {
        return;
    };
    let line = "setsid sh -c 'setsid sleep 1001 & echo $! > pid; sleep 0.05' & \
                while [ ! -s pid ]; do :; done; exit 3";
    let request = launcher.shell(line);
    let work = request.working_directory.as_path().to_owned();
    let (ended, _) = launcher.run(request);
    assert_eq!(ended.ending, Ending::Exited { code: 3 });
    let daemon = pid_in(&work.join("pid"));
    assert!(!is_alive(daemon));
    assert!(
        ended
            .leftovers
            .iter()
            .any(|left| left.pid.0 == daemon && left.name == "sleep")
    );
}

#[test]
fn process_of_the_user_outside_of_the_tree_is_killed_and_listed() {
    let Some(mut launcher) = Isolated::start() else {
        return;
    };
    let request = launcher.shell("while [ ! -e go ]; do sleep 0.01; done");
    let work = request.working_directory.as_path().to_owned();
    let attempt = launcher.launch(request);
    attempt.command();
    // As a service manager or a timer would start it on the user's behalf.
    // Its name is one that is no text.
    let program = launcher.path().join(OsStr::from_bytes(b"stray-\xff"));
    fs::copy("/bin/sleep", &program).unwrap();
    let mut stray = Command::new(program)
        .arg("1000")
        .uid_of(launcher.uid(0))
        .spawn()
        .unwrap();
    fs::write(work.join("go"), "").unwrap();
    let ended = attempt.wait();
    assert_eq!(ended.ending, Ending::Exited { code: 0 });
    let listed = ended
        .leftovers
        .iter()
        .any(|left| left.pid.0.unsigned_abs() == stray.id());
    assert!(listed, "{:?}", ended.leftovers);
    assert!(!stray.wait().unwrap().success());
    assert_eq!(ended.survivors, []);
}

#[test]
fn control_group_cannot_be_left() {
    let Some(mut launcher) = Isolated::start() else {
        return;
    };
    if !launcher.isolation().has(Measure::Tree) {
        skipped(&format!("{:?}", launcher.isolation().missing));
        return;
    }
    let root = launcher.hierarchy();
    let line = format!(
        "cat /proc/self/cgroup; for g in {root} {root}/{own} {root}/{own}/slot-0 {root}/{own}/slot-1; \
         do echo $$ > $g/cgroup.procs; mkdir $g/new; done; cat /proc/self/cgroup",
        root = root.display(),
        own = launcher.group_name()
    );
    let (_, log) = launcher.run_shell(&line);
    let group = format!("0::/{}/slot-0", launcher.group_name());
    assert_eq!(log.matches(&group).count(), 2, "{log}");
    assert_eq!(log.matches("Permission denied").count(), 8, "{log}");
}

#[test]
fn as_many_commands_run_as_there_are_slots() {
    let Some(mut launcher) = Isolated::start() else {
        return;
    };
    let attempts: Vec<_> = (0..Isolated::SLOTS)
        .map(|_| {
            let request = launcher.shell("exec sleep 1000");
            launcher.launch(request)
        })
        .collect();
    let request = launcher.shell("true");
    let refusal = launcher.try_launch(request).err().unwrap();
    assert!(matches!(refusal, Refusal::Full { .. }), "{refusal:?}");
    let mut users: Vec<_> = attempts
        .iter()
        .map(|attempt| {
            attempt.command();
            match attempt.status() {
                Some(Status::Launched(launched)) => launched.run_as.unwrap().uid,
                status => panic!("{status:?}"),
            }
        })
        .collect();
    users.sort_unstable();
    users.dedup();
    assert_eq!(users.len(), attempts.len());
    attempts[0].stop(
        helix_exec::control::StopReason::Cancel,
        std::time::Duration::ZERO,
    );
    attempts[0].wait();
    let (ended, _) = launcher.run_shell("true");
    assert_eq!(ended.ending, Ending::Exited { code: 0 });
}

#[test]
fn many_short_commands_leave_nothing_behind() {
    let Some(mut launcher) = Isolated::start() else {
        return;
    };
    let mut totals = 0;
    let descriptors = |pid: u32| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    launcher.run_shell("true");
    let before = descriptors(launcher.pid());
    for _ in 0..60 {
        let (ended, _): (Ended, _) = launcher.run_shell("sleep 1000 & echo x > f");
        assert_eq!(ended.ending, Ending::Exited { code: 0 });
        totals += ended.leftovers_total;
    }
    assert_eq!(totals, 60);
    // The supervisor that is kept ready has a channel, and may have been on its way at either time.
    until("all supervisors are gone", || {
        (descriptors(launcher.pid()) <= before + 1).then_some(())
    });
    let uids: Vec<_> = (0..Isolated::SLOTS)
        .map(|slot| launcher.uid(slot))
        .collect();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let is_process = entry.file_name().to_string_lossy().parse::<u32>().is_ok();
        let owner = entry.metadata().map(|metadata| metadata.uid());
        assert!(
            !is_process || !owner.is_ok_and(|uid| uids.contains(&uid)),
            "{entry:?}"
        );
    }
    if launcher.isolation().has(Measure::Tree) {
        let groups = fs::read_dir(launcher.hierarchy().join(launcher.group_name())).unwrap();
        let groups = groups
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .count();
        assert!(groups <= Isolated::SLOTS as usize, "{groups}");
    }
}

#[test]
fn launcher_whose_users_cannot_be_had_does_not_start() {
    let Some(launcher) = Isolated::start() else {
        return;
    };
    let output = launcher.start_with_config(|config| {
        config.users.as_mut().unwrap().pool =
            helix_exec::launcher::Pool::Named(vec!["no-such-user".to_owned()]);
    });
    assert!(
        output.contains("there is no user `no-such-user`"),
        "{output}"
    );
    let output = launcher.start_with_config(|config| config.state_directory = None);
    assert!(
        output.contains("`state_directory` has to be set"),
        "{output}"
    );
}

#[test]
fn missing_control_groups_are_told_with_the_reason() {
    let Some(mut launcher) =
        Isolated::start_with(|config| config.control_groups = ControlGroups::None)
    else {
        return;
    };
    let isolation = launcher.isolation();
    let why = isolation
        .missing
        .iter()
        .find(|it| it.measure == Measure::Tree);
    assert_eq!(why.unwrap().why, "no control groups are configured");
    assert_eq!(isolation.slots, Some(Isolated::SLOTS));
    // Without a group to kill, the user is what holds the tree together.
    let (ended, _) = launcher.run_shell("setsid sleep 1004 & exit 6");
    assert_eq!(ended.ending, Ending::Exited { code: 6 });
    assert_eq!(ended.leftovers_total, 1);
    let mut request = launcher.shell("for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; wait");
    request.resources.processes = Some(4);
    request.limits.wall = Some(std::time::Duration::from_secs(60));
    let (_, log) = launcher.run(request);
    assert!(log.contains("fork"), "{log}");
    let request = Request::Describe { number: 5 };
    frame::write(launcher.connection(), &request, frame::MAX_LAUNCHER_FRAME).unwrap();
    assert!(matches!(
        launcher.reply(),
        Reply::Described { number: 5, .. }
    ));
}

#[test]
fn nothing_of_the_launcher_is_open_in_a_command() {
    let Some(mut launcher) = Isolated::start() else {
        return;
    };
    let mut request = launcher.shell("");
    request.command = vec!["/bin/ls".into(), "-l".into(), "/proc/self/fd".into()];
    let (_, log) = launcher.run(request);
    let mut targets: Vec<&str> = log
        .lines()
        .filter_map(|line| line.rsplit_once(" -> ").map(|(_, target)| target))
        .collect();
    // One is that of the listing itself.
    targets.retain(|target| !target.starts_with("/proc/"));
    assert_eq!((targets.len(), targets[0]), (3, "/dev/null"), "{log}");
    assert!(
        targets[1].starts_with("pipe:") && targets[1] == targets[2],
        "{log}"
    );
}

#[test]
fn command_with_bound_writes_writes_to_its_own_directories_only() {
    let Some(mut launcher) = Isolated::start_with(|config| config.view.bound_writes = true) else {
        return;
    };
    if !launcher.isolation().has(Measure::BoundWrites) {
        skipped(&format!("{:?}", launcher.isolation().missing));
        return;
    }
    let open = launcher.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let line = format!(
        "echo 1 > own && mv own moved && ln moved ../t/linked && mkdir d && echo own works; \
         echo 2 > /tmp/t && echo 3 > /dev/shm/s && echo 4 > /dev/null && echo temporary works; \
         cat /etc/hostname > /dev/null && echo reading works; \
         echo 5 > {open}/file && echo ESCAPED; mkdir {open}/d && echo ESCAPED; true",
        open = open.display()
    );
    let (_, log) = launcher.run_shell(&line);
    for works in ["own works", "temporary works", "reading works"] {
        assert!(log.contains(works), "{log}");
    }
    assert!(!log.contains("ESCAPED"), "{log}");
    assert_eq!(fs::read_dir(&open).unwrap().count(), 0);
    // Without it the modes decide.
    let Some(mut launcher) = Isolated::start() else {
        return;
    };
    assert!(!launcher.isolation().has(Measure::BoundWrites));
    let (_, log) = launcher.run_shell(&format!("echo 5 > {}/file && echo WRITTEN", open.display()));
    assert!(log.ends_with("WRITTEN\n"), "{log}");
}
