//! The directories of whoever holds a slot: on record from before they change hands until they are
//! back, so that a holder that is killed leaves none behind that the next one could enter.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{Gid, Uid};
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::fault;
use crate::os_text::OsText;
use crate::ownership::{Change, Modes, Transferred, transfer};
use crate::sys;

/// Directories that change hands, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stay {
    /// What holds the others.
    pub(crate) parent: Place,
    pub(crate) names: Vec<OsText>,
}

/// The same directories, open.
#[derive(Debug)]
pub(crate) struct OpenStay {
    pub(crate) parent: OwnedFd,
    pub(crate) directories: Vec<OwnedFd>,
}

impl Stay {
    /// Opens the parent, which has to be the client's, and the directories in it, without following
    /// a link.
    pub(crate) fn open(&self, client: Uid) -> io::Result<OpenStay> {
        let parent = self.parent.open()?;
        owned_by(&parent, client)?;
        let directories = self
            .names
            .iter()
            .map(|name| {
                let name = CString::new(name.as_bytes())?;
                let flags = sys::open_directory_flags() | OFlag::O_NOFOLLOW;
                Ok(openat(&parent, name.as_c_str(), flags, Mode::empty())?)
            })
            .collect::<io::Result<_>>()?;
        Ok(OpenStay {
            parent,
            directories,
        })
    }
}

impl OpenStay {
    /// Who has the directories, as far as they tell: where a change of hands was cut off, that is
    /// the group of the parent.
    pub(crate) fn owners(&self) -> io::Result<Vec<(Uid, Gid)>> {
        std::iter::once(&self.parent)
            .chain(&self.directories)
            .map(|directory| {
                let stat = fstat(directory)?;
                Ok((Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid)))
            })
            .collect()
    }

    /// Makes what belongs to these users the client's. Nothing of theirs may run any more.
    pub(crate) fn give_back(&self, from: &[Uid], client: (Uid, Gid), modes: Modes) -> Transferred {
        let change = Change {
            from,
            to: client,
            modes,
        };
        let mut all = Transferred::default();
        for directory in &self.directories {
            all.add(transfer(directory, change));
            fault::point("supervisor-giving-back");
        }
        // Last, as it tells of all that is not back yet. The client can do the same for itself.
        let _ = sys::change_owner(self.parent.as_fd(), client);
        all
    }
}

/// An error unless the directory belongs to the user.
pub(crate) fn owned_by(directory: &OwnedFd, user: Uid) -> io::Result<()> {
    let owner = Uid::from_raw(fstat(directory)?.st_uid);
    if owner == user {
        Ok(())
    } else {
        let problem = format!("a directory belongs to user {owner}, who has no part in this");
        Err(io::Error::new(io::ErrorKind::PermissionDenied, problem))
    }
}
