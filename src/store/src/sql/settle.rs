//! Attempts are followed and come to their end.

use std::collections::BTreeSet;
use std::time::SystemTime;

use async_trait::async_trait;
use helix_model::ids::{JobId, QueueName};
use sqlx::AssertSqlSafe;

use super::counting::{JobChange, NewEvent, change_job, change_lane, one_ended, tell};
use super::failure::Failure;
use super::session::{Row, Session, Value, values};
use super::take::keep_refusal;
use super::words::{
    StoredCounts, StoredFailure, Word, maybe_micros, micros, number, span, to_json,
};
use super::writer::{Operation, Subject};
use crate::{
    AttemptState, Avoid, Change, Fence, File, ItemEnd, ItemEndKind, LogPlace, Next, Progress,
    Settlement, StoreError, rules,
};

/// An open attempt, as far as it must be known to write about it.
struct Open {
    key: i64,
    id: String,
    agent: String,
    accepted: Option<i64>,
    started: Option<i64>,
    last_event: i64,
    item: i64,
    lane: i64,
    cancel_requested: Option<String>,
    job_key: i64,
    job: JobId,
    queue: QueueName,
}

/// What is known of an attempt that somebody writes about.
enum Found {
    /// It is open, and theirs.
    Open(Open),
    /// It has ended in their hands.
    Ended,
    /// It is not theirs.
    Fenced,
}

async fn find(session: &mut Session<'_>, fence: &Fence) -> Result<Found, Failure> {
    let sql = session.dialect().lock_of(
        "SELECT a.key, a.epoch, a.state, a.agent, a.accepted, a.started, a.last_event, a.item, \
         a.job, i.lane, i.cancel_requested, j.id AS job_id, j.queue \
         FROM attempts a JOIN items i ON i.key = a.item JOIN jobs j ON j.key = a.job \
         WHERE a.id = $1",
        "a",
    );
    let id = fence.attempt.as_str();
    let Some(row) = session.row(AssertSqlSafe(sql), values![id]).await? else {
        return Ok(Found::Fenced);
    };
    if row.count("epoch")? != fence.epoch {
        return Ok(Found::Fenced);
    }
    if !matches!(&*row.text("state")?, "offered" | "running") {
        return Ok(Found::Ended);
    }
    Ok(Found::Open(open(id, &row)?))
}

fn open(id: &str, row: &Row) -> Result<Open, Failure> {
    Ok(Open {
        key: row.int("key")?,
        id: id.to_owned(),
        agent: row.text("agent")?,
        accepted: row.maybe_int("accepted")?,
        started: row.maybe_int("started")?,
        last_event: row.int("last_event")?,
        item: row.int("item")?,
        lane: row.int("lane")?,
        cancel_requested: row.maybe_text("cancel_requested")?,
        job_key: row.int("job")?,
        job: row.parsed("job_id", JobId::new)?,
        queue: row.parsed("queue", QueueName::new)?,
    })
}

/// [`crate::Store::record`].
pub(super) struct Record {
    pub(super) fence: Fence,
    pub(super) progress: Progress,
}

#[async_trait]
impl Operation for Record {
    type Answer = ();

    fn subject(&self) -> Subject {
        Subject::Attempt(self.fence.attempt.to_string())
    }

    async fn run(&self, session: &mut Session<'_>) -> Result<(), Failure> {
        let Found::Open(open) = find(session, &self.fence).await? else {
            return Err(StoreError::Fenced(self.fence.attempt.clone()).into());
        };
        let update = Update::new(&open, &self.progress);
        let Some(newly) = update.newly_accepted(&open) else {
            return if update.is_empty() {
                Ok(())
            } else {
                update.store(session, &open, "running").await
            };
        };
        update.store(session, &open, "running").await?;
        let sql = "UPDATE items SET state = 'running', since = $2 WHERE key = $1";
        session
            .execute(sql, values![open.item, micros(newly)])
            .await?;
        let job = (open.job_key, &open.job);
        let (before, _) = change_job(session, job, JobChange::default(), 1, newly).await?;
        tell(session, open.job_key, before, vec![started(&open, newly)]).await
    }
}

