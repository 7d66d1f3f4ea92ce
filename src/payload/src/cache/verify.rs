//! Archives that an earlier process left are hashed once before they are handed out.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use crate::blocking::run_to_the_end;
use crate::digest::{Hasher, Sha256};
use crate::error::Error;

use super::lease::Hold;
use super::state::{Shared, Trust, discard};

/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;

/// Holds an archive if it is here and is what its name says; one that is not is dropped.
pub(super) async fn held(shared: &Arc<Shared>, sha256: Sha256) -> Result<Option<Hold>, Error> {
    let Some((hold, trust)) = Hold::take(shared, &sha256) else {
        return Ok(None);
    };
    if trust == Trust::Verified {
        return Ok(Some(hold));
    }
    let shared = shared.clone();
    run_to_the_end("verify the archive", move || {
        let found = match hash(hold.path()) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("read", hold.path(), error)),
        };
        if found == Some(sha256) {
            shared.lock().verified(&sha256);
            return Ok(Some(hold));
        }
        tracing::warn!(%sha256, ?found, "an archive in the payload cache is damaged and dropped");
        drop_damaged(&shared, &sha256, hold.path());
        Ok(None)
    })
    .await
}

/// Drops the archive `sha256`, whose file is damaged or gone.
fn drop_damaged(shared: &Shared, sha256: &Sha256, path: &Path) {
    let trash = shared.layout.trash().join(sha256.to_string());
    {
        let mut state = shared.lock();
        // Another may have found the same, and have fetched it anew by now.
        if !state.lose_adopted(sha256) {
            return;
        }
        if let Err(error) = fs::rename(path, &trash)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "cannot drop from the payload cache");
        }
    }
    discard(&trash);
}

fn hash(path: &Path) -> io::Result<Sha256> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
