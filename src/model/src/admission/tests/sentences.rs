//! Tests of how refusals read.

use std::collections::BTreeSet;
use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::ids::QueueName;

#[test]
fn sentences_say_what_why_and_what_to_do() {
    let check = |refusal: Refusal, expected: &str| assert_eq!(refusal.to_string(), expected);
    let missing = |text: &str| {
        agent()
            .capabilities
            .missing(&requirements(&[text]))
            .remove(0)
    };
    let problem = |path: &str, message: &str| FieldProblem {
        path: path.to_owned(),
        message: message.to_owned(),
    };
    check(
        Refusal::BadRequest {
            problems: vec![
                problem("work_item.job_id", "it is empty"),
                problem("work_item.limits.kill_grace", "too\nlong"),
            ],
        },
        "the request is wrong: `work_item.job_id`: it is empty; `work_item.limits.kill_grace`: \
         too long; correct it before sending it again",
    );
    check(
        Refusal::Offline {
            reason: " fan broken\n".to_owned(),
        },
        "this machine is out of service (fan broken): use another machine, or see to the reason, \
         and remove the `offline` file if there is one",
    );
    check(
        Refusal::Draining { since: at(0) },
        "this agent has been draining since 2026-01-01 00:00:00 UTC and takes nothing new: use \
         another machine, or resume the agent",
    );
    check(
        Refusal::WrongQueue {
            asked: parsed("osx.15"),
            served: agent().queues,
        },
        "this agent does not serve the queue `osx.15`, it serves `Ubuntu.2404.Amd64`, `spare`: \
         send the item to an agent of that queue",
    );
    check(
        Refusal::NotIsolated {
            missing: vec![MissingMeasure {
                name: "user".to_owned(),
                why: "no users are configured".to_owned(),
            }],
        },
        "this machine cannot hold the item back as it must, not in force: `user` (no users are \
         configured); use another machine, or set up the launcher of this one for it",
    );
    check(
        Refusal::TooLarge {
            shortfalls: vec![
                Shortfall {
                    kind: ResourceKind::Cpu,
                    wanted: 8500,
                    available: 4000,
                },
                Shortfall {
                    kind: ResourceKind::Memory,
                    wanted: 9 * GIB,
                    available: 8 * GIB,
                },
            ],
        },
        "the item wants more than this machine will ever have: 8.5 CPU, of which the machine has \
         4, 9.0 GiB of memory, of which the machine has 8.0 GiB; want less, or use a larger machine",
    );
    check(
        Refusal::MissingCapability {
            missing: vec![missing("gpu"), missing("node 22")],
            installations: vec![Installation {
                provisioner: "n".to_owned(),
                missing: missing("node 22"),
                phase: Phase::UnderWay {
                    since: at(60),
                    expected_end: Some(at(120)),
                },
            }],
            cooling_down: Vec::new(),
        },
        "this machine lacks `gpu` (it has none), `node 22` (it has 18.2, 20.1); of this is being \
         installed: `node 22` by `n` since 2026-01-01 00:01:00 UTC, expected to be done at \
         2026-01-01 00:02:00 UTC; send the item to a machine that has all of it, or install it here",
    );
    check(
        Refusal::Provisioning {
            installations: vec![Installation {
                provisioner: "n".to_owned(),
                missing: missing("node 22"),
                phase: Phase::ToStart { expected_end: None },
            }],
        },
        "this machine lacks what is being installed now: `node 22` by `n`, just started, it is \
         not known how long that takes; ask again then, or use a machine that has it",
    );
    check(
        Refusal::SlotsFull {
            slots: 4,
            wanted: 1,
            free: 0,
            pressure: PressureLevel::Calm,
            free_by: None,
        },
        "the item wants 1 slot, 0 of 4 are free: use another machine, or ask again when an item \
         has ended",
    );
    check(
        Refusal::MemoryShort {
            wanted: 2 * GIB,
            free: 0,
            total: 8 * GIB,
            free_by: Some(at(90)),
        },
        "the item wants 2.0 GiB of memory, of 8.0 GiB none is free: use another machine, or ask \
         again; an item here ends by 2026-01-01 00:01:30 UTC",
    );
}

