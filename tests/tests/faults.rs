//! Parts of the system killed at any moment, and disks that fill.

use std::path::Path;
use std::time::{Duration, Instant};

use helix_proto::agent::v1::attempt_event::Kind;
use helix_proto::agent::v1::{
    AttemptEvent, ListAttemptsRequest, Payload, RunResponse, VerdictKind, WorkItem, payload,
};
use helix_tests::agent::{Agent, until};
use helix_tests::disk::SmallDisk;
use helix_tests::eventually;
use helix_tests::item::{delivery, limited, shell};
use helix_tests::stream::Seen;
use tempfile::TempDir;
use tonic::Streaming;

/// A row of numbers that a seed decides.
struct Dice(u64);

impl Dice {
    /// Below `end`.
    fn roll(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

fn tar(path: &Path, name: &str, content: &[u8]) {
    let mut builder = tar::Builder::new(std::fs::File::create(path).expect("created"));
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    builder
        .append_data(&mut header, name, content)
        .expect("written");
    builder.into_inner().expect("finished");
}

/// Kinds of items that fail in different places when something dies. Each uses
/// its directory to its end, so that one that is taken from it shows.
fn kinds(archive: &Path) -> Vec<(&'static str, WorkItem, i32)> {
    let payload = Payload {
        source: Some(payload::Source::Url(format!(
            "file://{}",
            archive.display()
        ))),
        ..Payload::default()
    };
    let own = |line: &str| WorkItem {
        payloads: vec![payload.clone()],
        ..shell(line)
    };
    let shared = Payload {
        destination: "c".to_owned(),
        ..payload.clone()
    };
    vec![
        ("quick", shell("echo quick; echo error >&2"), 0),
        ("failing", shell("echo before; sleep 0.1; exit 9"), 9),
        (
            "talking",
            shell(
                "touch mark; i=0; while [ $i -lt 30 ]; do echo line $i; i=$((i+1)); sleep 0.01; done; test -e mark",
            ),
            0,
        ),
        ("payload", own("cat file; sleep 0.2; cat file"), 0),
        (
            "correlation",
            WorkItem {
                correlation_payloads: vec![shared],
                ..shell("sleep 0.2; cat \"$HELIX_CORRELATION_PAYLOAD/c/file\"")
            },
            0,
        ),
        (
            "large",
            shell("head -c 3000000 /dev/zero | tr '\\0' x; echo; sleep 0.1"),
            0,
        ),
        (
            "uploading",
            shell(
                "i=0; while [ $i -lt 40 ]; do echo $i > \"$HELIX_WORKITEM_UPLOAD_ROOT/$i\"; i=$((i+1)); done",
            ),
            0,
        ),
        (
            "timing out",
            limited(
                shell("echo stuck; sleep 600"),
                Some(Duration::from_millis(300)),
                None,
                Duration::ZERO,
            ),
            -3,
        ),
    ]
}

/// Reads a stream until it ends or breaks.
async fn read_on(mut stream: Streaming<RunResponse>) -> Seen {
    let mut seen = Seen::default();
    while let Ok(Some(response)) = stream.message().await {
        seen.take(response.event.expect("an event"));
    }
    seen
}

/// The order of events that the contract promises. Results and artifacts may be
/// told again by the next life of the agent.
#[track_caller]
fn check_order(events: &[AttemptEvent], context: &str) {
    let place = |event: &AttemptEvent| match event.kind.as_ref() {
        Some(Kind::Accepted(_)) => Some(0),
        Some(Kind::Preparing(_)) => Some(1),
        Some(Kind::Started(_)) => Some(2),
        Some(Kind::Exited(_)) => Some(3),
        Some(Kind::ResultsRead(_) | Kind::ArtifactStored(_)) => Some(4),
        Some(Kind::Finished(_) | Kind::Requeued(_) | Kind::Returned(_)) => Some(5),
        _ => None,
    };
    let places: Vec<i32> = events.iter().filter_map(place).collect();
    assert!(places.is_sorted(), "{context}: out of order: {events:#?}");
    for once in [0, 2, 3, 5] {
        let count = places.iter().filter(|place| **place == once).count();
        assert!(
            count <= 1,
            "{context}: {count} events of kind {once}: {events:#?}"
        );
    }
    assert_eq!(places.first(), Some(&0), "{context}: {events:#?}");
    assert_eq!(places.last(), Some(&5), "{context}: {events:#?}");
}

const ROUNDS: u64 = 40;
const BOUND: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn agent_killed_at_any_moment_ends_every_attempt_once_and_forgets_no_byte() {
    let seed = std::env::var("HELIX_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(20_240_917);
    let mut dice = Dice(seed);
    let mut agent = Agent::start_with("slots = 4\n", "").await;
    let archive = agent.directory().join("payload.tar");
    tar(&archive, "file", b"from the payload\n");
    let began = Instant::now();
    let mut rounds = 0;
    while rounds < ROUNDS && (rounds < 30 || began.elapsed() < BOUND) {
        rounds += 1;
        let mut offered = Vec::new();
        for _ in 0..2 {
            let all = kinds(&archive);
            let chosen = usize::try_from(dice.roll(all.len() as u64)).expect("small");
            let (what, item, exit) = all.into_iter().nth(chosen).expect("there is one");
            let attempt_id = item.attempt_id.clone();
            let stream = agent.offer(item).await.expect("taken");
            offered.push((what, attempt_id, exit, tokio::spawn(read_on(stream))));
        }
        // From the acceptance to beyond the end of most kinds.
        let delay = Duration::from_micros(dice.roll(450_000));
        tokio::time::sleep(delay).await;
        agent.kill_and_start_again().await;
        for (what, attempt_id, exit, reader) in offered {
            let context = format!("seed {seed}, round {rounds}, `{what}`, killed after {delay:?}");
            let before = reader.await.expect("read");
            let after =
                tokio::time::timeout(helix_tests::PATIENCE, agent.attach(&attempt_id, 0, 0));
            let after = after
                .await
                .unwrap_or_else(|_| panic!("{context}: it never ends"));
            check_order(&after.events, &context);
            // What anybody was told stays true.
            assert!(
                after.stdout.starts_with(&before.stdout),
                "{context}: standard output"
            );
            assert!(
                after.stderr.starts_with(&before.stderr),
                "{context}: standard error"
            );
            assert!(
                after.notes.starts_with(&before.notes),
                "{context}: lines of the agent"
            );
            assert_eq!(
                after.events[..before.events.len()],
                before.events[..],
                "{context}"
            );
            // It ended as it would have, or was given back before it began.
            match after.terminal() {
                Some(Kind::Finished(finished)) => {
                    assert_eq!(
                        finished.helix_exit_code,
                        exit,
                        "{context}: {}",
                        after.text()
                    );
                }
                Some(Kind::Returned(_)) => {
                    let started =
                        |event: &AttemptEvent| matches!(event.kind, Some(Kind::Started(_)));
                    assert!(
                        !after.events.iter().any(started),
                        "{context}: {:#?}",
                        after.events
                    );
                    assert_eq!(
                        after.verdict().kind(),
                        VerdictKind::Infrastructure,
                        "{context}"
                    );
                }
                other => panic!("{context}: {other:?}"),
            }
            let lines = String::from_utf8_lossy(&after.notes)
                .matches("END OF WORK ITEM LOG")
                .count();
            assert_eq!(
                lines,
                1,
                "{context}: {}",
                String::from_utf8_lossy(&after.notes)
            );
            // And reads the same again.
            let again = agent.attach(&attempt_id, 0, 0).await;
            assert_eq!(again.events, after.events, "{context}");
            assert_eq!(again.stdout, after.stdout, "{context}");
        }
    }
    // All of them are known, and none holds anything.
    let list = ListAttemptsRequest {
        page_size: 1000,
        ..ListAttemptsRequest::default()
    };
    let list = agent
        .client()
        .await
        .list_attempts(list)
        .await
        .expect("a list")
        .into_inner();
    assert_eq!(list.attempts.len() as u64, rounds * 2);
    assert!(list.attempts.iter().all(|row| row.terminal_event.is_some()));
    let free = agent.capacity().await.free.expect("set");
    assert_eq!(free.slots, 4);
    assert_eq!(agent.run(shell("echo well")).await.stdout, b"well\n");
}

/// Every process whose environment or command line names `word`, with its
/// parent.
fn processes_with(word: &str) -> Vec<(i32, i32)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("readable").flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        let all = [read("environ"), read("cmdline")].concat();
        if all
            .windows(word.len())
            .any(|window| window == word.as_bytes())
        {
            found.push((pid, parent_of(pid)));
        }
    }
    found
}

fn parent_of(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(0)
}

fn kill(pid: i32) {
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGKILL,
    )
    .expect("it runs");
}

