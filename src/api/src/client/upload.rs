//! Bringing payloads to the controller.

use std::path::PathBuf;

use bytes::Bytes;
use futures::stream;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use tokio::io::AsyncReadExt as _;

use super::connection::{Ask, Failure, Repeat};
use super::{Client, ClientError};
use crate::{Endpoint, Problem, ProblemKind, StoredPayload};

const CHUNK_BYTES: usize = 256 << 10;

/// What is uploaded.
#[derive(Debug, Clone)]
pub enum Content {
    /// These bytes.
    Bytes(Bytes),
    /// A file, which must not change meanwhile.
    File(PathBuf),
}

impl Client {
    /// Whether a payload is stored. `sha256` is hexadecimal.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn has_payload(&self, sha256: &str) -> Result<bool, ClientError> {
        let ask = Ask::new(Endpoint::HasPayload, &[sha256]);
        match self.answer(&ask, Repeat::Harmless).await {
            Ok(_) => Ok(true),
            // An answer to HEAD has no content, so that the problem is only known by its status.
            Err(ClientError::Foreign { status: 404, .. }) => Ok(false),
            Err(ClientError::Foreign { status, .. }) => {
                Err(ClientError::Problem(Box::new(bare(status))))
            }
            Err(error) => Err(error),
        }
    }

    /// Stores a payload under its digest, which is hexadecimal.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn put_payload(
        &self,
        sha256: &str,
        content: &Content,
    ) -> Result<StoredPayload, ClientError> {
        let ask = Ask::new(Endpoint::PutPayload, &[sha256]);
        let body = self
            .repeat(Repeat::Harmless, async || {
                let (length, body) = body(content).await.map_err(ClientError::Content)?;
                let request = self
                    .request(&ask)?
                    .header(CONTENT_TYPE, "application/octet-stream")
                    .header(CONTENT_LENGTH, length)
                    .body(body);
                let response = self.once(request).await?;
                let answer = response.bytes().await;
                answer.map_err(|error| Failure::from(self.broken(error)))
            })
            .await?;
        serde_json::from_slice(&body).map_err(ClientError::Answer)
    }
}

async fn body(content: &Content) -> std::io::Result<(u64, reqwest::Body)> {
    let path = match content {
        Content::Bytes(bytes) => return Ok((bytes.len() as u64, bytes.clone().into())),
        Content::File(path) => path,
    };
    let file = tokio::fs::File::open(path).await?;
    let length = file.metadata().await?.len();
    let chunks = stream::try_unfold(file, |mut file| async move {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        file.read_buf(&mut chunk).await?;
        let next = (!chunk.is_empty()).then(|| (Bytes::from(chunk), file));
        Ok::<_, std::io::Error>(next)
    });
    Ok((length, reqwest::Body::wrap_stream(chunks)))
}

/// A problem of which only the status is known.
fn bare(status: u16) -> Problem {
    let kind = match status {
        400 => ProblemKind::InvalidRequest,
        401 => ProblemKind::Unauthenticated,
        403 => ProblemKind::Forbidden,
        429 => ProblemKind::TooManyRequests,
        503 => ProblemKind::Unavailable,
        _ => ProblemKind::Other,
    };
    Problem {
        status,
        ..Problem::new(kind, "")
    }
}
