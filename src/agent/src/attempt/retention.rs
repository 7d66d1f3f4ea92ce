//! How long ended attempts are kept: by age, and by the space they take all
//! together. Acknowledged ones go first. Damaged ones, of which no more is known, go
//! by their age alone.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use helix_exec::spool::status::Status;
use helix_exec::{Liveness, SpoolReader};
use helix_model::ids::AttemptId;

use super::handle::SPOOL;
use super::recover::damaged_name;
use crate::core::Core;

/// Removes what is too old, and the oldest of what is too much.
pub(crate) async fn sweep(core: &Arc<Core>, now: SystemTime) {
    sweep_damaged(core, now).await;
    let ended = core.ended();
    if ended.is_empty() {
        return;
    }
    let measured = tokio::task::spawn_blocking(move || {
        let measure = |(attempt, ended): (AttemptId, crate::core::Ended)| Kept {
            attempt,
            bytes: directory_bytes(&ended.directory),
            ended: ended.ended,
            acknowledged: ended.summary.acknowledged,
        };
        ended.into_iter().map(measure).collect::<Vec<_>>()
    });
    let Ok(kept) = measured.await else { return };
    let policy = core.settings().config.retention;
    for attempt in doomed(kept, policy.age, policy.bytes, now) {
        let Some(directory) = core.forget(&attempt) else {
            continue;
        };
        if let Err(error) = helix_payload::remove_tree(&directory).await {
            tracing::warn!(
                attempt.id = %attempt,
                error = error.chain(),
                "history of an ended attempt could not be removed"
            );
        }
    }
}

/// Removes damaged attempts that nothing was written to for as long as ended ones are
/// kept, and whose commands do not run.
async fn sweep_damaged(core: &Arc<Core>, now: SystemTime) {
    let Ok(entries) = fs::read_dir(core.attempts_directory()) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let is_old = || {
            let changed = fs::symlink_metadata(&path).and_then(|metadata| metadata.modified());
            let age = changed
                .ok()
                .and_then(|changed| now.duration_since(changed).ok());
            age.is_some_and(|age| age > core.settings().config.retention.age)
        };
        if damaged_name(&path).is_none() || !is_old() || runs(&path.join(SPOOL)) {
            continue;
        }
        if let Err(error) = helix_payload::remove_tree(&path).await {
            tracing::warn!(
                path = %path.display(),
                error = error.chain(),
                "damaged record of an attempt could not be removed"
            );
        }
    }
}

/// Whether the supervisor of a spool may be alive.
fn runs(spool: &Path) -> bool {
    let status = SpoolReader::open(spool).and_then(|reader| reader.status());
    match status {
        Ok(Some(Status::Launched(launched))) => launched.supervisor.liveness() != Liveness::Dead,
        Ok(Some(Status::Ended(_)) | None) | Err(_) => false,
    }
}

/// An ended attempt on disk.
#[derive(Debug, Clone)]
struct Kept {
    attempt: AttemptId,
    bytes: u64,
    ended: SystemTime,
    acknowledged: bool,
}

/// Which attempts go.
fn doomed(mut kept: Vec<Kept>, age: Duration, bytes: u64, now: SystemTime) -> Vec<AttemptId> {
    // Acknowledged ones first, and among equals the oldest.
    kept.sort_by_key(|attempt| (!attempt.acknowledged, attempt.ended));
    let mut total: u64 = kept.iter().map(|attempt| attempt.bytes).sum();
    let mut doomed = Vec::new();
    for attempt in kept {
        let old = now
            .duration_since(attempt.ended)
            .is_ok_and(|passed| passed > age);
        if old || total > bytes {
            total = total.saturating_sub(attempt.bytes);
            doomed.push(attempt.attempt);
        }
    }
    doomed
}

/// Bytes of the files in a directory and its subdirectories; what cannot be
/// looked at counts nothing.
fn directory_bytes(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => directory_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(name: &str, bytes: u64, age: u64, acknowledged: bool) -> Kept {
        Kept {
            attempt: AttemptId::new(name).expect("an id"),
            bytes,
            ended: SystemTime::UNIX_EPOCH + Duration::from_secs(1000 - age),
            acknowledged,
        }
    }

    #[track_caller]
    fn check(kept: Vec<Kept>, age: u64, bytes: u64, expected: &[&str]) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let doomed = doomed(kept, Duration::from_secs(age), bytes, now);
        let doomed: Vec<&str> = doomed.iter().map(AttemptId::as_str).collect();
        assert_eq!(doomed, expected);
    }

    #[test]
    fn attempt_goes_when_it_is_older_than_the_age() {
        check(
            vec![kept("young", 1, 9, true), kept("old", 1, 11, false)],
            10,
            100,
            &["old"],
        );
    }

    #[test]
    fn acknowledged_attempt_goes_before_an_older_one_that_is_not() {
        let all = vec![kept("asked-for", 60, 9, false), kept("done", 60, 1, true)];
        check(all, 10, 100, &["done"]);
    }

    #[test]
    fn oldest_go_until_the_rest_fits() {
        let all = vec![
            kept("a", 60, 3, false),
            kept("b", 60, 2, false),
            kept("c", 60, 1, false),
        ];
        check(all, 10, 70, &["a", "b"]);
    }

    #[test]
    fn nothing_goes_while_all_fits() {
        check(
            vec![kept("a", 50, 3, false), kept("b", 50, 2, true)],
            10,
            100,
            &[],
        );
    }
}
