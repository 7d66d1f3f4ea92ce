//! One transaction for many calls: those that come while one is being made durable share the next.
//!
//! Making a transaction durable costs the same whether one call or a hundred are in it. So calls that
//! write are handed to a task that runs what has gathered, each in a savepoint of its own, commits,
//! and only then answers. A call that is refused takes no other along; when the database fails, all
//! is undone and each call is tried again by itself.
//!
//! On PostgreSQL the jobs that a batch is about are locked first, in the order of their keys. All
//! that changes an item of a job holds that lock, so that two batches wait for each other in one
//! direction only, and nothing is decided on what another is changing.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::AssertSqlSafe;
use tokio::sync::{Mutex, broadcast, mpsc, oneshot};

use super::connect::{Owned, Target};
use super::dialect::Dialect;
use super::failure::{Failure, Remedy, answer, remedy};
use super::notify;
use super::session::{Session, Value, placeholders};
use crate::{Change, StoreError};

/// How many calls wait before more are kept from coming.
const WAITING_CALLS: usize = 1024;

/// How often something is tried again that others were in the way of.
const MAX_TRIES: u32 = 12;

/// How often something is tried again whose connection was lost.
const MAX_LOST: u32 = 4;

/// How long a server may take for a batch until its connection is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A call that writes. It may run several times, until one transaction is durable.
#[async_trait]
pub(super) trait Operation: Send + Sync + 'static {
    /// What whoever asked is told.
    type Answer: Send + 'static;

    /// What it is about.
    fn subject(&self) -> Subject;

    /// Does it, within a transaction.
    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Answer, Failure>;
}

/// What a call is about, so that its job can be locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// No stored job.
    Other,
    /// The job with this id.
    Job(String),
    /// The job of this lane.
    Lane(i64),
    /// The job of this attempt.
    Attempt(String),
}

/// An operation, and who waits for its answer.
struct Pending<O: Operation> {
    operation: O,
    answer: Option<Result<O::Answer, StoreError>>,
    caller: Option<oneshot::Sender<Result<O::Answer, StoreError>>>,
}

/// A pending operation whose answer is of whatever kind.
#[async_trait]
trait Call: Send {
    fn subject(&self) -> Subject;
    /// Does it; an answer is kept until it is durable.
    async fn run(&mut self, session: &mut Session<'_>) -> Result<(), Failure>;
    /// Keeps a refusal as the answer.
    fn refuse(&mut self, error: StoreError);
    /// Tells the answer.
    fn tell(&mut self);
}

#[async_trait]
impl<O: Operation> Call for Pending<O> {
    fn subject(&self) -> Subject {
        self.operation.subject()
    }

    async fn run(&mut self, session: &mut Session<'_>) -> Result<(), Failure> {
        self.answer = Some(Ok(self.operation.run(session).await?));
        Ok(())
    }

    fn refuse(&mut self, error: StoreError) {
        self.answer = Some(Err(error));
    }

    fn tell(&mut self) {
        if let (Some(answer), Some(caller)) = (self.answer.take(), self.caller.take()) {
            // Whoever asked may have gone.
            let _ = caller.send(answer);
        }
    }
}

/// The way to the tasks that write.
#[derive(Clone)]
pub(super) struct Writer {
    calls: mpsc::Sender<Box<dyn Call>>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    /// Starts as many tasks. They end when the last writer is gone and all calls are answered.
    pub(super) fn start(
        target: &Arc<Target>,
        tasks: usize,
        changes: &broadcast::Sender<Change>,
    ) -> Self {
        let (calls, waiting) = mpsc::channel(WAITING_CALLS);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..tasks.max(1) {
            let task = WriterTask {
                target: Arc::clone(target),
                connection: None,
                changes: changes.clone(),
                phase: Phase::Connecting,
            };
            tokio::spawn(task.run(Arc::clone(&waiting)));
        }
        Self { calls }
    }

