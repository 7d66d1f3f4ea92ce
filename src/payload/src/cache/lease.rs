//! What keeps an archive in the cache.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::Sha256;

use super::state::{Shared, Trust};

/// An archive in the cache that stays while this, or a clone of it, is held.
///
/// Dropping the last lease does not delete the archive; it only may go when room is needed.
#[derive(Clone, Debug)]
pub struct Lease {
    hold: Arc<Hold>,
    origin: Origin,
}

/// How an archive came to be in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// It was here, named by its SHA-256.
    Cached,
    /// It was here, and the server or file system confirmed that it is still the one.
    Confirmed,
    /// It was fetched for this request, or for one that waited with it.
    Fetched,
}

impl Lease {
    pub(super) fn new(hold: Hold, origin: Origin) -> Self {
        Self {
            hold: Arc::new(hold),
            origin,
        }
    }

    /// The archive file. It never changes while it is held; it must not be written to.
    pub fn path(&self) -> &Path {
        &self.hold.path
    }

    /// The SHA-256 of its content.
    pub fn sha256(&self) -> Sha256 {
        self.hold.sha256
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        self.hold.bytes
    }

    /// How it came to be in the cache.
    pub fn origin(&self) -> Origin {
        self.origin
    }
}

/// One count among the holders of an archive.
pub(super) struct Hold {
    shared: Arc<Shared>,
    sha256: Sha256,
    bytes: u64,
    path: PathBuf,
}

impl Hold {
    /// Holds an archive if it is here, and says whether it can be trusted.
    pub(super) fn take(shared: &Arc<Shared>, sha256: &Sha256) -> Option<(Self, Trust)> {
        let (bytes, trust) = shared.lock().hold(sha256)?;
        Some((Self::counted(shared, *sha256, bytes), trust))
    }

    /// Takes over one count that has been made already.
    pub(super) fn counted(shared: &Arc<Shared>, sha256: Sha256, bytes: u64) -> Self {
        let path = shared.layout.archive(&sha256);
        Self {
            shared: shared.clone(),
            sha256,
            bytes,
            path,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.lock().release(&self.sha256);
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Hold({})", self.sha256)
    }
}
