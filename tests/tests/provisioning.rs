//! From a refusal for a missing tool, by way of its installation, to acceptance.

use std::io::Write;
use std::path::Path;

use helix_proto::agent::v1::{Payload, Requirement, VerdictKind, WorkItem, payload, returned};
use helix_tests::agent::Agent;
use helix_tests::eventually;
use helix_tests::item::{delivery, shell};
use tonic::Code;
use tonic_types::StatusExt;

/// A tool that lies in `root` once it is installed; the installer waits for a
/// file `go`.
fn tables(root: &Path) -> String {
    let root = root.display();
    format!(
        "[[probes]]\ncapability = \"widget\"\n\
         command = [\"/bin/sh\", \"-c\", \"cat {root}/widget-version\"]\npattern = '([0-9.]+)'\n\
         [[provisioners]]\nname = \"widget\"\ncapability = \"widget\"\n\
         command = [\"/bin/sh\", \"-c\", \"until test -e {root}/go; do sleep 0.05; done; \
         echo {{version}} > {root}/widget-version\"]\n\
         time_limit = \"60s\"\n"
    )
}

fn wanting(range: &str) -> WorkItem {
    let requirement = Requirement {
        name: "widget".to_owned(),
        range: range.to_owned(),
    };
    WorkItem {
        requirements: vec![requirement],
        ..shell("echo with widget")
    }
}

#[tokio::test]
async fn missing_tool_is_installed_while_others_run_and_then_the_item_is_taken() {
    let root = tempfile::tempdir().expect("a directory");
    let agent = Agent::start_with("slots = 2\n", &tables(root.path())).await;
    let refusal = agent.refusal(wanting("2.1")).await;
    assert_eq!(refusal.code(), Code::Unavailable);
    let info = refusal
        .get_error_details()
        .error_info()
        .cloned()
        .expect("an ErrorInfo");
    assert_eq!(info.reason, "PROVISIONING");
    assert_eq!(info.metadata["name"], "widget");

    // Asked again, it says the same and starts nothing new.
    let refusal = agent.refusal(wanting("2.1")).await;
    let info = refusal
        .get_error_details()
        .error_info()
        .cloned()
        .expect("an ErrorInfo");
    assert_eq!(info.reason, "PROVISIONING");
    assert!(info.metadata.contains_key("since"), "{:?}", info.metadata);
    let capacity = agent.capacity().await;
    assert_eq!(capacity.provisioning.len(), 1);
    assert_eq!(capacity.provisioning[0].state, "RUNNING");

    // Others are not held up.
    assert_eq!(agent.run(shell("true")).await.finished().helix_exit_code, 0);

    std::fs::write(root.path().join("go"), b"").expect("written");
    let mut stream = eventually("the tool is there", async || {
        agent.offer(wanting("2.1")).await
    })
    .await;
    while stream.message().await.expect("unbroken").is_some() {}
    let capacity = agent.capacity().await;
    let widget = capacity
        .capabilities
        .iter()
        .find(|capability| capability.name == "widget");
    assert_eq!(widget.expect("advertised").versions, ["2.1"]);
    assert!(
        capacity.provisioning.is_empty(),
        "{:?}",
        capacity.provisioning
    );
}

#[tokio::test]
async fn installer_that_fails_cools_down_and_its_error_is_told() {
    let tables = "[[probes]]\ncapability = \"widget\"\ncommand = [\"/bin/false\"]\n\
                  pattern = '([0-9.]+)'\n\
                  [[provisioners]]\nname = \"widget\"\ncapability = \"widget\"\n\
                  command = [\"/bin/sh\", \"-c\", \"echo {version} is nowhere to be had >&2; exit 9\"]\n";
    let agent = Agent::start_with("", tables).await;
    agent.refusal(wanting("3.0")).await;
    let refusal = eventually("the installer fails", async || {
        let refusal = agent.refusal(wanting("3.0")).await;
        let info = refusal.get_error_details().error_info().cloned();
        match info.map(|info| info.reason) {
            Some(reason) if reason == "MISSING_CAPABILITY" => Ok(refusal),
            other => Err(other),
        }
    })
    .await;
    assert_eq!(refusal.code(), Code::FailedPrecondition);
    let details = refusal.get_error_details();
    assert!(
        details.retry_info().is_some(),
        "nobody knows when to come back"
    );
    let capacity = agent.capacity().await;
    assert_eq!(capacity.provisioning[0].state, "COOLING_DOWN");
    assert!(!capacity.provisioning[0].last_error.is_empty());
}

#[tokio::test]
async fn file_in_the_payload_that_asks_for_a_missing_tool_returns_the_item_at_no_cost() {
    let root = tempfile::tempdir().expect("a directory");
    let mapping = "[[requirement_files]]\npath = \".widget-version\"\nkind = \"version\"\n\
                   capability = \"widget\"\n";
    let tables = format!("{}{mapping}", tables(root.path()));
    let agent = Agent::start_with("", &tables).await;
    let archive = root.path().join("payload.tar");
    tar(&archive, ".widget-version", b"4.2\n");
    let payload = Payload {
        source: Some(payload::Source::Url(format!(
            "file://{}",
            archive.display()
        ))),
        ..Payload::default()
    };
    let item = WorkItem {
        payloads: vec![payload],
        ..shell("cat .widget-version")
    };
    let seen = agent.run(delivery(item.clone(), 2, 3, 1)).await;
    let returned = seen.returned();
    assert_eq!(returned.next_delivery_number, 2, "it costs no delivery");
    let Some(returned::Cause::Refusal(refusal)) = &returned.cause else {
        panic!("no refusal: {returned:?}")
    };
    assert_eq!(refusal.reason, "PROVISIONING");
    assert_eq!(refusal.missing.len(), 1);
    assert_eq!(refusal.missing[0].name, "widget");
    assert!(
        refusal.missing[0].asked_by.ends_with(".widget-version"),
        "{refusal:?}"
    );

    std::fs::write(root.path().join("go"), b"").expect("written");
    eventually("the tool is there", async || {
        let capacity = agent.capacity().await;
        let found = capacity
            .capabilities
            .iter()
            .any(|capability| capability.name == "widget");
        if found {
            Ok(())
        } else {
            Err(capacity.provisioning)
        }
    })
    .await;
    let seen = agent.run(delivery(item, 2, 3, 1)).await;
    assert_eq!(seen.verdict().kind(), VerdictKind::Passed);
    assert_eq!(seen.stdout, b"4.2\n");
}

/// A tar archive with one file.
fn tar(path: &Path, name: &str, content: &[u8]) {
    let mut builder = tar::Builder::new(std::fs::File::create(path).expect("created"));
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    builder
        .append_data(&mut header, name, content)
        .expect("written");
    builder
        .into_inner()
        .expect("finished")
        .flush()
        .expect("flushed");
}
