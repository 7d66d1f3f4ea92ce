//! `helix up`: a real agent inside the program.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::program::{LIMIT, Output, finish, helix, run};

/// An agent of `helix up` with a directory of its own.
struct Up {
    child: Child,
    address: SocketAddr,
    directory: tempfile::TempDir,
}

impl Up {
    async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    async fn start_in(directory: tempfile::TempDir) -> Self {
        let mut child = command(directory.path()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(LIMIT, lines.next_line())
            .await
            .unwrap()
            .unwrap();
        let line: Value = serde_json::from_str(&line.expect("it is up")).unwrap();
        assert_eq!(line["type"], "up");
        let address = line["address"]
            .as_str()
            .unwrap()
            .strip_prefix("http://")
            .unwrap();
        Self {
            child,
            address: address.parse().unwrap(),
            directory,
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().expect("it runs")).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    async fn ends(self) -> (Output, tempfile::TempDir) {
        (finish(self.child).await, self.directory)
    }
}

fn command(directory: &Path) -> Command {
    let mut command = helix(SocketAddr::from(([127, 0, 0, 1], 1)), &["up", "--json"]);
    command
        .args(["--listen", "127.0.0.1:0", "--agent-listen", "127.0.0.1:0"])
        .args(["--slots", "2", "--directory"])
        .arg(directory);
    command
}

#[tokio::test]
async fn a_command_runs_and_its_results_are_read() {
    let up = Up::start().await;
    let script = "echo out; echo err >&2; \
                  echo '<testsuite><testcase name=\"a\" classname=\"b\"/></testsuite>' \
                      >testResults.xml; exit 3";
    let output = run(up.address, &["run", "--shell", script]).await;
    assert_eq!(output.code(), Some(3), "{}", output.stderr);
    assert_eq!(output.out(), "out\n");
    assert!(output.stderr.contains("err\n"), "{}", output.stderr);
    assert!(
        output.stderr.contains("1 test: 1 passed"),
        "{}",
        output.stderr
    );

    let output = run(up.address, &["ps", "--all", "--json"]).await;
    assert_eq!(output.json()[0]["verdict"]["kind"], "failed");
    let attempt = output.json()[0]["attempt_id"].as_str().unwrap().to_owned();
    let output = run(up.address, &["logs", &attempt]).await;
    assert_eq!(output.out(), "out\n");

    up.signal(Signal::SIGTERM);
    let (output, _) = up.ends().await;
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
}

#[tokio::test]
async fn a_directory_becomes_the_payload() {
    let up = Up::start().await;
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("say.txt"), "from the payload\n").unwrap();
    let source = files.path().to_str().unwrap();
    let output = run(
        up.address,
        &["run", "--payload", source, "--", "cat", "say.txt"],
    )
    .await;
    assert_eq!(
        (output.code(), output.out()),
        (Some(0), "from the payload\n"),
        "{}",
        output.stderr
    );
}

#[tokio::test]
async fn ctrl_c_at_the_client_ends_the_command() {
    let up = Up::start().await;
    let mut child = helix(up.address, &["run", "--shell", "echo x; exec sleep 600"])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    tokio::time::timeout(LIMIT, lines.next_line())
        .await
        .unwrap()
        .unwrap();
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
    let output = finish(child).await;
    assert_eq!(output.code(), Some(130), "{}", output.stderr);
    let output = run(up.address, &["ps", "--json"]).await;
    assert_eq!(output.out(), "", "nothing runs any more");
}

#[tokio::test]
async fn the_first_signal_waits_for_what_runs() {
    let up = Up::start().await;
    let marker = up.directory.path().join("go");
    let script = format!(
        "echo x; until [ -e {} ]; do sleep 0.05; done",
        marker.display()
    );
    let mut child = helix(up.address, &["run", "--shell", &script])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    tokio::time::timeout(LIMIT, lines.next_line())
        .await
        .unwrap()
        .unwrap();
    up.signal(Signal::SIGINT);
    // Once it refuses for that, the signal has arrived. A machine that is hard pressed refuses too.
    let began = Instant::now();
    loop {
        let output = run(up.address, &["run", "--patience", "0s", "--", "true"]).await;
        if output.stderr.contains("DRAINING") {
            assert_eq!(output.code(), Some(75), "{}", output.stderr);
            break;
        }
        assert!(matches!(output.code(), Some(0 | 75)), "{}", output.stderr);
        assert!(began.elapsed() < LIMIT, "{}", output.stderr);
    }
    std::fs::write(&marker, "").unwrap();
    assert_eq!(finish(child).await.code(), Some(0));
    let (output, _) = up.ends().await;
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
}

#[tokio::test]
async fn the_second_signal_leaves_and_the_next_life_takes_up_what_runs() {
    let up = Up::start().await;
    let marker = up.directory.path().join("go");
    let script = format!(
        "echo before; until [ -e {} ]; do sleep 0.05; done; echo after",
        marker.display()
    );
    let mut child = helix(up.address, &["run", "--patience", "0s", "--shell", &script])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    tokio::time::timeout(LIMIT, lines.next_line())
        .await
        .unwrap()
        .unwrap();
    let output = run(up.address, &["ps", "--json"]).await;
    let attempt = output.json()[0]["attempt_id"].as_str().unwrap().to_owned();
    up.signal(Signal::SIGINT);
    while run(up.address, &["run", "--", "true"]).await.code() != Some(75) {}
    up.signal(Signal::SIGINT);
    let (output, directory) = up.ends().await;
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    finish(child).await;

    let up = Up::start_in(directory).await;
    std::fs::write(&marker, "").unwrap();
    let output = run(up.address, &["attach", &attempt]).await;
    assert_eq!(
        (output.code(), output.out()),
        (Some(0), "before\nafter\n"),
        "{}",
        output.stderr
    );
    up.signal(Signal::SIGTERM);
    assert_eq!(up.ends().await.0.code(), Some(0));
}

#[tokio::test]
async fn two_systems_do_not_share_a_directory_or_a_port() {
    let up = Up::start().await;
    let output = finish(command(up.directory.path()).spawn().unwrap()).await;
    assert_eq!(output.code(), Some(70), "{}", output.stderr);
    assert!(
        output.stderr.contains("hint: `helix jobs` asks it"),
        "{}",
        output.stderr
    );

    let other = tempfile::tempdir().unwrap();
    let other = other.path().to_str().unwrap();
    let port = up.address.to_string();
    let arguments = ["--listen", &port, "--agent-listen", "127.0.0.1:0"];
    let arguments = [&["up", "--directory", other], &arguments[..]].concat();
    let output = run(up.address, &arguments).await;
    assert_eq!(output.code(), Some(70), "{}", output.stderr);
    assert!(
        output.stderr.contains("does another controller run?"),
        "{}",
        output.stderr
    );
    let arguments = ["--listen", "127.0.0.1:0", "--agent-listen", &port];
    let arguments = [&["up", "--directory", other], &arguments[..]].concat();
    let output = run(up.address, &arguments).await;
    assert_eq!(output.code(), Some(70), "{}", output.stderr);
    assert!(
        output.stderr.contains("does another agent run?"),
        "{}",
        output.stderr
    );
}

#[tokio::test]
async fn nobody_else_can_reach_it() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let output = run(nowhere, &["up", "--listen", "0.0.0.0:0"]).await;
    assert_eq!(output.code(), Some(64), "{}", output.stderr);
}

#[tokio::test]
async fn the_demonstration_goes_as_it_is_meant_to() {
    let mut command = helix(SocketAddr::from(([127, 0, 0, 1], 1)), &["up", "--demo"]);
    for name in ["HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    let temporary = tempfile::tempdir().unwrap();
    command.env("TMPDIR", temporary.path());
    let limit = std::time::Duration::from_secs(120);
    let output = tokio::time::timeout(limit, command.output())
        .await
        .expect("in time")
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stdout}\n{stderr}");
    assert_eq!(stderr, "");
    assert!(!stdout.contains('\x1b'), "{stdout}");
    assert_eq!(
        std::fs::read_dir(temporary.path()).unwrap().count(),
        0,
        "nothing is left"
    );
    for expected in [
        "requeued at the end of the queue",
        "no agent has `quantum-processor >=2` in any version",
        "nobody can run it",
        "passed on retry",
    ] {
        assert!(stdout.contains(expected), "{expected:?} is not in {stdout}");
    }
}
