//! Stores one file: read once in parts, digested on the way, sent again when that may help,
//! visible at the destination only when it is whole.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use object_store::path::Path as Key;
use object_store::retry::{RetryContext, RetryFailure, RetryPolicy};
use object_store::{
    Attribute, Attributes, MultipartUpload, PutMultipartOptions, PutOptions, PutPayload,
};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::content_type;
use crate::destination::{Destination, DestinationKind};
use crate::name::ArtifactName;
use crate::select::TakeError;
use crate::transport::{Effort, Last, is_busy};

/// How often an upload is begun anew when nothing says that it may help: an answer was not
/// understood.
const UNCLEAR_RETRIES: usize = 3;

/// Size of the pieces that a part is read in. Large blocks of memory stay with the process when
/// they are freed; small ones are used again.
const CHUNK: usize = 128 << 10;

/// Largest part for a local folder.
const LARGEST_LOCAL_PART: usize = 1 << 20;

/// Pause before a part is signed anew.
const PAUSE: Duration = Duration::from_secs(1);

/// Pace and bounds of a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// Size of a part in bytes; a file up to this size is sent in one request. Default 8 MiB. S3
    /// takes at least 5 MiB, and every service at least 10,000 parts.
    pub part_bytes: usize,
    /// Parts of one file on their way at one time, and so in memory. Default 2.
    pub parts_at_once: usize,
    /// Files on their way at one time in [`Destination::store_all`]. Default 4.
    pub files_at_once: usize,
    /// Time for one file, or for all files of one [`Destination::store_all`], retries included.
    /// Default 10 minutes.
    pub within: Duration,
    /// Wait before the first retry; it doubles from one to the next. Default 200 ms.
    pub first_delay: Duration,
    /// Largest file in bytes. Default 64 GiB.
    pub largest_file: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            part_bytes: 8 << 20,
            parts_at_once: 2,
            files_at_once: 4,
            within: Duration::from_secs(600),
            first_delay: Duration::from_millis(200),
            largest_file: 64 << 30,
        }
    }
}

/// A file at its destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub name: ArtifactName,
    /// Bytes read and stored.
    pub size: u64,
    /// SHA-256 of those bytes.
    pub sha256: [u8; 32],
    /// Where it can be fetched by who has the right to. Carries no token.
    pub url: String,
}

/// Why a file was not stored. No variant carries a secret.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The selected file is no longer there to be read.
    #[error(transparent)]
    Take(#[from] TakeError),
    /// The file could not be read to its end.
    #[error("cannot read `{name}`")]
    Read {
        /// The file.
        name: ArtifactName,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file has more bytes than are stored.
    #[error("`{name}` is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        name: ArtifactName,
        /// [`Tuning::largest_file`].
        limit: u64,
    },
    /// The destination has refused, and would again.
    #[error("cannot store `{name}` at `{destination}`: {reason}")]
    Refused {
        /// The file.
        name: ArtifactName,
        /// [`Destination::url`].
        destination: String,
        /// What the destination said.
        reason: String,
    },
    /// The time is over. What failed last might have passed.
    #[error("cannot store `{name}` at `{destination}` within {seconds} s: {reason}")]
    OutOfTime {
        /// The file.
        name: ArtifactName,
        /// [`Destination::url`].
        destination: String,
        /// Time given, in seconds.
        seconds: u64,
        /// What failed last.
        reason: String,
    },
}

/// Why one try to store a file did not succeed.
enum Trouble {
    Final(StoreError),
    /// The store's answer.
    Store(object_store::Error, Stage),
}

/// How far a try got.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The destination holds nothing of it.
    Whole,
    /// The destination gave an id for parts. It may forget it, or answer a completion of which
    /// the first answer was lost with "no such upload".
    InParts,
}

impl Destination {
    /// Stores what is in `file` under `name`, from its beginning, wherever its cursor stands. A
    /// file of the same name is replaced, at one blow.
    ///
    /// A file that grows or shrinks meanwhile is stored as read; size and digest are those of the
    /// bytes that were stored.
    ///
    /// Dropping the future cancels the upload; nothing becomes visible, and what the destination
    /// holds of it is discarded in the background.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub async fn store(&self, file: File, name: &ArtifactName) -> Result<Stored, StoreError> {
        self.store_until(file, name, Instant::now() + self.tuning.within)
            .await
    }

    pub(crate) async fn store_until(
        &self,
        file: File,
        name: &ArtifactName,
        deadline: Instant,
    ) -> Result<Stored, StoreError> {
        let effort = Effort::new(deadline, self.tuning.first_delay);
        let upload = Upload {
            destination: self,
            file: Arc::new(file),
            name,
            key: self.key_of(name),
        };
        let work = effort.run(upload.repeat(&effort));
        match tokio::time::timeout_at(deadline, work).await {
            Ok(result) => result,
            Err(_) => Err(upload.out_of_time(&effort)),
        }
    }
}

