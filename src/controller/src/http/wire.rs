//! From what the store knows to what the API says.

use std::time::{Duration, SystemTime};

use helix_api as api;
use helix_model::ids::{QueueName, WorkItemId};
use helix_store::{
    Attempt, AttemptState, FileKind, FlakyTest, Item, ItemEndKind, ItemState, Job, JobEvent,
    JobEventKind, Queue, QueueCounts, Refusal, VerdictKind, Visibility,
};
use jiff::Timestamp;

/// A time; one that no calendar has is the nearest that there is.
pub(super) fn time(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(if time < SystemTime::UNIX_EPOCH {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// Hexadecimal digits as bytes.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs
        .remainder()
        .is_empty()
        .then(|| pairs.map(|pair| (pair[0] << 4) | pair[1]).collect())
}

pub(super) fn job(job: Job) -> api::Job {
    let counts = &job.counts;
    let state = match job.ended {
        Some(_) if counts.passed == counts.total => api::JobState::Passed,
        Some(_) if job.cancelled.is_some() => api::JobState::Cancelled,
        Some(_) => api::JobState::Failed,
        None if counts.waiting == counts.total => api::JobState::Waiting,
        None => api::JobState::Running,
    };
    api::Job {
        state,
        counts: api::JobCounts {
            total: counts.total,
            waiting: counts.waiting,
            running: counts.running,
            passed: counts.passed,
            passed_on_retry: counts.passed_on_retry,
            failed: counts.failed,
            timed_out: counts.timed_out,
            cancelled: counts.cancelled,
            dead: counts.dead,
        },
        id: job.id.to_string(),
        queue: job.queue.to_string(),
        name: job.name,
        creator: job.creator,
        source: job.source,
        priority: job.priority,
        properties: job.properties,
        retry_of: job.retry_of.map(|id| id.to_string()),
        created: time(job.created),
        ended: job.ended.map(time),
        cancelled: job.cancelled,
    }
}

pub(super) fn item(item: Item) -> api::Item {
    let mut told = api::Item {
        id: item.id.to_string(),
        job: item.job.to_string(),
        name: item.name.to_string(),
        state: api::ItemState::Waiting,
        since: time(item.since),
        delivery: item.delivery.number(),
        max_deliveries: item.delivery.queue_max(),
        retries: api::Retries {
            requested: item.delivery.retries_requested(),
            granted: item.delivery.retries_allowed(),
            used: item.delivery.retries_used(),
        },
        attempts: item.attempts,
        partial_failure: false,
        attempt: None,
        agent: None,
        exit_code: None,
        reason: None,
        message: None,
        cancel_requested: item.cancel_requested,
    };
    match item.state {
        ItemState::Waiting => {}
        ItemState::Offered { attempt, agent } => {
            told.state = api::ItemState::Offered;
            told.attempt = Some(attempt.to_string());
            told.agent = Some(agent.0);
        }
        ItemState::Running { attempt, agent } => {
            told.state = api::ItemState::Running;
            told.attempt = Some(attempt.to_string());
            told.agent = Some(agent.0);
        }
        ItemState::Ended(end) => {
            told.state = match end.kind {
                ItemEndKind::Passed => api::ItemState::Passed,
                ItemEndKind::PassedOnRetry => api::ItemState::PassedOnRetry,
                ItemEndKind::Failed => api::ItemState::Failed,
                ItemEndKind::TimedOut => api::ItemState::TimedOut,
                ItemEndKind::Cancelled => api::ItemState::Cancelled,
                ItemEndKind::Dead => api::ItemState::Dead,
            };
            told.partial_failure = end.kind == ItemEndKind::PassedOnRetry;
            told.exit_code = Some(end.helix_exit_code);
            told.reason = said(end.reason);
            told.message = said(end.message);
        }
    }
    told
}

/// An attempt; `number` is its place among those of its item, counted from 1.
pub(super) fn attempt(number: u32, attempt: Attempt) -> api::Attempt {
    let place = number.to_string();
    let values = [attempt.job.as_str(), attempt.item.as_str(), place.as_str()];
    let log = api::Endpoint::AttemptLog.fill(&values);
    let files = attempt
        .files
        .iter()
        .map(|file| api::StoredFile {
            name: file.name.clone(),
            kind: match file.kind {
                FileKind::ConsoleLog => api::FileKind::ConsoleLog,
                FileKind::TestResult => api::FileKind::TestResult,
                FileKind::Upload => api::FileKind::Upload,
                FileKind::Dump => api::FileKind::Dump,
            },
            size: file.size,
            sha256: hex(&file.sha256),
            href: api::Endpoint::AttemptFile.fill(&[values[0], values[1], values[2], &file.name]),
        })
        .collect();
    let mut told = api::Attempt {
        number,
        id: attempt.id.to_string(),
        item: attempt.item.to_string(),
        job: attempt.job.to_string(),
        delivery: attempt.delivery.number(),
        retries_used: attempt.delivery.retries_used(),
        agent: attempt.agent.0,
        controller: attempt.controller.0,
        state: api::AttemptState::Offered,
        reason: None,
        message: None,
        exit_code: None,
        offered: time(attempt.offered),
        accepted: attempt.accepted.map(time),
        started: attempt.started.map(time),
        ended: attempt.ended.map(time),
        elapsed_seconds: None,
        cpu_seconds: None,
        peak_memory_bytes: None,
        counts: attempt.counts.map(|counts| api::TestCounts {
            total: counts.total,
            passed: counts.passed,
            failed: counts.failed,
            skipped: counts.skipped,
            flaky: counts.flaky,
            inconclusive: counts.inconclusive,
        }),
        failures: attempt
            .failures
            .into_iter()
            .map(|failure| api::TestFailure {
                name: failure.name,
                message: failure.message,
                stack: failure.stack,
                file: failure.file,
            })
            .collect(),
        warnings: attempt.warnings,
        degraded: attempt.degraded,
        files,
        log,
        log_bytes: attempt.log_bytes,
    };
    match attempt.state {
        AttemptState::Offered => {}
        AttemptState::Running => told.state = api::AttemptState::Running,
        AttemptState::Judged(judgement) => {
            told.state = match judgement.kind {
                VerdictKind::Passed => api::AttemptState::Passed,
                VerdictKind::Failed => api::AttemptState::Failed,
                VerdictKind::TimedOut => api::AttemptState::TimedOut,
                VerdictKind::Cancelled => api::AttemptState::Cancelled,
                VerdictKind::Infrastructure => api::AttemptState::Infrastructure,
            };
            told.reason = said(judgement.reason);
            told.message = said(judgement.message);
            told.exit_code = Some(judgement.helix_exit_code);
            told.elapsed_seconds = judgement.elapsed.as_ref().map(Duration::as_secs_f64);
            told.cpu_seconds = judgement.cpu_time.as_ref().map(Duration::as_secs_f64);
            told.peak_memory_bytes = judgement.peak_memory_bytes;
        }
        AttemptState::RefusedAfterUnpacking { message } => {
            told.state = api::AttemptState::Refused;
            told.reason = Some("MISSING_CAPABILITY".to_owned());
            told.message = said(message);
        }
        AttemptState::Lost { reason } => {
            told.state = api::AttemptState::Lost;
            told.reason = Some("LOST".to_owned());
            told.message = said(reason);
        }
    }
    told
}

/// An event; `item` is the work item that it is about, as it stands now.
pub(super) fn event(event: JobEvent, item: Option<Item>) -> api::JobEvent {
    let mut told = api::JobEvent {
        number: event.number,
        at: time(event.at),
        kind: api::JobEventKind::Submitted,
        item: None,
        name: item.as_ref().map(|item| item.name.to_string()),
        state: None,
        attempt: None,
        agent: None,
        reason: None,
    };
    // It never leaves its end, so that this is how it was then.
    let ended = item.map(self::item);
    match event.kind {
        JobEventKind::Submitted => {}
        JobEventKind::AttemptStarted {
            item,
            attempt,
            agent,
        } => {
            told.kind = api::JobEventKind::AttemptStarted;
            told.item = Some(item.to_string());
            told.attempt = Some(attempt.to_string());
            told.agent = Some(agent.0);
        }
        JobEventKind::ItemRequeued {
            item,
            attempt,
            retry,
            reason,
        } => {
            told.kind = match retry {
                true => api::JobEventKind::ItemRetried,
                false => api::JobEventKind::ItemReturned,
            };
            told.item = Some(item.to_string());
            told.attempt = Some(attempt.to_string());
            told.reason = said(reason);
        }
        JobEventKind::ItemEnded { item } => {
            told.kind = api::JobEventKind::ItemEnded;
            told.item = Some(item.to_string());
            if let Some(item) = ended {
                told.state = Some(item.state);
                told.reason = item.message;
            }
        }
        JobEventKind::Ended => told.kind = api::JobEventKind::JobEnded,
    }
    told
}

pub(super) fn refusal(refusal: Refusal) -> api::Refusal {
    api::Refusal {
        agent: refusal.agent.0,
        reason: refusal.reason,
        message: refusal.message,
        at: time(refusal.at),
        until: time(refusal.until),
        times: refusal.times,
    }
}

pub(super) fn queue(queue: Queue, counts: QueueCounts) -> api::Queue {
    api::Queue {
        name: queue.name.to_string(),
        description: queue.description,
        operating_system_group: queue.operating_system_group,
        architecture: queue.architecture,
        max_delivery_count: queue.max_delivery_count.get(),
        visibility: match queue.visibility {
            Visibility::Open => api::Visibility::Open,
            Visibility::Internal => api::Visibility::Internal,
        },
        estimated_removal: queue.estimated_removal.map(time),
        priority: queue.priority,
        counts: api::QueueCounts {
            waiting: counts.waiting,
            running: counts.running,
        },
    }
}

pub(super) fn flaky(test: FlakyTest) -> api::FlakyTest {
    api::FlakyTest {
        name: test.name,
        item_name: test.item_name,
        queue: test.queue.to_string(),
        times: test.times,
        last: time(test.last),
        last_job: test.last_job.to_string(),
        last_item: test.last_item.to_string(),
    }
}

/// A queue's name out of a request: one that cannot be is not there.
pub(super) fn queue_name(text: &str) -> Option<QueueName> {
    QueueName::new(text).ok()
}

/// The work item that an event is about.
pub(super) fn item_of(event: &JobEvent) -> Option<&WorkItemId> {
    match &event.kind {
        JobEventKind::AttemptStarted { item, .. }
        | JobEventKind::ItemRequeued { item, .. }
        | JobEventKind::ItemEnded { item } => Some(item),
        JobEventKind::Submitted | JobEventKind::Ended => None,
    }
}

fn said(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_written_as_they_are_read() {
        let bytes = [0, 1, 0xab, 0xff];
        assert_eq!(hex(&bytes), "0001abff");
        assert_eq!(unhex("0001ABff"), Some(bytes.to_vec()));
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("0g"), None);
        assert_eq!(unhex("é0"), None);
    }

    #[test]
    fn times_that_no_calendar_has_are_the_nearest() {
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 50);
        assert_eq!(time(far), Timestamp::MAX);
        assert_eq!(time(SystemTime::UNIX_EPOCH), Timestamp::UNIX_EPOCH);
    }
}
