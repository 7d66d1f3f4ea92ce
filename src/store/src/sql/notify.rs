//! How controllers that share a PostgreSQL database hear of each other's changes.
//!
//! A transaction that changes something notifies with it, and one task listens. Where the database
//! refuses to listen, or is not to, a task asks every so often whether anything changed at all.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use helix_model::ids::{JobId, QueueName};
use sqlx::postgres::PgListener;
use tokio::sync::broadcast;

use super::connect::Target;
use super::failure::Failure;
use super::session::{Session, values};
use crate::Change;

const CHANNEL: &str = "helix_changes";

/// PostgreSQL takes less than 8000 bytes at once.
const MAX_MESSAGE: usize = 7900;

/// How long to wait before a lost connection is tried again.
const RECONNECT: Duration = Duration::from_secs(1);

/// Notifies other controllers when the transaction becomes durable.
pub(super) async fn tell_others(
    session: &mut Session<'_>,
    changes: &[Change],
) -> Result<(), Failure> {
    if changes.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = changes.iter().map(line).collect();
    let mut message = lines.join("\n");
    if message.len() > MAX_MESSAGE {
        message = line(&Change::Everything);
    }
    let sql = "SELECT pg_notify($1, $2)::text AS done";
    session.row(sql, values![CHANNEL, message]).await?;
    Ok(())
}

fn line(change: &Change) -> String {
    match change {
        Change::Waiting(queue) => format!("waiting {queue}"),
        Change::Job(job) => format!("job {job}"),
        Change::Cancel => "cancel".to_owned(),
        Change::Everything => "everything".to_owned(),
    }
}

/// What a line says. One that a later release writes may mean anything.
fn change(line: &str) -> Change {
    let known = match line.split_once(' ') {
        Some(("waiting", queue)) => QueueName::new(queue).ok().map(Change::Waiting),
        Some(("job", job)) => JobId::new(job).ok().map(Change::Job),
        _ if line == "cancel" => Some(Change::Cancel),
        _ => None,
    };
    known.unwrap_or(Change::Everything)
}

/// Starts to listen, or to ask, for as long as there is a store.
pub(super) async fn start(
    target: &Arc<Target>,
    alive: Weak<()>,
    changes: broadcast::Sender<Change>,
    listen: bool,
    interval: Duration,
) {
    let Target::Postgres {
        readers, notifies, ..
    } = &**target
    else {
        return;
    };
    let listener = if listen {
        match listener(readers).await {
            Ok(listener) => Some(listener),
            Err(error) => {
                tracing::warn!(%error, "the database does not notify, so it is asked for changes");
                None
            }
        }
    } else {
        None
    };
    match listener {
        Some(listener) => {
            notifies.store(true, Ordering::Relaxed);
            tokio::spawn(follow(listener, alive, changes));
        }
        None => {
            tokio::spawn(ask(Arc::clone(target), alive, changes, interval));
        }
    }
}

async fn listener(readers: &sqlx::PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(readers).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

async fn follow(mut listener: PgListener, alive: Weak<()>, changes: broadcast::Sender<Change>) {
    while alive.strong_count() > 0 {
        let heard = tokio::time::timeout(RECONNECT, listener.try_recv()).await;
        match heard {
            Ok(Ok(Some(notification))) => {
                for line in notification.payload().lines() {
                    // Nobody need be listening.
                    let _ = changes.send(change(line));
                }
            }
            // The connection was lost, and what was said meanwhile.
            Ok(Ok(None)) => drop(changes.send(Change::Everything)),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the database cannot be listened to");
                tokio::time::sleep(RECONNECT).await;
            }
            Err(_) => {}
        }
    }
}

async fn ask(
    target: Arc<Target>,
    alive: Weak<()>,
    changes: broadcast::Sender<Change>,
    interval: Duration,
) {
    let mut last = None;
    while alive.strong_count() > 0 {
        tokio::time::sleep(interval).await;
        match picture(&target).await {
            Ok(now) => {
                if last.as_ref() != Some(&now) {
                    let _ = changes.send(Change::Everything);
                }
                last = Some(now);
            }
            Err(error) => {
                let error = error.into_answer();
                tracing::debug!(%error, "the database could not be asked for changes");
            }
        }
    }
}

/// Differs whenever a job has changed.
async fn picture(target: &Target) -> Result<[i64; 3], Failure> {
    let mut reader = target.reader().await?;
    let sql = "SELECT COALESCE(MAX(key), 0) AS last, \
        CAST(COALESCE(SUM(CASE WHEN ended IS NULL THEN 1 ELSE 0 END), 0) AS BIGINT) AS open_jobs, \
        CAST(COALESCE(SUM(revision), 0) AS BIGINT) AS revision \
        FROM jobs WHERE ended IS NULL OR key = (SELECT MAX(key) FROM jobs)";
    let Some(row) = reader.session().row(sql, values![]).await? else {
        return Ok([0; 3]);
    };
    Ok([
        row.int("last")?,
        row.int("open_jobs")?,
        row.int("revision")?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_is_heard() {
        let queue = QueueName::new("Ubuntu.Open").expect("good");
        let job = JobId::new("job-1").expect("good");
        for told in [
            Change::Waiting(queue),
            Change::Job(job),
            Change::Cancel,
            Change::Everything,
        ] {
            assert_eq!(change(&line(&told)), told);
        }
        assert_eq!(change("something new"), Change::Everything);
        assert_eq!(change("job .."), Change::Everything);
    }
}
