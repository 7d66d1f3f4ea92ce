//! What keeps an archive in the cache.

use std::path::Path;

use crate::digest::Sha256;

/// An archive in the cache that stays while this is held.
///
/// Dropping the last lease does not delete the archive; it only may go when room is needed.
#[derive(Debug)]
pub struct Lease {}

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
    /// The archive file. It is read-only and never changes.
    pub fn path(&self) -> &Path {
        unimplemented!()
    }

    /// The SHA-256 of its content.
    pub fn sha256(&self) -> Sha256 {
        unimplemented!()
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        unimplemented!()
    }

    /// How it came to be in the cache.
    pub fn origin(&self) -> Origin {
        unimplemented!()
    }
}
