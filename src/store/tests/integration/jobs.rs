//! Queues, submissions, pages, filters, agents.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use helix_model::ids::FriendlyName;
use helix_store::{
    Agent, AgentOrigin, ItemState, JobCounts, JobEvent, JobEventKind, JobFilter, QueueCounts,
    Store, StoreError, Submitted, Visibility,
};

use crate::support::*;

on_every_store!(
    queue_is_found_in_any_case_and_keeps_its_latest_spelling,
    queue_with_open_work_stays,
    submitted_job_is_all_there,
    repeated_submission_is_recognised_and_another_is_refused,
    impossible_submissions_leave_nothing_behind,
    refused_submissions_among_many_leave_nothing_behind,
    pages_go_on_where_the_last_ended,
    jobs_are_found_by_what_they_are_labelled_with,
    item_is_found_by_id_before_name,
    hostile_texts_come_back_or_are_refused,
    ten_thousand_items_with_as_many_demands,
    agents_are_remembered_as_they_were_last_known,
);

async fn queue_is_found_in_any_case_and_keeps_its_latest_spelling(store: Arc<dyn Store>) {
    store.put_queue(queue("Ubuntu.Open", 3)).await.expect("put");
    store.put_queue(queue("alpine", 1)).await.expect("put");
    let mut changed = queue("UBUNTU.open", 5);
    changed.visibility = Visibility::Open;
    changed.estimated_removal = None;
    changed.priority = i32::MAX;
    store.put_queue(changed.clone()).await.expect("put");
    let found = store
        .queue(&queue_name("ubuntu.OPEN"))
        .await
        .expect("found");
    let (found, counts) = found.expect("there");
    assert_eq!((&found, counts), (&changed, QueueCounts::default()));
    assert_eq!(found.name.as_str(), "UBUNTU.open");
    let all = store.queues().await.expect("queues");
    let all: Vec<_> = all.iter().map(|(queue, _)| queue.name.as_str()).collect();
    assert_eq!(all, ["alpine", "UBUNTU.open"]);
    assert!(
        store
            .remove_queue(&queue_name("Alpine"))
            .await
            .expect("removed")
    );
    assert!(
        !store
            .remove_queue(&queue_name("Alpine"))
            .await
            .expect("gone before")
    );
    assert_eq!(
        store.queue(&queue_name("alpine")).await.expect("asked"),
        None
    );
}

async fn queue_with_open_work_stays(store: Arc<dyn Store>) {
    with_job(&*store, "j", 1, 0).await;
    let in_use = store.remove_queue(&queue_name("Q")).await;
    assert!(
        matches!(in_use, Err(StoreError::QueueInUse(_))),
        "{in_use:?}"
    );
    let taken = start(&*store, "j", "a", at(1)).await;
    let in_use = store.remove_queue(&queue_name("q")).await;
    assert!(
        matches!(in_use, Err(StoreError::QueueInUse(_))),
        "{in_use:?}"
    );
    store
        .settle(&taken.fence, passes(), at(2))
        .await
        .expect("settled");
    assert!(store.remove_queue(&queue_name("q")).await.expect("removed"));
    assert!(store.job(&job_id("j")).await.expect("asked").is_some());
}

async fn submitted_job_is_all_there(store: Arc<dyn Store>) {
    store.put_queue(queue("Q", 3)).await.expect("a queue");
    let mut new = new_job("j", 2, 9);
    new.retry_of = Some(job_id("before"));
    new.items[1].demand = b"other".to_vec();
    assert_eq!(
        store.submit(new.clone(), at(5)).await.expect("stored"),
        Submitted::Now
    );
    let job = store
        .job(&job_id("j"))
        .await
        .expect("asked")
        .expect("there");
    assert_eq!(job.queue.as_str(), "q");
    assert_eq!(
        (job.name, job.creator, job.source),
        (new.name, new.creator, new.source)
    );
    assert_eq!(
        (job.priority, job.properties),
        (new.priority, new.properties)
    );
    assert_eq!((job.retry_of, job.created), (Some(job_id("before")), at(5)));
    assert_eq!((job.ended, job.cancelled), (None, None));
    let counts = JobCounts {
        total: 2,
        waiting: 2,
        ..JobCounts::default()
    };
    assert_eq!(job.counts, counts);
    let item = the_item(&*store, "j", "i1").await;
    assert_eq!(item.id, item_id("j.i1"));
    assert_eq!(
        (item.state, item.since, item.attempts),
        (ItemState::Waiting, at(5), 0)
    );
    assert_eq!(item.delivery.retries_requested(), 9);
    assert_eq!(item.delivery.retries_allowed(), 2);
    let specification = store.specification(&item.id).await.expect("asked");
    assert_eq!(specification, Some((b"run i1".to_vec(), b"other".to_vec())));
    let events = store.events(&job_id("j"), 0, 10).await.expect("events");
    let first = JobEvent {
        number: 1,
        at: at(5),
        kind: JobEventKind::Submitted,
    };
    assert_eq!(events, [first]);
    let (_, counts) = store
        .queue(&queue_name("q"))
        .await
        .expect("asked")
        .expect("there");
    assert_eq!(
        counts,
        QueueCounts {
            waiting: 2,
            running: 0
        }
    );
    // What a queue allows later does not change what was granted.
    store.put_queue(queue("q", 1)).await.expect("put");
    assert_eq!(
        the_item(&*store, "j", "i1")
            .await
            .delivery
            .retries_allowed(),
        2
    );
}

