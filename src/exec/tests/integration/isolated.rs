//! A launcher that runs as root and has users, control groups and a view for its commands.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use helix_exec::launcher::{Config, ControlGroups, Isolation, Pool, Reply, Request, Users};
use helix_exec::ownership::Transferred;
use helix_exec::{Directories, LaunchRequest, frame};
use tempfile::TempDir;

use crate::support::{Launcher, skipped};

/// Directories of an attempt, as an agent makes them.
const NAMES: [&str; 2] = ["e", "t"];

/// Not below `/tmp`, which commands have their own of.
const PLACE: &str = "/var/lib";

/// A launcher with all isolation that this machine offers.
pub(crate) struct Isolated {
    launcher: Launcher,
    first_uid: u32,
    group: String,
    attempts: u32,
}

impl Isolated {
    pub(crate) const SLOTS: u32 = 3;

    /// Starts one; without the rights it says that the calling test is skipped.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut Config)) -> Option<Self> {
        // Of each number one test at a time makes use: what runs as its user is killed.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !nix::unistd::geteuid().is_root() {
            skipped("only root can run commands as other users");
            return None;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let first_uid = 61_000 + number * Self::SLOTS;
        let group = format!("helix-test-{}-{number}", std::process::id());
        let directory = TempDir::with_prefix_in("helix-test-", PLACE).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let state = directory.path().join("state");
        let launcher = Launcher::start_in(directory, |config| {
            config.users = Some(Users {
                pool: Pool::Range {
                    first: first_uid,
                    count: Self::SLOTS,
                },
                groups: Vec::new(),
            });
            config.control_groups = ControlGroups::Beneath(PathBuf::from(&group));
            config.state_directory = Some(state);
            change(config);
        });
        for directory in ["work", "spools"] {
            let path = launcher.path().join(directory);
            fs::set_permissions(path, fs::Permissions::from_mode(0o711)).unwrap();
        }
        Some(Self {
            launcher,
            first_uid,
            group,
            attempts: 0,
        })
    }

    /// The user of a slot.
    pub(crate) fn uid(&self, slot: u32) -> u32 {
        self.first_uid + slot
    }

    pub(crate) fn pid(&self) -> u32 {
        self.launcher.child.id()
    }

    pub(crate) fn connection(&mut self) -> &mut UnixStream {
        &mut self.launcher.connection
    }

    /// The group of all slots, beneath [`Isolated::hierarchy`].
    pub(crate) fn group_name(&self) -> &str {
        &self.group
    }

    /// Where the hierarchy of control groups is mounted.
    pub(crate) fn hierarchy(&self) -> PathBuf {
        let unified = PathBuf::from("/sys/fs/cgroup/unified");
        if unified.is_dir() {
            unified
        } else {
            PathBuf::from("/sys/fs/cgroup")
        }
    }

    /// A request for a shell line in directories of its own that change hands.
    pub(crate) fn shell(&mut self, line: &str) -> LaunchRequest {
        self.attempts += 1;
        let parent = self.launcher.work().join(self.attempts.to_string());
        fs::create_dir(&parent).unwrap();
        fs::set_permissions(&parent, fs::Permissions::from_mode(0o700)).unwrap();
        for name in NAMES {
            fs::create_dir(parent.join(name)).unwrap();
        }
        let mut request = self.launcher.shell(line);
        request.working_directory = parent.join("e").into();
        request.streams = helix_exec::OutputStreams::Merged;
        request.directories = Some(Directories {
            parent: parent.into(),
            names: NAMES.map(Into::into).to_vec(),
            temporary: Some("t".into()),
        });
        request
    }

    pub(crate) fn run_shell(&mut self, line: &str) -> (helix_exec::spool::status::Ended, String) {
        let request = self.shell(line);
        self.launcher.run(request)
    }

    pub(crate) fn isolation(&mut self) -> Isolation {
        match self.ask(&Request::Describe { number: 88 }) {
            Reply::Described {
                number: 88,
                isolation,
            } => isolation,
            reply => panic!("{reply:?}"),
        }
    }

    pub(crate) fn reclaim(&mut self, directories: Directories) -> Transferred {
        let request = Request::Reclaim {
            number: 99,
            directories,
        };
        match self.ask(&request) {
            Reply::Reclaimed {
                number: 99,
                transferred,
            } => transferred,
            reply => panic!("{reply:?}"),
        }
    }

    pub(crate) fn ask(&mut self, request: &Request) -> Reply {
        frame::write(
            &mut self.launcher.connection,
            request,
            frame::MAX_LAUNCHER_FRAME,
        )
        .unwrap();
        self.launcher.reply()
    }

    /// Kills the launcher; supervisors live on.
    pub(crate) fn stop_hard(&mut self) {
        self.launcher.child.kill().unwrap();
        self.launcher.child.wait().unwrap();
    }

    /// Starts another with the same configuration.
    pub(crate) fn start_again(&mut self) {
        self.launcher.start_again();
    }

    /// What a launcher says that is started with a changed configuration and cannot be.
    pub(crate) fn start_with_config(&self, change: impl FnOnce(&mut Config)) -> String {
        let path = self.path().join("launcher.json");
        let mut config: Config = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        change(&mut config);
        let path = self.path().join("changed.json");
        fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_helix-launcher"))
            .arg("--config")
            .arg(&path)
            .arg("--socket")
            .arg(self.path().join("socket"))
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }
}

impl Deref for Isolated {
    type Target = Launcher;

    fn deref(&self) -> &Launcher {
        &self.launcher
    }
}

impl DerefMut for Isolated {
    fn deref_mut(&mut self) -> &mut Launcher {
        &mut self.launcher
    }
}

impl Drop for Isolated {
    fn drop(&mut self) {
        let _ = self.launcher.child.kill();
        let _ = self.launcher.child.wait();
        let group = self.hierarchy().join(&self.group);
        for slot in 0..Self::SLOTS {
            let path = group.join(format!("slot-{slot}"));
            let _ = fs::write(path.join("cgroup.kill"), "1");
            // What was killed is gone from the group a moment later.
            for _ in 0..1000 {
                match fs::remove_dir(&path) {
                    Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY) => {
                        std::thread::yield_now();
                    }
                    _ => break,
                }
            }
        }
        let _ = fs::remove_dir(group);
    }
}
