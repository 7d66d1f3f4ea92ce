//! Objects of the object store as answers: payloads that agents fetch, files that attempts left.

use axum::http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};

use super::problem::Failure;
use super::range::Wanted;
use super::stream::body_of;
use crate::storage::Storage;

/// An object, or a range of it; none if it is not there.
pub(super) async fn read(
    storage: &Storage,
    key: &Key,
    headers: &HeaderMap,
) -> Result<Option<Response>, Failure> {
    let objects = storage.objects();
    let length = match objects.head(key).await {
        Ok(meta) => meta.size,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(Failure::internal(error)),
    };
    let wanted = Wanted::of(headers);
    let range = wanted
        .within(length)
        .ok_or_else(|| Failure::beyond(length))?;
    let mut response = if range.is_empty() {
        Response::new(axum::body::Body::empty())
    } else {
        let options = GetOptions {
            range: Some(GetRange::Bounded(range.clone())),
            ..GetOptions::default()
        };
        let object = objects.get_opts(key, options).await;
        let object = object.map_err(Failure::internal)?;
        Response::new(body_of(object.into_stream()))
    };
    let headers = response.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if wanted != Wanted::All {
        let text = format!(
            "bytes {}-{}/{length}",
            range.start,
            range.end.saturating_sub(1)
        );
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(CONTENT_RANGE, value);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(Some(response))
}

/// Names the content by its digest, so that a download can be taken up again.
pub(super) fn tag(response: &mut Response, sha256: &str) {
    if let Ok(value) = HeaderValue::from_str(&format!("\"{sha256}\"")) {
        response.headers_mut().insert(ETAG, value);
    }
}

/// Has a browser keep the content under a name and not show it: it comes from a test, and must not
/// act in the name of this server.
pub(super) fn attach(response: &mut Response, name: &str) {
    let name = name.rsplit('/').next().unwrap_or_default();
    let plain: String = name
        .chars()
        .map(|character| match character {
            'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | '-' | '_' => character,
            _ => '_',
        })
        .collect();
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{plain}\"")) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    let policy = HeaderValue::from_static("sandbox; default-src 'none'");
    headers.insert("content-security-policy", policy);
}
