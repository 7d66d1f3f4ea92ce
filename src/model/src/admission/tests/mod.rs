//! Tests of the decision.

mod properties;
mod sentences;
mod tools;

use std::num::{NonZeroU32, NonZeroU64};

use super::*;
use crate::health::Health;
use crate::pressure::PressureLevel;
use crate::provisioning::Provisioning;
use crate::resources::{ResourceKind, Resources, Shortfall};
use crate::testing::{at, attempt, capabilities, parsed, requirements, seconds, work_item};
use crate::work_item::{Network, WorkItem};

const GIB: u64 = 1 << 30;

/// An idle agent of four slots.
fn agent() -> AgentSnapshot {
    let total = Resources {
        slots: 4,
        cpu_millis: 4000,
        memory_bytes: 8 * GIB,
        disk_bytes: 100 * GIB,
    };
    AgentSnapshot {
        queues: vec![parsed("Ubuntu.2404.Amd64"), parsed("spare")],
        capabilities: capabilities(&["os=linux", "node@20.1,18.2"]),
        total,
        free: total,
        ..AgentSnapshot::default()
    }
}

fn known(id: &str, delivery: u32, superseded_by: Option<&str>) -> KnownAttempt {
    KnownAttempt {
        attempt: attempt(id),
        work_item: parsed("item-1"),
        job: parsed("job-1"),
        delivery,
        superseded_by: superseded_by.map(attempt),
    }
}

fn provisioner(
    name: &str,
    capability: &str,
    versions: &[&str],
    state: Provisioning,
) -> ProvisionerSnapshot {
    ProvisionerSnapshot {
        name: name.to_owned(),
        capability: parsed(capability),
        versions: versions.iter().map(|version| parsed(version)).collect(),
        usual_duration: Some(seconds(1500)),
        state,
    }
}

fn running(since: u64, expected_end: Option<u64>) -> Provisioning {
    Provisioning::Running {
        since: at(since),
        expected_end: expected_end.map(at),
        deadline: at(9000),
        failures: 0,
    }
}

fn cooling(until: u64) -> Provisioning {
    Provisioning::CoolingDown {
        until: at(until),
        last_error: "no space".to_owned(),
        failures: 1,
    }
}

fn wanting(texts: &[&str]) -> WorkItem {
    WorkItem {
        requirements: requirements(texts),
        ..work_item()
    }
}

/// Decides at second 100 and gives the refusal.
fn refusal(work_item: &WorkItem, agent: &AgentSnapshot) -> Refusal {
    decide(work_item, agent, at(100)).expect_err("the agent took the item")
}

/// Checks what programs see of a refusal at second 100: reason, whether to come back, and when.
fn check(refusal: &Refusal, reason: &str, retriable: bool, retry_after: Option<u64>) {
    assert_eq!(refusal.reason(), reason);
    assert_eq!(refusal.retriable(), retriable, "{refusal:?}");
    assert_eq!(
        refusal.retry_after(at(100)),
        retry_after.map(seconds),
        "{refusal:?}"
    );
    assert!(!refusal.costs_attempt());
}

#[test]
fn idle_agent_takes_what_it_can_run() {
    let admission = decide(&wanting(&["os=linux", "node >=20"]), &agent(), at(0));
    let reserve = Resources {
        slots: 1,
        ..Resources::default()
    };
    assert_eq!(
        admission,
        Ok(Admission {
            reserve,
            standing: Standing::Regular
        })
    );
    let anyone = AgentSnapshot {
        queues: Vec::new(),
        ..agent()
    };
    assert!(decide(&work_item(), &anyone, at(0)).is_ok());
}

#[test]
fn attempt_is_taken_once_and_never_after_a_newer_one() {
    let with = |attempts| {
        refusal(
            &work_item(),
            &AgentSnapshot {
                attempts,
                ..agent()
            },
        )
    };
    let same = with(vec![known("attempt-1", 1, None)]);
    assert_eq!(
        same,
        Refusal::Duplicate {
            attempt: attempt("attempt-1")
        }
    );
    check(&same, "DUPLICATE_ATTEMPT", false, None);

    let told = with(vec![known("attempt-1", 1, Some("attempt-9"))]);
    let expected = |by| Refusal::Superseded {
        attempt: attempt("attempt-1"),
        by: attempt(by),
    };
    assert_eq!(told, expected("attempt-9"));
    check(&told, "SUPERSEDED_ATTEMPT", false, None);

    let later = with(vec![
        known("attempt-2", 2, None),
        known("attempt-3", 3, None),
    ]);
    assert_eq!(later, expected("attempt-3"));
}

#[test]
fn attempts_of_other_items_and_earlier_deliveries_are_no_fence() {
    let mut other_item = known("attempt-2", 9, None);
    other_item.work_item = parsed("item-2");
    let mut other_job = known("attempt-3", 9, None);
    other_job.job = parsed("job-2");
    let attempts = vec![other_item, other_job, known("attempt-0", 1, None)];
    assert!(
        decide(
            &work_item(),
            &AgentSnapshot {
                attempts,
                ..agent()
            },
            at(0)
        )
        .is_ok()
    );
}