async fn repeated_submission_is_recognised_and_another_is_refused(store: Arc<dyn Store>) {
    with_job(&*store, "j", 2, 1).await;
    let mut again = new_job("j", 2, 1);
    again.name = "another title".to_owned();
    again.items[0].id = item_id("made-anew");
    assert_eq!(
        store.submit(again, at(9)).await.expect("known"),
        Submitted::Before
    );
    let job = store
        .job(&job_id("j"))
        .await
        .expect("asked")
        .expect("there");
    assert_eq!((job.name.as_str(), job.created), ("a job", at(0)));
    assert_eq!(the_item(&*store, "j", "i0").await.id, item_id("j.i0"));
    let mut others = vec![new_job("j", 3, 1), new_job("j", 2, 2), new_job("j", 2, 1)];
    others[2].items.swap(0, 1);
    for other in others {
        let answer = store.submit(other, at(9)).await;
        assert!(
            matches!(answer, Err(StoreError::JobExists(_))),
            "{answer:?}"
        );
    }
    assert_eq!(
        store
            .events(&job_id("j"), 0, 9)
            .await
            .expect("events")
            .len(),
        1
    );
}

async fn impossible_submissions_leave_nothing_behind(store: Arc<dyn Store>) {
    with_job(&*store, "j", 1, 0).await;
    let answer = store.submit(new_job("k", 0, 0), at(0)).await;
    assert!(matches!(answer, Err(StoreError::Invalid(_))), "{answer:?}");
    let mut twice = new_job("k", 2, 0);
    twice.items[1].name = twice.items[0].name.clone();
    let answer = store.submit(twice, at(0)).await;
    assert!(
        matches!(&answer, Err(StoreError::ItemTwice(name)) if name == "i0"),
        "{answer:?}"
    );
    let mut twice = new_job("k", 2, 0);
    twice.items[1].id = twice.items[0].id.clone();
    let answer = store.submit(twice, at(0)).await;
    assert!(
        matches!(&answer, Err(StoreError::ItemTwice(id)) if id == "k.i0"),
        "{answer:?}"
    );
    let mut taken = new_job("k", 3, 0);
    taken.items[2].id = item_id("j.i0");
    let answer = store.submit(taken, at(0)).await;
    assert!(matches!(answer, Err(StoreError::Invalid(_))), "{answer:?}");
    let mut nowhere = new_job("k", 3, 0);
    nowhere.queue = queue_name("nowhere");
    let answer = store.submit(nowhere, at(0)).await;
    assert!(
        matches!(answer, Err(StoreError::UnknownQueue(_))),
        "{answer:?}"
    );
    assert_eq!(store.job(&job_id("k")).await.expect("asked"), None);
    assert_eq!(store.item(&job_id("k"), "k.i0").await.expect("asked"), None);
    assert_eq!(store.lanes().await.expect("lanes").len(), 1);
    assert_eq!(
        store.submit(new_job("k", 3, 0), at(1)).await.expect("good"),
        Submitted::Now
    );
}

async fn refused_submissions_among_many_leave_nothing_behind(store: Arc<dyn Store>) {
    with_job(&*store, "j", 1, 0).await;
    let mut tasks = Vec::new();
    for number in 0..30 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let mut job = new_job(&format!("k{number}"), 3, 0);
            if number % 3 == 0 {
                job.items[2].id = item_id("j.i0");
            }
            store.submit(job, at(1)).await
        }));
    }
    for (number, task) in tasks.into_iter().enumerate() {
        let answer = task.await.expect("no panic");
        let stored = store
            .job(&job_id(&format!("k{number}")))
            .await
            .expect("asked");
        if number % 3 == 0 {
            assert!(matches!(answer, Err(StoreError::Invalid(_))), "{answer:?}");
            assert_eq!(stored, None);
        } else {
            assert_eq!(answer.expect("stored"), Submitted::Now);
            assert_eq!(stored.expect("there").counts.waiting, 3);
        }
    }
    assert_eq!(store.lanes().await.expect("lanes").len(), 21);
}

