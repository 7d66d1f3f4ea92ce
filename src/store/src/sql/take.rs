//! Items are taken from lanes, and given back.

use std::time::SystemTime;

use async_trait::async_trait;
use helix_model::ids::{AttemptId, FriendlyName, JobId, QueueName, WorkItemId};
use sqlx::AssertSqlSafe;

use super::counting::{JobChange, NewEvent, change_job, change_lane, one_ended, tell};
use super::failure::Failure;
use super::session::{Session, Value, placeholders, values};
use super::words::{micros, number};
use super::writer::{Operation, Subject};
use crate::{
    AgentName, Change, ControllerId, Fence, ItemEndKind, LaneId, Refusal, StoreError, Taken, rules,
};

/// Items of a lane that may go, the first first. The condition names the index.
pub(super) const READY: &str = "SELECT i.key, i.id, i.name, i.retry_place, i.delivery, \
    i.queue_max, i.retries_requested, i.retries_used, s.specification \
    FROM items i JOIN specifications s ON s.item = i.key \
    WHERE i.lane = $1 AND i.state = 'waiting' AND i.not_before IS NULL \
    AND NOT EXISTS (SELECT 1 FROM refusals r \
        WHERE r.item = i.key AND r.agent = $2 AND r.until > $3) \
    ORDER BY i.position LIMIT $4";

/// Items of a lane that were put off and may go by now.
pub(super) const DUE: &str = "UPDATE items SET not_before = NULL \
    WHERE lane = $1 AND state = 'waiting' AND not_before <= $2";

/// [`crate::Store::take`].
pub(super) struct Take {
    pub(super) controller: ControllerId,
    pub(super) lane: LaneId,
    pub(super) agent: AgentName,
    pub(super) attempts: Vec<AttemptId>,
    pub(super) now: SystemTime,
}

#[async_trait]
impl Operation for Take {
    type Answer = Vec<Taken>;

    fn subject(&self) -> Subject {
        Subject::Lane(self.lane.0)
    }

    async fn run(&self, session: &mut Session<'_>) -> Result<Vec<Taken>, Failure> {
        let lane = self.lane.0;
        let now = micros(self.now);
        let sql = "SELECT j.key, j.id, j.queue, l.delayed FROM lanes l \
            JOIN jobs j ON j.key = l.job WHERE l.key = $1 AND l.waiting > 0";
        let Some(row) = session.row(sql, values![lane]).await? else {
            return Ok(Vec::new());
        };
        let job_key = row.int("key")?;
        let job = row.parsed("id", JobId::new)?;
        let queue = row.parsed("queue", QueueName::new)?;
        if row.int("delayed")? > 0 {
            let due = session.execute(DUE, values![lane, now]).await?;
            if due > 0 {
                change_lane(session, lane, 0, -number(due)).await?;
            }
        }
        let sql = session.dialect().lock_free_ones(READY, "i");
        let limit = number(self.attempts.len() as u64);
        let values = values![lane, self.agent.0.as_str(), now, limit];
        let rows = session.rows(AssertSqlSafe(sql), values).await?;
        let mut keys: Vec<i64> = Vec::with_capacity(rows.len());
        let mut new = Vec::with_capacity(rows.len() * 13);
        let mut taken = Vec::with_capacity(rows.len());
        for (row, attempt) in rows.iter().zip(&self.attempts) {
            let key = row.int("key")?;
            let delivery = row.delivery()?;
            keys.push(key);
            new.extend(values![
                attempt.as_str(),
                key,
                job_key,
                delivery.number(),
                delivery.queue_max(),
                delivery.retries_requested(),
                delivery.retries_used(),
                self.agent.0.as_str(),
                self.controller.0.as_str(),
                1_i64,
                "offered",
                now,
                0_i64,
            ]);
            taken.push(Taken {
                fence: Fence {
                    attempt: attempt.clone(),
                    epoch: 1,
                },
                item: row.parsed("id", WorkItemId::new)?,
                job: job.clone(),
                queue: queue.clone(),
                name: row.parsed("name", FriendlyName::new)?,
                delivery,
                retry_place: row.word("retry_place")?,
                specification: row.blob("specification")?,
            });
        }
        if taken.is_empty() {
            return Ok(taken);
        }
        let columns = "attempts (id, item, job, delivery, queue_max, retries_requested, \
            retries_used, agent, controller, epoch, state, offered, last_event)";
        if let Err(failure) = session.insert(columns, 13, new).await {
            return Err(if failure.is_duplicate() {
                let what = "a new attempt with an id that another has".to_owned();
                StoreError::Invalid(what).into()
            } else {
                failure
            });
        }
        let count = number(keys.len() as u64);
        mark_offered(session, keys, now).await?;
        change_lane(session, lane, -count, 0).await?;
        let change = JobChange {
            waiting: -count,
            running: count,
            ..JobChange::default()
        };
        change_job(session, (job_key, &job), change, 0, self.now).await?;
        Ok(taken)
    }
}

