//! Many callers at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use helix_store::{JobEventKind, Options, Store, open};

use crate::support::*;

const ITEMS: usize = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_item_is_handed_out_twice_by_sqlite() {
    with_sqlite(async |store| crowd(vec![store]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_item_is_handed_out_twice_by_controllers_on_postgres() {
    with_postgres_url(async |url: String| {
        let mut stores = Vec::new();
        for _ in 0..3 {
            stores.push(open(&url, &Options::default()).await.expect("a store"));
        }
        crowd(stores).await;
    })
    .await;
}

/// Twelve controllers take, refuse, retry and settle until nothing is left of three jobs.
async fn crowd(stores: Vec<Arc<dyn Store>>) {
    for job in ["j", "k", "l"] {
        with_job(&*stores[0], job, ITEMS, 1).await;
    }
    let mut tasks = Vec::new();
    for number in 0..12 {
        let store = Arc::clone(&stores[number % stores.len()]);
        tasks.push(tokio::spawn(one_of_many(store, number)));
    }
    let mut runs: BTreeMap<String, usize> = BTreeMap::new();
    for task in tasks {
        for item in task.await.expect("no panic") {
            *runs.entry(item).or_default() += 1;
        }
    }
    let store = &stores[0];
    assert!(store.lanes().await.expect("lanes").is_empty());
    assert_eq!(runs.len(), 3 * ITEMS);
    for job in ["j", "k", "l"] {
        let job = store
            .job(&job_id(job))
            .await
            .expect("asked")
            .expect("there");
        assert_eq!(job.counts.passed, ITEMS as u64, "{:?}", job.counts);
        assert_eq!((job.counts.waiting, job.counts.running), (0, 0));
        let events = store.events(&job.id, 0, u32::MAX).await.expect("events");
        let mut ended = BTreeSet::new();
        let mut starts = 0;
        for event in &events {
            match &event.kind {
                JobEventKind::ItemEnded { item } => assert!(ended.insert(item.clone()), "{item}"),
                JobEventKind::AttemptStarted { .. } => starts += 1,
                _ => {}
            }
        }
        assert_eq!(ended.len(), ITEMS);
        let of_job = runs
            .iter()
            .filter(|(item, _)| item.starts_with(&format!("{}.", job.id)));
        assert_eq!(starts, of_job.map(|(_, runs)| runs).sum::<usize>());
        assert_eq!(
            events.last().map(|event| &event.kind),
            Some(&JobEventKind::Ended)
        );
    }
}

/// Answers with the items that it ran, once for each attempt.
async fn one_of_many(store: Arc<dyn Store>, number: usize) -> Vec<String> {
    let me = controller(&format!("c{number}"));
    let machine = agent(&format!("m{number}"));
    let mut runs = Vec::new();
    let mut idle = 0;
    let mut round = 0;
    while idle < 20 {
        let lanes = store.lanes().await.expect("lanes");
        let Some(lane) = lanes.get(number % lanes.len().max(1)) else {
            idle += 1;
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            continue;
        };
        idle = 0;
        round += 1;
        let ids: Vec<_> = (0..4)
            .map(|n| attempt_id(&format!("a-{number}-{round}-{n}")))
            .collect();
        let taken = store
            .take(&me, lane.id, &machine, &ids, at(1))
            .await
            .expect("taken");
        for taken in taken {
            if round % 5 == 0 {
                let no = refusal(&machine.0, at(1), at(1));
                store
                    .give_back(&taken.fence, &no, at(1))
                    .await
                    .expect("given back");
                continue;
            }
            store
                .record(&taken.fence, accepted(at(1)))
                .await
                .expect("recorded");
            runs.push(taken.item.to_string());
            let fails = taken.delivery.number() == 1 && runs.len() % 3 == 0;
            let settlement = if fails {
                fails_once(taken.delivery)
            } else {
                passes()
            };
            store
                .settle(&taken.fence, settlement, at(2))
                .await
                .expect("settled");
        }
    }
    runs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cancelling_while_others_take_misses_nothing() {
    with_postgres_url(async |url: String| {
        let mine = open(&url, &Options::default()).await.expect("a store");
        let theirs = open(&url, &Options::default()).await.expect("a store");
        for round in 0..8 {
            let job = format!("j{round}");
            with_job(&*mine, &job, 60, 0).await;
            let mut takers = Vec::new();
            for taker in 0..30 {
                let store = Arc::clone(if taker % 2 == 0 { &mine } else { &theirs });
                let (job, attempt) = (job.clone(), format!("a-{round}-{taker}"));
                takers.push(tokio::spawn(async move {
                    take(&*store, "c", &job, "m", &[&attempt], at(1))
                        .await
                        .len()
                }));
            }
            let job = job_id(&job);
            let cancelled = theirs
                .cancel(&job, None, "stop", at(2))
                .await
                .expect("cancelled");
            let mut taken = 0;
            for taker in takers {
                taken += taker.await.expect("no panic");
            }
            assert_eq!(cancelled.running.len(), taken);
            assert_eq!(cancelled.ended + cancelled.running.len() as u64, 60);
            for item in mine.items(&job, None, 100).await.expect("items").entries {
                assert!(item.cancel_requested.is_some(), "{item:?}");
            }
        }
    })
    .await;
}
