//! Jobs, items and attempts are read.

use std::time::SystemTime;

use helix_model::ids::{AttemptId, FriendlyName, JobId, QueueName, WorkItemId};
use sqlx::AssertSqlSafe;

use super::failure::Failure;
use super::session::{Row, Session, Value, values};
use super::submit::Label;
use super::words::{StoredCounts, StoredFailure, Word, micros};
use crate::{
    AgentName, Attempt, AttemptState, ControllerId, Counts, File, FlakyTest, Item, ItemEnd,
    ItemEndKind, ItemState, Job, JobCounts, JobEvent, JobEventKind, JobFilter, Judgement, Lane,
    LaneId, LogPlace, Page, Refusal, StoreError, TestFailure, rules,
};

const JOB: &str = "j.key, j.id, j.queue, j.name, j.creator, j.source, j.priority, j.properties, \
    j.retry_of, j.created, j.ended, j.cancelled, j.total, j.waiting, j.running, j.passed, \
    j.passed_on_retry, j.failed, j.timed_out, j.cancelled_items, j.dead";

fn read_job(row: &Row) -> Result<Job, Failure> {
    let retry_of = row.maybe_text("retry_of")?.map(JobId::new).transpose();
    Ok(Job {
        id: row.parsed("id", JobId::new)?,
        queue: row.parsed("queue", QueueName::new)?,
        name: row.text("name")?,
        creator: row.text("creator")?,
        source: row.text("source")?,
        priority: priority(row, "priority")?,
        properties: row.json("properties")?,
        retry_of: retry_of.map_err(|error| row.wrong("retry_of", error))?,
        created: row.time("created")?,
        ended: row.maybe_time("ended")?,
        cancelled: row.maybe_text("cancelled")?,
        counts: JobCounts {
            total: row.count("total")?,
            waiting: row.count("waiting")?,
            running: row.count("running")?,
            passed: row.count("passed")?,
            passed_on_retry: row.count("passed_on_retry")?,
            failed: row.count("failed")?,
            timed_out: row.count("timed_out")?,
            cancelled: row.count("cancelled_items")?,
            dead: row.count("dead")?,
        },
    })
}

/// A signed number of 32 bits.
pub(super) fn priority(row: &Row, column: &str) -> Result<i32, Failure> {
    i32::try_from(row.int(column)?).map_err(|error| row.wrong(column, error))
}

pub(super) async fn job(session: &mut Session<'_>, job: &JobId) -> Result<Option<Job>, Failure> {
    let sql = format!("SELECT {JOB} FROM jobs j WHERE j.id = $1");
    let row = session
        .row(AssertSqlSafe(sql), values![job.as_str()])
        .await?;
    row.as_ref().map(read_job).transpose()
}

/// Jobs with a label, from the place of a page on.
pub(super) const JOBS_BY_LABEL: &str =
    "labels l JOIN jobs j ON j.key = l.job WHERE l.digest = $3 AND l.job < $1";

pub(super) async fn jobs(
    session: &mut Session<'_>,
    filter: &JobFilter,
    before: Option<i64>,
    limit: u32,
) -> Result<Page<Job>, Failure> {
    let size = rules::page_size(limit);
    let mut labels = Vec::new();
    labels.extend(
        filter
            .queue
            .as_ref()
            .map(|queue| Label::Queue(queue.as_str())),
    );
    labels.extend(filter.creator.as_deref().map(Label::Creator));
    labels.extend(filter.source.as_deref().map(Label::Source));
    let property = filter.property.as_ref();
    labels.extend(property.map(|(name, value)| Label::Property(name, value)));
    let mut values = values![
        before.unwrap_or(i64::MAX),
        i64::try_from(size + 1).unwrap_or(1001)
    ];
    // The order is that of the index of the first label, so that no page sorts.
    let (from, order) = match labels.is_empty() {
        true => ("jobs j WHERE j.key < $1".to_owned(), "j.key"),
        false => {
            values.push(labels.remove(0).digest().into());
            (JOBS_BY_LABEL.to_owned(), "l.job")
        }
    };
    let mut sql = format!("SELECT {JOB} FROM {from}");
    for label in labels {
        values.push(label.digest().into());
        let place = values.len();
        sql.push_str(&format!(
            " AND EXISTS (SELECT 1 FROM labels WHERE digest = ${place} AND job = j.key)"
        ));
    }
    if filter.open_only {
        sql.push_str(" AND j.ended IS NULL");
    }
    sql.push_str(&format!(" ORDER BY {order} DESC LIMIT $2"));
    let rows = session.rows(AssertSqlSafe(sql), values).await?;
    page(&rows, size, |row| Ok(row.int("key")?.to_string()), read_job)
}

