//! Where a log goes when its attempt has ended.

use helix_model::ids::{AttemptId, JobId};
use helix_store::LogPlace;
use object_store::path::Path as Key;
use object_store::{ObjectStoreExt, WriteMultipart};

use super::{LogError, LogWriter};
use crate::storage::Storage;

/// How many parts of a log may be on their way to the object store at a time.
const PARTS_AT_A_TIME: usize = 4;

/// A log that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Where.
    pub(crate) place: Option<LogPlace>,
    /// The log itself, where it goes to the store with its attempt.
    pub(crate) short: Vec<u8>,
    /// Its bytes.
    pub(crate) length: u64,
}

/// Brings a log to its place: nowhere if it is to go with the attempt.
pub(crate) async fn keep(
    log: &LogWriter,
    storage: &Storage,
    job: &JobId,
    attempt: &AttemptId,
) -> Result<Kept, LogError> {
    let length = log.length();
    if length == 0 {
        return Ok(Kept {
            place: None,
            short: Vec::new(),
            length,
        });
    }
    if let Some(short) = log.short().await? {
        return Ok(Kept {
            place: Some(LogPlace::Here),
            short,
            length,
        });
    }
    let key = Key::from_iter(["logs", job.as_str(), attempt.as_str()]);
    let upload = storage.objects().put_multipart(&key).await?;
    let mut upload = WriteMultipart::new(upload);
    let live = log.live();
    let mut offset = 0;
    while offset < length {
        let bytes = live.read(offset).await?;
        if bytes.is_empty() {
            let _ = upload.abort().await;
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        offset = offset.saturating_add(bytes.len() as u64);
        upload.wait_for_capacity(PARTS_AT_A_TIME).await?;
        upload.put(bytes);
    }
    upload.finish().await?;
    Ok(Kept {
        place: Some(LogPlace::Object(key.to_string())),
        short: Vec::new(),
        length,
    })
}
