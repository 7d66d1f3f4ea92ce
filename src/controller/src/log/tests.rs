//! Logs that are read while they grow, arrive twice or in part, and where they end up.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use helix_model::ids::{AttemptId, JobId};
use helix_store::LogPlace;

use super::*;
use crate::link::{Event, EventStream};
use crate::storage::Storage;
use crate::tasks::Tasks;

struct Scene {
    directory: tempfile::TempDir,
    logs: LogDirectory,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("logs");
        let logs = LogDirectory::new(&path);
        std::fs::create_dir(&path).expect("it can be made");
        std::fs::write(path.join("old"), "left by an earlier life").expect("it can be written");
        logs.prepare().expect("it can be emptied");
        Self { directory, logs }
    }

    fn begin(&self) -> LogWriter {
        self.logs.begin(&attempt())
    }

    fn files(&self) -> usize {
        let path = self.directory.path().join("logs");
        std::fs::read_dir(path).expect("it is there").count()
    }
}

fn attempt() -> AttemptId {
    AttemptId::new("attempt").expect("a good id")
}

async fn rest(mut reader: LogReader) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(more) = reader.next().await.expect("it can be read") {
        assert!(!more.is_empty());
        bytes.extend_from_slice(&more);
    }
    bytes
}

#[tokio::test]
async fn readers_follow_a_log_from_memory_into_its_file_to_the_end() {
    let scene = Scene::new();
    let mut log = scene.begin();
    assert_eq!(scene.files(), 0);
    let early = tokio::spawn(rest(LogReader::live(log.live(), 0, None)));
    let part = tokio::spawn(rest(LogReader::live(log.live(), 10, Some(20_000))));
    let mut expected = Vec::new();
    for number in 0_u32..100 {
        let chunk = Bytes::from(format!("{number:>999}\n"));
        expected.extend_from_slice(&chunk);
        let offset = log.console_offset();
        log.append(offset, chunk).await.expect("it is written");
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.files(), 1);
    let late = tokio::spawn(rest(LogReader::live(log.live(), 99_000, None)));
    // Who reads has the file open, although it is gone.
    drop(log);
    assert_eq!(scene.files(), 0);
    assert_eq!(early.await.expect("it ends"), expected);
    assert_eq!(part.await.expect("it ends"), &expected[10..20_000]);
    assert_eq!(late.await.expect("it ends"), &expected[99_000..]);
}

#[tokio::test]
async fn what_comes_twice_is_kept_once_and_what_is_lost_is_marked() {
    let scene = Scene::new();
    let mut log = scene.begin();
    log.append(0, "abc".into()).await.expect("it is written");
    log.append(0, "abcde".into()).await.expect("it is written");
    log.append(2, "c".into()).await.expect("it is written");
    log.gap(3, 4).await.expect("it is written");
    log.gap(0, 5).await.expect("it is written");
    log.append(9, "x".into()).await.expect("it is written");
    assert_eq!(log.console_offset(), 10);
    let text = log.short().await.expect("it can be read").expect("short");
    assert_eq!(
        String::from_utf8(text).expect("text"),
        "abcde\n[helix: 2 bytes of output are not kept]\n\n[helix: 2 bytes of output are not kept]\nx"
    );
    log.restart();
    assert_eq!((log.length(), log.console_offset()), (0, 0));
}

#[tokio::test]
async fn short_logs_go_with_their_attempt_and_long_ones_to_the_object_store() {
    let scene = Scene::new();
    let storage = Storage::folder(&scene.directory.path().join("objects")).expect("a folder");
    let job = JobId::new("job").expect("a good id");
    let mut log = scene.begin();
    let none = keep(&log, &storage, &job, &attempt()).await.expect("kept");
    assert_eq!((none.place, none.length), (None, 0));
    log.append(0, vec![b'x'; 32 << 10].into())
        .await
        .expect("it is written");
    let short = keep(&log, &storage, &job, &attempt()).await.expect("kept");
    assert_eq!(short.place, Some(LogPlace::Here));
    assert_eq!(short.short.len(), 32 << 10);
    let more = Bytes::from(vec![b'y'; 20 << 20]);
    log.append(32 << 10, more).await.expect("it is written");
    let long = keep(&log, &storage, &job, &attempt()).await.expect("kept");
    let Some(LogPlace::Object(key)) = long.place else {
        panic!("it is long");
    };
    assert!(long.short.is_empty());
    let range = (32 << 10) - 1..(32 << 10) + 1;
    let reader = LogReader::object(&storage, &key, range)
        .await
        .expect("there");
    assert_eq!(rest(reader).await, b"xy");
}

#[tokio::test]
async fn mirror_is_begun_once_and_tells_what_the_agent_tells() {
    let scene = Scene::new();
    let (tasks, mirrors) = (Tasks::default(), Mirrors::default());
    let (agent, events) = futures::channel::mpsc::unbounded();
    let tell = |event| agent.unbounded_send(Ok(event)).expect("it listens");
    let console = |offset, data: &'static [u8]| Event::Console {
        offset,
        data: Bytes::from_static(data),
    };
    tell(console(0, b"abc"));
    let mirror = mirrors.begin(&tasks, &scene.logs, &attempt(), Box::pin(events));
    let nothing: EventStream = Box::pin(futures::stream::empty());
    let again = mirrors.begin(&tasks, &scene.logs, &attempt(), nothing);
    let log = mirror.log().await.expect("it is there");
    // Whoever asks what there is gets everything there was.
    assert_eq!(log.state().borrow().length, 3);
    assert!(Arc::ptr_eq(&log, &again.log().await.expect("the same")));

    let reader = tokio::spawn(rest(LogReader::live(Arc::clone(&log), 1, None)));
    tell(Event::Gap {
        offset: 3,
        dropped: 4,
    });
    tell(console(7, b"x"));
    drop(agent);
    let read = reader.await.expect("it ends");
    assert_eq!(read, b"bc\n[helix: 4 bytes of output are not kept]\nx");
    drop(log);
    tasks.end();
    tasks.ended().await;
    assert!(mirrors.find(&attempt()).is_none());
}

#[tokio::test(start_paused = true)]
async fn mirror_goes_when_nobody_has_read_it_for_a_while() {
    let scene = Scene::new();
    let (tasks, mirrors) = (Tasks::default(), Mirrors::default());
    let silent: EventStream = Box::pin(futures::stream::pending());
    let mirror = mirrors.begin(&tasks, &scene.logs, &attempt(), silent);
    let log = mirror.log().await.expect("it is there");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(mirrors.find(&attempt()).is_some(), "somebody has it");
    drop(log);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(mirrors.find(&attempt()).is_none());
}
