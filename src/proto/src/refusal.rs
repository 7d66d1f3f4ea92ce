//! A refusal as a gRPC status with typed details, and as a part of an event.
//!
//! The table of reasons, codes and metadata stands in
//! `proto/helix/agent/v1/agent_service.proto`.

use std::collections::HashMap;
use std::time::SystemTime;

use helix_model::admission::{Phase, Refusal};
use helix_model::capability::Missing;
use helix_model::pressure::PressureLevel;
use helix_model::resources::ResourceKind;
use prost_types::Timestamp;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::agent::v1;
use crate::capacity;

/// The domain of every `google.rpc.ErrorInfo` of the agent.
pub const DOMAIN: &str = "agent.helix";

/// The status that refuses a work item.
#[must_use]
pub fn status(refusal: &Refusal, now: SystemTime) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(refusal.reason(), DOMAIN, metadata(refusal));
    if let Some(wait) = refusal.retry_after(now) {
        details.set_retry_info(Some(wait));
    }
    match refusal {
        Refusal::BadRequest { problems } => {
            for problem in problems {
                details.add_bad_request_violation(&problem.path, &problem.message);
            }
        }
        Refusal::MissingCapability { .. } | Refusal::Provisioning { .. } => {
            for missing in missing(refusal) {
                details.add_precondition_failure_violation(
                    refusal.reason(),
                    missing.name.as_str(),
                    missing.to_string(),
                );
            }
        }
        Refusal::Duplicate { .. }
        | Refusal::Superseded { .. }
        | Refusal::Offline { .. }
        | Refusal::Draining { .. }
        | Refusal::WrongQueue { .. }
        | Refusal::Unhealthy { .. }
        | Refusal::TooLarge { .. }
        | Refusal::SlotsFull { .. }
        | Refusal::CpuShort { .. }
        | Refusal::MemoryShort { .. }
        | Refusal::DiskShort { .. } => {}
    }
    Status::with_error_details(code(refusal), refusal.sentence(), details)
}

/// The same as a part of an event, for what is found only after unpacking.
#[must_use]
pub fn event(refusal: &Refusal, now: SystemTime) -> v1::Refusal {
    v1::Refusal {
        grpc_code: u32::try_from(i32::from(code(refusal))).unwrap_or_default(),
        reason: refusal.reason().to_owned(),
        message: refusal.sentence(),
        metadata: metadata(refusal),
        retry_after: refusal.retry_after(now).and_then(|wait| wait.try_into().ok()),
        missing: missing(refusal).into_iter().map(capacity::missing).collect(),
    }
}

/// What is missing, for the refusals that are about that.
fn missing(refusal: &Refusal) -> Vec<&Missing> {
    match refusal {
        Refusal::MissingCapability { missing, .. } => missing.iter().collect(),
        Refusal::Provisioning { installations } => installations
            .iter()
            .map(|installation| &installation.missing)
            .collect(),
        Refusal::BadRequest { .. }
        | Refusal::Duplicate { .. }
        | Refusal::Superseded { .. }
        | Refusal::Offline { .. }
        | Refusal::Draining { .. }
        | Refusal::WrongQueue { .. }
        | Refusal::Unhealthy { .. }
        | Refusal::TooLarge { .. }
        | Refusal::SlotsFull { .. }
        | Refusal::CpuShort { .. }
        | Refusal::MemoryShort { .. }
        | Refusal::DiskShort { .. } => Vec::new(),
    }
}

fn code(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::BadRequest { .. } => Code::InvalidArgument,
        Refusal::Duplicate { .. } => Code::AlreadyExists,
        Refusal::Superseded { .. } => Code::Aborted,
        Refusal::Offline { .. }
        | Refusal::Draining { .. }
        | Refusal::Unhealthy { .. }
        | Refusal::Provisioning { .. } => Code::Unavailable,
        Refusal::WrongQueue { .. }
        | Refusal::TooLarge { .. }
        | Refusal::MissingCapability { .. } => Code::FailedPrecondition,
        Refusal::SlotsFull { .. }
        | Refusal::CpuShort { .. }
        | Refusal::MemoryShort { .. }
        | Refusal::DiskShort { .. } => Code::ResourceExhausted,
    }
}

