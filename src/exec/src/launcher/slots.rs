//! Slots: what a command has for itself while it runs, one user and one control group each.
//!
//! A slot is held by a lock on a file, which the kernel takes back when the holder dies. So nobody
//! has to remember who holds what: not the launcher, which may be restarted, and not the holder,
//! which may be killed. The file says whether its last holder has left the slot empty, and which
//! directories it had; what a killed one has left is ended and given back by the next before
//! anything else happens in the slot.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid};

use super::message::Refusal;
use super::stay::Stay;
use super::users::SlotUser;
use crate::control_group::{Group, Hierarchy};
use crate::frame::MAX_LAUNCHER_FRAME;
use crate::ownership::{Modes, Transferred};
use crate::request::ResourceLimits;
use crate::sys;

/// How long the processes of a dead holder may take to die.
const EMPTY_LIMIT: Duration = Duration::from_secs(5);

const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(2);

/// What the file of a slot begins with while it is held, and when it was not left empty.
const IN_USE: u8 = b'1';
const EMPTY: u8 = b'0';

/// Most bytes of a slot's file that are read: more than a request can make it.
const MAX_RECORD: u64 = MAX_LAUNCHER_FRAME as u64;

/// All slots of a launcher.
#[derive(Debug)]
pub(crate) struct Slots {
    directory: OwnedFd,
    users: Option<Vec<SlotUser>>,
    hierarchy: Option<Hierarchy>,
    count: u32,
    /// Who gets back what a holder has left.
    client: (Uid, Gid),
}

/// A slot that this process holds.
#[derive(Debug)]
pub(crate) struct Slot<'a> {
    pub(crate) number: u32,
    pub(crate) user: Option<&'a SlotUser>,
    pub(crate) group: Option<Group>,
    hierarchy: Option<&'a Hierarchy>,
    lock: Flock<File>,
}

type TakenOver = (Flock<File>, Option<(Stay, Transferred)>);

/// What is known of who still runs in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vacancy {
    /// Nobody does.
    Empty,
    /// Somebody may: what cannot be killed, or was not to be seen.
    Uncertain,
}

/// Slots that stay empty, and are nobody's, while this is there.
#[derive(Debug)]
pub(crate) struct Vacated {
    /// Their users.
    pub(crate) users: Vec<Uid>,
    /// What their last holders had left, which is the client's again.
    pub(crate) brought_back: Vec<(Stay, Transferred)>,
    /// Given up when this is dropped.
    _locks: Vec<Flock<File>>,
}

impl Slots {
    /// Slots for these users, or so many of them without users.
    pub(super) fn new(
        directory: OwnedFd,
        users: Option<Vec<SlotUser>>,
        hierarchy: Option<Hierarchy>,
        most: usize,
        client: (Uid, Gid),
    ) -> Self {
        let count = users.as_ref().map_or(most, |users| users.len().min(most));
        Self {
            directory,
            users,
            hierarchy,
            count: u32::try_from(count).unwrap_or(u32::MAX),
            client,
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Takes a slot that nobody holds, and empties it if need be. The limits are those of its
    /// group, the directories those that are about to be its user's.
    pub(crate) fn acquire(
        &self,
        limits: &ResourceLimits,
        stay: Option<&Stay>,
    ) -> Result<Slot<'_>, Refusal> {
        let mut problem = None;
        for number in 0..self.count {
            match self.take(number, limits, stay) {
                Ok(Some(slot)) => return Ok(slot),
                Ok(None) => {}
                // What is wrong with one need not be wrong with the next.
                Err(error) => problem = Some((number, error)),
            }
        }
        Err(match problem {
            Some((number, error)) => failed(number, &error),
            None => Refusal::Full {
                running: self.count as usize,
                limit: self.count as usize,
            },
        })
    }

    /// Ends whatever runs in slots that nobody holds. Does not wait for the end of it.
    pub(crate) fn sweep(&self) {
        for number in 0..self.count {
            if let Ok(Some(lock)) = self.lock(number, OFlag::empty())
                && was_left(&lock).unwrap_or(true)
            {
                // What lives on is met again by whoever takes the slot.
                let _ = self.kill(number);
            }
        }
    }

    /// Takes those slots whose users or groups are among the owners, and empties them: nothing
    /// runs as their users before the guard is dropped. Refused when somebody holds one of them.
    pub(crate) fn vacate(&self, owners: &[(Uid, Gid)]) -> Result<Vacated, Refusal> {
        let mut vacated = Vacated {
            users: Vec::new(),
            brought_back: Vec::new(),
            _locks: Vec::new(),
        };
        for (number, user) in (0..self.count).zip(self.users.iter().flatten()) {
            if !owners
                .iter()
                .any(|(uid, gid)| *uid == user.uid || *gid == user.gid)
            {
                continue;
            }
            match self.take_over(number) {
                Ok(Some((lock, brought_back))) => {
                    vacated.users.push(user.uid);
                    vacated.brought_back.extend(brought_back);
                    vacated._locks.push(lock);
                }
                Ok(None) => return Err(Refusal::InUse { slot: number }),
                Err(error) => return Err(failed(number, &error)),
            }
        }
        Ok(vacated)
    }

    /// The lock of a slot in which nothing runs, and what its last holder had left; `None` when
    /// somebody has it.
    fn take_over(&self, number: u32) -> io::Result<Option<TakenOver>> {
        let Some(lock) = self.lock(number, OFlag::O_CREAT)? else {
            return Ok(None);
        };
        let mut brought_back = None;
        if was_left(&lock)? {
            let stay = recorded(&lock);
            self.empty(number)?;
            if let Some((stay, user)) = stay.zip(self.user(number))
                && let Ok(open) = stay.open(self.client.0)
            {
                // What is gone, or somebody else's by now, is in nobody's way.
                let transferred = open.give_back(&[user.uid], self.client, Modes::Regain);
                brought_back = Some((stay, transferred));
            }
            mark(&lock, &[EMPTY])?;
        }
        Ok(Some((lock, brought_back)))
    }

    fn take(
        &self,
        number: u32,
        limits: &ResourceLimits,
        stay: Option<&Stay>,
    ) -> io::Result<Option<Slot<'_>>> {
        let Some((lock, _)) = self.take_over(number)? else {
            return Ok(None);
        };
        let mut record = vec![IN_USE];
        serde_json::to_writer(&mut record, &stay)?;
        // Ends it, whatever a longer one before has left behind it.
        record.push(b'\n');
        mark(&lock, &record)?;
        let group = self.group(number, limits)?;
        Ok(Some(Slot {
            number,
            user: self.user(number),
            group,
            hierarchy: self.hierarchy.as_ref(),
            lock,
        }))
    }