/// Makes a page of rows, of which there is one more where another page follows.
fn page<T>(
    rows: &[Row],
    size: usize,
    place: impl Fn(&Row) -> Result<String, Failure>,
    read: impl Fn(&Row) -> Result<T, Failure>,
) -> Result<Page<T>, Failure> {
    let more = rows.len() > size;
    let shown = rows.get(..size.min(rows.len())).unwrap_or_default();
    let last = shown.last().filter(|_| more);
    Ok(Page {
        next: last.map(place).transpose()?,
        entries: shown.iter().map(read).collect::<Result<_, _>>()?,
    })
}

const ITEM: &str = "SELECT i.key, i.id, j.id AS job, i.name, i.retry_place, i.delivery, \
    i.queue_max, i.retries_requested, i.retries_used, i.state, i.cancel_requested, i.since, \
    i.attempts, i.exit_code, i.reason, i.message, a.id AS attempt, a.agent \
    FROM items i JOIN jobs j ON j.key = i.job \
    LEFT JOIN attempts a ON a.item = i.key AND a.state IN ('offered', 'running')";

fn read_item(row: &Row) -> Result<Item, Failure> {
    Ok(Item {
        id: row.parsed("id", WorkItemId::new)?,
        job: row.parsed("job", JobId::new)?,
        name: row.parsed("name", FriendlyName::new)?,
        retry_place: row.word("retry_place")?,
        delivery: row.delivery()?,
        state: read_state(row)?,
        cancel_requested: row.maybe_text("cancel_requested")?,
        since: row.time("since")?,
        attempts: row.small("attempts")?,
    })
}

fn read_state(row: &Row) -> Result<ItemState, Failure> {
    let state = row.text("state")?;
    if let Some(kind) = ItemEndKind::from_word(&state) {
        return Ok(ItemState::Ended(ItemEnd {
            kind,
            helix_exit_code: priority(row, "exit_code")?,
            reason: row.text("reason")?,
            message: row.text("message")?,
        }));
    }
    if state == "waiting" {
        return Ok(ItemState::Waiting);
    }
    let attempt = row.parsed("attempt", AttemptId::new)?;
    let agent = AgentName(row.text("agent")?);
    match &*state {
        "offered" => Ok(ItemState::Offered { attempt, agent }),
        "running" => Ok(ItemState::Running { attempt, agent }),
        other => Err(row.wrong("state", other)),
    }
}

async fn known_job(session: &mut Session<'_>, job: &JobId) -> Result<i64, Failure> {
    let sql = "SELECT key FROM jobs WHERE id = $1";
    let row = session.row(sql, values![job.as_str()]).await?;
    row.ok_or_else(|| StoreError::UnknownJob(job.clone()))?
        .int("key")
}

pub(super) async fn items(
    session: &mut Session<'_>,
    job: &JobId,
    after: Option<i64>,
    limit: u32,
) -> Result<Page<Item>, Failure> {
    let job = known_job(session, job).await?;
    let size = rules::page_size(limit);
    let start = after.map_or(0, |place| {
        usize::try_from(place).map_or(usize::MAX, |at| at + 1)
    });
    // Beyond the last place there is nothing, whatever number it is.
    let first = rules::part_key(job, start.min(rules::MAX_ITEMS));
    let last = rules::part_key(job, rules::MAX_ITEMS);
    let sql = format!("{ITEM} WHERE i.key BETWEEN $1 AND $2 ORDER BY i.key LIMIT $3");
    let values = values![first, last, i64::try_from(size + 1).unwrap_or(1001)];
    let rows = session.rows(AssertSqlSafe(sql), values).await?;
    let place = |row: &Row| Ok((row.int("key")? - rules::part_key(job, 0)).to_string());
    page(&rows, size, place, read_item)
}

