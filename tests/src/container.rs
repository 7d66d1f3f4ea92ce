//! A real systemd as the first process of a container, for what the machine of
//! the tests does not have: a service manager.
//!
//! The directory in the environment variable [`VARIABLE`] is the root of a small
//! Debian (`.ci/systemd` makes it). Nothing of it is changed: what is written in a
//! container is gone with it. There is no network but loopback, and no controller
//! of control groups, so limits are for the guest.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SIGRTMIN, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use crate::{eventually, isolated, tools};

/// Names the directory with the root of the container.
pub const VARIABLE: &str = "HELIX_TEST_SYSTEMD";

/// How long a container may take to power off before it is killed.
const POWER_OFF_WITHIN: Duration = Duration::from_secs(5);

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
    #[must_use]
    pub fn good(self) -> String {
        assert_eq!(self.exit_code, Some(0), "{self:?}");
        self.output.trim_end().to_owned()
    }
}

impl Container {
    /// Boots a container that sees each of the files at the path beside it, which
    /// it cannot change. Without the tree or the rights, says that the calling
    /// test is skipped.
    ///
    /// # Panics
    ///
    /// If it does not boot.
    pub async fn boot(files: &[(PathBuf, &str)]) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let tree = tools::tool(VARIABLE)?;
        if !nix::unistd::geteuid().is_root() {
            tools::skipped("only root can boot a container");
            return None;
        }
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
        let written = self.run_with(&["sh", "-c", line, "sh", path], content.as_bytes());
        written.await.good();
    }

    /// Puts what is in a directory of this machine into one of the container's.
    ///
    /// # Panics
    ///
    /// If a file is not there or no text, or cannot be written.
    pub async fn install(&self, from: &Path, to: &str) {
        for entry in fs::read_dir(from).expect("readable") {
            let entry = entry.expect("readable");
            if entry.file_type().expect("known").is_file() {
                let content = fs::read_to_string(entry.path()).expect("a text");
                let name = entry.file_name();
                self.write(&format!("{to}/{}", name.display()), &content)
                    .await;
            }
        }
    }

    fn console(&self) -> String {
        let bytes = fs::read(self.directory.path().join("console")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.leader > 0 {
            // `systemctl poweroff`, as systemd(1) has it for its first process.
            let power_off = libc_signal(4);
            let signalled = power_off
                .map(|signal| nix::errno::Errno::result(signal(self.leader)))
                .is_some_and(|result| result.is_ok());
            let give_up_at = Instant::now() + POWER_OFF_WITHIN;
            while signalled
                && matches!(self.manager.try_wait(), Ok(None))
                && Instant::now() < give_up_at
            {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}