#[test]
fn agent_out_of_service_takes_nothing() {
    let with = |availability| {
        refusal(
            &work_item(),
            &AgentSnapshot {
                availability,
                ..agent()
            },
        )
    };
    let draining = with(Availability::Draining { since: at(0) });
    assert_eq!(draining, Refusal::Draining { since: at(0) });
    check(&draining, "DRAINING", true, None);
    let offline = with(Availability::Offline {
        reason: "fan broken".to_owned(),
    });
    assert_eq!(
        offline,
        Refusal::Offline {
            reason: "fan broken".to_owned()
        }
    );
    check(&offline, "OFFLINE", true, None);
}

#[test]
fn queue_must_be_one_of_the_agents() {
    let item = WorkItem {
        queue: parsed("osx.15.arm64"),
        ..work_item()
    };
    let refusal = refusal(&item, &agent());
    let expected = Refusal::WrongQueue {
        asked: item.queue.clone(),
        served: agent().queues,
    };
    assert_eq!(refusal, expected);
    check(&refusal, "WRONG_QUEUE", false, None);
}

#[test]
fn item_is_refused_where_it_cannot_be_held_back() {
    let lacking = |name: &str| MissingMeasure {
        name: name.to_owned(),
        why: "not root".to_owned(),
    };
    let with = |missing: &[&str], network: Option<&str>| AgentSnapshot {
        isolation: IsolationSnapshot {
            missing: missing.iter().map(|name| lacking(name)).collect(),
            network: network.map(lacking),
        },
        ..agent()
    };
    let offline = WorkItem {
        network: Network::None,
        ..work_item()
    };
    let expected = |names: &[&str]| Refusal::NotIsolated {
        missing: names.iter().map(|name| lacking(name)).collect(),
    };
    let required = with(&["user", "no-network"], Some("no-network"));
    let refused = refusal(&work_item(), &required);
    assert_eq!(refused, expected(&["user", "no-network"]));
    check(&refused, "NOT_ISOLATED", false, None);
    assert_eq!(refusal(&offline, &required), refused);
    // Who wants the network does not care that it cannot be kept away.
    let connected = with(&[], Some("no-network"));
    assert!(decide(&work_item(), &connected, at(0)).is_ok());
    assert_eq!(refusal(&offline, &connected), expected(&["no-network"]));
    assert!(decide(&offline, &agent(), at(0)).is_ok());
}

#[test]
fn item_larger_than_the_machine_is_told_everything_at_once() {
    let mut item = work_item();
    item.resources.slots = NonZeroU32::new(5).expect("not zero");
    item.resources.memory_bytes = NonZeroU64::new(9 * GIB);
    item.resources.cpu_millis = NonZeroU64::new(4000);
    let refusal = refusal(&item, &agent());
    let shortfall = |kind, wanted, available| Shortfall {
        kind,
        wanted,
        available,
    };
    let shortfalls = vec![
        shortfall(ResourceKind::Slots, 5, 4),
        shortfall(ResourceKind::Memory, 9 * GIB, 8 * GIB),
    ];
    assert_eq!(refusal, Refusal::TooLarge { shortfalls });
    check(&refusal, "TOO_LARGE", false, None);
}

#[test]
fn quarantined_agent_says_until_when_and_then_tries_one_item() {
    let health = Health::Quarantined {
        failures: 3,
        round: 1,
        until: at(160),
    };
    let sick = AgentSnapshot { health, ..agent() };
    let early = refusal(&work_item(), &sick);
    assert_eq!(
        early,
        Refusal::Unhealthy {
            failures: 3,
            until: Some(at(160))
        }
    );
    check(&early, "UNHEALTHY", true, Some(60));
    let trial = decide(&work_item(), &sick, at(160)).map(|admission| admission.standing);
    assert_eq!(trial, Ok(Standing::Trial));
    let busy = AgentSnapshot { running: 1, ..sick };
    let second = decide(&work_item(), &busy, at(160)).expect_err("one trial at a time");
    assert_eq!(
        second,
        Refusal::Unhealthy {
            failures: 3,
            until: None
        }
    );
    check(&second, "UNHEALTHY", true, None);
}