pub(super) async fn item(
    session: &mut Session<'_>,
    job: &JobId,
    item: &str,
) -> Result<Option<Item>, Failure> {
    for column in ["id", "name"] {
        let sql = format!("{ITEM} WHERE i.{column} = $1 AND j.id = $2");
        let values = values![item, job.as_str()];
        if let Some(row) = session.row(AssertSqlSafe(sql), values).await? {
            return read_item(&row).map(Some);
        }
    }
    Ok(None)
}

pub(super) async fn specification(
    session: &mut Session<'_>,
    item: &WorkItemId,
) -> Result<Option<(Vec<u8>, Vec<u8>)>, Failure> {
    let sql = "SELECT s.specification, l.demand FROM items i \
        JOIN specifications s ON s.item = i.key JOIN lanes l ON l.key = i.lane WHERE i.id = $1";
    let row = session.row(sql, values![item.as_str()]).await?;
    row.map(|row| Ok((row.blob("specification")?, row.blob("demand")?)))
        .transpose()
}

const ATTEMPT: &str = "SELECT a.key, a.id, i.id AS item, j.id AS job, a.delivery, a.queue_max, \
    a.retries_requested, a.retries_used, a.agent, a.controller, a.epoch, a.state, a.offered, \
    a.accepted, a.started, a.ended, a.last_event, a.verdict, a.reason, a.message, a.exit_code, \
    a.elapsed, a.cpu_time, a.peak_memory_bytes, a.counts, a.failures, a.degraded, a.warnings, \
    a.log_place, a.log_object, a.log_bytes \
    FROM attempts a JOIN items i ON i.key = a.item JOIN jobs j ON j.key = a.job";

/// All attempts of an item, the first first.
pub(super) async fn attempts(
    session: &mut Session<'_>,
    item: &WorkItemId,
) -> Result<Vec<Attempt>, Failure> {
    let sql = format!("{ATTEMPT} WHERE i.id = $1 ORDER BY a.key");
    read_attempts(session, sql, item.as_str()).await
}

/// The attempt of an id, or none.
pub(super) async fn attempt(
    session: &mut Session<'_>,
    attempt: &AttemptId,
) -> Result<Option<Attempt>, Failure> {
    let sql = format!("{ATTEMPT} WHERE a.id = $1");
    let found = read_attempts(session, sql, attempt.as_str()).await?;
    Ok(found.into_iter().next())
}

async fn read_attempts(
    session: &mut Session<'_>,
    sql: String,
    id: &str,
) -> Result<Vec<Attempt>, Failure> {
    let rows = session.rows(AssertSqlSafe(sql), values![id]).await?;
    let mut attempts = Vec::with_capacity(rows.len());
    for row in &rows {
        let sql = "SELECT name, kind, size, sha256, url FROM files \
            WHERE attempt = $1 ORDER BY ordinal";
        let files = session.rows(sql, values![row.int("key")?]).await?;
        let files = files.iter().map(read_file).collect::<Result<_, _>>()?;
        attempts.push(read_attempt(row, files)?);
    }
    Ok(attempts)
}

fn read_file(row: &Row) -> Result<File, Failure> {
    Ok(File {
        name: row.text("name")?,
        kind: row.word("kind")?,
        size: row.count("size")?,
        sha256: row.blob("sha256")?,
        url: row.text("url")?,
    })
}

