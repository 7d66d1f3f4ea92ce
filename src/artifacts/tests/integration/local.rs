//! The local folder.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use helix_artifacts::{
    Destination, Kind, Limits, OpenError, Options, Rule, StoreError, Stored, Take, select,
};

use crate::support::{file, hasty, name, noise, sha256, until};

fn folder() -> (tempfile::TempDir, Destination) {
    let folder = tempfile::tempdir().expect("a folder");
    let destination = Destination::folder(folder.path())
        .expect("opened")
        .with_tuning(hasty());
    (folder, destination)
}

fn path_of(stored: &Stored) -> PathBuf {
    url::Url::parse(&stored.url)
        .expect("a URL")
        .to_file_path()
        .expect("a path")
}

fn files_beneath(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_beneath(&path))
        } else {
            files.push(path)
        }
    }
    files.sort();
    files
}

#[tokio::test]
async fn files_of_every_size_arrive_whole() {
    let (_folder, destination) = folder();
    let part = hasty().part_bytes;
    for size in [0, 1, part - 1, part, part + 1, 2 * part, 5 * part + 17] {
        let bytes = noise(size);
        let stored = destination
            .store(file(&bytes), &name(&format!("sizes/{size}.bin")))
            .await
            .expect("stored");
        assert_eq!(stored.size, size as u64);
        assert_eq!(stored.sha256, sha256(&bytes), "{size} bytes");
        assert!(
            fs::read(path_of(&stored)).expect("read") == bytes,
            "{size} bytes differ"
        );
    }
}

#[tokio::test]
async fn a_file_is_read_from_its_beginning_wherever_its_cursor_stands() {
    let (_folder, destination) = folder();
    let mut half_read = file(b"abcdef");
    std::io::Read::read_exact(&mut half_read, &mut [0; 3]).ok();
    let stored = destination
        .store(half_read, &name("a"))
        .await
        .expect("stored");
    assert_eq!(stored.size, 6);
}

#[tokio::test]
async fn the_same_name_again_replaces_the_file() {
    let (folder, destination) = folder();
    let long = noise(300_000);
    destination
        .store(file(&long), &name("a/b.txt"))
        .await
        .expect("stored");
    let stored = destination
        .store(file(b"short"), &name("a/b.txt"))
        .await
        .expect("stored");
    assert_eq!(fs::read(path_of(&stored)).expect("read"), b"short");
    let again = destination
        .store(file(&long), &name("a/b.txt"))
        .await
        .expect("stored");
    assert_eq!(again.url, stored.url);
    assert_eq!(fs::read(path_of(&stored)).expect("read"), long);
    assert_eq!(files_beneath(folder.path()).len(), 1);
}

#[tokio::test]
async fn names_that_a_store_would_not_carry_arrive_nevertheless() {
    use std::os::unix::ffi::OsStrExt;
    let (folder, destination) = folder();
    let mut raw: Vec<Vec<u8>> = vec![
        b"file#1".to_vec(),
        b"caf\xe9".to_vec(),
        b"100%41".to_vec(),
        b"a\\..\\..\\b".to_vec(),
        b"tab\there".to_vec(),
        b"dots...".to_vec(),
        vec![b'x'; 255],
        vec![0xff; 255],
        "é".repeat(127).into_bytes(),
    ];
    raw.push(
        [
            vec![b'd'; 200],
            vec![b'd'; 200],
            vec![b'd'; 200],
            vec![b'e'; 200],
        ]
        .join(&b'/'),
    );
    for bytes in &raw {
        let path = Path::new(std::ffi::OsStr::from_bytes(bytes));
        let name = helix_artifacts::ArtifactName::from_path(path).expect("a name");
        let stored = destination.store(file(bytes), &name).await.expect("stored");
        assert_eq!(stored.name.to_path(), path);
        assert_eq!(&fs::read(path_of(&stored)).expect("read"), bytes);
        assert!(path_of(&stored).starts_with(folder.path().canonicalize().expect("a path")));
    }
    assert_eq!(files_beneath(folder.path()).len(), raw.len());
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_is_stored_as_read() {
    let (_folder, destination) = folder();
    let source = tempfile::NamedTempFile::new().expect("a file");
    fs::write(source.path(), noise(2 << 20)).expect("written");
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (stop, mut file) = (stop.clone(), source.reopen().expect("opened"));
        move || {
            let mut number = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                if number.is_multiple_of(7) {
                    file.set_len(100_000 + number * 13 % 1_000_000)
                        .expect("cut");
                }
                file.write_at(&noise(70_000), number * 4099 % 2_000_000)
                    .expect("written");
                file.flush().expect("flushed");
            }
        }
    });
    let mut sizes = std::collections::BTreeSet::new();
    for number in 0..60 {
        let changing = source.reopen().expect("opened");
        let name = name(&format!("{number}.bin"));
        let stored = destination.store(changing, &name).await.expect("stored");
        let bytes = fs::read(path_of(&stored)).expect("read");
        assert_eq!(stored.size, bytes.len() as u64);
        assert_eq!(stored.sha256, sha256(&bytes));
        sizes.insert(stored.size);
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().expect("joined");
    assert!(sizes.len() > 1, "the file never changed its size");
}

