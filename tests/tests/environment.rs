//! What a command finds around it, and what is made of what it leaves.

use std::collections::BTreeMap;

use helix_proto::agent::v1::attempt_event::Kind;
use helix_proto::agent::v1::{ArtifactKind, EnvironmentVariable, VerdictKind, WorkItem};
use helix_tests::agent::Agent;
use helix_tests::item::shell;
use helix_tests::stream::Seen;

fn artifacts(seen: &Seen) -> BTreeMap<String, (ArtifactKind, Vec<u8>)> {
    let stored = seen.events.iter().filter_map(|event| match &event.kind {
        Some(Kind::ArtifactStored(stored)) => Some(stored),
        _ => None,
    });
    stored
        .map(|stored| {
            let path = stored.url.strip_prefix("file://").expect("a local store");
            let bytes = std::fs::read(path).expect("it is where it is said to be");
            assert_eq!(bytes.len() as u64, stored.size_bytes);
            assert_eq!(stored.sha256.len(), 32);
            (stored.name.clone(), (stored.kind(), bytes))
        })
        .collect()
}

#[tokio::test]
async fn environment_holds_what_helix_promises_and_nothing_of_the_agent() {
    let agent = Agent::start().await;
    let mut item = shell("env | sort; pwd");
    item.environment = vec![EnvironmentVariable {
        name: "MINE".into(),
        value: "1 2".into(),
    }];
    let (job, id) = (item.job_id.clone(), item.work_item_id.clone());
    let seen = agent.run(item).await;
    let text = String::from_utf8(seen.stdout.clone()).expect("text");
    let variables: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    assert_eq!(variables["HELIX_CORRELATION_ID"], job);
    assert_eq!(variables["HELIX_WORKITEM_ID"], id);
    assert_eq!(variables["HELIX_WORKITEM_FRIENDLYNAME"], "a test");
    assert_eq!(variables["MINE"], "1 2");
    for name in [
        "HELIX_CORRELATION_PAYLOAD",
        "HELIX_WORKITEM_ROOT",
        "HELIX_WORKITEM_PAYLOAD",
        "HELIX_WORKITEM_UPLOAD_ROOT",
        "HELIX_DUMP_FOLDER",
        "HELIX_CURRENT_LOG",
        "PYTHONPATH",
        "HELIX_CONFIG_ROOT",
        "HELIX_MACHINENAME",
        "PATH",
        "HOME",
        "TMPDIR",
    ] {
        assert!(
            variables.contains_key(name),
            "{name} is not among {variables:?}"
        );
    }
    assert!(
        text.trim_end().ends_with(variables["HELIX_WORKITEM_ROOT"]),
        "{text}"
    );
    assert!(
        !variables.keys().any(|name| name.starts_with("CARGO")),
        "{variables:?}"
    );
}

#[tokio::test]
async fn agents_own_variables_cannot_be_set_by_an_item() {
    let agent = Agent::start().await;
    let mut item = shell("true");
    item.environment = vec![EnvironmentVariable {
        name: "HELIX_WORKITEM_ROOT".into(),
        value: "/".into(),
    }];
    assert_eq!(
        agent.refusal(item).await.code(),
        tonic::Code::InvalidArgument
    );
}

#[tokio::test]
async fn results_uploads_dumps_globs_and_the_log_are_stored_before_the_verdict() {
    let agent = Agent::start().await;
    let line = r#"
        cat > testResults.xml <<'XML'
<assemblies><assembly name="a.dll"><collection>
<test name="N.C.ok" type="N.C" method="ok" time="0.1" result="Pass"/>
<test name="N.C.bad" type="N.C" method="bad" time="0.2" result="Fail">
<failure exception-type="E"><message>it broke</message><stack-trace>at N.C</stack-trace></failure></test>
<test name="N.C.later" type="N.C" method="later" time="0" result="Skip"><reason>not now</reason></test>
</collection></assembly></assemblies>
XML
        mkdir -p "$HELIX_WORKITEM_UPLOAD_ROOT/sub"
        echo up > "$HELIX_WORKITEM_UPLOAD_ROOT/sub/file.txt"
        ln -s /etc/passwd "$HELIX_WORKITEM_UPLOAD_ROOT/stolen"
        echo core > "$HELIX_DUMP_FOLDER/core.1"
        mkdir logs; echo trace > logs/a.trace; echo no > logs/a.txt
        exit 0
    "#;
    let item = WorkItem {
        artifact_globs: vec!["logs/*.trace".to_owned()],
        ..shell(line)
    };
    let seen = agent.run(item).await;
    assert_eq!(seen.verdict().kind(), VerdictKind::Failed);
    assert_eq!(
        seen.verdict().reason,
        "TESTS",
        "exit 0 with a failed test is a failure"
    );
    let counts = seen.verdict().tests.expect("results were read");
    assert_eq!(
        (counts.total, counts.passed, counts.failed, counts.skipped),
        (3, 1, 1, 1)
    );
    let read = seen.find(|kind| match kind {
        Kind::ResultsRead(read) => Some(read),
        _ => None,
    });
    assert_eq!(read.failures.len(), 1);
    assert!(
        read.failures[0].message.contains("it broke"),
        "{:?}",
        read.failures
    );
    assert!(read.failures[0].name.contains("bad"), "{:?}", read.failures);

    let stored = artifacts(&seen);
    assert_eq!(
        stored["sub/file.txt"],
        (ArtifactKind::Upload, b"up\n".to_vec())
    );
    assert_eq!(
        stored["logs/a.trace"],
        (ArtifactKind::Upload, b"trace\n".to_vec())
    );
    assert_eq!(
        stored["dumps/core.1"],
        (ArtifactKind::Dump, b"core\n".to_vec())
    );
    assert_eq!(stored["testResults.xml"].0, ArtifactKind::TestResult);
    assert!(!stored.contains_key("stolen"), "a link was followed");
    assert!(!stored.contains_key("logs/a.txt"));
    let log = stored.iter().find(|(name, _)| name.starts_with("console."));
    let (_, (kind, log)) = log.expect("the log");
    assert_eq!(*kind, ArtifactKind::ConsoleLog);
    assert!(log.starts_with(b"Console log: "));
}

