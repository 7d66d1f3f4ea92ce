//! An archive becomes a tree that stays inside its root.
//!
//! The format is told by content, never by name: zip, tar, tar.gz, tar.zst. Everything in an
//! archive is taken for hostile.

mod options;

use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::error::Error;

pub use options::{Format, NotAnArchive, UnpackLimits, UnpackOptions, Unpacked};

/// Unpacks the archive at `archive` into the directory `destination`, created if it is missing.
///
/// The work runs on a blocking thread. When the token is cancelled or the future dropped, it stops
/// at the next block; what was written by then stays, for the caller to remove.
pub async fn unpack(
    archive: &Path,
    destination: &Path,
    options: &UnpackOptions,
    cancellation: &CancellationToken,
) -> Result<Unpacked, Error> {
    let _ = (archive, destination, options, cancellation);
    unimplemented!()
}
