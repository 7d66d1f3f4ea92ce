//! Downloads: shared by who wants the same, continued where they broke off.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use helix_payload::{Error, Origin, Progress, Sha256};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::caching::{Den, content, eventually, request};
use crate::server::{Server, Step, by_range, cut, head, status, whole};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn archive_is_fetched_once_and_then_at_hand() {
    let den = Den::new();
    let content = content(3 * MIB + 7, 1);
    let served = content.clone();
    let server = Server::start(move |_, _| whole(&served, None)).await;
    let sha256 = Sha256::of(&content);
    let request = request(&server.url("a.zip"), Some(sha256));
    let lease = den.fetch(&request).await.unwrap();
    assert_eq!(lease.origin(), Origin::Fetched);
    assert_eq!(
        (lease.sha256(), lease.bytes()),
        (sha256, content.len() as u64)
    );
    assert!(fs::read(lease.path()).unwrap() == *content);
    assert!(fs::metadata(lease.path()).unwrap().permissions().readonly());
    let again = den.fetch(&request).await.unwrap();
    assert_eq!(again.origin(), Origin::Cached);
    assert_eq!(again.path(), lease.path());
    let asked = server.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("accept-encoding"), Some("identity"));
    assert!(
        asked[0]
            .header("authorization")
            .is_some_and(|value| value.starts_with("Basic "))
    );
    assert!(den.files("partial").is_empty());
}

#[tokio::test]
async fn ten_callers_at_once_make_one_request() {
    let den = Den::new();
    let content = content(MIB, 2);
    let gate = Arc::new(Semaphore::new(0));
    let (served, closed) = (content.clone(), gate.clone());
    let server = Server::start(move |_, _| {
        let mut reply = whole(&served, None);
        reply.insert(1, Step::Gate(closed.clone()));
        reply
    })
    .await;
    for sha256 in [Some(Sha256::of(&content)), None] {
        let before = server.asked().len();
        let callers: Vec<_> = (0..10)
            .map(|_| {
                let (cache, request) = (den.cache.clone(), request(&server.url("a"), sha256));
                tokio::spawn(async move { cache.fetch(&request, &CancellationToken::new()).await })
            })
            .collect();
        eventually("a request is made", || server.asked().len() > before).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        gate.add_permits(10);
        for caller in callers {
            let lease = caller.await.unwrap().unwrap();
            assert_eq!(lease.origin(), Origin::Fetched);
            assert!(fs::read(lease.path()).unwrap() == *content);
        }
        assert_eq!(server.asked().len(), before + 1);
        gate.forget_permits(100);
        den.cache.shrink(0);
    }
}

#[tokio::test]
async fn download_outlives_the_caller_who_began_it() {
    let den = Den::new();
    let content = content(MIB, 3);
    let gate = Arc::new(Semaphore::new(0));
    let (served, closed) = (content.clone(), gate.clone());
    let server = Server::start(move |_, _| {
        let mut reply = whole(&served, None);
        reply.insert(1, Step::Gate(closed.clone()));
        reply
    })
    .await;
    let request = request(&server.url("a"), Some(Sha256::of(&content)));
    let cancelled = CancellationToken::new();
    let spawn = |cancellation: CancellationToken| {
        let (cache, request) = (den.cache.clone(), request.clone());
        tokio::spawn(async move { cache.fetch(&request, &cancellation).await })
    };
    let first = spawn(cancelled.clone());
    eventually("a request is made", || server.asked().len() == 1).await;
    let second = spawn(CancellationToken::new());
    let third = spawn(CancellationToken::new());
    tokio::time::sleep(Duration::from_millis(50)).await;
    cancelled.cancel();
    assert!(matches!(first.await.unwrap(), Err(Error::Cancelled)));
    third.abort();
    assert!(third.await.unwrap_err().is_cancelled());
    gate.add_permits(1);
    assert!(fs::read(second.await.unwrap().unwrap().path()).unwrap() == *content);
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn download_nobody_waits_for_stops_and_is_continued_later() {
    let den = Den::new();
    let content = content(2 * MIB, 4);
    let served = content.clone();
    let server = Server::start(move |asked, _| match asked.range_start() {
        None => {
            let mut reply = cut(&served, Some("\"tag\""), MIB);
            reply.push(Step::Stall);
            reply
        }
        Some(_) => by_range(asked, &served, "\"tag\""),
    })
    .await;
    let request = request(&server.url("a"), Some(Sha256::of(&content)));
    let (progress, watcher) = watch::channel(Progress::Waiting);
    let cancellation = CancellationToken::new();
    let caller = {
        let (cache, cancellation) = (den.cache.clone(), cancellation.clone());
        let request = helix_payload::Request {
            progress: Some(progress),
            ..request.clone()
        };
        tokio::spawn(async move { cache.fetch(&request, &cancellation).await })
    };
    let total = Some(content.len() as u64);
    eventually("half of it is here", || {
        *watcher.borrow()
            == Progress::Fetching {
                bytes: MIB as u64,
                total,
            }
    })
    .await;
    assert_eq!(den.cache.usage().partial_bytes, MIB as u64);
    cancellation.cancel();
    assert!(matches!(caller.await.unwrap(), Err(Error::Cancelled)));
    assert!(fs::read(den.fetch(&request).await.unwrap().path()).unwrap() == *content);
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1].range_start(), Some(MIB));
    assert_eq!(asked[1].header("if-range"), Some("\"tag\""));
}

