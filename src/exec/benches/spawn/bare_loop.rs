//! What isolated launches are compared with: a bare loop in a process of its own that has one thread.
//! It takes the same steps, one after the other and nothing between, with no launcher, no
//! supervisor, no spool, and nobody who could take over if it were killed.
#![expect(
    unsafe_code,
    reason = "steps between fork and exec; every block states why it is sound"
)]

use std::ffi::c_int;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, clone, setns, unshare};
use nix::sys::prctl;
use nix::sys::wait::waitpid;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid, setsid};

use crate::isolated::USER;

/// Has this program be the bare loop.
pub(crate) const BARE_LOOP: &str = "bare-loop";

/// Whether this process is to be the bare loop; it is over then.
pub(crate) fn is_this() -> bool {
    let arguments: Vec<_> = std::env::args_os().collect();
    let [_, first, group, directory, view] = arguments.as_slice() else {
        return false;
    };
    if first != BARE_LOOP {
        return false;
    }
    serve(group.as_ref(), directory.as_ref(), view == "view");
    true
}

/// Changes what it sees of the machine before each command, and back after. One command for each
/// byte that it reads.
fn serve(group: &Path, directory: &Path, view: bool) {
    let namespace = |kind| File::open(format!("/proc/self/ns/{kind}")).expect("a namespace");
    let machine = [namespace("mnt"), namespace("ipc")];
    let (mut wish, mut number) = ([0], 0);
    while io::stdin().read(&mut wish).expect("a wish") == 1 {
        number += 1;
        let parent = directory.join(format!("bare{number}"));
        run(group, &parent, view);
        if view {
            for namespace in &machine {
                setns(namespace, CloneFlags::empty()).expect("back");
            }
        }
        io::stdout().write_all(&[1]).expect("told");
        io::stdout().flush().expect("told");
    }
}

/// The steps of an isolated launch and no more: directories that become the user's, a view of its
/// own, the command as that user for good in a control group, its output into a file, its end, the
/// sweep of what else the user runs, the group's counters, the directories back.
fn run(group: &Path, parent: &Path, view: bool) {
    let user = USER + 3;
    std::fs::create_dir(parent).expect("a directory");
    let own = ["e", "t"].map(|name| parent.join(name));
    for directory in &own {
        std::fs::create_dir(directory).expect("a directory");
        std::os::unix::fs::chown(directory, Some(user), Some(user)).expect("given");
    }
    if view {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC).expect("a view of its own");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none).expect("apart");
        for place in ["/tmp", "/var/tmp"] {
            mount(Some(&own[1]), place, none, MsFlags::MS_BIND, none).expect("a mount");
        }
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("tmpfs"), "/dev/shm", Some("tmpfs"), flags, none).expect("a mount");
    }
    let mut command = Command::new("/bin/true");
    command
        .env_clear()
        .current_dir(&own[0])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // SAFETY: the function makes system calls and nothing else.
    unsafe { command.pre_exec(move || become_user_for_good(user)) };
    let mut child = command.spawn().expect("the command started");
    // It may have ended by now: a child of the standard library cannot be born in a group.
    let _ = std::fs::write(group.join("cgroup.procs"), child.id().to_string());
    let mut console = File::create(parent.join("console")).expect("a file");
    io::copy(&mut child.stdout.take().expect("a pipe"), &mut console).expect("output");
    io::copy(&mut child.stderr.take().expect("a pipe"), &mut console).expect("output");
    assert!(child.wait().expect("an exit status").success());
    let left = std::fs::read_to_string(group.join("cgroup.procs")).expect("processes");
    assert_eq!(left, "", "the group is empty");
    sweep(user);
    std::fs::read_to_string(group.join("cpu.stat")).expect("counters");
    for directory in &own {
        std::os::unix::fs::chown(directory, Some(0), Some(0)).expect("back");
    }
}

/// A session, a user and nothing that could give more rights back.
fn become_user_for_good(user: u32) -> io::Result<()> {
    const CAPABILITIES: std::ops::Range<c_int> = 0..41;
    setsid()?;
    for capability in CAPABILITIES {
        // SAFETY: the call takes numbers only.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    setgroups(&[gid])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    prctl::set_no_new_privs()?;
    // SAFETY: the call takes numbers and no name.
    unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<u8>(),
        )
    };
    let root = Uid::from_raw(0);
    if setresuid(root, root, root).is_ok() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(())
}

/// Kills all that a user runs, by a child that becomes that user.
fn sweep(user: u32) {
    let mut stack = [0; 16 << 10];
    let errand = Box::new(|| {
        let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
        let became = setgroups(&[gid])
            .and_then(|()| setresgid(gid, gid, gid))
            .and_then(|()| setresuid(uid, uid, uid));
        // SAFETY: the call takes numbers only, and as this user reaches nobody else's processes.
        match became.map(|()| unsafe { libc::kill(-1, libc::SIGKILL) }) {
            Ok(_) => 0,
            Err(_) => 1,
        }
    });
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    // SAFETY: this process stands still until the child has ended, so the stack is the child's
    // alone; the child makes system calls and nothing else.
    let child = unsafe { clone(errand, &mut stack, flags, Some(libc::SIGCHLD)) }.expect("a child");
    waitpid(child, None).expect("the child's end");
}
