//! Output of every size and shape, to clients of every speed.

use std::time::Duration;

use helix_proto::agent::v1::attempt_event::Kind;
use helix_proto::agent::v1::{Command, ConsoleStream, OutputMode, command};
use helix_tests::agent::{Agent, until};
use helix_tests::item::{argv, shell};
use helix_tests::stream::Seen;

#[tokio::test]
async fn line_of_ten_megabytes_arrives_whole() {
    let agent = Agent::start().await;
    let seen = agent
        .run(shell("head -c 10000000 /dev/zero | tr '\\0' x"))
        .await;
    assert_eq!(seen.stdout.len(), 10_000_000);
    assert!(seen.stdout.iter().all(|byte| *byte == b'x'));
}

#[tokio::test]
async fn bytes_that_are_no_text_arrive_unchanged() {
    let agent = Agent::start().await;
    let seen = agent
        .run(argv(&["printf", r"\377\376\000\200ok\303"]))
        .await;
    assert_eq!(seen.stdout, b"\xff\xfe\x00\x80ok\xc3");
}

#[tokio::test]
async fn merged_output_keeps_the_exact_order() {
    let agent = Agent::start().await;
    let line = "for i in 1 2 3 4 5 6 7 8 9; do echo o$i; echo e$i >&2; done";
    let mut item = shell(line);
    item.command = Some(Command {
        kind: Some(command::Kind::Shell(line.to_owned())),
        output_mode: OutputMode::Merged.into(),
    });
    let seen = agent.run(item).await;
    let expected: String = (1..=9).map(|i| format!("o{i}\ne{i}\n")).collect();
    assert_eq!(String::from_utf8_lossy(&seen.stdout), expected);
    assert!(seen.stderr.is_empty());
}

#[tokio::test]
async fn output_is_live() {
    let agent = Agent::start().await;
    let gate = agent.directory().join("gate");
    let line = format!(
        "echo first; until test -e {}; do sleep 0.05; done",
        gate.display()
    );
    let mut stream = agent.offer(shell(&line)).await.expect("taken");
    let mut seen = Seen::default();
    // The command ends only after its first line was seen.
    until(&mut stream, &mut seen, |seen, _| seen.stdout == b"first\n").await;
    std::fs::write(&gate, b"").expect("written");
    while let Some(response) = stream.message().await.expect("unbroken") {
        seen.take(response.event.expect("an event"));
    }
    assert_eq!(seen.finished().helix_exit_code, 0);
}

#[tokio::test]
async fn two_gigabytes_of_output_keep_head_and_tail_and_say_what_is_missing() {
    const TOTAL: u64 = 2_000_000_000;
    let tables = "[output]\nhead = \"4 MiB\"\ntail = \"4 MiB\"\n";
    let agent = Agent::start_with("slots = 1\n", tables).await;
    let line = format!("echo BEGIN; yes 0123456789abcdef | head -c {TOTAL}; echo END");
    let item = shell(&line);
    let attempt_id = item.attempt_id.clone();
    let seen = agent.run(item).await;
    assert_eq!(seen.finished().helix_exit_code, 0);
    let shown = seen.stdout.len() as u64 + seen.dropped;
    assert_eq!(
        shown,
        TOTAL + 10,
        "every byte is shown or said to be dropped"
    );

    // Whoever comes late sees the head, one gap and the tail.
    let late = agent.attach(&attempt_id, 0, 0).await;
    assert!(late.stdout.starts_with(b"BEGIN\n"));
    assert!(late.stdout.ends_with(b"END\n"));
    assert!(
        late.dropped > TOTAL - 32_000_000,
        "{} bytes dropped",
        late.dropped
    );
    assert_eq!(late.stdout.len() as u64 + late.dropped, TOTAL + 10);
    let log = late.find(|kind| match kind {
        Kind::ArtifactStored(stored) if stored.name.starts_with("console.") => Some(stored),
        _ => None,
    });
    let path = log.url.strip_prefix("file://").expect("a local store");
    let log = std::fs::read(path).expect("stored");
    assert!(log.len() < 20_000_000, "{} bytes", log.len());
    let text = String::from_utf8_lossy(&log);
    assert!(text.contains(" bytes dropped ...]"), "no visible mark");
    assert!(text.contains("BEGIN\n") && text.contains("END\n"));
}

#[tokio::test]
async fn client_that_goes_away_does_not_disturb_the_item() {
    let agent = Agent::start().await;
    let item = shell("echo one; sleep 0.5; echo two; sleep 0.5; echo three");
    let attempt_id = item.attempt_id.clone();
    let mut stream = agent.offer(item).await.expect("taken");
    let mut seen = Seen::default();
    until(&mut stream, &mut seen, |seen, _| seen.stdout == b"one\n").await;
    drop(stream);
    let last = seen.events.last().map_or(0, |event| event.number);
    let rest = agent.attach(&attempt_id, last, seen.console_end).await;
    let whole = [seen.stdout, rest.stdout.clone()].concat();
    assert_eq!(whole, b"one\ntwo\nthree\n");
    assert_eq!(
        rest.events.first().map(|event| event.number),
        Some(last + 1)
    );
    assert_eq!(rest.finished().helix_exit_code, 0);
}

