//! What must be true of every history once it is over.

use std::collections::{BTreeMap, BTreeSet};

use helix_model::dispatch::AttemptEnd;
use helix_model::ids::{AttemptId, JobId};
use helix_store::{
    Attempt, AttemptState, Item, ItemEndKind, ItemState, JobCounts, JobEventKind, LogPlace,
    MemoryStore, Store, VerdictKind,
};

use super::agent::Machine;

/// Everything that is not as it must be.
pub(super) async fn judge(
    store: &MemoryStore,
    jobs: &[JobId],
    machines: &[Machine],
) -> Vec<String> {
    let mut problems = Vec::new();
    for machine in machines {
        problems.extend(machine.complaints());
        let mut begun = BTreeSet::new();
        for (disk, attempt) in machine.begun() {
            if !begun.insert((disk, attempt.clone())) {
                problems.push(format!("{attempt} ran twice on {}", machine.name));
            }
        }
    }
    for job in jobs {
        judge_job(store, job, machines, &mut problems).await;
    }
    problems
}

async fn judge_job(
    store: &MemoryStore,
    id: &JobId,
    machines: &[Machine],
    problems: &mut Vec<String>,
) {
    let job = store.job(id).await.expect("it answers").expect("there");
    let items = store.items(id, None, 1000).await.expect("a page").entries;
    let events = store.events(id, 0, 100_000).await.expect("it answers");
    let mut ended: BTreeMap<_, u32> = BTreeMap::new();
    for event in &events {
        match &event.kind {
            JobEventKind::ItemEnded { item } => *ended.entry(item.clone()).or_default() += 1,
            JobEventKind::AttemptStarted { item, .. } | JobEventKind::ItemRequeued { item, .. } => {
                if ended.contains_key(item) {
                    problems.push(format!("{item} goes on after its end"));
                }
            }
            JobEventKind::Submitted | JobEventKind::Ended => {}
        }
    }
    let job_ends = events
        .iter()
        .filter(|event| event.kind == JobEventKind::Ended)
        .count();
    if job_ends != 1 {
        problems.push(format!("{id} ended {job_ends} times"));
    }
    let mut counts = JobCounts::default();
    for item in &items {
        counts.total += 1;
        if ended.get(&item.id) != Some(&1) {
            problems.push(format!("{} ended {:?} times", item.id, ended.get(&item.id)));
        }
        count(item, &mut counts);
        judge_item(store, item, machines, problems).await;
    }
    if counts != job.counts {
        problems.push(format!("{id} counts {:?}, not {counts:?}", job.counts));
    }
}

fn count(item: &Item, counts: &mut JobCounts) {
    match &item.state {
        ItemState::Waiting => counts.waiting += 1,
        ItemState::Offered { .. } | ItemState::Running { .. } => counts.running += 1,
        ItemState::Ended(end) => match end.kind {
            ItemEndKind::Passed => counts.passed += 1,
            ItemEndKind::PassedOnRetry => {
                counts.passed += 1;
                counts.passed_on_retry += 1;
            }
            ItemEndKind::Failed => counts.failed += 1,
            ItemEndKind::TimedOut => counts.timed_out += 1,
            ItemEndKind::Cancelled => counts.cancelled += 1,
            ItemEndKind::Dead => counts.dead += 1,
        },
    }
}