async fn mark_offered(
    session: &mut Session<'_>,
    mut keys: Vec<i64>,
    now: i64,
) -> Result<(), Failure> {
    // Few lengths, so that few statements are prepared: the last key fills up.
    let fill = keys.last().copied().unwrap_or_default();
    keys.resize(keys.len().next_power_of_two(), fill);
    let sql = format!(
        "UPDATE items SET state = 'offered', since = $1, attempts = attempts + 1 WHERE key IN {}",
        placeholders(2, keys.len())
    );
    let values = std::iter::once(now).chain(keys).map(Value::from).collect();
    session.execute(AssertSqlSafe(sql), values).await?;
    Ok(())
}

/// [`crate::Store::give_back`].
pub(super) struct GiveBack {
    pub(super) fence: Fence,
    pub(super) refusal: Refusal,
    pub(super) now: SystemTime,
}

#[async_trait]
impl Operation for GiveBack {
    type Answer = ();

    fn subject(&self) -> Subject {
        Subject::Attempt(self.fence.attempt.to_string())
    }

    async fn run(&self, session: &mut Session<'_>) -> Result<(), Failure> {
        let id = self.fence.attempt.as_str();
        let fenced = || Failure::from(StoreError::Fenced(self.fence.attempt.clone()));
        let sql = session.dialect().lock_of(
            "SELECT a.key, a.epoch, a.state, a.item, a.job, i.lane, i.cancel_requested, \
             j.id AS job_id, j.queue FROM attempts a JOIN items i ON i.key = a.item \
             JOIN jobs j ON j.key = a.job WHERE a.id = $1",
            "a",
        );
        let Some(row) = session.row(AssertSqlSafe(sql), values![id]).await? else {
            let sql = "SELECT epoch FROM refusals WHERE attempt = $1";
            let known = session.row(sql, values![id]).await?;
            let epoch = known.map(|row| row.count("epoch")).transpose()?;
            return if epoch == Some(self.fence.epoch) {
                Ok(())
            } else {
                Err(fenced())
            };
        };
        let state = row.text("state")?;
        if row.count("epoch")? != self.fence.epoch || !matches!(&*state, "offered" | "running") {
            return Err(fenced());
        }
        if state == "running" {
            let what = format!("attempt `{id}` given back, which its agent has taken");
            return Err(StoreError::Invalid(what).into());
        }
        let (item, job_key) = (row.int("item")?, row.int("job")?);
        let job = row.parsed("job_id", JobId::new)?;
        let key = row.int("key")?;
        session
            .execute("DELETE FROM files WHERE attempt = $1", values![key])
            .await?;
        session
            .execute("DELETE FROM attempts WHERE key = $1", values![key])
            .await?;
        keep_refusal(session, item, &self.refusal, Some(&self.fence)).await?;
        let now = micros(self.now);
        if let Some(reason) = row.maybe_text("cancel_requested")? {
            let end = rules::cancelled_end(&reason);
            let sql = "UPDATE items SET state = 'cancelled', since = $2, attempts = attempts - 1, \
                exit_code = $3, reason = $4, message = $5 WHERE key = $1";
            let code = i64::from(end.helix_exit_code);
            let values = values![item, now, code, end.reason, end.message];
            session.execute(sql, values).await?;
            let change = JobChange {
                running: -1,
                ended: one_ended(ItemEndKind::Cancelled),
                ..JobChange::default()
            };
            let (before, _) = change_job(session, (job_key, &job), change, 1, self.now).await?;
            let event = NewEvent::of_item(self.now, "item_ended", item);
            return tell(session, job_key, before, vec![event]).await;
        }
        // `not_before` was taken away when the item was taken.
        let sql = "UPDATE items SET state = 'waiting', since = $2, attempts = attempts - 1 \
            WHERE key = $1";
        session.execute(sql, values![item, now]).await?;
        change_lane(session, row.int("lane")?, 1, 0).await?;
        let change = JobChange {
            waiting: 1,
            running: -1,
            ..JobChange::default()
        };
        change_job(session, (job_key, &job), change, 0, self.now).await?;
        let queue = row.parsed("queue", QueueName::new)?;
        session.changes.push(Change::Waiting(queue));
        Ok(())
    }
}

/// Keeps why an agent is not to have an item for a time; the fence says what it gave back.
pub(super) async fn keep_refusal(
    session: &mut Session<'_>,
    item: i64,
    refusal: &Refusal,
    fence: Option<&Fence>,
) -> Result<(), Failure> {
    let sql = "INSERT INTO refusals (item, agent, reason, message, at, until, times, attempt, epoch) \
        VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $8) \
        ON CONFLICT (item, agent) DO UPDATE SET reason = excluded.reason, \
        message = excluded.message, at = excluded.at, until = excluded.until, \
        times = refusals.times + 1, attempt = excluded.attempt, epoch = excluded.epoch";
    let values = values![
        item,
        refusal.agent.0.as_str(),
        refusal.reason.as_str(),
        refusal.message.as_str(),
        micros(refusal.at),
        micros(refusal.until),
        fence.map(|fence| fence.attempt.as_str()),
        fence.map(|fence| number(fence.epoch)),
    ];
    session.execute(sql, values).await?;
    Ok(())
}
