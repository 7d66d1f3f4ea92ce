//! A PostgreSQL server of a test's own.

use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::unistd::{User, geteuid};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::eventually;
use crate::tools::tool;

/// Has to be set to the directory with `initdb` and `postgres`.
pub const VARIABLE: &str = "HELIX_TEST_POSTGRES_PROGRAMS";

/// A server on loopback with one empty database, which goes with it.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    directory: TempDir,
    port: u16,
    process: Child,
    user: Option<(u32, u32)>,
}

impl Postgres {
    /// Starts one, or says why not.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub async fn start() -> Option<Self> {
        let programs = PathBuf::from(tool(VARIABLE)?);
        let directory = TempDir::with_prefix("helix-postgres-").expect("a directory");
        // It refuses to run as root.
        let user = geteuid().is_root().then(|| {
            let user = User::from_name("postgres").expect("a user database");
            let user = user.expect("the user `postgres`, as root cannot run it");
            (user.uid.as_raw(), user.gid.as_raw())
        });
        if let Some((uid, gid)) = user {
            chown(directory.path(), Some(uid), Some(gid)).expect("given away");
        }
        let made = Self::command(&programs.join("initdb"), user)
            .args(["--auth=trust", "--username=helix", "--no-sync", "--pgdata"])
            .arg(directory.path().join("data"))
            .stdout(Stdio::null())
            .status()
            .await;
        assert!(made.expect("initdb runs").success(), "no database");
        let port = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| listener.local_addr())
            .expect("a port")
            .port();
        let process = Self::spawn(&programs, directory.path(), port, user);
        let postgres = Self {
            programs,
            directory,
            port,
            process,
            user,
        };
        postgres.wait_until_it_answers().await;
        Some(postgres)
    }

    /// Where it is, with user and database.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://helix@127.0.0.1:{}/postgres", self.port)
    }

    /// Kills all of it as hard as can be, and starts it again: it recovers from its log.
    ///
    /// # Panics
    ///
    /// If it does not come up again.
    pub async fn kill_and_start_again(&mut self) {
        self.process.kill().await.expect("killed");
        // Its children hold on to shared memory until they notice.
        eventually("the old server is gone", async || {
            let data = self.directory.path().join("data");
            let started = std::fs::remove_file(data.join("postmaster.pid"));
            match started {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            }
        })
        .await;
        eventually("the server is back", async || {
            self.process = Self::spawn(&self.programs, self.directory.path(), self.port, self.user);
            loop {
                if let Some(status) = self.process.try_wait().expect("a child") {
                    // Somebody of the old one still runs.
                    return Err(status);
                }
                if self.answers().await {
                    return Ok(());
                }
            }
        })
        .await;
    }

    async fn wait_until_it_answers(&self) {
        eventually("the server answers", async || {
            self.answers().await.then_some(()).ok_or("not yet")
        })
        .await;
    }

    async fn answers(&self) -> bool {
        let asked = Command::new(self.programs.join("pg_isready"))
            .args(["--quiet", "--host=127.0.0.1"])
            .arg(format!("--port={}", self.port))
            .status()
            .await;
        asked.expect("pg_isready runs").success()
    }

    fn spawn(programs: &Path, directory: &Path, port: u16, user: Option<(u32, u32)>) -> Child {
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(directory.join("log"))
            .expect("a log");
        Self::command(&programs.join("postgres"), user)
            .arg("-D")
            .arg(directory.join("data"))
            .args(["-c", "listen_addresses=127.0.0.1"])
            .args(["-c", &format!("port={port}")])
            .args(["-c", "unix_socket_directories="])
            .args(["-c", "max_connections=100"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("postgres starts")
    }

    fn command(program: &Path, user: Option<(u32, u32)>) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/");
        if let Some((uid, gid)) = user {
            command.uid(uid).gid(gid);
        }
        command
    }
}