async fn judge_item(
    store: &MemoryStore,
    item: &Item,
    machines: &[Machine],
    problems: &mut Vec<String>,
) {
    let delivery = item.delivery;
    if delivery.number() > delivery.queue_max() {
        problems.push(format!("{} is delivered too often: {delivery:?}", item.id));
    }
    if delivery.retries_used() > delivery.retries_allowed() {
        problems.push(format!("{} is retried too often: {delivery:?}", item.id));
    }
    let attempts = store.attempts(&item.id).await.expect("it answers");
    // Whatever costs a delivery has a number of its own.
    let costly = attempts
        .iter()
        .filter(|attempt| !matches!(attempt.state, AttemptState::RefusedAfterUnpacking { .. }));
    let numbers: Vec<u32> = costly.map(|attempt| attempt.delivery.number()).collect();
    if !numbers.is_sorted_by(|left, right| left < right) {
        problems.push(format!("deliveries of {} are {numbers:?}", item.id));
    }
    let timed_out = attempts.iter().position(|attempt| {
        matches!(&attempt.state, AttemptState::Judged(it) if it.kind == VerdictKind::TimedOut)
    });
    if timed_out.is_some_and(|position| position + 1 < attempts.len()) {
        problems.push(format!("{} is retried after a timeout", item.id));
    }
    for attempt in &attempts {
        judge_attempt(store, attempt, machines, problems).await;
    }
    let hung = attempts
        .iter()
        .any(|attempt| matches!(&attempt.state, AttemptState::Judged(it) if it.reason == "HANGS"));
    if hung && item.cancel_requested.is_some() {
        problems.push(format!("{} was not told to end", item.id));
    }
    let ItemState::Ended(end) = &item.state else {
        problems.push(format!("{} has not ended", item.id));
        return;
    };
    let last = attempts.last().map(|attempt| &attempt.state);
    let failed_before = attempts.iter().any(|attempt| {
        matches!(&attempt.state, AttemptState::Judged(it) if it.kind == VerdictKind::Failed)
    });
    let is_right = match (end.kind, last) {
        (ItemEndKind::Passed, Some(AttemptState::Judged(last))) => {
            last.kind == VerdictKind::Passed && !failed_before
        }
        (ItemEndKind::PassedOnRetry, Some(AttemptState::Judged(last))) => {
            last.kind == VerdictKind::Passed && failed_before
        }
        (ItemEndKind::Failed, Some(AttemptState::Judged(last))) => {
            last.kind == VerdictKind::Failed && delivery.retries_left() == 0
        }
        (ItemEndKind::TimedOut, Some(AttemptState::Judged(last))) => {
            last.kind == VerdictKind::TimedOut
        }
        (ItemEndKind::Dead, Some(AttemptState::Judged(last))) => {
            last.kind == VerdictKind::Infrastructure && delivery.deliveries_left() == 0
        }
        (ItemEndKind::Dead, Some(AttemptState::Lost { .. })) => delivery.deliveries_left() == 0,
        (ItemEndKind::Cancelled, _) => item.cancel_requested.is_some(),
        _ => false,
    };
    if !is_right {
        problems.push(format!("{} ended as {end:?} after {last:?}", item.id));
    }
}

async fn judge_attempt(
    store: &MemoryStore,
    attempt: &Attempt,
    machines: &[Machine],
    problems: &mut Vec<String>,
) {
    let said = |what: &str| format!("{} {what}: {:?}", attempt.id, attempt.state);
    if attempt.ended.is_none() {
        problems.push(said("has not ended"));
    }
    let machine = machines
        .iter()
        .find(|machine| machine.name == attempt.agent.0)
        .expect("it ran on one of them");
    // A machine whose disk was lost knows nothing that could be compared, or knows of another run:
    // an offer that was heard late, or made again as nobody knew of it.
    let begun = machine.begun();
    let times = begun
        .iter()
        .filter(|(_, begun)| *begun == attempt.id)
        .count();
    let Some(run) = machine.run(&attempt.id).filter(|_| times == 1) else {
        return;
    };
    let AttemptState::Judged(judged) = &attempt.state else {
        return;
    };
    let Some(terminal) = &run.terminal else {
        problems.push(said("was judged by nobody"));
        return;
    };
    let is_same = matches!(
        (judged.kind, terminal.end),
        (VerdictKind::Passed, AttemptEnd::Passed)
            | (VerdictKind::Failed, AttemptEnd::Failed)
            | (VerdictKind::TimedOut, AttemptEnd::TimedOut)
            | (VerdictKind::Cancelled, AttemptEnd::Cancelled)
            | (
                VerdictKind::Infrastructure,
                AttemptEnd::Infrastructure | AttemptEnd::Superseded
            )
    );
    if !is_same {
        problems.push(said(&format!("was judged as {terminal:?}")));
    }
    if attempt.warnings != run.warnings() {
        problems.push(said(&format!("has the warnings {:?}", attempt.warnings)));
    }
    let console = run.console();
    let log = short_log(store, &attempt.id, attempt.log.as_ref()).await;
    if log != console {
        problems.push(format!(
            "log of {} is {:?}, not {:?}",
            attempt.id,
            String::from_utf8_lossy(&log),
            String::from_utf8_lossy(&console)
        ));
    }
}

async fn short_log(store: &MemoryStore, attempt: &AttemptId, place: Option<&LogPlace>) -> Vec<u8> {
    match place {
        Some(LogPlace::Here) => store
            .short_log(attempt)
            .await
            .expect("it answers")
            .expect("it is there"),
        Some(LogPlace::Object(_)) | None => Vec::new(),
    }
}

/// All that is kept, as text.
pub(super) async fn fingerprint(store: &MemoryStore, jobs: &[JobId]) -> String {
    let mut text = String::new();
    for job in jobs {
        let events = store.events(job, 0, 100_000).await.expect("it answers");
        text.push_str(&format!("{events:?}"));
        let items = store.items(job, None, 1000).await.expect("a page");
        for item in items.entries {
            let attempts = store.attempts(&item.id).await.expect("it answers");
            text.push_str(&format!("{item:?}{attempts:?}"));
        }
    }
    text
}
