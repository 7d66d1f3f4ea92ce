//! Payloads of a submission: addresses, commits, and references to what was uploaded.

use std::collections::BTreeSet;

use helix_api::submit::PayloadRequest;
use helix_proto::agent::v1::{self, payload::Source};
use object_store::path::Path as Key;

use super::Wrong;
use crate::core::{PAYLOAD_SCHEME, Submission};
use crate::http::wire::{hex, unhex};

/// Where an uploaded payload lies; `sha256` is 64 hexadecimal digits.
pub(in crate::http) fn object_key(sha256: &str) -> Key {
    let sha256 = sha256.to_ascii_lowercase();
    let (head, _) = sha256.split_at(sha256.len().min(2));
    Key::from_iter(["payloads", head, sha256.as_str()])
}

/// The digests of all payloads that must have been uploaded.
pub(in crate::http) fn references(submission: &Submission) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for item in &submission.items {
        let template = &item.template;
        for payload in template
            .payloads
            .iter()
            .chain(&template.correlation_payloads)
        {
            if let Some(Source::Url(url)) = &payload.source
                && let Some(digest) = url.strip_prefix(PAYLOAD_SCHEME)
                && !found.contains(digest)
            {
                found.insert(digest.to_owned());
            }
        }
    }
    found
}

/// Puts an address that the rules can judge in place of a reference.
pub(super) fn stand_in(payload: &mut v1::Payload) {
    if let Some(Source::Url(url)) = &mut payload.source
        && let Some(digest) = url.strip_prefix(PAYLOAD_SCHEME)
    {
        *url = format!("https://controller/{digest}");
    }
}

/// A payload in the words of the wire. In place of one that is wrong a good one, so that those after
/// it keep their places.
pub(super) fn payload(wrong: &mut Wrong, path: &str, request: &PayloadRequest) -> v1::Payload {
    read(wrong, path, request).unwrap_or_else(|| v1::Payload {
        source: Some(Source::Url("https://controller/".to_owned())),
        ..v1::Payload::default()
    })
}

fn read(wrong: &mut Wrong, path: &str, request: &PayloadRequest) -> Option<v1::Payload> {
    let mut sha256 = Vec::new();
    if let Some(text) = &request.sha256 {
        match unhex(text).filter(|digest| digest.len() == 32) {
            Some(digest) => sha256 = digest,
            None => wrong.say(
                format!("{path}.sha256"),
                "a SHA-256 digest has 64 hexadecimal digits",
            ),
        }
    }
    let source = match (&request.url, &request.git) {
        (Some(url), None) => match url.strip_prefix(PAYLOAD_SCHEME) {
            Some(digest) => {
                let Some(digest) = unhex(digest).filter(|digest| digest.len() == 32) else {
                    let message = format!(
                        "after `{PAYLOAD_SCHEME}` come the 64 hexadecimal digits of a SHA-256 digest"
                    );
                    wrong.say(format!("{path}.url"), message);
                    return None;
                };
                if !sha256.is_empty() && sha256 != digest {
                    wrong.say(format!("{path}.sha256"), "it is another one than in `url`");
                }
                let url = format!("{PAYLOAD_SCHEME}{}", hex(&digest));
                sha256 = digest;
                Source::Url(url)
            }
            None => Source::Url(url.clone()),
        },
        (None, Some(git)) => Source::Git(v1::GitSource {
            url: git.url.clone(),
            commit: git.commit.clone(),
            submodules: git.submodules,
        }),
        (Some(_), Some(_)) => {
            wrong.say(path, "it has both `url` and `git`, one of them is enough");
            return None;
        }
        (None, None) => {
            wrong.say(path, "neither `url` nor `git` is given");
            return None;
        }
    };
    Some(v1::Payload {
        source: Some(source),
        destination: request.destination.clone(),
        sha256,
    })
}
