//! What is at hand and may have changed where it came from: asked for again, or read again.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use helix_payload::{
    ArchiveSource, Error, Kind, Lease, LocalFiles, Origin, Request, Scope, Sha256,
};
use nix::sys::stat::Mode;

use crate::caching::{Den, content, quick_options, request};
use crate::server::{Server, Step, head, status, whole};

/// A server whose content is whatever `versions` has at the number of the request, and which
/// confirms what is still the same.
async fn changing(versions: Vec<u64>, header: &'static str) -> Server {
    Server::start(move |asked, number| {
        let version = versions[number.min(versions.len() - 1)];
        let tag = match header {
            "ETag" => format!("\"v{version}\""),
            _ => format!("Sun, 06 Nov 1994 08:49:{:02} GMT", 10 + version),
        };
        let question = asked
            .header("if-none-match")
            .or(asked.header("if-modified-since"));
        if question == Some(&tag) {
            return status("304 Not Modified", &[]);
        }
        let body = content(1000, version);
        vec![
            head("200 OK", &[("Content-Length", "1000"), (header, &tag)]),
            Step::Send(body.to_vec()),
        ]
    })
    .await
}

#[tokio::test]
async fn answer_without_hash_is_asked_for_again_each_time_but_not_fetched() {
    for header in ["ETag", "Last-Modified"] {
        let server = changing(vec![1, 1, 1, 2, 2], header).await;
        let den = Den::new();
        let request = request(&server.url("a"), None);
        let mut found = Vec::new();
        for _ in 0..2 {
            found.push(den.fetch(&request).await.unwrap());
        }
        let origins: Vec<_> = found.iter().map(Lease::origin).collect();
        assert_eq!(origins, [Origin::Fetched, Origin::Confirmed]);
        drop(found);
        // The answer is remembered over a restart as well.
        let den = den.restarted();
        assert_eq!(
            den.fetch(&request).await.unwrap().origin(),
            Origin::Confirmed
        );
        let changed = den.fetch(&request).await.unwrap();
        assert_eq!(changed.origin(), Origin::Fetched);
        assert_eq!(changed.sha256(), Sha256::of(&content(1000, 2)));
        assert_eq!(
            den.fetch(&request).await.unwrap().origin(),
            Origin::Confirmed
        );
    }
}

#[tokio::test]
async fn answer_without_hash_is_not_shared_with_another_scope_or_address() {
    let server = changing(vec![1], "ETag").await;
    let den = Den::new();
    let mine = request(&server.url("a"), None);
    den.fetch(&mine).await.unwrap();
    let other_scope = Request {
        scope: Scope::new("another job"),
        ..mine.clone()
    };
    let other_address = request(&format!("{}2", server.url("a")), None);
    for other in [other_scope, other_address] {
        assert_eq!(den.fetch(&other).await.unwrap().origin(), Origin::Fetched);
        let last = server.asked().pop().unwrap();
        assert_eq!(last.header("if-none-match"), None);
    }
    // The content they have in common is there once.
    assert_eq!(den.files("archives").len(), 1);
    assert_eq!(den.cache.usage().archive_bytes, 1000);
}

#[tokio::test]
async fn source_that_cannot_be_asked_is_fetched_each_time() {
    let den = Den::new();
    let server = Server::start(|_, _| whole(&content(1000, 1), None)).await;
    let request = request(&server.url("a"), None);
    for _ in 0..2 {
        assert_eq!(den.fetch(&request).await.unwrap().origin(), Origin::Fetched);
    }
    assert!(den.files("answers").is_empty());
}

#[tokio::test]
async fn answers_are_forgotten_with_their_archives() {
    let den = Den::new();
    let server = changing(vec![1], "ETag").await;
    den.fetch(&request(&server.url("a"), None)).await.unwrap();
    assert_eq!(den.files("answers").len(), 1);
    den.cache.shrink(0);
    assert!(den.files("answers").is_empty());
    assert_eq!(
        den.fetch(&request(&server.url("a"), None))
            .await
            .unwrap()
            .origin(),
        Origin::Fetched
    );
}

fn local(path: &std::path::Path, sha256: Option<Sha256>) -> Request {
    Request {
        source: ArchiveSource::File(path.to_path_buf()),
        sha256,
        scope: Scope::new("job"),
        progress: None,
    }
}

