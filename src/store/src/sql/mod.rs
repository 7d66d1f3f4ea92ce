//! Stores in databases: SQLite, embedded, and PostgreSQL, for several controllers at once.
//!
//! Begin with [`writer`], which makes transactions of calls; the calls that write are the operations in
//! [`submit`], [`take`], [`settle`], [`held`] and [`registry`], those that read are in [`reading`].
//! [`session`] runs statements on either database, [`dialect`] has what differs between the two.

mod backup;
mod connect;
mod counting;
mod dialect;
mod failure;
mod held;
mod notify;
mod reading;
mod registry;
mod schema;
mod session;
mod settle;
mod submit;
mod take;
#[cfg(test)]
mod tests;
mod words;
mod writer;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use helix_model::ids::{AttemptId, JobId, QueueName, WorkItemId};
use tokio::sync::{broadcast, watch};

pub use backup::backup;

use self::connect::Target;
use self::failure::{Failure, answer};
use self::held::{Adopt, Beat, Cancel, Whose};
use self::registry::{PutQueue, RemoveAgent, RemoveQueue, SaveAgent};
use self::session::values;
use self::settle::{Record, Settle};
use self::submit::Submit;
use self::take::{GiveBack, Take};
use self::writer::Writer;
use crate::{
    Agent, AgentName, Attempt, Cancelled, Change, ControllerId, Fence, FlakyTest, Held, Item, Job,
    JobEvent, JobFilter, Lane, LaneId, NewJob, Page, Progress, Queue, QueueCounts, Refusal,
    Settlement, Store, StoreError, Submitted, Taken, rules,
};

/// How many hints a receiver may lag behind.
const HINTS: usize = 1024;

/// How a database is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How many connections read. At least one does.
    pub readers: u32,
    /// How many connections to PostgreSQL write. SQLite has one writer.
    pub writers: u32,
    /// How long to wait for another process that keeps an SQLite database.
    pub busy_timeout: Duration,
    /// How to hear of what others change in a PostgreSQL database.
    pub hints: Hints,
    /// How often to ask, where asking is all that is left.
    pub ask_every: Duration,
}

/// How to hear of what other controllers change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Hints {
    /// The database notifies; where it cannot, it is asked.
    #[default]
    Listen,
    /// The database is asked, and not made to notify others.
    Ask,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            readers: 8,
            writers: 3,
            busy_timeout: Duration::from_secs(5),
            hints: Hints::default(),
            ask_every: Duration::from_secs(1),
        }
    }
}

/// Opens the store of a database: `sqlite:///var/lib/helix/helix.db`, which is made if it is not there,
/// or `postgres://user@host/database`. Its schema is brought up to this release's.
///
/// To be called within a runtime, which runs tasks for as long as the store is used.
///
/// # Errors
///
/// [`StoreError::Invalid`] for a URL that makes no sense, [`StoreError::Broken`] for a database of a
/// newer release or one that cannot be written, [`StoreError::Unavailable`] for one that does not answer.
pub async fn open(url: &str, options: &Options) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(SqlStore::open(url, options).await?))
}

/// A store in a database.
#[derive(Debug)]
struct SqlStore {
    target: Arc<Target>,
    writer: Writer,
    changes: broadcast::Sender<Change>,
    /// Tasks that watch the database end when it is gone.
    _watched: watch::Sender<()>,
}

impl SqlStore {
    async fn open(url: &str, options: &Options) -> Result<Self, StoreError> {
        let target = Arc::new(Target::new(url, options)?);
        let mut first = target.connect().await.map_err(|error| answer(&error))?;
        let migrated = schema::migrate(&mut first.session()).await;
        first.close().await;
        migrated.map_err(Failure::into_answer)?;
        let changes = broadcast::Sender::new(HINTS);
        let (watched, end) = watch::channel(());
        let listen = options.hints == Hints::Listen;
        let sender = changes.clone();
        notify::start(&target, end, sender, listen, options.ask_every).await;
        let writers = match &*target {
            Target::Sqlite { .. } => 1,
            Target::Postgres { .. } => usize::try_from(options.writers).unwrap_or(1),
        };
        Ok(Self {
            writer: Writer::start(&target, writers, &changes),
            target,
            changes,
            _watched: watched,
        })
    }
}

/// Reads by one statement, or by several that need not see the same.
macro_rules! read {
    ($store:ident, $query:path $(, $argument:expr)*) => {
        async {
            let mut reader = $store.target.reader().await?;
            $query(&mut reader.session() $(, $argument)*).await
        }
        .await
        .map_err(Failure::into_answer)
    };
}

/// Reads by several statements that see the same.
macro_rules! read_together {
    ($store:ident, $query:path $(, $argument:expr)*) => {
        async {
            let mut snapshot = $store.target.snapshot().await?;
            let answer = $query(&mut snapshot.session() $(, $argument)*).await?;
            snapshot.end().await?;
            Ok(answer)
        }
        .await
        .map_err(Failure::into_answer)
    };
}

#[async_trait]
impl Store for SqlStore {
    async fn put_queue(&self, queue: Queue) -> Result<(), StoreError> {
        self.writer.call(PutQueue(queue)).await
    }

    async fn queues(&self) -> Result<Vec<(Queue, QueueCounts)>, StoreError> {
        read!(self, registry::queues)
    }

    async fn queue(&self, name: &QueueName) -> Result<Option<(Queue, QueueCounts)>, StoreError> {
        read!(self, registry::queue, name)
    }

    async fn remove_queue(&self, name: &QueueName) -> Result<bool, StoreError> {
        self.writer.call(RemoveQueue(name.clone())).await
    }

