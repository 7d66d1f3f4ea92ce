//! Connections that break, and agents that do not come back.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use helix_proto::agent::v1::VerdictKind;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tonic::Code;

use crate::agent::{FakeAgent, Manners, Move, Part, send};
use crate::events::History;
use crate::program::{LIMIT, finish, helix, run};

/// A history with a break of each kind in it.
fn broken() -> Vec<Move> {
    let history = History::started()
        .out(b"one ")
        .out(b"two ")
        .out(b"three\n")
        .exited(7)
        .finished(VerdictKind::Failed, "exit code 7", 7);
    let mut moves = send(history);
    moves.insert(6, Move::Break(Code::Internal));
    moves.insert(4, Move::End);
    moves.insert(3, Move::Break(Code::Unavailable));
    moves
}

#[tokio::test]
async fn a_broken_stream_goes_on_where_it_broke() {
    let agent = FakeAgent::start([Part::Take(broken())]).await;
    let output = run(agent.address, &["run", "--", "true"]).await;
    assert_eq!(output.code(), Some(7), "{}", output.stderr);
    assert_eq!(output.out(), "one two three\n");
    let places: Vec<_> = agent
        .attaches()
        .iter()
        .map(|request| (request.after_event, request.console_offset))
        .collect();
    assert_eq!(places, [(2, 4), (2, 8), (3, 14)]);
    assert_eq!(agent.offers().len(), 1, "it was offered again");
    let times = |what: &str| output.stderr.matches(what).count();
    assert_eq!(times("lost the agent"), 3, "{}", output.stderr);
    assert_eq!(times("the agent is back"), 3, "{}", output.stderr);
    assert_eq!(times("accepted by"), 1, "{}", output.stderr);
}

#[tokio::test]
async fn nothing_is_shown_twice_even_if_it_is_sent_twice() {
    let agent = FakeAgent::start_with([Part::Take(broken())], Manners::Sloppy, None).await;
    let output = run(agent.address, &["run", "--", "true"]).await;
    assert_eq!(output.out(), "one two three\n");
    assert_eq!(
        output.stderr.matches("accepted by").count(),
        1,
        "{}",
        output.stderr
    );
}

#[tokio::test]
async fn an_item_that_was_taken_unheard_is_attached_to_and_not_run_twice() {
    let moves = send(History::started().out(b"once\n").passed());
    let agent = FakeAgent::start([Part::TakeUnheard(moves)]).await;
    let output = run(agent.address, &["run", "--", "true"]).await;
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    assert_eq!(output.out(), "once\n");
    assert_eq!((agent.offers().len(), agent.attaches().len()), (2, 1));
}

/// Connections to `target` that can be cut like a cable.
struct Cable {
    address: SocketAddr,
    connections: Arc<Mutex<JoinSet<()>>>,
}

impl Cable {
    async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let shared = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut far = TcpStream::connect(target).await.unwrap();
                shared.lock().unwrap().spawn(async move {
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self {
            address,
            connections,
        }
    }

    fn cut(&self) {
        self.connections.lock().unwrap().abort_all();
    }
}

#[tokio::test]
async fn a_cut_cable_costs_no_byte() {
    let mut moves = send(History::started().out(b"before\n").out(b"after\n").passed());
    moves.insert(3, Move::AwaitSignal);
    let agent = FakeAgent::start([Part::Take(moves)]).await;
    let cable = Cable::to(agent.address).await;
    let mut child = helix(cable.address, &["run", "--", "true"])
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 7];
    tokio::time::timeout(LIMIT, stdout.read_exact(&mut first))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&first, b"before\n");
    cable.cut();
    agent.state.signal.send_replace(true);
    let mut rest = String::new();
    tokio::time::timeout(LIMIT, stdout.read_to_string(&mut rest))
        .await
        .unwrap()
        .unwrap();
    let output = finish(child).await;
    assert_eq!(
        (output.code(), rest.as_str()),
        (Some(0), "after\n"),
        "{}",
        output.stderr
    );
    assert!(
        output.stderr.contains("lost the agent"),
        "{}",
        output.stderr
    );
}

#[tokio::test]
async fn patience_ends_and_says_how_to_go_on() {
    let mut moves = send(History::started().out(b"12345").unfinished());
    moves.extend(std::iter::repeat_n(Move::Break(Code::Unavailable), 200));
    let agent = FakeAgent::start([Part::Take(moves)]).await;
    let output = run(agent.address, &["run", "--patience", "1s", "--", "true"]).await;
    assert_eq!(output.code(), Some(69));
    let hint = format!(
        "`helix attach {} --from 5` continues here",
        agent.offers()[0].attempt_id
    );
    assert!(output.stderr.contains(&hint), "{}", output.stderr);
    assert!(
        output.stderr.contains("did not get back within 1 s"),
        "{}",
        output.stderr
    );
}

#[tokio::test]
async fn an_attempt_that_the_agent_forgot_is_not_waited_for() {
    let agent = FakeAgent::start([]).await;
    let before = std::time::Instant::now();
    let output = run(agent.address, &["attach", "nobody.1"]).await;
    assert_eq!(output.code(), Some(66), "{}", output.stderr);
    assert!(
        output.stderr.contains("`helix ps --all` lists"),
        "{}",
        output.stderr
    );
    assert!(before.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn nobody_at_the_address_is_told_at_once() {
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let output = run(free, &["run", "--", "true"]).await;
    assert_eq!(output.code(), Some(69));
    let stderr = output.stderr.replace(&free.port().to_string(), "PORT");
    insta::assert_snapshot!(stderr, @r"
    helix: cannot reach the agent at `http://127.0.0.1:PORT`
      cause: tcp connect error
      cause: Connection refused (os error 111)
      hint: `helix up` starts an agent on this machine; `--agent` or HELIX_AGENT names another one
    ");
}
