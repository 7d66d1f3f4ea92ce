//! `/payloads/{sha256}`: archives that people upload and agents fetch.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::State as Extract;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use helix_api::submit::PAYLOAD_SCHEME;
use helix_api::{ProblemKind, StoredPayload};
use object_store::{ObjectStoreExt, PutPayload, WriteMultipart};
use sha2::{Digest, Sha256};

use super::objects;
use super::problem::Failure;
use super::request::{self, Place, shown, too_large};
use super::state::State;
use super::submit::object_key;
use super::wire::{hex, unhex};

/// The largest payload.
pub(super) const MAX_PAYLOAD_BYTES: u64 = 16 << 30;
/// What is stored in one go; also the size of a part of what is larger. Object stores want parts of
/// at least 5 MiB, and at most 10,000 of them.
const PART_BYTES: usize = 8 << 20;
/// Parts on their way to the object store at one time.
const PARTS: usize = 4;

pub(super) async fn put(
    Extract(state): Extract<Arc<State>>,
    Place(sha256): Place<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<StoredPayload>), Failure> {
    let sha256 = digest(&sha256)?;
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MAX_PAYLOAD_BYTES) {
        return Err(too_large(MAX_PAYLOAD_BYTES));
    }
    let _turn = state.uploads.acquire().await.map_err(Failure::internal)?;
    let key = object_key(&sha256);
    let storage = state.core.storage();
    let mut body = Upload::new(body);
    let told = |size| {
        Json(StoredPayload {
            size,
            reference: format!("{PAYLOAD_SCHEME}{sha256}"),
            sha256: sha256.clone(),
        })
    };
    match storage.objects().head(&key).await {
        Ok(meta) => {
            // A sender that is in the middle of it does not hear an answer.
            while body.next().await?.is_some() {}
            return Ok((StatusCode::OK, told(meta.size)));
        }
        Err(object_store::Error::NotFound { .. }) => {}
        Err(error) => return Err(Failure::internal(error)),
    }
    let mut head = Vec::new();
    let mut rest = None;
    while let Some(piece) = body.next().await? {
        head.push(piece);
        if head.iter().map(Bytes::len).sum::<usize>() > PART_BYTES {
            rest = Some(());
            break;
        }
    }
    match rest {
        None => {
            body.check(&sha256)?;
            let content = PutPayload::from_iter(head);
            let stored = storage.objects().put(&key, content).await;
            stored.map_err(Failure::internal)?;
        }
        Some(()) => {
            let upload = storage.objects().put_multipart(&key).await;
            let upload = upload.map_err(Failure::internal)?;
            let mut writer = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
            match fill(&mut writer, head, &mut body, &sha256).await {
                Ok(()) => writer.finish().await.map_err(Failure::internal).map(drop)?,
                Err(failure) => {
                    // What was begun is taken away; if that fails too, the store's own clean-up
                    // finds it.
                    let _ = writer.abort().await;
                    return Err(failure);
                }
            }
        }
    }
    Ok((StatusCode::CREATED, told(body.length)))
}

async fn fill(
    writer: &mut WriteMultipart,
    head: Vec<Bytes>,
    body: &mut Upload,
    sha256: &str,
) -> Result<(), Failure> {
    for piece in head {
        writer.put(piece);
    }
    loop {
        writer
            .wait_for_capacity(PARTS)
            .await
            .map_err(Failure::internal)?;
        match body.next().await? {
            Some(piece) => writer.put(piece),
            None => return body.check(sha256),
        }
    }
}

/// A body on its way in, counted and digested.
struct Upload {
    stream: BodyDataStream,
    digest: Sha256,
    length: u64,
}

impl Upload {
    fn new(body: Body) -> Self {
        Self {
            stream: body.into_data_stream(),
            digest: Sha256::new(),
            length: 0,
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let Some(piece) = request::next(&mut self.stream).await? else {
            return Ok(None);
        };
        self.length += piece.len() as u64;
        if self.length > MAX_PAYLOAD_BYTES {
            return Err(too_large(MAX_PAYLOAD_BYTES));
        }
        self.digest.update(&piece);
        Ok(Some(piece))
    }

    /// Fails if what came is not what was said.
    fn check(&self, sha256: &str) -> Result<(), Failure> {
        let found = hex(&self.digest.clone().finalize());
        if found == sha256 {
            return Ok(());
        }
        let detail = format!(
            "the content of {} bytes has the SHA-256 {found}",
            self.length
        );
        Err(Failure::new(ProblemKind::InvalidRequest, detail))
    }
}

pub(super) async fn has(
    Extract(state): Extract<Arc<State>>,
    Place(sha256): Place<String>,
) -> Result<StatusCode, Failure> {
    let sha256 = digest(&sha256)?;
    let found = state
        .core
        .storage()
        .objects()
        .head(&object_key(&sha256))
        .await;
    match found {
        Ok(_) => Ok(StatusCode::OK),
        Err(object_store::Error::NotFound { .. }) => Err(unknown(&sha256)),
        Err(error) => Err(Failure::internal(error)),
    }
}

pub(super) async fn get(
    Extract(state): Extract<Arc<State>>,
    Place(sha256): Place<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let sha256 = digest(&sha256)?;
    let key = object_key(&sha256);
    let found = objects::read(state.core.storage(), &key, &headers).await?;
    let mut response = found.ok_or_else(|| unknown(&sha256))?;
    objects::tag(&mut response, &sha256);
    objects::attach(&mut response, &sha256);
    Ok(response)
}

fn digest(text: &str) -> Result<String, Failure> {
    let digest = unhex(text).filter(|digest| digest.len() == 32);
    digest.map(|digest| hex(&digest)).ok_or_else(|| {
        let message = format!("`{}` is not 64 hexadecimal digits", shown(text));
        Failure::field("{sha256}", message)
    })
}

fn unknown(sha256: &str) -> Failure {
    Failure::not_found(format!("payload `{sha256}`"))
}
