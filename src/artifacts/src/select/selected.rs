//! A file that was selected, and how it is opened without trusting anything in between.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use super::Kind;
use crate::name::ArtifactName;

/// A file that was selected. It holds its rule's directory open, not itself: there may be more
/// files than descriptors.
#[derive(Debug, Clone)]
pub struct Selected {
    /// What it is called at the destination.
    pub name: ArtifactName,
    /// Why it is kept.
    pub kind: Kind,
    /// Its size in bytes when it was selected.
    pub size: u64,
    pub(super) root: Arc<OwnedFd>,
    /// From the rule's directory down to the file itself.
    pub(super) components: Vec<OsString>,
    pub(super) identity: Identity,
}

/// Which file something is, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

/// Why a selected file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The system refused.
    #[error("cannot open `{name}`")]
    Open {
        /// The file.
        name: ArtifactName,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another file, a link or something else has taken its place.
    #[error("`{name}` was replaced after it was selected")]
    Replaced {
        /// The file.
        name: ArtifactName,
    },
}

impl Selected {
    /// Opens the file for reading.
    ///
    /// # Errors
    ///
    /// See [`TakeError`]. The answer is the selected file or an error, never another file.
    pub fn open(&self) -> Result<File, TakeError> {
        let failed = |errno: Errno| match errno {
            Errno::ELOOP | Errno::ENOTDIR => TakeError::Replaced {
                name: self.name.clone(),
            },
            errno => TakeError::Open {
                name: self.name.clone(),
                source: errno.into(),
            },
        };
        let Some((file, directories)) = self.components.split_last() else {
            return Err(TakeError::Replaced {
                name: self.name.clone(),
            });
        };
        let mut directory: Option<OwnedFd> = None;
        for component in directories {
            let next = match &directory {
                None => openat(
                    &*self.root,
                    component.as_os_str(),
                    directory_flags(),
                    Mode::empty(),
                ),
                Some(parent) => openat(
                    parent,
                    component.as_os_str(),
                    directory_flags(),
                    Mode::empty(),
                ),
            };
            directory = Some(next.map_err(failed)?);
        }
        // Should a fifo or a device have taken its place, opening does not wait for it.
        let flags = OFlag::O_RDONLY
            | OFlag::O_NOFOLLOW
            | OFlag::O_CLOEXEC
            | OFlag::O_NONBLOCK
            | OFlag::O_NOCTTY;
        let parent = directory.as_ref().unwrap_or(&self.root);
        let opened = openat(parent, file.as_os_str(), flags, Mode::empty()).map_err(failed)?;
        let stat = fstat(&opened).map_err(failed)?;
        if !is_kind(&stat, SFlag::S_IFREG) || Identity::of(&stat) != self.identity {
            return Err(TakeError::Replaced {
                name: self.name.clone(),
            });
        }
        Ok(File::from(opened))
    }
}

impl Identity {
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_sign_loss,
        reason = "the width and sign of both fields differ between systems; only equality counts"
    )]
    pub(super) fn of(stat: &FileStat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
        }
    }

    pub(super) fn same_device(self, other: Self) -> bool {
        self.device == other.device
    }
}

/// How a directory is opened: itself or not at all.
pub(super) fn directory_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

pub(super) fn is_kind(stat: &FileStat, kind: SFlag) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == kind
}
