//! The handle that everything that serves somebody uses: what a controller can be asked and told, in
//! its own words.
//!
//! Plain questions go to the store by [`Core::store`]; here is what needs more than that: what runs
//! now, which agents there are, why something waits.

mod explain;
mod live;
mod shared;
mod submission;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use helix_model::admission::FieldProblem;
use helix_model::ids::{JobId, QueueName, WorkItemId};
use helix_model::liveness::Liveness;
use helix_model::matching::AgentReport;
use helix_model::resources::Resources;
use helix_model::work_item::WorkItem;
use helix_proto::agent::v1;
use helix_store::{AgentName, AgentOrigin, Cancelled, Change, ControllerId, Store, StoreError};
use prost::Message;
use tokio::sync::broadcast;

pub(crate) use explain::Prospect;
use shared::Shared;
pub(crate) use submission::{PAYLOAD_SCHEME, Submission, SubmittedItem, demand};

use crate::config::Config;
use crate::link::AddressBook;
use crate::log::LogDirectory;
use crate::storage::Storage;
use crate::world::World;

/// How long a follower of a job waits for a hint before it looks by itself: hints of other
/// controllers may never come.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Makes addresses at which agents fetch the payloads that the controller keeps.
pub(crate) trait PayloadAddresses: std::fmt::Debug + Send + Sync + 'static {
    /// The address of a payload by its SHA-256 in hexadecimal, good from now on for as long as an
    /// agent may need it.
    fn address(&self, sha256: &str, now: SystemTime) -> String;
}

/// A controller as those see it who serve somebody.
#[derive(Debug)]
pub(crate) struct Core {
    config: Config,
    id: ControllerId,
    store: Arc<dyn Store>,
    storage: Storage,
    payloads: OnceLock<Arc<dyn PayloadAddresses>>,
    shared: Shared,
}

/// What a controller is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The configuration.
    pub(crate) config: Config,
    /// What it is called.
    pub(crate) name: String,
    /// Everything that is kept.
    pub(crate) store: Arc<dyn Store>,
    /// The object store.
    pub(crate) storage: Storage,
    /// Where logs are while they are written.
    pub(crate) logs: LogDirectory,
    /// Time, names and chance.
    pub(crate) world: Arc<dyn World>,
    /// The way to agents that have an address.
    pub(crate) addresses: Arc<dyn AddressBook>,
}

/// An agent as this controller knows it.
#[derive(Debug, Clone)]
pub(crate) struct AgentStanding {
    /// Its name.
    pub(crate) name: AgentName,
    /// How it is known.
    pub(crate) origin: AgentOrigin,
    /// Where it is called; empty where it keeps a line open itself.
    pub(crate) address: String,
    /// Whether it is there.
    pub(crate) liveness: Liveness,
    /// When it was last heard of.
    pub(crate) seen: SystemTime,
    /// What it said of itself last; none before the first time.
    pub(crate) report: Option<Arc<AgentReport>>,
    /// What is free there by the controller's own reckoning: what is on its way counts.
    pub(crate) free: Resources,
}

/// Why an agent did not do what it was told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AgentCallError {
    /// There is none of that name.
    #[error("there is no agent `{0}`")]
    Unknown(AgentName),
    /// There is no line to it just now.
    #[error("agent `{0}` cannot be reached")]
    Unreachable(AgentName),
    /// It answered with an error.
    #[error("agent `{agent}` does not do it: {message}")]
    Refused {
        /// Who.
        agent: AgentName,
        /// Why, in its own words.
        message: String,
    },
}

/// Tells when there may be something new about a job.
#[derive(Debug)]
pub(crate) struct JobChanges {
    job: JobId,
    changes: broadcast::Receiver<Change>,
}

impl JobChanges {
    /// Waits until there may be something new; a few seconds at most.
    pub(crate) async fn changed(&mut self) {
        let heard = async {
            loop {
                match self.changes.recv().await {
                    Ok(Change::Job(job)) if job == self.job => return,
                    Ok(Change::Everything) | Err(broadcast::error::RecvError::Lagged(_)) => return,
                    Ok(Change::Job(_) | Change::Waiting(_) | Change::Cancel) => {}
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        let _ = tokio::time::timeout(LOOK_AGAIN_AFTER, heard).await;
    }
}

impl Core {
    /// A controller that does nothing yet.
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            shared: Shared::new(&parts.config, parts.logs, parts.world, parts.addresses),
            config: parts.config,
            id: ControllerId(parts.name),
            store: parts.store,
            storage: parts.storage,
            payloads: OnceLock::new(),
        }
    }

    /// The configuration.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// What the controller is called.
    pub(crate) fn name(&self) -> &str {
        &self.id.0
    }

    /// The same as the store knows it.
    pub(crate) fn id(&self) -> &ControllerId {
        &self.id
    }

    /// Everything that is kept.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The object store.
    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// What time it is.
    pub(crate) fn now(&self) -> SystemTime {
        self.world().now()
    }

    /// Says how payloads that the controller keeps are addressed; the first time counts.
    pub(crate) fn set_payload_addresses(&self, payloads: Arc<dyn PayloadAddresses>) {
        let _ = self.payloads.set(payloads);
    }

    /// Puts the addresses of payloads in that the controller keeps itself.
    pub(crate) fn address_payloads(&self, item: &mut v1::WorkItem) {
        let Some(addresses) = self.payloads.get() else {
            return;
        };
        let now = self.now();
        let payloads = item.payloads.iter_mut();
        for payload in payloads.chain(&mut item.correlation_payloads) {
            if let Some(v1::payload::Source::Url(url)) = &mut payload.source
                && let Some(sha256) = url.strip_prefix(PAYLOAD_SCHEME)
            {
                *url = addresses.address(sha256, now);
            }
        }
    }

    /// Ends what waits of a job, or of one item of it, and has agents told to stop what runs.
    ///
    /// # Errors
    ///
    /// As [`Store::cancel`].
    pub(crate) async fn cancel(
        &self,
        job: &JobId,
        item: Option<&WorkItemId>,
        reason: &str,
    ) -> Result<Cancelled, StoreError> {
        let cancelled = self.store.cancel(job, item, reason, self.now()).await?;
        self.cancel_attempts(&cancelled.running);
        Ok(cancelled)
    }

    /// Tells when there may be something new about a job.
    pub(crate) fn subscribe(&self, job: &JobId) -> JobChanges {
        JobChanges {
            job: job.clone(),
            changes: self.store.changes(),
        }
    }
}

/// A lane's demand as an item that admission can judge. Identity, command and the like are stand-ins.
pub(crate) fn lane_item(queue: &QueueName, demand: &[u8]) -> Result<WorkItem, Vec<FieldProblem>> {
    let demand = v1::WorkItem::decode(demand).map_err(|error| {
        vec![FieldProblem {
            path: "demand".to_owned(),
            message: error.to_string(),
        }]
    })?;
    let stand_in = || "lane".to_owned();
    let message = v1::WorkItem {
        work_item_id: stand_in(),
        job_id: stand_in(),
        attempt_id: stand_in(),
        command: Some(v1::Command {
            kind: Some(v1::command::Kind::Shell("true".to_owned())),
            ..v1::Command::default()
        }),
        ..demand
    };
    helix_proto::work_item::work_item(Some(message), queue)
}
