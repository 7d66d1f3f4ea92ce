//! Attempts and items: what becomes known of them, and how they end.

use std::sync::Arc;

use helix_store::{
    AttemptState, Cancelled, Counts, File, FileKind, ItemEndKind, ItemState, JobEventKind,
    LogPlace, Next, Progress, Store, StoreError, TestFailure, VerdictKind,
};

use crate::support::*;

on_every_store!(
    attempt_grows_by_what_is_recorded,
    old_events_are_passed_over,
    settled_attempt_keeps_all_that_was_learned,
    settling_again_changes_nothing,
    settlement_that_settles_nothing_is_refused,
    every_way_to_end_is_counted_and_told_once,
    lost_attempt_is_told_before_its_item_goes_on,
    job_ends_with_its_last_item,
    tests_that_passed_on_a_retry_are_found,
    events_are_read_from_any_number_on,
);

fn file(name: &str, size: u64) -> File {
    File {
        name: name.to_owned(),
        kind: FileKind::Dump,
        size,
        sha256: vec![7; 32],
        url: format!("file:///{name}"),
    }
}

fn test_failure(name: &str) -> TestFailure {
    TestFailure {
        name: name.to_owned(),
        message: "no\u{0}pe".to_owned(),
        stack: String::new(),
        file: String::new(),
    }
}

async fn attempt_grows_by_what_is_recorded(store: Arc<dyn Store>) {
    with_job(&*store, "j", 1, 0).await;
    let taken = take(&*store, "c", "j", "m1", &["a"], at(1)).await.remove(0);
    let counts = Counts {
        total: u64::from(u32::MAX) + 3,
        passed: 1,
        failed: 2,
        skipped: 3,
        flaky: 4,
        inconclusive: 5,
    };
    let first = Progress {
        accepted: Some(at(2)),
        last_event: 3,
        degraded: vec!["no groups".to_owned()],
        files: vec![file("a", 1), file("b", 2)],
        ..Progress::default()
    };
    store.record(&taken.fence, first).await.expect("recorded");
    let second = Progress {
        accepted: Some(at(99)),
        started: Some(at(3)),
        last_event: 4,
        degraded: vec!["no users".to_owned()],
        results: Some((
            counts,
            (0..150).map(|n| test_failure(&n.to_string())).collect(),
        )),
        warnings: vec!["odd".to_owned()],
        files: vec![file("c", 3), file("a", u64::MAX >> 1)],
    };
    store.record(&taken.fence, second).await.expect("recorded");
    let attempt = store
        .attempt(&attempt_id("a"))
        .await
        .expect("asked")
        .expect("there");
    assert_eq!(attempt.state, AttemptState::Running);
    assert_eq!((attempt.offered, attempt.accepted), (at(1), Some(at(2))));
    assert_eq!((attempt.started, attempt.ended), (Some(at(3)), None));
    assert_eq!(attempt.last_event, 4);
    assert_eq!(attempt.degraded, ["no groups", "no users"]);
    assert_eq!(attempt.warnings, ["odd"]);
    assert_eq!(attempt.counts, Some(counts));
    assert_eq!(
        (attempt.failures.len(), &*attempt.failures[99].name),
        (100, "99")
    );
    assert_eq!(attempt.failures[0], test_failure("0"));
    assert_eq!(
        attempt.files,
        [file("a", u64::MAX >> 1), file("b", 2), file("c", 3)]
    );
    assert_eq!(
        (attempt.agent, attempt.controller),
        (agent("m1"), controller("c"))
    );
    let item = the_item(&*store, "j", "i0").await;
    let running = ItemState::Running {
        attempt: attempt_id("a"),
        agent: agent("m1"),
    };
    assert_eq!((item.state, item.since, item.attempts), (running, at(2), 1));
}

