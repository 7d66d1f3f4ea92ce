//! The REST API of a controller, as both ends of the line see it: what is asked ([`Endpoint`]), what
//! goes over the wire, and the OpenAPI document made of the two.
//!
//! The types here are promises to other people's programs: fields may be added, never renamed,
//! removed or given another meaning. Whoever reads answers passes over what it does not know; a
//! submission, on the other hand, is refused for a field that nobody knows, as a misspelt limit
//! would be no limit.
//!
//! Times are RFC 3339, durations are seconds, sizes are bytes, digests are hexadecimal.
//!
//! Start at [`Endpoint`], then [`submit`]. This room knows no handler, no database and no gRPC
//! message. With the feature `client` it has a typed client in [`client`].
#![forbid(unsafe_code)]

mod agent;
mod attempt;
#[cfg(feature = "client")]
pub mod client;
pub mod document;
mod endpoint;
mod event;
mod explain;
mod item;
mod job;
mod payload;
mod problem;
mod query;
mod queue;
pub mod submit;

pub use agent::{
    Agent, AgentCapability, AgentCapacity, AgentList, AgentLiveness, AgentOrigin, DrainRequest,
    Drained, MachineResources, Resumed, RunningAttempt,
};
pub use attempt::{
    Attempt, AttemptList, AttemptState, FileKind, StoredFile, TestCounts, TestFailure,
};
pub use endpoint::{Access, Endpoint, Method, PREFIX, Scope};
pub use event::{EventPage, JobEvent, JobEventKind};
pub use explain::{AgentAnswer, Explanation, Prospect, Refusal};
pub use item::{Item, ItemDetail, ItemPage, ItemState, Retries};
pub use job::{
    CancelRequest, Cancelled, FlakyList, FlakyTest, Job, JobCounts, JobPage, JobState,
    RetryRequest, Submitted,
};
pub use payload::StoredPayload;
pub use problem::{FieldError, Problem, ProblemKind};
pub use query::{EventQuery, FlakyQuery, ItemQuery, JobQuery, LogQuery};
pub use queue::{Queue, QueueCounts, QueueList, QueueSettings, Visibility};
