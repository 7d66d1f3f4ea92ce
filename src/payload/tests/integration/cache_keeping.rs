//! What the cache keeps: by use, over restarts, for whom; and files of this machine.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use helix_payload::{ArchiveSource, Cache, Error, Kind, Origin, Request, Sha256};
use tokio_util::sync::CancellationToken;

use crate::caching::{Den, content, eventually, quick_options, request};
use crate::server::{Server, Step, by_range, chunked, cut, whole};

/// A server of archives of `bytes` each, whose paths are numbers.
async fn shelf(bytes: usize) -> Server {
    Server::start(move |asked, _| whole(&content(bytes, number(&asked.path)), None)).await
}

fn number(path: &str) -> u64 {
    path.trim_start_matches('/')
        .split('?')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

fn numbered(server: &Server, bytes: usize, number: u64) -> Request {
    let sha256 = Sha256::of(&content(bytes, number));
    request(&server.url(&number.to_string()), Some(sha256))
}

#[tokio::test]
async fn least_recently_used_archive_goes_first() {
    let mut options = quick_options();
    options.limits.max_bytes = 3500;
    let den = Den::with(options);
    let server = shelf(1000).await;
    let origin = async |number| {
        den.fetch(&numbered(&server, 1000, number))
            .await
            .unwrap()
            .origin()
    };
    for number in [1, 2, 3] {
        assert_eq!(origin(number).await, Origin::Fetched);
    }
    assert_eq!(origin(1).await, Origin::Cached);
    assert_eq!(origin(4).await, Origin::Fetched);
    assert_eq!(origin(1).await, Origin::Cached);
    assert_eq!(origin(3).await, Origin::Cached);
    assert_eq!(origin(2).await, Origin::Fetched);
    assert_eq!(origin(4).await, Origin::Fetched);
    let usage = den.cache.usage();
    assert_eq!(
        (usage.archives, usage.archive_bytes, usage.held_bytes),
        (3, 3000, 0)
    );
    assert_eq!(den.files("archives").len(), 3);
    assert!(den.files("trash").is_empty());
}

#[tokio::test]
async fn held_archive_never_goes() {
    let mut options = quick_options();
    options.limits.max_bytes = 2500;
    let den = Den::with(options);
    let server = shelf(1000).await;
    let first = den.fetch(&numbered(&server, 1000, 1)).await.unwrap();
    let second = den.fetch(&numbered(&server, 1000, 2)).await.unwrap();
    assert_eq!(den.cache.usage().held_bytes, 2000);
    let error = den.fetch(&numbered(&server, 1000, 3)).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::CacheFull {
                needed_bytes: 1000,
                in_use_bytes: 2000,
                limit_bytes: 2500
            }
        ),
        "{error:?}"
    );
    assert_eq!(error.kind(), Kind::Local);
    assert_eq!(den.cache.shrink(0), 0);
    assert!(first.path().exists() && second.path().exists());
    // One more holder of the same: both have to let go.
    let again = first.clone();
    drop(first);
    assert_eq!(den.cache.shrink(0), 0);
    drop(again);
    den.fetch(&numbered(&server, 1000, 3)).await.unwrap();
    assert!(second.path().exists());
    drop(second);
    assert_eq!(den.cache.shrink(0), 2000);
    assert!(den.files("archives").is_empty());
}

#[tokio::test]
async fn archive_larger_than_the_whole_cache_is_an_error_and_costs_nothing_else() {
    let mut options = quick_options();
    options.limits.max_bytes = 2500;
    let den = Den::with(options);
    let server = Server::start(|asked, _| match number(&asked.path) {
        1 => whole(&content(1000, 1), None),
        _ => whole(&content(3000, 2), None),
    })
    .await;
    den.fetch(&numbered(&server, 1000, 1)).await.unwrap();
    let error = den
        .fetch(&request(&server.url("2"), None))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::CacheFull { .. }), "{error:?}");
    assert_eq!(den.cache.usage().partial_bytes, 0);
    let origin = den
        .fetch(&numbered(&server, 1000, 1))
        .await
        .unwrap()
        .origin();
    assert_eq!(origin, Origin::Cached);
}

