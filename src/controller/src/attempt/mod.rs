//! One attempt, from the commit that it is written down with to the commit of its end.
//!
//! [`Attempt::drive`] is its life: it is offered, or attached to where it may have been offered
//! before; followed ([`follow`]) through lines that break; and concluded ([`settle`]). Whatever is
//! written says the epoch of the fence: an attempt that another controller has taken over is let go
//! of at once.

mod follow;
mod offer;
mod settle;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use helix_model::ids::{AttemptId, JobId, QueueName, WorkItemId};
use helix_model::work_item::Delivery;
use helix_proto::agent::v1;
use helix_store::{Fence, Held, Progress, Refusal, RetryPlace, StoreError, Taken};
use prost::Message;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::agent::AgentHandle;
use crate::core::{Core, demand};
use crate::link::{EventStream, Exited, Terminal};
use crate::log::{LiveLog, LogWriter};
use crate::world::backoff;

/// Between two tries of something that the store or the agent could not do.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// An attempt, for those who want something of it.
#[derive(Debug, Clone)]
pub(crate) struct AttemptHandle {
    live: Arc<LiveLog>,
    orders: Arc<watch::Sender<Option<String>>>,
    let_go: CancellationToken,
}

impl AttemptHandle {
    /// Has its task end, as another will look after it.
    pub(crate) fn let_go(&self) {
        self.let_go.cancel();
    }

    /// Its log so far.
    pub(crate) fn live(&self) -> Arc<LiveLog> {
        Arc::clone(&self.live)
    }

    /// Asks it to end; the first reason counts.
    pub(crate) fn cancel(&self, reason: &str) {
        self.orders.send_if_modified(|order| {
            let is_first = order.is_none();
            if is_first {
                *order = Some(reason.to_owned());
            }
            is_first
        });
    }
}

/// What an attempt is of.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// The right to write about it.
    pub(crate) fence: Fence,
    /// The item.
    pub(crate) item: WorkItemId,
    /// Its job.
    pub(crate) job: JobId,
    /// Its queue.
    pub(crate) queue: QueueName,
    /// What people call the item.
    pub(crate) name: String,
    /// Which delivery it is.
    pub(crate) delivery: Delivery,
    /// Where a retry may run.
    pub(crate) retry_place: RetryPlace,
    /// How it is run.
    pub(crate) template: v1::WorkItem,
}

/// What is known of an attempt when its task begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// It was just written down, and nobody has been asked.
    New,
    /// It was taken over: its agent may have it.
    Adopted {
        /// Whether the agent is known to have taken it.
        is_accepted: bool,
        /// The number of the last event that is stored.
        last_event: u64,
        /// Why it is to be cancelled, if it is.
        cancel: Option<String>,
    },
}

/// An attempt and all that its task has of it.
#[derive(Debug)]
pub(super) struct Attempt {
    core: Arc<Core>,
    agent: Arc<AgentHandle>,
    subject: Subject,
    log: LogWriter,
    orders: watch::Receiver<Option<String>>,
    let_go: CancellationToken,
    /// Whether the agent is known to have taken it.
    is_accepted: bool,
    /// Whether the agent may have it.
    may_be_there: bool,
    /// The number of the last event that was seen.
    last_event: u64,
    /// What is known and not stored.
    pending: Progress,
    /// Since when there is something in it.
    pending_since: Option<Instant>,
    used: Exited,
    began: Instant,
}

/// How an attempt's task ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Conclusion {
    /// The agent said how it ended.
    Ended(Box<Terminal>),
    /// Nobody will ever say.
    Lost(String),
    /// The agent did not take it.
    GivenBack(crate::link::Refused),
    /// Somebody else looks after it.
    Fenced,
}

/// What comes next, or the end.
enum Step {
    Stream(EventStream),
    End(Conclusion),
}

impl Subject {
    /// Of an item that was just taken.
    pub(crate) fn taken(taken: Taken) -> Self {
        Self {
            template: template(&taken.specification, &taken.item),
            fence: taken.fence,
            item: taken.item,
            job: taken.job,
            queue: taken.queue,
            name: taken.name.to_string(),
            delivery: taken.delivery,
            retry_place: taken.retry_place,
        }
    }

    /// Of an attempt that was taken over.
    pub(crate) fn held(held: &Held) -> Self {
        Self {
            template: template(&held.specification, &held.item),
            fence: held.fence.clone(),
            item: held.item.clone(),
            job: held.job.clone(),
            queue: held.queue.clone(),
            name: held.name.to_string(),
            delivery: held.delivery,
            retry_place: held.retry_place,
        }
    }

    /// What it wants of a machine, as it is stored with its lane.
    pub(crate) fn demand(&self) -> Vec<u8> {
        demand(&self.template)
    }

    /// The attempt.
    pub(crate) fn attempt(&self) -> &AttemptId {
        &self.fence.attempt
    }

