//! A file system that is full, for real: a small one in memory, which takes root to make.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use helix_payload::{
    Cache, Error, Kind, Origin, TreeLimits, UnpackOptions, place_tree, unpack, unpack_blocking,
};
use tokio_util::sync::CancellationToken;

use crate::archives::{Tar, gzip};
use crate::caching::{content, quick_options, request};
use crate::server::{Server, chunked, whole};

/// A mounted file system, unmounted when dropped.
struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    /// One of `bytes`; `None`, said aloud, where it cannot be had.
    fn new(bytes: usize) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(directory.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { directory }),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                eprintln!("skipped: no small file system can be mounted: {said}");
                None
            }
            Err(error) => {
                eprintln!("skipped: no small file system can be mounted: {error}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount")
            .arg("-l")
            .arg(self.directory.path())
            .status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

#[tokio::test]
async fn download_to_a_full_disk_says_so() {
    let Some(disk) = SmallDisk::new(2 << 20) else {
        return;
    };
    let cache = Cache::open(&disk.path().join("cache"), quick_options()).unwrap();
    let server = Server::start(|_, _| chunked(&content(4 << 20, 1))).await;
    let request = request(&server.url("a"), None);
    let error = cache
        .fetch(&request, &CancellationToken::new())
        .await
        .unwrap_err();
    // Room is set aside in large steps, then in exact ones; what gives out first is either.
    assert!(
        matches!(error, Error::DiskFull { .. } | Error::LowSpace { .. }),
        "{error:?}"
    );
    assert_eq!(error.kind(), Kind::Local);
    assert_eq!(server.asked().len(), 1);
    assert_eq!(cache.usage().partial_bytes, 0);
}

#[tokio::test]
async fn announced_download_is_refused_before_it_fills_the_disk() {
    let Some(disk) = SmallDisk::new(2 << 20) else {
        return;
    };
    let cache = Cache::open(&disk.path().join("cache"), quick_options()).unwrap();
    let server = Server::start(|_, _| whole(&content(4 << 20, 1), None)).await;
    let request = request(&server.url("a"), None);
    let error = cache
        .fetch(&request, &CancellationToken::new())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::LowSpace { .. }), "{error:?}");
}

#[tokio::test]
async fn old_archives_make_room_on_a_disk_that_others_filled() {
    let Some(disk) = SmallDisk::new(4 << 20) else {
        return;
    };
    let cache = Cache::open(&disk.path().join("cache"), quick_options()).unwrap();
    let server = Server::start(|asked, _| {
        let seed = u64::from(asked.path.as_bytes()[1]);
        if asked.path.starts_with("/u") {
            chunked(&content(1 << 20, seed))
        } else {
            whole(&content(1 << 20, seed), None)
        }
    })
    .await;
    let fetch = async |name| {
        let request = request(&server.url(name), None);
        cache.fetch(&request, &CancellationToken::new()).await
    };
    fetch("1").await.unwrap();
    let second = fetch("2").await.unwrap();
    fs::write(disk.path().join("others"), vec![1; 3 << 19]).unwrap();
    for name in ["3", "u"] {
        let lease = fetch(name)
            .await
            .unwrap_or_else(|error| panic!("{name}: {}", error.chain()));
        assert_eq!(lease.origin(), Origin::Fetched);
        assert!(second.path().exists());
        assert_eq!(cache.usage().archives, 2);
    }
}

#[tokio::test]
async fn disk_that_fills_between_two_writes_is_emptied_of_what_nobody_holds() {
    let Some(disk) = SmallDisk::new(4 << 20) else {
        return;
    };
    let cache = Cache::open(&disk.path().join("cache"), quick_options()).unwrap();
    let others: PathBuf = disk.path().join("others");
    let server = Server::start(move |asked, _| {
        if asked.path.starts_with("/1") {
            return whole(&content(1 << 20, 1), None);
        }
        // After the room was set aside, somebody else takes it.
        let content = content(2 << 20, 2);
        let mut reply = whole(&content, None);
        let body = reply.pop();
        fs::write(&others, vec![1; 5 << 18]).unwrap();
        reply.extend(body);
        reply
    })
    .await;
    for name in ["1", "2"] {
        let request = request(&server.url(name), None);
        let result = cache.fetch(&request, &CancellationToken::new()).await;
        assert!(result.is_ok(), "{name}: {result:?}");
    }
    assert_eq!(cache.usage().archives, 1);
}

#[tokio::test]
async fn unpacking_and_copying_onto_a_full_disk_say_so() {
    let Some(disk) = SmallDisk::new(1 << 20) else {
        return;
    };
    let scene = tempfile::tempdir().unwrap();
    let archive = scene.path().join("archive");
    let text = "x".repeat(3 << 20);
    fs::write(&archive, gzip(&Tar::default().file("d/f", &text).end())).unwrap();
    let options = UnpackOptions::default();
    let cancellation = CancellationToken::new();
    let to = disk.path().join("to");
    let error = unpack(&archive, &to, &options, &cancellation)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error:?}");
    assert_eq!(error.kind(), Kind::Local);
    assert!(error.hint().is_some());

    let tree = scene.path().join("tree");
    unpack_blocking(&archive, &tree, &options, &cancellation).unwrap();
    fs::remove_dir_all(&to).unwrap();
    let error = place_tree(&tree, &to, &TreeLimits::default(), &cancellation)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error:?}");
}
