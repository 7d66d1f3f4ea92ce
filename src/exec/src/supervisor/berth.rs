//! Where a command runs: its slot, its directories, its share of the machine; taken before it
//! starts, left when nothing of it lives.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::command::Bounds;
use super::hand_over::HandedOver;
use super::{Assignment, SetUpError};
use crate::control_group::{Counters, Group, MemoryWatch};
use crate::launcher::{Ground, Measure, Slot, Vacancy};
use crate::ownership::Transferred;
use crate::request::ResourceLimits;
use crate::spool::status::{
    Ended, Ending, IoBytes, MAX_LISTED, OutOfMemory, RunAs, Usage, WaitStatus,
};
use crate::sys::{self, LogPlace, ProcessEntry};

/// How long processes that have left the tree may take to die.
const STRAYS_LIMIT: Duration = Duration::from_secs(5);

const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(2);

/// A slot with the directories and counters of one command.
#[derive(Debug)]
pub(super) struct Berth<'a> {
    ground: &'a Ground,
    slot: Option<Slot<'a>>,
    handed_over: Option<HandedOver>,
    resources: ResourceLimits,
    /// What the group had counted before.
    before: Counters,
    memory: Option<MemoryWatch>,
    /// Where the kernel's log was when it was taken.
    log: Option<LogPlace>,
}

/// What has become of a control group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GroupState {
    /// All in it have ended by themselves.
    Clean,
    /// It may have been killed as a whole, by this process or by somebody else.
    Killed,
}

/// What was found when a berth was left.
#[derive(Debug, Default)]
pub(super) struct Departure {
    pub(super) given_back: Option<Transferred>,
    pub(super) counted: Option<Counted>,
}

/// What a control group has counted for one command.
#[derive(Debug)]
pub(super) struct Counted {
    before: Counters,
    after: Counters,
    peak_memory: Option<u64>,
    memory_limit: Option<u64>,
    group_in_log: Option<PathBuf>,
    log: Option<LogPlace>,
}

/// Processes of the command's user that were no part of its tree.
#[derive(Debug)]
pub(super) struct Strays {
    pub(super) ended: Vec<ProcessEntry>,
    pub(super) survivors: Vec<ProcessEntry>,
    pub(super) vacancy: Vacancy,
}

impl<'a> Berth<'a> {
    /// Takes a slot and hands the directories over.
    pub(super) fn take(assignment: &Assignment, ground: &'a Ground) -> Result<Self, SetUpError> {
        let request = &assignment.request;
        let resources = request.resources.narrowed_by(ground.maxima);
        let slot = match &ground.slots {
            None => None,
            Some(slots) => {
                let slot = slots.acquire(&resources, assignment.places.stay.as_ref());
                Some(slot.map_err(SetUpError::Refused)?)
            }
        };
        let group = slot.as_ref().and_then(|slot| slot.group.as_ref());
        let mut berth = Self {
            ground,
            handed_over: None,
            resources,
            before: group.map(Group::counters).unwrap_or_default(),
            memory: group.and_then(Group::watch_memory),
            log: group
                .filter(|_| ground.isolation.has(Measure::Memory))
                .and_then(|_| LogPlace::end()),
            slot,
        };
        if let Some(slot) = &berth.slot
            && let (Some(user), Some(stay)) = (slot.user, &assignment.places.stay)
        {
            let directories = request.directories.as_ref();
            let temporary = directories.and_then(|all| all.temporary.as_ref());
            match HandedOver::new(stay, temporary, ground, user) {
                Ok(handed_over) => berth.handed_over = Some(handed_over),
                Err(error) => {
                    berth.leave(GroupState::Clean, Vacancy::Empty);
                    return Err(error);
                }
            }
        }
        Ok(berth)
    }

