//! Who looks after open attempts: reading it, cancelling, and taking over.

use std::time::SystemTime;

use async_trait::async_trait;
use helix_model::ids::{AttemptId, FriendlyName, JobId, QueueName, WorkItemId};
use sqlx::AssertSqlSafe;

use super::counting::{EVENT_COLUMNS, JobChange, change_job};
use super::failure::Failure;
use super::session::{Row, Session, Value, placeholders, values};
use super::words::{micros, number};
use super::writer::{Operation, Subject};
use crate::{
    AgentName, Cancelled, Change, ControllerId, Fence, Held, JobCounts, StoreError, rules,
};

/// What is asked of open attempts; a condition on them follows.
const HELD: &str = "SELECT a.key, a.id AS attempt, a.epoch, a.controller, i.id AS item, \
    j.id AS job, j.queue, i.name, a.delivery, a.queue_max, a.retries_requested, a.retries_used, \
    i.retry_place, s.specification, a.agent, a.state, a.offered, a.last_event, i.cancel_requested \
    FROM attempts a JOIN items i ON i.key = a.item JOIN jobs j ON j.key = a.job \
    JOIN specifications s ON s.item = a.item WHERE a.state IN ('offered', 'running')";

fn held(row: &Row) -> Result<Held, Failure> {
    Ok(Held {
        fence: Fence {
            attempt: row.parsed("attempt", AttemptId::new)?,
            epoch: row.count("epoch")?,
        },
        controller: ControllerId(row.text("controller")?),
        item: row.parsed("item", WorkItemId::new)?,
        job: row.parsed("job", JobId::new)?,
        queue: row.parsed("queue", QueueName::new)?,
        name: row.parsed("name", FriendlyName::new)?,
        delivery: row.delivery()?,
        retry_place: row.word("retry_place")?,
        specification: row.blob("specification")?,
        agent: AgentName(row.text("agent")?),
        accepted: row.text("state")? == "running",
        offered: row.time("offered")?,
        last_event: row.count("last_event")?,
        cancel_requested: row.maybe_text("cancel_requested")?,
    })
}

/// What a controller holds, in the order in which it was taken.
pub(super) async fn held_by(
    session: &mut Session<'_>,
    controller: &ControllerId,
) -> Result<Vec<Held>, Failure> {
    let sql = format!("{HELD} AND a.controller = $1 ORDER BY a.key");
    let values = values![controller.0.as_str()];
    let rows = session.rows(AssertSqlSafe(sql), values).await?;
    rows.iter().map(held).collect()
}

/// [`crate::Store::beat`].
pub(super) struct Beat {
    pub(super) controller: ControllerId,
    pub(super) now: SystemTime,
}

async fn beat(
    session: &mut Session<'_>,
    controller: &ControllerId,
    now: SystemTime,
) -> Result<(), Failure> {
    let sql = "INSERT INTO controllers (id, beat) VALUES ($1, $2) \
        ON CONFLICT (id) DO UPDATE SET beat = excluded.beat";
    session
        .execute(sql, values![controller.0.as_str(), micros(now)])
        .await?;
    Ok(())
}

#[async_trait]
impl Operation for Beat {
    type Answer = ();

    fn subject(&self) -> Subject {
        Subject::Other
    }

    async fn run(&self, session: &mut Session<'_>) -> Result<(), Failure> {
        beat(session, &self.controller, self.now).await
    }
}

/// [`crate::Store::adopt_own`] and [`crate::Store::adopt_orphans`].
pub(super) struct Adopt {
    pub(super) controller: ControllerId,
    /// Whose attempts.
    pub(super) whose: Whose,
    pub(super) now: SystemTime,
}

/// Whose attempts are adopted.
pub(super) enum Whose {
    /// Those of the controller itself, before it was started anew.
    Own,
    /// Those of others that have not beaten since then.
    SilentSince(SystemTime),
}

#[async_trait]
impl Operation for Adopt {
    type Answer = Vec<Held>;

    fn subject(&self) -> Subject {
        Subject::Other
    }

    async fn run(&self, session: &mut Session<'_>) -> Result<Vec<Held>, Failure> {
        beat(session, &self.controller, self.now).await?;
        let dialect = session.dialect();
        let controller = self.controller.0.as_str();
        let (sql, values) = match self.whose {
            Whose::Own => {
                let sql = "SELECT a.key FROM attempts a WHERE a.controller = $1 \
                    AND a.state IN ('offered', 'running') ORDER BY a.key";
                (dialect.lock(sql), values![controller])
            }
            Whose::SilentSince(then) => {
                let sql = "SELECT a.key FROM attempts a WHERE a.controller <> $1 \
                    AND a.state IN ('offered', 'running') \
                    AND NOT EXISTS (SELECT 1 FROM controllers c \
                        WHERE c.id = a.controller AND c.beat >= $2) ORDER BY a.key";
                (
                    dialect.lock_free_ones(sql, "a"),
                    values![controller, micros(then)],
                )
            }
        };
        let rows = session.rows(AssertSqlSafe(sql), values).await?;
        let keys: Vec<i64> = rows
            .iter()
            .map(|row| row.int("key"))
            .collect::<Result<_, _>>()?;
        let mut adopted = Vec::with_capacity(keys.len());
        for some in keys.chunks(500) {
            let places = placeholders(2, some.len());
            let sql = format!(
                "UPDATE attempts SET controller = $1, epoch = epoch + 1 WHERE key IN {places}"
            );
            let keys = some.iter().map(|key| Value::from(*key));
            let values = std::iter::once(Value::from(controller))
                .chain(keys.clone())
                .collect();
            session.execute(AssertSqlSafe(sql), values).await?;
            let places = placeholders(1, some.len());
            let sql = format!("{HELD} AND a.key IN {places} ORDER BY a.key");
            let rows = session.rows(AssertSqlSafe(sql), keys.collect()).await?;
            for row in &rows {
                adopted.push(held(row)?);
            }
        }
        Ok(adopted)
    }
}

