//! Archives that mean harm.

use std::io::Write;
use std::path::Path;

use helix_proto::agent::v1::{Payload, VerdictKind, WorkItem, payload, returned};
use helix_tests::agent::Agent;
use helix_tests::archive::{raw_tar, raw_zip, tar};
use helix_tests::eventually;
use helix_tests::item::shell;
use helix_tests::stream::Seen;
use tar::EntryType;

fn at(url: &str) -> Payload {
    Payload {
        source: Some(payload::Source::Url(url.to_owned())),
        ..Payload::default()
    }
}

fn with_payload(line: &str, payload: Payload) -> WorkItem {
    WorkItem {
        payloads: vec![payload],
        ..shell(line)
    }
}

/// The terminal event of an item whose payload failed: the infrastructure is to
/// blame, no retry is used, and the message says what is wrong.
#[track_caller]
fn payload_failure(seen: &Seen) -> &str {
    let returned = seen.returned();
    let Some(returned::Cause::Verdict(verdict)) = &returned.cause else {
        panic!("no verdict: {returned:?}")
    };
    assert_eq!(verdict.kind(), VerdictKind::Infrastructure, "{verdict:?}");
    assert_eq!(verdict.reason, "PAYLOAD", "{verdict:?}");
    &verdict.message
}

#[tokio::test]
async fn hostile_archives_end_as_infrastructure_and_leave_nothing_outside_the_root() {
    let agent = Agent::start().await;
    let victim = agent.directory().join("victim");
    std::fs::create_dir(&victim).expect("created");
    let target = victim.display().to_string();
    let escape = format!("{target}/escaped");
    let up = "../../../../../../../../../..";
    let far = format!("{up}{target}");
    let archives = [
        ("zip slip", raw_zip(&format!("{up}{escape}"), b"x")),
        ("absolute zip", raw_zip(&escape, b"x")),
        (
            "zip slip with backslashes",
            raw_zip("..\\..\\escaped", b"x"),
        ),
        (
            "tar slip",
            raw_tar(&[(EntryType::Regular, &format!("{up}{escape}"), "", b"x")]),
        ),
        (
            "absolute tar",
            raw_tar(&[(EntryType::Regular, &escape, "", b"x")]),
        ),
        (
            "file by way of a link",
            raw_tar(&[
                (EntryType::Symlink, "link", &target, b""),
                (EntryType::Regular, "link/escaped", "", b"x"),
            ]),
        ),
        (
            "file by way of a link that climbs",
            raw_tar(&[
                (EntryType::Symlink, "link", &far, b""),
                (EntryType::Regular, "link/escaped", "", b"x"),
            ]),
        ),
        (
            "hard link out",
            raw_tar(&[(EntryType::Link, "passwd", "/etc/passwd", b"")]),
        ),
        ("device", raw_tar(&[(EntryType::Char, "device", "", b"")])),
        ("fifo", raw_tar(&[(EntryType::Fifo, "fifo", "", b"")])),
        ("nothing known", b"this is no archive at all".to_vec()),
        ("empty", Vec::new()),
    ];
    for (what, archive) in archives {
        let file = agent.directory().join("hostile");
        std::fs::write(&file, archive).expect("written");
        let url = format!("file://{}", file.display());
        let seen = agent.run(with_payload("echo it ran", at(&url))).await;
        let message = payload_failure(&seen);
        assert!(
            message.contains("hostile") && message.len() > 40,
            "{what}: {message}"
        );
        assert!(seen.stdout.is_empty(), "{what}: the command ran");
        let inside: Vec<_> = std::fs::read_dir(&victim).expect("readable").collect();
        assert!(inside.is_empty(), "{what}: {inside:?}");
        let mut probation = agent.capacity().await;
        probation
            .reasons
            .retain(|reason| reason.contains("quarantine"));
        assert!(
            probation.reasons.is_empty(),
            "{what}: a bad archive is not the machine's fault"
        );
    }
}

#[tokio::test]
async fn archive_that_grows_without_measure_is_stopped() {
    let agent = Agent::start_with("", "unpacked_size = \"64 MiB\"\nentries = 1000\n").await;
    let zeros = vec![0_u8; 80 << 20];
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gz.write_all(&tar(&[("zeros", &zeros)])).expect("written");
    let names: Vec<String> = (0..1500).map(|number| format!("file-{number}")).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    for (what, archive) in [
        ("bomb", gz.finish().expect("finished")),
        ("many files", tar(&many)),
    ] {
        let file = agent.directory().join("archive");
        std::fs::write(&file, archive).expect("written");
        let url = format!("file://{}", file.display());
        let seen = agent.run(with_payload("echo it ran", at(&url))).await;
        let message = payload_failure(&seen);
        assert!(message.contains("archive"), "{what}: {message}");
        assert!(seen.stdout.is_empty(), "{what}: the command ran");
    }
    // Nothing of it stays.
    eventually("the directories are gone", async || {
        let left = bytes_below(&agent.directory().join("work"));
        if left < 1 << 20 { Ok(()) } else { Err(left) }
    })
    .await;
}

fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
