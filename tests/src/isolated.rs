//! A machine as it is installed: a launcher that runs as root, an agent that does not, and a user
//! for each slot.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::agent::Agent;
use crate::eventually;
use crate::programs::program;
use crate::tools::skipped;

/// Not below `/tmp`, which work items have their own of.
const PLACE: &str = "/var/lib";

/// A launcher as a service, and its agent.
#[derive(Debug)]
pub struct Isolated {
    /// The agent.
    pub agent: Agent,
    launcher: Child,
    work: PathBuf,
    group: String,
    first_uid: u32,
    slots: u32,
}

/// What is to be different about a machine.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// First lines of the agent's configuration, besides its slots.
    pub top: String,
    /// Last lines of the agent's configuration.
    pub tables: String,
    /// Slots; 0 for two.
    pub slots: u32,
    /// Where work items run; by default a directory of the machine's own.
    pub work: Option<PathBuf>,
}

impl Isolated {
    /// Starts a machine with two slots. Without the rights it says that the calling test is
    /// skipped.
    pub async fn start() -> Option<Self> {
        Self::start_with(Changes::default()).await
    }

    /// Starts a machine whose work items run in this directory.
    pub async fn start_on(work: PathBuf) -> Option<Self> {
        let changes = Changes {
            work: Some(work),
            ..Changes::default()
        };
        Self::start_with(changes).await
    }

    /// Starts a machine that differs.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub async fn start_with(changes: Changes) -> Option<Self> {
        // What runs as a slot's user is killed, so each test has users of its own.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !nix::unistd::geteuid().is_root() {
            skipped("only root can run work items as other users");
            return None;
        }
        let slots = changes.slots.max(2);
        let own = NEXT.fetch_add(slots + 1, Ordering::Relaxed);
        let (agent_uid, first_uid) = (64_000 + own, 64_001 + own);
        let group = format!("helix-test-{}-{own}", std::process::id());
        let directory = TempDir::with_prefix_in("helix-test-", PLACE).expect("a directory");
        let root = directory.path().to_owned();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
        };
        mode(&root, 0o711);
        for name in ["state", "work", "config", "faults"] {
            let path = root.join(name);
            fs::create_dir(&path).expect("created");
            chown(&path, Some(agent_uid), Some(agent_uid)).expect("given to the agent");
        }
        mode(&root.join("state"), 0o700);
        let work = changes.work.unwrap_or_else(|| root.join("work"));
        chown(&work, Some(agent_uid), Some(agent_uid)).expect("given to the agent");
        mode(&work, 0o711);
        let parent = work.parent().expect("a parent");
        mode(parent, 0o711);
        let configuration = serde_json::json!({
            "client": agent_uid,
            "spool_roots": {"beneath": [root.join("state")]},
            "work_roots": {"beneath": [&work]},
            "users": {"pool": {"range": {"first": first_uid, "count": slots}}},
            "control_groups": {"beneath": group},
            "state_directory": root.join("launcher"),
        });
        fs::write(root.join("launcher.json"), configuration.to_string()).expect("written");
        let launcher = start_launcher(&root).await;
        let top = format!("slots = {slots}\n{}", changes.top);
        let socket = root.join("launcher.sock");
        let tables = format!(
            "[launcher]\nsocket = \"{}\"\n{}",
            socket.display(),
            changes.tables
        );
        let faults = root.join("faults").display().to_string();
        let environment = [("HELIX_FAULTS", faults.as_str())];
        let agent = Agent::start_as(
            Some(agent_uid),
            directory,
            &work,
            &top,
            &tables,
            &environment,
        )
        .await;
        Some(Self {
            agent,
            launcher,
            work,
            group,
            first_uid,
            slots,
        })
    }

    /// The user of a slot.
    #[must_use]
    pub fn uid(&self, slot: u32) -> u32 {
        self.first_uid + slot
    }

    /// All users of slots.
    #[must_use]
    pub fn uids(&self) -> Vec<u32> {
        (0..self.slots).map(|slot| self.uid(slot)).collect()
    }

    /// The process id of the launcher.
    ///
    /// # Panics
    ///
    /// If it has ended.
    #[must_use]
    pub fn launcher_pid(&self) -> u32 {
        self.launcher.id().expect("it runs")
    }

    /// Kills the launcher.
    ///
    /// # Panics
    ///
    /// If it cannot be killed.
    pub async fn kill_launcher(&mut self) {
        self.launcher.kill().await.expect("killed");
    }

    /// Kills the launcher if it still runs, and starts another.
    ///
    /// # Panics
    ///
    /// If it does not come up again.
    pub async fn restart_launcher(&mut self) {
        // One that a fault has killed cannot be killed again.
        let _ = self.launcher.kill().await;
        self.launcher = start_launcher(self.agent.directory()).await;
    }

    /// Has a process die at a moment of this name: the one that comes by, or the one named.
    ///
    /// # Panics
    ///
    /// If it cannot be asked for.
    pub fn arm(&self, point: &str, victim: Option<u32>) {
        let text = victim.map_or("self".to_owned(), |pid| pid.to_string());
        let path = self.agent.directory().join("faults").join(point);
        let staged = path.with_extension("staged");
        fs::write(&staged, text).expect("written");
        fs::rename(staged, path).expect("named");
    }

    /// Forgets a moment, whether it came or not.
    pub fn disarm(&self, point: &str) {
        let directory = self.agent.directory().join("faults");
        // One of the two is there at most.
        let _ = fs::remove_file(directory.join(point));
        let _ = fs::remove_file(directory.join(format!("{point}.hit")));
    }

    /// Directories of attempts below the work directory.
    ///
    /// # Panics
    ///
    /// If the work directory cannot be read.
    #[must_use]
    pub fn attempt_directories(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for job in fs::read_dir(&self.work).expect("readable").flatten() {
            for attempt in fs::read_dir(job.path().join("w"))
                .into_iter()
                .flatten()
                .flatten()
            {
                found.push(attempt.path());
            }
        }
        found
    }

    /// Whether what was armed has happened.
    #[must_use]
    pub fn was_hit(&self, point: &str) -> bool {
        let name = format!("{point}.hit");
        self.agent.directory().join("faults").join(name).exists()
    }

    /// Processes that run as the user of any slot.
    ///
    /// # Panics
    ///
    /// If the process table cannot be read.
    #[must_use]
    pub fn processes_of_slots(&self) -> Vec<u32> {
        let uids = self.uids();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("readable").flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|line| line.split_whitespace().next())
                    .unwrap_or_default()
                    .to_owned()
            };
            if field("State:") != "Z" && field("Uid:").parse().is_ok_and(|uid| uids.contains(&uid))
            {
                found.push(pid);
            }
        }
        found
    }

    /// Where the control groups of the slots are.
    #[must_use]
    pub fn groups(&self) -> PathBuf {
        hierarchy().join(&self.group)
    }
}