/// One refusal of each kind, with texts from outside wherever there can be some.
fn every_refusal(text: &str) -> Vec<Refusal> {
    let missing = agent()
        .capabilities
        .missing(&requirements(&["gpu"]))
        .remove(0);
    let installation = Installation {
        provisioner: text.to_owned(),
        missing: missing.clone(),
        phase: Phase::UnderWay {
            since: at(0),
            expected_end: None,
        },
    };
    let cooling_down = CoolingDown {
        provisioner: text.to_owned(),
        missing: missing.clone(),
        until: at(0),
        last_error: text.to_owned(),
    };
    let problem = FieldProblem {
        path: text.to_owned(),
        message: text.to_owned(),
    };
    let free_by = Some(SystemTime::UNIX_EPOCH);
    let (wanted, free, total) = (u64::MAX, 0, u64::MAX);
    let shortfalls =
        [ResourceKind::Slots, ResourceKind::Cpu, ResourceKind::Disk].map(|kind| Shortfall {
            kind,
            wanted,
            available: 0,
        });
    let pressure = PressureLevel::Critical;
    vec![
        Refusal::BadRequest {
            problems: vec![problem; 20],
        },
        Refusal::Duplicate {
            attempt: attempt("a"),
        },
        Refusal::Superseded {
            attempt: attempt("a"),
            by: attempt("b"),
        },
        Refusal::Offline {
            reason: text.to_owned(),
        },
        Refusal::Draining {
            since: SystemTime::UNIX_EPOCH,
        },
        Refusal::WrongQueue {
            asked: parsed("q"),
            served: vec![parsed::<QueueName>("r"); 20],
        },
        Refusal::NotIsolated {
            missing: vec![
                MissingMeasure {
                    name: text.to_owned(),
                    why: text.to_owned(),
                };
                20
            ],
        },
        Refusal::Unhealthy {
            failures: 1,
            until: None,
        },
        Refusal::Unhealthy {
            failures: 3,
            until: Some(at(0)),
        },
        Refusal::TooLarge {
            shortfalls: shortfalls.to_vec(),
        },
        Refusal::MissingCapability {
            missing: vec![missing; 20],
            installations: vec![installation.clone(); 9],
            cooling_down: vec![cooling_down; 9],
        },
        Refusal::Provisioning {
            installations: vec![installation; 20],
        },
        Refusal::SlotsFull {
            slots: 4,
            wanted: 1,
            free: 1,
            pressure,
            free_by,
        },
        Refusal::CpuShort {
            wanted,
            free,
            total,
            free_by,
        },
        Refusal::MemoryShort {
            wanted,
            free,
            total,
            free_by,
        },
        Refusal::DiskShort {
            wanted,
            free,
            total,
            free_by: None,
        },
    ]
}

#[test]
fn reasons_are_distinct_words_in_capitals() {
    let reasons: BTreeSet<_> = every_refusal("x").iter().map(Refusal::reason).collect();
    assert_eq!(reasons.len(), 15);
    let is_word = |reason: &str| reason.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    assert!(reasons.iter().all(|reason| is_word(reason)));
}

proptest! {
    #[test]
    fn sentences_are_one_line_of_bearable_length(text in ".{0,600}|(\\PC|\n|\r|\0){0,50}") {
        for refusal in every_refusal(&text) {
            let sentence = refusal.sentence();
            prop_assert!(!sentence.contains(['\n', '\r', '\0']), "{}", sentence);
            prop_assert!(sentence.chars().count() <= 2001, "{}", sentence.len());
            prop_assert!(!sentence.ends_with('.') || text.ends_with('.'));
            prop_assert!(sentence.starts_with(char::is_lowercase));
        }
    }
}