/// One file on its way to one place.
struct Upload<'a> {
    destination: &'a Destination,
    file: Arc<File>,
    name: &'a ArtifactName,
    key: Key,
}

impl Upload<'_> {
    async fn repeat(&self, effort: &Effort) -> Result<Stored, StoreError> {
        let mut delays = effort.delays();
        let mut unclear = 0;
        loop {
            let (error, stage) = match self.once(effort).await {
                Ok(stored) => return Ok(stored),
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Store(error, stage)) => (error, stage),
            };
            let lost_parts =
                stage == Stage::InParts && matches!(error, object_store::Error::NotFound { .. });
            let again = match (self.destination.kind, effort.last()) {
                (DestinationKind::Local, _) => false,
                (DestinationKind::Remote, Last::Passing(_)) => true,
                (DestinationKind::Remote, Last::Hopeless(_)) => false,
                (DestinationKind::Remote, Last::Refused) if !lost_parts => false,
                (DestinationKind::Remote, Last::Refused | Last::None) => {
                    unclear += 1;
                    unclear <= UNCLEAR_RETRIES
                }
            };
            if !again {
                return Err(self.refused(effort, &error));
            }
            let delay = delays.next().unwrap_or_default();
            if Instant::now() + delay >= effort.deadline() {
                return Err(self.out_of_time(effort));
            }
            tracing::debug!(
                artifact = %self.name,
                delay_ms = delay.as_millis(),
                "beginning an upload anew"
            );
            tokio::time::sleep(delay).await;
        }
    }

    async fn once(&self, effort: &Effort) -> Result<Stored, Trouble> {
        let mut reader = Reader::new(self);
        let first = reader.next().await?;
        if first.content_length() < self.part_bytes() {
            self.whole(first)
                .await
                .map_err(|error| Trouble::Store(error, Stage::Whole))?;
        } else {
            self.in_parts(first, &mut reader, effort).await?;
        }
        Ok(Stored {
            name: self.name.clone(),
            size: reader.offset,
            sha256: reader.digest.finalize().into(),
            url: self.destination.url_of(self.name),
        })
    }

    async fn whole(&self, bytes: PutPayload) -> object_store::Result<()> {
        let options = PutOptions {
            attributes: self.attributes(),
            ..PutOptions::default()
        };
        let store = &self.destination.store;
        store.put_opts(&self.key, bytes, options).await?;
        Ok(())
    }

    async fn in_parts(
        &self,
        first: PutPayload,
        reader: &mut Reader<'_>,
        effort: &Effort,
    ) -> Result<(), Trouble> {
        let options = PutMultipartOptions {
            attributes: self.attributes(),
            ..Default::default()
        }
        .with_retry_policy(Arc::new(SignAgain {
            effort: effort.clone(),
        }));
        let in_parts = |error| Trouble::Store(error, Stage::InParts);
        let upload = self
            .destination
            .store
            .put_multipart_opts(&self.key, options)
            .await
            .map_err(|error| Trouble::Store(error, Stage::Whole))?;
        let upload = Arc::new(Mutex::new(upload));
        let discard = Discard {
            upload: Some(Arc::clone(&upload)),
        };
        let mut sending = FuturesUnordered::new();
        let mut part = first;
        while part.content_length() > 0 {
            let sent = upload.lock().await.put_part(part);
            sending.push(sent);
            while sending.len() >= self.destination.tuning.parts_at_once.max(1) {
                match sending.next().await {
                    Some(sent) => sent.map_err(in_parts)?,
                    None => break,
                }
            }
            // The next part is read while the others are on their way.
            let mut reading = std::pin::pin!(reader.next());
            part = loop {
                tokio::select! {
                    part = &mut reading => break part?,
                    Some(sent) = sending.next() => sent.map_err(in_parts)?,
                }
            };
        }
        while let Some(sent) = sending.next().await {
            sent.map_err(in_parts)?;
        }
        upload.lock().await.complete().await.map_err(in_parts)?;
        discard.completed();
        Ok(())
    }

    /// A local folder gains nothing from large parts.
    fn part_bytes(&self) -> usize {
        let bytes = self.destination.tuning.part_bytes.max(1);
        match self.destination.kind {
            DestinationKind::Local => bytes.min(LARGEST_LOCAL_PART),
            DestinationKind::Remote => bytes,
        }
    }

    fn attributes(&self) -> Attributes {
        match self.destination.kind {
            DestinationKind::Local => Attributes::new(),
            DestinationKind::Remote => Attributes::from_iter([(
                Attribute::ContentType,
                content_type::of(self.name.file_name()),
            )]),
        }
    }

    fn refused(&self, effort: &Effort, error: &object_store::Error) -> StoreError {
        let reason = match effort.last() {
            Last::Hopeless(reason) => reason,
            Last::Passing(_) | Last::Refused | Last::None => error.to_string(),
        };
        StoreError::Refused {
            name: self.name.clone(),
            destination: self.destination.url(),
            reason: self.destination.scrubber.reason(&reason),
        }
    }

    fn out_of_time(&self, effort: &Effort) -> StoreError {
        let reason = match effort.last() {
            Last::Passing(reason) => self.destination.scrubber.reason(&reason),
            Last::Refused | Last::Hopeless(_) | Last::None => {
                "the transfer was still going on".to_owned()
            }
        };
        StoreError::OutOfTime {
            name: self.name.clone(),
            destination: self.destination.url(),
            seconds: self.destination.tuning.within.as_secs(),
            reason,
        }
    }
}

