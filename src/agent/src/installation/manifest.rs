//! What an installation put on a machine, so that exactly that goes again.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::place::Place;

/// Kept in [`super::System::manifest`], as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// Of the program that installed last.
    pub(super) version: String,
    /// Files and links. Not configuration, which is the administrator's.
    pub(super) files: BTreeSet<PathBuf>,
    /// Directories that were not there before. They go when they are empty.
    pub(super) directories: BTreeSet<PathBuf>,
    /// Users that were not there before, each with a group of the same name.
    pub(super) accounts: BTreeSet<String>,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("read it")]
    Read(#[source] io::Error),
    #[error("it is no manifest")]
    Json(#[source] serde_json::Error),
    #[error("it names `{}`, which no installation makes", .0.display())]
    Path(PathBuf),
    #[error("it names the user `{0}`, whom no installation makes")]
    Account(String),
}

impl Manifest {
    /// That of an earlier installation; `None` where there was none.
    pub(super) fn load(place: &Place) -> Result<Option<Self>, ManifestError> {
        let path = place
            .entry(&place.system.manifest())
            .map_err(ManifestError::Read)?;
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(ManifestError::Read)?,
        };
        let manifest: Self = serde_json::from_str(&text).map_err(ManifestError::Json)?;
        // All of it is to be removed one day, by root.
        for path in manifest.files.iter().chain(&manifest.directories) {
            if !is_plain(path) {
                return Err(ManifestError::Path(path.clone()));
            }
        }
        for name in &manifest.accounts {
            let of_us = name.strip_prefix("helix-").or(name.strip_prefix("_helix"));
            if !of_us.is_some_and(|rest| rest.chars().all(|one| one.is_ascii_alphanumeric())) {
                return Err(ManifestError::Account(name.clone()));
            }
        }
        Ok(Some(manifest))
    }

    pub(super) fn text(&self) -> String {
        // Strings and lists cannot fail to become JSON.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

/// An absolute path that goes nowhere up, and is not the root.
fn is_plain(path: &Path) -> bool {
    let mut components = path.components();
    components.next() == Some(Component::RootDir)
        && components.clone().next().is_some()
        && components.all(|component| matches!(component, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::installation::System;

    #[test]
    fn manifest_that_would_remove_anything_else_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::new(System::Systemd, Some(root.path().to_owned()));
        fs::create_dir_all(root.path().join("var/lib/helix")).unwrap();
        let load = |text: &str| {
            fs::write(root.path().join("var/lib/helix/installation.json"), text).unwrap();
            Manifest::load(&place)
        };
        let with = |path: &str, account: &str| {
            let path = PathBuf::from(path);
            load(
                &Manifest {
                    files: [path].into(),
                    accounts: [account.to_owned()].into(),
                    ..Manifest::default()
                }
                .text(),
            )
        };
        assert!(with("/opt/x", "helix-0").unwrap().is_some());
        for path in ["/", "etc/passwd", "/opt/../etc/passwd", ""] {
            assert!(
                matches!(with(path, "helix-0"), Err(ManifestError::Path(_))),
                "{path}"
            );
        }
        for account in ["root", "helix", "helix-../x", "-r"] {
            let loaded = with("/opt/x", account);
            assert!(
                matches!(loaded, Err(ManifestError::Account(_))),
                "{account}"
            );
        }
        assert!(matches!(load("{"), Err(ManifestError::Json(_))));
        assert!(matches!(load("{\"more\": 1}"), Err(ManifestError::Json(_))));
    }
}