    /// Has an operation done; the answer comes when it is durable.
    pub(super) async fn call<O: Operation>(&self, operation: O) -> Result<O::Answer, StoreError> {
        let (caller, answer) = oneshot::channel();
        let pending = Box::new(Pending {
            operation,
            answer: None,
            caller: Some(caller),
        });
        let gone = || StoreError::Unavailable("the store is closed".to_owned());
        self.calls.send(pending).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

struct WriterTask {
    target: Arc<Target>,
    connection: Option<Owned>,
    changes: broadcast::Sender<Change>,
    phase: Phase,
}

/// How far a transaction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A connection is being made.
    Connecting,
    /// Nothing of it can have become durable.
    Working,
    /// It may have become durable even if nobody says so.
    Committing,
}

impl WriterTask {
    async fn run(mut self, waiting: Arc<Mutex<mpsc::Receiver<Box<dyn Call>>>>) {
        let most = self.target.dialect().most_savepoints();
        loop {
            let mut batch = Vec::new();
            // Waiting under the lock is meant: one task gathers while others write.
            let gathered = waiting.lock().await.recv_many(&mut batch, most).await;
            if gathered == 0 {
                break;
            }
            self.serve(&mut batch).await;
        }
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
    }

    /// Answers all calls of a batch.
    async fn serve(&mut self, batch: &mut [Box<dyn Call>]) {
        let Err(error) = self.persist(batch).await else {
            return;
        };
        if batch.len() == 1 || remedy(&error) == Remedy::Later {
            fail(batch, &error);
            return;
        }
        for index in 0..batch.len() {
            let alone = &mut batch[index..=index];
            if let Err(error) = self.persist(alone).await {
                fail(alone, &error);
            }
        }
    }

    /// Tries a batch for as long as others are in the way.
    async fn persist(&mut self, batch: &mut [Box<dyn Call>]) -> Result<(), sqlx::Error> {
        let mut tries = 0;
        loop {
            let done = match tokio::time::timeout(PATIENCE, self.transact(batch)).await {
                Ok(done) => done,
                Err(_) => {
                    // It has had its time: not again.
                    self.connection = None;
                    self.phase = Phase::Connecting;
                    Err(sqlx::Error::Protocol(
                        "no answer for longer than a minute".to_owned(),
                    ))
                }
            };
            let Err(error) = done else {
                return Ok(());
            };
            self.undo(&error).await;
            tries += 1;
            let again = match remedy(&error) {
                Remedy::Again => tries < MAX_TRIES,
                // A server that ended its connection while nothing was durable: a new one may do.
                Remedy::Later => {
                    let server = self.target.dialect() == Dialect::Postgres;
                    server && self.phase == Phase::Working && tries < MAX_LOST
                }
                // A row that another controller has put there meanwhile is found the next time.
                Remedy::None => is_duplicate(&error) && batch.len() == 1 && tries < MAX_LOST,
            };
            if !again {
                return Err(error);
            }
            tokio::time::sleep(jittered(tries)).await;
        }
    }

    /// One transaction: all calls of a batch, and their answers if it became durable.
    async fn transact(&mut self, batch: &mut [Box<dyn Call>]) -> Result<(), sqlx::Error> {
        self.phase = Phase::Connecting;
        let connection = match &mut self.connection {
            Some(connection) => connection,
            empty => empty.insert(self.target.connect().await?),
        };
        self.phase = Phase::Working;
        let subjects = batch.iter().map(|call| call.subject()).collect();
        let mut session = connection.session();
        let dialect = session.dialect();
        session
            .execute_all(dialect.begin_writing())
            .await
            .map_err(database)?;
        if dialect == Dialect::Postgres {
            lock_jobs(&mut session, subjects).await.map_err(database)?;
        }
        // The end of the transaction ends the last savepoint too.
        let several = batch.len() > 1;
        let mut savepoint = "SAVEPOINT one";
        let mut written = false;
        for call in batch.iter_mut() {
            if several {
                session.execute_all(savepoint).await.map_err(database)?;
                savepoint = "RELEASE SAVEPOINT one; SAVEPOINT one";
            }
            let changes = session.changes.len();
            match call.run(&mut session).await {
                Ok(()) => written = true,
                Err(Failure::Refused(error)) => {
                    session.changes.truncate(changes);
                    call.refuse(error);
                    if several {
                        let undo = "ROLLBACK TO SAVEPOINT one";
                        session.execute_all(undo).await.map_err(database)?;
                    }
                }
                Err(Failure::Database(error)) => return Err(error),
            }
        }
        let changes = distinct(std::mem::take(&mut session.changes));
        if written && dialect == Dialect::Postgres && self.target.notifies() {
            notify::tell_others(&mut session, &changes)
                .await
                .map_err(database)?;
        }
        self.phase = Phase::Committing;
        let end = if written { "COMMIT" } else { "ROLLBACK" };
        session.execute_all(end).await.map_err(database)?;
        for call in batch.iter_mut() {
            call.tell();
        }
        for change in changes {
            // Nobody need be listening.
            let _ = self.changes.send(change);
        }
        Ok(())
    }