async fn pages_go_on_where_the_last_ended(store: Arc<dyn Store>) {
    with_job(&*store, "j", 5, 0).await;
    for number in 0..4 {
        let job = new_job(&format!("k{number}"), 1, 0);
        store.submit(job, at(number)).await.expect("stored");
    }
    let (mut items, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = store
            .items(&job_id("j"), after.as_deref(), 2)
            .await
            .expect("a page");
        assert!(page.entries.len() <= 2);
        items.extend(page.entries.into_iter().map(|item| item.name.to_string()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(items, ["i0", "i1", "i2", "i3", "i4"]);
    let (mut jobs, mut after) = (Vec::new(), None::<String>);
    loop {
        let filter = JobFilter::default();
        let page = store
            .jobs(&filter, after.as_deref(), 2)
            .await
            .expect("a page");
        jobs.extend(page.entries.into_iter().map(|job| job.id.to_string()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(jobs, ["k3", "k2", "k1", "k0", "j"]);
    let whole = store.items(&job_id("j"), None, 0).await.expect("a page");
    assert_eq!((whole.entries.len(), whole.next.is_some()), (1, true));
    let whole = store
        .items(&job_id("j"), None, u32::MAX)
        .await
        .expect("a page");
    assert_eq!((whole.entries.len(), whole.next), (5, None));
    for bad in ["", "-1", "x", "99999999999999999999", "1 OR 1=1"] {
        let answer = store.items(&job_id("j"), Some(bad), 2).await;
        assert!(
            matches!(answer, Err(StoreError::Invalid(_))),
            "{bad}: {answer:?}"
        );
        let answer = store.jobs(&JobFilter::default(), Some(bad), 2).await;
        assert!(
            matches!(answer, Err(StoreError::Invalid(_))),
            "{bad}: {answer:?}"
        );
    }
    let far = i64::MAX.to_string();
    let beyond = store
        .items(&job_id("j"), Some(&far), 2)
        .await
        .expect("a page");
    assert_eq!((beyond.entries.len(), beyond.next), (0, None));
    let answer = store.items(&job_id("nobody"), None, 2).await;
    assert!(
        matches!(answer, Err(StoreError::UnknownJob(_))),
        "{answer:?}"
    );
    let answer = store.events(&job_id("nobody"), 0, 2).await;
    assert!(
        matches!(answer, Err(StoreError::UnknownJob(_))),
        "{answer:?}"
    );
}

async fn jobs_are_found_by_what_they_are_labelled_with(store: Arc<dyn Store>) {
    with_job(&*store, "plain", 1, 0).await;
    store.put_queue(queue("other", 1)).await.expect("a queue");
    let mut job = new_job("theirs", 1, 0);
    job.creator = "bob".to_owned();
    job.source = "x".repeat(10_000);
    job.properties = BTreeMap::from([("build".to_owned(), "43".to_owned())]);
    job.queue = queue_name("OTHER");
    store.submit(job.clone(), at(1)).await.expect("stored");
    job.id = job_id("both");
    job.items[0].id = item_id("both.0");
    job.creator = "ada".to_owned();
    store.submit(job, at(2)).await.expect("stored");
    store
        .cancel(&job_id("both"), None, "enough", at(3))
        .await
        .expect("cancelled");
    let found = async |filter: JobFilter| {
        let page = store.jobs(&filter, None, 10).await.expect("a page");
        let ids: Vec<_> = page.entries.iter().map(|job| job.id.to_string()).collect();
        ids.join(" ")
    };
    let all = JobFilter::default();
    let with = |change: fn(&mut JobFilter)| {
        let mut filter = all.clone();
        change(&mut filter);
        filter
    };
    assert_eq!(found(all.clone()).await, "both theirs plain");
    let filter = with(|filter| filter.creator = Some("ada".to_owned()));
    assert_eq!(found(filter).await, "both plain");
    let filter = with(|filter| filter.queue = Some(queue_name("Other")));
    assert_eq!(found(filter).await, "both theirs");
    let filter = with(|filter| filter.source = Some("x".repeat(10_000)));
    assert_eq!(found(filter).await, "both theirs");
    let filter = with(|filter| filter.property = Some(("build".to_owned(), "42".to_owned())));
    assert_eq!(found(filter).await, "plain");
    let filter = with(|filter| filter.open_only = true);
    assert_eq!(found(filter).await, "theirs plain");
    let filter = with(|filter| {
        filter.queue = Some(queue_name("other"));
        filter.creator = Some("ada".to_owned());
        filter.property = Some(("build".to_owned(), "43".to_owned()));
    });
    assert_eq!(found(filter.clone()).await, "both");
    let filter = JobFilter {
        open_only: true,
        ..filter
    };
    assert_eq!(found(filter).await, "");
}

async fn item_is_found_by_id_before_name(store: Arc<dyn Store>) {
    store.put_queue(queue("q", 1)).await.expect("a queue");
    let mut job = new_job("j", 2, 0);
    job.items[1].name = FriendlyName::new("j.i0").expect("good");
    store.submit(job, at(0)).await.expect("stored");
    assert_eq!(the_item(&*store, "j", "j.i0").await.id, item_id("j.i0"));
    assert_eq!(the_item(&*store, "j", "i0").await.id, item_id("j.i0"));
    assert_eq!(the_item(&*store, "j", "j.i1").await.name.as_str(), "j.i0");
    for nobody in ["", "i1", "j.i2", "I0", "%", "\u{0}"] {
        assert_eq!(
            store.item(&job_id("j"), nobody).await.expect("asked"),
            None,
            "{nobody:?}"
        );
    }
    assert_eq!(store.item(&job_id("k"), "j.i0").await.expect("asked"), None);
}

async fn hostile_texts_come_back_or_are_refused(store: Arc<dyn Store>) {
    store.put_queue(queue("q", 1)).await.expect("a queue");
    let hostile = "'; DROP TABLE jobs; -- \" \\ \u{1F980} $1 ?1";
    let mut job = new_job("j", 1, 0);
    job.name = hostile.to_owned();
    job.creator = hostile.to_owned();
    job.properties = BTreeMap::from([(hostile.to_owned(), "\u{0}\n".to_owned())]);
    job.items[0].specification = vec![0, 255, 0, 13, 10];
    job.items[0].demand = vec![];
    store.submit(job.clone(), at(0)).await.expect("stored");
    let found = store
        .job(&job_id("j"))
        .await
        .expect("asked")
        .expect("there");
    assert_eq!(
        (&found.name, &found.properties),
        (&job.name, &job.properties)
    );
    let filter = JobFilter {
        creator: Some(hostile.to_owned()),
        property: Some((hostile.to_owned(), "\u{0}\n".to_owned())),
        ..JobFilter::default()
    };
    assert_eq!(
        store
            .jobs(&filter, None, 9)
            .await
            .expect("a page")
            .entries
            .len(),
        1
    );
    let stored = store.specification(&item_id("j.i0")).await.expect("asked");
    assert_eq!(stored, Some((vec![0, 255, 0, 13, 10], vec![])));
    // A zero in a text is more than some databases take; it must not keep work from ending.
    let cancelled = store.cancel(&job_id("j"), None, "a\u{0}b", at(1)).await;
    assert_eq!(cancelled.expect("cancelled").ended, 1);
}

async fn ten_thousand_items_with_as_many_demands(store: Arc<dyn Store>) {
    store.put_queue(queue("q", 1)).await.expect("a queue");
    let mut job = new_job("j", 10_000, 0);
    for (number, item) in job.items.iter_mut().enumerate() {
        item.demand = format!("demand {number}").into_bytes();
    }
    store.submit(job, at(0)).await.expect("stored");
    let lanes = store.lanes().await.expect("lanes");
    assert_eq!(lanes.len(), 10_000);
    let last = lanes
        .iter()
        .find(|lane| lane.demand == b"demand 9999")
        .expect("there");
    let attempts = [attempt_id("a")];
    let taken = store
        .take(&controller("c"), last.id, &agent("m"), &attempts, at(1))
        .await;
    assert_eq!(names(&taken.expect("taken")), ["i9999"]);
}

async fn agents_are_remembered_as_they_were_last_known(store: Arc<dyn Store>) {
    let known = |name: &str, seen: u64| Agent {
        name: agent(name),
        origin: AgentOrigin::Announced,
        address: "10.0.0.1:7000".to_owned(),
        controller: controller("c"),
        capacity: vec![0, 1, 2],
        boot_id: "boot".to_owned(),
        seen: at(seen) + Duration::from_micros(7),
    };
    for agent in [known("b", 1), known("B", 2), known("a", 3), known("b", 4)] {
        store.save_agent(agent).await.expect("saved");
    }
    let all = store.agents().await.expect("agents");
    assert_eq!(all, [known("B", 2), known("a", 3), known("b", 4)]);
    assert!(store.remove_agent(&agent("a")).await.expect("removed"));
    assert!(!store.remove_agent(&agent("a")).await.expect("gone before"));
    assert_eq!(store.agents().await.expect("agents").len(), 2);
    store.ping().await.expect("it answers");
}
