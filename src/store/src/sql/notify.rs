//! How controllers that share a PostgreSQL database hear of each other's changes.
//!
//! A transaction that changes something notifies with it, and one task listens. Where the database
//! refuses to listen, or is not to, a task asks every so often whether anything changed at all.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use helix_model::ids::{JobId, QueueName};
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::{broadcast, watch};

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

/// Starts to listen, or to ask, until the sender of `end` is gone.
pub(super) async fn start(
    target: &Arc<Target>,
    end: watch::Receiver<()>,
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
    if listen {
        match listener(readers).await {
            Ok(listener) => {
                notifies.store(true, Ordering::Relaxed);
                let follow = follow(listener, readers.clone(), changes);
                tokio::spawn(until(end, follow));
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "the database does not notify, so it is asked for changes");
            }
        }
    }
    tokio::spawn(until(end, ask(Arc::clone(target), changes, interval)));
}

/// Does the work until the sender is gone.
async fn until(mut end: watch::Receiver<()>, work: impl Future<Output = ()>) {
    tokio::select! {
        _ = end.changed() => {}
        () = work => {}
    }
}

async fn listener(readers: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(readers).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

async fn follow(first: PgListener, readers: PgPool, changes: broadcast::Sender<Change>) {
    let mut listener = first;
    loop {
        match listener.try_recv().await {
            Ok(Some(notification)) => {
                for line in notification.payload().lines() {
                    // Nobody need be listening.
                    let _ = changes.send(change(line));
                }
                continue;
            }
            Ok(None) => tracing::debug!("the database is listened to anew"),
            Err(error) => tracing::warn!(%error, "the database cannot be listened to"),
        }
        listener = listen_again(&readers).await;
        // What was said while nobody listened is not known.
        let _ = changes.send(Change::Everything);
    }
}

async fn listen_again(readers: &PgPool) -> PgListener {
    loop {
        match listener(readers).await {
            Ok(listener) => return listener,
            Err(error) => tracing::debug!(%error, "the database cannot be listened to yet"),
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

async fn ask(target: Arc<Target>, changes: broadcast::Sender<Change>, interval: Duration) {
    let mut last = None;
    loop {
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