async fn old_events_are_passed_over(store: Arc<dyn Store>) {
    with_job(&*store, "j", 1, 0).await;
    let taken = take(&*store, "c", "j", "m1", &["a"], at(1)).await.remove(0);
    let early = Progress {
        last_event: 5,
        warnings: vec!["first".to_owned()],
        ..Progress::default()
    };
    store
        .record(&taken.fence, early.clone())
        .await
        .expect("recorded");
    store
        .record(&taken.fence, early)
        .await
        .expect("the same again");
    let late = Progress {
        accepted: Some(at(2)),
        started: Some(at(3)),
        last_event: 4,
        warnings: vec!["second".to_owned()],
        ..Progress::default()
    };
    store
        .record(&taken.fence, late.clone())
        .await
        .expect("recorded");
    store
        .record(&taken.fence, late)
        .await
        .expect("the same again");
    let attempt = store
        .attempt(&attempt_id("a"))
        .await
        .expect("asked")
        .expect("there");
    assert_eq!(
        (attempt.last_event, attempt.warnings),
        (5, vec!["first".to_owned()])
    );
    assert_eq!(
        (attempt.accepted, attempt.started),
        (Some(at(2)), Some(at(3)))
    );
    let events = store.events(&job_id("j"), 1, 10).await.expect("events");
    assert_eq!(events.len(), 1, "{events:?}");
    let started = JobEventKind::AttemptStarted {
        item: item_id("j.i0"),
        attempt: attempt_id("a"),
        agent: agent("m1"),
    };
    assert_eq!((events[0].at, &events[0].kind), (at(2), &started));
}

async fn settled_attempt_keeps_all_that_was_learned(store: Arc<dyn Store>) {
    with_job(&*store, "j", 3, 0).await;
    let taken = take(&*store, "c", "j", "m1", &["a", "b", "c"], at(1)).await;
    let mut here = passes();
    here.progress = Progress {
        accepted: Some(at(2)),
        started: Some(at(3)),
        last_event: 7,
        files: vec![file("x", 0)],
        ..Progress::default()
    };
    here.log = Some(LogPlace::Here);
    here.short_log = vec![0, 255, 10];
    here.log_bytes = 3;
    store
        .settle(&taken[0].fence, here, at(4))
        .await
        .expect("settled");
    let mut away = settlement(
        AttemptState::RefusedAfterUnpacking {
            message: "no display".to_owned(),
        },
        Next::End(end(ItemEndKind::Dead)),
    );
    away.log = Some(LogPlace::Object("logs/b".to_owned()));
    away.short_log = b"left out".to_vec();
    store
        .settle(&taken[1].fence, away, at(4))
        .await
        .expect("settled");
    let lost = AttemptState::Lost {
        reason: "burnt".to_owned(),
    };
    let end_of_lost = settlement(lost.clone(), Next::End(end(ItemEndKind::Dead)));
    store
        .settle(&taken[2].fence, end_of_lost, at(4))
        .await
        .expect("settled");
    let of = async |id| {
        store
            .attempt(&attempt_id(id))
            .await
            .expect("asked")
            .expect("there")
    };
    let first = of("a").await;
    assert_eq!(first.state, judged(VerdictKind::Passed));
    assert_eq!(
        (first.accepted, first.started, first.ended),
        (Some(at(2)), Some(at(3)), Some(at(4)))
    );
    assert_eq!(
        (first.last_event, first.files, first.log_bytes),
        (7, vec![file("x", 0)], 3)
    );
    assert_eq!(first.log, Some(LogPlace::Here));
    assert_eq!(
        store.short_log(&attempt_id("a")).await.expect("asked"),
        Some(vec![0, 255, 10])
    );
    let second = of("b").await;
    assert_eq!(second.log, Some(LogPlace::Object("logs/b".to_owned())));
    assert!(
        matches!(second.state, AttemptState::RefusedAfterUnpacking { message } if message == "no display")
    );
    assert_eq!(
        store.short_log(&attempt_id("b")).await.expect("asked"),
        None
    );
    let third = of("c").await;
    assert_eq!((third.state, third.accepted, third.log), (lost, None, None));
    let item = the_item(&*store, "j", "i0").await;
    assert_eq!(
        (item.state, item.since),
        (ItemState::Ended(end(ItemEndKind::Passed)), at(4))
    );
    assert_eq!(store.attempts(&item.id).await.expect("attempts").len(), 1);
}

