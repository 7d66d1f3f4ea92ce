//! The agent dies, the work does not.

use std::time::Duration;

use helix_proto::agent::v1::attempt_event::Kind;
use helix_proto::agent::v1::{
    AcknowledgeRequest, DrainRequest, EndingKind, ListAttemptsRequest, ResumeRequest,
};
use helix_tests::agent::{Agent, until};
use helix_tests::item::{limited, shell};
use helix_tests::stream::Seen;
use tonic::Code;

#[tokio::test]
async fn killed_agent_comes_back_and_misses_no_byte() {
    let mut agent = Agent::start().await;
    let item = shell("i=0; while [ $i -lt 40 ]; do echo line $i; i=$((i+1)); sleep 0.05; done");
    let attempt_id = item.attempt_id.clone();
    let mut stream = agent.offer(item).await.expect("taken");
    let mut seen = Seen::default();
    until(&mut stream, &mut seen, |seen, _| seen.stdout.len() > 40).await;
    agent.kill_and_start_again().await;
    let last = seen.events.last().map_or(0, |event| event.number);
    let rest = agent.attach(&attempt_id, last, seen.console_end).await;
    let whole = [seen.stdout, rest.stdout.clone()].concat();
    let expected: String = (0..40).map(|i| format!("line {i}\n")).collect();
    assert_eq!(String::from_utf8_lossy(&whole), expected);
    assert_eq!(rest.finished().helix_exit_code, 0);
    // The history reads the same from the start, for whoever comes later.
    let all = agent.attach(&attempt_id, 0, 0).await;
    assert_eq!(String::from_utf8_lossy(&all.stdout), expected);
}

#[tokio::test]
async fn exit_that_nobody_watched_is_known_after_the_restart() {
    let mut agent = Agent::start().await;
    let marker = agent.directory().join("ended");
    let item = shell(&format!(
        "echo ready; sleep 0.5; touch {}; exit 7",
        marker.display()
    ));
    let attempt_id = item.attempt_id.clone();
    let mut stream = agent.offer(item).await.expect("taken");
    let mut seen = Seen::default();
    until(&mut stream, &mut seen, |seen, _| seen.stdout == b"ready\n").await;
    agent.kill_while(async || marker.exists()).await;
    let rest = agent.attach(&attempt_id, 0, 0).await;
    assert_eq!(rest.finished().helix_exit_code, 7);
}

#[tokio::test]
async fn timeouts_fire_while_no_agent_is_there() {
    let mut agent = Agent::start().await;
    let wall = Some(Duration::from_millis(600));
    let item = limited(shell("echo ready; sleep 600"), wall, None, Duration::ZERO);
    let attempt_id = item.attempt_id.clone();
    let mut stream = agent.offer(item).await.expect("taken");
    let mut seen = Seen::default();
    until(&mut stream, &mut seen, |seen, _| seen.stdout == b"ready\n").await;
    agent.kill_and_start_again().await;
    let rest = agent.attach(&attempt_id, 0, 0).await;
    let ending = rest.verdict().ending.clone().expect("it ran");
    assert_eq!(ending.kind(), EndingKind::WallTimeout);
}

#[tokio::test]
async fn adopted_item_still_holds_its_slot_and_can_be_cancelled() {
    let mut agent = Agent::start_with("slots = 1\n", "").await;
    let item = shell("echo ready; sleep 600");
    let attempt_id = item.attempt_id.clone();
    let mut stream = agent.offer(item).await.expect("taken");
    let mut seen = Seen::default();
    until(&mut stream, &mut seen, |seen, _| seen.stdout == b"ready\n").await;
    agent.kill_and_start_again().await;
    assert_eq!(agent.capacity().await.free.expect("set").slots, 0);
    assert_eq!(
        agent.refusal(shell("true")).await.code(),
        Code::ResourceExhausted
    );
    let cancel = helix_proto::agent::v1::CancelRequest {
        attempt_id: attempt_id.clone(),
        grace: Some(prost_types::Duration::default()),
        reason: String::new(),
    };
    agent.client().await.cancel(cancel).await.expect("noted");
    let rest = agent.attach(&attempt_id, 0, 0).await;
    assert_eq!(rest.verdict().reason, "REQUESTED");
}

#[tokio::test]
async fn attempt_is_never_run_twice_not_even_after_a_restart() {
    let mut agent = Agent::start().await;
    let item = shell("true");
    agent.run(item.clone()).await;
    assert_eq!(
        agent.refusal(item.clone()).await.code(),
        Code::AlreadyExists
    );
    agent.kill_and_start_again().await;
    assert_eq!(agent.refusal(item).await.code(), Code::AlreadyExists);
}

#[tokio::test]
async fn drain_lasts_over_a_restart_until_resumed() {
    let mut agent = Agent::start().await;
    let drain = DrainRequest {
        reason: "a test".to_owned(),
    };
    agent.client().await.drain(drain).await.expect("drained");
    assert_eq!(agent.refusal(shell("true")).await.code(), Code::Unavailable);
    agent.kill_and_start_again().await;
    assert_eq!(agent.refusal(shell("true")).await.code(), Code::Unavailable);
    let answer = agent
        .client()
        .await
        .resume(ResumeRequest {})
        .await
        .expect("resumed");
    assert!(answer.into_inner().ready);
    assert_eq!(agent.run(shell("true")).await.finished().helix_exit_code, 0);
}

#[tokio::test]
async fn sigterm_waits_for_what_runs_and_then_ends_the_agent() {
    let mut agent = Agent::start().await;
    let mut stream = agent
        .offer(shell("echo ready; sleep 0.7; echo end"))
        .await
        .expect("taken");
    let mut seen = Seen::default();
    until(&mut stream, &mut seen, |seen, _| seen.stdout == b"ready\n").await;
    agent.signal(nix::sys::signal::Signal::SIGTERM);
    while let Some(response) = stream.message().await.expect("unbroken") {
        seen.take(response.event.expect("an event"));
    }
    assert_eq!(seen.stdout, b"ready\nend\n");
    assert_eq!(seen.finished().helix_exit_code, 0);
    assert!(agent.ended().await.success());
}

#[tokio::test]
async fn acknowledged_attempts_are_marked_and_running_ones_cannot_be() {
    let agent = Agent::start().await;
    let item = shell("echo ready; read -r _ < fifo_that_is_not_there; sleep 0.5");
    let attempt_id = item.attempt_id.clone();
    let mut stream = agent.offer(item).await.expect("taken");
    let acknowledge = AcknowledgeRequest {
        attempt_id: attempt_id.clone(),
    };
    let early = agent.client().await.acknowledge(acknowledge.clone()).await;
    assert_eq!(early.expect_err("it runs").code(), Code::FailedPrecondition);
    while stream.message().await.expect("unbroken").is_some() {}
    agent
        .client()
        .await
        .acknowledge(acknowledge)
        .await
        .expect("it has ended");
    let list = ListAttemptsRequest {
        running_only: false,
        page_size: 10,
        page_token: String::new(),
    };
    let rows = agent
        .client()
        .await
        .list_attempts(list)
        .await
        .expect("a list")
        .into_inner();
    assert_eq!(rows.attempts.len(), 1);
    assert!(rows.attempts[0].acknowledged);
    assert!(matches!(
        rows.attempts[0]
            .terminal_event
            .as_ref()
            .and_then(|event| event.kind.as_ref()),
        Some(Kind::Finished(_))
    ));
}
