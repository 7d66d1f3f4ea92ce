//! A real systemd as the first process of a container, for what the machine of
//! the tests does not have: a service manager.
//!
//! The directory in the environment variable [`VARIABLE`] is the root of a small
//! Debian (`.ci/systemd` makes it). Nothing of it is changed: what is written in a
//! container is gone with it. There is no network but loopback, and no controller
//! of control groups, so limits are for the guest.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use crate::{eventually, isolated, tools};

/// Names the directory with the root of the container.
pub const VARIABLE: &str = "HELIX_TEST_SYSTEMD";

/// How long a container may take to power off before it is killed.
const POWER_OFF_WITHIN: Duration = Duration::from_secs(5);

const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// The hierarchy of version 1 that a container also has a place in, on machines
/// that have both.
const NAMED_HIERARCHY: &str = "/sys/fs/cgroup/systemd";

/// A container that has booted. It is gone when dropped.
#[derive(Debug)]
pub struct Container {
    manager: Child,
    /// The first process, as this machine numbers it.
    leader: i32,
    name: String,
    /// Holds the console.
    directory: TempDir,
}

/// What a command did in the container.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Its exit code; `None` when a signal ended it.
    pub exit_code: Option<i32>,
    /// What it wrote to standard output.
    pub output: String,
    /// What it wrote to standard error.
    pub errors: String,
}

impl Ran {
    /// The output of a command that must have succeeded, without the last line break.
    ///
    /// # Panics
    ///
    /// If it did not.
    pub fn good(self) -> String {
        assert_eq!(self.exit_code, Some(0), "{self:?}");
        self.output.trim_end().to_owned()
    }
}

impl Container {
    /// Boots a container that sees each of the files or directories at the path beside
    /// it, which it cannot change. Without the tree or the rights, says that the calling
    /// test is skipped.
    ///
    /// # Panics
    ///
    /// If it does not boot.
    pub async fn boot(files: &[(PathBuf, &str)]) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let tree = Self::available()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("helix-test-{}-{number}", std::process::id());
        let group = isolated::hierarchy().join(&name);
        fs::create_dir(&group).expect("a control group is made");
        let directory = TempDir::new().expect("a directory is made");
        let manager = start(&tree, &name, &group, files, directory.path());
        let mut container = Self {
            manager,
            leader: 0,
            name,
            directory,
        };
        container.leader = eventually("the container has a first process", async || {
            container.check();
            first_process(container.manager.id()).ok_or("none yet")
        })
        .await;
        eventually("the container boots", async || {
            container.check();
            let state = container.run(&["systemctl", "is-system-running"]).await;
            match state.output.trim() {
                "running" => Ok(()),
                _ => Err(state),
            }
        })
        .await;
        Some(container)
    }

    /// The tree that containers have as their root. Without it or the rights, says that the calling
    /// test is skipped.
    #[must_use]
    pub fn available() -> Option<OsString> {
        let tree = tools::tool(VARIABLE)?;
        if !nix::unistd::geteuid().is_root() {
            tools::skipped("only root can boot a container");
            return None;
        }
        Some(tree)
    }

    /// Fails the test when the container is gone.
    fn check(&mut self) {
        if let Some(status) = self.manager.try_wait().expect("a child") {
            panic!("the container ended: {status}: {}", self.console());
        }
    }

    /// Runs a command as root.
    ///
    /// # Panics
    ///
    /// If the container cannot be entered.
    pub async fn run(&self, command: &[&str]) -> Ran {
        self.run_with(command, b"").await
    }

    /// The same with something on standard input.
    ///
    /// # Panics
    ///
    /// If the container cannot be entered.
    pub async fn run_with(&self, command: &[&str], input: &[u8]) -> Ran {
        let mut process = self.command(command).spawn().expect("nsenter starts");
        let mut stdin = process.stdin.take().expect("a pipe");
        // One that does not want it all has ended, and says so itself.
        let _ = stdin.write_all(input).await;
        drop(stdin);
        let output = process.wait_with_output().await.expect("a child");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran {
            exit_code: output.status.code(),
            output: text(&output.stdout),
            errors: text(&output.stderr),
        }
    }

    /// Starts a command as root, with pipes to all its streams. It is killed when
    /// dropped.
    ///
    /// # Panics
    ///
    /// If the container cannot be entered.
    #[must_use]
    pub fn spawn(&self, command: &[&str]) -> tokio::process::Child {
        self.command(command).spawn().expect("nsenter starts")
    }

    fn command(&self, command: &[&str]) -> tokio::process::Command {
        let mut entering = tokio::process::Command::new("nsenter");
        entering
            .arg(format!("--target={}", self.leader))
            .args(["--all", "--"])
            .args(command)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        entering
    }

    /// Writes a file, and makes the directories above it.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub async fn write(&self, path: &str, content: &str) {
        let line = "mkdir -p \"${1%/*}\" && cat >\"$1\"";
        self.run_with(&["sh", "-c", line, "sh", path], content.as_bytes())
            .await
            .good();
    }

    fn console(&self) -> String {
        let bytes = fs::read(self.directory.path().join("console")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.leader > 0 {
            // At once and without a word to its services: with the first process all
            // others go, and the manager tidies up after them.
            let _ = self
                .command(&["systemctl", "poweroff", "-ff"])
                .into_std()
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            let give_up_at = Instant::now() + POWER_OFF_WITHIN;
            while matches!(self.manager.try_wait(), Ok(None)) && Instant::now() < give_up_at {
                std::thread::sleep(LOOK_AGAIN_AFTER);
            }
        }
        // What is left of it in spite of that.
        let group = isolated::hierarchy().join(&self.name);
        let _ = fs::write(group.join("cgroup.kill"), "1");
        let _ = self.manager.kill();
        let _ = self.manager.wait();
        for group in [group, Path::new(NAMED_HIERARCHY).join(&self.name)] {
            let give_up_at = Instant::now() + POWER_OFF_WITHIN;
            // Those that were killed just now are still on their way out.
            while remove_groups(&group).is_err() && Instant::now() < give_up_at {
                std::thread::sleep(LOOK_AGAIN_AFTER);
            }
        }
    }
}

