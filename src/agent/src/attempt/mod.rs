//! One attempt of a work item, from acceptance to its terminal event.
//!
//! Start at [`drive::run`]: the task that owns an attempt. It prepares the
//! directories ([`prepare`]), has the command launched and watches it
//! ([`supervise`]), brings in what it left behind ([`collect`]) and judges it.
//! Everybody else has a handle ([`Attempt`]) and reads the history
//! ([`follow()`]). What an earlier life of the agent left unfinished is taken up
//! in [`recover`].

pub(crate) mod collect;
mod command_end;
pub(crate) mod drive;
mod fetch;
mod follow;
mod handle;
pub(crate) mod jobs;
mod journal;
pub(crate) mod leftovers;
mod notes;
mod prepare;
mod record;
pub(crate) mod recover;
pub(crate) mod retention;
mod supervise;
mod workspace;

use std::io;
use std::path::{Path, PathBuf};

use helix_model::ids::AttemptId;
use sha2::{Digest, Sha256};

pub(crate) use follow::follow;
pub(crate) use handle::{Attempt, Identity, Order};
pub(crate) use journal::Journal;
pub(crate) use record::Record;

/// The directory of a new attempt below `attempts`.
///
/// Its name is short, as the path of a socket in it may only have some hundred
/// bytes, and made of the id, so that two attempts never share one.
pub(crate) fn create_directory(attempts: &Path, id: &AttemptId) -> io::Result<PathBuf> {
    let directory = attempts.join(directory_name(id));
    std::fs::create_dir(&directory)?;
    Ok(directory)
}

fn directory_name(id: &AttemptId) -> String {
    let digest = Sha256::digest(id.as_str().as_bytes());
    digest[..10]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
