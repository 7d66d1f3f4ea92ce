//! What a controller must not forget: queues, jobs, work items and every attempt.
//!
//! [`Store`] is the one interface, and its comments are the rules. What an item wants of a machine
//! and how it is run are bytes here: who schedules reads them, not the store. What time it is comes
//! in with every call.
#![forbid(unsafe_code)]

mod agent;
mod attempt;
mod error;
mod item;
mod job;
pub mod memory;
mod queue;
mod rules;
mod scheduling;
mod sql;
mod store;

pub use agent::{Agent, AgentName, AgentOrigin};
pub use attempt::{
    Attempt, AttemptState, Counts, File, FileKind, Judgement, LogPlace, Next, Progress, Settlement,
    TestFailure, VerdictKind,
};
pub use error::StoreError;
pub use item::{Item, ItemEnd, ItemEndKind, ItemState, NewItem, Refusal, RetryPlace};
pub use job::{
    Cancelled, FlakyTest, Job, JobCounts, JobEvent, JobEventKind, JobFilter, NewJob, Page,
    Submitted,
};
pub use memory::MemoryStore;
pub use queue::{Queue, QueueCounts, Visibility};
pub use scheduling::{Avoid, ControllerId, Fence, Held, Lane, LaneId, Taken};
pub use sql::{Hints, Options, backup, open};
pub use store::{Change, Store};
