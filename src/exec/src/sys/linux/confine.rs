//! Between clone and execution: how a child of root becomes a user without privileges, for good.
//!
//! The steps, in this order, are listed in the room's `PRIVILEGES.md`. Everything they need is
//! prepared before the clone; the child makes system calls and nothing else, as it may share the
//! memory of its parent. Calls that the C library would carry out in all threads of a process are
//! made without it.

use std::ffi::{CString, c_char, c_int, c_long, c_ulong};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr;

use nix::errno::Errno;

use super::landlock::{self, write_only_beneath};
use super::spawn::{set_group, set_groups, set_user};
use super::view::detached_mount;
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
    own_mounts: bool,
    own_network: bool,
    /// The directory that it sees as `/tmp`, as mounts that are nowhere yet; none to leave it.
    temporary: Vec<OwnedFd>,
    /// Rules on what it may write to; `None` to leave that to modes.
    rules: Option<OwnedFd>,
    processes: Option<libc::rlim_t>,
    out_of_memory_score: CString,
}

impl Confined {
    pub(in crate::sys) fn new(confinement: &Confinement<'_>) -> io::Result<Self> {
        let temporary = confinement
            .temporary
            .filter(|_| confinement.namespaces.mounts);
        // From here, as this is where the descriptor's file system is mounted: a child in a
        // namespace of its own has only a copy of that mount.
        let temporary = match temporary {
            Some(directory) => vec![detached_mount(directory)?, detached_mount(directory)?],
            None => Vec::new(),
        };
        Ok(Self {
            uid: confinement.uid.as_raw(),
            gid: confinement.gid.as_raw(),
            groups: confinement
                .groups
                .iter()
                .map(|group| group.as_raw())
                .collect(),
            own_mounts: confinement.namespaces.mounts,
            own_network: confinement.namespaces.network,
            temporary,
            rules: confinement
                .writes_beneath
                .as_deref()
                .map(write_only_beneath)
                .transpose()?,
            processes: confinement.processes.map(libc::rlim_t::from),
            // Digits and a sign hold no zero byte.
            out_of_memory_score: CString::new(confinement.out_of_memory_score.to_string())
                .unwrap_or_default(),
        })
    }

    /// Takes every step.
    ///
    /// # Safety
    ///
    /// The caller is a child between clone and execution, with one thread.
    pub(in crate::sys) unsafe fn confine(&self) -> Result<(), Failed> {
        // SAFETY: this function's own condition is that of each.
        unsafe {
            if self.own_mounts {
                self.take_temporary_directories()
                    .map_err(|errno| (StartStep::PrivateDirectories, errno))?;
            }
            if self.own_network {
                raise_loopback().map_err(|errno| (StartStep::Network, errno))?;
            }
            self.limit().map_err(|errno| (StartStep::Limits, errno))?;
            self.become_user()
                .map_err(|errno| (StartStep::Identity, errno))?;
            self.prove().map_err(|errno| (StartStep::Identity, errno))
        }
    }

    /// Puts its own directory in the place of everybody's.
    unsafe fn take_temporary_directories(&self) -> Result<(), c_int> {
        // SAFETY: all strings are literals; the descriptor is a directory's. Mounts are this
        // child's alone.
        unsafe {
            for (tree, place) in self.temporary.iter().zip([c"/tmp", c"/var/tmp"]) {
                let moved = libc::syscall(
                    libc::SYS_move_mount,
                    tree.as_raw_fd(),
                    c"".as_ptr(),
                    libc::AT_FDCWD,
                    place.as_ptr(),
                    MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS,
                );
                // Not every machine has both.
                if moved < 0 && Errno::last_raw() != libc::ENOENT {
                    return Err(Errno::last_raw());
                }
            }
            let mounted = libc::mount(
                c"tmpfs".as_ptr(),
                c"/dev/shm".as_ptr(),
                c"tmpfs".as_ptr(),
                libc::MS_NOSUID | libc::MS_NODEV,
                c"mode=1777".as_ptr().cast(),
            );
            if mounted < 0 && Errno::last_raw() != libc::ENOENT {
                return Err(Errno::last_raw());
            }
        }
        Ok(())
    }