#[tokio::test]
async fn broken_connection_is_continued_where_it_broke() {
    for hashed in [true, false] {
        let den = Den::new();
        let content = content(2 * MIB, 5);
        let served = content.clone();
        let server = Server::start(move |asked, number| match number {
            0 => cut(&served, Some("\"tag\""), 300_000),
            1 => status("503 Service Unavailable", &[]),
            2 => {
                let mut reply = by_range(asked, &served, "\"tag\"");
                let Some(Step::Send(rest)) = reply.last_mut() else {
                    panic!()
                };
                rest.truncate(400_000);
                reply
            }
            _ => by_range(asked, &served, "\"tag\""),
        })
        .await;
        let sha256 = hashed.then(|| Sha256::of(&content));
        let lease = den.fetch(&request(&server.url("a"), sha256)).await.unwrap();
        assert!(fs::read(lease.path()).unwrap() == *content);
        let starts: Vec<_> = server
            .asked()
            .iter()
            .map(|asked| asked.range_start())
            .collect();
        assert_eq!(starts, [None, Some(300_000), Some(300_000), Some(700_000)]);
    }
}

#[tokio::test]
async fn server_without_ranges_is_asked_for_all_of_it_again() {
    let content = content(MIB, 6);
    for case in 0..5 {
        let den = Den::new();
        let served = content.clone();
        let server = Server::start(move |asked, number| match (number, case) {
            (0, _) => cut(&served, Some("\"tag\""), 500_000),
            // It ignores the range.
            (1, 0) => whole(&served, Some("\"tag\"")),
            // It goes on somewhere else.
            (1, 1) => {
                let headers = [("Content-Range", "bytes 10-1048575/1048576")];
                vec![
                    head("206 Partial Content", &headers),
                    Step::Send(served[10..].to_vec()),
                ]
            }
            // It says nothing of where it goes on.
            (1, 2) => vec![
                head("206 Partial Content", &[]),
                Step::Send(served.to_vec()),
            ],
            (1, 3) => status(
                "416 Range Not Satisfiable",
                &[("Content-Range", "bytes */1")],
            ),
            // It goes on too long.
            (1, 4) => {
                let headers = [("Content-Range", "bytes 500000-1048575/1048576")];
                vec![
                    head("206 Partial Content", &headers),
                    Step::Send(served.to_vec()),
                ]
            }
            _ => {
                assert_eq!(asked.range_start(), None);
                whole(&served, Some("\"tag\""))
            }
        })
        .await;
        let request = request(&server.url("a"), Some(Sha256::of(&content)));
        let lease = den.fetch(&request).await.unwrap();
        assert!(fs::read(lease.path()).unwrap() == *content, "{case}");
        assert_eq!(server.asked()[1].range_start(), Some(500_000));
        assert_eq!(
            server.asked().len(),
            if case == 0 { 2 } else { 3 },
            "{case}"
        );
    }
}

#[tokio::test]
async fn halves_are_only_joined_when_they_are_surely_of_one_whole() {
    let content = content(MIB, 7);
    // A weak tag, or a time, or nothing at all: not enough without a SHA-256 to check in the end.
    for (header, hashed, expected) in [
        (("ETag", "W/\"weak\""), false, None),
        (
            ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
            false,
            None,
        ),
        (
            ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
            true,
            Some(500_000),
        ),
        (("X-Nothing", "at all"), true, None),
    ] {
        let den = Den::new();
        let served = content.clone();
        let server = Server::start(move |asked, number| match number {
            0 => {
                let length = served.len().to_string();
                let headers = [("Content-Length", length.as_str()), header];
                vec![
                    head("200 OK", &headers),
                    Step::Send(served[..500_000].to_vec()),
                ]
            }
            _ => by_range(asked, &served, header.1),
        })
        .await;
        let sha256 = hashed.then(|| Sha256::of(&content));
        let lease = den.fetch(&request(&server.url("a"), sha256)).await.unwrap();
        assert!(fs::read(lease.path()).unwrap() == *content);
        assert_eq!(server.asked()[1].range_start(), expected, "{header:?}");
    }
}

#[tokio::test]
async fn content_that_changes_between_two_halves_is_taken_from_the_new_one_alone() {
    let den = Den::new();
    let (old, new) = (content(MIB, 8), content(MIB, 9));
    let (first, second) = (old.clone(), new.clone());
    let server = Server::start(move |asked, number| match number {
        0 => cut(&first, Some("\"old\""), 500_000),
        _ => by_range(asked, &second, "\"new\""),
    })
    .await;
    let lease = den.fetch(&request(&server.url("a"), None)).await.unwrap();
    assert!(fs::read(lease.path()).unwrap() == *new);
}
