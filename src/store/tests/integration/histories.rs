//! Random histories: every call, by several controllers, with stale fences, repetitions and
//! cancellation at any time, on the store in memory and on SQLite in step. Every answer and all that
//! can be seen is the same, and what must always hold holds.
//!
//! `PROPTEST_CASES` says how many histories; what fails is shrunk.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::Path;

use helix_model::work_item::Delivery;
use helix_store::{
    AttemptState, Avoid, Fence, ItemEndKind, ItemState, JobEventKind, JobFilter, LogPlace,
    MemoryStore, Next, Options, Progress, Settlement, Store, StoreError, VerdictKind, open,
};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::support::*;

const CONTROLLERS: [&str; 3] = ["c0", "c1", "c2"];
const AGENTS: [&str; 3] = ["m0", "m1", "m2"];
const QUEUES: [&str; 2] = ["q", "other"];

/// A call, by numbers that are taken modulo what there is.
#[derive(Debug, Clone)]
enum Step {
    PutQueue {
        queue: usize,
        deliveries: u32,
    },
    RemoveQueue {
        queue: usize,
    },
    Submit {
        job: usize,
        items: usize,
        retries: u32,
        queue: usize,
        lanes: usize,
    },
    Take {
        controller: usize,
        lane: usize,
        agent: usize,
        count: usize,
        reuse: bool,
    },
    GiveBack {
        fence: usize,
        stale: bool,
        agent: usize,
        span: u64,
    },
    Record {
        fence: usize,
        stale: bool,
        accepted: bool,
        event: u64,
        failures: usize,
    },
    Settle {
        fence: usize,
        stale: bool,
        end: Ending,
        accepted: bool,
        log: usize,
    },
    Cancel {
        job: usize,
        item: Option<usize>,
    },
    Beat {
        controller: usize,
    },
    AdoptOwn {
        controller: usize,
    },
    AdoptOrphans {
        controller: usize,
        ago: u64,
    },
}

#[derive(Debug, Clone)]
enum Ending {
    Ends(usize),
    Retried { delay: Option<u64>, avoid: bool },
    Lost { delay: Option<u64> },
}

