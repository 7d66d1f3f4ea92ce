//! An agent process.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command as StdCommand, Output, Stdio};
use std::time::{Duration, Instant};

use helix_proto::agent::v1::agent_service_client::AgentServiceClient;
use helix_proto::agent::v1::{Command, WorkItem, command};
use tempfile::TempDir;
use tokio::process::{Child, Command as TokioCommand};
use tonic::transport::Channel;

pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A running agent; killed when dropped. What it said is printed when a test fails.
pub(crate) struct Agent {
    process: Child,
    pub(crate) directory: TempDir,
}

impl Agent {
    /// Starts an agent on loopback, with `top` as the first lines of its configuration and
    /// `tables` as the last.
    pub(crate) async fn start(top: &str, tables: &str) -> Self {
        Self::start_in(TempDir::with_prefix("helix-").unwrap(), top, tables).await
    }

    pub(crate) async fn start_in(directory: TempDir, top: &str, tables: &str) -> Self {
        let agent = Self::spawn_in(directory, top, tables, &[]);
        eventually("the agent listens", async || {
            agent.listening().ok_or_else(|| agent.log())
        })
        .await;
        agent
    }

    pub(crate) fn spawn_in(
        directory: TempDir,
        top: &str,
        tables: &str,
        environment: &[(&str, &str)],
    ) -> Self {
        write_config(directory.path(), top, tables);
        let log = File::create(directory.path().join("log")).unwrap();
        let process = TokioCommand::new(env!("CARGO_BIN_EXE_helix-agent"))
            .args(["run", "--log-format", "json", "--config"])
            .arg(directory.path().join("agent.toml"))
            .env("HELIX_LOG", "debug,h2=info,hyper=info,tower=info")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { process, directory }
    }

    /// Where it listens, once it does.
    pub(crate) fn listening(&self) -> Option<SocketAddr> {
        let text = std::fs::read_to_string(self.path("state/listening")).ok()?;
        text.trim().parse().ok()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listening().expect("it listens")
    }

    /// A client at its listener, in the clear.
    pub(crate) async fn client(&self) -> AgentServiceClient<Channel> {
        let address = format!("http://{}", self.address());
        AgentServiceClient::connect(address).await.unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// All that it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }

    /// Waits until the log has a text in it, and counts how often then.
    pub(crate) async fn logs(&self, text: &str) -> usize {
        eventually(&format!("the log has {text:?}"), async || {
            match self.log().matches(text).count() {
                0 => Err(self.log()),
                count => Ok(count),
            }
        })
        .await
    }

    /// Sends it a signal, by name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.process.id().expect("it runs").to_string();
        let sent = StdCommand::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end, and says with which code.
    pub(crate) async fn ends(&mut self) -> Option<i32> {
        let ended = tokio::time::timeout(LONG, self.process.wait()).await;
        ended.expect("it ends").unwrap().code()
    }

    /// The value of a metric, by its name and labels as they are written.
    pub(crate) async fn metric(&self, name: &str) -> Option<String> {
        let (_, text) = self.monitoring("/metrics").await;
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next().map(str::to_owned)
    }

    /// Status line and body of what is served at a path for monitoring.
    pub(crate) async fn monitoring(&self, path: &str) -> (String, String) {
        let address = std::fs::read_to_string(self.path("state/monitoring")).unwrap();
        let (address, path) = (address.trim().to_owned(), path.to_owned());
        let text = tokio::task::spawn_blocking(move || {
            use std::io::{Read, Write};
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        });
        let text = text.await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }
}

#[expect(clippy::print_stderr, reason = "for whoever reads why a test failed")]
impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the agent said:\n{}", self.log());
        }
    }
}

/// Writes the configuration of an agent that keeps everything in `directory`.
pub(crate) fn write_config(directory: &Path, top: &str, tables: &str) {
    let root = directory.display();
    let listen = if tables.contains("[listen]") {
        ""
    } else {
        "[listen]\naddress = \"127.0.0.1:0\"\n"
    };
    let text = format!(
        "{top}\nstate_directory = \"{root}/state\"\nwork_directory = \"{root}/work\"\n\
         config_root = \"{root}/config\"\n{listen}[monitoring]\naddress = \"127.0.0.1:0\"\n\
         [pressure]\nenabled = false\n{tables}\n"
    );
    std::fs::write(directory.join("agent.toml"), text).unwrap();
}

/// Runs a subcommand to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    StdCommand::new(env!("CARGO_BIN_EXE_helix-agent"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Writes a file that only its owner can read.
pub(crate) fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A shell line as a work item.
pub(crate) fn shell(id: &str, line: &str) -> WorkItem {
    WorkItem {
        work_item_id: format!("item-{id}"),
        job_id: format!("job-{id}"),
        attempt_id: format!("attempt-{id}"),
        command: Some(Command {
            kind: Some(command::Kind::Shell(line.to_owned())),
            ..Command::default()
        }),
        ..WorkItem::default()
    }
}

/// Polls until something is so.
pub(crate) async fn eventually<T, E: std::fmt::Debug>(
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let began = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(seen) if began.elapsed() > LONG => panic!("not within {LONG:?}: {what}: {seen:?}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}