#[test]
fn full_agent_says_what_is_short_and_until_when() {
    let busy = |free: Resources| AgentSnapshot {
        free,
        running: 3,
        free_by: Some(at(130)),
        ..agent()
    };
    let free = agent().free;
    let mut item = work_item();
    item.resources.slots = NonZeroU32::new(2).expect("not zero");
    item.resources.cpu_millis = NonZeroU64::new(1500);
    item.resources.memory_bytes = NonZeroU64::new(2 * GIB);
    item.resources.disk_bytes = NonZeroU64::new(3 * GIB);
    let free_by = Some(at(130));

    let slots = refusal(
        &item,
        &busy(Resources {
            slots: 1,
            cpu_millis: 0,
            ..free
        }),
    );
    let pressure = PressureLevel::Calm;
    assert_eq!(
        slots,
        Refusal::SlotsFull {
            slots: 4,
            wanted: 2,
            free: 1,
            pressure,
            free_by
        }
    );
    check(&slots, "SLOTS_FULL", true, Some(30));

    let cpu = refusal(
        &item,
        &busy(Resources {
            cpu_millis: 1499,
            ..free
        }),
    );
    assert_eq!(
        cpu,
        Refusal::CpuShort {
            wanted: 1500,
            free: 1499,
            total: 4000,
            free_by
        }
    );
    check(&cpu, "CPU_SHORT", true, Some(30));

    let memory = refusal(
        &item,
        &busy(Resources {
            memory_bytes: GIB,
            ..free
        }),
    );
    let (wanted, total) = (2 * GIB, 8 * GIB);
    assert_eq!(
        memory,
        Refusal::MemoryShort {
            wanted,
            free: GIB,
            total,
            free_by
        }
    );
    check(&memory, "MEMORY_SHORT", true, Some(30));

    let disk = refusal(
        &item,
        &busy(Resources {
            disk_bytes: 0,
            ..free
        }),
    );
    let (wanted, total) = (3 * GIB, 100 * GIB);
    assert_eq!(
        disk,
        Refusal::DiskShort {
            wanted,
            free: 0,
            total,
            free_by
        }
    );
    check(&disk, "DISK_SHORT", true, Some(30));

    let unknown = AgentSnapshot {
        free_by: None,
        ..busy(Resources { slots: 0, ..free })
    };
    check(&refusal(&item, &unknown), "SLOTS_FULL", true, None);
}

#[test]
fn pressure_takes_slots_away_from_new_items_only() {
    let with = |pressure, free_slots| {
        let free = Resources {
            slots: free_slots,
            ..agent().free
        };
        decide(
            &work_item(),
            &AgentSnapshot {
                pressure,
                free,
                ..agent()
            },
            at(0),
        )
        .is_ok()
    };
    assert!(with(PressureLevel::Calm, 1));
    assert!(!with(PressureLevel::Elevated, 1));
    assert!(with(PressureLevel::Elevated, 2));
    assert!(!with(PressureLevel::High, 2));
    assert!(with(PressureLevel::High, 3));
    assert!(!with(PressureLevel::Critical, 4));
}

#[test]
fn first_check_that_fails_is_the_answer() {
    // Everything is wrong at first; then one thing after the other is put right.
    let mut item = WorkItem {
        queue: parsed("other"),
        ..wanting(&["gpu"])
    };
    item.resources.slots = NonZeroU32::new(9).expect("not zero");
    item.resources.memory_bytes = NonZeroU64::new(GIB);
    item.resources.disk_bytes = NonZeroU64::new(GIB);
    item.resources.cpu_millis = NonZeroU64::new(1);
    let mut agent = AgentSnapshot {
        availability: Availability::Draining { since: at(0) },
        attempts: vec![known("attempt-1", 1, None), known("attempt-2", 2, None)],
        health: Health::Quarantined {
            failures: 3,
            round: 1,
            until: at(999),
        },
        free: Resources::default(),
        ..agent()
    };
    let mut reasons = vec![refusal(&item, &agent).reason()];
    item.attempt = attempt("attempt-0");
    reasons.push(refusal(&item, &agent).reason());
    agent.attempts.clear();
    reasons.push(refusal(&item, &agent).reason());
    agent.availability = Availability::Accepting;
    reasons.push(refusal(&item, &agent).reason());
    item.queue = parsed("SPARE");
    reasons.push(refusal(&item, &agent).reason());
    item.resources.slots = NonZeroU32::new(4).expect("not zero");
    reasons.push(refusal(&item, &agent).reason());
    agent.health = Health::default();
    reasons.push(refusal(&item, &agent).reason());
    agent.capabilities = capabilities(&["gpu"]);
    reasons.push(refusal(&item, &agent).reason());
    agent.free.slots = 4;
    reasons.push(refusal(&item, &agent).reason());
    agent.free.cpu_millis = 1;
    reasons.push(refusal(&item, &agent).reason());
    agent.free.memory_bytes = GIB;
    reasons.push(refusal(&item, &agent).reason());
    agent.free.disk_bytes = GIB;
    assert!(decide(&item, &agent, at(100)).is_ok());
    let expected = [
        "DUPLICATE_ATTEMPT",
        "SUPERSEDED_ATTEMPT",
        "DRAINING",
        "WRONG_QUEUE",
        "TOO_LARGE",
        "UNHEALTHY",
        "MISSING_CAPABILITY",
        "SLOTS_FULL",
        "CPU_SHORT",
        "MEMORY_SHORT",
        "DISK_SHORT",
    ];
    assert_eq!(reasons, expected);
}