fn ending() -> impl Strategy<Value = Ending> {
    let delay = || proptest::option::of(0..12_u64);
    prop_oneof![
        3 => (0..6_usize).prop_map(Ending::Ends),
        3 => (delay(), any::<bool>()).prop_map(|(delay, avoid)| Ending::Retried { delay, avoid }),
        2 => delay().prop_map(|delay| Ending::Lost { delay }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0..1000_usize;
    // Mostly the present epoch: what is stale is refused before it can do harm.
    let stale = || proptest::bool::weighted(0.15);
    prop_oneof![
        1 => (n.clone(), 1..4_u32).prop_map(|(queue, deliveries)| Step::PutQueue { queue, deliveries }),
        1 => n.clone().prop_map(|queue| Step::RemoveQueue { queue }),
        3 => (n.clone(), 0..5_usize, 0..4_u32, n.clone(), 1..3_usize).prop_map(
            |(job, items, retries, queue, lanes)| Step::Submit { job, items, retries, queue, lanes }
        ),
        8 => (n.clone(), n.clone(), n.clone(), 0..4_usize, proptest::bool::weighted(0.05)).prop_map(
            |(controller, lane, agent, count, reuse)| Step::Take { controller, lane, agent, count, reuse }
        ),
        4 => (n.clone(), stale(), n.clone(), 0..12_u64).prop_map(
            |(fence, stale, agent, span)| Step::GiveBack { fence, stale, agent, span }
        ),
        5 => (n.clone(), stale(), any::<bool>(), 0..6_u64, 0..3_usize).prop_map(
            |(fence, stale, accepted, event, failures)| Step::Record { fence, stale, accepted, event, failures }
        ),
        7 => (n.clone(), stale(), ending(), any::<bool>(), 0..3_usize).prop_map(
            |(fence, stale, end, accepted, log)| Step::Settle { fence, stale, end, accepted, log }
        ),
        1 => (n.clone(), proptest::option::of(n.clone())).prop_map(|(job, item)| Step::Cancel { job, item }),
        1 => n.clone().prop_map(|controller| Step::Beat { controller }),
        1 => n.clone().prop_map(|controller| Step::AdoptOwn { controller }),
        2 => (n, 0..8_u64).prop_map(|(controller, ago)| Step::AdoptOrphans { controller, ago }),
    ]
}

/// What whoever makes the calls knows.
#[derive(Debug, Default, Clone)]
struct Caller {
    fences: Vec<(Fence, Delivery)>,
    attempts: usize,
    clock: u64,
}

impl Caller {
    fn fence(&self, number: usize, stale: bool) -> (Fence, Delivery) {
        let none = || (fence("nobody", 1), Delivery::first(3, 2));
        // The latest are the likeliest to be open.
        let back = number % self.fences.len().clamp(1, 6);
        let found = self.fences.iter().rev().nth(back).cloned();
        let (mut fence, delivery) = found.unwrap_or_else(none);
        if stale {
            fence.epoch = fence.epoch.wrapping_sub(1);
        }
        (fence, delivery)
    }

    /// Makes a call; the answer is told in words that are the same for every store.
    async fn call(&mut self, store: &dyn Store, step: &Step) -> String {
        self.clock += 1;
        let now = at(self.clock);
        let one = |names: &[&'static str], number: usize| names[number % names.len()];
        match step.clone() {
            Step::PutQueue {
                queue: name,
                deliveries,
            } => {
                let queue = queue(one(&QUEUES, name), deliveries);
                told(store.put_queue(queue).await)
            }
            Step::RemoveQueue { queue } => {
                told(store.remove_queue(&queue_name(one(&QUEUES, queue))).await)
            }
            Step::Submit {
                job,
                items,
                retries,
                queue,
                lanes,
            } => {
                let mut new = new_job(&format!("j{}", job % 4), items, retries);
                new.queue = queue_name(one(&QUEUES, queue));
                for (number, item) in new.items.iter_mut().enumerate() {
                    item.demand = format!("d{}", number % lanes).into_bytes();
                }
                told(store.submit(new, now).await)
            }
            Step::Take {
                controller: who,
                lane,
                agent: machine,
                count,
                reuse,
            } => {
                let lanes = store.lanes().await.expect("lanes");
                let Some(lane) = lanes.get(lane % lanes.len().max(1)) else {
                    return "nothing waits".to_owned();
                };
                let first = if reuse { 0 } else { self.attempts };
                self.attempts = self.attempts.max(first + count);
                let ids: Vec<_> = (first..first + count)
                    .map(|n| attempt_id(&format!("a{n}")))
                    .collect();
                let who = controller(one(&CONTROLLERS, who));
                let machine = agent(one(&AGENTS, machine));
                let taken = store.take(&who, lane.id, &machine, &ids, now).await;
                for taken in taken.iter().flatten() {
                    self.fences.push((taken.fence.clone(), taken.delivery));
                }
                told(taken)
            }
            Step::GiveBack {
                fence,
                stale,
                agent,
                span,
            } => {
                let (fence, _) = self.fence(fence, stale);
                let no = refusal(one(&AGENTS, agent), now, at(self.clock + span));
                told(store.give_back(&fence, &no, now).await)
            }
            Step::Record {
                fence,
                stale,
                accepted,
                event,
                failures,
            } => {
                let (fence, _) = self.fence(fence, stale);
                told(
                    store
                        .record(&fence, progress(self.clock, accepted, event, failures))
                        .await,
                )
            }
            Step::Settle {
                fence,
                stale,
                end,
                accepted,
                log,
            } => {
                let (fence, delivery) = self.fence(fence, stale);
                let settlement = self.settlement(delivery, end, accepted, log);
                told(store.settle(&fence, settlement, now).await)
            }
            Step::Cancel { job, item } => {
                let job = format!("j{}", job % 4);
                let item = item.map(|item| item_id(&format!("{job}.i{}", item % 5)));
                let reason = format!("at {}", self.clock);
                told(
                    store
                        .cancel(&job_id(&job), item.as_ref(), &reason, now)
                        .await,
                )
            }
            Step::Beat { controller: who } => {
                told(store.beat(&controller(one(&CONTROLLERS, who)), now).await)
            }
            Step::AdoptOwn { controller: who } => {
                let held = store
                    .adopt_own(&controller(one(&CONTROLLERS, who)), now)
                    .await;
                self.fences.extend(
                    held.iter()
                        .flatten()
                        .map(|held| (held.fence.clone(), held.delivery)),
                );
                told(held)
            }
            Step::AdoptOrphans {
                controller: who,
                ago,
            } => {
                let who = controller(one(&CONTROLLERS, who));
                let since = at(self.clock.saturating_sub(ago));
                let held = store.adopt_orphans(&who, since, now).await;
                self.fences.extend(
                    held.iter()
                        .flatten()
                        .map(|held| (held.fence.clone(), held.delivery)),
                );
                told(held)
            }
        }
    }

    fn settlement(
        &self,
        delivery: Delivery,
        end: Ending,
        accepted: bool,
        log: usize,
    ) -> Settlement {
        const KINDS: [ItemEndKind; 6] = [
            ItemEndKind::Passed,
            ItemEndKind::PassedOnRetry,
            ItemEndKind::Failed,
            ItemEndKind::TimedOut,
            ItemEndKind::Cancelled,
            ItemEndKind::Dead,
        ];
        let now = at(self.clock);
        let wait = |delivery, delay: Option<u64>, avoid, retry| Next::Wait {
            delivery,
            not_before: delay.map(|delay| at(self.clock + delay)),
            avoid,
            retry,
            reason: format!("at {}", self.clock),
        };
        let dead = || Next::End(crate::support::end(ItemEndKind::Dead));
        let (state, next) = match end {
            Ending::Ends(kind) => (
                judged(VerdictKind::Passed),
                Next::End(crate::support::end(KINDS[kind % 6])),
            ),
            Ending::Retried { delay, avoid } => {
                let avoid = avoid.then(|| Avoid {
                    refusal: refusal("m0", now, at(self.clock + 9)),
                });
                let next = delivery.after_failure();
                let next = next.map_or_else(dead, |next| wait(next, delay, avoid, true));
                (judged(VerdictKind::Failed), next)
            }
            Ending::Lost { delay } => {
                let next = delivery.after_infrastructure();
                let next = next.map_or_else(dead, |next| wait(next, delay, None, false));
                let reason = "silence".to_owned();
                (AttemptState::Lost { reason }, next)
            }
        };
        let mut settlement = settlement(state, next);
        settlement.progress = progress(self.clock, accepted, 4, 2);
        settlement.log = [
            None,
            Some(LogPlace::Here),
            Some(LogPlace::Object("o".to_owned())),
        ][log]
            .clone();
        settlement.short_log = vec![1, 2, 3];
        settlement.log_bytes = self.clock;
        settlement
    }
}

fn progress(clock: u64, accepted: bool, event: u64, failures: usize) -> Progress {
    let sample = fails_once(Delivery::first(3, 2))
        .progress
        .results
        .expect("results");
    let (counts, mut list) = sample;
    list[0].name = format!("test {failures}");
    Progress {
        accepted: accepted.then(|| at(clock)),
        started: accepted.then(|| at(clock)),
        last_event: event,
        degraded: vec![format!("at {clock}")],
        results: (failures > 0).then_some((counts, list)),
        warnings: vec![format!("at {clock}"); failures],
        files: vec![helix_store::File {
            name: format!("f{}", clock % 3),
            kind: helix_store::FileKind::Upload,
            size: clock,
            sha256: vec![],
            url: String::new(),
        }],
    }
}

/// An answer in words. Of an error its kind counts, not what a database says about it.
fn told<T: Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(StoreError::Invalid(_)) => "invalid".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

/// All that can be seen of a store, and what must always hold of it.
async fn picture(store: &dyn Store, clock: u64) -> Result<Vec<String>, TestCaseError> {
    let mut seen = Vec::new();
    seen.push(told(store.queues().await));
    let lanes = store.lanes().await.expect("lanes");
    let mut in_lanes: BTreeMap<_, u64> = BTreeMap::new();
    for lane in &lanes {
        prop_assert!(lane.waiting > 0);
        *in_lanes.entry(lane.job.clone()).or_default() += lane.waiting;
    }
    seen.push(format!("{lanes:?}"));
    let mut held = BTreeMap::new();
    for who in CONTROLLERS {
        let holds = store.held(&controller(who)).await.expect("held");
        for one in &holds {
            let twice = held.insert(one.item.clone(), one.fence.attempt.clone());
            prop_assert_eq!(twice, None, "an item is held twice");
        }
        seen.push(format!("{holds:?}"));
    }
    for queue in [None, Some(queue_name("q"))] {
        seen.push(told(store.flaky(queue.as_ref(), at(clock / 2), 20).await));
    }
    let jobs = store
        .jobs(&JobFilter::default(), None, 1000)
        .await
        .expect("jobs")
        .entries;
    for job in jobs {
        let items = store
            .items(&job.id, None, 1000)
            .await
            .expect("items")
            .entries;
        let events = store.events(&job.id, 0, u32::MAX).await.expect("events");
        let counts = job.counts;
        let mut ends: BTreeSet<_> = BTreeSet::new();
        for event in &events {
            if let JobEventKind::ItemEnded { item } = &event.kind {
                prop_assert!(ends.insert(item.clone()), "{} ended twice", item);
            }
        }
        let (mut waiting, mut running) = (0, 0);
        for item in &items {
            let attempts = store.attempts(&item.id).await.expect("attempts");
            prop_assert_eq!(attempts.len(), item.attempts as usize);
            let ended = matches!(item.state, ItemState::Ended(_));
            prop_assert_eq!(ended, ends.contains(&item.id));
            waiting += u64::from(item.state == ItemState::Waiting);
            let open = attempts.iter().filter(|attempt| attempt.ended.is_none());
            let under_way = matches!(
                item.state,
                ItemState::Offered { .. } | ItemState::Running { .. }
            );
            prop_assert_eq!(open.count(), usize::from(under_way));
            prop_assert_eq!(under_way, held.contains_key(&item.id));
            running += u64::from(under_way);
            // Only attempts cost deliveries, save for the one that comes next, or would have.
            let next = match &item.state {
                ItemState::Waiting => true,
                ItemState::Ended(end) => end.kind == ItemEndKind::Cancelled,
                ItemState::Offered { .. } | ItemState::Running { .. } => false,
            };
            let most = attempts.len() + usize::from(next);
            prop_assert!(item.delivery.number() as usize <= most.max(1));
            prop_assert!(item.delivery.number() <= item.delivery.queue_max());
            prop_assert!(item.delivery.retries_used() <= item.delivery.retries_allowed());
            for attempt in &attempts {
                seen.push(told(store.short_log(&attempt.id).await));
            }
            seen.push(format!("{attempts:?}"));
            seen.push(told(store.refusals(&item.id).await));
        }
        prop_assert_eq!((counts.waiting, counts.running), (waiting, running));
        prop_assert_eq!(in_lanes.get(&job.id).copied().unwrap_or(0), waiting);
        let ended =
            counts.passed + counts.failed + counts.timed_out + counts.cancelled + counts.dead;
        prop_assert_eq!(waiting + running + ended, counts.total);
        prop_assert_eq!(counts.total, items.len() as u64);
        prop_assert_eq!(job.ended.is_some(), ended == counts.total);
        let told_ended = events
            .iter()
            .filter(|event| event.kind == JobEventKind::Ended)
            .count();
        prop_assert_eq!(told_ended, usize::from(job.ended.is_some()));
        prop_assert!(events.is_sorted_by(|a, b| a.number < b.number));
        seen.push(format!("{job:?} {items:?} {events:?}"));
    }
    Ok(seen)
}

async fn play(steps: Vec<(Step, bool)>) -> Result<(), TestCaseError> {
    // Nothing here is about durability, so memory will do where there is a directory in it.
    let memory_disk = Path::new("/dev/shm");
    let directory = if memory_disk.is_dir() {
        TempDir::new_in(memory_disk)
    } else {
        TempDir::new()
    };
    let directory = directory.expect("a directory");
    let memory = MemoryStore::new();
    let sqlite = open(&sqlite_url(&directory), &Options::default())
        .await
        .expect("a store");
    let mut caller = Caller::default();
    for store in [&memory as &dyn Store, &*sqlite] {
        store.put_queue(queue("q", 3)).await.expect("a queue");
    }
    for (step, repeat) in steps {
        let before = caller.clone();
        let told_by_memory = caller.call(&memory, &step).await;
        let mut other = before.clone();
        let told_by_sqlite = other.call(&*sqlite, &step).await;
        prop_assert_eq!(&told_by_memory, &told_by_sqlite, "{:?}", step);
        prop_assert_eq!(&caller.fences, &other.fences);
        let seen = picture(&memory, caller.clock).await?;
        prop_assert_eq!(
            &seen,
            &picture(&*sqlite, caller.clock).await?,
            "after {:?}",
            step
        );
        let adopts = matches!(step, Step::AdoptOwn { .. } | Step::AdoptOrphans { .. });
        if repeat && !adopts && !matches!(step, Step::Take { .. }) {
            let again = before.clone().call(&memory, &step).await;
            let also = before.clone().call(&*sqlite, &step).await;
            prop_assert_eq!(again, also, "{:?} again", step);
            let after = picture(&memory, caller.clock).await?;
            prop_assert_eq!(&seen, &after, "{:?} changed more the second time", step);
            prop_assert_eq!(&seen, &picture(&*sqlite, caller.clock).await?);
        }
    }
    Ok(())
}

fn config() -> ProptestConfig {
    ProptestConfig {
        // Unless the environment says otherwise.
        cases: std::env::var("PROPTEST_CASES")
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(60),
        max_shrink_iters: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn memory_and_sqlite_tell_the_same_history(
        steps in proptest::collection::vec((step(), proptest::bool::weighted(0.2)), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(play(steps))?;
    }
}