fn read_attempt(row: &Row, files: Vec<File>) -> Result<Attempt, Failure> {
    let counts: Option<StoredCounts> = row.json("counts")?;
    let failures: Vec<StoredFailure> = row.json("failures")?;
    let log = match row.maybe_text("log_place")?.as_deref() {
        None => None,
        Some("here") => Some(LogPlace::Here),
        Some(_) => Some(LogPlace::Object(row.text("log_object")?)),
    };
    Ok(Attempt {
        id: row.parsed("id", AttemptId::new)?,
        item: row.parsed("item", WorkItemId::new)?,
        job: row.parsed("job", JobId::new)?,
        delivery: row.delivery()?,
        agent: AgentName(row.text("agent")?),
        controller: ControllerId(row.text("controller")?),
        epoch: row.count("epoch")?,
        state: read_attempt_state(row)?,
        offered: row.time("offered")?,
        accepted: row.maybe_time("accepted")?,
        started: row.maybe_time("started")?,
        ended: row.maybe_time("ended")?,
        last_event: row.count("last_event")?,
        degraded: row.json("degraded")?,
        counts: counts.map(Counts::from),
        failures: failures.into_iter().map(TestFailure::from).collect(),
        warnings: row.json("warnings")?,
        files,
        log,
        log_bytes: row.count("log_bytes")?,
    })
}

fn read_attempt_state(row: &Row) -> Result<AttemptState, Failure> {
    let state = row.text("state")?;
    Ok(match &*state {
        "offered" => AttemptState::Offered,
        "running" => AttemptState::Running,
        "refused" => AttemptState::RefusedAfterUnpacking {
            message: row.text("message")?,
        },
        "lost" => AttemptState::Lost {
            reason: row.text("message")?,
        },
        "judged" => AttemptState::Judged(Judgement {
            kind: row.word("verdict")?,
            reason: row.text("reason")?,
            message: row.text("message")?,
            helix_exit_code: priority(row, "exit_code")?,
            elapsed: row.maybe_span("elapsed")?,
            cpu_time: row.maybe_span("cpu_time")?,
            peak_memory_bytes: row.maybe_int("peak_memory_bytes")?.map(i64::unsigned_abs),
        }),
        other => return Err(row.wrong("state", other)),
    })
}

pub(super) async fn short_log(
    session: &mut Session<'_>,
    attempt: &AttemptId,
) -> Result<Option<Vec<u8>>, Failure> {
    let sql = "SELECT l.log FROM logs l JOIN attempts a ON a.key = l.attempt WHERE a.id = $1";
    let row = session.row(sql, values![attempt.as_str()]).await?;
    row.map(|row| row.blob("log")).transpose()
}

pub(super) async fn refusals(
    session: &mut Session<'_>,
    item: &WorkItemId,
) -> Result<Vec<Refusal>, Failure> {
    let sql = "SELECT r.agent, r.reason, r.message, r.at, r.until, r.times FROM refusals r \
        JOIN items i ON i.key = r.item WHERE i.id = $1 ORDER BY r.agent";
    let rows = session.rows(sql, values![item.as_str()]).await?;
    let read = |row: &Row| {
        Ok(Refusal {
            agent: AgentName(row.text("agent")?),
            reason: row.text("reason")?,
            message: row.text("message")?,
            at: row.time("at")?,
            until: row.time("until")?,
            times: row.small("times")?,
        })
    };
    rows.iter().map(read).collect()
}

pub(super) async fn events(
    session: &mut Session<'_>,
    job: &JobId,
    after: u64,
    limit: u32,
) -> Result<Vec<JobEvent>, Failure> {
    let job = known_job(session, job).await?;
    let sql = "SELECT e.number, e.at, e.kind, i.id AS item, e.attempt, e.agent, e.reason \
        FROM events e LEFT JOIN items i ON i.key = e.item \
        WHERE e.job = $1 AND e.number > $2 ORDER BY e.number LIMIT $3";
    let values = values![job, super::words::number(after), limit];
    let rows = session.rows(sql, values).await?;
    rows.iter().map(read_event).collect()
}