#[tokio::test]
async fn two_clients_at_different_offsets_see_the_same_bytes() {
    let agent = Agent::start().await;
    let item = shell("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done");
    let attempt_id = item.attempt_id.clone();
    let all = agent.run(item).await;
    let middle = all.console_end / 2;
    let (from_start, from_middle) = tokio::join!(
        agent.attach(&attempt_id, 0, 0),
        agent.attach(&attempt_id, 2, middle)
    );
    assert_eq!(from_start.stdout, all.stdout);
    assert_eq!(from_start.events, all.events);
    assert_eq!(from_middle.console_end, all.console_end);
    assert!(all.stdout.ends_with(&from_middle.stdout));
    assert_eq!(from_middle.events[..], all.events[2..]);
}

#[tokio::test]
async fn client_that_never_reads_slows_neither_the_item_nor_other_clients() {
    let agent = Agent::start().await;
    let item = shell("head -c 40000000 /dev/zero | tr '\\0' y");
    let attempt_id = item.attempt_id.clone();
    // This stream is never read beyond what the transport buffers.
    let lazy = agent.offer(item).await.expect("taken");
    let patience = Duration::from_secs(60);
    let quick = tokio::time::timeout(patience, agent.attach(&attempt_id, 0, 0)).await;
    let quick = quick.expect("the lazy client holds nobody up");
    assert_eq!(quick.stdout.len(), 40_000_000);
    drop(lazy);
}

#[tokio::test]
async fn chunks_name_their_stream_and_time() {
    let agent = Agent::start().await;
    let mut stream = agent
        .offer(shell("echo a; echo b >&2"))
        .await
        .expect("taken");
    let mut streams = Vec::new();
    while let Some(response) = stream.message().await.expect("unbroken") {
        let event = response.event.expect("an event");
        if let Some(Kind::Console(chunk)) = &event.kind {
            assert!(event.time.is_some(), "a chunk without a time");
            streams.push(chunk.stream());
        }
    }
    for stream in [
        ConsoleStream::Agent,
        ConsoleStream::Stdout,
        ConsoleStream::Stderr,
    ] {
        assert!(streams.contains(&stream), "{streams:?}");
    }
}

#[tokio::test]
async fn secrets_are_masked_in_every_form_and_across_writes() {
    let agent = Agent::start().await;
    // Written in two writes that arrive apart, as base64, and whole.
    let line = "printf hunter; sleep 0.3; printf '2secret\\n'; \
                printf 'hunter2secret' | base64; echo \"x=$TOKEN.\" >&2";
    let mut item = shell(line);
    item.secrets = vec!["hunter2secret".to_owned()];
    item.environment = vec![helix_proto::agent::v1::EnvironmentVariable {
        name: "TOKEN".to_owned(),
        value: "hunter2secret".to_owned(),
    }];
    let seen = agent.run(item).await;
    let text = seen.text();
    assert!(!text.contains("hunter2secret"), "{text}");
    assert!(!text.contains("aHVudGVyMnNlY3JldA"), "{text}");
    assert!(seen.stdout.starts_with(b"***\n"), "{text}");
    assert_eq!(seen.stderr, b"x=***.\n");
    assert_no_trace(agent.directory(), b"hunter2secret");
}

fn assert_no_trace(directory: &std::path::Path, secret: &[u8]) {
    for entry in std::fs::read_dir(directory).expect("readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            assert_no_trace(&path, secret);
        } else if let Ok(bytes) = std::fs::read(&path) {
            let found = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "the secret stands in {}", path.display());
        }
    }
}

#[tokio::test]
async fn end_of_the_command_is_told_after_its_last_byte() {
    let agent = Agent::start().await;
    for _ in 0..5 {
        let seen = agent
            .run(shell("printf 'no newline'; sleep 0.05; echo"))
            .await;
        assert_eq!(seen.stdout, b"no newline\n");
        let exited = seen
            .events
            .iter()
            .find(|event| matches!(event.kind, Some(Kind::Exited(_))));
        let offset = exited.expect("told").console_offset;
        let last_line = seen.console_end - notes_after(&seen);
        assert_eq!(offset, last_line);
    }
}

/// Bytes of the agent's own last line.
fn notes_after(seen: &Seen) -> u64 {
    let text = String::from_utf8_lossy(&seen.notes).into_owned();
    text.lines().last().map_or(0, |line| line.len() as u64 + 1)
}
