//! Archives over HTTP: the client and its trust, one try of a download, and when to try again.
//!
//! `client` asks once and judges the answer, `retry` says whether and when to ask again. What is
//! done with the content is the cache's business; this module knows nothing of the cache.

mod client;
mod options;
mod retry;

pub(crate) use client::{Answer, Ask, Body, Client, Validators};
pub use options::{HttpOptions, Proxy, RetryPolicy, TrustError};
pub(crate) use retry::Retries;
