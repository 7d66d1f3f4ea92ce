//! The conversation with a launcher that is made up for the test.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use helix_exec::Directories;
use helix_exec::frame::{Decoder, MAX_LAUNCHER_FRAME, encode};
use helix_exec::launcher::{Isolation, Measure, Refusal, Reply, Request};
use helix_exec::ownership::Transferred;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::*;

const SOON: Duration = Duration::from_secs(10);

fn isolation(in_force: &[Measure]) -> Isolation {
    Isolation {
        slots: Some(2),
        in_force: in_force.to_vec(),
        missing: Vec::new(),
    }
}

/// One connection to the launcher of the test.
struct Client {
    stream: UnixStream,
    decoder: Decoder,
}

impl Client {
    /// Takes the next connection, and describes itself on it.
    async fn accept(listener: &UnixListener, isolation: Isolation) -> Self {
        let (stream, _) = listener.accept().await.expect("a connection");
        let decoder = Decoder::new(MAX_LAUNCHER_FRAME);
        let mut client = Self { stream, decoder };
        let Request::Describe { number } = client.request().await else {
            panic!("it asks for something else first");
        };
        client.reply(&Reply::Described { number, isolation }).await;
        client
    }

    async fn request(&mut self) -> Request {
        loop {
            if let Some(request) = self.decoder.next_message().expect("a request") {
                return request;
            }
            let mut buffer = [0; 4096];
            let count = self.stream.read(&mut buffer).await.expect("bytes");
            assert!(count > 0, "the connection closed");
            self.decoder.feed(&buffer[..count]);
        }
    }

    async fn reply(&mut self, reply: &Reply) {
        let bytes = encode(reply, MAX_LAUNCHER_FRAME).expect("a frame");
        self.stream.write_all(&bytes).await.expect("written");
    }
}

fn start(socket: &Path, required: &[Measure]) -> Launcher {
    Launcher::start(Place::Service(socket.to_owned()), required.to_vec())
}

async fn until_known(launcher: &Launcher, expected: &Isolation) {
    let expected = Standing::Known(Arc::new(expected.clone()));
    let mut standing = launcher.subscribe();
    let heard = standing.wait_for(|standing| *standing == expected);
    let heard = tokio::time::timeout(SOON, heard).await;
    heard.expect("in time").expect("the task lives");
}

fn directories() -> Directories {
    Directories {
        parent: "/work/a".into(),
        names: vec!["e".into()],
        temporary: None,
    }
}

#[tokio::test]
async fn launcher_that_comes_late_or_back_is_found_without_anybody_asking() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("socket");
    let launcher = start(&socket, &[]);
    launcher.first_word(SOON).await;
    let Standing::Unknown { why } = launcher.standing() else {
        panic!("nobody is there");
    };
    assert!(why.contains("socket` (No such file"), "{why}");

    let listener = UnixListener::bind(&socket).expect("bound");
    let first = isolation(&[Measure::User]);
    let client = Client::accept(&listener, first.clone()).await;
    until_known(&launcher, &first).await;

    drop(client);
    let second = isolation(&[Measure::User, Measure::Tree]);
    let _client = Client::accept(&listener, second.clone()).await;
    until_known(&launcher, &second).await;
}

#[tokio::test]
async fn nothing_is_launched_by_one_that_isolates_less_than_is_required() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket).expect("bound");
    let launcher = start(&socket, &[Measure::User]);
    let good = isolation(&[Measure::User]);
    let client = Client::accept(&listener, good.clone()).await;
    until_known(&launcher, &good).await;

    // Another one takes its place at the very moment that something is launched.
    drop(client);
    let other = tokio::spawn(async move { Client::accept(&listener, isolation(&[])).await });
    let request = LaunchRequest {
        command: vec!["/bin/true".into()],
        environment: Vec::new(),
        working_directory: "/work/a/e".into(),
        spool: "/spool".into(),
        umask: 0o022,
        limits: helix_exec::Limits {
            wall: None,
            silence: None,
            grace: Duration::ZERO,
            output_bytes: None,
        },
        streams: helix_exec::OutputStreams::Merged,
        spool_limits: helix_exec::spool::SpoolLimits::default(),
        needles: helix_exec::Needles::default(),
        directories: None,
        resources: helix_exec::ResourceLimits::default(),
        network: helix_exec::Network::default(),
    };
    // The first may be told of it before it is noticed to be gone; it starts nothing.
    let error = loop {
        match launcher.launch(request.clone()).await {
            Err(LaunchError::Lost) => {}
            Err(error) => break error,
            Ok(_) => panic!("it was launched"),
        }
    };
    assert!(
        matches!(&error, LaunchError::NotIsolated { missing } if missing.starts_with("user (")),
        "{error:?}"
    );
    drop(other.await.expect("it was asked"));
}

#[tokio::test]
async fn answers_reach_those_who_asked_in_whatever_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket).expect("bound");
    let launcher = start(&socket, &[]);
    let mut client = Client::accept(&listener, isolation(&[])).await;

    let asked = [launcher.clone(), launcher.clone(), launcher.clone()]
        .map(|launcher| tokio::spawn(async move { launcher.reclaim(directories()).await }));
    let mut numbers = Vec::new();
    for _ in &asked {
        let Request::Reclaim {
            number,
            directories: wanted,
        } = client.request().await
        else {
            panic!("it asks for something else");
        };
        assert_eq!(wanted, directories());
        numbers.push(number);
    }
    let transferred = Transferred {
        changed: 7,
        ..Transferred::default()
    };
    let refusal = Refusal::Full {
        running: 1,
        limit: 1,
    };
    let refused = Reply::Refused {
        number: numbers[2],
        refusal: refusal.clone(),
    };
    client.reply(&refused).await;
    let reclaimed = Reply::Reclaimed {
        number: numbers[0],
        transferred: transferred.clone(),
    };
    client.reply(&reclaimed).await;
    // The one that is left hears that nobody knows.
    drop(client);
    let mut answers = Vec::new();
    for task in asked {
        answers.push(match task.await.expect("it ends") {
            Ok(got) => format!("changed {}", got.changed),
            Err(LaunchError::Refused(got)) => format!("refused: {got}"),
            Err(error) => error.to_string(),
        });
    }
    answers.sort();
    assert_eq!(
        answers,
        [
            "changed 7".to_owned(),
            format!("refused: {refusal}"),
            "the launcher went away before it answered".to_owned(),
        ]
    );
}