fn started(open: &Open, at: SystemTime) -> NewEvent {
    NewEvent {
        attempt: Some(open.id.clone()),
        agent: Some(open.agent.clone()),
        ..NewEvent::of_item(at, "attempt_started", open.item)
    }
}

/// What of a progress is new to an attempt.
struct Update<'a> {
    accepted: Option<SystemTime>,
    started: Option<SystemTime>,
    /// What its events told, if they are new.
    told: Option<&'a Progress>,
}

impl<'a> Update<'a> {
    fn new(open: &Open, progress: &'a Progress) -> Self {
        Self {
            accepted: progress.accepted.filter(|_| open.accepted.is_none()),
            started: progress.started.filter(|_| open.started.is_none()),
            told: Some(progress).filter(|told| number(told.last_event) > open.last_event),
        }
    }

    fn newly_accepted(&self, open: &Open) -> Option<SystemTime> {
        self.accepted.filter(|_| open.accepted.is_none())
    }

    fn is_empty(&self) -> bool {
        self.accepted.is_none() && self.started.is_none() && self.told.is_none()
    }

    /// Writes it down; the state is that of an attempt that was accepted.
    async fn store(
        &self,
        session: &mut Session<'_>,
        open: &Open,
        state: &str,
    ) -> Result<(), Failure> {
        let last_event = self
            .told
            .map_or(open.last_event, |told| number(told.last_event));
        let sql = "UPDATE attempts SET accepted = COALESCE(accepted, $2), \
            started = COALESCE(started, $3), last_event = $4, \
            state = CASE WHEN COALESCE(accepted, $2) IS NULL THEN state ELSE $5 END \
            WHERE key = $1";
        let accepted = maybe_micros(self.accepted);
        let values = values![
            open.key,
            accepted,
            maybe_micros(self.started),
            last_event,
            state
        ];
        session.execute(sql, values).await?;
        self.store_told(session, open).await
    }

    /// Writes down the lists that came with the events.
    async fn store_told(&self, session: &mut Session<'_>, open: &Open) -> Result<(), Failure> {
        let Some(told) = self.told else {
            return Ok(());
        };
        if !told.degraded.is_empty() || !told.warnings.is_empty() {
            let sql = "SELECT degraded, warnings FROM attempts WHERE key = $1";
            let row = session.row(sql, values![open.key]).await?;
            let row = row.ok_or_else(|| Failure::damaged("an attempt is gone"))?;
            let longer = |column, added: &[String]| -> Result<Option<String>, Failure> {
                let mut list: Vec<String> = row.json(column)?;
                list.extend_from_slice(added);
                Ok(super::words::list_to_json(&list))
            };
            let degraded = longer("degraded", &told.degraded)?;
            let warnings = longer("warnings", &told.warnings)?;
            let sql = "UPDATE attempts SET degraded = $2, warnings = $3 WHERE key = $1";
            session
                .execute(sql, values![open.key, degraded, warnings])
                .await?;
        }
        if let Some((counts, failures)) = &told.results {
            let kept = failures.iter().take(rules::MAX_FAILURES).cloned();
            let kept: Vec<_> = kept.map(StoredFailure::from).collect();
            let sql = "UPDATE attempts SET counts = $2, failures = $3 WHERE key = $1";
            let counts = to_json(&StoredCounts::from(*counts));
            let failures = super::words::list_to_json(&kept);
            session
                .execute(sql, values![open.key, counts, failures])
                .await?;
        }
        store_files(session, open.key, &told.files).await
    }
}

