//! Queues and agents: put, read, removed.

use std::num::NonZeroU32;

use async_trait::async_trait;
use helix_model::ids::QueueName;
use sqlx::AssertSqlSafe;

use super::failure::Failure;
use super::reading::priority;
use super::session::{Row, Session, values};
use super::words::{Word, maybe_micros, micros};
use super::writer::{Operation, Subject};
use crate::{Agent, AgentName, Change, ControllerId, Queue, QueueCounts, StoreError};

fn key(queue: &QueueName) -> String {
    queue.as_str().to_ascii_lowercase()
}

/// [`crate::Store::put_queue`].
pub(super) struct PutQueue(pub(super) Queue);

#[async_trait]
impl Operation for PutQueue {
    type Answer = ();

    fn subject(&self) -> Subject {
        Subject::Other
    }

    async fn run(&self, session: &mut Session<'_>) -> Result<(), Failure> {
        let queue = &self.0;
        let sql = "INSERT INTO queues (key, name, description, operating_system_group, \
            architecture, max_delivery_count, visibility, estimated_removal, priority) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
            ON CONFLICT (key) DO UPDATE SET name = excluded.name, \
            description = excluded.description, \
            operating_system_group = excluded.operating_system_group, \
            architecture = excluded.architecture, \
            max_delivery_count = excluded.max_delivery_count, visibility = excluded.visibility, \
            estimated_removal = excluded.estimated_removal, priority = excluded.priority";
        let values = values![
            key(&queue.name),
            queue.name.as_str(),
            queue.description.as_str(),
            queue.operating_system_group.as_str(),
            queue.architecture.as_str(),
            queue.max_delivery_count.get(),
            queue.visibility.word(),
            maybe_micros(queue.estimated_removal),
            i64::from(queue.priority),
        ];
        session.execute(sql, values).await?;
        session.changes.push(Change::Waiting(queue.name.clone()));
        Ok(())
    }
}

/// [`crate::Store::remove_queue`].
pub(super) struct RemoveQueue(pub(super) QueueName);

#[async_trait]
impl Operation for RemoveQueue {
    type Answer = bool;

    fn subject(&self) -> Subject {
        Subject::Other
    }

    async fn run(&self, session: &mut Session<'_>) -> Result<bool, Failure> {
        // Locked, so that no job is sent to it meanwhile.
        let sql = session
            .dialect()
            .lock("SELECT key FROM queues WHERE key = $1");
        let found = session
            .row(AssertSqlSafe(sql), values![key(&self.0)])
            .await?;
        if found.is_none() {
            return Ok(false);
        }
        let sql = "SELECT 1 AS found FROM jobs WHERE queue_key = $1 AND ended IS NULL LIMIT 1";
        if session.row(sql, values![key(&self.0)]).await?.is_some() {
            return Err(StoreError::QueueInUse(self.0.clone()).into());
        }
        let sql = "DELETE FROM queues WHERE key = $1";
        Ok(session.execute(sql, values![key(&self.0)]).await? > 0)
    }
}

const QUEUES: &str = "SELECT q.name, q.description, q.operating_system_group, q.architecture, \
    q.max_delivery_count, q.visibility, q.estimated_removal, q.priority, \
    CAST(COALESCE((SELECT SUM(j.waiting) FROM jobs j WHERE j.queue_key = q.key \
        AND j.ended IS NULL), 0) AS BIGINT) AS waiting, \
    CAST(COALESCE((SELECT SUM(j.running) FROM jobs j WHERE j.queue_key = q.key \
        AND j.ended IS NULL), 0) AS BIGINT) AS running FROM queues q";

fn read_queue(row: &Row) -> Result<(Queue, QueueCounts), Failure> {
    let most = NonZeroU32::new(row.small("max_delivery_count")?);
    let queue = Queue {
        name: row.parsed("name", QueueName::new)?,
        description: row.text("description")?,
        operating_system_group: row.text("operating_system_group")?,
        architecture: row.text("architecture")?,
        max_delivery_count: most.ok_or_else(|| row.wrong("max_delivery_count", 0))?,
        visibility: row.word("visibility")?,
        estimated_removal: row.maybe_time("estimated_removal")?,
        priority: priority(row, "priority")?,
    };
    let counts = QueueCounts {
        waiting: row.count("waiting")?,
        running: row.count("running")?,
    };
    Ok((queue, counts))
}

pub(super) async fn queues(
    session: &mut Session<'_>,
) -> Result<Vec<(Queue, QueueCounts)>, Failure> {
    let sql = format!("{QUEUES} ORDER BY q.key");
    let rows = session.rows(AssertSqlSafe(sql), values![]).await?;
    rows.iter().map(read_queue).collect()
}

pub(super) async fn queue(
    session: &mut Session<'_>,
    name: &QueueName,
) -> Result<Option<(Queue, QueueCounts)>, Failure> {
    let sql = format!("{QUEUES} WHERE q.key = $1");
    let row = session.row(AssertSqlSafe(sql), values![key(name)]).await?;
    row.as_ref().map(read_queue).transpose()
}

/// [`crate::Store::save_agent`].
pub(super) struct SaveAgent(pub(super) Agent);

#[async_trait]
impl Operation for SaveAgent {
    type Answer = ();

    fn subject(&self) -> Subject {
        Subject::Other
    }

    async fn run(&self, session: &mut Session<'_>) -> Result<(), Failure> {
        let agent = &self.0;
        let sql = "INSERT INTO agents (name, origin, address, controller, capacity, boot_id, seen) \
            VALUES ($1, $2, $3, $4, $5, $6, $7) \
            ON CONFLICT (name) DO UPDATE SET origin = excluded.origin, \
            address = excluded.address, controller = excluded.controller, \
            capacity = excluded.capacity, boot_id = excluded.boot_id, seen = excluded.seen";
        let values = values![
            agent.name.0.as_str(),
            agent.origin.word(),
            agent.address.as_str(),
            agent.controller.0.as_str(),
            agent.capacity.clone(),
            agent.boot_id.as_str(),
            micros(agent.seen),
        ];
        session.execute(sql, values).await?;
        Ok(())
    }
}

/// [`crate::Store::remove_agent`].
pub(super) struct RemoveAgent(pub(super) AgentName);

#[async_trait]
impl Operation for RemoveAgent {
    type Answer = bool;

    fn subject(&self) -> Subject {
        Subject::Other
    }

    async fn run(&self, session: &mut Session<'_>) -> Result<bool, Failure> {
        let sql = "DELETE FROM agents WHERE name = $1";
        Ok(session.execute(sql, values![self.0.0.as_str()]).await? > 0)
    }
}

pub(super) async fn agents(session: &mut Session<'_>) -> Result<Vec<Agent>, Failure> {
    let sql = "SELECT name, origin, address, controller, capacity, boot_id, seen FROM agents \
        ORDER BY name";
    let rows = session.rows(sql, values![]).await?;
    let read = |row: &Row| {
        Ok(Agent {
            name: AgentName(row.text("name")?),
            origin: row.word("origin")?,
            address: row.text("address")?,
            controller: ControllerId(row.text("controller")?),
            capacity: row.blob("capacity")?,
            boot_id: row.text("boot_id")?,
            seen: row.time("seen")?,
        })
    };
    rows.iter().map(read).collect()
}