    /// What the command is to be held back by.
    pub(super) fn bounds(&self, ground: &'a Ground) -> Bounds<'_> {
        Bounds {
            ground,
            slot: self.slot.as_ref(),
            handed_over: self.handed_over.as_ref(),
            resources: self.resources,
        }
    }

    /// The control group of the command.
    pub(super) fn group(&self) -> Option<&Group> {
        self.slot.as_ref()?.group.as_ref()
    }

    /// The user that the command runs as.
    pub(super) fn run_as(&self) -> Option<RunAs> {
        let slot = self.slot.as_ref()?;
        slot.user.map(|user| RunAs {
            slot: slot.number,
            uid: user.uid.as_raw(),
            name: user.display_name(),
        })
    }

    /// Ends what the command's user runs outside of the command's tree: started for it by somebody
    /// else, as by a service manager or a timer.
    pub(super) fn end_strays(&self) -> Strays {
        let mut strays = Strays {
            ended: Vec::new(),
            survivors: Vec::new(),
            vacancy: Vacancy::Empty,
        };
        let Some(user) = self.slot.as_ref().and_then(|slot| slot.user) else {
            return strays;
        };
        let may_have = |signal| sys::signal_all_of(user.uid, user.gid, signal).unwrap_or(true);
        if !may_have(None) {
            return strays;
        }
        strays.ended = sys::processes_of(user.uid).unwrap_or_default();
        let give_up_at = sys::clock() + STRAYS_LIMIT;
        while may_have(Some(Signal::SIGKILL)) {
            // Those that have died and were not collected yet are in nobody's way.
            let living = sys::processes_of(user.uid);
            let is_empty = living.as_ref().is_ok_and(Vec::is_empty);
            strays.survivors = living.unwrap_or_default();
            if is_empty {
                return strays;
            }
            if sys::clock() >= give_up_at {
                strays.vacancy = Vacancy::Uncertain;
                return strays;
            }
            std::thread::sleep(LOOK_AGAIN_AFTER);
        }
        strays.survivors.clear();
        strays
    }

    /// Gives directories and slot back. A group in which somebody was killed is not used again.
    pub(super) fn leave(self, group: GroupState, vacancy: Vacancy) -> Departure {
        let ground = self.ground;
        let given_back = self.handed_over.map(|all| all.give_back(ground));
        let Some(mut slot) = self.slot else {
            return Departure {
                given_back,
                counted: None,
            };
        };
        let mut memory = self.memory;
        let counted = slot.group.as_ref().map(|group| Counted {
            before: self.before,
            after: group.counters(),
            peak_memory: memory.as_mut().and_then(MemoryWatch::peak),
            memory_limit: self.resources.memory_bytes,
            group_in_log: slot.group_name_in_log(),
            log: self.log,
        });
        let keeps_its_peak = memory.is_some_and(|memory| !memory.was_reset());
        let is_burdened = slot.group.as_ref().is_some_and(Group::is_burdened);
        if keeps_its_peak || is_burdened || group == GroupState::Killed {
            slot.discard_group();
        }
        slot.release(vacancy);
        Departure {
            given_back,
            counted,
        }
    }
}

impl Counted {
    /// Enters what was counted into the last status of a command that was stopped or was not.
    pub(super) fn enter(self, ended: &mut Ended, was_stopped: bool) {
        let (before, after) = (&self.before, &self.after);
        let grown = |after: Option<u64>, before: Option<u64>| {
            Some(after?.saturating_sub(before.unwrap_or(0)))
        };
        ended.usage = Usage {
            user_time: after.user_time.saturating_sub(before.user_time),
            system_time: after.system_time.saturating_sub(before.system_time),
            peak_memory_bytes: self.peak_memory,
            io_bytes: after.io.map(|after| {
                let before = before.io.unwrap_or_default();
                IoBytes {
                    read: after.read.saturating_sub(before.read),
                    written: after.written.saturating_sub(before.written),
                }
            }),
            // The kernel counts from the making of the group, so a smaller peak is not seen.
            peak_processes: after
                .peak_processes
                .filter(|after| Some(*after) != before.peak_processes)
                .and_then(|peak| u32::try_from(peak).ok()),
            refused_forks: grown(after.refused_forks, before.refused_forks),
            ..ended.usage
        };
        let kills = after
            .out_of_memory_kills
            .saturating_sub(before.out_of_memory_kills);
        if kills == 0 {
            return;
        }
        let mut victims = self
            .group_in_log
            .zip(self.log)
            .map(|(group, log)| log.victims(&group))
            .unwrap_or_default();
        victims.truncate(MAX_LISTED);
        ended.out_of_memory = OutOfMemory { kills, victims };
        let was_killed = matches!(
            ended.wait_status,
            Some(WaitStatus::Signalled { signal, .. }) if signal == Signal::SIGKILL as i32
        );
        if was_killed && !was_stopped {
            let was_own = after.memory_limit_hits > before.memory_limit_hits;
            ended.ending = Ending::OutOfMemory {
                limit: self.memory_limit.filter(|_| was_own),
            };
        }
    }
}
