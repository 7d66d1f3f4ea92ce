//! The working directories of a command: its user's while it runs, the client's before and after.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use nix::sys::stat::Mode;
use nix::unistd::Uid;

use super::SetUpError;
use crate::fault;
use crate::launcher::{Ground, OpenStay, SlotUser, Stay, owned_by};
use crate::os_text::OsText;
use crate::ownership::{Change, Modes, Transferred, transfer};
use crate::sys;

/// The client may do everything, the command's group pass through, others nothing.
const PASSABLE: Mode = Mode::S_IRWXU.union(Mode::S_IXGRP);

/// Directories that belong to the command's user until they are given back.
#[derive(Debug)]
pub(super) struct HandedOver {
    stay: OpenStay,
    temporary: Option<usize>,
    user: Uid,
}

impl HandedOver {
    /// Hands the directories over to the user: all of them, or none.
    pub(super) fn new(
        stay: &Stay,
        temporary: Option<&OsText>,
        ground: &Ground,
        user: &SlotUser,
    ) -> Result<Self, SetUpError> {
        let failed = |error: io::Error| SetUpError::new("hand the directories over", error);
        let (client, _) = ground.client;
        let all = Self {
            stay: stay.open(client).map_err(failed)?,
            temporary: temporary.and_then(|name| stay.names.iter().position(|it| it == name)),
            user: user.uid,
        };
        match all.hand_over(client, user) {
            Ok(()) => Ok(all),
            Err(error) => {
                // Nobody has seen them meanwhile: their modes are what they were.
                all.stay.give_back(&[user.uid], ground.client, Modes::Keep);
                Err(failed(error))
            }
        }
    }

    fn hand_over(&self, client: Uid, user: &SlotUser) -> io::Result<()> {
        let OpenStay {
            parent,
            directories,
        } = &self.stay;
        // First, as from now on it tells whose the directories are, or are about to be.
        sys::change_owner(parent.as_fd(), (client, user.gid))?;
        let change = Change {
            from: &[client],
            to: (user.uid, user.gid),
            modes: Modes::Keep,
        };
        for directory in directories {
            transfer(directory, change);
            // What is beneath may be anybody's; what the command is to work in may not.
            owned_by(directory, user.uid)?;
            fault::point("supervisor-handing-over");
        }
        // Last, so that nobody can pass before all is in place.
        sys::change_mode(parent.as_fd(), PASSABLE)?;
        Ok(())
    }

    /// All of them.
    pub(super) fn directories(&self) -> Vec<BorrowedFd<'_>> {
        let directories = self.stay.directories.iter();
        directories.map(|directory| directory.as_fd()).collect()
    }

    /// What the command sees as `/tmp`.
    pub(super) fn temporary(&self) -> Option<BorrowedFd<'_>> {
        let temporary = self.stay.directories.get(self.temporary?)?;
        Some(temporary.as_fd())
    }

    /// Gives all of it back to the client. Nothing of the user's may run any more.
    pub(super) fn give_back(self, ground: &Ground) -> Transferred {
        self.stay
            .give_back(&[self.user], ground.client, Modes::Regain)
    }
}

/// Brings directories back whose supervisor was killed, whichever slot it had.
pub(super) fn reclaim(stay: &Stay, ground: &Ground) -> Result<Transferred, SetUpError> {
    let failed = |error: io::Error| SetUpError::new("bring the directories back", error);
    let Some(slots) = &ground.slots else {
        return Ok(Transferred::default());
    };
    let open = stay.open(ground.client.0).map_err(failed)?;
    let owners = open.owners().map_err(failed)?;
    let vacated = slots.vacate(&owners).map_err(SetUpError::Refused)?;
    let mut all = open.give_back(&vacated.users, ground.client, Modes::Regain);
    for (of, transferred) in vacated.brought_back {
        if of == *stay {
            all.add(transferred);
        }
    }
    Ok(all)
}