    /// Limits that only root may raise again, and its place in the queue when memory runs out.
    unsafe fn limit(&self) -> Result<(), c_int> {
        // SAFETY: the path is a literal, the text is a C string of the length given; the limits
        // are plain data.
        unsafe {
            let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY);
            check(file)?;
            let text = self.out_of_memory_score.as_bytes();
            let written = libc::write(file, text.as_ptr().cast(), text.len());
            libc::close(file);
            if written < 0 {
                return Err(Errno::last_raw());
            }
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

    /// Gives up all groups, users and capabilities but its own, and every way to get more.
    unsafe fn become_user(&self) -> Result<(), c_int> {
        // SAFETY: numbers, and pointers to plain data that lives through the calls.
        unsafe {
            for capability in 0..=MAX_CAPABILITY {
                let dropped = libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
                if dropped < 0 {
                    match Errno::last_raw() {
                        // This kernel has no more of them.
                        libc::EINVAL => break,
                        errno => return Err(errno),
                    }
                }
            }
            set_groups(&self.groups)?;
            set_group(self.gid)?;
            set_user(self.uid)?;
            let ambient = libc::PR_CAP_AMBIENT_CLEAR_ALL as c_ulong;
            check(libc::prctl(libc::PR_CAP_AMBIENT, ambient, 0, 0, 0))?;
            let none = [CapabilitySet::default(); 2];
            let header = CAPABILITY_HEADER;
            check_long(libc::syscall(
                libc::SYS_capset,
                &raw const header,
                none.as_ptr(),
            ))?;
            check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
            if let Some(rules) = &self.rules {
                landlock::bind_to(rules)?;
            }
            // A new keyring has nothing in it. A kernel without keyrings has nothing to hide.
            let joined = libc::syscall(
                libc::SYS_keyctl,
                KEYCTL_JOIN_SESSION_KEYRING,
                ptr::null::<libc::c_char>(),
            );
            match joined {
                0.. => Ok(()),
                _ => match Errno::last_raw() {
                    libc::ENOSYS | libc::EDQUOT => Ok(()),
                    errno => Err(errno),
                },
            }
        }
    }

    /// Looks at the result, and tries to get back.
    unsafe fn prove(&self) -> Result<(), c_int> {
        const NOT_PROVEN: Result<(), c_int> = Err(libc::EPERM);
        let (mut real, mut effective, mut saved) = (0, 0, 0);
        // SAFETY: the pointers are to three numbers of this frame.
        let asked = unsafe { libc::getresuid(&raw mut real, &raw mut effective, &raw mut saved) };
        if asked < 0 || [real, effective, saved] != [self.uid; 3] {
            return NOT_PROVEN;
        }
        // SAFETY: the same.
        let asked = unsafe { libc::getresgid(&raw mut real, &raw mut effective, &raw mut saved) };
        if asked < 0 || [real, effective, saved] != [self.gid; 3] {
            return NOT_PROVEN;
        }
        let mut groups = [0; MAX_PROVEN_GROUPS];
        // SAFETY: the kernel writes at most so many numbers to the array.
        let count =
            unsafe { libc::syscall(libc::SYS_getgroups, groups.len(), groups.as_mut_ptr()) };
        let groups = usize::try_from(count)
            .ok()
            .and_then(|count| groups.get(..count));
        if groups.is_none_or(|groups| !groups.iter().all(|group| self.groups.contains(group))) {
            return NOT_PROVEN;
        }
        let mut header = CAPABILITY_HEADER;
        let mut held = [CapabilitySet {
            effective: u32::MAX,
            permitted: u32::MAX,
            inheritable: u32::MAX,
        }; 2];
        let keep = c_long::from(-1);
        // SAFETY: numbers, and pointers to plain data of this frame that the kernel fills.
        unsafe {
            let asked = libc::syscall(libc::SYS_capget, &raw mut header, held.as_mut_ptr());
            if asked < 0 || held != [CapabilitySet::default(); 2] {
                return NOT_PROVEN;
            }
            let regained = libc::syscall(libc::SYS_setresuid, 0, 0, 0) == 0
                || libc::syscall(libc::SYS_setresuid, keep, 0, keep) == 0
                || libc::syscall(libc::SYS_setuid, 0) == 0
                || libc::syscall(libc::SYS_setresgid, 0, 0, 0) == 0
                || libc::syscall(libc::SYS_setgroups, 0, ptr::null::<libc::gid_t>()) == 0
                || libc::prctl(libc::PR_CAPBSET_READ, 0, 0, 0, 0) != 0
                || libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1;
            if regained {
                return NOT_PROVEN;
            }
        }
        Ok(())
    }
}

/// Switches the loopback device of a new network namespace on.
unsafe fn raise_loopback() -> Result<(), c_int> {
    /// `IFF_UP` of netdevice(7).
    const UP: libc::c_short = 1;
    // SAFETY: all-zero is a valid value of this plain structure, whose name ends with a zero; the
    // kernel reads and writes it for the duration of the calls.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        check(socket)?;
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
            *to = c_char::from_ne_bytes([from]);
        }
        let mut result = libc::ioctl(socket, libc::SIOCGIFFLAGS, &raw mut request);
        if result == 0 {
            request.ifr_ifru.ifru_flags |= UP;
            result = libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request);
        }
        let checked = check(result);
        libc::close(socket);
        checked
    }
}

/// Flags of move_mount(2): the mount is the descriptor itself, and the place may be reached by a
/// symbolic link.
const MOVE_MOUNT_F_EMPTY_PATH: c_int = 0x4;
const MOVE_MOUNT_T_SYMLINKS: c_int = 0x10;

/// More groups than a slot's user has; one with still more is refused.
const MAX_PROVEN_GROUPS: usize = 64;

/// Highest number that a capability can have; see capabilities(7).
const MAX_CAPABILITY: c_ulong = 63;

/// `KEYCTL_JOIN_SESSION_KEYRING` of `linux/keyctl.h`.
const KEYCTL_JOIN_SESSION_KEYRING: c_long = 1;

/// `_LINUX_CAPABILITY_VERSION_3`, for the calling thread; see capset(2).
const CAPABILITY_HEADER: CapabilityHeader = CapabilityHeader {
    version: 0x2008_0522,
    pid: 0,
};

#[repr(C)]
#[derive(Clone, Copy)]
struct CapabilityHeader {
    version: u32,
    pid: c_int,
}

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct CapabilitySet {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn check(result: c_int) -> Result<(), c_int> {
    if result < 0 {
        Err(Errno::last_raw())
    } else {
        Ok(())
    }
}

fn check_long(result: c_long) -> Result<(), c_int> {
    if result < 0 {
        Err(Errno::last_raw())
    } else {
        Ok(())
    }
}