/// Adds files to an attempt; one with a known name replaces it.
async fn store_files(
    session: &mut Session<'_>,
    attempt: i64,
    files: &[File],
) -> Result<(), Failure> {
    if files.is_empty() {
        return Ok(());
    }
    let sql = "SELECT ordinal, name FROM files WHERE attempt = $1";
    let rows = session.rows(sql, values![attempt]).await?;
    let mut known = std::collections::HashMap::with_capacity(rows.len());
    for row in rows {
        known.insert(row.text("name")?, row.int("ordinal")?);
    }
    for file in files {
        let next = number(known.len() as u64);
        let ordinal = *known.entry(file.name.clone()).or_insert(next);
        let sql = "INSERT INTO files (attempt, ordinal, name, kind, size, sha256, url) \
            VALUES ($1, $2, $3, $4, $5, $6, $7) \
            ON CONFLICT (attempt, ordinal) DO UPDATE SET kind = excluded.kind, \
            size = excluded.size, sha256 = excluded.sha256, url = excluded.url";
        let values = values![
            attempt,
            ordinal,
            file.name.as_str(),
            file.kind.word(),
            number(file.size),
            file.sha256.clone(),
            file.url.as_str(),
        ];
        session.execute(sql, values).await?;
    }
    Ok(())
}

/// [`crate::Store::settle`].
pub(super) struct Settle {
    pub(super) fence: Fence,
    pub(super) settlement: Settlement,
    pub(super) now: SystemTime,
}

#[async_trait]
impl Operation for Settle {
    type Answer = ();

    fn subject(&self) -> Subject {
        Subject::Attempt(self.fence.attempt.to_string())
    }

    async fn run(&self, session: &mut Session<'_>) -> Result<(), Failure> {
        let open = match find(session, &self.fence).await? {
            Found::Open(open) => open,
            Found::Ended => return Ok(()),
            Found::Fenced => return Err(StoreError::Fenced(self.fence.attempt.clone()).into()),
        };
        let settlement = &self.settlement;
        let update = Update::new(&open, &settlement.progress);
        self.end_attempt(session, &open, &update).await?;
        update.store_told(session, &open).await?;
        if settlement.log == Some(LogPlace::Here) {
            let sql = "INSERT INTO logs (attempt, log) VALUES ($1, $2)";
            session
                .execute(sql, values![open.key, settlement.short_log.clone()])
                .await?;
        }
        let mut events = Vec::new();
        if let Some(at) = update.newly_accepted(&open) {
            events.push(started(&open, at));
        }
        let cancel = open.cancel_requested.as_deref();
        match rules::next_of(settlement.next.clone(), cancel) {
            Next::End(end) => self.end_item(session, &open, end, events).await,
            wait @ Next::Wait { .. } => self.requeue(session, &open, wait, events).await,
        }
    }
}

impl Settle {
    async fn end_attempt(
        &self,
        session: &mut Session<'_>,
        open: &Open,
        update: &Update<'_>,
    ) -> Result<(), Failure> {
        let settlement = &self.settlement;
        let (state, judgement, message) = match &settlement.state {
            AttemptState::Judged(judgement) => {
                ("judged", Some(judgement), judgement.message.as_str())
            }
            AttemptState::RefusedAfterUnpacking { message } => ("refused", None, message.as_str()),
            AttemptState::Lost { reason } => ("lost", None, reason.as_str()),
            AttemptState::Offered | AttemptState::Running => {
                return Err(Failure::damaged(
                    "a settlement that leaves its attempt open",
                ));
            }
        };
        let (place, object) = match &settlement.log {
            None => (None, None),
            Some(LogPlace::Here) => (Some("here"), None),
            Some(LogPlace::Object(key)) => (Some("object"), Some(key.as_str())),
        };
        let last_event = update
            .told
            .map_or(open.last_event, |told| number(told.last_event));
        let peak = judgement.and_then(|judgement| judgement.peak_memory_bytes);
        let sql = "UPDATE attempts SET state = $2, accepted = COALESCE(accepted, $3), \
            started = COALESCE(started, $4), ended = $5, last_event = $6, verdict = $7, \
            reason = $8, message = $9, exit_code = $10, elapsed = $11, cpu_time = $12, \
            peak_memory_bytes = $13, log_place = $14, log_object = $15, log_bytes = $16 \
            WHERE key = $1";
        let values = values![
            open.key,
            state,
            maybe_micros(update.accepted),
            maybe_micros(update.started),
            micros(self.now),
            last_event,
            judgement.map(|judgement| judgement.kind.word()),
            judgement.map(|judgement| judgement.reason.as_str()),
            message,
            judgement.map(|judgement| i64::from(judgement.helix_exit_code)),
            span(judgement.and_then(|judgement| judgement.elapsed)),
            span(judgement.and_then(|judgement| judgement.cpu_time)),
            peak.map(number),
            place,
            object,
            number(settlement.log_bytes),
        ];
        session.execute(sql, values).await?;
        Ok(())
    }