fn read_event(row: &Row) -> Result<JobEvent, Failure> {
    let item = || row.parsed("item", WorkItemId::new);
    let attempt = || row.parsed("attempt", AttemptId::new);
    let kind = row.text("kind")?;
    let kind = match &*kind {
        "submitted" => JobEventKind::Submitted,
        "attempt_started" => JobEventKind::AttemptStarted {
            item: item()?,
            attempt: attempt()?,
            agent: AgentName(row.text("agent")?),
        },
        "item_requeued" | "item_retried" => JobEventKind::ItemRequeued {
            item: item()?,
            attempt: attempt()?,
            retry: kind == "item_retried",
            reason: row.text("reason")?,
        },
        "item_ended" => JobEventKind::ItemEnded { item: item()? },
        "ended" => JobEventKind::Ended,
        other => return Err(row.wrong("kind", other)),
    };
    Ok(JobEvent {
        number: row.count("number")?,
        at: row.time("at")?,
        kind,
    })
}

/// Which flaky tests are recent.
pub(super) const FLAKY_SINCE: &str = "f.at >= $1";

/// Tests that passed only on a retry. The latest of each group comes with the size of the group.
pub(super) async fn flaky(
    session: &mut Session<'_>,
    queue: Option<&QueueName>,
    since: SystemTime,
    limit: u32,
) -> Result<Vec<FlakyTest>, Failure> {
    let mut values: Vec<Value> = values![micros(since), limit];
    let mut condition = FLAKY_SINCE.to_owned();
    if let Some(queue) = queue {
        values.push(queue.as_str().to_ascii_lowercase().into());
        condition.push_str(" AND f.queue_key = $3");
    }
    let sql = format!(
        "SELECT name, item_name, queue, times, at, job, item FROM (\
         SELECT f.name AS name, i.name AS item_name, f.queue_key AS queue_key, j.queue AS queue, \
         f.at AS at, j.id AS job, i.id AS item, \
         COUNT(*) OVER (PARTITION BY f.queue_key, f.name, i.name) AS times, \
         ROW_NUMBER() OVER (PARTITION BY f.queue_key, f.name, i.name \
            ORDER BY f.at DESC, f.key DESC) AS place \
         FROM flaky f JOIN items i ON i.key = f.item JOIN jobs j ON j.key = i.job \
         WHERE {condition}) AS latest WHERE place = 1 \
         ORDER BY times DESC, at DESC, name, item_name, queue_key LIMIT $2"
    );
    let rows = session.rows(AssertSqlSafe(sql), values).await?;
    let read = |row: &Row| {
        Ok(FlakyTest {
            name: row.text("name")?,
            item_name: row.text("item_name")?,
            queue: row.parsed("queue", QueueName::new)?,
            times: row.count("times")?,
            last: row.time("at")?,
            last_job: row.parsed("job", JobId::new)?,
            last_item: row.parsed("item", WorkItemId::new)?,
        })
    };
    rows.iter().map(read).collect()
}

/// Lanes in which something waits. Of items only the first that was put off is looked at, where all
/// were.
pub(super) const LANES: &str = "SELECT l.key, j.id AS job, j.queue, q.priority AS queue_priority, \
    j.priority, j.created, l.demand, l.waiting, j.running, \
    CASE WHEN l.delayed < l.waiting THEN NULL ELSE \
        (SELECT i.not_before FROM items i WHERE i.lane = l.key AND i.state = 'waiting' \
        AND i.not_before IS NOT NULL ORDER BY i.not_before LIMIT 1) END AS not_before \
    FROM lanes l JOIN jobs j ON j.key = l.job JOIN queues q ON q.key = j.queue_key \
    WHERE l.waiting > 0 ORDER BY l.key";

pub(super) async fn lanes(session: &mut Session<'_>) -> Result<Vec<Lane>, Failure> {
    let rows = session.rows(LANES, values![]).await?;
    let read = |row: &Row| {
        Ok(Lane {
            id: LaneId(row.int("key")?),
            job: row.parsed("job", JobId::new)?,
            queue: row.parsed("queue", QueueName::new)?,
            queue_priority: priority(row, "queue_priority")?,
            job_priority: priority(row, "priority")?,
            created: row.time("created")?,
            demand: row.blob("demand")?,
            waiting: row.count("waiting")?,
            not_before: row.maybe_time("not_before")?,
            job_running: row.count("running")?,
        })
    };
    rows.iter().map(read).collect()
}
