//! `…/attempts/{attempt}/files/{file}`: what attempts left.
//!
//! A file is found by its name among those of its attempt, so that no name leads anywhere else. Where
//! it is, its agent has said; that is believed as far as it points into the controller's own object
//! store, or to a server that the reader may ask for itself.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State as Extract;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use object_store::path::Path as Key;
use url::Url;

use super::items::find_attempt;
use super::objects;
use super::problem::Failure;
use super::request::{Place, shown};
use super::state::State;
use super::wire::hex;
use crate::config::Config;

/// Where a file is.
#[derive(Debug, PartialEq, Eq)]
enum Whereabouts {
    /// In the controller's object store.
    Own(Key),
    /// At a server.
    Elsewhere(String),
    /// Where nobody but its agent gets to.
    OutOfReach,
}

pub(super) async fn read(
    Extract(state): Extract<Arc<State>>,
    Place((job, item, attempt, name)): Place<(String, String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (_, attempt) = find_attempt(&state, &job, &item, &attempt).await?;
    let file = attempt.files.iter().find(|file| file.name == name);
    let file = file.ok_or_else(|| {
        Failure::not_found(format!(
            "file `{}` of attempt `{}`",
            shown(&name),
            attempt.id
        ))
    })?;
    match whereabouts(state.core.config(), &file.url) {
        Whereabouts::Own(key) => {
            let found = objects::read(state.core.storage(), &key, &headers).await?;
            let mut response = found
                .ok_or_else(|| Failure::not_found(format!("file `{}` any more", shown(&name))))?;
            if !file.sha256.is_empty() {
                objects::tag(&mut response, &hex(&file.sha256));
            }
            objects::attach(&mut response, &file.name);
            Ok(response)
        }
        Whereabouts::Elsewhere(url) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            let url = HeaderValue::from_str(&url).map_err(Failure::internal)?;
            response.headers_mut().insert(LOCATION, url);
            Ok(response)
        }
        Whereabouts::OutOfReach => Err(Failure::not_found(format!(
            "way to file `{}` from here: agent `{}` keeps it for itself; it and the controller \
             should store files in the same place",
            shown(&name),
            attempt.agent
        ))),
    }
}

fn whereabouts(config: &Config, url: &str) -> Whereabouts {
    let Ok(url) = Url::parse(url) else {
        return Whereabouts::OutOfReach;
    };
    if let Some(key) = own_key(config, &url) {
        return Whereabouts::Own(key);
    }
    let is_bare = url.username().is_empty() && url.password().is_none();
    match url.scheme() {
        "http" | "https" if is_bare => Whereabouts::Elsewhere(url.into()),
        _ => Whereabouts::OutOfReach,
    }
}

/// The key of an address that lies beneath the controller's own object store.
fn own_key(config: &Config, url: &Url) -> Option<Key> {
    let root = match &config.storage.url {
        Some(root) => Url::parse(root).ok()?,
        None => Url::from_directory_path(config.state_directory.join("objects")).ok()?,
    };
    let same = root.scheme() == url.scheme()
        && root.host_str() == url.host_str()
        && root.port() == url.port()
        && url.username().is_empty()
        && url.query().is_none()
        && url.fragment().is_none();
    if !same || matches!(url.scheme(), "http" | "https") {
        return None;
    }
    let root = root.path().trim_end_matches('/');
    let rest = url.path().strip_prefix(root)?.strip_prefix('/')?;
    // Refuses what would climb, encoded or not.
    let key = Key::from_url_path(rest).ok()?;
    // Signing keys and payloads are no files of attempts.
    let kept =
        matches!(key.parts().next(), Some(first) if matches!(first.as_ref(), "keys" | "payloads"));
    (!kept && key.parts().next().is_some()).then_some(key)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn check(root: Option<&str>, url: &str, expected: Whereabouts) {
        let mut config = Config::for_loopback(Path::new("/srv/helix"));
        config.storage.url = root.map(str::to_owned);
        assert_eq!(whereabouts(&config, url), expected, "{root:?} {url}");
    }

    fn own(key: &str) -> Whereabouts {
        Whereabouts::Own(Key::parse(key).unwrap())
    }

    #[test]
    fn an_agent_cannot_point_at_the_controllers_other_files() {
        check(
            None,
            "file:///srv/helix/objects/j/a%20b.trx",
            own("j/a b.trx"),
        );
        for url in [
            "file:///etc/passwd",
            "file:///srv/helix/objects/../helix.db",
            "file:///srv/helix/objects/j/%2e%2e/%2e%2e/helix.db",
            "file:///srv/helix/objects/j/..%2f..%2fhelix.db",
            "file:///srv/helix/objects-other/x",
            "file:///srv/helix/objects",
            "file:///srv/helix/objects/",
            "file:///srv/helix/objects/keys/payload-addresses",
            "file:///srv/helix/objects//keys/payload-addresses",
            "file:///srv/helix/objects/payloads/ab/abc",
            "file://elsewhere/srv/helix/objects/x",
            "file:///srv/helix/objects/x?y",
            "/srv/helix/objects/x",
            "javascript:alert(1)",
            "https://user:secret@h/x",
            "",
        ] {
            let found = {
                let config = Config::for_loopback(Path::new("/srv/helix"));
                whereabouts(&config, url)
            };
            match found {
                Whereabouts::OutOfReach => {}
                Whereabouts::Own(key) => {
                    let text = key.as_ref();
                    let safe = !text.starts_with("keys")
                        && !text.starts_with("payloads")
                        && !text.contains("..");
                    assert!(safe && url.contains("objects/x"), "{url} leads to {text}");
                }
                Whereabouts::Elsewhere(place) => panic!("{url} leads to {place}"),
            }
        }
    }

    #[test]
    fn what_lies_with_others_is_shown_the_way_to() {
        let https = "https://files.example/x?sig=1";
        check(None, https, Whereabouts::Elsewhere(https.to_owned()));
        let root = Some("az://results/helix");
        check(root, "az://results/helix/j/x", own("j/x"));
        check(root, "az://results/other/x", Whereabouts::OutOfReach);
        check(root, "az://others/helix/x", Whereabouts::OutOfReach);
        check(root, "s3://results/helix/x", Whereabouts::OutOfReach);
    }
}
