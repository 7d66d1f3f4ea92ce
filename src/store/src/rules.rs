//! What every kind of store must do alike, apart from where it keeps things.

use sha2::{Digest, Sha256};

use crate::{
    AttemptState, ItemEnd, ItemEndKind, JobCounts, NewJob, Next, RetryPlace, Settlement, StoreError,
};

/// The most items in a job.
pub(crate) const MAX_ITEMS: usize = 100_000;

/// The most failures that are kept of an attempt.
pub(crate) const MAX_FAILURES: usize = 100;

/// How an item ends when cancelling was asked for.
pub(crate) fn cancelled_end(reason: &str) -> ItemEnd {
    ItemEnd {
        kind: ItemEndKind::Cancelled,
        helix_exit_code: -2,
        reason: "CANCELLED".to_owned(),
        message: reason.to_owned(),
    }
}

/// How many entries a page has.
pub(crate) fn page_size(limit: u32) -> usize {
    usize::try_from(limit.clamp(1, 1000)).unwrap_or(1000)
}

/// Reads the place where a page begins.
pub(crate) fn page_start(after: Option<&str>) -> Result<Option<i64>, StoreError> {
    let read = |text: &str| match text.parse::<i64>() {
        Ok(number) if number >= 0 => Ok(number),
        _ => Err(StoreError::Invalid(format!(
            "`{text}` is no place where a page begins"
        ))),
    };
    after.map(read).transpose()
}

/// The number of an item or lane: that of its job, and its place there, below 131072.
pub(crate) fn part_key(job: i64, place: usize) -> i64 {
    (job << 17) | i64::try_from(place).unwrap_or(i64::MAX)
}

/// Checks what a job alone can tell.
pub(crate) fn check_job(job: &NewJob) -> Result<(), StoreError> {
    if job.items.is_empty() || job.items.len() > MAX_ITEMS {
        return Err(StoreError::Invalid(format!(
            "a job of {} work items, 1 to {MAX_ITEMS} are possible",
            job.items.len()
        )));
    }
    let mut names = std::collections::HashSet::with_capacity(job.items.len());
    let mut ids = std::collections::HashSet::with_capacity(job.items.len());
    for item in &job.items {
        if !names.insert(&item.name) {
            return Err(StoreError::ItemTwice(item.name.to_string()));
        }
        if !ids.insert(&item.id) {
            return Err(StoreError::ItemTwice(item.id.to_string()));
        }
    }
    Ok(())
}

/// Tells submissions apart: equal for the same queue and the same items, ids aside.
pub(crate) fn fingerprint(job: &NewJob) -> Vec<u8> {
    let mut digest = Sha256::new();
    // Each part is preceded by its length, so that no two lists of parts read the same.
    let mut part = |bytes: &[u8]| {
        digest.update(bytes.len().to_le_bytes());
        digest.update(bytes);
    };
    part(job.queue.as_str().to_ascii_lowercase().as_bytes());
    for item in &job.items {
        part(item.name.as_str().as_bytes());
        part(&item.specification);
        part(&item.demand);
        part(&item.retries_requested.to_le_bytes());
        part(match item.retry_place {
            RetryPlace::Anywhere => b"anywhere",
            RetryPlace::AnotherMachine => b"another",
        });
    }
    digest.finalize().to_vec()
}

/// Refuses a settlement that leaves the attempt open.
pub(crate) fn check_settlement(settlement: &Settlement) -> Result<(), StoreError> {
    match settlement.state {
        AttemptState::Judged(_)
        | AttemptState::RefusedAfterUnpacking { .. }
        | AttemptState::Lost { .. } => Ok(()),
        AttemptState::Offered | AttemptState::Running => Err(StoreError::Invalid(
            "a settlement that leaves its attempt open".to_owned(),
        )),
    }
}

/// What becomes of an item whose attempt ended, once it is known whether it is to be cancelled.
pub(crate) fn next_of(next: Next, cancel_requested: Option<&str>) -> Next {
    match (next, cancel_requested) {
        (Next::Wait { .. }, Some(reason)) => Next::End(cancelled_end(reason)),
        (next, _) => next,
    }
}

/// Counts an item that ended.
pub(crate) fn count_end(counts: &mut JobCounts, kind: ItemEndKind, by: u64) {
    match kind {
        ItemEndKind::Passed => counts.passed += by,
        ItemEndKind::PassedOnRetry => {
            counts.passed += by;
            counts.passed_on_retry += by;
        }
        ItemEndKind::Failed => counts.failed += by,
        ItemEndKind::TimedOut => counts.timed_out += by,
        ItemEndKind::Cancelled => counts.cancelled += by,
        ItemEndKind::Dead => counts.dead += by,
    }
}