    /// The item as an agent is offered it.
    fn work_item(&self, core: &Core) -> v1::WorkItem {
        let mut item = self.template.clone();
        item.work_item_id = self.item.to_string();
        item.job_id = self.job.to_string();
        item.attempt_id = self.attempt().to_string();
        item.friendly_name.clone_from(&self.name);
        item.queue = self.queue.to_string();
        item.delivery = Some(v1::Delivery {
            number: self.delivery.number(),
            queue_max_delivery_count: self.delivery.queue_max(),
            retries_requested: self.delivery.retries_requested(),
            retries_used: Some(self.delivery.retries_used()),
        });
        core.address_payloads(&mut item);
        item
    }
}

/// How an item is run, as it was stored. One that cannot be read is refused by every agent, which
/// says so where people look.
fn template(specification: &[u8], item: &WorkItemId) -> v1::WorkItem {
    v1::WorkItem::decode(specification).unwrap_or_else(|error| {
        tracing::error!(work_item = %item, error = %error, "specification cannot be read");
        v1::WorkItem::default()
    })
}

/// Starts to look after an attempt, in a task of its own.
pub(crate) fn begin(core: &Arc<Core>, agent: Arc<AgentHandle>, subject: Subject, from: Beginning) {
    let log = core.logs().begin(subject.attempt());
    let (orders, receiver) = watch::channel(None);
    let handle = AttemptHandle {
        live: log.live(),
        orders: Arc::new(orders),
        let_go: CancellationToken::new(),
    };
    let let_go = handle.let_go.clone();
    let (is_accepted, may_be_there, last_event) = match &from {
        Beginning::New => (false, false, 0),
        Beginning::Adopted {
            is_accepted,
            last_event,
            ..
        } => (*is_accepted, true, *last_event),
    };
    if let Beginning::Adopted {
        cancel: Some(reason),
        ..
    } = &from
    {
        handle.cancel(reason);
    }
    core.register(subject.attempt(), handle);
    let span = tracing::info_span!(
        "attempt",
        attempt = %subject.attempt(),
        work_item = %subject.item,
        job = %subject.job,
        agent = %agent.name,
        delivery = subject.delivery.number(),
    );
    let attempt = Attempt {
        core: Arc::clone(core),
        agent,
        subject,
        log,
        orders: receiver,
        let_go,
        is_accepted,
        may_be_there,
        last_event,
        pending: Progress::default(),
        pending_since: None,
        used: Exited::default(),
        began: Instant::now(),
    };
    core.tasks().spawn(attempt.live().instrument(span));
}

impl Attempt {
    async fn live(mut self) {
        let let_go = self.let_go.clone();
        let ended = let_go
            .run_until_cancelled(async {
                let conclusion = self.drive().boxed().await;
                self.conclude(conclusion).boxed().await
            })
            .await;
        self.finish(ended.unwrap_or(Err(Conclusion::Fenced)));
    }

    async fn drive(&mut self) -> Conclusion {
        let mut next = if self.may_be_there {
            self.attach().await
        } else {
            self.offer().await
        };
        loop {
            let stream = match next {
                Step::Stream(stream) => stream,
                Step::End(conclusion) => return conclusion,
            };
            next = match self.follow(stream).await {
                follow::Followed::Ended(terminal) => return Conclusion::Ended(terminal),
                follow::Followed::Fenced => return Conclusion::Fenced,
                follow::Followed::Broken => self.attach().await,
            };
        }
    }

    fn id(&self) -> &AttemptId {
        self.subject.attempt()
    }

    /// Waits a little longer after each failure in a row.
    async fn pause(&self, failures: u32) {
        let wait = backoff(self.core.world(), FIRST_WAIT, LONGEST_WAIT, failures);
        tokio::time::sleep(wait).await;
    }

    /// What a store's error means for this attempt: wait and try again, or the end.
    async fn after(&self, error: &StoreError, failures: u32) -> Result<(), Conclusion> {
        metrics::counter!("helix_controller_store_errors_total").increment(1);
        match error {
            StoreError::Fenced(_) => Err(Conclusion::Fenced),
            StoreError::Unavailable(_) | StoreError::Broken(_) => {
                if failures.is_power_of_two() {
                    tracing::warn!(error = %error, failures, "store does not take what is known");
                }
                self.pause(failures).await;
                Ok(())
            }
            // It contradicts what is stored: whoever takes it over will begin from there.
            error => {
                tracing::error!(error = %error, "attempt is let go of");
                Err(Conclusion::Fenced)
            }
        }
    }

    /// A refusal as it is stored.
    fn refusal(&self, reason: &str, message: &str, keep_away: Duration) -> Refusal {
        let at = self.core.now();
        Refusal {
            agent: self.agent.name.clone(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            at,
            until: at.checked_add(keep_away).unwrap_or(at),
            times: 1,
        }
    }
}