    async fn submit(&self, job: NewJob, now: SystemTime) -> Result<Submitted, StoreError> {
        rules::check_job(&job)?;
        let fingerprint = rules::fingerprint(&job);
        let submit = Submit {
            job,
            fingerprint,
            now,
        };
        self.writer.call(submit).await
    }

    async fn job(&self, job: &JobId) -> Result<Option<Job>, StoreError> {
        read!(self, reading::job, job)
    }

    async fn jobs(
        &self,
        filter: &JobFilter,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<Job>, StoreError> {
        let before = rules::page_start(after)?;
        read!(self, reading::jobs, filter, before, limit)
    }

    async fn items(
        &self,
        job: &JobId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<Item>, StoreError> {
        let after = rules::page_start(after)?;
        read!(self, reading::items, job, after, limit)
    }

    async fn item(&self, job: &JobId, item: &str) -> Result<Option<Item>, StoreError> {
        read!(self, reading::item, job, item)
    }

    async fn specification(
        &self,
        item: &WorkItemId,
    ) -> Result<Option<(Vec<u8>, Vec<u8>)>, StoreError> {
        read!(self, reading::specification, item)
    }

    async fn attempts(&self, item: &WorkItemId) -> Result<Vec<Attempt>, StoreError> {
        read_together!(self, reading::attempts, item)
    }

    async fn attempt(&self, attempt: &AttemptId) -> Result<Option<Attempt>, StoreError> {
        read_together!(self, reading::attempt, attempt)
    }

    async fn short_log(&self, attempt: &AttemptId) -> Result<Option<Vec<u8>>, StoreError> {
        read!(self, reading::short_log, attempt)
    }

    async fn refusals(&self, item: &WorkItemId) -> Result<Vec<Refusal>, StoreError> {
        read!(self, reading::refusals, item)
    }

    async fn events(
        &self,
        job: &JobId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<JobEvent>, StoreError> {
        read!(self, reading::events, job, after, limit)
    }

    async fn flaky(
        &self,
        queue: Option<&QueueName>,
        since: SystemTime,
        limit: u32,
    ) -> Result<Vec<FlakyTest>, StoreError> {
        read!(self, reading::flaky, queue, since, limit)
    }

    async fn cancel(
        &self,
        job: &JobId,
        item: Option<&WorkItemId>,
        reason: &str,
        now: SystemTime,
    ) -> Result<Cancelled, StoreError> {
        let cancel = Cancel {
            job: job.clone(),
            item: item.cloned(),
            reason: reason.to_owned(),
            now,
        };
        self.writer.call(cancel).await
    }

    async fn lanes(&self) -> Result<Vec<Lane>, StoreError> {
        read!(self, reading::lanes)
    }

    async fn take(
        &self,
        controller: &ControllerId,
        lane: LaneId,
        agent: &AgentName,
        attempts: &[AttemptId],
        now: SystemTime,
    ) -> Result<Vec<Taken>, StoreError> {
        let take = Take {
            controller: controller.clone(),
            lane,
            agent: agent.clone(),
            attempts: attempts.to_vec(),
            now,
        };
        self.writer.call(take).await
    }

    async fn give_back(
        &self,
        fence: &Fence,
        refusal: &Refusal,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        let give_back = GiveBack {
            fence: fence.clone(),
            refusal: refusal.clone(),
            now,
        };
        self.writer.call(give_back).await
    }

    async fn record(&self, fence: &Fence, progress: Progress) -> Result<(), StoreError> {
        let record = Record {
            fence: fence.clone(),
            progress,
        };
        self.writer.call(record).await
    }

    async fn settle(
        &self,
        fence: &Fence,
        settlement: Settlement,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        rules::check_settlement(&settlement)?;
        let settle = Settle {
            fence: fence.clone(),
            settlement,
            now,
        };
        self.writer.call(settle).await
    }

    async fn beat(&self, controller: &ControllerId, now: SystemTime) -> Result<(), StoreError> {
        let beat = Beat {
            controller: controller.clone(),
            now,
        };
        self.writer.call(beat).await
    }

    async fn adopt_own(
        &self,
        controller: &ControllerId,
        now: SystemTime,
    ) -> Result<Vec<Held>, StoreError> {
        let adopt = Adopt {
            controller: controller.clone(),
            whose: Whose::Own,
            now,
        };
        self.writer.call(adopt).await
    }

    async fn adopt_orphans(
        &self,
        controller: &ControllerId,
        silent_since: SystemTime,
        now: SystemTime,
    ) -> Result<Vec<Held>, StoreError> {
        let adopt = Adopt {
            controller: controller.clone(),
            whose: Whose::SilentSince(silent_since),
            now,
        };
        self.writer.call(adopt).await
    }

    async fn held(&self, controller: &ControllerId) -> Result<Vec<Held>, StoreError> {
        read!(self, held::held_by, controller)
    }

    async fn save_agent(&self, agent: Agent) -> Result<(), StoreError> {
        self.writer.call(SaveAgent(agent)).await
    }

    async fn agents(&self) -> Result<Vec<Agent>, StoreError> {
        read!(self, registry::agents)
    }

    async fn remove_agent(&self, name: &AgentName) -> Result<bool, StoreError> {
        self.writer.call(RemoveAgent(name.clone())).await
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        read!(self, ping)
    }
}

async fn ping(session: &mut session::Session<'_>) -> Result<(), Failure> {
    session.row("SELECT 1 AS one", values![]).await?;
    Ok(())
}
