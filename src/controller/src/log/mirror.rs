//! The log of a running attempt that another controller looks after, as its agent tells it.
//!
//! Kept as long as somebody reads it, by the same means as an own one, so that its offsets are those
//! that the other controller counts. Nothing of it is stored.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::StreamExt;
use helix_model::ids::AttemptId;
use tokio::sync::watch;

use super::{LiveLog, LogDirectory, LogWriter};
use crate::link::{Event, EventKind, EventStream};
use crate::tasks::Tasks;

/// How long a mirror is kept for the next reader.
const IDLE: Duration = Duration::from_secs(15);
/// A silence of the agent after which it has told everything so far.
const SILENCE: Duration = Duration::from_millis(100);
/// How long the first reader waits at most for everything so far.
const PATIENCE: Duration = Duration::from_secs(2);

/// The mirrors of a controller. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mirrors(Arc<Mutex<BTreeMap<AttemptId, Mirror>>>);

/// A log as far as it has come.
#[derive(Debug, Clone)]
pub(crate) struct Mirror {
    log: Weak<LiveLog>,
    /// Whether everything was told that there was at the beginning.
    is_level: watch::Receiver<bool>,
}

impl Mirror {
    /// The log, once everything is in it that there was when it was begun; none if it is over. Never
    /// waits for long. Dropping the future loses nothing.
    pub(crate) async fn log(mut self) -> Option<Arc<LiveLog>> {
        let level = self.is_level.wait_for(|is_level| *is_level);
        let _ = tokio::time::timeout(PATIENCE, level).await;
        self.log.upgrade()
    }
}

impl Mirrors {
    /// The mirror of an attempt, if there is one.
    pub(crate) fn find(&self, attempt: &AttemptId) -> Option<Mirror> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mirror = known.get(attempt)?;
        (mirror.log.strong_count() > 0).then(|| mirror.clone())
    }

    /// Begins to mirror what an agent tells of an attempt, unless somebody else has by now.
    pub(crate) fn begin(
        &self,
        tasks: &Tasks,
        directory: &LogDirectory,
        attempt: &AttemptId,
        events: EventStream,
    ) -> Mirror {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, mirror| mirror.log.strong_count() > 0);
        if let Some(mirror) = known.get(attempt) {
            return mirror.clone();
        }
        let writer = directory.begin_mirror(attempt);
        let (level, is_level) = watch::channel(false);
        let mirror = Mirror {
            log: Arc::downgrade(&writer.live()),
            is_level,
        };
        known.insert(attempt.clone(), mirror.clone());
        tasks.spawn(write_down(writer, events, level));
        mirror
    }
}

/// Ends with the attempt, with the line to its agent, when it cannot be written, and when nobody has
/// read it for a while.
async fn write_down(mut writer: LogWriter, mut events: EventStream, level: watch::Sender<bool>) {
    let mut read = tokio::time::Instant::now();
    loop {
        if writer.has_readers() {
            read = tokio::time::Instant::now();
        } else if read.elapsed() > IDLE {
            return;
        }
        let patience = if *level.borrow() { IDLE } else { SILENCE };
        let Ok(event) = tokio::time::timeout(patience, events.next()).await else {
            level.send_replace(true);
            continue;
        };
        let written = match event {
            Some(Ok(Event::Console { offset, data })) => writer.append(offset, data).await,
            Some(Ok(Event::Gap { offset, dropped })) => writer.gap(offset, dropped).await,
            Some(Ok(Event::Numbered {
                kind: EventKind::Ended(_),
                ..
            })) => break,
            Some(Ok(Event::Numbered { .. })) => Ok(()),
            None | Some(Err(_)) => return,
        };
        if let Err(error) = written {
            tracing::warn!(error = %error, "the log of an attempt elsewhere cannot be mirrored");
            return;
        }
    }
    // It is whole. Who asks until it is stored is not to have it fetched again.
    writer.end();
    level.send_replace(true);
    tokio::time::sleep(IDLE).await;
}
