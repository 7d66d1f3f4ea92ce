//! Where things go: the kind of system, its root, and the prefix of the programs.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// More links in one path than the kernel would follow.
const MOST_LINKS: usize = 40;

/// Who keeps the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum System {
    Systemd,
    Launchd,
}

impl System {
    /// Of the machine that this is built for.
    pub(crate) fn native() -> Self {
        if cfg!(target_os = "macos") {
            Self::Launchd
        } else {
            Self::Systemd
        }
    }

    /// Where programs go unless somebody says otherwise. Not `/usr/local` on macOS: where Homebrew
    /// has it, it is not root's, and root is to run none from there.
    pub(crate) fn default_prefix(self) -> Prefix {
        Prefix(match self {
            Self::Systemd => "/usr/local".to_owned(),
            Self::Launchd => "/Library/Helix".to_owned(),
        })
    }

    /// Where the manifest is, whatever the prefix.
    pub(super) fn manifest(self) -> PathBuf {
        self.state().join("installation.json")
    }

    /// Root's own directory, in which those of the agent are.
    pub(super) fn state(self) -> PathBuf {
        PathBuf::from(match self {
            Self::Systemd => "/var/lib/helix",
            // `/var` and `/etc` are links there.
            Self::Launchd => "/private/var/db/helix",
        })
    }

    pub(super) fn configuration(self) -> PathBuf {
        PathBuf::from(match self {
            Self::Systemd => "/etc/helix",
            Self::Launchd => "/private/etc/helix",
        })
    }
}

/// An absolute path that can be written into a unit and a property list as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prefix(String);

impl Prefix {
    /// Directories that the agent's unit hides from its own programs, or that do not last.
    const HIDDEN: [&str; 7] = [
        "/home", "/root", "/run", "/tmp", "/var/tmp", "/dev", "/proc",
    ];

    /// # Errors
    ///
    /// What is wrong with it, as a sentence.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let path = text.trim_end_matches('/');
        let is_plain = |character: char| {
            character.is_ascii_alphanumeric() || matches!(character, '/' | '.' | '_' | '-' | '+')
        };
        if !path.starts_with('/') {
            return Err("it must be an absolute path, and not the root itself".to_owned());
        }
        if !path.chars().all(is_plain) {
            return Err(
                "units and property lists take letters, digits and `/ . _ - +` in it only"
                    .to_owned(),
            );
        }
        if path
            .split('/')
            .skip(1)
            .any(|name| matches!(name, "" | "." | ".."))
        {
            return Err("it must have no empty parts, no `.` and no `..`".to_owned());
        }
        if let Some(hidden) = Self::HIDDEN
            .iter()
            .find(|hidden| Path::new(path).starts_with(hidden))
        {
            return Err(format!("daemons cannot have their programs in `{hidden}`"));
        }
        Ok(Self(path.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn join(&self, path: &str) -> PathBuf {
        Path::new(&self.0).join(path)
    }
}

/// A system to install to: the running one, or that of an image in a directory.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) system: System,
    root: PathBuf,
    /// Whether it runs, so that users can be made and daemons started.
    pub(super) is_live: bool,
}

impl Place {
    pub(super) fn new(system: System, root: Option<PathBuf>) -> Self {
        Self {
            system,
            is_live: root.is_none(),
            root: root.unwrap_or_else(|| PathBuf::from("/")),
        }
    }

    /// A running system whose files are in a directory.
    #[cfg(test)]
    pub(super) fn live_in(system: System, root: PathBuf) -> Self {
        Self {
            system,
            root,
            is_live: true,
        }
    }

    /// The directory of the image.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where a path of the system is for this process. Links above its last part are followed as
    /// that system would, so that none of an image leads out of it; the last part is not.
    pub(super) fn entry(&self, path: &Path) -> io::Result<PathBuf> {
        self.resolve(path, false)
    }

    /// The same, with its last part followed too.
    pub(super) fn target(&self, path: &Path) -> io::Result<PathBuf> {
        self.resolve(path, true)
    }

    fn resolve(&self, path: &Path, follows_last: bool) -> io::Result<PathBuf> {
        let mut pending = parts(path);
        let mut found: Vec<OsString> = Vec::new();
        let mut links = 0;
        while let Some(part) = pending.pop_front() {
            if part == ".." {
                found.pop();
                continue;
            }
            found.push(part);
            if pending.is_empty() && !follows_last {
                break;
            }
            // What is no link, or not there, is taken as it is.
            let Ok(target) = fs::read_link(self.at(&found)) else {
                continue;
            };
            links += 1;
            if links > MOST_LINKS {
                return Err(io::Error::other("too many links"));
            }
            found.pop();
            if target.is_absolute() {
                found.clear();
            }
            for part in parts(&target).into_iter().rev() {
                pending.push_front(part);
            }
        }
        Ok(self.at(&found))
    }

    fn at(&self, parts: &[OsString]) -> PathBuf {
        let mut path = self.root.clone();
        path.extend(parts);
        path
    }
}

/// The names in a path, and `..` where it goes up.
fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|component| matches!(component, Component::Normal(_) | Component::ParentDir))
        .map(|component| component.as_os_str().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn prefix_is_a_plain_path_that_daemons_can_see() {
        for good in ["/usr/local", "/opt/helix-1.2", "/Library/Helix/", "/homes"] {
            assert!(Prefix::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/",
            "opt",
            "/opt//x",
            "/opt/../x",
            "/opt/./x",
            "/opt/a b",
            "/opt/%i",
            "/opt/<x>",
            "/opt/$HOME",
            "/opt/\n",
            "/home/me",
            "/tmp",
        ] {
            assert!(Prefix::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn links_of_an_image_lead_nowhere_out_of_it() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let place = Place::new(System::Systemd, Some(root.clone()));
        fs::create_dir_all(root.join("var/local")).unwrap();
        fs::create_dir_all(root.join("usr")).unwrap();
        symlink("/var/local", root.join("usr/local")).unwrap();
        symlink("../../../../../../etc", root.join("usr/up")).unwrap();
        symlink("loop", root.join("usr/loop")).unwrap();
        let check = |path: &str, expected: &str| {
            let found = place.entry(Path::new(path)).unwrap();
            assert_eq!(found, root.join(expected), "{path}");
        };
        check("/usr/local/bin/x", "var/local/bin/x");
        check("/usr/up/passwd", "etc/passwd");
        check("/usr/local", "usr/local");
        check("/../../etc/passwd", "etc/passwd");
        let followed = place.target(Path::new("/usr/local")).unwrap();
        assert_eq!(followed, root.join("var/local"));
        assert!(place.entry(Path::new("/usr/loop/x")).is_err());
    }
}
