//! What is left out takes its default, and what is said arrives as it was said.

use std::time::Duration;

use helix_model::resources::{MIN_CPU_MILLIS, MIN_MEMORY_BYTES};
use helix_model::work_item::{
    Command, DEFAULT_KILL_GRACE, DEFAULT_WALL_TIMEOUT, Limits, Network, OutputMode, PayloadSource,
    Submodules,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

#[test]
fn what_is_left_out_takes_its_default() {
    let item = read(least()).expect("all that must be there");
    assert_eq!(item.friendly_name.as_str(), "item");
    assert_eq!(item.queue, queue());
    assert_eq!(item.output_mode, OutputMode::Separate);
    assert_eq!(item.limits, Limits::default());
    assert_eq!(item.limits.wall_timeout(), DEFAULT_WALL_TIMEOUT);
    assert_eq!(item.limits.kill_grace(), DEFAULT_KILL_GRACE);
    assert_eq!(item.limits.silence_timeout(), None);
    assert_eq!(item.limits.output_bytes(), None);
    assert_eq!(item.resources.slots.get(), 1);
    assert_eq!(item.resources.cpu_millis, None);
    assert_eq!(item.resources.processes, None);
    assert_eq!(item.network, Network::Machine);
    let delivery = item.delivery;
    assert_eq!((delivery.number(), delivery.queue_max()), (1, 1));
    assert_eq!(
        (delivery.retries_allowed(), delivery.retries_used()),
        (0, 0)
    );
}

#[test]
fn retries_used_are_one_less_than_the_delivery_unless_said_otherwise() {
    let mut message = least();
    let mut delivery = v1::Delivery {
        number: 3,
        queue_max_delivery_count: 5,
        retries_requested: 9,
        retries_used: None,
    };
    message.delivery = Some(delivery);
    let read_now = |message: &v1::WorkItem| read(message.clone()).expect("good").delivery;
    assert_eq!(read_now(&message).retries_used(), 2);
    delivery.retries_used = Some(0);
    message.delivery = Some(delivery);
    assert_eq!(read_now(&message).retries_used(), 0);
    assert_eq!(read_now(&message).retries_allowed(), 4);
}

#[test]
fn grace_of_zero_is_no_default() {
    let mut message = least();
    message.limits = Some(v1::Limits {
        kill_grace: duration(0, 0),
        ..v1::Limits::default()
    });
    let item = read(message).expect("good");
    assert_eq!(item.limits.kill_grace(), Duration::ZERO);
}

/// The model's work item in the words of the wire, nothing left out.
fn written(item: &WorkItem) -> v1::WorkItem {
    let payload = |payload: &helix_model::work_item::Payload| v1::Payload {
        source: Some(match &payload.source {
            PayloadSource::Url(url) => v1::payload::Source::Url(url.as_str().to_owned()),
            PayloadSource::Git {
                url,
                commit,
                submodules,
            } => v1::payload::Source::Git(v1::GitSource {
                url: url.as_str().to_owned(),
                commit: commit.as_str().to_owned(),
                submodules: *submodules == Submodules::Fetch,
            }),
        }),
        destination: payload.destination.as_str().to_owned(),
        sha256: payload
            .sha256
            .map(|digest| digest.0.to_vec())
            .unwrap_or_default(),
    };
    let wire = |duration: Duration| duration.try_into().ok();
    let limits = &item.limits;
    let resources = &item.resources;
    v1::WorkItem {
        work_item_id: item.id.to_string(),
        job_id: item.job.to_string(),
        attempt_id: item.attempt.to_string(),
        friendly_name: item.friendly_name.to_string(),
        queue: item.queue.to_string(),
        command: Some(v1::Command {
            kind: Some(match &item.command {
                Command::Argv(argv) => {
                    let program = std::iter::once(argv.program().to_owned());
                    let arguments = argv.arguments().iter().cloned();
                    v1::command::Kind::Argv(v1::Argv {
                        arguments: program.chain(arguments).collect(),
                    })
                }
                Command::Shell(line) => v1::command::Kind::Shell(line.as_str().to_owned()),
            }),
            output_mode: match item.output_mode {
                OutputMode::Separate => v1::OutputMode::Separate,
                OutputMode::Merged => v1::OutputMode::Merged,
            }
            .into(),
        }),
        environment: item
            .environment
            .iter()
            .map(|(name, value)| variable(name, value))
            .collect(),
        secrets: item
            .secrets
            .iter()
            .map(|secret| secret.expose().to_owned())
            .collect(),
        payloads: item.payloads.iter().map(payload).collect(),
        correlation_payloads: item.correlation_payloads.iter().map(payload).collect(),
        limits: Some(v1::Limits {
            wall_timeout: wire(limits.wall_timeout()),
            silence_timeout: limits.silence_timeout().and_then(wire),
            kill_grace: wire(limits.kill_grace()),
            output_bytes: limits.output_bytes().unwrap_or(0),
        }),
        resources: Some(v1::Resources {
            slots: resources.slots.get(),
            cpu_millis: resources.cpu_millis.map_or(0, Into::into),
            memory_bytes: resources.memory_bytes.map_or(0, Into::into),
            disk_bytes: resources.disk_bytes.map_or(0, Into::into),
            processes: resources.processes.map_or(0, Into::into),
        }),
        requirements: item
            .requirements
            .iter()
            .map(|required| requirement(required.name.as_str(), &required.wanted.to_string()))
            .collect(),
        artifact_globs: item.artifacts.iter().map(ToString::to_string).collect(),
        network: match item.network {
            Network::Machine => v1::Network::Unspecified,
            Network::None => v1::Network::None,
        }
        .into(),
        delivery: Some(v1::Delivery {
            number: item.delivery.number(),
            queue_max_delivery_count: item.delivery.queue_max(),
            retries_requested: item.delivery.retries_requested(),
            retries_used: Some(item.delivery.retries_used()),
        }),
    }
}

fn any_id() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_][A-Za-z0-9._-]{0,12}"
}

