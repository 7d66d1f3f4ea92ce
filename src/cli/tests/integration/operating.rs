//! The commands of operators, and looking at what others started.

use helix_proto::agent::v1::{
    AgentInfo, AgentState, AttemptState, AttemptSummary, Capacity, Resources, RunningAttempt,
};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::agent::{FakeAgent, Move, send};
use crate::events::History;
use crate::program::{LIMIT, finish, helix, run};

fn summary(id: &str, state: AttemptState, console_bytes: u64) -> AttemptSummary {
    let ended = state == AttemptState::Ended;
    AttemptSummary {
        attempt: Some(RunningAttempt {
            attempt_id: id.to_owned(),
            friendly_name: "tests".to_owned(),
            state: state.into(),
            ..RunningAttempt::default()
        }),
        ended: ended.then(prost_types::Timestamp::default),
        console_bytes,
        ..AttemptSummary::default()
    }
}

#[tokio::test]
async fn attempts_are_listed_over_all_pages() {
    let agent = FakeAgent::start([]).await;
    *agent.state.summaries.lock().unwrap() = vec![
        summary("c.1", AttemptState::Running, 10),
        summary("b.1", AttemptState::Ended, 2048),
        summary("a.1", AttemptState::Preparing, 0),
    ];
    let output = run(agent.address, &["ps"]).await;
    assert_eq!(output.code(), Some(0));
    insta::assert_snapshot!(output.out(), @r"
    ATTEMPT  NAME   STATE      AGE  TOOK  OUTPUT
    c.1      tests  running               10 B
    a.1      tests  preparing             0 B
    ");
    let output = run(agent.address, &["ps", "--all", "--limit", "2", "--json"]).await;
    let ids: Vec<_> = output
        .json()
        .iter()
        .map(|row| row["attempt_id"].clone())
        .collect();
    assert_eq!(ids, ["c.1", "b.1"]);
}

#[tokio::test]
async fn nothing_running_is_no_error_and_no_data() {
    let agent = FakeAgent::start([]).await;
    let output = run(agent.address, &["ps"]).await;
    assert_eq!((output.code(), output.out()), (Some(0), ""));
    assert_eq!(output.stderr, "helix: no attempts running\n");
}

fn capacity(free: u32) -> Capacity {
    Capacity {
        agent: Some(AgentInfo {
            machine: "build-7".to_owned(),
            ..AgentInfo::default()
        }),
        state: AgentState::Ready.into(),
        total: Some(Resources {
            slots: 2,
            ..Resources::default()
        }),
        free: Some(Resources {
            slots: free,
            ..Resources::default()
        }),
        ..Capacity::default()
    }
}

#[tokio::test]
async fn capacity_is_a_page_or_a_line() {
    let agent = FakeAgent::start([]).await;
    agent.state.capacity.send_replace(capacity(1));
    let output = run(agent.address, &["capacity"]).await;
    assert!(
        output.out().starts_with("build-7\n  state      ready\n"),
        "{}",
        output.out()
    );
    let output = run(agent.address, &["capacity", "--json"]).await;
    assert_eq!(output.json()[0]["free"]["slots"], 1);
}

#[tokio::test]
async fn watching_shows_each_change_and_ends_with_its_reader() {
    let agent = FakeAgent::start([]).await;
    agent.state.capacity.send_replace(capacity(2));
    let mut child = helix(agent.address, &["capacity", "--watch", "--json"])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for free in [2, 1, 0] {
        agent.state.capacity.send_replace(capacity(free));
        loop {
            let line = tokio::time::timeout(LIMIT, lines.next_line())
                .await
                .unwrap()
                .unwrap();
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            if line["free"]["slots"] == free {
                break;
            }
        }
    }
    drop(lines);
    agent.state.capacity.send_replace(capacity(1));
    agent.state.capacity.send_replace(capacity(2));
    assert_eq!(finish(child).await.code(), Some(0));
}

#[tokio::test]
async fn drain_resume_and_cancel_say_what_came_of_it() {
    let agent = FakeAgent::start([]).await;
    agent.add_attempt("a.1", vec![]);
    let output = run(agent.address, &["drain", "--reason", "update"]).await;
    assert_eq!(output.out(), "draining; 3 attempts still running\n");
    assert_eq!(*agent.state.drains.lock().unwrap(), ["update"]);
    let output = run(agent.address, &["resume"]).await;
    assert_eq!(
        output.out(),
        "resumed, but not ready; `helix capacity` says why\n"
    );
    let output = run(agent.address, &["cancel", "a.1", "--grace", "1m"]).await;
    assert_eq!(output.out(), "a.1 is asked to end\n");
    assert_eq!(agent.cancels()[0].grace.unwrap().seconds, 60);
    let output = run(agent.address, &["cancel", "b.1"]).await;
    assert_eq!(output.code(), Some(66), "{}", output.stderr);
    assert!(
        output.stderr.starts_with("helix: cannot cancel `b.1`\n"),
        "{}",
        output.stderr
    );
}

#[tokio::test]
async fn attaching_begins_where_it_is_told() {
    let agent = FakeAgent::start([]).await;
    let history = History::started()
        .out(b"0123456789")
        .error(b"abc\n")
        .passed();
    agent.add_attempt("a.1", send(history));
    let output = run(agent.address, &["attach", "a.1", "--from", "6"]).await;
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    assert_eq!(output.out(), "6789");
    assert!(output.stderr.contains("abc\n"), "{}", output.stderr);
    assert_eq!(agent.attaches()[0].console_offset, 6);
}

#[tokio::test]
async fn logs_of_a_running_attempt_end_where_its_console_ends_now() {
    let agent = FakeAgent::start([]).await;
    let mut moves = send(History::started().out(b"now\n").out(b"later\n").passed());
    moves.insert(3, Move::AwaitSignal);
    agent.add_attempt("a.1", moves);
    *agent.state.summaries.lock().unwrap() = vec![summary("a.1", AttemptState::Running, 4)];
    let output = run(agent.address, &["logs", "a.1"]).await;
    assert_eq!(
        (output.code(), output.out()),
        (Some(0), "now\n"),
        "{}",
        output.stderr
    );
    assert_eq!(output.stderr, "");

    agent.state.signal.send_replace(true);
    let output = run(agent.address, &["logs", "--follow", "a.1"]).await;
    assert_eq!(
        (output.code(), output.out()),
        (Some(0), "now\nlater\n"),
        "{}",
        output.stderr
    );
}
