//! Jobs and items are cancelled, in any state.

use std::sync::Arc;

use helix_store::{ItemEndKind, ItemState, JobEventKind, Next, Store, StoreError};

use crate::support::*;

on_every_store!(
    cancelled_job_ends_what_waits_and_marks_what_runs,
    cancelled_item_ends_where_it_would_wait_again,
    cancelled_item_that_passes_has_passed,
    delayed_items_can_be_cancelled,
    cancelling_what_is_not_there_is_an_error,
);

async fn cancelled_job_ends_what_waits_and_marks_what_runs(store: Arc<dyn Store>) {
    with_job(&*store, "j", 5, 1).await;
    let done = start(&*store, "j", "a", at(1)).await;
    store
        .settle(&done.fence, passes(), at(1))
        .await
        .expect("settled");
    let running = start(&*store, "j", "b", at(2)).await;
    let offered = take(&*store, "c2", "j", "m2", &["c"], at(2))
        .await
        .remove(0);
    let cancelled = store
        .cancel(&job_id("j"), None, "enough", at(3))
        .await
        .expect("cancelled");
    assert_eq!((cancelled.ended, cancelled.untouched), (2, 1));
    let marked: Vec<_> = cancelled.running.iter().map(|held| &held.fence).collect();
    assert_eq!(marked, [&running.fence, &offered.fence]);
    assert_eq!(
        cancelled.running[0].cancel_requested.as_deref(),
        Some("enough")
    );
    let again = store
        .cancel(&job_id("j"), None, "again", at(4))
        .await
        .expect("cancelled");
    assert_eq!(
        (again.ended, again.untouched, again.running.len()),
        (0, 3, 2)
    );
    assert_eq!(again.running[1].cancel_requested.as_deref(), Some("enough"));
    let item = the_item(&*store, "j", "i4").await;
    assert_eq!(
        (item.since, item.cancel_requested.as_deref()),
        (at(3), Some("enough"))
    );
    let ItemState::Ended(end) = item.state else {
        panic!("it waits no more: {:?}", item.state);
    };
    assert_eq!(
        (end.kind, end.helix_exit_code),
        (ItemEndKind::Cancelled, -2)
    );
    assert_eq!((&*end.reason, &*end.message), ("CANCELLED", "enough"));
    assert!(store.lanes().await.expect("lanes").is_empty());
    // One is refused, one would be retried: both end.
    store
        .give_back(&offered.fence, &refusal("m2", at(5), at(6)), at(5))
        .await
        .expect("back");
    let retried = fails_once(running.delivery);
    store
        .settle(&running.fence, retried, at(6))
        .await
        .expect("settled");
    let job = store
        .job(&job_id("j"))
        .await
        .expect("asked")
        .expect("there");
    assert_eq!(
        (job.cancelled.as_deref(), job.ended),
        (Some("enough"), Some(at(6)))
    );
    assert_eq!((job.counts.cancelled, job.counts.passed), (4, 1));
    assert_eq!((job.counts.waiting, job.counts.running), (0, 0));
    let item = the_item(&*store, "j", "i2").await;
    assert_eq!(item.attempts, 0);
    assert_eq!(store.refusals(&item.id).await.expect("refusals").len(), 1);
    let events = store.events(&job_id("j"), 0, 100).await.expect("events");
    let numbers: Vec<_> = events.iter().map(|event| event.number).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert_eq!(
        events.last().map(|event| &event.kind),
        Some(&JobEventKind::Ended)
    );
    assert_eq!(events.len(), 1 + 2 + 5 + 1);
}

async fn cancelled_item_ends_where_it_would_wait_again(store: Arc<dyn Store>) {
    with_job(&*store, "j", 2, 2).await;
    let taken = start(&*store, "j", "a", at(1)).await;
    let id = item_id("j.i0");
    let cancelled = store
        .cancel(&job_id("j"), Some(&id), "", at(2))
        .await
        .expect("cancelled");
    assert_eq!(
        (
            cancelled.ended,
            cancelled.running.len(),
            cancelled.untouched
        ),
        (0, 1, 0)
    );
    let item = the_item(&*store, "j", "i0").await;
    assert_eq!(item.cancel_requested.as_deref(), Some(""));
    store
        .settle(&taken.fence, fails_once(taken.delivery), at(3))
        .await
        .expect("settled");
    let item = the_item(&*store, "j", "i0").await;
    assert!(matches!(item.state, ItemState::Ended(end) if end.kind == ItemEndKind::Cancelled));
    let job = store
        .job(&job_id("j"))
        .await
        .expect("asked")
        .expect("there");
    assert_eq!((job.cancelled, job.ended), (None, None));
    assert_eq!((job.counts.waiting, job.counts.cancelled), (1, 1));
    let events = store.events(&job_id("j"), 2, 9).await.expect("events");
    let ended = JobEventKind::ItemEnded { item: id.clone() };
    assert_eq!((events.len(), &events[0].kind), (1, &ended));
    let again = store
        .cancel(&job_id("j"), Some(&id), "x", at(4))
        .await
        .expect("cancelled");
    assert_eq!(
        (again.ended, again.running.len(), again.untouched),
        (0, 0, 1)
    );
}

async fn cancelled_item_that_passes_has_passed(store: Arc<dyn Store>) {
    with_job(&*store, "j", 1, 0).await;
    let taken = start(&*store, "j", "a", at(1)).await;
    store
        .cancel(&job_id("j"), None, "stop", at(2))
        .await
        .expect("cancelled");
    store
        .settle(&taken.fence, passes(), at(3))
        .await
        .expect("settled");
    let item = the_item(&*store, "j", "i0").await;
    assert!(matches!(item.state, ItemState::Ended(end) if end.kind == ItemEndKind::Passed));
}

async fn delayed_items_can_be_cancelled(store: Arc<dyn Store>) {
    with_job(&*store, "j", 2, 2).await;
    let taken = start(&*store, "j", "a", at(1)).await;
    let mut later = fails_once(taken.delivery);
    if let Next::Wait { not_before, .. } = &mut later.next {
        *not_before = Some(at(50));
    }
    store
        .settle(&taken.fence, later, at(2))
        .await
        .expect("settled");
    let cancelled = store
        .cancel(&job_id("j"), None, "stop", at(3))
        .await
        .expect("cancelled");
    assert_eq!(cancelled.ended, 2);
    assert!(store.lanes().await.expect("lanes").is_empty());
    assert_eq!(
        names(&take(&*store, "c", "j", "m", &["b"], at(60)).await),
        [""; 0]
    );
}

async fn cancelling_what_is_not_there_is_an_error(store: Arc<dyn Store>) {
    with_job(&*store, "j", 1, 0).await;
    store
        .submit(new_job("k", 1, 0), at(0))
        .await
        .expect("stored");
    let answer = store.cancel(&job_id("nobody"), None, "", at(1)).await;
    assert!(
        matches!(answer, Err(StoreError::UnknownJob(_))),
        "{answer:?}"
    );
    for id in ["nobody", "k.i0"] {
        let answer = store
            .cancel(&job_id("j"), Some(&item_id(id)), "", at(1))
            .await;
        assert!(
            matches!(answer, Err(StoreError::UnknownItem(_))),
            "{answer:?}"
        );
    }
}
