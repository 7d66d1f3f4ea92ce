//! Every reason to refuse, with its code, its details and its sentence.

use std::time::{Duration, SystemTime};

use helix_proto::agent::v1::{
    AgentState, DrainRequest, Payload, Requirement, Resources, WorkItem, payload,
};
use helix_tests::agent::{Agent, until};
use helix_tests::eventually;
use helix_tests::item::{delivery, shell};
use helix_tests::stream::Seen;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Checks code and reason, and gives the metadata.
#[track_caller]
fn check(status: &Status, code: Code, reason: &str) -> std::collections::HashMap<String, String> {
    assert_eq!(status.code(), code, "{status:?}");
    let info = status
        .get_error_details()
        .error_info()
        .cloned()
        .expect("an ErrorInfo");
    assert_eq!(info.reason, reason);
    assert_eq!(info.domain, "agent.helix");
    assert!(
        status.message().len() > 10,
        "no sentence: {:?}",
        status.message()
    );
    info.metadata
}

fn wanting(resources: Resources) -> WorkItem {
    WorkItem {
        resources: Some(resources),
        ..shell("true")
    }
}

#[tokio::test]
async fn full_slots_refuse_and_free_slots_accept_again() {
    let agent = Agent::start_with("slots = 1\n", "").await;
    let gate = agent.directory().join("gate");
    let line = format!(
        "echo ready; until test -e {}; do sleep 0.05; done",
        gate.display()
    );
    let mut stream = agent.offer(shell(&line)).await.expect("taken");
    let mut seen = Seen::default();
    until(&mut stream, &mut seen, |seen, _| seen.stdout == b"ready\n").await;
    let metadata = check(
        &agent.refusal(shell("true")).await,
        Code::ResourceExhausted,
        "SLOTS_FULL",
    );
    assert_eq!(metadata["free"], "0");
    assert_eq!(metadata["total"], "1");
    assert_eq!(agent.capacity().await.state(), AgentState::Full);
    std::fs::write(&gate, b"").expect("written");
    while stream.message().await.expect("unbroken").is_some() {}
    assert_eq!(agent.run(shell("true")).await.finished().helix_exit_code, 0);
}

#[tokio::test]
async fn what_others_have_reserved_is_short() {
    let tables = "[resources]\ncpu_millis = 4000\nmemory = \"1 GiB\"\n";
    let agent = Agent::start_with("slots = 8\n", tables).await;
    let free = agent.capacity().await.free.expect("set");
    let holder = Resources {
        cpu_millis: 3000,
        memory_bytes: 900 << 20,
        disk_bytes: free.disk_bytes / 2,
        ..Resources::default()
    };
    let item = WorkItem {
        resources: Some(holder),
        ..shell("echo ready; sleep 600")
    };
    let mut stream = agent.offer(item).await.expect("taken");
    let mut seen = Seen::default();
    until(&mut stream, &mut seen, |seen, _| seen.stdout == b"ready\n").await;
    let cases = [
        (
            Resources {
                cpu_millis: 2000,
                ..Resources::default()
            },
            "CPU_SHORT",
        ),
        (
            Resources {
                memory_bytes: 500 << 20,
                ..Resources::default()
            },
            "MEMORY_SHORT",
        ),
        (
            Resources {
                disk_bytes: free.disk_bytes / 4 * 3,
                ..Resources::default()
            },
            "DISK_SHORT",
        ),
    ];
    for (resources, reason) in cases {
        let refusal = agent.refusal(wanting(resources)).await;
        let metadata = check(&refusal, Code::ResourceExhausted, reason);
        let number = |name: &str| metadata[name].parse::<u64>().expect("a number");
        assert!(number("wanted") > number("free"), "{metadata:?}");
    }
}

#[tokio::test]
async fn more_than_the_machine_has_is_refused_for_good() {
    let agent = Agent::start_with("slots = 2\n", "[resources]\ncpu_millis = 2000\n").await;
    let resources = Resources {
        slots: 3,
        ..Resources::default()
    };
    let metadata = check(
        &agent.refusal(wanting(resources)).await,
        Code::FailedPrecondition,
        "TOO_LARGE",
    );
    assert_eq!(metadata["resource"], "slots");
    assert_eq!(metadata["total"], "2");
}

