//! A real controller process on loopback.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::agent::Agent;
use crate::programs::program;
use crate::{eventually, eventually_all};

/// A running controller. It is killed when dropped, and its directory removed.
#[derive(Debug)]
pub struct Controller {
    process: Child,
    directory: TempDir,
    http: SocketAddr,
    agents: SocketAddr,
    client: reqwest::Client,
}

impl Controller {
    /// Starts a controller with the embedded store and the queue `test`, whose items are delivered
    /// up to three times.
    pub async fn start() -> Self {
        Self::start_with("[[queues]]\nname = \"test\"\nmax_delivery_count = 3\n").await
    }

    /// Starts a controller with `tables` as the last lines of its configuration.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub async fn start_with(tables: &str) -> Self {
        Self::start_named("test", tables).await
    }

    /// The same under another name, for one of several that share a store.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub async fn start_named(name: &str, tables: &str) -> Self {
        let directory = TempDir::with_prefix("helix-controller-").expect("a directory");
        let configuration = format!(
            "name = \"{name}\"\n\
             state_directory = \"{}/state\"\n\
             [http]\naddress = \"127.0.0.1:0\"\n\
             [agents]\nlisten = \"127.0.0.1:0\"\n\
             {tables}\n",
            directory.path().display()
        );
        let path = directory.path().join("controller.toml");
        std::fs::write(path, configuration).expect("written");
        let process = spawn(directory.path());
        // Its own client wants one, used or not.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut controller = Self {
            process,
            directory,
            http: unknown,
            agents: unknown,
            client: reqwest::Client::new(),
        };
        controller.wait_until_it_listens().await;
        controller
    }

    /// Kills it as hard as can be.
    ///
    /// # Panics
    ///
    /// If it cannot be killed.
    pub async fn kill(&mut self) {
        self.process.kill().await.expect("killed");
        for file in ["listening", "agents"] {
            let _ = std::fs::remove_file(self.directory.path().join("state").join(file));
        }
    }

    /// Starts it again on the same directory, after it was killed; agents find it where it was.
    ///
    /// # Panics
    ///
    /// If it does not come up again.
    pub async fn start_again(&mut self) {
        let path = self.directory.path().join("controller.toml");
        let text = std::fs::read_to_string(&path).expect("its configuration");
        let text = text
            .replace(
                "[http]\naddress = \"127.0.0.1:0\"",
                &format!("[http]\naddress = \"{}\"", self.http),
            )
            .replace(
                "[agents]\nlisten = \"127.0.0.1:0\"",
                &format!("[agents]\nlisten = \"{}\"", self.agents),
            );
        std::fs::write(&path, text).expect("written");
        self.process = spawn(self.directory.path());
        self.wait_until_it_listens().await;
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Panics
    ///
    /// If it cannot be asked.
    pub async fn terminate(&mut self) -> std::process::ExitStatus {
        let pid = self.process.id().expect("it runs");
        let pid = nix::unistd::Pid::from_raw(pid.try_into().expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it runs");
        self.process.wait().await.expect("a child")
    }

    /// Its process id.
    ///
    /// # Panics
    ///
    /// If it has ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id().expect("it runs")
    }

    async fn wait_until_it_listens(&mut self) {
        let log = self.directory.path().join("controller.log");
        let process = &mut self.process;
        let state = self.directory.path().join("state");
        let (http, agents) = eventually("the controller listens", async || {
            if let Some(status) = process.try_wait().expect("a child") {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                panic!("the controller ended: {status}\n{log}");
            }
            Ok::<_, String>((
                address_in(&state.join("listening"))?,
                address_in(&state.join("agents"))?,
            ))
        })
        .await;
        (self.http, self.agents) = (http, agents);
    }

    /// Starts an agent that reports to it by a tunnel, with `slots` slots and a name.
    pub async fn agent(&self, name: &str, slots: u32) -> Agent {
        self.agent_with(name, slots, "").await
    }

    /// The same, with `tables` as the last lines of the agent's configuration.
    pub async fn agent_with(&self, name: &str, slots: u32, tables: &str) -> Agent {
        agent_by(self.agents, name, slots, tables).await
    }

    /// Where its REST API is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Where agents report.
    #[must_use]
    pub fn agents_address(&self) -> SocketAddr {
        self.agents
    }

    /// Everything of this controller: `state` and `controller.toml`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it has logged in all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.directory.path().join("controller.log"));
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    }

    /// Asks the REST API; the status and the body.
    ///
    /// # Errors
    ///
    /// It cannot be reached, or does not answer in JSON.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value), reqwest::Error> {
        let method = method.parse().expect("a method");
        let url = format!("{}/api/v1{path}", self.url());
        let mut request = self.client.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        Ok((status, response.json().await?))
    }

    /// Reads from the REST API, asking again while it cannot be reached.
    ///
    /// # Panics
    ///
    /// If it answers with anything but success.
    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = eventually("the controller answers", async || {
            match self.ask("GET", path, None).await {
                // Busy, or asked too often, which tests do.
                Ok((429 | 503, body)) => Err(body.to_string()),
                Ok(answer) => Ok(answer),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
        assert!(status < 300, "{path}: {status} {body}");
        body
    }

    /// Sends something to the REST API once.
    ///
    /// # Panics
    ///
    /// If it answers with anything but success.
    pub async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.ask("POST", path, Some(body)).await;
        let (status, body) = answer.expect("an answer");
        assert!(status < 300, "{path}: {status} {body}");
        body
    }

    /// The raw bytes of a log.
    ///
    /// # Panics
    ///
    /// If it cannot be read.
    pub async fn log_of(&self, job: &str, item: &str, attempt: usize) -> String {
        let path = format!("/jobs/{job}/items/{item}/attempts/{attempt}/log");
        let url = format!("{}/api/v1{path}", self.url());
        let response = self.client.get(url).send().await.expect("an answer");
        assert!(response.status().is_success(), "{path}: {response:?}");
        let bytes = response.bytes().await.expect("a body");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Follows the log of an attempt to its end.
    ///
    /// # Panics
    ///
    /// If it breaks off.
    pub fn follow_log(
        &self,
        job: &str,
        item: &str,
        attempt: usize,
    ) -> impl Future<Output = String> + use<> {
        let path = format!("/jobs/{job}/items/{item}/attempts/{attempt}/log?follow=true");
        let asked = self
            .client
            .get(format!("{}/api/v1{path}", self.url()))
            .send();
        async move {
            let response = asked.await.expect("an answer");
            assert!(response.status().is_success(), "{path}: {response:?}");
            let bytes = response.bytes().await.expect("all of it");
            String::from_utf8_lossy(&bytes).into_owned()
        }
    }

    /// Submits items to the queue `test` as a job of this id.
    pub async fn submit(&self, job: &str, items: Vec<Value>) -> Value {
        let request = json!({ "queue": "test", "id": job, "items": items });
        self.post("/jobs", &request).await
    }

    /// Waits for the end of a job, and gives it as it is then.
    pub async fn ended(&self, job: &str) -> Value {
        eventually_all(&format!("job `{job}` ends"), async || {
            let found = self.get(&format!("/jobs/{job}")).await;
            if found.get("ended").is_some_and(Value::is_string) {
                Ok(found)
            } else {
                Err(found["counts"].to_string())
            }
        })
        .await
    }

    /// All items of a job, each with its attempts, in the order of submission.
    ///
    /// # Panics
    ///
    /// If the answers are not as they should be.
    pub async fn items(&self, job: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut after = String::new();
        loop {
            let page = self
                .get(&format!("/jobs/{job}/items?limit=1000{after}"))
                .await;
            items.extend(page["items"].as_array().expect("a list").iter().cloned());
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return items,
            }
        }
    }

    /// Stores an archive, and gives the address that payloads have.
    ///
    /// # Panics
    ///
    /// If it is not taken.
    pub async fn upload(&self, archive: Vec<u8>) -> String {
        let digest: String = Sha256::digest(&archive)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let url = format!("{}/api/v1/payloads/{digest}", self.url());
        let response = self.client.put(url).body(archive).send().await;
        let response = response.expect("an answer");
        assert!(response.status().is_success(), "{response:?}");
        format!("payload:{digest}")
    }

    /// Runs `helix` against it.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub async fn helix(&self, arguments: &[&str]) -> Output {
        Command::new(program("helix"))
            .args(arguments)
            .env("HELIX_CONTROLLER", self.url())
            .stdin(Stdio::null())
            .output()
            .await
            .expect("helix runs")
    }
}

