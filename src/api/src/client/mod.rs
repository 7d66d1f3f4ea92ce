//! A typed client: one method for each endpoint, a bearer token, retries where they do no harm.
//!
//! Calls that may be repeated are, with growing delays, until [`Options::patience`] is spent: after a
//! broken connection, a timeout, and the answers 408, 429, 502, 503 and 504. A submission may be
//! repeated if it has an id. [`LogReader`] and [`EventReader`] come back where they were cut off.

mod connection;
mod error;
mod event;
mod log;
mod upload;

use std::fmt;
use std::time::Duration;

use reqwest::Url;
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::connection::{Ask, Repeat};
pub use self::error::{ClientError, SetupError};
pub use self::event::EventReader;
pub use self::log::{LogReader, Until};
pub use self::upload::Content;
use crate::submit::JobRequest;
use crate::{
    Agent, AgentList, Attempt, AttemptList, CancelRequest, Cancelled, DrainRequest, Drained,
    Endpoint, EventPage, EventQuery, Explanation, FlakyList, FlakyQuery, ItemDetail, ItemPage,
    ItemQuery, Job, JobPage, JobQuery, Queue, QueueList, QueueSettings, Resumed, RetryRequest,
    Submitted,
};

/// How a controller is reached.
#[derive(Clone)]
pub struct Options {
    /// Where it is, such as `https://helix.example`, with the path before `/api` if there is one.
    pub url: String,
    /// The bearer token. Never shown, and never sent in the clear but to this machine.
    pub token: Option<String>,
    /// Certificates (PEM) that the server's must lead to; none: those that the system trusts.
    pub authorities: Option<Vec<u8>>,
    /// How long to try again what may be repeated.
    pub patience: Duration,
    /// What the program calls itself.
    pub user_agent: String,
}

