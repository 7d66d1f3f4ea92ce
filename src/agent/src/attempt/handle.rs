//! What all parties share of one attempt: who it is, its history, how far its
//! console has grown, and the way to ask for its end.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use helix_model::ids::{AttemptId, FriendlyName, JobId, WorkItemId};
use helix_model::outcome::CancelledBy;
use helix_model::resources::Resources;
use helix_proto::agent::v1::{AttemptState, AttemptSummary, RunningAttempt, attempt_event};
use tokio::sync::{mpsc, watch};

use super::journal::Journal;

/// Orders wait here until the attempt takes them; more than these are the same
/// wish again.
const MAX_WAITING_ORDERS: usize = 8;
pub(super) const SPOOL: &str = "spool";
const ACKNOWLEDGED: &str = "acknowledged";

/// Who an attempt is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) attempt: AttemptId,
    pub(crate) work_item: WorkItemId,
    pub(crate) job: JobId,
    pub(crate) friendly_name: FriendlyName,
    /// Which delivery of the work item this is.
    pub(crate) delivery: u32,
    pub(crate) accepted: SystemTime,
}

/// A wish from outside.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    /// End the command.
    Cancel {
        by: CancelledBy,
        /// Absent: the work item's own.
        grace: Option<Duration>,
    },
}

/// One attempt.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) identity: Identity,
    /// What it holds while it runs.
    pub(crate) reserved: Resources,
    pub(crate) journal: Journal,
    directory: PathBuf,
    console: watch::Sender<u64>,
    state: watch::Sender<AttemptState>,
    orders: mpsc::Sender<Order>,
    acknowledged: AtomicBool,
}

impl Attempt {
    /// A handle, and the end of the channel on which the attempt hears of wishes.
    pub(crate) fn new(
        identity: Identity,
        reserved: Resources,
        journal: Journal,
        directory: PathBuf,
        console_bytes: u64,
    ) -> (Self, mpsc::Receiver<Order>) {
        let (orders, receiver) = mpsc::channel(MAX_WAITING_ORDERS);
        let state = if journal.terminal().is_some() {
            AttemptState::Ended
        } else {
            AttemptState::Preparing
        };
        let acknowledged = directory.join(ACKNOWLEDGED).exists();
        let attempt = Self {
            identity,
            reserved,
            journal,
            directory,
            console: watch::Sender::new(console_bytes),
            state: watch::Sender::new(state),
            orders,
            acknowledged: AtomicBool::new(acknowledged),
        };
        (attempt, receiver)
    }

    /// Where everything about it is kept.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where its console and its supervisor's status are kept.
    pub(crate) fn spool(&self) -> PathBuf {
        self.directory.join(SPOOL)
    }

    /// Size of the console, and word of more.
    pub(crate) fn console(&self) -> watch::Receiver<u64> {
        self.console.subscribe()
    }

    /// Size of the console.
    pub(crate) fn console_bytes(&self) -> u64 {
        *self.console.borrow()
    }

    /// Notes that the console has grown. It never shrinks.
    pub(crate) fn console_grew_to(&self, bytes: u64) {
        self.console.send_if_modified(|known| {
            let grown = bytes > *known;
            *known = bytes.max(*known);
            grown
        });
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> AttemptState {
        *self.state.borrow()
    }

    /// Notes where it stands.
    pub(crate) fn set_state(&self, state: AttemptState) {
        self.state.send_replace(state);
    }

    /// Writes the next event at the present end of the console.
    pub(crate) fn record(&self, kind: attempt_event::Kind) {
        if let Err(error) = self
            .journal
            .append(SystemTime::now(), self.console_bytes(), kind)
        {
            tracing::error!(
                attempt = %self.identity.attempt,
                error = %error,
                "event could not be written to the journal yet and is kept in memory"
            );
        }
    }

    /// Waits until all events are on the disk, or gives up: nobody reads them from
    /// memory once the attempt has ended.
    pub(crate) async fn settle(&self) {
        const TRIES: u32 = 20;
        const PAUSE: Duration = Duration::from_millis(500);
        for _ in 0..TRIES {
            match self.journal.flush() {
                Ok(()) => return,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        if let Err(error) = self.journal.flush() {
            tracing::error!(
                attempt = %self.identity.attempt,
                error = %error,
                "last events could not be written to the journal and are lost with the next start"
            );
        }
    }

    /// Passes on a wish. A full channel holds the same wish already.
    pub(crate) fn order(&self, order: Order) {
        if self.orders.try_send(order).is_err() {
            tracing::debug!(attempt = %self.identity.attempt, "order dropped");
        }
    }

    /// Whether its history is stored safely elsewhere.
    pub(crate) fn is_acknowledged(&self) -> bool {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Notes that its history is stored safely elsewhere.
    pub(crate) fn acknowledge(&self) -> std::io::Result<()> {
        Self::acknowledge_in(&self.directory)?;
        self.acknowledged.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The same for an attempt that is no more than its directory.
    pub(crate) fn acknowledge_in(directory: &Path) -> std::io::Result<()> {
        std::fs::write(directory.join(ACKNOWLEDGED), b"")
    }

    /// The row that capacity shows.
    pub(crate) fn row(&self) -> RunningAttempt {
        let identity = &self.identity;
        RunningAttempt {
            attempt_id: identity.attempt.to_string(),
            work_item_id: identity.work_item.to_string(),
            job_id: identity.job.to_string(),
            friendly_name: identity.friendly_name.to_string(),
            state: self.state().into(),
            accepted: Some(identity.accepted.into()),
            reserved: Some(helix_proto::capacity::resources(&self.reserved)),
        }
    }

    /// The row that a list shows.
    pub(crate) fn summary(&self) -> AttemptSummary {
        let terminal = self.journal.terminal().map(|event| event.as_ref().clone());
        AttemptSummary {
            attempt: Some(self.row()),
            ended: terminal.as_ref().and_then(|event| event.time),
            terminal_event: terminal,
            events: self.journal.len(),
            console_bytes: self.console_bytes(),
            acknowledged: self.is_acknowledged(),
        }
    }
}