fn any_kind() -> impl Strategy<Value = v1::command::Kind> {
    prop_oneof![
        ("[a-z/]{1,8}", vec("[^\0]{0,8}", 0..4)).prop_map(|(program, mut arguments)| {
            arguments.insert(0, program);
            v1::command::Kind::Argv(v1::Argv { arguments })
        }),
        "[a-z][^\0]{0,16}".prop_map(v1::command::Kind::Shell),
    ]
}

fn any_payload() -> impl Strategy<Value = v1::Payload> {
    let archive = (
        "(https?://[a-z]{1,8}|file://)/[a-z?=&%]{0,12}",
        option::of(any::<[u8; 32]>()),
    );
    let archive = archive.prop_map(|(address, digest)| v1::Payload {
        sha256: digest.map(|digest| digest.to_vec()).unwrap_or_default(),
        ..url(&address)
    });
    let repository = (
        "(ssh|https)://[a-z]{1,8}/[a-z]{0,8}",
        "[0-9a-f]{40}",
        any::<bool>(),
    );
    let repository = repository.prop_map(|(url, commit, submodules)| v1::Payload {
        source: Some(v1::payload::Source::Git(v1::GitSource {
            url,
            commit,
            submodules,
        })),
        ..v1::Payload::default()
    });
    let destination = "([a-z]{1,4}(/[a-z]{1,4}){0,3})?";
    (prop_oneof![archive, repository], destination).prop_map(|(payload, destination)| v1::Payload {
        destination,
        ..payload
    })
}

