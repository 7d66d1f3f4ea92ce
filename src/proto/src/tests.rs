//! Tests of the contract as generated, and of what its messages print.

use std::collections::BTreeSet;

use proptest::prelude::*;
use prost::Message;
use prost_types::FileDescriptorSet;

use crate::agent::v1;

fn descriptors() -> FileDescriptorSet {
    FileDescriptorSet::decode(v1::FILE_DESCRIPTOR_SET).expect("our own descriptors")
}

#[test]
fn service_has_its_calls_and_streams() {
    let files = descriptors().file;
    let services: Vec<_> = files.iter().flat_map(|file| &file.service).collect();
    let [service] = services[..] else {
        panic!("one service, not {}", services.len());
    };
    assert_eq!(service.name(), "AgentService");
    let calls: Vec<(&str, bool)> = service
        .method
        .iter()
        .map(|method| (method.name(), method.server_streaming()))
        .collect();
    let expected = [
        ("Run", true),
        ("Attach", true),
        ("Acknowledge", false),
        ("Cancel", false),
        ("GetCapacity", false),
        ("WatchCapacity", true),
        ("ListAttempts", false),
        ("Drain", false),
        ("Resume", false),
    ];
    assert_eq!(calls, expected);
    for method in &service.method {
        assert!(!method.client_streaming(), "{}", method.name());
        let message = |suffix: &str| format!(".helix.agent.v1.{}{suffix}", method.name());
        assert_eq!(method.input_type(), message("Request"));
        assert_eq!(method.output_type(), message("Response"));
    }
}

#[test]
fn descriptors_are_whole_and_without_comments() {
    let files = descriptors().file;
    let names: BTreeSet<&str> = files.iter().map(|file| file.name()).collect();
    assert!(names.contains("helix/agent/v1/work_item.proto"));
    for file in &files {
        assert!(file.source_code_info.is_none(), "{}", file.name());
        // Reflection hands out files one by one, so that none may lean on one that is not there.
        for import in &file.dependency {
            assert!(names.contains(import.as_str()), "{import}");
        }
    }
}

/// A work item with `SECRET` wherever a secret may stand.
fn telling() -> v1::WorkItem {
    let payload = |source| v1::Payload {
        source: Some(source),
        ..v1::Payload::default()
    };
    let url = "https://SECRET:SECRET@example.com/SECRET?sig=SECRET".to_owned();
    v1::WorkItem {
        work_item_id: "item".to_owned(),
        command: Some(v1::Command {
            kind: Some(v1::command::Kind::Shell("echo SECRET".to_owned())),
            ..v1::Command::default()
        }),
        environment: vec![v1::EnvironmentVariable {
            name: "TOKEN".to_owned(),
            value: "SECRET".to_owned(),
        }],
        secrets: vec!["SECRET".to_owned()],
        payloads: vec![payload(v1::payload::Source::Url(url.clone()))],
        correlation_payloads: vec![payload(v1::payload::Source::Git(v1::GitSource {
            url,
            ..v1::GitSource::default()
        }))],
        ..v1::WorkItem::default()
    }
}

fn check_silent(printed: &str) {
    assert!(!printed.contains("SECRET"), "{printed}");
}

#[test]
fn messages_print_without_what_may_be_secret() {
    let item = telling();
    let argv = v1::Argv {
        arguments: vec!["curl".to_owned(), "SECRET".to_owned()],
    };
    check_silent(&format!(
        "{argv:?} {:?}",
        v1::command::Kind::Argv(argv.clone())
    ));
    check_silent(&format!("{:?} {:#?}", item.command, item.command));
    check_silent(&format!("{:?} {:#?}", item.environment, item.environment));
    for payload in item.payloads.iter().chain(&item.correlation_payloads) {
        check_silent(&format!("{payload:?} {payload:#?} {:?}", payload.source));
    }
    let request = v1::RunRequest {
        work_item: Some(item),
    };
    let printed = format!("{request:?}");
    check_silent(&printed);
    check_silent(&format!("{:#?}", tonic::Request::new(request)));
    // It still says which one it is.
    assert!(
        printed.contains("item") && printed.contains("TOKEN"),
        "{printed}"
    );
}

#[test]
fn refused_request_says_nothing_secret() {
    let queue = helix_model::ids::QueueName::new("default").expect("good");
    let mut item = telling();
    item.environment[0].value = "SECRET\0".to_owned();
    item.environment.push(item.environment[0].clone());
    item.secrets = vec!["SECRET".repeat(20_000), "S".to_owned()];
    item.command = Some(v1::Command {
        kind: Some(v1::command::Kind::Argv(v1::Argv {
            arguments: vec!["SECRET\0".to_owned(), "SECRET".repeat(30_000)],
        })),
        output_mode: 7,
    });
    for bad in [
        "https://SECRET@example.com/SECRET ?SECRET",
        "file://SECRET@example.com/SECRET",
        "/SECRET?SECRET",
        "https://SECRET@:80/SECRET",
        "file://localhost?SECRET",
    ] {
        for source in [
            v1::payload::Source::Url(bad.to_owned()),
            v1::payload::Source::Git(v1::GitSource {
                url: bad.to_owned(),
                ..v1::GitSource::default()
            }),
        ] {
            item.payloads.push(v1::Payload {
                source: Some(source),
                ..v1::Payload::default()
            });
        }
    }
    let problems = crate::work_item::work_item(Some(item), &queue).expect_err("all wrong");
    check_silent(&format!("{problems:?}"));
    let refusal = helix_model::admission::Refusal::BadRequest { problems };
    let status = crate::refusal::status(&refusal, std::time::SystemTime::UNIX_EPOCH);
    check_silent(&format!("{status:?} {status}"));
    check_silent(&String::from_utf8_lossy(status.details()));
}

proptest! {
    #[test]
    fn any_bytes_are_a_work_item_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let queue = helix_model::ids::QueueName::new("default").expect("good");
        if let Ok(request) = v1::RunRequest::decode(bytes.as_slice()) {
            let read = crate::work_item::work_item(request.work_item, &queue);
            prop_assert!(!matches!(read, Err(problems) if problems.is_empty()));
        }
    }

    #[test]
    fn damaged_request_is_a_work_item_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let queue = helix_model::ids::QueueName::new("default").expect("good");
        let mut bytes = v1::RunRequest { work_item: Some(telling()) }.encode_to_vec();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Ok(request) = v1::RunRequest::decode(bytes.as_slice()) {
            let _ = format!("{request:?}");
            let read = crate::work_item::work_item(request.work_item, &queue);
            prop_assert!(!matches!(read, Err(problems) if problems.is_empty()));
        }
    }
}