    /// The lock of a slot; `None` when somebody has it, or nobody ever had and it is not to be
    /// made.
    fn lock(&self, number: u32, make: OFlag) -> io::Result<Option<Flock<File>>> {
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | make;
        let name = format!("slot-{number}");
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = match openat(&self.directory, name.as_str(), flags, mode) {
            Err(Errno::ENOENT) => return Ok(None),
            file => File::from(file?),
        };
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }

    fn user(&self, number: u32) -> Option<&SlotUser> {
        self.users.as_ref()?.get(usize::try_from(number).ok()?)
    }

    fn group(&self, number: u32, limits: &ResourceLimits) -> io::Result<Option<Group>> {
        let group = self.hierarchy.as_ref().map(|all| all.group(number, limits));
        group.transpose()
    }

    fn empty(&self, number: u32) -> io::Result<()> {
        let give_up_at = sys::clock() + EMPTY_LIMIT;
        while self.kill(number)? {
            if sys::clock() >= give_up_at {
                return Err(io::Error::other(
                    "processes of the last command cannot be killed",
                ));
            }
            std::thread::sleep(LOOK_AGAIN_AFTER);
        }
        if let Some(hierarchy) = &self.hierarchy {
            hierarchy.discard(number);
        }
        Ok(())
    }

    /// Kills what runs in a slot, with its limits still in force; whether anything did.
    fn kill(&self, number: u32) -> io::Result<bool> {
        let mut any = false;
        if let Some(hierarchy) = &self.hierarchy
            && let Some(group) = hierarchy.existing_group(number)?
            && group.is_populated()?
        {
            group.kill()?;
            any = true;
        }
        if let Some(user) = self.user(number) {
            any |= sys::signal_all_of(user.uid, user.gid, Some(Signal::SIGKILL))?
                && !sys::processes_of(user.uid)?.is_empty();
        }
        Ok(any)
    }
}

impl Slot<'_> {
    /// Gives the slot back. One that is not known to be empty is emptied by its next holder.
    pub(crate) fn release(mut self, vacancy: Vacancy) {
        self.group = None;
        if vacancy == Vacancy::Empty {
            // Not written means not left: the next holder looks for itself.
            let _ = mark(&self.lock, &[EMPTY]);
        }
    }

    /// Has the group made anew for the next holder, so that its counters begin at zero.
    pub(crate) fn discard_group(&mut self) {
        self.group = None;
        if let Some(hierarchy) = self.hierarchy {
            hierarchy.discard(self.number);
        }
    }

    /// The group as the kernel's log names it.
    pub(crate) fn group_name_in_log(&self) -> Option<std::path::PathBuf> {
        Some(self.hierarchy?.name_in_log(self.number))
    }
}

fn failed(number: u32, error: &io::Error) -> Refusal {
    Refusal::Failed {
        step: format!("take slot {number}"),
        errno: error.raw_os_error().unwrap_or(0),
        message: error.to_string(),
    }
}

/// Writes to the start of a slot's file: its state, and behind it, where it is in use, a line with
/// the directories of the holder. What follows that is of no meaning.
fn mark(lock: &File, bytes: &[u8]) -> io::Result<()> {
    lock.write_all_at(bytes, 0)
}

/// The directories in the file of a slot; `None` when there are none, or none that make sense.
fn recorded(mut lock: &File) -> Option<Stay> {
    let mut bytes = Vec::new();
    lock.rewind().ok()?;
    lock.take(MAX_RECORD).read_to_end(&mut bytes).ok()?;
    let line = bytes.get(1..)?.split(|byte| *byte == b'\n').next()?;
    serde_json::from_slice(line).ok()?
}

/// Whether the last holder of a slot is not known to have left it empty.
fn was_left(lock: &File) -> io::Result<bool> {
    let mut state = [0];
    // A new file is empty: nothing is known of what ran in an earlier life of the directory.
    Ok(lock.read_at(&mut state, 0)? == 0 || state[0] != EMPTY)
}
