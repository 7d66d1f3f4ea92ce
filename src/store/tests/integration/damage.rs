//! Databases that are full, kept by others, read-only, damaged or of a newer release; and their copies.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use helix_store::{JobFilter, Options, StoreError, backup, open};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;

use crate::support::*;

fn impatient() -> Options {
    Options {
        busy_timeout: Duration::from_millis(100),
        ..Options::default()
    }
}

async fn run(url: &str, sql: &str) {
    let mut connection = SqliteConnection::connect(url).await.expect("a connection");
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql)
        .execute(&mut connection)
        .await
        .expect("a statement");
    connection.close().await.expect("closed");
}

/// Waits until the tasks of a store that was dropped have let go of its files.
async fn closed(directory: &Path) {
    for _ in 0..500 {
        if !directory.join("helix.db-wal").exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the store does not let go of its files");
}

/// A small file system of its own, if this user may have one.
struct Disk(TempDir);

impl Disk {
    #[expect(clippy::print_stderr, reason = "a skipped test must say so")]
    fn new(size: &str) -> Option<Self> {
        let directory = TempDir::new().expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(directory.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(directory));
        }
        eprintln!("skipped: this user may not mount a file system");
        None
    }

    fn remount(&self, how: &str) {
        let options = format!("remount,{how}");
        let done = Command::new("mount")
            .args(["-o", &options])
            .arg(self.0.path())
            .status();
        assert!(done.expect("mount").success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        drop(unmounted);
    }
}

#[tokio::test]
async fn full_disk_undoes_what_did_not_fit_and_is_got_over() {
    let Some(disk) = Disk::new("2m") else { return };
    let store = open(&sqlite_url(&disk.0), &Options::default())
        .await
        .expect("a store");
    with_job(&*store, "j", 3, 0).await;
    let filler = disk.0.path().join("filler");
    drop(fs::write(&filler, vec![1; 4 << 20]).expect_err("it fills the disk"));
    // Many at once, so that they share a transaction: none of them may take the others' answers along.
    let mut large = new_job("large", 300, 0);
    for item in &mut large.items {
        item.specification = vec![7; 8000];
    }
    let who = controller("c");
    let (first, second) = tokio::join!(store.submit(large.clone(), at(1)), store.beat(&who, at(1)));
    let Err(StoreError::Broken(message)) = first else {
        panic!("it does not fit: {first:?}");
    };
    assert!(message.contains("full"), "{message}");
    drop(second);
    assert_eq!(store.job(&job_id("large")).await.expect("asked"), None);
    assert_eq!(store.lanes().await.expect("lanes").len(), 1);
    fs::remove_file(&filler).expect("room is made");
    for item in &mut large.items {
        item.specification.truncate(1);
    }
    store.submit(large, at(2)).await.expect("it works again");
    let taken = start(&*store, "j", "a", at(3)).await;
    store
        .settle(&taken.fence, passes(), at(4))
        .await
        .expect("settled");
}

#[tokio::test]
async fn database_kept_by_another_is_unavailable_until_it_is_free() {
    let directory = TempDir::new().expect("a directory");
    let url = sqlite_url(&directory);
    let store = open(&url, &impatient()).await.expect("a store");
    with_job(&*store, "j", 1, 0).await;
    let mut other = SqliteConnection::connect(&url).await.expect("a connection");
    sqlx::raw_sql("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .expect("kept");
    let who = controller("c");
    let (first, second) = tokio::join!(
        store.beat(&who, at(1)),
        store.submit(new_job("k", 1, 0), at(1)),
    );
    assert!(
        matches!(first, Err(StoreError::Unavailable(_))),
        "{first:?}"
    );
    assert!(
        matches!(second, Err(StoreError::Unavailable(_))),
        "{second:?}"
    );
    assert!(
        store
            .job(&job_id("j"))
            .await
            .expect("reading goes on")
            .is_some()
    );
    let opened = open(&url, &impatient()).await;
    assert!(
        matches!(opened, Err(StoreError::Unavailable(_))),
        "{opened:?}"
    );
    sqlx::raw_sql("COMMIT")
        .execute(&mut other)
        .await
        .expect("free");
    store
        .submit(new_job("k", 1, 0), at(2))
        .await
        .expect("it works again");
}

#[tokio::test]
async fn read_only_database_says_so() {
    let Some(disk) = Disk::new("2m") else { return };
    let url = sqlite_url(&disk.0);
    let store = open(&url, &Options::default()).await.expect("a store");
    with_job(&*store, "j", 1, 0).await;
    drop(store);
    closed(disk.0.path()).await;
    disk.remount("ro");
    let opened = open(&url, &Options::default()).await;
    assert!(matches!(opened, Err(StoreError::Broken(_))), "{opened:?}");
    disk.remount("rw");
    let store = open(&url, &Options::default()).await.expect("a store");
    assert!(store.job(&job_id("j")).await.expect("asked").is_some());
}

#[tokio::test]
async fn damaged_database_is_an_error_and_no_panic() {
    let directory = TempDir::new().expect("a directory");
    let url = sqlite_url(&directory);
    let path = directory.path().join("helix.db");
    fs::write(
        &path,
        b"this is a letter to my aunt, and no database at all",
    )
    .expect("written");
    let opened = open(&url, &Options::default()).await;
    let Err(StoreError::Broken(message)) = opened else {
        panic!("{opened:?}");
    };
    assert!(message.contains("not a database"), "{message}");
    fs::remove_file(&path).expect("removed");
    let store = open(&url, &Options::default()).await.expect("a store");
    with_job(&*store, "j", 500, 0).await;
    drop(store);
    closed(directory.path()).await;
    let mut bytes = fs::read(&path).expect("read");
    let half = bytes.len() / 8;
    bytes[half..].fill(0x5a);
    fs::write(&path, bytes).expect("written");
    match open(&url, &Options::default()).await {
        Err(StoreError::Broken(_)) => {}
        Ok(store) => {
            let answer = store.items(&job_id("j"), None, 1000).await;
            assert!(matches!(answer, Err(StoreError::Broken(_))), "{answer:?}");
            let answer = store.submit(new_job("k", 500, 0), at(1)).await;
            assert!(matches!(answer, Err(StoreError::Broken(_))), "{answer:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn value_that_no_release_stored_is_an_error() {
    let directory = TempDir::new().expect("a directory");
    let url = sqlite_url(&directory);
    let store = open(&url, &Options::default()).await.expect("a store");
    with_job(&*store, "j", 1, 0).await;
    run(
        &url,
        "UPDATE jobs SET priority = 99999999999, properties = '{'",
    )
    .await;
    let answer = store.job(&job_id("j")).await;
    assert!(matches!(answer, Err(StoreError::Broken(_))), "{answer:?}");
    let answer = store.lanes().await;
    assert!(matches!(answer, Err(StoreError::Broken(_))), "{answer:?}");
}

#[tokio::test]
async fn database_of_a_newer_release_is_refused_and_left_alone() {
    let directory = TempDir::new().expect("a directory");
    let url = sqlite_url(&directory);
    drop(open(&url, &Options::default()).await.expect("a store"));
    closed(directory.path()).await;
    run(&url, "INSERT INTO helix_schema (version) VALUES (1000)").await;
    refuses_newer(&url).await;
    run(&url, "DELETE FROM helix_schema WHERE version = 1000").await;
    open(&url, &Options::default()).await.expect("as it was");
    with_postgres_url(async |url: String| {
        drop(open(&url, &Options::default()).await.expect("a store"));
        let mut connection = PgConnection::connect(&url).await.expect("a connection");
        let newer = sqlx::raw_sql("INSERT INTO helix_schema (version) VALUES (1000)");
        newer.execute(&mut connection).await.expect("a statement");
        refuses_newer(&url).await;
    })
    .await;
}

async fn refuses_newer(url: &str) {
    let opened = open(url, &Options::default()).await;
    let Err(StoreError::Broken(message)) = opened else {
        panic!("{opened:?}");
    };
    assert!(
        message.contains("newer release") && message.contains("1000"),
        "{message}"
    );
}

#[tokio::test]
async fn empty_database_becomes_one_and_keeps_what_is_stored() {
    let directory = TempDir::new().expect("a directory");
    fs::write(directory.path().join("helix.db"), b"").expect("an empty file");
    keeps(&sqlite_url(&directory)).await;
    with_postgres_url(async |url: String| keeps(&url).await).await;
}

async fn keeps(url: &str) {
    // Two at once: one of them makes the schema.
    let options = Options::default();
    let (first, second) = tokio::join!(open(url, &options), open(url, &options));
    drop(second.expect("a store"));
    let store = first.expect("a store");
    with_job(&*store, "j", 2, 0).await;
    start(&*store, "j", "a", at(1)).await;
    drop(store);
    let store = open(url, &Options::default()).await.expect("a store");
    assert_eq!(store.held(&controller("c")).await.expect("held").len(), 1);
    assert_eq!(
        store
            .jobs(&JobFilter::default(), None, 9)
            .await
            .expect("jobs")
            .entries
            .len(),
        1
    );
}

#[tokio::test]
async fn files_are_for_their_owner_only() {
    let directory = TempDir::new().expect("a directory");
    let store = open(&sqlite_url(&directory), &Options::default())
        .await
        .expect("a store");
    with_job(&*store, "j", 1, 0).await;
    let mut found = 0;
    for entry in fs::read_dir(directory.path()).expect("a directory") {
        let entry = entry.expect("a file");
        let mode = entry.metadata().expect("its mode").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.file_name());
        found += 1;
    }
    assert_eq!(found, 3);
}

#[tokio::test]
async fn urls_that_make_no_sense_are_refused() {
    for url in [
        "",
        "helix.db",
        "sqlite://",
        "sqlite://relative.db",
        "mysql://h/d",
        "postgres://[",
    ] {
        let opened = open(url, &Options::default()).await;
        assert!(
            matches!(opened, Err(StoreError::Invalid(_))),
            "{url}: {opened:?}"
        );
    }
    let secret = "redis://user:secret@host";
    let Err(error) = open(secret, &Options::default()).await else {
        panic!("it cannot be opened");
    };
    assert!(!error.to_string().contains("secret"), "{error}");
    let nowhere = open("sqlite:///no/such/directory/helix.db", &Options::default()).await;
    assert!(matches!(nowhere, Err(StoreError::Broken(_))), "{nowhere:?}");
    let nobody = open("postgres://127.0.0.1:1/none", &Options::default()).await;
    assert!(
        matches!(nobody, Err(StoreError::Unavailable(_))),
        "{nobody:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copy_is_of_one_moment_while_the_store_is_used() {
    let directory = TempDir::new().expect("a directory");
    let url = sqlite_url(&directory);
    let store = open(&url, &Options::default()).await.expect("a store");
    with_job(&*store, "before", 50, 0).await;
    let writing = {
        let store = store.clone();
        tokio::spawn(async move {
            for number in 0..40 {
                let job = new_job(&format!("during{number}"), 10, 0);
                store.submit(job, at(1)).await.expect("stored");
            }
        })
    };
    let elsewhere = TempDir::new().expect("a directory");
    let copy = elsewhere.path().join("helix.db");
    backup(&url, &copy).await.expect("a copy");
    writing.await.expect("no panic");
    let mode = fs::metadata(&copy).expect("the copy").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        fs::read_dir(elsewhere.path()).expect("a directory").count(),
        1
    );
    let restored = open(&sqlite_url(&elsewhere), &Options::default())
        .await
        .expect("a store");
    for job in restored
        .jobs(&JobFilter::default(), None, 1000)
        .await
        .expect("jobs")
        .entries
    {
        let items = restored.items(&job.id, None, 1000).await.expect("items");
        assert_eq!(items.entries.len() as u64, job.counts.total);
    }
    let taken = start(&*restored, "before", "a", at(2)).await;
    restored
        .settle(&taken.fence, passes(), at(3))
        .await
        .expect("it is a store");
    let again = backup(&url, &copy).await;
    assert!(matches!(again, Err(StoreError::Invalid(_))), "{again:?}");
    let server = backup("postgres://h/d", &elsewhere.path().join("x")).await;
    assert!(matches!(server, Err(StoreError::Invalid(_))), "{server:?}");
    let nothing = backup("sqlite:///no/such.db", &elsewhere.path().join("y")).await;
    assert!(nothing.is_err());
    assert!(!elsewhere.path().join("y.partial").exists());
}

#[tokio::test]
async fn lost_connections_to_a_server_are_made_anew() {
    with_postgres_url(async |url: String| {
        let store = open(&url, &Options::default()).await.expect("a store");
        with_job(&*store, "j", 4, 0).await;
        let mut changes = store.changes();
        for round in 0..3 {
            let mut admin = PgConnection::connect(&url).await.expect("a connection");
            let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
            sqlx::raw_sql(kill)
                .execute(&mut admin)
                .await
                .expect("killed");
            let mut tries = 0;
            loop {
                match store.beat(&controller("c"), at(round)).await {
                    Ok(()) => break,
                    Err(StoreError::Unavailable(_)) => tries += 1,
                    Err(other) => panic!("{other}"),
                }
                assert!(tries < 3, "it does not connect again");
            }
            assert!(store.job(&job_id("j")).await.expect("asked").is_some());
            start(&*store, "j", &format!("a{round}"), at(round)).await;
        }
        // What was said while nobody listened is made up for.
        let heard = tokio::time::timeout(Duration::from_secs(20), async {
            while changes.recv().await.expect("a hint") != helix_store::Change::Everything {}
        });
        heard.await.expect("a hint that hints were lost");
    })
    .await;
}
