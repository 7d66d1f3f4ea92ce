//! Ctrl-C.

use helix_proto::agent::v1::VerdictKind;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Child;
use tonic::Code;

use crate::agent::{FakeAgent, Move, Part, send};
use crate::events::{History, refusal};
use crate::program::{LIMIT, finish, helix};

fn interrupt(child: &Child) {
    let pid = i32::try_from(child.id().expect("it runs")).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
}

/// Waits until the program has shown what the attempt wrote, so that it follows.
async fn wait_for_output(child: &mut Child) {
    let stdout = child.stdout.as_mut().unwrap();
    let mut byte = [0];
    tokio::time::timeout(LIMIT, stdout.read_exact(&mut byte))
        .await
        .unwrap()
        .unwrap();
}

async fn wait_for_cancels(agent: &FakeAgent, number: usize) {
    let mut cancels = agent.state.cancels.subscribe();
    let enough = cancels.wait_for(|cancels| cancels.len() >= number);
    tokio::time::timeout(LIMIT, enough)
        .await
        .expect("it is cancelled")
        .unwrap();
}

fn cancelled(after: usize) -> Vec<Move> {
    let history =
        History::started()
            .out(b"x")
            .exited(143)
            .finished(VerdictKind::Cancelled, "cancelled", 143);
    let mut moves = send(history);
    moves.insert(3, Move::AwaitCancel(after));
    moves
}

#[tokio::test]
async fn the_first_cancels_and_the_second_kills() {
    let agent = FakeAgent::start([Part::Take(cancelled(2))]).await;
    let mut child = helix(agent.address, &["run", "--", "true"])
        .spawn()
        .unwrap();
    wait_for_output(&mut child).await;
    interrupt(&child);
    wait_for_cancels(&agent, 1).await;
    interrupt(&child);
    let output = finish(child).await;
    assert_eq!(output.code(), Some(130), "{}", output.stderr);
    let cancels = agent.cancels();
    assert_eq!(cancels[0].grace, None, "the work item's own grace");
    assert_eq!(
        cancels[1].grace,
        Some(prost_types::Duration {
            seconds: 0,
            nanos: 0
        })
    );
    assert_eq!(cancels[0].attempt_id, agent.offers()[0].attempt_id);
    assert!(
        output.stderr.contains("helix: cancelled (2 s)"),
        "{}",
        output.stderr
    );
}

#[tokio::test]
async fn the_third_leaves_even_if_nobody_reads_our_output() {
    let mut history = History::started();
    for _ in 0..200 {
        history = history.out(&[b'x'; 4096]);
    }
    let agent = FakeAgent::start([Part::Take(send(history.unfinished()))]).await;
    let mut child = helix(agent.address, &["run", "--", "true"])
        .spawn()
        .unwrap();
    wait_for_output(&mut child).await;
    // The pipe is full by now, or soon, and the program hangs in its write.
    interrupt(&child);
    wait_for_cancels(&agent, 1).await;
    interrupt(&child);
    wait_for_cancels(&agent, 2).await;
    interrupt(&child);
    let status = tokio::time::timeout(LIMIT, child.wait())
        .await
        .expect("it leaves")
        .unwrap();
    assert_eq!(status.code(), Some(130));
}

#[tokio::test]
async fn while_waiting_there_is_nothing_to_cancel() {
    let full = refusal(
        Code::ResourceExhausted,
        "SLOTS_FULL",
        "All slots are taken.",
        Some(LIMIT),
    );
    let agent = FakeAgent::start([Part::Refuse(full)]).await;
    let mut child = helix(agent.address, &["run", "--wait", "1h", "--", "true"])
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    tokio::time::timeout(LIMIT, stderr.read_line(&mut line))
        .await
        .unwrap()
        .unwrap();
    assert!(line.contains("refused for now"), "{line}");
    interrupt(&child);
    let output = finish(child).await;
    assert_eq!(output.code(), Some(130));
    assert_eq!(agent.cancels(), []);
}

#[tokio::test]
async fn who_only_follows_cancels_nothing() {
    let agent = FakeAgent::start([]).await;
    agent.add_attempt("a.1", cancelled(1));
    let mut child = helix(agent.address, &["attach", "a.1"]).spawn().unwrap();
    wait_for_output(&mut child).await;
    interrupt(&child);
    let output = finish(child).await;
    assert_eq!(output.code(), Some(130));
    assert!(
        output.stderr.contains("left `a.1` alone; it goes on"),
        "{}",
        output.stderr
    );
    assert_eq!(agent.cancels(), []);
}
