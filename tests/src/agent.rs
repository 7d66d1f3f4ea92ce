//! A real agent process on loopback.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use helix_proto::agent::v1::agent_service_client::AgentServiceClient;
use helix_proto::agent::v1::{
    AttachRequest, AttemptEvent, Capacity, GetCapacityRequest, RunRequest, WorkItem,
};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::eventually;
use crate::programs::program;
use crate::stream::Seen;

/// A running agent. It is killed when dropped, and its directory removed.
#[derive(Debug)]
pub struct Agent {
    process: Child,
    user: Option<u32>,
    directory: TempDir,
    address: SocketAddr,
    environment: Vec<(String, String)>,
}

impl Agent {
    /// Starts an agent with two slots and the defaults otherwise.
    pub async fn start() -> Self {
        Self::start_with("slots = 2\n", "").await
    }

    /// Starts an agent with `top` as the first lines of its configuration and
    /// `tables` as the last. That the tests themselves press the machine hard is no
    /// reason for it to take less.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub async fn start_with(top: &str, tables: &str) -> Self {
        let directory = TempDir::with_prefix("helix-").expect("a directory");
        Self::start_in(directory, top, tables, &[]).await
    }

    /// The same in a directory that the test has made, and with variables in the
    /// environment of the agent.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub async fn start_in(
        directory: TempDir,
        top: &str,
        tables: &str,
        environment: &[(&str, &str)],
    ) -> Self {
        let work = directory.path().join("work");
        Self::start_as(None, directory, &work, top, tables, environment).await
    }

    /// The same as another user than the test's, who owns what the agent writes to.
    pub(crate) async fn start_as(
        user: Option<u32>,
        directory: TempDir,
        work: &Path,
        top: &str,
        tables: &str,
        environment: &[(&str, &str)],
    ) -> Self {
        let root = directory.path().display().to_string();
        let work = work.display();
        let configuration = format!(
            "{top}\n\
             state_directory = \"{root}/state\"\n\
             work_directory = \"{work}\"\n\
             config_root = \"{root}/config\"\n\
             [listen]\naddress = \"127.0.0.1:0\"\n\
             [monitoring]\naddress = \"127.0.0.1:0\"\n\
             [pressure]\nenabled = false\n\
             [payload]\nallow_file_urls = true\n\
             {tables}\n"
        );
        std::fs::create_dir_all(directory.path().join("config")).expect("created");
        std::fs::write(directory.path().join("agent.toml"), configuration).expect("written");
        let environment: Vec<(String, String)> = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let process = spawn(directory.path(), user, &environment);
        let mut agent = Self {
            user,
            process,
            directory,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            environment,
        };
        agent.wait_until_it_listens().await;
        agent
    }

    /// Kills the agent as hard as can be, and starts it again on the same
    /// directory. What it ran lives on.
    ///
    /// # Panics
    ///
    /// If it does not come up again.
    pub async fn kill_and_start_again(&mut self) {
        self.process.kill().await.expect("killed");
        std::fs::remove_file(self.listening_file()).expect("it had written its address");
        self.process = spawn(self.directory.path(), self.user, &self.environment);
        self.wait_until_it_listens().await;
    }

    /// Kills the agent, waits until `happened` without one, and starts it again.
    ///
    /// # Panics
    ///
    /// If it never happens, or the agent does not come up again.
    pub async fn kill_while(&mut self, mut happened: impl AsyncFnMut() -> bool) {
        self.process.kill().await.expect("killed");
        eventually("it happens without an agent", async || {
            if happened().await {
                Ok(())
            } else {
                Err("not yet")
            }
        })
        .await;
        std::fs::remove_file(self.listening_file()).expect("it had written its address");
        self.process = spawn(self.directory.path(), self.user, &self.environment);
        self.wait_until_it_listens().await;
    }

    /// Kills the agent as hard as can be. What it ran lives on.
    ///
    /// # Panics
    ///
    /// If it cannot be killed.
    pub async fn kill(&mut self) {
        self.process.kill().await.expect("killed");
    }

    /// Starts the agent again on the same directory, after it has ended.
    ///
    /// # Panics
    ///
    /// If it does not come up again.
    pub async fn start_again(&mut self) {
        // Left behind by an agent that was killed.
        let _ = std::fs::remove_file(self.listening_file());
        self.process = spawn(self.directory.path(), self.user, &self.environment);
        self.wait_until_it_listens().await;
    }

    async fn wait_until_it_listens(&mut self) {
        let file = self.listening_file();
        let process = &mut self.process;
        self.address = eventually("the agent listens", async || {
            if let Some(status) = process.try_wait().expect("a child") {
                panic!("the agent ended: {status}");
            }
            std::fs::read_to_string(&file)
                .map_err(|error| error.to_string())
                .and_then(|text| {
                    text.trim()
                        .parse()
                        .map_err(|error| format!("{error}: {text}"))
                })
        })
        .await;
    }

    fn listening_file(&self) -> PathBuf {
        self.directory.path().join("state/listening")
    }

    /// The directory with everything of this agent: `state`, `work`, `config`
    /// and `agent.toml`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it has logged in all its lives.
    ///
    /// # Panics
    ///
    /// If there is no log.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.directory.path().join("agent.log")).expect("a log");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Where it serves metrics and health, as it says itself.
    ///
    /// # Panics
    ///
    /// If it does not say.
    #[must_use]
    pub fn monitoring(&self) -> SocketAddr {
        let file = self.directory.path().join("state/monitoring");
        let text = std::fs::read_to_string(file).expect("it serves metrics");
        text.trim().parse().expect("an address")
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process id of the agent.
    ///
    /// # Panics
    ///
    /// If it has ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id().expect("it runs")
    }

    /// Sends a signal to the agent.
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.pid().try_into().expect("a pid"));
        nix::sys::signal::kill(pid, signal).expect("it runs");
    }

    /// Waits for the agent's own end.
    ///
    /// # Panics
    ///
    /// If it cannot be waited for.
    pub async fn ended(&mut self) -> std::process::ExitStatus {
        self.process.wait().await.expect("a child")
    }

    /// A client with its own connection.
    ///
    /// # Panics
    ///
    /// If the agent does not answer.
    pub async fn client(&self) -> AgentServiceClient<Channel> {
        AgentServiceClient::connect(format!("http://{}", self.address))
            .await
            .expect("the agent answers")
            .max_decoding_message_size(16 << 20)
    }

    /// Offers a work item.
    ///
    /// # Errors
    ///
    /// The refusal.
    pub async fn offer(
        &self,
        item: WorkItem,
    ) -> Result<Streaming<helix_proto::agent::v1::RunResponse>, Status> {
        let request = RunRequest {
            work_item: Some(item),
        };
        Ok(self.client().await.run(request).await?.into_inner())
    }

    /// Offers a work item that must be refused.
    ///
    /// # Panics
    ///
    /// If it is taken.
    pub async fn refusal(&self, item: WorkItem) -> Status {
        match self.offer(item).await {
            Ok(_) => panic!("the agent took the work item"),
            Err(status) => status,
        }
    }

    /// Runs a work item to its terminal event.
    ///
    /// # Panics
    ///
    /// If it is refused or the stream breaks.
    pub async fn run(&self, item: WorkItem) -> Seen {
        let mut stream = self.offer(item).await.expect("taken");
        let mut seen = Seen::default();
        while let Some(response) = stream.message().await.expect("an unbroken stream") {
            seen.take(response.event.expect("an event"));
        }
        seen
    }

    /// Follows an attempt from a place in its history to its terminal event.
    ///
    /// # Panics
    ///
    /// If it is not known or the stream breaks.
    pub async fn attach(&self, attempt_id: &str, after_event: u64, console_offset: u64) -> Seen {
        let request = AttachRequest {
            attempt_id: attempt_id.to_owned(),
            after_event,
            console_offset,
        };
        let mut stream = self
            .client()
            .await
            .attach(request)
            .await
            .expect("known")
            .into_inner();
        let mut seen = Seen::from(console_offset);
        while let Some(response) = stream.message().await.expect("an unbroken stream") {
            seen.take(response.event.expect("an event"));
        }
        seen
    }

    /// What it can take now.
    ///
    /// # Panics
    ///
    /// If it does not answer.
    pub async fn capacity(&self) -> Capacity {
        let answer = self
            .client()
            .await
            .get_capacity(GetCapacityRequest {})
            .await;
        answer
            .expect("an answer")
            .into_inner()
            .capacity
            .expect("a capacity")
    }
}