fn metadata(refusal: &Refusal) -> HashMap<String, String> {
    let pairs: Vec<(&str, String)> = match refusal {
        Refusal::BadRequest { .. } => Vec::new(),
        Refusal::Duplicate { attempt } => vec![("attempt_id", attempt.to_string())],
        Refusal::Superseded { attempt, by } => {
            vec![("attempt_id", attempt.to_string()), ("by", by.to_string())]
        }
        Refusal::Offline { reason } => vec![("offline_reason", reason.clone())],
        Refusal::Draining { since } => vec![("since", time(*since))],
        Refusal::WrongQueue { asked, served } => {
            let served: Vec<&str> = served.iter().map(AsRef::as_ref).collect();
            vec![("asked", asked.to_string()), ("served", served.join(","))]
        }
        Refusal::Unhealthy { failures, until } => vec![
            ("failures", failures.to_string()),
            ("until", until.map(time).unwrap_or_default()),
        ],
        Refusal::TooLarge { shortfalls } => shortfalls
            .first()
            .map(|shortfall| {
                vec![
                    ("resource", resource(shortfall.kind).to_owned()),
                    ("wanted", shortfall.wanted.to_string()),
                    ("total", shortfall.available.to_string()),
                ]
            })
            .unwrap_or_default(),
        Refusal::MissingCapability { missing, .. } => {
            missing.first().map(about).unwrap_or_default()
        }
        Refusal::Provisioning { installations } => installations
            .first()
            .map(|installation| {
                let mut pairs = about(&installation.missing);
                pairs.push(("provisioner", installation.provisioner.clone()));
                let (since, end) = match installation.phase {
                    Phase::ToStart { expected_end } => (None, expected_end),
                    Phase::UnderWay {
                        since,
                        expected_end,
                    } => (Some(since), expected_end),
                };
                pairs.extend(since.map(|since| ("since", time(since))));
                pairs.extend(end.map(|end| ("expected_end", time(end))));
                pairs
            })
            .unwrap_or_default(),
        Refusal::SlotsFull {
            slots,
            wanted,
            free,
            pressure,
            ..
        } => vec![
            ("wanted", wanted.to_string()),
            ("free", free.to_string()),
            ("total", slots.to_string()),
            ("pressure", pressure_level(*pressure).to_owned()),
        ],
        Refusal::CpuShort { wanted, free, total, .. }
        | Refusal::MemoryShort { wanted, free, total, .. }
        | Refusal::DiskShort { wanted, free, total, .. } => vec![
            ("wanted", wanted.to_string()),
            ("free", free.to_string()),
            ("total", total.to_string()),
        ],
    };
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn about(missing: &Missing) -> Vec<(&'static str, String)> {
    let wire = capacity::missing(missing);
    vec![
        ("name", wire.name),
        ("wanted", wire.wanted),
        ("present", wire.present.join(", ")),
    ]
}

fn resource(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Slots => "slots",
        ResourceKind::Cpu => "cpu_millis",
        ResourceKind::Memory => "memory_bytes",
        ResourceKind::Disk => "disk_bytes",
    }
}

/// The name of a level on the wire.
#[must_use]
pub fn pressure_level(level: PressureLevel) -> &'static str {
    match level {
        PressureLevel::Calm => "CALM",
        PressureLevel::Elevated => "ELEVATED",
        PressureLevel::High => "HIGH",
        PressureLevel::Critical => "CRITICAL",
    }
}

/// RFC 3339 in UTC.
fn time(time: SystemTime) -> String {
    Timestamp::from(time).to_string()
}