fn any_limits() -> impl Strategy<Value = v1::Limits> {
    let timeout = || (0..2_592_000_i64, 1_000_000..1_000_000_000_i32);
    let grace = (0..600_i64, 0..1_000_000_000_i32);
    let output = option::of(4096..=1_u64 << 40);
    (timeout(), option::of(timeout()), grace, output).prop_map(|(wall, silence, grace, output)| {
        v1::Limits {
            wall_timeout: duration(wall.0, wall.1),
            silence_timeout: silence.and_then(|(seconds, nanos)| duration(seconds, nanos)),
            kill_grace: duration(grace.0, grace.1),
            output_bytes: output.unwrap_or(0),
        }
    })
}

/// Nothing, or as much as can be asked for.
fn above(wanted: u64, least: u64) -> u64 {
    if wanted.is_multiple_of(4) {
        0
    } else {
        wanted.max(least)
    }
}

fn any_resources() -> impl Strategy<Value = v1::Resources> {
    (1..=u32::MAX, any::<[u64; 3]>(), any::<u32>()).prop_map(
        |(slots, [cpu_millis, memory_bytes, disk_bytes], processes)| v1::Resources {
            slots,
            cpu_millis: above(cpu_millis, MIN_CPU_MILLIS),
            memory_bytes: above(memory_bytes, MIN_MEMORY_BYTES),
            disk_bytes,
            processes,
        },
    )
}

fn any_requirement() -> impl Strategy<Value = v1::Requirement> {
    let ranges = prop::sample::select(vec![
        "",
        "16.1",
        ">=16, <17",
        "=16.1.0",
        "16.*",
        "^16.1",
        "~16.1",
        "*",
        "14 || >=16",
        "=linux",
    ]);
    ("[a-z0-9][a-z0-9._+-]{0,8}", ranges).prop_map(|(name, range)| requirement(&name, range))
}

fn any_delivery() -> impl Strategy<Value = v1::Delivery> {
    (1..=u32::MAX, any::<[u32; 3]>()).prop_map(|(number, [more, requested, used])| v1::Delivery {
        number,
        queue_max_delivery_count: number.saturating_add(more),
        retries_requested: requested,
        retries_used: Some(used % number),
    })
}

prop_compose! {
    fn any_work_item()(
        [work_item_id, job_id, attempt_id, queue] in prop::array::uniform4(any_id()),
        friendly_name in "[a-zA-Z0-9ü ()]{1,16}",
        (kind, output_mode) in (any_kind(), 1..=2_i32),
        environment in prop::collection::hash_map("[A-Z]{1,4}", "[^\0]{0,8}", 0..4),
        secrets in vec("[a-z]{3,8}", 0..3),
        (payloads, correlation_payloads) in (vec(any_payload(), 0..3), vec(any_payload(), 0..3)),
        (limits, resources, delivery) in (any_limits(), any_resources(), any_delivery()),
        requirements in vec(any_requirement(), 0..3),
        artifact_globs in vec("[a-z*?]{1,8}(/[a-z*]{1,4})?", 0..3),
        network in 0..=1_i32,
    ) -> v1::WorkItem {
        v1::WorkItem {
            work_item_id,
            job_id,
            attempt_id,
            friendly_name,
            queue,
            command: Some(v1::Command { kind: Some(kind), output_mode }),
            environment: environment.iter().map(|(name, value)| variable(name, value)).collect(),
            secrets,
            payloads,
            correlation_payloads,
            limits: Some(limits),
            resources: Some(resources),
            requirements,
            artifact_globs,
            delivery: Some(delivery),
            network,
        }
    }
}

proptest! {
    #[test]
    fn what_is_said_arrives_as_it_was_said(message in any_work_item()) {
        let item = read(message.clone()).expect("a good work item");
        let again = written(&item);
        prop_assert_eq!(&again.requirements.len(), &message.requirements.len());
        // A range may come back in another spelling; what it means is compared below.
        let spelled = v1::WorkItem { requirements: again.requirements.clone(), ..message };
        prop_assert!(again == spelled, "{:?}\n{:?}", again, spelled);
        prop_assert_eq!(read(again).expect("good twice"), item);
    }
}
