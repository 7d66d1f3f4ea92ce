//! What holds of every decision.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::resources::{Ledger, ReserveError};
use crate::work_item::{Delivery, DeliveryCounts};

fn any_item() -> impl Strategy<Value = WorkItem> {
    let amount =
        || prop::option::of((1_u64..6).prop_map(|n| NonZeroU64::new(n).expect("not zero")));
    let needs = prop::sample::subsequence(vec!["gpu", "node 20", "node 22", "os=linux"], 0..4);
    (
        1_u32..6,
        amount(),
        amount(),
        amount(),
        needs,
        0_u8..4,
        1_u32..4,
    )
        .prop_map(|(slots, cpu, memory, disk, needs, id, number)| {
            let mut item = wanting(&needs);
            item.attempt = attempt(&format!("attempt-{id}"));
            item.resources.slots = NonZeroU32::new(slots).expect("not zero");
            item.resources.cpu_millis = cpu;
            item.resources.memory_bytes = memory;
            item.resources.disk_bytes = disk;
            let counts = DeliveryCounts {
                number,
                queue_max: 3,
                retries_requested: 2,
                retries_used: 0,
            };
            item.delivery = Delivery::try_from(counts).expect("good counts");
            item
        })
}

fn any_agent() -> impl Strategy<Value = AgentSnapshot> {
    let amounts = || {
        (0_u32..6, 0_u64..6, 0_u64..6, 0_u64..6).prop_map(
            |(slots, cpu_millis, memory_bytes, disk_bytes)| Resources {
                slots,
                cpu_millis,
                memory_bytes,
                disk_bytes,
            },
        )
    };
    let pressure = prop::sample::select(vec![
        PressureLevel::Calm,
        PressureLevel::Elevated,
        PressureLevel::High,
        PressureLevel::Critical,
    ]);
    let state = prop::sample::select(vec![
        Provisioning::Idle,
        running(0, Some(500)),
        cooling(300),
    ]);
    let health = prop::sample::select(vec![
        Health::default(),
        Health::default(),
        Health::Quarantined {
            failures: 3,
            round: 1,
            until: at(500),
        },
        Health::Probation {
            failures: 3,
            round: 1,
        },
    ]);
    let attempts = prop::collection::vec((0_u8..4, 1_u32..4), 0..3);
    let has = prop::sample::subsequence(vec!["gpu", "node@20.1", "os=linux"], 0..=3);
    (
        amounts(),
        amounts(),
        pressure,
        state,
        health,
        attempts,
        has,
        0_usize..3,
    )
        .prop_map(
            |(total, free, pressure, state, health, attempts, has, running)| AgentSnapshot {
                total,
                free: free.least(total),
                pressure,
                provisioners: vec![provisioner("n", "node", &[], state)],
                health,
                attempts: attempts
                    .into_iter()
                    .map(|(id, delivery)| known(&format!("attempt-{id}"), delivery, None))
                    .collect(),
                capabilities: capabilities(&has),
                running,
                ..AgentSnapshot::default()
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_is_taken_fits_and_can_run(item in any_item(), agent in any_agent()) {
        match decide(&item, &agent, at(100)) {
            Ok(admission) => {
                prop_assert!(agent.free.shortfalls(&admission.reserve).is_empty());
                prop_assert!(agent.capabilities.missing(&item.requirements).is_empty());
                prop_assert!(agent.pressure != PressureLevel::Critical);
                prop_assert!(agent.attempts.iter().all(|known| known.attempt != item.attempt
                    && known.delivery <= item.delivery.number()));
                let trial = admission.standing == Standing::Trial;
                prop_assert_eq!(trial, agent.health != Health::default());
                prop_assert!(!trial || agent.running == 0);
                let mut ledger = Ledger::new(agent.free);
                let reserved: Result<(), ReserveError> = ledger.reserve(item.attempt, admission.reserve);
                prop_assert_eq!(reserved, Ok(()));
            }
            Err(refusal) => {
                prop_assert!(!refusal.costs_attempt());
                let wait = refusal.retry_after(at(100));
                prop_assert!(wait.is_none() || refusal.retriable());
                prop_assert!(wait.is_none_or(|wait| wait >= Duration::from_secs(1)));
            }
        }
    }

    #[test]
    fn freeing_resources_never_turns_acceptance_into_refusal(
        item in any_item(), agent in any_agent(), more in 0_u32..4,
    ) {
        if decide(&item, &agent, at(100)).is_ok() {
            let extra = Resources {
                slots: more,
                cpu_millis: u64::from(more),
                memory_bytes: u64::from(more),
                disk_bytes: u64::from(more),
            };
            let freer = AgentSnapshot { free: agent.free.plus(extra).least(agent.total), ..agent };
            prop_assert!(decide(&item, &freer, at(100)).is_ok());
        }
    }
}
