//! Who looks after attempts.

use std::sync::Arc;

use helix_store::{Store, StoreError};

use crate::support::*;

on_every_store!(
    held_attempts_are_told_in_full,
    restarted_controller_takes_over_its_own,
    silent_controller_loses_its_attempts,
    beating_controller_keeps_its_attempts,
    adopted_attempt_fences_its_old_keeper,
);

async fn held_attempts_are_told_in_full(store: Arc<dyn Store>) {
    with_job(&*store, "j", 3, 1).await;
    let first = start(&*store, "j", "z", at(1)).await;
    let taken = take(&*store, "c", "j", "m2", &["y", "x"], at(2)).await;
    store
        .cancel(&job_id("j"), Some(&item_id("j.i1")), "why", at(3))
        .await
        .expect("marked");
    let held = store.held(&controller("c")).await.expect("held");
    let order: Vec<_> = held
        .iter()
        .map(|held| held.fence.attempt.as_str())
        .collect();
    assert_eq!(order, ["z", "y", "x"]);
    assert_eq!(
        (&held[0].fence, held[0].accepted, held[0].last_event),
        (&first.fence, true, 1)
    );
    let offered = &held[1];
    assert_eq!((&offered.fence, offered.accepted), (&taken[0].fence, false));
    assert_eq!(
        (&offered.item, &offered.job),
        (&item_id("j.i1"), &job_id("j"))
    );
    assert_eq!((offered.queue.as_str(), offered.name.as_str()), ("q", "i1"));
    assert_eq!(
        (offered.delivery, offered.retry_place),
        (taken[0].delivery, taken[0].retry_place)
    );
    assert_eq!(offered.specification, b"run i1");
    assert_eq!(
        (&offered.agent, &offered.controller),
        (&agent("m2"), &controller("c"))
    );
    assert_eq!((offered.offered, offered.last_event), (at(2), 0));
    assert_eq!(offered.cancel_requested.as_deref(), Some("why"));
    assert_eq!(store.held(&controller("C")).await.expect("held"), []);
}

async fn restarted_controller_takes_over_its_own(store: Arc<dyn Store>) {
    with_job(&*store, "j", 3, 0).await;
    let mine = start(&*store, "j", "a", at(1)).await;
    take(&*store, "other", "j", "m2", &["b"], at(2)).await;
    let held = store
        .adopt_own(&controller("c"), at(3))
        .await
        .expect("adopted");
    assert_eq!(held.len(), 1);
    assert_eq!((&held[0].fence, held[0].accepted), (&fence("a", 2), true));
    let answer = store.settle(&mine.fence, passes(), at(4)).await;
    assert!(matches!(answer, Err(StoreError::Fenced(_))), "{answer:?}");
    store
        .settle(&held[0].fence, passes(), at(4))
        .await
        .expect("settled");
    assert_eq!(
        store
            .adopt_own(&controller("c"), at(5))
            .await
            .expect("adopted"),
        []
    );
    // Adopting was a beat.
    take(&*store, "c", "j", "m2", &["d"], at(6)).await;
    let orphans = store
        .adopt_orphans(&controller("third"), at(5), at(7))
        .await
        .expect("adopted");
    let ids: Vec<_> = orphans
        .iter()
        .map(|held| held.fence.attempt.as_str())
        .collect();
    assert_eq!(ids, ["b"]);
}

async fn silent_controller_loses_its_attempts(store: Arc<dyn Store>) {
    with_job(&*store, "j", 3, 0).await;
    store.beat(&controller("c"), at(10)).await.expect("a beat");
    let taken = start(&*store, "j", "a", at(1)).await;
    take(&*store, "never-beat", "j", "m2", &["b"], at(2)).await;
    let ended = take(&*store, "c", "j", "m2", &["c"], at(2)).await.remove(0);
    store
        .settle(&ended.fence, passes(), at(3))
        .await
        .expect("settled");
    let other = controller("d");
    let adopted = store
        .adopt_orphans(&other, at(11), at(20))
        .await
        .expect("adopted");
    let fences: Vec<_> = adopted.iter().map(|held| held.fence.clone()).collect();
    assert_eq!(fences, [fence("a", 2), fence("b", 2)]);
    assert!(adopted.iter().all(|held| held.controller == other));
    assert_eq!(store.held(&other).await.expect("held"), adopted);
    assert_eq!(store.held(&controller("c")).await.expect("held"), []);
    assert_eq!(
        store
            .adopt_orphans(&other, at(11), at(21))
            .await
            .expect("adopted"),
        []
    );
    let attempt = store
        .attempt(&taken.fence.attempt)
        .await
        .expect("asked")
        .expect("there");
    assert_eq!((attempt.epoch, attempt.controller), (2, other));
}

async fn beating_controller_keeps_its_attempts(store: Arc<dyn Store>) {
    with_job(&*store, "j", 1, 0).await;
    store.beat(&controller("c"), at(1)).await.expect("a beat");
    start(&*store, "j", "a", at(1)).await;
    store.beat(&controller("c"), at(11)).await.expect("a beat");
    let adopted = store.adopt_orphans(&controller("d"), at(11), at(20)).await;
    assert_eq!(adopted.expect("adopted"), []);
    // Nobody adopts from itself as an orphan.
    let adopted = store.adopt_orphans(&controller("c"), at(100), at(20)).await;
    assert_eq!(adopted.expect("adopted"), []);
}

async fn adopted_attempt_fences_its_old_keeper(store: Arc<dyn Store>) {
    with_job(&*store, "j", 2, 0).await;
    let taken = take(&*store, "c", "j", "m", &["a"], at(1)).await.remove(0);
    let adopted = store
        .adopt_orphans(&controller("d"), at(2), at(3))
        .await
        .expect("adopted");
    let old = &taken.fence;
    let answers = [
        store
            .give_back(old, &refusal("m", at(4), at(5)), at(4))
            .await,
        store.record(old, accepted(at(4))).await,
        store.settle(old, passes(), at(4)).await,
    ];
    for answer in answers {
        assert!(matches!(answer, Err(StoreError::Fenced(_))), "{answer:?}");
    }
    assert_eq!(store.held(&controller("d")).await.expect("held"), adopted);
    assert_eq!(store.refusals(&taken.item).await.expect("refusals"), []);
    store
        .record(&adopted[0].fence, accepted(at(5)))
        .await
        .expect("recorded");
}
