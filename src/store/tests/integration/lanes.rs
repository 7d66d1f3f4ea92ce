//! Lanes: order, delays, refusals.

use std::sync::Arc;

use helix_store::{ItemState, LaneId, Next, Store, StoreError};

use crate::support::*;

on_every_store!(
    items_go_in_the_order_of_submission,
    lane_says_what_scheduling_needs,
    refused_item_takes_its_old_place_and_avoids_the_agent,
    requeued_item_goes_to_the_end,
    delayed_item_waits_for_its_time,
    attempt_id_in_use_takes_nothing,
    given_back_twice_counts_once,
    taken_attempt_cannot_be_given_back,
);

async fn items_go_in_the_order_of_submission(store: Arc<dyn Store>) {
    with_job(&*store, "j", 5, 0).await;
    let first = take(&*store, "c", "j", "m", &["a0", "a1"], at(1)).await;
    assert_eq!(names(&first), ["i0", "i1"]);
    assert_eq!(first[1].fence, fence("a1", 1));
    assert_eq!(first[1].specification, b"run i1");
    assert_eq!(
        (&first[0].job, first[0].queue.as_str()),
        (&job_id("j"), "q")
    );
    let rest = take(&*store, "c", "j", "m", &["a2", "a3", "a4", "a5"], at(1)).await;
    assert_eq!(names(&rest), ["i2", "i3", "i4"]);
    assert!(store.lanes().await.expect("lanes").is_empty());
    let state = the_item(&*store, "j", "i3").await.state;
    let offered = ItemState::Offered {
        attempt: attempt_id("a3"),
        agent: agent("m"),
    };
    assert_eq!(state, offered);
    let (who, machine, ids) = (controller("c"), agent("m"), [attempt_id("x")]);
    let nobody = store.take(&who, LaneId(-5), &machine, &ids, at(1));
    assert_eq!(nobody.await.expect("asked"), []);
    assert_eq!(store.attempt(&attempt_id("a5")).await.expect("asked"), None);
}

async fn lane_says_what_scheduling_needs(store: Arc<dyn Store>) {
    store.put_queue(queue("Q", 3)).await.expect("a queue");
    let mut job = new_job("j", 3, 0);
    job.items[1].demand = b"gpu".to_vec();
    store.submit(job, at(4)).await.expect("stored");
    let mut lanes = store.lanes().await.expect("lanes");
    lanes.sort_by_key(|lane| lane.id);
    assert_eq!(lanes.len(), 2);
    let lane = &lanes[0];
    assert_eq!((&lane.job, lane.queue.as_str()), (&job_id("j"), "q"));
    assert_eq!(
        (lane.queue_priority, lane.job_priority, lane.created),
        (-3, 7, at(4))
    );
    assert_eq!(
        (lane.demand.as_slice(), lane.waiting),
        (b"any".as_slice(), 2)
    );
    assert_eq!((lane.job_running, lane.not_before), (0, None));
    assert_eq!(
        (lanes[1].demand.as_slice(), lanes[1].waiting),
        (b"gpu".as_slice(), 1)
    );
    take(&*store, "c", "j", "m", &["a"], at(5)).await;
    let lanes = store.lanes().await.expect("lanes");
    let mut seen: Vec<_> = lanes
        .iter()
        .map(|lane| (lane.waiting, lane.job_running))
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, [(1, 1), (1, 1)]);
}

async fn refused_item_takes_its_old_place_and_avoids_the_agent(store: Arc<dyn Store>) {
    with_job(&*store, "j", 3, 0).await;
    let taken = take(&*store, "c", "j", "m1", &["a0"], at(1)).await;
    let no = refusal("m1", at(2), at(100));
    store
        .give_back(&taken[0].fence, &no, at(2))
        .await
        .expect("given back");
    let item = the_item(&*store, "j", "i0").await;
    assert_eq!(
        (item.state, item.attempts, item.since),
        (ItemState::Waiting, 0, at(2))
    );
    assert_eq!(item.delivery.number(), 1);
    assert_eq!(store.attempts(&item.id).await.expect("attempts"), []);
    let mut kept = no.clone();
    kept.times = 1;
    assert_eq!(store.refusals(&item.id).await.expect("refusals"), [kept]);
    // The agent that refused gets the next, another gets the first; the id is free again.
    let other = take(&*store, "c", "j", "m1", &["a0"], at(99)).await;
    assert_eq!(names(&other), ["i1"]);
    let first = take(&*store, "c", "j", "m2", &["a2"], at(99)).await;
    assert_eq!(names(&first), ["i0"]);
    store
        .give_back(&first[0].fence, &refusal("m2", at(99), at(200)), at(99))
        .await
        .expect("back");
    let after = take(&*store, "c", "j", "m1", &["a3"], at(100)).await;
    assert_eq!(names(&after), ["i0"]);
    store
        .give_back(&after[0].fence, &refusal("m1", at(101), at(300)), at(101))
        .await
        .expect("back");
    let refusals = store.refusals(&item.id).await.expect("refusals");
    let times: Vec<_> = refusals
        .iter()
        .map(|no| (no.agent.0.as_str(), no.times))
        .collect();
    assert_eq!(times, [("m1", 2), ("m2", 1)]);
}