/// An item with a tree of processes, two of which try to get away.
async fn item_with_a_tree(agent: &Agent) -> (Streaming<RunResponse>, Seen, String) {
    let item =
        shell("setsid sleep 611 & (trap '' TERM HUP; sleep 612) & sleep 613 & echo ready; wait");
    let attempt_id = item.attempt_id.clone();
    let mut stream = agent.offer(delivery_of(item)).await.expect("taken");
    let mut seen = Seen::default();
    until(&mut stream, &mut seen, |seen, _| seen.stdout == b"ready\n").await;
    (stream, seen, attempt_id)
}

fn delivery_of(item: WorkItem) -> WorkItem {
    let attempt_id = item.attempt_id.clone();
    WorkItem {
        attempt_id,
        ..delivery(item, 1, 3, 2)
    }
}

/// The processes of the work item that names its directories beneath `agent`.
fn of_the_item(agent: &Agent) -> Vec<(i32, i32)> {
    processes_with(&agent.directory().join("work").display().to_string())
}

#[tokio::test]
async fn killed_supervisor_is_told_as_lost_and_takes_its_tree_with_it() {
    let agent = Agent::start().await;
    let (mut stream, mut seen, attempt_id) = item_with_a_tree(&agent).await;
    let tree = eventually("the tree is there", async || match of_the_item(&agent) {
        tree if tree.len() >= 4 => Ok(tree),
        tree => Err(tree),
    })
    .await;
    let started = seen.find(|kind| match kind {
        Kind::Started(started) => Some(started.pid),
        _ => None,
    });
    let command = i32::try_from(started).expect("a pid");
    let supervisor = parent_of(command);
    assert!(
        supervisor > 1 && !tree.iter().any(|(pid, _)| *pid == supervisor),
        "{tree:?}"
    );
    kill(supervisor);
    while let Some(response) = stream.message().await.expect("unbroken") {
        seen.take(response.event.expect("an event"));
    }
    let verdict = seen.verdict();
    assert_eq!(verdict.kind(), VerdictKind::Infrastructure, "{verdict:?}");
    assert_eq!(verdict.reason, "SUPERVISOR_LOST");
    assert_eq!(seen.returned().next_delivery_number, 2);
    assert_eq!(agent.attach(&attempt_id, 0, 0).await.stdout, b"ready\n");
    // Those that had made sessions of their own as well.
    eventually(
        "no process of the item lives on",
        async || match of_the_item(&agent) {
            tree if tree.is_empty() => Ok(()),
            tree => Err(tree),
        },
    )
    .await;
    assert_eq!(agent.run(shell("echo next")).await.stdout, b"next\n");
}

