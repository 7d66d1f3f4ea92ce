//! Archives on this machine, kept by content.
//!
//! The cache is one directory that one process uses at a time. An archive is fetched into a
//! partial file, hashed on its way, and moved to the name of its SHA-256 once it is whole; that
//! file never changes again. [`Cache::fetch`] hands out a [`Lease`]: while one is held, the archive
//! stays. What nobody holds goes when room is needed, the least recently used first.
//!
//! What is in which file: `layout`; what is here and who holds it: `state`; one download for many
//! callers: `flight`; the two ways in: `download` and `local`.
//!
//! # Who is given what
//!
//! With a SHA-256, the content itself is the key: whoever knows it is given the archive, from
//! wherever it once came. Without one, the key is the scope and the whole address, secrets
//! included, and even then the source is asked each time whether that is still its answer. So a job
//! is never given what another saw at an address, nor what this one saw there before it changed;
//! what they have in common is stored once all the same.

mod download;
mod flight;
mod layout;
mod lease;
mod local;
mod options;
mod partial;
mod state;
mod verify;

use std::fs::{OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::http::Client;
use crate::progress::Progress;

use flight::{Landing, Order};
use layout::{AnswerKey, Key, Layout};
use lease::Hold;
use state::{Shared, Trust, touch};

pub use lease::{Lease, Origin};
pub use options::{CacheLimits, CacheOptions, CacheUsage, LocalFiles, Request, Scope};

/// Archives on this machine, kept by content. Cloning it is cheap and shares the cache.
#[derive(Clone, Debug)]
pub struct Cache {
    shared: Arc<Shared>,
}

impl Cache {
    /// Opens the cache in the directory `root`, which is created if it is missing.
    ///
    /// Takes in what an earlier process left: whole archives stay (each is hashed once before it is
    /// handed out again), half ones wait to be continued, anything else is deleted. Blocks on the
    /// disk; call it before the runtime has work to do.
    pub fn open(root: &Path, options: CacheOptions) -> Result<Self, Error> {
        let layout = Layout::create(root)?;
        let path = layout.lock();
        let failed = |error| Error::io("lock", &path, error);
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::CacheInUse {
                    root: root.to_path_buf(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let found = layout.scan()?;
        let client = Client::new(&options.http)?;
        let max_bytes = options.limits.max_bytes;
        let shared = Arc::new(Shared::new(layout, options, client, lock, found));
        // The limit may have been lowered meanwhile.
        shared.shrink(max_bytes);
        Ok(Self { shared })
    }

    /// The archive that `request` names, fetched unless it is here already.
    ///
    /// Callers that want the same archive at the same time share one download; it goes on as long
    /// as one of them waits. Dropping the future is the same as cancelling it. A download that
    /// nobody waits for any more stops, and keeps what it has for the next time.
    ///
    /// Takes no longer than the deadline in [`HttpOptions`](crate::HttpOptions).
    pub async fn fetch(
        &self,
        request: &Request,
        cancellation: &CancellationToken,
    ) -> Result<Lease, Error> {
        let key = match request.sha256 {
            Some(sha256) => Key::Digest(sha256),
            None => Key::Answer(AnswerKey::new(&request.scope, &request.source)),
        };
        let deadline = Instant::now() + self.shared.options.http.deadline;
        let order = Order {
            key,
            source: request.source.clone(),
            deadline,
        };
        loop {
            if cancellation.is_cancelled() {
                return Err(Error::Cancelled);
            }
            if let Some(lease) = self.at_hand(&key).await {
                return Ok(arrived(lease, request));
            }
            let landing = tokio::select! {
                biased;
                () = cancellation.cancelled() => return Err(Error::Cancelled),
                landing = flight::join(&self.shared, &order, request.progress.as_ref()) => landing,
            };
            match landing {
                Landing::Arrived(lease) => return Ok(arrived(lease, request)),
                Landing::Failed(error) => return Err(error),
                Landing::NotOurs => {}
            }
        }
    }

    /// How full the cache is.
    pub fn usage(&self) -> CacheUsage {
        self.shared.usage()
    }

    /// Drops archives that nobody holds, least recently used first, until at most `target_bytes`
    /// are kept or nothing more can go. Returns the bytes freed. Blocks on the disk.
    pub fn shrink(&self, target_bytes: u64) -> u64 {
        self.shared.shrink(target_bytes)
    }

    /// An archive that can be handed out without any more ado.
    async fn at_hand(&self, key: &Key) -> Option<Lease> {
        let Key::Digest(sha256) = key else {
            return None;
        };
        let (hold, trust) = Hold::take(&self.shared, sha256)?;
        if trust != Trust::Verified {
            return None;
        }
        let path = hold.path().to_path_buf();
        // The order of use is kept on disk for the next process.
        let touched = spawn_blocking(move || touch(&path)).await;
        touched.ok().map(|()| Lease::new(hold, Origin::Cached))
    }
}

fn arrived(lease: Lease, request: &Request) -> Lease {
    if let Some(progress) = &request.progress {
        progress.send_replace(Progress::Fetched {
            bytes: lease.bytes(),
        });
    }
    lease
}
