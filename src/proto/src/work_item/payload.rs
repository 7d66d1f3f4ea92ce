//! Where files come from and where they go.

use helix_model::path::RelativePath;
use helix_model::work_item::{
    Commit, GitUrl, Payload, PayloadSource, PayloadUrl, Sha256, Submodules, UrlError,
};

use super::reader::Reader;
use crate::agent::v1;

pub(super) fn payload(reader: &mut Reader, path: &str, message: v1::Payload) -> Option<Payload> {
    let is_git = matches!(message.source, Some(v1::payload::Source::Git(_)));
    let source = match message.source {
        Some(v1::payload::Source::Url(url)) => {
            let url = PayloadUrl::new(url).map_err(|error| wording(&error));
            reader
                .check(&format!("{path}.url"), url)
                .map(PayloadSource::Url)
        }
        Some(v1::payload::Source::Git(git)) => self::git(reader, path, git),
        None => {
            reader.say(path, "neither `url` nor `git` is given");
            None
        }
    };
    let destination = reader.check(
        &format!("{path}.destination"),
        RelativePath::new(&message.destination),
    );
    let sha256 = sha256(reader, &format!("{path}.sha256"), message.sha256, is_git);
    Some(Payload {
        source: source?,
        destination: destination?,
        sha256: sha256?,
    })
}

fn git(reader: &mut Reader, path: &str, message: v1::GitSource) -> Option<PayloadSource> {
    let url = GitUrl::new(message.url).map_err(|error| wording(&error));
    let url = reader.check(&format!("{path}.git.url"), url);
    let commit = reader.check(&format!("{path}.git.commit"), Commit::new(&message.commit));
    let submodules = if message.submodules {
        Submodules::Fetch
    } else {
        Submodules::Skip
    };
    Some(PayloadSource::Git {
        url: url?,
        commit: commit?,
        submodules,
    })
}

fn sha256(reader: &mut Reader, path: &str, bytes: Vec<u8>, is_git: bool) -> Option<Option<Sha256>> {
    if bytes.is_empty() {
        return Some(None);
    }
    if is_git {
        reader.say(path, "a git commit takes no digest besides");
        return None;
    }
    let digest = <[u8; 32]>::try_from(bytes)
        .map_err(|bytes| format!("a SHA-256 digest has 32 bytes, not {}", bytes.len()));
    reader
        .check(path, digest)
        .map(|digest| Some(Sha256(digest)))
}

/// The error, without the part of a `file` address where a password could stand.
fn wording(error: &UrlError) -> String {
    match error {
        UrlError::RemoteFile { .. } => {
            "the `file` address names a host, only the local machine is possible".to_owned()
        }
        UrlError::NoScheme
        | UrlError::UnknownScheme { .. }
        | UrlError::NoHost
        | UrlError::NoPath
        | UrlError::BadCharacter { .. }
        | UrlError::TooLong { .. } => error.to_string(),
    }
}
