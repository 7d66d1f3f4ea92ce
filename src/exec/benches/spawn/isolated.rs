//! Isolated commands: as another user, in a control group, in directories that change hands, and
//! with a view of their own; against a bare loop that takes the same steps and no others.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use helix_exec::Directories;
use helix_exec::launcher::{ControlGroups, Pool, Users, View};
use tempfile::TempDir;

use crate::bare_loop::BARE_LOOP;
use crate::{Bench, LAUNCHES, ROUNDS, compare};

/// Where directories and spools go unless `HELIX_BENCH_DIR` says otherwise; not below `/tmp`, which
/// commands may have their own of.
const DIRECTORY: &str = "/var/lib";

/// The first of four users.
pub(crate) const USER: u32 = 60_900;

/// Compares isolated launches with the bare loop, without a view of their own and with one.
pub(crate) fn measure() {
    if !nix::unistd::geteuid().is_root() {
        println!("isolated commands: skipped, only root can run commands as other users");
        return;
    }
    let views = [
        ("user and control group", false),
        (
            "the same, with /tmp, /proc and shared memory of its own",
            true,
        ),
    ];
    for (name, view) in views {
        let directory = directory();
        let group = format!("helix-bench-{}", std::process::id());
        let mut bench = Bench::start_with(directory, |config| {
            let first = USER;
            config.users = Some(Users {
                pool: Pool::Range { first, count: 4 },
                groups: Vec::new(),
            });
            config.control_groups = ControlGroups::Beneath(group.clone().into());
            config.state_directory = Some(config_state());
            config.view = View {
                private_temporary: view,
                hidden_processes: view,
                private_ipc: view,
                bound_writes: false,
            };
        });
        println!("isolated, {name}, {ROUNDS} rounds of {LAUNCHES} times `/bin/true`:");
        let bare_group = hierarchy().join(&group).join("bare");
        std::fs::create_dir_all(&bare_group).expect("a control group");
        let bare = std::cell::RefCell::new(Bare::start(&bare_group, view));
        compare(
            &mut bench,
            |seconds| format!("{:7.0} µs each", seconds * 1e6 / f64::from(LAUNCHES)),
            |_| (0..LAUNCHES).for_each(|_| bare.borrow_mut().run()),
            |bench| (0..LAUNCHES).for_each(|_| run_isolated(bench, &["/bin/true"])),
            1.5,
        );
        bare.borrow().clear();
        drop((bench, bare));
        std::fs::remove_dir(bare_group).expect("an empty group");
        for slot in 0..4 {
            // Those that were used.
            let _ = std::fs::remove_dir(hierarchy().join(&group).join(format!("slot-{slot}")));
        }
        std::fs::remove_dir(hierarchy().join(&group)).expect("an empty group");
        std::fs::remove_dir_all(config_state()).expect("locks");
    }
}

fn directory() -> TempDir {
    let place = std::env::var_os("HELIX_BENCH_DIR").unwrap_or_else(|| DIRECTORY.into());
    TempDir::with_prefix_in("helix-bench-", place).expect("a directory")
}

fn config_state() -> PathBuf {
    PathBuf::from(format!("/run/helix-bench-{}", std::process::id()))
}

fn hierarchy() -> PathBuf {
    let unified = PathBuf::from("/sys/fs/cgroup/unified");
    if unified.is_dir() {
        unified
    } else {
        PathBuf::from("/sys/fs/cgroup")
    }
}

/// A bare loop that runs, and a place for its directories.
struct Bare {
    child: Child,
    directory: TempDir,
}

impl Bare {
    fn start(group: &Path, view: bool) -> Self {
        let directory = directory();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(directory.path(), mode).expect("a mode");
        let child = Command::new(std::env::current_exe().expect("this program"))
            .arg(BARE_LOOP)
            .args([group, directory.path()])
            .arg(if view { "view" } else { "no view" })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the bare loop started");
        Self { child, directory }
    }

    fn run(&mut self) {
        let input = self.child.stdin.as_mut().expect("a pipe");
        input.write_all(&[1]).expect("a wish");
        let output = self.child.stdout.as_mut().expect("a pipe");
        output.read_exact(&mut [0]).expect("the bare loop goes on");
    }

    fn clear(&self) {
        for entry in std::fs::read_dir(self.directory.path())
            .expect("readable")
            .flatten()
        {
            std::fs::remove_dir_all(entry.path()).expect("removed");
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Runs a command in directories of its own, which it is given for the time.
fn run_isolated(bench: &mut Bench, command: &[&str]) {
    let parent = bench.directory.path().join(format!("w{}", bench.next + 1));
    std::fs::create_dir(&parent).expect("a directory");
    for name in ["e", "t"] {
        std::fs::create_dir(parent.join(name)).expect("a directory");
    }
    bench.run(command, |request| {
        request.working_directory = parent.join("e").into();
        request.directories = Some(Directories {
            parent: parent.clone().into(),
            names: vec!["e".into(), "t".into()],
            temporary: Some("t".into()),
        });
    });
    bench.finished.push(parent);
}
