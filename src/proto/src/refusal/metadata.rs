//! The values that go with a reason, for programs: `google.rpc.ErrorInfo.metadata`.

use std::time::SystemTime;

use helix_model::admission::{Phase, Refusal};
use helix_model::capability::Missing;
use helix_model::resources::ResourceKind;
use prost_types::Timestamp;

use super::pressure_level;
use crate::capacity;

/// The values, in the order of the table.
pub(super) fn metadata(refusal: &Refusal) -> Vec<(&'static str, String)> {
    match refusal {
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
        Refusal::NotIsolated { missing } => {
            let names: Vec<&str> = missing.iter().map(|it| it.name.as_str()).collect();
            vec![("missing", names.join(","))]
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
        Refusal::CpuShort {
            wanted,
            free,
            total,
            ..
        }
        | Refusal::MemoryShort {
            wanted,
            free,
            total,
            ..
        }
        | Refusal::DiskShort {
            wanted,
            free,
            total,
            ..
        } => vec![
            ("wanted", wanted.to_string()),
            ("free", free.to_string()),
            ("total", total.to_string()),
        ],
    }
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

/// RFC 3339 in UTC.
fn time(time: SystemTime) -> String {
    Timestamp::from(time).to_string()
}
