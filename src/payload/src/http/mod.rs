//! Archives over HTTP: the client and its trust, one try of a download, and when to try again.
//!
//! It writes what arrives into a sink that the cache provides, and knows nothing of the cache.

mod options;

pub use options::{HttpOptions, RetryPolicy, TrustError};