/// Where the control groups of version 2 are.
pub(crate) fn hierarchy() -> PathBuf {
    let unified = PathBuf::from("/sys/fs/cgroup/unified");
    if unified.is_dir() {
        unified
    } else {
        PathBuf::from("/sys/fs/cgroup")
    }
}

async fn start_launcher(root: &Path) -> Child {
    let socket = root.join("launcher.sock");
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(root.join("launcher.log"))
        .expect("a log");
    let mut launcher = Command::new(program("helix-launcher"))
        .arg("--config")
        .arg(root.join("launcher.json"))
        .arg("--socket")
        .arg(&socket)
        .env("HELIX_FAULTS", root.join("faults"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("the launcher starts");
    eventually("the launcher listens", async || {
        if let Some(status) = launcher.try_wait().expect("a child") {
            let log = fs::read_to_string(root.join("launcher.log")).unwrap_or_default();
            panic!("the launcher ended: {status}: {log}");
        }
        std::os::unix::net::UnixStream::connect(&socket).map(drop)
    })
    .await;
    launcher
}

impl Drop for Isolated {
    fn drop(&mut self) {
        // Nobody may be left to write to what is about to be removed.
        let _ = self.launcher.start_kill();
        for slot in 0..self.slots {
            let group = self.groups().join(format!("slot-{slot}"));
            let _ = fs::write(group.join("cgroup.kill"), "1");
            let began = std::time::Instant::now();
            // What was killed is gone from the group a moment later.
            while fs::remove_dir(&group)
                .is_err_and(|error| error.kind() == std::io::ErrorKind::ResourceBusy)
                && began.elapsed() < std::time::Duration::from_secs(5)
            {
                std::thread::yield_now();
            }
        }
        let _ = fs::remove_dir(self.groups());
    }
}
