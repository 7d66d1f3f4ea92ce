//! Between fork and execution: how a child of root becomes a user, for good.
//!
//! The steps, in this order, are listed in the room's `PRIVILEGES.md`. There is no mark here that
//! keeps a program with a setuid bit from giving its owner's rights, and there are no namespaces;
//! [`super::view`] says so.
//!
//! Type-checked for both architectures of macOS, never run.

use std::ffi::c_int;
use std::io;

use super::spawn::{check, set_group, set_groups, set_user};
use crate::spool::status::StartStep;
use crate::sys::Confinement;

/// The step that failed, and the system's error number.
type Failed = (StartStep, c_int);

/// A [`Confinement`] in the form that system calls take.
#[derive(Debug)]
pub(in crate::sys) struct Confined {
    uid: libc::uid_t,
    gid: libc::gid_t,
    groups: Vec<libc::gid_t>,
    processes: Option<libc::rlim_t>,
}

impl Confined {
    #[expect(clippy::unnecessary_wraps, reason = "the same on every system")]
    pub(in crate::sys) fn new(confinement: &Confinement<'_>) -> io::Result<Self> {
        Ok(Self {
            uid: confinement.uid.as_raw(),
            gid: confinement.gid.as_raw(),
            groups: confinement
                .groups
                .iter()
                .map(|group| group.as_raw())
                .collect(),
            processes: confinement.processes.map(libc::rlim_t::from),
        })
    }

    /// Takes every step.
    ///
    /// # Safety
    ///
    /// The caller is a child between fork and execution, with one thread.
    pub(in crate::sys) unsafe fn confine(&self) -> Result<(), Failed> {
        // SAFETY: this function's own condition is that of each.
        unsafe {
            self.limit().map_err(|errno| (StartStep::Limits, errno))?;
            self.become_user()
                .and_then(|()| self.prove())
                .map_err(|errno| (StartStep::Identity, errno))
        }
    }

    /// Limits that only root may raise again. That on processes counts all of the user's.
    unsafe fn limit(&self) -> Result<(), c_int> {
        // SAFETY: the limits are plain data.
        unsafe {
            if let Some(most) = self.processes {
                let limit = libc::rlimit {
                    rlim_cur: most,
                    rlim_max: most,
                };
                check(libc::setrlimit(libc::RLIMIT_NPROC, &raw const limit))?;
            }
            let no_dumps = libc::rlimit {
                rlim_cur: 0,
                rlim_max: libc::RLIM_INFINITY,
            };
            check(libc::setrlimit(libc::RLIMIT_CORE, &raw const no_dumps))
        }
    }

    unsafe fn become_user(&self) -> Result<(), c_int> {
        // SAFETY: the condition of each is this function's own.
        unsafe {
            set_groups(&self.groups)?;
            set_group(self.gid)?;
            set_user(self.uid)
        }
    }

    /// Looks at the result, and tries to get back.
    unsafe fn prove(&self) -> Result<(), c_int> {
        // SAFETY: these calls take numbers, and a pointer to one.
        unsafe {
            let is_user = libc::getuid() == self.uid
                && libc::geteuid() == self.uid
                && libc::getgid() == self.gid
                && libc::getegid() == self.gid;
            let root = 0;
            let regained = libc::setuid(0) == 0
                || libc::seteuid(0) == 0
                || libc::setreuid(0, 0) == 0
                || libc::setgid(0) == 0
                || libc::setegid(0) == 0
                || libc::setgroups(1, &raw const root) == 0;
            if is_user && !regained {
                Ok(())
            } else {
                Err(libc::EPERM)
            }
        }
    }
}