/// [`crate::Store::cancel`].
pub(super) struct Cancel {
    pub(super) job: JobId,
    pub(super) item: Option<WorkItemId>,
    pub(super) reason: String,
    pub(super) now: SystemTime,
}

/// The keys of the items that are meant, both ends included.
struct Meant {
    first: i64,
    last: i64,
}

#[async_trait]
impl Operation for Cancel {
    type Answer = Cancelled;

    fn subject(&self) -> Subject {
        Subject::Job(self.job.to_string())
    }

    async fn run(&self, session: &mut Session<'_>) -> Result<Cancelled, Failure> {
        let sql = "SELECT key FROM jobs WHERE id = $1";
        let row = session.row(sql, values![self.job.as_str()]).await?;
        let unknown = || StoreError::UnknownJob(self.job.clone());
        let job = row.ok_or_else(unknown)?.int("key")?;
        let meant = self.meant(session, job).await?;
        if self.item.is_none() {
            let sql = "UPDATE jobs SET cancelled = $2 \
                WHERE key = $1 AND ended IS NULL AND cancelled IS NULL";
            session
                .execute(sql, values![job, self.reason.as_str()])
                .await?;
        }
        let Meant { first, last } = meant;
        let sql = "SELECT COUNT(*) AS untouched FROM items WHERE key BETWEEN $1 AND $2 \
            AND state NOT IN ('waiting', 'offered', 'running')";
        let row = session.row(sql, values![first, last]).await?;
        let untouched = row.map_or(Ok(0), |row| row.count("untouched"))?;
        let sql = "UPDATE items SET cancel_requested = $3 WHERE key BETWEEN $1 AND $2 \
            AND state IN ('offered', 'running') AND cancel_requested IS NULL";
        let marked = session
            .execute(sql, values![first, last, self.reason.as_str()])
            .await?;
        if marked > 0 {
            session.changes.push(Change::Cancel);
            let sql = "UPDATE jobs SET revision = revision + 1 WHERE key = $1";
            session.execute(sql, values![job]).await?;
        }
        let sql = format!("{HELD} AND a.job = $1 AND a.item BETWEEN $2 AND $3 ORDER BY a.item");
        let values = values![job, first, last];
        let rows = session.rows(AssertSqlSafe(sql), values).await?;
        let running = rows.iter().map(held).collect::<Result<_, _>>()?;
        let ended = self.end_waiting(session, job, &meant).await?;
        Ok(Cancelled {
            ended,
            running,
            untouched,
        })
    }
}

impl Cancel {
    async fn meant(&self, session: &mut Session<'_>, job: i64) -> Result<Meant, Failure> {
        let Some(item) = &self.item else {
            return Ok(Meant {
                first: rules::part_key(job, 0),
                last: rules::part_key(job, rules::MAX_ITEMS),
            });
        };
        let sql = "SELECT key FROM items WHERE id = $1 AND job = $2";
        let row = session.row(sql, values![item.as_str(), job]).await?;
        let unknown = || StoreError::UnknownItem(item.clone());
        let key = row.ok_or_else(unknown)?.int("key")?;
        Ok(Meant {
            first: key,
            last: key,
        })
    }

    /// Brings what waits to its end. One statement for each table, whatever the number of items.
    async fn end_waiting(
        &self,
        session: &mut Session<'_>,
        job: i64,
        meant: &Meant,
    ) -> Result<u64, Failure> {
        let Meant { first, last } = *meant;
        let sql = "SELECT lane, COUNT(*) AS waiting, COUNT(not_before) AS delayed FROM items \
            WHERE key BETWEEN $1 AND $2 AND state = 'waiting' GROUP BY lane ORDER BY lane";
        let lanes = session.rows(sql, values![first, last]).await?;
        let mut count = 0;
        for lane in &lanes {
            count += lane.int("waiting")?;
            let (waiting, delayed) = (lane.int("waiting")?, lane.int("delayed")?);
            super::counting::change_lane(session, lane.int("lane")?, -waiting, -delayed).await?;
        }
        if count == 0 {
            return Ok(0);
        }
        let ended = u64::try_from(count).unwrap_or_default();
        let change = JobChange {
            waiting: -count,
            ended: JobCounts {
                cancelled: ended,
                ..JobCounts::default()
            },
            ..JobChange::default()
        };
        let events = usize::try_from(count).unwrap_or_default();
        let job = (job, &self.job);
        let (before, _) = change_job(session, job, change, events, self.now).await?;
        let now = micros(self.now);
        let sql = format!(
            "INSERT INTO {EVENT_COLUMNS} SELECT job, $3 + ROW_NUMBER() OVER (ORDER BY key), $4, \
             'item_ended', key, NULL, NULL, NULL FROM items \
             WHERE key BETWEEN $1 AND $2 AND state = 'waiting'"
        );
        session
            .execute(AssertSqlSafe(sql), values![first, last, before, now])
            .await?;
        let end = rules::cancelled_end(&self.reason);
        let sql = "UPDATE items SET state = 'cancelled', cancel_requested = $7, since = $3, \
            exit_code = $4, reason = $5, message = $6 \
            WHERE key BETWEEN $1 AND $2 AND state = 'waiting'";
        let code = i64::from(end.helix_exit_code);
        let values = values![
            first,
            last,
            now,
            code,
            end.reason,
            end.message,
            self.reason.as_str()
        ];
        let changed = session.execute(sql, values).await?;
        if number(changed) != count {
            return Err(Failure::damaged(
                "a lane counts other items than wait in it",
            ));
        }
        Ok(ended)
    }
}