#[tokio::test]
async fn draining_agent_refuses() {
    let agent = Agent::start().await;
    let drain = DrainRequest {
        reason: "maintenance".to_owned(),
    };
    let answer = agent
        .client()
        .await
        .drain(drain)
        .await
        .expect("drained")
        .into_inner();
    assert_eq!(answer.running, 0);
    let metadata = check(
        &agent.refusal(shell("true")).await,
        Code::Unavailable,
        "DRAINING",
    );
    assert!(metadata["since"].ends_with('Z'), "{metadata:?}");
    assert_eq!(agent.capacity().await.state(), AgentState::Draining);
}

#[tokio::test]
async fn offline_file_takes_the_machine_out_with_its_text_as_the_reason() {
    let agent = Agent::start().await;
    let file = agent.directory().join("config/offline");
    std::fs::write(&file, "disk is being swapped\n").expect("written");
    let refusal = agent.refusal(shell("true")).await;
    let metadata = check(&refusal, Code::Unavailable, "OFFLINE");
    assert_eq!(metadata["offline_reason"], "disk is being swapped");
    assert!(refusal.message().contains("disk is being swapped"));
    assert_eq!(agent.capacity().await.state(), AgentState::Offline);
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(agent.run(shell("true")).await.finished().helix_exit_code, 0);
}

#[tokio::test]
async fn wrong_queue_is_refused_and_case_does_not_matter() {
    let agent = Agent::start_with("queues = [\"Debian.12.Amd64\", \"perf\"]\n", "").await;
    let item = WorkItem {
        queue: "osx.15".to_owned(),
        ..shell("true")
    };
    let metadata = check(
        &agent.refusal(item).await,
        Code::FailedPrecondition,
        "WRONG_QUEUE",
    );
    assert_eq!(metadata["asked"], "osx.15");
    assert_eq!(metadata["served"], "Debian.12.Amd64,perf");
    let item = WorkItem {
        queue: "debian.12.AMD64".to_owned(),
        ..shell("true")
    };
    assert_eq!(agent.run(item).await.finished().helix_exit_code, 0);
}

#[tokio::test]
async fn missing_capabilities_are_all_named_with_what_is_there() {
    let probe = "[[probes]]\ncapability = \"tool\"\ncommand = [\"/bin/echo\", \"version 1.5.2\"]\n\
                 pattern = 'version (\\S+)'\n";
    let agent = Agent::start_with("", probe).await;
    let requirement = |name: &str, range: &str| Requirement {
        name: name.to_owned(),
        range: range.to_owned(),
    };
    let item = WorkItem {
        requirements: vec![requirement("tool", ">=2"), requirement("xcode", "16.1")],
        ..shell("true")
    };
    let refusal = agent.refusal(item).await;
    let metadata = check(&refusal, Code::FailedPrecondition, "MISSING_CAPABILITY");
    assert_eq!(metadata["name"], "tool");
    assert_eq!(metadata["wanted"], ">=2");
    assert_eq!(metadata["present"], "1.5.2");
    let details = refusal.get_error_details();
    let violations = &details.precondition_failure().expect("details").violations;
    let subjects: Vec<&str> = violations
        .iter()
        .map(|violation| violation.subject.as_str())
        .collect();
    assert_eq!(subjects, ["tool", "xcode"]);
    let item = WorkItem {
        requirements: vec![requirement("tool", "1.5"), requirement("OS", "")],
        ..shell("true")
    };
    assert_eq!(agent.run(item).await.finished().helix_exit_code, 0);
}

#[tokio::test]
async fn every_wrong_field_is_named_at_once() {
    let agent = Agent::start().await;
    let payload = Payload {
        source: Some(payload::Source::Url(
            "ftp://host/x.zip?token=geheim".to_owned(),
        )),
        destination: "../up".to_owned(),
        sha256: vec![1, 2, 3],
    };
    let item = WorkItem {
        job_id: "../etc".to_owned(),
        secrets: vec!["ok-long".to_owned(), "x".to_owned()],
        payloads: vec![
            Payload {
                sha256: Vec::new(),
                ..payload.clone()
            },
            payload,
        ],
        command: None,
        ..shell("true")
    };
    let refusal = agent.refusal(item).await;
    check(&refusal, Code::InvalidArgument, "BAD_REQUEST");
    let details = refusal.get_error_details();
    let violations = &details.bad_request().expect("details").field_violations;
    let fields: Vec<&str> = violations
        .iter()
        .map(|violation| violation.field.as_str())
        .collect();
    for field in [
        "work_item.job_id",
        "work_item.command",
        "work_item.secrets[1]",
        "work_item.payloads[0].url",
        "work_item.payloads[0].destination",
        "work_item.payloads[1].sha256",
    ] {
        assert!(fields.contains(&field), "{field} is not among {fields:?}");
    }
    assert!(
        !format!("{refusal:?}").contains("geheim"),
        "the token is shown"
    );
}

