//! The program as a child process.

use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};

/// No test waits longer for anything.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// What a run of the program left behind.
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Output {
    /// The exit code.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Standard output as text.
    pub(crate) fn out(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// Standard output as JSON lines.
    pub(crate) fn json(&self) -> Vec<Value> {
        self.out()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The types of the JSON lines.
    pub(crate) fn types(&self) -> Vec<String> {
        let kind = |line: &Value| line["type"].as_str().unwrap().to_owned();
        self.json().iter().map(kind).collect()
    }
}

/// `helix` with `arguments` and nothing of our own environment that it reads.
pub(crate) fn helix(address: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_helix"));
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HELIX_AGENT", address.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs it to its end.
pub(crate) async fn run(address: SocketAddr, arguments: &[&str]) -> Output {
    finish(helix(address, arguments).spawn().unwrap()).await
}

/// Waits for its end.
pub(crate) async fn finish(child: Child) -> Output {
    let output = tokio::time::timeout(LIMIT, child.wait_with_output())
        .await
        .expect("the program ends")
        .unwrap();
    Output {
        status: output.status,
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