/// A client of one controller. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
    patience: Duration,
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("url", &self.url)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("base", &self.base.as_str())
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Sets a client up; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// The address or the certificates cannot be used, or the token would travel in the clear.
    pub fn new(options: &Options) -> Result<Self, SetupError> {
        let base = connection::base(&options.url)?;
        if options.token.is_some() && base.scheme() == "http" && !connection::is_loopback(&base) {
            return Err(SetupError::TokenInTheClear {
                url: base.to_string(),
            });
        }
        Ok(Self {
            http: connection::http(options)?,
            base,
            token: options.token.clone(),
            patience: options.patience,
        })
    }

    /// Where the controller is.
    #[must_use]
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Submits a job.
    ///
    /// # Errors
    ///
    /// See [`ClientError`], as for all calls.
    pub async fn submit(&self, job: &JobRequest) -> Result<Submitted, ClientError> {
        let repeat = match job.id {
            Some(_) => Repeat::Harmless,
            None => Repeat::Never,
        };
        self.send(Endpoint::SubmitJob, &[], job, repeat).await
    }

    /// A page of jobs, newest first.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn jobs(&self, query: &JobQuery) -> Result<JobPage, ClientError> {
        self.get(Endpoint::ListJobs, &[], query).await
    }

    /// A job.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn job(&self, job: &str) -> Result<Job, ClientError> {
        self.get(Endpoint::GetJob, &[job], &()).await
    }

    /// Cancels a job.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn cancel_job(&self, job: &str, reason: &str) -> Result<Cancelled, ClientError> {
        let body = cancel(reason);
        self.send(Endpoint::CancelJob, &[job], &body, Repeat::Harmless)
            .await
    }

    /// Makes a new job of what did not pass.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn retry(&self, job: &str, how: &RetryRequest) -> Result<Submitted, ClientError> {
        // Without an id the server makes one of the old job's, so that this repeats nothing either.
        self.send(Endpoint::RetryJob, &[job], how, Repeat::Harmless)
            .await
    }

    /// Events of a job after a number.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn events(&self, job: &str, query: &EventQuery) -> Result<EventPage, ClientError> {
        self.get(Endpoint::JobEvents, &[job], query).await
    }

    /// Events of a job as they happen, after a number.
    #[must_use]
    pub fn follow_events(&self, job: &str, after: u64) -> EventReader {
        EventReader::new(self.clone(), job, after)
    }

    /// A page of work items.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn items(&self, job: &str, query: &ItemQuery) -> Result<ItemPage, ClientError> {
        self.get(Endpoint::ListItems, &[job], query).await
    }

    /// A work item, by its id or name, with all its attempts.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn item(&self, job: &str, item: &str) -> Result<ItemDetail, ClientError> {
        self.get(Endpoint::GetItem, &[job, item], &()).await
    }

    /// Cancels a work item.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn cancel_item(
        &self,
        job: &str,
        item: &str,
        reason: &str,
    ) -> Result<Cancelled, ClientError> {
        let body = cancel(reason);
        self.send(Endpoint::CancelItem, &[job, item], &body, Repeat::Harmless)
            .await
    }

    /// Why a work item does not run.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn explain(&self, job: &str, item: &str) -> Result<Explanation, ClientError> {
        self.get(Endpoint::ExplainItem, &[job, item], &()).await
    }

    /// All attempts of a work item.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn attempts(&self, job: &str, item: &str) -> Result<AttemptList, ClientError> {
        self.get(Endpoint::ListAttempts, &[job, item], &()).await
    }

    /// An attempt, by its place from 1, or its id.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn attempt(
        &self,
        job: &str,
        item: &str,
        attempt: &str,
    ) -> Result<Attempt, ClientError> {
        self.get(Endpoint::GetAttempt, &[job, item, attempt], &())
            .await
    }

    /// The log of an attempt from an offset on.
    #[must_use]
    pub fn log(
        &self,
        job: &str,
        item: &str,
        attempt: &str,
        offset: u64,
        until: Until,
    ) -> LogReader {
        let path = Endpoint::AttemptLog.fill(&[job, item, attempt]);
        LogReader::new(self.clone(), path, offset, until)
    }

    /// All queues by name.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn queues(&self) -> Result<QueueList, ClientError> {
        self.get(Endpoint::ListQueues, &[], &()).await
    }

    /// A queue.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn queue(&self, queue: &str) -> Result<Queue, ClientError> {
        self.get(Endpoint::GetQueue, &[queue], &()).await
    }

    /// Makes a queue, or gives it new settings.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn put_queue(
        &self,
        queue: &str,
        settings: &QueueSettings,
    ) -> Result<Queue, ClientError> {
        self.send(Endpoint::PutQueue, &[queue], settings, Repeat::Harmless)
            .await
    }

    /// Removes a queue.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn delete_queue(&self, queue: &str) -> Result<(), ClientError> {
        let ask = Ask::new(Endpoint::DeleteQueue, &[queue]);
        self.answer(&ask, Repeat::Harmless).await.map(drop)
    }

    /// All agents by name.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn agents(&self) -> Result<AgentList, ClientError> {
        self.get(Endpoint::ListAgents, &[], &()).await
    }

    /// An agent.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn agent(&self, agent: &str) -> Result<Agent, ClientError> {
        self.get(Endpoint::GetAgent, &[agent], &()).await
    }

    /// Lets an agent finish what runs and take nothing new.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn drain(&self, agent: &str, reason: &str) -> Result<Drained, ClientError> {
        let body = DrainRequest {
            reason: reason.to_owned(),
        };
        self.send(Endpoint::DrainAgent, &[agent], &body, Repeat::Harmless)
            .await
    }

    /// Lets a drained agent take work again.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn resume(&self, agent: &str) -> Result<Resumed, ClientError> {
        let ask = Ask::new(Endpoint::ResumeAgent, &[agent]);
        self.read(&ask, Repeat::Harmless).await
    }

    /// Tests that passed only on a retry.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn flaky(&self, query: &FlakyQuery) -> Result<FlakyList, ClientError> {
        self.get(Endpoint::Flaky, &[], query).await
    }

    async fn get<T: DeserializeOwned>(
        &self,
        endpoint: Endpoint,
        values: &[&str],
        query: &impl Serialize,
    ) -> Result<T, ClientError> {
        let ask = Ask::new(endpoint, values).query(query);
        self.read(&ask, Repeat::Harmless).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        endpoint: Endpoint,
        values: &[&str],
        body: &impl Serialize,
        repeat: Repeat,
    ) -> Result<T, ClientError> {
        let ask = Ask::new(endpoint, values).json(body)?;
        self.read(&ask, repeat).await
    }
}

fn cancel(reason: &str) -> CancelRequest {
    CancelRequest {
        reason: reason.to_owned(),
    }
}
