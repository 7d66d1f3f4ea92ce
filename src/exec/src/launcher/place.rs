//! Paths that a request names, held within the roots that the configuration names.
//!
//! A root is trusted and opened as it is. What follows it is walked part by part without following
//! a symbolic link, so nobody who can write there can lead the launcher out of the root.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use super::config::Roots;
use super::message::Refusal;
use crate::os_text::OsText;
use crate::sys;

/// A directory that may be opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    /// Wherever the path leads.
    Anywhere(OsText),
    /// `below`, without a detour, from `root`.
    Beneath { root: OsText, below: OsText },
}

impl Place {
    /// The place of `path`, or why `field` may not name it.
    pub(super) fn new(field: &str, path: &Path, roots: &Roots) -> Result<Self, Refusal> {
        let invalid = |problem: &str| Refusal::Invalid {
            field: field.to_owned(),
            problem: problem.to_owned(),
        };
        if !path.is_absolute() {
            return Err(invalid("is not an absolute path"));
        }
        if path.as_os_str().as_encoded_bytes().contains(&0) {
            return Err(invalid("contains a zero byte"));
        }
        let roots = match roots {
            Roots::Anywhere => return Ok(Self::Anywhere(path.into())),
            Roots::Beneath(roots) => roots,
        };
        let place = roots.iter().find_map(|root| {
            let below = path.strip_prefix(root).ok()?;
            let is_plain = below
                .components()
                .all(|part| matches!(part, Component::Normal(_)));
            is_plain.then(|| Self::Beneath {
                root: root.as_path().into(),
                below: below.into(),
            })
        });
        place.ok_or_else(|| Refusal::Forbidden {
            field: field.to_owned(),
            problem: "is not beneath any of the roots allowed for it".to_owned(),
        })
    }

    /// Opens the directory, to enter it or to open what it holds.
    pub(crate) fn open(&self) -> io::Result<OwnedFd> {
        let flags = sys::open_directory_flags();
        match self {
            Self::Anywhere(path) => Ok(open(path.as_path(), flags, Mode::empty())?),
            Self::Beneath { root, below } => {
                let mut directory = open(root.as_path(), flags, Mode::empty())?;
                for part in below.as_path().components() {
                    let flags = flags | OFlag::O_NOFOLLOW;
                    directory = openat(&directory, part.as_os_str(), flags, Mode::empty())?;
                }
                Ok(directory)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn beneath(roots: &[&Path]) -> Roots {
        Roots::Beneath(roots.iter().map(|root| root.to_path_buf()).collect())
    }

    #[test]
    fn paths_outside_the_roots_are_refused() {
        let roots = beneath(&[Path::new("/srv/work"), Path::new("/data")]);
        for path in [
            "/srv",
            "/srv/workshop",
            "/srv/work/../x",
            "/etc",
            "/data/a/../../etc",
        ] {
            let refusal = Place::new("field", Path::new(path), &roots).unwrap_err();
            assert!(
                matches!(refusal, Refusal::Forbidden { .. }),
                "{path}: {refusal:?}"
            );
        }
        for path in ["/srv/work", "/srv/work/a/b", "/data/./x"] {
            assert!(
                Place::new("field", Path::new(path), &roots).is_ok(),
                "{path}"
            );
        }
        for path in ["work", "", "/a\0b"] {
            let refusal = Place::new("field", Path::new(path), &Roots::Anywhere).unwrap_err();
            assert!(
                matches!(refusal, Refusal::Invalid { .. }),
                "{path:?}: {refusal:?}"
            );
        }
    }

    #[test]
    fn symbolic_links_lead_nowhere_below_a_root() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("file"), b"").unwrap();
        symlink("/etc", root.join("out")).unwrap();
        symlink("a", root.join("in")).unwrap();
        let open = |below: &str| {
            Place::new("field", &root.join(below), &beneath(&[&root]))
                .unwrap()
                .open()
        };
        assert!(open("").is_ok() && open("a/b").is_ok());
        for below in ["out", "in", "in/b", "file", "missing"] {
            assert!(open(below).is_err(), "{below}");
        }
        // A root itself is trusted, whatever it is.
        let link = directory.path().join("link");
        symlink(&root, &link).unwrap();
        let place = Place::new("field", &link.join("a"), &beneath(&[&link])).unwrap();
        assert!(place.open().is_ok());
    }
}
