//! What attempts print: held while they run, stored when they end, read by anybody at any time.
//!
//! A short log stays in memory and goes to the store with the attempt; a longer one goes to a file as
//! it comes ([`live`]) and from there to the object store ([`mod@keep`]). Readers never see the
//! difference ([`reader`]), nor whether another controller looks after the attempt ([`mirror`]). Offsets are those of the log as kept: where the agent dropped bytes, a
//! line says so.

mod keep;
mod live;
mod mirror;
mod reader;

pub(crate) use keep::{Kept, keep};
pub(crate) use live::{LiveLog, LogDirectory, LogWriter};
pub(crate) use mirror::{Mirror, Mirrors};
pub(crate) use reader::{Log, LogReader};

use helix_store::StoreError;

/// The longest log that is kept with its attempt, in bytes.
pub(crate) const SHORT_LOG_BYTES: u64 = 32 << 10;

/// Why a log cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// The store.
    #[error("read the log from the store")]
    Store(#[from] StoreError),
    /// The object store.
    #[error("reach the log in the object store")]
    Objects(#[from] object_store::Error),
    /// The file of a log that is being written.
    #[error("use the file of a log that is being written")]
    File(#[from] std::io::Error),
}

#[cfg(test)]
mod tests;
