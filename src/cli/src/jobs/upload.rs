//! Directories and archives of this machine brought to the controller, each content once.

use std::fs::File;
use std::path::Path;

use helix_api::client::{Client, Content};
use helix_api::submit::PAYLOAD_SCHEME;

use super::failed;
use crate::error::Error;
use crate::payloads::{Packer, PayloadError, digest};
use crate::render::units;
use crate::screen::Screen;

/// Uploads a directory, packed, or an archive as it is; what a submission calls it by.
pub(super) async fn upload(client: &Client, path: &Path, screen: &Screen) -> Result<String, Error> {
    let wrong = |source| Error::Payload {
        path: path.to_owned(),
        source,
    };
    let given = path.to_owned();
    let packed = tokio::task::spawn_blocking(move || pack(&given)).await;
    let packed = packed.map_err(|error| Error::Runtime {
        source: error.into(),
    })?;
    let Packed {
        archive,
        sha256,
        bytes,
    } = packed.map_err(wrong)?;
    let reference = format!("{PAYLOAD_SCHEME}{sha256}");
    let what = || format!("upload `{}`", path.display());
    if client.has_payload(&sha256).await.map_err(failed(what()))? {
        return Ok(reference);
    }
    let size = units::bytes(bytes);
    screen.note(&format!("uploading `{}`, {size}", path.display()))?;
    let content = Content::File(match &archive {
        Some(archive) => archive.path().to_owned(),
        None => path.to_owned(),
    });
    client
        .put_payload(&sha256, &content)
        .await
        .map_err(failed(what()))?;
    Ok(reference)
}

/// An archive that can be sent.
struct Packed {
    /// The archive of a directory, which goes when this does.
    archive: Option<tempfile::NamedTempFile>,
    sha256: String,
    bytes: u64,
}

fn pack(path: &Path) -> Result<Packed, PayloadError> {
    let read = |source| PayloadError::Read {
        path: path.to_owned(),
        source,
    };
    let metadata = path.metadata().map_err(read)?;
    let mut archive = None;
    if metadata.is_dir() {
        let write = |source| PayloadError::Write { source };
        let file = tempfile::NamedTempFile::with_prefix("helix-payload-").map_err(write)?;
        let mut packer = Packer::new(file.as_file().try_clone().map_err(write)?);
        packer.directory(path, &[])?;
        packer.finish()?;
        archive = Some(file);
    } else if !metadata.is_file() {
        return Err(PayloadError::Special {
            path: path.to_owned(),
        });
    }
    let place = archive.as_ref().map_or(path, tempfile::NamedTempFile::path);
    let sha256 = digest(place).map_err(read)?;
    let bytes = File::open(place)
        .and_then(|file| file.metadata())
        .map_err(read)?
        .len();
    Ok(Packed {
        archive,
        sha256: sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
        bytes,
    })
}