async fn settling_again_changes_nothing(store: Arc<dyn Store>) {
    with_job(&*store, "j", 1, 2).await;
    let taken = start(&*store, "j", "a", at(1)).await;
    store
        .settle(&taken.fence, fails_once(taken.delivery), at(2))
        .await
        .expect("settled");
    let next = start(&*store, "j", "b", at(3)).await;
    // The first answer was lost; meanwhile the item has moved on.
    store
        .settle(&taken.fence, fails_once(taken.delivery), at(4))
        .await
        .expect("no error");
    store
        .settle(&taken.fence, passes(), at(4))
        .await
        .expect("no error");
    let item = the_item(&*store, "j", "i0").await;
    assert!(
        matches!(&item.state, ItemState::Running { attempt, .. } if *attempt == attempt_id("b"))
    );
    assert_eq!((item.delivery.number(), item.attempts), (2, 2));
    let first = store
        .attempt(&attempt_id("a"))
        .await
        .expect("asked")
        .expect("there");
    assert_eq!(first.ended, Some(at(2)));
    let answer = store.record(&taken.fence, accepted(at(5))).await;
    assert!(matches!(answer, Err(StoreError::Fenced(_))), "{answer:?}");
    for stranger in [
        fence("a", 2),
        fence("b", 0),
        fence("b", u64::MAX),
        fence("nobody", 1),
    ] {
        let answer = store.settle(&stranger, passes(), at(5)).await;
        assert!(matches!(answer, Err(StoreError::Fenced(_))), "{answer:?}");
        let answer = store.record(&stranger, accepted(at(5))).await;
        assert!(matches!(answer, Err(StoreError::Fenced(_))), "{answer:?}");
    }
    store
        .settle(&next.fence, passes(), at(6))
        .await
        .expect("settled");
    let events = store.events(&job_id("j"), 0, 100).await.expect("events");
    assert_eq!(events.len(), 6, "{events:?}");
}

async fn settlement_that_settles_nothing_is_refused(store: Arc<dyn Store>) {
    with_job(&*store, "j", 1, 0).await;
    let taken = start(&*store, "j", "a", at(1)).await;
    for state in [AttemptState::Offered, AttemptState::Running] {
        let nothing = settlement(state, Next::End(end(ItemEndKind::Passed)));
        let answer = store.settle(&taken.fence, nothing, at(2)).await;
        assert!(matches!(answer, Err(StoreError::Invalid(_))), "{answer:?}");
    }
    assert_eq!(store.held(&controller("c")).await.expect("held").len(), 1);
}

async fn every_way_to_end_is_counted_and_told_once(store: Arc<dyn Store>) {
    use ItemEndKind::{Cancelled, Dead, Failed, Passed, PassedOnRetry, TimedOut};
    let kinds = [Passed, PassedOnRetry, Failed, TimedOut, Cancelled, Dead];
    with_job(&*store, "j", kinds.len(), 0).await;
    for (number, kind) in kinds.into_iter().enumerate() {
        let taken = start(&*store, "j", &format!("a{number}"), at(1)).await;
        let settled = settlement(judged(VerdictKind::Failed), Next::End(end(kind)));
        store
            .settle(&taken.fence, settled, at(2))
            .await
            .expect("settled");
        let item = the_item(&*store, "j", taken.name.as_str()).await;
        assert_eq!(item.state, ItemState::Ended(end(kind)));
    }
    let job = store
        .job(&job_id("j"))
        .await
        .expect("asked")
        .expect("there");
    let counts = job.counts;
    assert_eq!((counts.total, counts.waiting, counts.running), (6, 0, 0));
    assert_eq!(
        (counts.passed, counts.passed_on_retry, counts.failed),
        (2, 1, 1)
    );
    assert_eq!((counts.timed_out, counts.cancelled, counts.dead), (1, 1, 1));
    let events = store.events(&job_id("j"), 0, 100).await.expect("events");
    let ended =
        |event: &&helix_store::JobEvent| matches!(event.kind, JobEventKind::ItemEnded { .. });
    assert_eq!(events.iter().filter(ended).count(), 6);
}

async fn lost_attempt_is_told_before_its_item_goes_on(store: Arc<dyn Store>) {
    with_job(&*store, "j", 1, 0).await;
    let taken = take(&*store, "c", "j", "m1", &["a"], at(1)).await.remove(0);
    let next = Next::Wait {
        delivery: taken.delivery.after_infrastructure().expect("one is left"),
        not_before: None,
        avoid: None,
        retry: false,
        reason: "the machine is gone".to_owned(),
    };
    let lost = AttemptState::Lost {
        reason: "silence".to_owned(),
    };
    let mut settled = settlement(lost, next);
    settled.progress.accepted = Some(at(2));
    store
        .settle(&taken.fence, settled, at(3))
        .await
        .expect("settled");
    let events = store.events(&job_id("j"), 1, 9).await.expect("events");
    assert!(
        matches!(events[0].kind, JobEventKind::AttemptStarted { .. }),
        "{events:?}"
    );
    let requeued = JobEventKind::ItemRequeued {
        item: item_id("j.i0"),
        attempt: attempt_id("a"),
        retry: false,
        reason: "the machine is gone".to_owned(),
    };
    assert_eq!(
        (events.len(), &events[1].kind, events[1].at),
        (2, &requeued, at(3))
    );
}