#[tokio::test]
async fn local_file_is_copied_and_confirmed_until_it_changes() {
    let den = Den::with(helix_payload::CacheOptions {
        local_files: LocalFiles::Anywhere,
        ..quick_options()
    });
    let path = den.directory.path().join("a.zip");
    fs::write(&path, "one").unwrap();
    let request = local(&path, None);
    let lease = den.fetch(&request).await.unwrap();
    assert_eq!(lease.origin(), Origin::Fetched);
    assert_eq!(
        den.fetch(&request).await.unwrap().origin(),
        Origin::Confirmed
    );
    fs::write(&path, "two").unwrap();
    // What is held does not change with its source.
    assert_eq!(fs::read(lease.path()).unwrap(), b"one");
    let changed = den.fetch(&request).await.unwrap();
    assert_eq!(changed.origin(), Origin::Fetched);
    assert_eq!(fs::read(changed.path()).unwrap(), b"two");

    let two = Sha256::of(b"two");
    assert_eq!(
        den.fetch(&local(&path, Some(two))).await.unwrap().origin(),
        Origin::Cached
    );
    let error = den
        .fetch(&local(&path, Some(Sha256::of(b"three"))))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error:?}");
    fs::remove_file(&path).unwrap();
    let error = den.fetch(&request).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Permanent, "{error:?}");
    assert!(den.files("partial").is_empty());
}

#[tokio::test]
async fn local_files_are_only_read_where_that_is_allowed() {
    let den = Den::new();
    let path = den.directory.path().join("a.zip");
    fs::write(&path, "secret").unwrap();
    let error = den.fetch(&local(&path, None)).await.unwrap_err();
    assert!(matches!(error, Error::LocalFileRefused { .. }), "{error:?}");
    assert_eq!(error.kind(), Kind::Permanent);

    let allowed = tempfile::tempdir().unwrap();
    let den = Den::with(helix_payload::CacheOptions {
        local_files: LocalFiles::Under(vec![allowed.path().to_path_buf()]),
        ..quick_options()
    });
    fs::create_dir(allowed.path().join("d")).unwrap();
    fs::write(allowed.path().join("d/in.zip"), "fine").unwrap();
    symlink("d/in.zip", allowed.path().join("inner")).unwrap();
    symlink(&path, allowed.path().join("outer")).unwrap();
    symlink(path.parent().unwrap(), allowed.path().join("way")).unwrap();
    for (name, fine) in [
        ("d/in.zip", true),
        ("d/../d/in.zip", true),
        ("inner", true),
        ("outer", false),
        ("way/a.zip", false),
        ("../a.zip", false),
    ] {
        let result = den.fetch(&local(&allowed.path().join(name), None)).await;
        assert_eq!(result.is_ok(), fine, "{name}: {result:?}");
    }
    assert!(den.fetch(&local(&path, None)).await.is_err());
    // A name that only begins like the directory.
    let beside = allowed.path().with_extension("beside");
    fs::write(&beside, "x").unwrap();
    assert!(den.fetch(&local(&beside, None)).await.is_err());
    fs::remove_file(&beside).unwrap();
}

#[tokio::test]
async fn local_thing_that_is_no_file_is_an_error_and_not_a_wait() {
    let den = Den::with(helix_payload::CacheOptions {
        local_files: LocalFiles::Anywhere,
        ..quick_options()
    });
    let pipe = den.directory.path().join("pipe");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    for path in [
        pipe.as_path(),
        den.directory.path(),
        std::path::Path::new("/dev/zero"),
    ] {
        let result =
            tokio::time::timeout(Duration::from_secs(20), den.fetch(&local(path, None))).await;
        assert!(
            matches!(result, Ok(Err(Error::LocalFile { .. }))),
            "{path:?}: {result:?}"
        );
    }
}

#[tokio::test]
async fn local_file_beyond_the_limit_is_refused_unread() {
    let mut options = quick_options();
    options.local_files = LocalFiles::Anywhere;
    options.limits.max_archive_bytes = 100;
    let den = Den::with(options);
    let path = den.directory.path().join("a");
    fs::write(&path, [7; 101]).unwrap();
    let error = den.fetch(&local(&path, None)).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                announced_bytes: Some(101),
                ..
            }
        ),
        "{error:?}"
    );
}