/// Reads a file part by part, off the async threads, and digests what it reads.
struct Reader<'a> {
    upload: &'a Upload<'a>,
    offset: u64,
    digest: Sha256,
}

impl<'a> Reader<'a> {
    fn new(upload: &'a Upload<'a>) -> Self {
        Self {
            upload,
            offset: 0,
            digest: Sha256::new(),
        }
    }

    /// The next part; shorter than a part only at the end of the file, empty after it.
    async fn next(&mut self) -> Result<PutPayload, Trouble> {
        let part_bytes = self.upload.part_bytes();
        let mut at = At {
            file: Arc::clone(&self.upload.file),
            offset: self.offset,
        };
        let mut digest = self.digest.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let mut rest = part_bytes;
            let mut chunks = Vec::new();
            while rest > 0 {
                let chunk = at.chunk(rest.min(CHUNK))?;
                if chunk.is_empty() {
                    break;
                }
                digest.update(&chunk);
                rest -= chunk.len();
                chunks.push(chunk);
            }
            Ok((PutPayload::from_iter(chunks), digest))
        });
        let read = reading
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let (part, digest) = read.map_err(|source| {
            Trouble::Final(StoreError::Read {
                name: self.upload.name.clone(),
                source,
            })
        })?;
        self.digest = digest;
        self.offset += part.content_length() as u64;
        let limit = self.upload.destination.tuning.largest_file;
        if self.offset > limit {
            return Err(Trouble::Final(StoreError::TooLarge {
                name: self.upload.name.clone(),
                limit,
            }));
        }
        Ok(part)
    }
}

/// A file read from an offset on, without moving its cursor: whoever shares the descriptor is
/// not disturbed, and a second try begins where the first did.
struct At {
    file: Arc<File>,
    offset: u64,
}

impl At {
    /// The next bytes, at most as many; fewer only at the end of the file.
    fn chunk(&mut self, most: usize) -> std::io::Result<Bytes> {
        let rest = self.file.metadata()?.len().saturating_sub(self.offset);
        let expected = usize::try_from(rest).unwrap_or(usize::MAX).min(most);
        // One byte more, so that the end of the file shows without the buffer growing.
        let mut bytes = Vec::with_capacity(expected.saturating_add(1));
        self.take(most as u64).read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// Discards an upload in parts unless it is told that the upload is complete: after a failure as
/// after a cancellation.
struct Discard {
    upload: Option<Arc<Mutex<Box<dyn MultipartUpload>>>>,
}

impl Discard {
    fn completed(mut self) {
        self.upload = None;
    }
}

impl Drop for Discard {
    fn drop(&mut self) {
        let Some(upload) = self.upload.take() else {
            return;
        };
        // Without a runtime the process is ending; the service drops the parts in its own time.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = upload.lock().await.abort().await {
                    tracing::debug!(%error, "parts of an unfinished upload stay behind");
                }
            });
        }
    }
}

/// Sends a part again, signed anew, while there is time: the transport has repeated the request
/// until its signature grew old.
#[derive(Debug)]
struct SignAgain {
    effort: Effort,
}

#[async_trait]
impl RetryPolicy for SignAgain {
    async fn retry(&self, context: RetryContext) -> bool {
        let passing = match context.failure {
            RetryFailure::Status(status) => is_busy(status),
            RetryFailure::Transport(_) => true,
            _ => false,
        };
        if !passing || Instant::now() + PAUSE >= self.effort.deadline() {
            return false;
        }
        tokio::time::sleep(PAUSE).await;
        true
    }
}