#[tokio::test]
async fn a_cancelled_upload_leaves_nothing() {
    let (folder, destination) = folder();
    let large = file(&noise(64 << 20));
    let name = name("large.bin");
    let cancelled =
        tokio::time::timeout(Duration::from_millis(20), destination.store(large, &name)).await;
    assert!(cancelled.is_err(), "64 MiB were stored in 20 ms");
    until("an empty folder", || {
        files_beneath(folder.path()).is_empty()
    })
    .await;
}

#[tokio::test]
async fn nothing_of_a_file_shows_before_all_of_it() {
    let (folder, destination) = folder();
    let bytes = noise(32 << 20);
    let name = name("whole.bin");
    let path = folder.path().join("whole.bin");
    let mut storing = std::pin::pin!(destination.store(file(&bytes), &name));
    let mut looks = 0;
    loop {
        tokio::select! {
            biased;
            stored = &mut storing => {
                stored.expect("stored");
                break;
            }
            () = tokio::time::sleep(Duration::from_millis(1)) => {
                if let Ok(metadata) = fs::metadata(&path) {
                    assert_eq!(metadata.len(), bytes.len() as u64);
                }
                looks += 1;
            }
        }
    }
    assert!(looks > 0, "there was no time to look");
}

#[tokio::test]
async fn a_file_larger_than_allowed_is_refused_and_not_kept() {
    let (folder, destination) = folder();
    let destination = destination.with_tuning(helix_artifacts::Tuning {
        largest_file: 200_000,
        ..hasty()
    });
    let error = destination
        .store(file(&noise(200_001)), &name("a"))
        .await
        .expect_err("too large");
    assert!(matches!(error, StoreError::TooLarge { limit: 200_000, .. }));
    destination
        .store(file(&noise(200_000)), &name("b"))
        .await
        .expect("just fits");
    until("one file", || files_beneath(folder.path()).len() == 1).await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_refused_at_once() {
    let (folder, destination) = folder();
    fs::write(folder.path().join("taken"), "a file").expect("written");
    let begun = std::time::Instant::now();
    let error = destination
        .store(file(b"x"), &name("taken/beneath"))
        .await
        .expect_err("no directory");
    let StoreError::Refused { reason, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(reason.contains("taken"), "{reason}");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "it was tried again and again"
    );
}

#[tokio::test]
async fn many_files_come_back_as_they_complete() {
    let (_folder, destination) = folder();
    let uploads = tempfile::tempdir().expect("a directory");
    for number in 0..50_u32 {
        fs::write(
            uploads.path().join(format!("{number}.txt")),
            noise(number as usize * 5000),
        )
        .expect("written");
    }
    let rule = Rule {
        directory: uploads.path().to_owned(),
        kind: Kind::Upload,
        take: Take::Everything,
        beneath: None,
    };
    let selection = select(&[rule], &[], &Limits::default());
    fs::remove_file(uploads.path().join("7.txt")).expect("removed");
    let destination = destination.beneath(&name("job/attempt"));
    let outcomes: Vec<_> = destination.store_all(selection.files).collect().await;
    assert_eq!(outcomes.len(), 50);
    for outcome in outcomes {
        match outcome.result {
            Ok(stored) => {
                assert_eq!(stored.name, outcome.name);
                assert!(stored.url.contains("/job/attempt/"));
                assert_eq!(
                    fs::metadata(path_of(&stored)).expect("there").len(),
                    stored.size
                );
            }
            Err(error) => assert_eq!(error.to_string(), "cannot open `7.txt`"),
        }
    }
}

#[test]
fn urls_that_are_no_destination_are_refused() {
    let open = |url: &str| Destination::open(url, &Options::new()).expect_err("refused");
    assert!(matches!(open("ftp://host/x"), OpenError::UnknownScheme { scheme } if scheme == "ftp"));
    assert!(matches!(
        open("relative/path"),
        OpenError::InvalidUrl { .. }
    ));
    assert!(matches!(
        open("file://host/x"),
        OpenError::InvalidUrl { .. }
    ));
    assert!(matches!(open("az:///x"), OpenError::InvalidUrl { .. }));
    for secret in [
        "az://container/x?sig=hidden",
        "s3://user:hidden@bucket/x",
        "s3://b/x#hidden",
    ] {
        let error = open(secret);
        assert!(!format!("{error} {error:?}").contains("hidden"));
    }
    let error = Destination::open(
        "file:///tmp/x",
        &Options::new().with("account_key", "hidden"),
    )
    .expect_err("refused");
    assert!(matches!(&error, OpenError::UnknownOption { name, .. } if name == "account_key"));
    assert!(!format!("{error:?}").contains("hidden"));
}

#[test]
fn a_file_url_with_encoded_characters_is_that_folder() {
    let parent = tempfile::tempdir().expect("a folder");
    let url = url::Url::from_directory_path(parent.path().join("with space")).expect("a URL");
    let destination = Destination::open(url.as_str(), &Options::new()).expect("opened");
    assert!(parent.path().join("with space").is_dir());
    assert!(destination.url().ends_with("/with%20space"));
}
