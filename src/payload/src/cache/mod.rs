//! Archives on this machine, kept by content.
//!
//! The cache is one directory that one process uses at a time. An archive is fetched into a
//! partial file, hashed on its way, and moved to the name of its SHA-256 once it is whole; that
//! file never changes again. [`Cache::fetch`] hands out a [`Lease`]: while one is held, the archive
//! stays. What nobody holds goes when room is needed, the least recently used first.

mod lease;
mod options;

use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::error::Error;

pub use lease::{Lease, Origin};
pub use options::{CacheLimits, CacheOptions, CacheUsage, LocalFiles, Request, Scope};

/// Archives on this machine, kept by content. Cloning it is cheap and shares the cache.
#[derive(Clone, Debug)]
pub struct Cache {}

impl Cache {
    /// Opens the cache in the directory `root`, which is created if it is missing.
    ///
    /// Takes in what an earlier process left: whole archives stay, half ones wait to be continued,
    /// anything else is deleted. Blocks on the disk; call it before the runtime has work to do.
    pub fn open(root: &Path, options: CacheOptions) -> Result<Self, Error> {
        let _ = (root, options);
        unimplemented!()
    }

    /// The archive that `request` names, fetched unless it is here already.
    ///
    /// Callers that want the same archive at the same time share one download; it goes on as long
    /// as one of them waits. Dropping the future is the same as cancelling it. A download that
    /// nobody waits for any more stops, and keeps what it has for the next time.
    pub async fn fetch(
        &self,
        request: &Request,
        cancellation: &CancellationToken,
    ) -> Result<Lease, Error> {
        let _ = (request, cancellation);
        unimplemented!()
    }

    /// How full the cache is.
    pub fn usage(&self) -> CacheUsage {
        unimplemented!()
    }

    /// Drops archives that nobody holds, least recently used first, until at most `target_bytes`
    /// are kept or nothing more can go. Returns the bytes freed. Blocks on the disk.
    pub fn shrink(&self, target_bytes: u64) -> u64 {
        let _ = target_bytes;
        unimplemented!()
    }
}
