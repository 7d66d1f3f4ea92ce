//! Whole directories: copied, removed, inspected, without ever following a link.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// How much one tree may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeLimits {
    /// Bytes of all files together; holes count. Default 64 GiB.
    pub max_total_bytes: u64,
    /// Entries, directories and links included. Default 2,000,000.
    pub max_entries: u64,
    /// Depth of directories. Default 256.
    pub max_depth: usize,
}

/// What was placed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

/// Copies what is in the directory `from` into the directory `to`, created if it is missing.
pub async fn place_tree(
    from: &Path,
    to: &Path,
    limits: &TreeLimits,
    cancellation: &CancellationToken,
) -> Result<Placed, Error> {
    let _ = (from, to, limits, cancellation);
    unimplemented!()
}

/// Removes `path` and all that is below it. It is no error when there is nothing.
pub async fn remove_tree(path: &Path) -> Result<(), Error> {
    let _ = path;
    unimplemented!()
}

impl Default for TreeLimits {
    fn default() -> Self {
        Self {
            max_total_bytes: 64 << 30,
            max_entries: 2_000_000,
            max_depth: 256,
        }
    }
}
