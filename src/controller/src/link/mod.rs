//! What an agent can be asked, in the controller's own words, and what it answers.
//!
//! [`AgentLink`] is where the real thing ([`grpc`]) and a simulated agent are alike.

mod error;
mod event;
pub(crate) mod grpc;
mod report;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use helix_model::ids::AttemptId;
use helix_model::matching::AgentReport;
use helix_proto::agent::v1;

use crate::config::AgentAddress;

pub(crate) use error::{CallError, Refused};
pub(crate) use event::{Event, EventKind, Exited, Terminal};

/// What comes from an attempt. It ends after its terminal event, or with an error.
pub(crate) type EventStream = BoxStream<'static, Result<Event, CallError>>;

/// What an agent says of itself, again and again. It does not end by itself.
pub(crate) type ReportStream = BoxStream<'static, Result<Reported, CallError>>;

/// What an agent said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reported {
    /// The name of its machine.
    pub(crate) machine: String,
    /// The rest.
    pub(crate) report: AgentReport,
    /// The same as it came, to be stored.
    pub(crate) bytes: Vec<u8>,
}

/// A line to an agent. Calls may be made at any time, many at once; a future that is dropped may or
/// may not have done its work, and so may one that failed with [`CallError::Open`].
#[async_trait]
pub(crate) trait AgentLink: fmt::Debug + Send + Sync + 'static {
    /// Offers an item and follows what it does.
    async fn run(&self, work_item: v1::WorkItem) -> Result<EventStream, CallError>;

    /// Follows an attempt from a place in its history.
    async fn attach(
        &self,
        attempt: &AttemptId,
        after_event: u64,
        console_offset: u64,
    ) -> Result<EventStream, CallError>;

    /// Says that the history of an ended attempt is safe.
    async fn acknowledge(&self, attempt: &AttemptId) -> Result<(), CallError>;

    /// Asks an attempt to end.
    async fn cancel(&self, attempt: &AttemptId, reason: &str) -> Result<(), CallError>;

    /// Follows what the agent says of itself, at least once an interval.
    async fn watch(&self, interval: Duration) -> Result<ReportStream, CallError>;

    /// Has it take nothing new. Says how much still runs.
    async fn drain(&self, reason: &str) -> Result<u32, CallError>;

    /// Has it take work again. Says whether it does.
    async fn resume(&self) -> Result<bool, CallError>;
}

/// Makes lines to one agent, one after the other.
#[async_trait]
pub(crate) trait Dialer: fmt::Debug + Send + Sync + 'static {
    /// Makes a line. May wait for as long as it takes where the agent has to call.
    async fn dial(&self) -> Result<Arc<dyn AgentLink>, CallError>;
}

/// Knows the way to agents that have an address.
pub(crate) trait AddressBook: fmt::Debug + Send + Sync + 'static {
    /// What makes lines to an address.
    fn dialer(&self, address: AgentAddress) -> Arc<dyn Dialer>;
}