/// The launcher of an agent: its one child.
fn launcher_of(agent: &Agent) -> Option<i32> {
    let own = i32::try_from(agent.pid()).expect("a pid");
    std::fs::read_dir("/proc")
        .expect("readable")
        .flatten()
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
        })
        .find(|pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            parent_of(*pid) == own && line.ends_with(b"\0launcher\0")
        })
}

#[tokio::test]
async fn killed_launcher_disturbs_no_item_and_the_next_one_gets_a_new_launcher() {
    let agent = Agent::start().await;
    let gate = agent.directory().join("gate");
    let line = format!(
        "echo ready; until test -e {}; do sleep 0.05; done; echo end; exit 5",
        gate.display()
    );
    let mut stream = agent.offer(shell(&line)).await.expect("taken");
    let mut seen = Seen::default();
    until(&mut stream, &mut seen, |seen, _| seen.stdout == b"ready\n").await;
    for _ in 0..3 {
        let launcher = launcher_of(&agent).expect("there is one");
        kill(launcher);
        // At once, whether the agent has noticed or not.
        let next = agent.run(shell("echo next")).await;
        assert_eq!(next.stdout, b"next\n", "{}", next.text());
        assert_ne!(launcher_of(&agent), Some(launcher));
    }
    std::fs::write(&gate, b"").expect("written");
    while let Some(response) = stream.message().await.expect("unbroken") {
        seen.take(response.event.expect("an event"));
    }
    assert_eq!(seen.stdout, b"ready\nend\n");
    assert_eq!(seen.finished().helix_exit_code, 5);
}