#[tokio::test]
async fn failed_exit_without_failed_tests_is_decided_by_the_exit_code() {
    let agent = Agent::start().await;
    let line = "echo '<testsuite name=\"s\"><testcase name=\"a\" classname=\"c\" time=\"1\"/>\
                </testsuite>' > junit-results.xml; exit 5";
    let seen = agent.run(shell(line)).await;
    assert_eq!(seen.verdict().reason, "EXIT_CODE");
    assert_eq!(seen.verdict().tests.expect("read").passed, 1);
    assert_eq!(seen.finished().helix_exit_code, 5);
}

#[tokio::test]
async fn result_file_cut_off_by_a_crash_gives_what_was_written_before() {
    let agent = Agent::start().await;
    let line = "printf '<testsuites><testsuite name=\"s\"><testcase name=\"a\" classname=\"c\"/>\
                <testcase name=\"b\" classname=\"c\"><failure message=\"m\">t</failure></testcase>\
                <testcase name=\"c\" cla' > junit-results.xml; kill -ABRT $$";
    let seen = agent.run(shell(line)).await;
    let counts = seen.verdict().tests.expect("read");
    assert_eq!((counts.passed, counts.failed), (1, 1));
    let problems = seen.find(|kind| match kind {
        Kind::ResultsRead(read) => Some(&read.problems),
        _ => None,
    });
    assert!(!problems.is_empty(), "the damage is not told");
}

#[tokio::test]
async fn nothing_is_left_of_an_item_but_its_history() {
    let agent = Agent::start().await;
    let line = "mkdir -p deep/er; echo x > deep/er/f; chmod 0500 deep/er deep; echo > /dev/null";
    agent.run(shell(line)).await;
    let work = agent.directory().join("work");
    helix_tests::eventually("the work directory is empty", async || {
        let left: Vec<_> = walk(&work);
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

/// Everything below a directory but the directories of jobs, which are kept for
/// their next work item.
fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for job in std::fs::read_dir(directory).expect("readable").flatten() {
        let items = job.path().join("w");
        if let Ok(entries) = std::fs::read_dir(items) {
            found.extend(entries.flatten().map(|entry| entry.path()));
        }
    }
    found
}

#[tokio::test]
async fn reboot_that_an_item_asks_for_happens_when_nothing_runs() {
    let directory = tempfile::tempdir().expect("a directory");
    let marker = directory.path().join("rebooted");
    let tables = format!(
        "[reboot]\ncommand = [\"touch\", \"{}\"]\n",
        marker.display()
    );
    let agent = Agent::start_with("slots = 2\n", &tables).await;
    let gate = agent.directory().join("gate");
    let line = format!("until test -e {}; do sleep 0.05; done", gate.display());
    let mut other = agent.offer(shell(&line)).await.expect("taken");
    let request =
        r#"echo '{"request":"reboot","reason":"driver hangs"}' >> "$HELIX_WORKITEM_REQUESTS""#;
    let seen = agent.run(shell(request)).await;
    assert_eq!(seen.finished().reboot_requested, "driver hangs");
    let refusal = agent.refusal(shell("true")).await;
    assert_eq!(
        refusal.code(),
        tonic::Code::Unavailable,
        "it takes nothing new"
    );
    assert!(!marker.exists(), "another item still runs");
    std::fs::write(&gate, b"").expect("written");
    while other.message().await.expect("unbroken").is_some() {}
    helix_tests::eventually("the machine reboots", async || {
        if marker.exists() {
            Ok(())
        } else {
            Err("not yet")
        }
    })
    .await;
}
