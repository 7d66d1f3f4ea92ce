//! Control groups, on a system that has none: there is never one, and the types say so.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use crate::identity::ProcessId;
use crate::launcher::{ControlGroups, Weights};
use crate::request::ResourceLimits;
use crate::spool::status::IoBytes;

/// There is none.
#[derive(Debug)]
pub(crate) enum Hierarchy {}

/// There is none.
#[derive(Debug)]
pub(crate) enum Group {}

/// There is none.
#[derive(Debug)]
pub(crate) enum MemoryWatch {}

/// What the kernel limits and counts: nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Controllers {
    pub(crate) memory: bool,
    pub(crate) processes: bool,
    pub(crate) cpu: bool,
    pub(crate) io: bool,
}

/// What a group has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counters {
    pub(crate) user_time: Duration,
    pub(crate) system_time: Duration,
    pub(crate) io: Option<IoBytes>,
    pub(crate) out_of_memory_kills: u64,
    pub(crate) memory_limit_hits: u64,
    pub(crate) refused_forks: Option<u64>,
    pub(crate) peak_memory: Option<u64>,
    pub(crate) peak_processes: Option<u64>,
}

impl Hierarchy {
    /// Says that there is none.
    pub(crate) fn prepare(wanted: &ControlGroups, _: Weights) -> Result<Option<Self>, String> {
        match wanted {
            ControlGroups::None => Ok(None),
            ControlGroups::Own | ControlGroups::Beneath(_) => {
                Err("this system has no control groups".to_owned())
            }
        }
    }

    pub(crate) fn controllers(&self) -> Controllers {
        match *self {}
    }

    pub(crate) fn group(&self, _: u32, _: &ResourceLimits) -> io::Result<Group> {
        match *self {}
    }

    pub(crate) fn existing_group(&self, _: u32) -> io::Result<Option<Group>> {
        match *self {}
    }

    pub(crate) fn name_in_log(&self, _: u32) -> PathBuf {
        match *self {}
    }

    pub(crate) fn discard(&self, _: u32) {
        match *self {}
    }
}

impl Group {
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        match *self {}
    }

    pub(crate) fn entrance(&self) -> io::Result<File> {
        match *self {}
    }

    pub(crate) fn members(&self) -> io::Result<Vec<ProcessId>> {
        match *self {}
    }

    pub(crate) fn is_populated(&self) -> io::Result<bool> {
        match *self {}
    }

    pub(crate) fn kill(&self) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn counters(&self) -> Counters {
        match *self {}
    }

    pub(crate) fn is_burdened(&self) -> bool {
        match *self {}
    }

    pub(crate) fn watch_memory(&self) -> Option<MemoryWatch> {
        match *self {}
    }
}

impl MemoryWatch {
    pub(crate) fn was_reset(&self) -> bool {
        match *self {}
    }

    pub(crate) fn peak(&mut self) -> Option<u64> {
        match *self {}
    }
}