#[tokio::test]
async fn whole_archives_outlive_a_restart_in_the_order_of_their_use() {
    let mut options = quick_options();
    options.limits.max_bytes = 3500;
    let den = Den::with(options);
    let server = shelf(1000).await;
    for number in [1, 2, 3, 1] {
        den.fetch(&numbered(&server, 1000, number)).await.unwrap();
        // Times of files have steps.
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    let den = den.restarted();
    assert_eq!(den.cache.usage().archives, 3);
    let origin = async |number| {
        den.fetch(&numbered(&server, 1000, number))
            .await
            .unwrap()
            .origin()
    };
    assert_eq!(origin(4).await, Origin::Fetched);
    assert_eq!(origin(1).await, Origin::Cached);
    assert_eq!(origin(3).await, Origin::Cached);
    assert_eq!(origin(2).await, Origin::Fetched);
    assert_eq!(server.asked().len(), 5);
}

#[tokio::test]
async fn lowered_limit_holds_from_the_start() {
    let den = Den::new();
    let server = shelf(1000).await;
    for number in 1..=5 {
        den.fetch(&numbered(&server, 1000, number)).await.unwrap();
    }
    let Den {
        directory,
        mut options,
        cache,
    } = den;
    drop(cache);
    options.limits.max_bytes = 2000;
    let cache = Cache::open(&directory.path().join("cache"), options).unwrap();
    assert_eq!(cache.usage().archive_bytes, 2000);
}

#[tokio::test]
async fn damaged_archive_is_never_handed_out() {
    let den = Den::new();
    let server = shelf(1000).await;
    let wanted = numbered(&server, 1000, 1);
    let lease = den.fetch(&wanted).await.unwrap();
    let path = lease.path().to_path_buf();
    drop(lease);
    let den = den.restarted_after(|_| {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let mut content = fs::read(&path).unwrap();
        content[500] ^= 1;
        fs::write(&path, content).unwrap();
    });
    let lease = den.fetch(&wanted).await.unwrap();
    assert_eq!(lease.origin(), Origin::Fetched);
    assert!(fs::read(lease.path()).unwrap() == *content(1000, 1));
    drop(lease);

    let den = den.restarted_after(|_| fs::write(&path, "short").unwrap_or_default());
    // Gone behind the back of a running cache that has not looked yet.
    fs::remove_file(&path).unwrap();
    assert_eq!(den.fetch(&wanted).await.unwrap().origin(), Origin::Fetched);
    assert!(den.files("trash").is_empty());
}

#[tokio::test]
async fn what_a_crash_leaves_behind_is_cleared_away() {
    let den = Den::new();
    let server = shelf(1000).await;
    den.fetch(&numbered(&server, 1000, 1)).await.unwrap();
    let hash = Sha256::of(b"x").to_string();
    let den = den.restarted_after(|root| {
        fs::write(root.join("archives/not-a-hash"), "x").unwrap();
        // Half an archive that nothing is known of, one that is empty, notes of nothing.
        fs::write(root.join(format!("partial/d-{hash}.partial")), "x").unwrap();
        fs::write(root.join(format!("partial/a-{hash}.note")), "x").unwrap();
        fs::write(root.join("partial/d-zz.partial"), "x").unwrap();
        fs::write(root.join(format!("answers/{hash}")), "damaged").unwrap();
        fs::write(
            root.join(format!("answers/{}", "0".repeat(64))),
            format!("sha256 {hash}\netag x\n"),
        )
        .unwrap();
        fs::write(root.join("trash/17"), "x").unwrap();
    });
    for (directory, files) in [
        ("archives", 1),
        ("partial", 0),
        ("answers", 0),
        ("trash", 0),
    ] {
        assert_eq!(den.files(directory).len(), files, "{directory}");
    }
}

#[tokio::test]
async fn half_archive_is_continued_by_the_next_process_when_the_whole_can_be_checked() {
    for (hashed, expected) in [(true, Some(400_000)), (false, None)] {
        let mut options = quick_options();
        options.http.retry.tries = 1;
        let den = Den::with(options);
        let content = content(1_000_000, 1);
        let served = content.clone();
        let server = Server::start(move |asked, number| match number {
            0 => cut(&served, Some("\"tag\""), 400_000),
            _ => by_range(asked, &served, "\"tag\""),
        })
        .await;
        let request = request(&server.url("a"), hashed.then(|| Sha256::of(&content)));
        assert_eq!(
            den.fetch(&request).await.unwrap_err().kind(),
            Kind::Transient
        );
        let den = den.restarted();
        assert_eq!(
            den.cache.usage().partial_bytes,
            expected.unwrap_or(0) as u64
        );
        // With another signature, the place is still the same.
        let mut request = request;
        let ArchiveSource::Http(_) = &request.source else {
            panic!()
        };
        request.source = ArchiveSource::parse(&format!("{}&again=1", server.url("a"))).unwrap();
        assert!(fs::read(den.fetch(&request).await.unwrap().path()).unwrap() == *content);
        assert_eq!(server.asked()[1].range_start(), expected);
    }
}

#[tokio::test]
async fn half_archive_of_another_place_is_not_continued() {
    let mut options = quick_options();
    options.http.retry.tries = 1;
    let den = Den::with(options);
    let content = content(1_000_000, 1);
    let served = content.clone();
    let server = Server::start(move |asked, number| match number {
        0 => cut(&served, Some("\"tag\""), 400_000),
        _ => by_range(asked, &served, "\"tag\""),
    })
    .await;
    let sha256 = Some(Sha256::of(&content));
    den.fetch(&request(&server.url("a"), sha256))
        .await
        .unwrap_err();
    den.fetch(&request(&server.url("b"), sha256)).await.unwrap();
    assert_eq!(server.asked()[1].range_start(), None);
}

#[tokio::test]
async fn half_archives_go_like_whole_ones_when_room_is_needed() {
    let mut options = quick_options();
    options.http.retry.tries = 1;
    options.limits.max_bytes = 1500;
    let den = Den::with(options);
    let server = Server::start(|asked, _| match number(&asked.path) {
        1 => cut(&content(1000, 1), Some("\"tag\""), 900),
        other => whole(&content(1000, other), None),
    })
    .await;
    den.fetch(&numbered(&server, 1000, 1)).await.unwrap_err();
    assert_eq!(den.cache.usage().partial_bytes, 900);
    den.fetch(&numbered(&server, 1000, 2)).await.unwrap();
    assert_eq!(den.cache.usage().partial_bytes, 0);
    assert!(den.files("partial").is_empty());
}

#[tokio::test]
async fn cache_is_used_by_one_process_at_a_time() {
    let den = Den::new();
    let error = Cache::open(&den.root(), den.options.clone()).unwrap_err();
    assert!(matches!(error, Error::CacheInUse { .. }), "{error:?}");
    assert_eq!(error.kind(), Kind::Local);
    den.restarted();
}

#[tokio::test]
async fn floor_of_free_space_is_kept() {
    let mut options = quick_options();
    options.limits.min_free_bytes = u64::MAX / 2;
    let den = Den::with(options);
    let server = shelf(1000).await;
    let error = den.fetch(&numbered(&server, 1000, 1)).await.unwrap_err();
    assert!(matches!(error, Error::LowSpace { .. }), "{error:?}");
    assert_eq!(error.kind(), Kind::Local);
    assert_eq!(den.cache.usage().partial_bytes, 0);
}

/// Many callers, few archives, a small cache, callers that lose patience: whoever is given a lease
/// has the right content for as long as it is held, and the limit holds throughout.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_mixed_up_under_load() {
    const KINDS: u64 = 12;
    const BYTES: usize = 40_000;
    let mut options = quick_options();
    options.limits.max_bytes = 8 * BYTES as u64;
    options.http.retry.tries = 20;
    let den = Arc::new(Den::with(options));
    let server = Arc::new(
        Server::start(|asked, number| {
            let content = content(BYTES, self::number(&asked.path));
            let mut reply = by_range(asked, &content, "\"tag\"");
            match number % 4 {
                0 => {
                    let Some(Step::Send(rest)) = reply.last_mut() else {
                        panic!()
                    };
                    rest.truncate(rest.len() / 2);
                    reply
                }
                1 => chunked(&content),
                _ => reply,
            }
        })
        .await,
    );
    let contents: Arc<HashMap<u64, Arc<Vec<u8>>>> = Arc::new(
        (0..KINDS)
            .map(|number| (number, content(BYTES, number)))
            .collect(),
    );
    let mut tasks = Vec::new();
    for task in 0..16_u64 {
        let (den, server, contents) = (den.clone(), server.clone(), contents.clone());
        tasks.push(tokio::spawn(async move {
            let mut given = 0;
            for round in 0..30_u64 {
                let number = (task * 7 + round * 5 + task * round) % KINDS;
                let request = if round % 5 == 0 {
                    request(&server.url(&number.to_string()), None)
                } else {
                    numbered(&server, BYTES, number)
                };
                let patience = Duration::from_micros(300 * (1 + (task + round) % 9));
                let cancellation = CancellationToken::new();
                let fetched = if round % 3 == 0 {
                    tokio::time::timeout(patience, den.cache.fetch(&request, &cancellation)).await
                } else {
                    Ok(den.cache.fetch(&request, &cancellation).await)
                };
                assert!(den.cache.usage().archive_bytes <= 8 * BYTES as u64);
                match fetched {
                    Ok(Ok(lease)) => {
                        given += 1;
                        tokio::task::yield_now().await;
                        assert!(fs::read(lease.path()).unwrap() == *contents[&number]);
                    }
                    Ok(Err(Error::CacheFull { .. })) | Err(_) => {}
                    Ok(Err(error)) => panic!("{}", error.chain()),
                }
            }
            given
        }));
    }
    let mut given = 0;
    for task in tasks {
        given += task.await.unwrap();
    }
    assert!(given > 100, "{given}");
    eventually("downloads nobody waits for have stopped", || {
        den.cache.shrink(0);
        let usage = den.cache.usage();
        usage.archives == 0 && usage.partial_bytes == 0
    })
    .await;
    assert!(den.files("archives").is_empty());
    assert!(
        den.files("partial").is_empty(),
        "{:?}",
        den.files("partial")
    );
}