    /// Ends a transaction that failed, or its connection if that is in doubt.
    async fn undo(&mut self, error: &sqlx::Error) {
        if self.target.dialect() == Dialect::Postgres && remedy(error) == Remedy::Later {
            self.connection = None;
        }
        let Some(connection) = &mut self.connection else {
            return;
        };
        let mut session = connection.session();
        let undone = session.execute_all("ROLLBACK");
        let healthy = match tokio::time::timeout(PATIENCE, undone).await {
            Ok(Ok(())) => true,
            // Some failures end the transaction by themselves, and then there is none to end.
            Ok(Err(Failure::Database(sqlx::Error::Database(_)))) => true,
            _ => false,
        };
        if !healthy {
            self.connection = None;
        }
    }
}

/// Tells all calls that the database failed.
fn fail(batch: &mut [Box<dyn Call>], error: &sqlx::Error) {
    for call in batch {
        call.refuse(answer(error));
        call.tell();
    }
}

/// The failure of the database in a failure; what is no such is one of the protocol.
fn database(failure: Failure) -> sqlx::Error {
    match failure {
        Failure::Database(error) => error,
        Failure::Refused(error) => sqlx::Error::Protocol(error.to_string()),
    }
}

fn is_duplicate(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::Database(error) if error.kind() == sqlx::error::ErrorKind::UniqueViolation
    )
}

/// Locks the jobs that a batch is about, in one order.
async fn lock_jobs(session: &mut Session<'_>, subjects: Vec<Subject>) -> Result<(), Failure> {
    let mut values: Vec<Value> = Vec::new();
    let mut places = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
    for subject in subjects {
        match subject {
            Subject::Other => {}
            Subject::Job(id) => drop(places[0].insert(Key::Text(id))),
            Subject::Lane(key) => drop(places[1].insert(Key::Int(key))),
            Subject::Attempt(id) => drop(places[2].insert(Key::Text(id))),
        }
    }
    let queries = [
        "SELECT key FROM jobs WHERE id IN",
        "SELECT job FROM lanes WHERE key IN",
        "SELECT job FROM attempts WHERE id IN",
    ];
    let mut parts = Vec::new();
    for (keys, query) in places.into_iter().zip(queries) {
        if keys.is_empty() {
            continue;
        }
        // Few lengths, so that few statements are prepared: the last key fills up.
        let count = keys.len().next_power_of_two();
        parts.push(format!("{query} {}", placeholders(values.len() + 1, count)));
        let mut keys: Vec<Value> = keys.into_iter().map(Value::from).collect();
        if let Some(last) = keys.last().cloned() {
            keys.resize(count, last);
        }
        values.extend(keys);
    }
    if parts.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "SELECT key FROM jobs WHERE key IN ({}) ORDER BY key FOR UPDATE",
        parts.join(" UNION ")
    );
    session.rows(AssertSqlSafe(sql), values).await?;
    Ok(())
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Int(i64),
    Text(String),
}

impl From<Key> for Value {
    fn from(key: Key) -> Self {
        match key {
            Key::Int(key) => key.into(),
            Key::Text(key) => key.into(),
        }
    }
}

/// Each change once, in the order in which they came first.
fn distinct(changes: Vec<Change>) -> Vec<Change> {
    let mut known = std::collections::HashSet::new();
    let mut distinct = changes;
    distinct.retain(|change| {
        known.insert(match change {
            Change::Waiting(queue) => format!("w{}", queue.as_str().to_ascii_lowercase()),
            Change::Job(job) => format!("j{job}"),
            Change::Cancel => "c".to_owned(),
            Change::Everything => "e".to_owned(),
        })
    });
    distinct
}

/// How long to wait before the next try: random, so that those who were in each other's way do not
/// meet again, and longer each time.
fn jittered(tries: u32) -> Duration {
    let most = 4_000_u64 << tries.min(7);
    // A hasher's keys are the nearest source of randomness.
    let random = RandomState::new().build_hasher().finish();
    Duration::from_micros(random % most)
}
