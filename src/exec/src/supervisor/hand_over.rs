//! The working directories of a command: its user's while it runs, the client's before and after.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{Gid, Uid};

use super::SetUpError;
use crate::fault;
use crate::launcher::{Ground, Place, SlotUser};
use crate::os_text::OsText;
use crate::ownership::{Change, Modes, Transferred, transfer};
use crate::request::Directories;
use crate::sys;

/// The client may do everything, the command's group pass through, others nothing.
const PASSABLE: Mode = Mode::S_IRWXU.union(Mode::S_IXGRP);

/// Directories that belong to the command's user until they are given back.
#[derive(Debug)]
pub(super) struct HandedOver {
    parent: OwnedFd,
    directories: Vec<OwnedFd>,
    temporary: Option<usize>,
    user: Uid,
}

impl HandedOver {
    /// Hands the directories over to the user.
    pub(super) fn new(
        parent: &Place,
        directories: &Directories,
        ground: &Ground,
        user: &SlotUser,
    ) -> Result<Self, SetUpError> {
        let failed = |error: io::Error| SetUpError::new("hand the directories over", error);
        let (client, _) = ground.client;
        let (parent, opened) = open_all(parent, &directories.names).map_err(failed)?;
        let opened = opened.map_err(failed)?;
        owned_by(&parent, &[client]).map_err(failed)?;
        let change = Change {
            from: &[client],
            to: (user.uid, user.gid),
            modes: Modes::Keep,
        };
        for directory in &opened {
            transfer(directory, change);
            // What is beneath may be anybody's; what the command is to work in may not.
            owned_by(directory, &[user.uid]).map_err(failed)?;
            fault::point("supervisor-handing-over");
        }
        // Last, so that nobody can pass before all is in place.
        share(&parent, client, user.gid).map_err(failed)?;
        let temporary = directories.temporary.as_ref();
        Ok(Self {
            parent,
            directories: opened,
            temporary: temporary
                .and_then(|name| directories.names.iter().position(|it| it == name)),
            user: user.uid,
        })
    }

    /// What the command sees as `/tmp`.
    pub(super) fn temporary(&self) -> Option<BorrowedFd<'_>> {
        let temporary = self.directories.get(self.temporary?)?;
        Some(temporary.as_fd())
    }

    /// Gives all of it back to the client. Nothing of the user's may run any more.
    pub(super) fn give_back(self, ground: &Ground) -> Transferred {
        give_back(&self.parent, &self.directories, &[self.user], ground)
    }
}

/// Brings directories back whose supervisor was killed, whichever slot it had.
pub(super) fn reclaim(
    parent: &Place,
    names: &[OsText],
    ground: &Ground,
) -> Result<Transferred, SetUpError> {
    let failed = |error: io::Error| SetUpError::new("bring the directories back", error);
    let Some(slots) = &ground.slots else {
        return Ok(Transferred::default());
    };
    slots.empty_abandoned().map_err(failed)?;
    let (parent, directories) = open_all(parent, names).map_err(failed)?;
    owned_by(&parent, &[ground.client.0]).map_err(failed)?;
    Ok(give_back(
        &parent,
        &directories.map_err(failed)?,
        &slots.uids(),
        ground,
    ))
}

fn give_back(
    parent: &OwnedFd,
    directories: &[OwnedFd],
    from: &[Uid],
    ground: &Ground,
) -> Transferred {
    let change = Change {
        from,
        to: ground.client,
        modes: Modes::Regain,
    };
    let mut all = Transferred::default();
    for directory in directories {
        all.add(transfer(directory, change));
        fault::point("supervisor-giving-back");
    }
    // The client can do the same for itself.
    let _ = sys::change_owner(parent.as_fd(), ground.client);
    all
}

type Opened = io::Result<Vec<OwnedFd>>;

/// Opens the parent, and the directories in it.
fn open_all(parent: &Place, names: &[OsText]) -> io::Result<(OwnedFd, Opened)> {
    let parent = parent.open()?;
    let opened = names
        .iter()
        .map(|name| {
            let name = CString::new(name.as_bytes())?;
            let directory = sys::open_to_look(parent.as_fd(), &name)?;
            let kind = SFlag::from_bits_truncate(fstat(&directory)?.st_mode & SFlag::S_IFMT.bits());
            if kind == SFlag::S_IFDIR {
                Ok(directory)
            } else {
                Err(io::ErrorKind::NotADirectory.into())
            }
        })
        .collect();
    Ok((parent, opened))
}

fn owned_by(directory: &OwnedFd, users: &[Uid]) -> io::Result<()> {
    let owner = Uid::from_raw(fstat(directory)?.st_uid);
    if users.contains(&owner) {
        Ok(())
    } else {
        let problem = format!("a directory belongs to user {owner}, who has no part in this");
        Err(io::Error::new(io::ErrorKind::PermissionDenied, problem))
    }
}

fn share(parent: &OwnedFd, client: Uid, group: Gid) -> io::Result<()> {
    sys::change_owner(parent.as_fd(), (client, group))?;
    sys::change_mode(parent.as_fd(), PASSABLE)?;
    Ok(())
}