impl Drop for Agent {
    /// Ends what the agent's work items left running: they outlive an agent by
    /// design, and would only wear out the next test.
    fn drop(&mut self) {
        let mark = format!("HELIX_WORK_ROOT={}/work\0", self.directory.path().display());
        // Where there is no process table to read, their time limits end them.
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let is_ours = environment
                .windows(mark.len())
                .any(|window| window == mark.as_bytes());
            if let (Some(pid), true) = (pid, is_ours) {
                let pid = nix::unistd::Pid::from_raw(pid);
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            }
        }
    }
}

/// Takes events from a running stream until `enough` says so.
///
/// # Panics
///
/// If the stream ends or breaks before.
pub async fn until(
    stream: &mut Streaming<helix_proto::agent::v1::RunResponse>,
    seen: &mut Seen,
    enough: impl Fn(&Seen, &AttemptEvent) -> bool,
) {
    loop {
        let response = stream.message().await.expect("an unbroken stream");
        let event = response.expect("more to come").event.expect("an event");
        seen.take(event.clone());
        if enough(seen, &event) {
            return;
        }
    }
}

fn spawn(directory: &Path, user: Option<u32>, environment: &[(String, String)]) -> Child {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(directory.join("agent.log"))
        .expect("a log");
    let mut command = Command::new(program("helix-agent"));
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command
        .args(["run", "--config"])
        .arg(directory.join("agent.toml"))
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("the agent starts")
}