#[tokio::test]
async fn attempt_that_is_known_is_a_duplicate_and_an_older_one_is_superseded() {
    let agent = Agent::start().await;
    let item = shell("true");
    let second = delivery(item.clone(), 2, 3, 2);
    agent.run(second.clone()).await;
    let metadata = check(
        &agent.refusal(second.clone()).await,
        Code::AlreadyExists,
        "DUPLICATE_ATTEMPT",
    );
    assert_eq!(metadata["attempt_id"], second.attempt_id);
    let first = delivery(item, 1, 3, 2);
    let metadata = check(
        &agent.refusal(first).await,
        Code::Aborted,
        "SUPERSEDED_ATTEMPT",
    );
    assert_eq!(metadata["by"], second.attempt_id);
}

#[tokio::test]
async fn newer_attempt_ends_the_older_one() {
    let agent = Agent::start().await;
    let item = shell("echo ready; sleep 600");
    let mut stream = agent
        .offer(delivery(item.clone(), 1, 3, 0))
        .await
        .expect("taken");
    let mut seen = Seen::default();
    until(&mut stream, &mut seen, |seen, _| seen.stdout == b"ready\n").await;
    let newer = WorkItem {
        command: shell("true").command,
        ..delivery(item, 2, 3, 0)
    };
    assert_eq!(agent.run(newer).await.finished().helix_exit_code, 0);
    while let Some(response) = stream.message().await.expect("unbroken") {
        seen.take(response.event.expect("an event"));
    }
    assert_eq!(seen.verdict().reason, "SUPERSEDED");
}

#[tokio::test]
async fn infrastructure_failures_in_a_row_lead_to_quarantine_and_a_good_trial_out_of_it() {
    let tables = "[health]\ninfrastructure_failures = 2\nquarantine = \"2s\"\n\
                  [artifacts]\nurl = \"file:///proc/nowhere-to-be-written\"\n";
    // A store that cannot be opened keeps the agent from starting; so the
    // machine is made to fail by taking the work directory away.
    let tables = tables.split("[artifacts]").next().expect("a part");
    let agent = Agent::start_with("slots = 2\n", tables).await;
    let work = agent.directory().join("work");
    std::fs::remove_dir_all(&work).expect("removed");
    std::fs::write(&work, b"in the way").expect("written");
    for _ in 0..2 {
        let seen = agent.run(delivery(shell("true"), 1, 2, 0)).await;
        assert_eq!(seen.returned().next_delivery_number, 2);
    }
    let refusal = agent.refusal(shell("true")).await;
    let metadata = check(&refusal, Code::Unavailable, "UNHEALTHY");
    assert_eq!(metadata["failures"], "2");
    let details = refusal.get_error_details();
    let wait = details
        .retry_info()
        .and_then(|info| info.retry_delay)
        .expect("a time to come back");
    assert!(wait <= Duration::from_secs(2), "{wait:?}");
    assert_eq!(agent.capacity().await.state(), AgentState::Quarantined);
    std::fs::remove_file(&work).expect("removed");
    std::fs::create_dir(&work).expect("made");
    let seen = eventually("the quarantine ends", async || {
        agent
            .offer(shell("true"))
            .await
            .map_err(|status| (SystemTime::now(), status))
    })
    .await;
    let mut seen = seen;
    while seen.message().await.expect("unbroken").is_some() {}
    eventually("the machine is trusted again", async || {
        match agent.capacity().await.state() {
            AgentState::Ready => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

#[tokio::test]
async fn unknown_attempt_is_not_found() {
    let agent = Agent::start().await;
    let request = helix_proto::agent::v1::AttachRequest {
        attempt_id: "nobody-knows-it".to_owned(),
        ..Default::default()
    };
    let status = agent
        .client()
        .await
        .attach(request)
        .await
        .expect_err("unknown");
    check(&status, Code::NotFound, "UNKNOWN_ATTEMPT");
}