#[tokio::test]
async fn full_state_directory_ends_items_with_a_clear_status_and_the_agent_lives() {
    let directory = TempDir::with_prefix("helix-").expect("a directory");
    let state = directory.path().join("state");
    let Some(disk) = SmallDisk::mount(state.clone(), "6m") else {
        return;
    };
    let agent = Agent::start_in(directory, "slots = 2\n", "", &[]).await;
    assert_eq!(agent.run(shell("echo well")).await.stdout, b"well\n");

    // It fills while an item writes: what does not fit is a gap, and the item is
    // neither disturbed nor left without an end.
    let line = "echo first; head -c 20000000 /dev/zero | tr '\\0' x; echo; echo last; exit 3";
    let item = shell(line);
    let attempt_id = item.attempt_id.clone();
    let seen = agent.run(item).await;
    assert!(seen.stdout.starts_with(b"first\n"), "{}", seen.stdout.len());
    assert!(seen.dropped > 10_000_000, "{} bytes dropped", seen.dropped);
    match seen.terminal() {
        Some(Kind::Finished(finished)) => assert_eq!(finished.helix_exit_code, 3),
        Some(Kind::Returned(_)) => {
            assert_eq!(seen.verdict().kind(), VerdictKind::Infrastructure);
            let message = seen.verdict().message.to_lowercase();
            assert!(
                message.contains("space") || message.contains("disk"),
                "{message}"
            );
        }
        other => panic!("{other:?}"),
    }

    // It is full before an item comes: refused, or ended with the reason.
    disk.fill();
    let item = shell("echo x");
    let full = item.clone();
    match agent.offer(item).await {
        Err(status) => {
            assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
            assert!(status.message().contains("state directory"), "{status:?}");
        }
        Ok(stream) => {
            let seen = read_on(stream).await;
            if let Some(Kind::Returned(_)) = seen.terminal() {
                let message = seen.verdict().message.to_lowercase();
                assert!(
                    message.contains("space") || message.contains("disk"),
                    "{message}"
                );
            } else {
                assert_eq!(seen.finished().helix_exit_code, 0);
            }
        }
    }

    // With room again it works again, without a restart, the same item included
    // if it was never taken.
    disk.empty();
    let _ = std::fs::remove_dir_all(state.join("artifacts"));
    let first = agent.attach(&attempt_id, 0, 0).await;
    assert!(first.terminal().is_some());
    let list = agent
        .client()
        .await
        .list_attempts(ListAttemptsRequest::default())
        .await;
    let list = list.expect("a list").into_inner();
    let known = list.attempts.iter().filter_map(|row| row.attempt.as_ref());
    if !known
        .map(|row| &row.attempt_id)
        .any(|id| *id == full.attempt_id)
    {
        let status = agent.offer(full).await.map(|_| ());
        assert!(status.is_ok(), "{status:?}");
    }
    assert!(agent.log().contains("No space left"), "nobody was told");
}
