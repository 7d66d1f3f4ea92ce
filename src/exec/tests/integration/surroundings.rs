//! What a command finds around it: what was asked for, and nothing of anybody else.

use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;

use helix_exec::OsText;
use helix_exec::spool::status::Ending;

use crate::support::Launcher;

#[test]
fn environment_is_exactly_what_was_asked_for() {
    let mut launcher = Launcher::start();
    let mut request = launcher.command(&["/usr/bin/env", "-0"]);
    let odd = OsText::from(b"\xff\xfe=\n".to_vec());
    request.environment = vec![
        ("B".into(), "2".into()),
        ("A".into(), "".into()),
        ("ODD".into(), odd),
    ];
    let attempt = launcher.launch(request);
    attempt.wait();
    let expected = b"first line\nB=2\0A=\0ODD=\xff\xfe=\n\0";
    assert_eq!(attempt.raw_log(), expected);

    let mut request = launcher.command(&["/usr/bin/env"]);
    request.environment.clear();
    assert_eq!(launcher.run(request).1, "first line\n");
}

#[test]
fn arguments_arrive_byte_for_byte() {
    let mut launcher = Launcher::start();
    let mut request = launcher.command(&["/usr/bin/printf", "<%s>", "", "a b"]);
    request.command.push(b"\xff'\"\\".to_vec().into());
    let attempt = launcher.launch(request);
    attempt.wait();
    assert_eq!(attempt.raw_log(), b"first line\n<><a b><\xff'\"\\>");
}

#[test]
fn no_descriptor_but_the_standard_three_is_inherited() {
    // One that is meant to be inherited, in the process that starts the launcher.
    let stray = std::fs::File::open("/etc/passwd").unwrap();
    let flags = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty());
    nix::fcntl::fcntl(&stray, flags).unwrap();
    let mut launcher = Launcher::start();
    let inherited = std::fs::read_link(format!(
        "/proc/{}/fd/{}",
        launcher.child.id(),
        stray.as_raw_fd()
    ));
    assert_eq!(
        inherited.unwrap().to_str(),
        Some("/etc/passwd"),
        "the test tests nothing"
    );
    let request = launcher.command(&["/bin/ls", "-l", "/proc/self/fd"]);
    let (_, log) = launcher.run(request);
    // One more is that of the listing itself.
    let links: Vec<&str> = log
        .lines()
        .filter_map(|line| line.rsplit_once(" -> ").map(|(_, target)| target))
        .filter(|target| !target.starts_with("/proc/"))
        .collect();
    assert_eq!((links.len(), links[0]), (3, "/dev/null"), "{log}");
    assert!(
        links[1].starts_with("pipe:") && links[2].starts_with("pipe:"),
        "{log}"
    );
}

#[test]
fn session_group_directory_umask_and_signals_are_its_own() {
    let mut launcher = Launcher::start();
    std::fs::create_dir(launcher.work().join("below")).unwrap();
    let mut request =
        launcher.shell("cut -d' ' -f1,5,6 /proc/$$/stat; pwd; umask; cat /proc/self/status");
    request.umask = 0o077;
    request.working_directory = launcher.work().join("below").into();
    let (_, log) = launcher.run(request);
    let lines: Vec<&str> = log.lines().collect();
    let ids: Vec<&str> = lines[1].split(' ').collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[2], "{log}");
    assert!(lines[2].ends_with("/work/below"), "{log}");
    assert_eq!(lines[3], "0077");
    let signals: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("Sig"))
        .collect();
    for name in ["SigBlk", "SigIgn", "SigCgt"] {
        assert!(
            signals.contains(&&&*format!("{name}:\t0000000000000000")),
            "{signals:?}"
        );
    }
}

#[test]
fn working_directory_that_only_may_be_entered_is_enough() {
    let mut launcher = Launcher::start();
    let work = launcher.work().join("closed");
    std::fs::create_dir(&work).unwrap();
    std::fs::set_permissions(&work, std::fs::Permissions::from_mode(0o100)).unwrap();
    let mut request = launcher.command(&["/bin/true"]);
    request.working_directory = work.into();
    assert_eq!(launcher.run(request).0.ending, Ending::Exited { code: 0 });
}

#[test]
fn spool_is_closed_to_other_users() {
    let mut launcher = Launcher::start();
    let request = launcher.shell("echo ready; exec sleep 1000");
    let attempt = launcher.launch(request);
    attempt.wait_for_log("ready");
    for entry in std::fs::read_dir(&attempt.spool).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} has mode {mode:o}", entry.file_name());
    }
    attempt.stop(
        helix_exec::control::StopReason::Cancel,
        std::time::Duration::ZERO,
    );
    attempt.wait();
}