async fn job_ends_with_its_last_item(store: Arc<dyn Store>) {
    with_job(&*store, "j", 2, 0).await;
    for (attempt, now) in [("a", 2), ("b", 4)] {
        let job = store
            .job(&job_id("j"))
            .await
            .expect("asked")
            .expect("there");
        assert_eq!(job.ended, None);
        let taken = start(&*store, "j", attempt, at(now)).await;
        store
            .settle(&taken.fence, passes(), at(now + 1))
            .await
            .expect("settled");
    }
    let job = store
        .job(&job_id("j"))
        .await
        .expect("asked")
        .expect("there");
    assert_eq!(job.ended, Some(at(5)));
    let events = store.events(&job_id("j"), 0, 100).await.expect("events");
    let last = events.last().expect("an event");
    assert_eq!((last.at, &last.kind), (at(5), &JobEventKind::Ended));
    let numbers: Vec<_> = events.iter().map(|event| event.number).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    let (_, counts) = store
        .queue(&queue_name("q"))
        .await
        .expect("asked")
        .expect("there");
    assert_eq!((counts.waiting, counts.running), (0, 0));
    let done = store
        .cancel(&job_id("j"), None, "late", at(9))
        .await
        .expect("cancelled");
    let untouched = Cancelled {
        untouched: 2,
        ..Cancelled::default()
    };
    assert_eq!(done, untouched);
    let job = store
        .job(&job_id("j"))
        .await
        .expect("asked")
        .expect("there");
    assert_eq!((job.cancelled, job.ended), (None, Some(at(5))));
}

async fn tests_that_passed_on_a_retry_are_found(store: Arc<dyn Store>) {
    for job in ["j", "k"] {
        with_job(&*store, job, 2, 2).await;
    }
    let on_retry = settlement(
        judged(VerdictKind::Passed),
        Next::End(end(ItemEndKind::PassedOnRetry)),
    );
    for (job, now) in [("j", 10), ("k", 20)] {
        let taken = start(&*store, job, &format!("{job}1"), at(now)).await;
        store
            .settle(&taken.fence, fails_once(taken.delivery), at(now))
            .await
            .expect("settled");
        // The other item of the job fails for good: nothing flaky about that.
        let other = start(&*store, job, &format!("{job}2"), at(now)).await;
        let mut failed = fails_once(other.delivery);
        failed.next = Next::End(end(ItemEndKind::Failed));
        store
            .settle(&other.fence, failed, at(now))
            .await
            .expect("settled");
        let again = start(&*store, job, &format!("{job}3"), at(now + 1)).await;
        store
            .settle(&again.fence, on_retry.clone(), at(now + 2))
            .await
            .expect("settled");
    }
    let q = queue_name("Q");
    for queue in [None, Some(&q)] {
        let found = store.flaky(queue, at(0), 10).await.expect("found");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (&*found[0].name, &*found[0].item_name),
            ("suite::flaky", "i0")
        );
        assert_eq!((found[0].times, found[0].last), (2, at(22)));
        assert_eq!(
            (&found[0].last_job, &found[0].last_item),
            (&job_id("k"), &item_id("k.i0"))
        );
    }
    assert_eq!(
        store.flaky(None, at(13), 10).await.expect("found")[0].times,
        1
    );
    assert_eq!(store.flaky(None, at(22), 10).await.expect("found").len(), 1);
    assert_eq!(store.flaky(None, at(23), 10).await.expect("found"), []);
    assert_eq!(store.flaky(None, at(0), 0).await.expect("found"), []);
    assert_eq!(
        store
            .flaky(Some(&queue_name("r")), at(0), 9)
            .await
            .expect("found"),
        []
    );
}

async fn events_are_read_from_any_number_on(store: Arc<dyn Store>) {
    with_job(&*store, "j", 30, 0).await;
    store
        .cancel(&job_id("j"), None, "", at(1))
        .await
        .expect("cancelled");
    let all = store
        .events(&job_id("j"), 0, u32::MAX)
        .await
        .expect("events");
    assert_eq!(all.len(), 32);
    let mut seen = Vec::new();
    loop {
        let after = seen
            .last()
            .map_or(0, |event: &helix_store::JobEvent| event.number);
        let some = store.events(&job_id("j"), after, 7).await.expect("events");
        if some.is_empty() {
            break;
        }
        seen.extend(some);
    }
    assert_eq!(seen, all);
    assert_eq!(
        store
            .events(&job_id("j"), u64::MAX, 7)
            .await
            .expect("events"),
        []
    );
    assert_eq!(store.events(&job_id("j"), 0, 0).await.expect("events"), []);
}
