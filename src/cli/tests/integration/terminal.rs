//! What only a terminal is shown.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use nix::pty::openpty;

use crate::agent::{FakeAgent, Move, Part, send};
use crate::events::History;
use crate::program::{LIMIT, helix};

/// Runs the program with standard error on a terminal: what the terminal got.
async fn on_a_terminal(agent: &FakeAgent, arguments: &[&str]) -> String {
    let terminal = openpty(None, None).unwrap();
    let mut reader = File::from(terminal.master);
    let reading = std::thread::spawn(move || {
        let mut seen = Vec::new();
        let mut buffer = [0; 4096];
        // Linux says EIO when the last one has closed the other side.
        while let Ok(length @ 1..) = reader.read(&mut buffer) {
            seen.extend_from_slice(&buffer[..length]);
        }
        String::from_utf8(seen).unwrap()
    });
    let mut command = helix(agent.address, arguments);
    command
        .env("TERM", "xterm-256color")
        .stderr(Stdio::from(terminal.slave));
    let mut child = command.spawn().unwrap();
    drop(command);
    let waiting = tokio::spawn(async move { child.wait().await.unwrap() });
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    agent.state.signal.send_replace(true);
    tokio::time::timeout(LIMIT, waiting).await.unwrap().unwrap();
    reading.join().unwrap()
}

fn slow() -> Part {
    let mut moves = send(History::started().error(b"working\n").passed());
    moves.insert(3, Move::AwaitSignal);
    Part::Take(moves)
}

#[tokio::test]
async fn a_terminal_sees_colour_and_a_clock_that_runs() {
    let agent = FakeAgent::start([slow()]).await;
    let seen = on_a_terminal(&agent, &["run", "--", "true"]).await;
    assert!(seen.contains("\x1b[32;1mpassed\x1b[0m"), "{seen:?}");
    assert!(seen.contains("running 0:01"), "{seen:?}");
    assert!(
        !seen.contains("started as process"),
        "the clock says it already: {seen:?}"
    );
}

#[tokio::test]
async fn who_wants_no_colour_gets_plain_lines() {
    let agent = FakeAgent::start([slow()]).await;
    let seen = on_a_terminal(&agent, &["run", "--color", "never", "--", "true"]).await;
    assert!(!seen.contains('\x1b'), "{seen:?}");
    assert!(seen.contains("helix: started as process 4711"), "{seen:?}");
}