async fn requeued_item_goes_to_the_end(store: Arc<dyn Store>) {
    with_job(&*store, "j", 3, 2).await;
    let taken = start(&*store, "j", "a0", at(1)).await;
    store
        .settle(&taken.fence, fails_once(taken.delivery), at(2))
        .await
        .expect("settled");
    let item = the_item(&*store, "j", "i0").await;
    assert_eq!(
        (item.delivery.number(), item.delivery.retries_used()),
        (2, 1)
    );
    assert_eq!(
        (item.state, item.attempts, item.since),
        (ItemState::Waiting, 1, at(2))
    );
    let next = take(&*store, "c", "j", "m1", &["b", "c", "d"], at(3)).await;
    assert_eq!(names(&next), ["i1", "i2", "i0"]);
    assert_eq!(next[2].delivery.number(), 2);
    // Refused there, it keeps that place.
    store
        .give_back(&next[2].fence, &refusal("m1", at(4), at(4)), at(4))
        .await
        .expect("back");
    store
        .give_back(&next[1].fence, &refusal("m1", at(4), at(4)), at(4))
        .await
        .expect("back");
    let next = take(&*store, "c", "j", "m1", &["e", "f"], at(5)).await;
    assert_eq!(names(&next), ["i2", "i0"]);
}

async fn delayed_item_waits_for_its_time(store: Arc<dyn Store>) {
    with_job(&*store, "j", 1, 2).await;
    let taken = start(&*store, "j", "a0", at(1)).await;
    let mut later = fails_once(taken.delivery);
    if let Next::Wait {
        not_before, avoid, ..
    } = &mut later.next
    {
        *not_before = Some(at(50));
        *avoid = Some(helix_store::Avoid {
            refusal: refusal("m1", at(2), at(60)),
        });
    }
    store
        .settle(&taken.fence, later, at(2))
        .await
        .expect("settled");
    let lanes = store.lanes().await.expect("lanes");
    assert_eq!((lanes[0].waiting, lanes[0].not_before), (1, Some(at(50))));
    assert_eq!(
        names(&take(&*store, "c", "j", "m2", &["b"], at(49)).await),
        [""; 0]
    );
    assert_eq!(
        names(&take(&*store, "c", "j", "m1", &["b"], at(59)).await),
        [""; 0]
    );
    let taken = take(&*store, "c", "j", "m2", &["b"], at(50)).await;
    assert_eq!(names(&taken), ["i0"]);
    assert_eq!(
        store.refusals(&taken[0].item).await.expect("refusals")[0].times,
        1
    );
}

async fn attempt_id_in_use_takes_nothing(store: Arc<dyn Store>) {
    with_job(&*store, "j", 4, 0).await;
    take(&*store, "c", "j", "m", &["a0"], at(1)).await;
    let lane = store.lanes().await.expect("lanes")[0].id;
    for ids in [["b0", "a0"], ["b0", "b0"]] {
        let ids = ids.map(attempt_id);
        let answer = store
            .take(&controller("c"), lane, &agent("m"), &ids, at(1))
            .await;
        assert!(matches!(answer, Err(StoreError::Invalid(_))), "{answer:?}");
    }
    let lanes = store.lanes().await.expect("lanes");
    assert_eq!((lanes[0].waiting, lanes[0].job_running), (3, 1));
    assert_eq!(store.attempt(&attempt_id("b0")).await.expect("asked"), None);
    assert_eq!(
        names(&take(&*store, "c", "j", "m", &["b0"], at(1)).await),
        ["i1"]
    );
}

async fn given_back_twice_counts_once(store: Arc<dyn Store>) {
    with_job(&*store, "j", 2, 0).await;
    let taken = take(&*store, "c", "j", "m", &["a"], at(1)).await;
    let no = refusal("m", at(2), at(3));
    store
        .give_back(&taken[0].fence, &no, at(2))
        .await
        .expect("given back");
    store
        .give_back(&taken[0].fence, &no, at(2))
        .await
        .expect("the same again");
    assert_eq!(
        store.refusals(&taken[0].item).await.expect("refusals")[0].times,
        1
    );
    assert_eq!(store.lanes().await.expect("lanes")[0].waiting, 2);
    for stranger in [fence("a", 2), fence("b", 1)] {
        let answer = store.give_back(&stranger, &no, at(2)).await;
        assert!(matches!(answer, Err(StoreError::Fenced(_))), "{answer:?}");
    }
}

async fn taken_attempt_cannot_be_given_back(store: Arc<dyn Store>) {
    with_job(&*store, "j", 1, 0).await;
    let taken = start(&*store, "j", "a", at(1)).await;
    let answer = store
        .give_back(&taken.fence, &refusal("m1", at(2), at(3)), at(2))
        .await;
    assert!(matches!(answer, Err(StoreError::Invalid(_))), "{answer:?}");
    store
        .settle(&taken.fence, passes(), at(3))
        .await
        .expect("settled");
    let answer = store
        .give_back(&taken.fence, &refusal("m1", at(2), at(3)), at(2))
        .await;
    assert!(matches!(answer, Err(StoreError::Fenced(_))), "{answer:?}");
}