    async fn end_item(
        &self,
        session: &mut Session<'_>,
        open: &Open,
        end: ItemEnd,
        mut events: Vec<NewEvent>,
    ) -> Result<(), Failure> {
        let sql = "UPDATE items SET state = $2, since = $3, exit_code = $4, reason = $5, \
            message = $6 WHERE key = $1";
        let code = i64::from(end.helix_exit_code);
        let word = end.kind.word();
        let values: Vec<Value> = values![
            open.item,
            word,
            micros(self.now),
            code,
            end.reason,
            end.message
        ];
        session.execute(sql, values).await?;
        if end.kind == ItemEndKind::PassedOnRetry {
            self.note_flaky(session, open).await?;
        }
        events.push(NewEvent::of_item(self.now, "item_ended", open.item));
        let change = JobChange {
            running: -1,
            ended: one_ended(end.kind),
            ..JobChange::default()
        };
        let job = (open.job_key, &open.job);
        let (before, _) = change_job(session, job, change, events.len(), self.now).await?;
        tell(session, open.job_key, before, events).await
    }

    async fn requeue(
        &self,
        session: &mut Session<'_>,
        open: &Open,
        wait: Next,
        mut events: Vec<NewEvent>,
    ) -> Result<(), Failure> {
        let Next::Wait {
            delivery,
            not_before,
            avoid,
            retry,
            reason,
        } = wait
        else {
            return Ok(());
        };
        let kind = if retry {
            "item_retried"
        } else {
            "item_requeued"
        };
        events.push(NewEvent {
            attempt: Some(open.id.clone()),
            reason: Some(reason),
            ..NewEvent::of_item(self.now, kind, open.item)
        });
        let change = JobChange {
            waiting: 1,
            running: -1,
            positions: 1,
            ..JobChange::default()
        };
        let job = (open.job_key, &open.job);
        let (before, position) = change_job(session, job, change, events.len(), self.now).await?;
        tell(session, open.job_key, before, events).await?;
        let sql = "UPDATE items SET state = 'waiting', since = $2, position = $3, \
            not_before = $4, delivery = $5, queue_max = $6, retries_requested = $7, \
            retries_used = $8 WHERE key = $1";
        let values = values![
            open.item,
            micros(self.now),
            position,
            maybe_micros(not_before),
            delivery.number(),
            delivery.queue_max(),
            delivery.retries_requested(),
            delivery.retries_used(),
        ];
        session.execute(sql, values).await?;
        change_lane(session, open.lane, 1, i64::from(not_before.is_some())).await?;
        if let Some(Avoid { refusal }) = avoid {
            keep_refusal(session, open.item, &refusal, None).await?;
        }
        session.changes.push(Change::Waiting(open.queue.clone()));
        Ok(())
    }

    /// Remembers which tests failed before their item passed.
    async fn note_flaky(&self, session: &mut Session<'_>, open: &Open) -> Result<(), Failure> {
        let sql = "SELECT failures FROM attempts \
            WHERE item = $1 AND verdict = 'failed' AND failures IS NOT NULL";
        let mut names = BTreeSet::new();
        for row in session.rows(sql, values![open.item]).await? {
            let failures: Vec<StoredFailure> = row.json("failures")?;
            names.extend(failures.into_iter().map(|failure| failure.name));
        }
        let queue_key = open.queue.as_str().to_ascii_lowercase();
        let mut values = Vec::with_capacity(names.len() * 4);
        for name in names {
            values.extend(values![
                micros(self.now),
                queue_key.as_str(),
                name,
                open.item
            ]);
        }
        session
            .insert("flaky (at, queue_key, name, item)", 4, values)
            .await
    }
}
