//! Every refusal with its row of the table of `agent_service.proto`.

use super::*;

/// A refusal, and its row: code, reason, metadata and seconds to wait.
pub(super) type Row = (
    Refusal,
    Code,
    &'static str,
    &'static [(&'static str, &'static str)],
    Option<u64>,
);

/// Every refusal, and some in more than one shape.
pub(super) fn rows() -> Vec<Row> {
    let queue = |name: &str| QueueName::new(name).expect("a good name");
    let xcode = || missing("xcode", ">=16, <17", Some("15.4"));
    let [wanted, free, total] = [8, 2, 4];
    let free_by = Some(later(30));
    vec![
        (
            Refusal::BadRequest {
                problems: vec![FieldProblem {
                    path: "work_item.job_id".to_owned(),
                    message: "it is empty".to_owned(),
                }],
            },
            Code::InvalidArgument,
            "BAD_REQUEST",
            &[],
            None,
        ),
        (
            Refusal::Duplicate {
                attempt: attempt("a"),
            },
            Code::AlreadyExists,
            "DUPLICATE_ATTEMPT",
            &[("attempt_id", "a")],
            None,
        ),
        (
            Refusal::Superseded {
                attempt: attempt("a"),
                by: attempt("b"),
            },
            Code::Aborted,
            "SUPERSEDED_ATTEMPT",
            &[("attempt_id", "a"), ("by", "b")],
            None,
        ),
        (
            Refusal::Offline {
                reason: "disk swap".to_owned(),
            },
            Code::Unavailable,
            "OFFLINE",
            &[("offline_reason", "disk swap")],
            None,
        ),
        (
            Refusal::Draining { since: now() },
            Code::Unavailable,
            "DRAINING",
            &[("since", "2026-11-20T23:36:05Z")],
            None,
        ),
        (
            Refusal::WrongQueue {
                asked: queue("x"),
                served: vec![queue("Y"), queue("z")],
            },
            Code::FailedPrecondition,
            "WRONG_QUEUE",
            &[("asked", "x"), ("served", "Y,z")],
            None,
        ),
        (
            Refusal::NotIsolated {
                missing: ["user", "memory"]
                    .map(|name| MissingMeasure {
                        name: name.to_owned(),
                        why: "not root".to_owned(),
                    })
                    .to_vec(),
            },
            Code::FailedPrecondition,
            "NOT_ISOLATED",
            &[("missing", "user,memory")],
            None,
        ),
        (
            Refusal::TooLarge {
                shortfalls: vec![
                    Shortfall {
                        kind: ResourceKind::Memory,
                        wanted: 9,
                        available: 3,
                    },
                    Shortfall {
                        kind: ResourceKind::Disk,
                        wanted: 7,
                        available: 1,
                    },
                ],
            },
            Code::FailedPrecondition,
            "TOO_LARGE",
            &[
                ("resource", "memory_bytes"),
                ("wanted", "9"),
                ("total", "3"),
            ],
            None,
        ),
        (
            Refusal::Unhealthy {
                failures: 3,
                until: Some(later(60)),
            },
            Code::Unavailable,
            "UNHEALTHY",
            &[("failures", "3"), ("until", "2026-11-20T23:37:05Z")],
            Some(60),
        ),
        (
            Refusal::Unhealthy {
                failures: 3,
                until: None,
            },
            Code::Unavailable,
            "UNHEALTHY",
            &[("failures", "3"), ("until", "")],
            None,
        ),
        (
            Refusal::MissingCapability {
                missing: vec![xcode(), missing("gpu", "", None)],
                installations: Vec::new(),
                cooling_down: Vec::new(),
            },
            Code::FailedPrecondition,
            "MISSING_CAPABILITY",
            &[
                ("name", "xcode"),
                ("wanted", ">=16, <17"),
                ("present", "15.4"),
            ],
            None,
        ),
        (
            Refusal::MissingCapability {
                missing: vec![xcode()],
                installations: Vec::new(),
                cooling_down: vec![CoolingDown {
                    provisioner: "xcodes".to_owned(),
                    missing: xcode(),
                    until: later(300),
                    last_error: "no network".to_owned(),
                }],
            },
            Code::FailedPrecondition,
            "MISSING_CAPABILITY",
            &[
                ("name", "xcode"),
                ("wanted", ">=16, <17"),
                ("present", "15.4"),
            ],
            Some(300),
        ),
        (
            Refusal::Provisioning {
                installations: vec![under_way(xcode(), Some(later(600)))],
            },
            Code::Unavailable,
            "PROVISIONING",
            &[
                ("name", "xcode"),
                ("wanted", ">=16, <17"),
                ("present", "15.4"),
                ("provisioner", "xcodes"),
                ("since", "2026-11-20T23:36:05Z"),
                ("expected_end", "2026-11-20T23:46:05Z"),
            ],
            Some(600),
        ),
        (
            Refusal::Provisioning {
                installations: vec![Installation {
                    provisioner: "xcodes".to_owned(),
                    missing: missing("xcode", "", None),
                    phase: Phase::ToStart { expected_end: None },
                }],
            },
            Code::Unavailable,
            "PROVISIONING",
            &[
                ("name", "xcode"),
                ("wanted", ""),
                ("present", ""),
                ("provisioner", "xcodes"),
            ],
            None,
        ),
        (
            Refusal::SlotsFull {
                slots: 4,
                wanted: 2,
                free: 1,
                pressure: PressureLevel::Elevated,
                free_by: None,
            },
            Code::ResourceExhausted,
            "SLOTS_FULL",
            &[
                ("wanted", "2"),
                ("free", "1"),
                ("total", "4"),
                ("pressure", "ELEVATED"),
            ],
            None,
        ),
        (
            Refusal::CpuShort {
                wanted,
                free,
                total,
                free_by,
            },
            Code::ResourceExhausted,
            "CPU_SHORT",
            &[("wanted", "8"), ("free", "2"), ("total", "4")],
            Some(30),
        ),
        (
            Refusal::MemoryShort {
                wanted,
                free,
                total,
                free_by: None,
            },
            Code::ResourceExhausted,
            "MEMORY_SHORT",
            &[("wanted", "8"), ("free", "2"), ("total", "4")],
            None,
        ),
        (
            // What should have happened by now.
            Refusal::DiskShort {
                wanted,
                free,
                total,
                free_by: Some(SystemTime::UNIX_EPOCH),
            },
            Code::ResourceExhausted,
            "DISK_SHORT",
            &[("wanted", "8"), ("free", "2"), ("total", "4")],
            Some(1),
        ),
    ]
}
