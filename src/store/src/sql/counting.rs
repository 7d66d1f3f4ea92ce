//! The counters of jobs and lanes, and the events of jobs: changed together, in the transaction that
//! changes the items.

use std::time::SystemTime;

use helix_model::ids::JobId;

use super::failure::Failure;
use super::session::{Session, Value, values};
use super::words::micros;
use crate::{Change, JobCounts, rules};

/// How the counters of a job change. What is subtracted is given as such.
#[derive(Debug, Default)]
pub(super) struct JobChange {
    /// Added to those that wait.
    pub(super) waiting: i64,
    /// Added to those that are offered or run.
    pub(super) running: i64,
    /// Items that ended.
    pub(super) ended: JobCounts,
    /// Places taken at the end of lanes.
    pub(super) positions: i64,
}

/// An event to be told, but for its number and time.
#[derive(Debug)]
pub(super) struct NewEvent {
    pub(super) at: SystemTime,
    pub(super) kind: &'static str,
    pub(super) item: Option<i64>,
    pub(super) attempt: Option<String>,
    pub(super) agent: Option<String>,
    pub(super) reason: Option<String>,
}

impl NewEvent {
    /// An event of an item, without more.
    pub(super) fn of_item(at: SystemTime, kind: &'static str, item: i64) -> Self {
        Self {
            at,
            kind,
            item: Some(item),
            attempt: None,
            agent: None,
            reason: None,
        }
    }
}

pub(super) const EVENT_COLUMNS: &str =
    "events (job, number, at, kind, item, attempt, agent, reason)";

/// How an item ended, as a count of one.
pub(super) fn one_ended(kind: crate::ItemEndKind) -> JobCounts {
    let mut counts = JobCounts::default();
    rules::count_end(&mut counts, kind, 1);
    counts
}

/// Changes the counters of a job and makes room for as many events. Answers with the number before
/// the first of them, and the first of the places taken. Where the last item ends by it, the job's
/// end is told after those events.
pub(super) async fn change_job(
    session: &mut Session<'_>,
    job: (i64, &JobId),
    change: JobChange,
    events: usize,
    now: SystemTime,
) -> Result<(i64, i64), Failure> {
    let JobChange {
        waiting,
        running,
        ended,
        positions,
    } = change;
    let events = i64::try_from(events).unwrap_or(i64::MAX);
    let sql = "UPDATE jobs SET waiting = waiting + $2, running = running + $3, \
        passed = passed + $4, passed_on_retry = passed_on_retry + $5, failed = failed + $6, \
        timed_out = timed_out + $7, cancelled_items = cancelled_items + $8, dead = dead + $9, \
        next_position = next_position + $10, revision = revision + 1, \
        last_event = last_event + $11 + \
            CASE WHEN waiting + $2 + running + $3 = 0 THEN 1 ELSE 0 END, \
        ended = CASE WHEN waiting + $2 + running + $3 = 0 THEN $12 ELSE ended END \
        WHERE key = $1 RETURNING last_event, next_position, ended";
    let count = |count: u64| Value::from(super::words::number(count));
    let values = vec![
        job.0.into(),
        waiting.into(),
        running.into(),
        count(ended.passed),
        count(ended.passed_on_retry),
        count(ended.failed),
        count(ended.timed_out),
        count(ended.cancelled),
        count(ended.dead),
        positions.into(),
        events.into(),
        micros(now).into(),
    ];
    let row = session.row(sql, values).await?;
    let row = row.ok_or_else(|| Failure::damaged(format!("job {} is gone", job.0)))?;
    let mut last = row.int("last_event")?;
    let position = row.int("next_position")? - positions;
    // Nothing changes in a job that has ended, so it ended just now.
    let job_ended = row.maybe_int("ended")?.is_some();
    if job_ended {
        let sql = "INSERT INTO events (job, number, at, kind) VALUES ($1, $2, $3, 'ended')";
        session
            .execute(sql, values![job.0, last, micros(now)])
            .await?;
        last -= 1;
    }
    if events > 0 || job_ended {
        session.changes.push(Change::Job(job.1.clone()));
    }
    Ok((last - events, position))
}

/// Tells events, from the number after the given one on.
pub(super) async fn tell(
    session: &mut Session<'_>,
    job: i64,
    before: i64,
    events: Vec<NewEvent>,
) -> Result<(), Failure> {
    let mut values = Vec::with_capacity(events.len() * 8);
    for (event, number) in events.into_iter().zip(before + 1..) {
        values.extend(values![
            job,
            number,
            micros(event.at),
            event.kind,
            event.item,
            event.attempt,
            event.agent,
            event.reason,
        ]);
    }
    session.insert(EVENT_COLUMNS, 8, values).await
}

/// Changes how many wait in a lane, and how many of these are put off.
pub(super) async fn change_lane(
    session: &mut Session<'_>,
    lane: i64,
    waiting: i64,
    delayed: i64,
) -> Result<(), Failure> {
    let sql = "UPDATE lanes SET waiting = waiting + $2, delayed = delayed + $3 WHERE key = $1";
    session
        .execute(sql, values![lane, waiting, delayed])
        .await?;
    Ok(())
}