/// Starts the program that makes the container, in a control group by which all of
/// it can be killed.
fn start(
    tree: &OsStr,
    name: &str,
    group: &Path,
    files: &[(PathBuf, &str)],
    directory: &Path,
) -> Child {
    let console = fs::File::create(directory.join("console")).expect("a file is made");
    let errors = console.try_clone().expect("a second handle");
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg("echo $$ >\"$0/cgroup.procs\" && exec systemd-nspawn \"$@\"")
        .arg(group)
        .args([
            "--quiet",
            "--boot",
            "--volatile=overlay",
            "--private-network",
        ])
        // There is no service manager out here to be told of it.
        .args(["--register=no", "--keep-unit", "--console=pipe"])
        // As on a machine of its own.
        .args([
            "--system-call-filter=@keyring bpf",
            "--capability=CAP_SYSLOG",
        ])
        .arg(format!("--machine={name}"))
        .arg("--directory")
        .arg(tree);
    for (from, to) in files {
        command.arg(format!("--bind-ro={}:{to}", from.display()));
    }
    command
        .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
        .stdin(Stdio::null())
        .stdout(console)
        .stderr(errors)
        .spawn()
        .expect("a shell starts")
}

/// The first process of the container that this one manages.
fn first_process(manager: u32) -> Option<i32> {
    let manager = manager.to_string();
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
        // Until it has become systemd it has not finished its preparations.
        (field("PPid:")?.trim() == manager && field("Name:")?.trim() == "systemd").then_some(pid)
    })
}

/// Removes control groups with all beneath them.
fn remove_groups(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_groups(&entry.path())?;
        }
    }
    fs::remove_dir(directory)
}