/// An agent that reports to a controller at an address, with `tables` as the last lines of its
/// configuration.
pub async fn agent_by(controller: SocketAddr, name: &str, slots: u32, tables: &str) -> Agent {
    let addresses = format!("address = \"http://{controller}\"");
    agent_of(&addresses, name, slots, tables).await
}

/// An agent that reports to both of two controllers.
pub async fn agent_of_both(controllers: [&Controller; 2], name: &str, slots: u32) -> Agent {
    let addresses = controllers.map(|one| format!("\"http://{}\"", one.agents));
    let addresses = format!("addresses = [{}]", addresses.join(", "));
    agent_of(&addresses, name, slots, "").await
}

async fn agent_of(addresses: &str, name: &str, slots: u32, tables: &str) -> Agent {
    let top = format!("machine_name = \"{name}\"\nslots = {slots}\nqueues = [\"test\"]\n");
    let tables = format!("[controller]\n{addresses}\n{tables}");
    Agent::start_with(&top, &tables).await
}

fn address_in(path: &PathBuf) -> Result<SocketAddr, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    text.trim()
        .parse()
        .map_err(|error| format!("{error}: {text}"))
}

fn spawn(directory: &Path) -> Child {
    let log = std::fs::File::options()
        .append(true)
        .create(true)
        .open(directory.join("controller.log"))
        .expect("a log");
    Command::new(program("helix-controller"))
        .args(["run", "--log-format", "text", "--config"])
        .arg(directory.join("controller.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("the controller starts")
}
