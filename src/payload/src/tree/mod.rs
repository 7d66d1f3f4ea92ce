//! Whole directories: copied, removed, looked over, without ever following a link.

mod place;
mod remove;
mod survey;

use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::blocking;
use crate::error::Error;

pub(crate) use survey::{Links, survey, survey_with};

/// How much one tree may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeLimits {
    /// Bytes of all files together; holes count. Default 64 GiB.
    pub max_total_bytes: u64,
    /// Entries, directories and links included. Default 2,000,000.
    pub max_entries: u64,
    /// Depth of directories. Each level keeps two files open while it is walked. Default 256.
    pub max_depth: usize,
}

/// What a tree holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of the files, holes included.
    pub bytes: u64,
}

/// Copies what is in the directory `from` into the directory `to`, created if it is missing.
///
/// Files share their blocks with the original where the file system can, and are copied inside the
/// kernel where it cannot; holes stay holes, names of one file stay names of one file. Permission
/// bits (without set-user-id, set-group-id and sticky) and times of files are kept; owners are not.
/// Symbolic links are copied as they are, never followed, not even judged: the copy is as safe as
/// the original. A file in the way of a file is replaced; a directory never replaces anything else
/// nor is replaced. Devices, pipes and sockets are refused.
///
/// The work runs on a blocking thread and stops soon after the token is cancelled or the future
/// dropped; what was copied by then stays, for the caller to remove.
pub async fn place_tree(
    from: &Path,
    to: &Path,
    limits: &TreeLimits,
    cancellation: &CancellationToken,
) -> Result<Placed, Error> {
    let (from, to, limits) = (from.to_path_buf(), to.to_path_buf(), *limits);
    blocking::run("copy the tree", cancellation, move |cancellation| {
        place::place(&from, &to, limits, cancellation)
    })
    .await
}

/// Removes `path` and all that is below it. It is no error when there is nothing.
///
/// Links are removed, never followed; directories that deny their owner are opened up first; depth
/// does not matter. What cannot be removed does not keep the rest from being removed; the first such
/// failure is returned. Once begun it goes on, also when the future is dropped.
pub async fn remove_tree(path: &Path) -> Result<(), Error> {
    let path = path.to_path_buf();
    blocking::run_to_the_end("remove the tree", move || remove::remove(&path)).await
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
