//! What a launcher finds out and sets up once, before it answers anybody: its users, its control
//! groups, its view of the machine. Every supervisor has it from birth.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, geteuid};

use super::config::Config;
use super::isolation::{Isolation, Measure};
use super::slots::Slots;
use super::{LauncherError, users};
use crate::control_group::{Controllers, Hierarchy};
use crate::request::ResourceLimits;
use crate::sys::{self, Namespaces};

/// What every launch of a launcher has in common.
#[derive(Debug)]
pub(crate) struct Ground {
    /// Whose files are handed over and given back.
    pub(crate) client: (Uid, Gid),
    /// Absent when commands run as the launcher's own user and in no control group.
    pub(crate) slots: Option<Slots>,
    /// What a command gets of its own besides.
    pub(crate) namespaces: Namespaces,
    pub(crate) maxima: ResourceLimits,
    /// Whether a limit on processes is to be kept by the limit on those of a user.
    pub(crate) limits_user: bool,
    /// Whether a command may write to nothing but its own directories and devices.
    pub(crate) binds_writes: bool,
    pub(crate) out_of_memory_score: i32,
    pub(crate) isolation: Isolation,
}

impl Ground {
    /// Sets up what the configuration wants. What the machine does not offer is missing from the
    /// isolation; what is configured wrong is an error.
    pub(super) fn prepare(config: &Config) -> Result<Self, LauncherError> {
        let wrong = |problem: String| {
            LauncherError::new("use its configuration", io::Error::other(problem))
        };
        let mut isolation = Isolation::default();
        isolation.add(Measure::Session);
        let users = config
            .users
            .as_ref()
            .map(|users| users::resolve(users, config.client_uid))
            .transpose()
            .map_err(wrong)?;
        match &users {
            Some(_) => {
                isolation.add(Measure::User);
                match sys::can_forgo_privileges() {
                    Ok(()) => isolation.add(Measure::NoNewPrivileges),
                    Err(why) => isolation.lack(Measure::NoNewPrivileges, why),
                }
            }
            None => {
                let why = "no users are configured: work items run as the user of the launcher";
                isolation.lack(Measure::User, why);
                isolation.lack(Measure::NoNewPrivileges, why);
            }
        }
        let client = (
            Uid::from_raw(config.client_uid),
            users::client_group(config.client_uid),
        );
        let hierarchy = match Hierarchy::prepare(&config.control_groups, config.weights) {
            Ok(hierarchy) => hierarchy.ok_or_else(|| "no control groups are configured".to_owned()),
            Err(problem) => Err(problem),
        };
        let controllers = describe_groups(&hierarchy, users.is_some(), &mut isolation);
        let namespaces = if users.is_some() {
            view(config, &mut isolation)
        } else {
            for measure in VIEW {
                isolation.lack(measure, "work items have no users of their own");
            }
            Namespaces::default()
        };
        let has_users = users.is_some();
        let slots = match (users, hierarchy.ok()) {
            (None, None) => None,
            (users, hierarchy) => {
                let directory = config.state_directory.as_deref().ok_or_else(|| {
                    wrong("`state_directory` has to be set with users or control groups".to_owned())
                })?;
                let directory = own_directory(directory).map_err(|error| {
                    LauncherError::new(format!("use `{}`", directory.display()), error)
                })?;
                let most = config.maxima.supervisors;
                Some(Slots::new(directory, users, hierarchy, most, client))
            }
        };
        isolation.slots = slots.as_ref().filter(|_| has_users).map(Slots::count);
        Ok(Self {
            client,
            slots,
            namespaces,
            maxima: config.maxima.resources,
            limits_user: has_users && !controllers.processes,
            binds_writes: isolation.has(Measure::BoundWrites),
            out_of_memory_score: config.out_of_memory_score,
            isolation,
        })
    }
}

/// Measures that only make sense for a user of its own.
const VIEW: [Measure; 4] = [
    Measure::PrivateTemporary,
    Measure::HiddenProcesses,
    Measure::PrivateIpc,
    Measure::NoNetwork,
];

fn describe_groups(
    hierarchy: &Result<Hierarchy, String>,
    has_users: bool,
    isolation: &mut Isolation,
) -> Controllers {
    let controllers = match hierarchy {
        Ok(hierarchy) => {
            isolation.add(Measure::Tree);
            hierarchy.controllers()
        }
        Err(why) => {
            isolation.lack(Measure::Tree, why);
            Controllers::default()
        }
    };
    let without = match hierarchy {
        Ok(_) => "its control group has no such controller",
        Err(why) => why,
    };
    for (measure, is_there) in [
        (Measure::Memory, controllers.memory),
        (Measure::Processes, controllers.processes || has_users),
        (Measure::Cpu, controllers.cpu),
        (Measure::Io, controllers.io),
    ] {
        if is_there {
            isolation.add(measure);
        } else {
            isolation.lack(measure, without);
        }
    }
    controllers
}

/// Changes what this process, and all that come from it, see of the machine.
fn view(config: &Config, isolation: &mut Isolation) -> Namespaces {
    let wanted = config.view;
    let off = "it is turned off in the launcher's configuration";
    let mut namespaces = Namespaces::default();
    let needs_mounts = wanted.private_temporary || wanted.hidden_processes;
    let own_mounts = if needs_mounts {
        sys::leave_mount_namespace()
    } else {
        Err(io::Error::other(off))
    };
    let tell = |isolation: &mut Isolation, measure, result: Result<(), String>| match result {
        Ok(()) => isolation.add(measure),
        Err(why) => isolation.lack(measure, why),
    };
    let mounts = || own_mounts.as_ref().map(drop).map_err(io::Error::to_string);

    let temporary = if wanted.private_temporary {
        mounts()
            .and_then(|()| not_below_temporary(config))
            .and_then(|()| sys::has_private_temporary().map_err(|error| error.to_string()))
    } else {
        Err(off.to_owned())
    };
    namespaces.mounts = temporary.is_ok();
    tell(isolation, Measure::PrivateTemporary, temporary);

    let hidden = if wanted.hidden_processes {
        mounts().and_then(|()| sys::hide_processes().map_err(|error| error.to_string()))
    } else {
        Err(off.to_owned())
    };
    tell(isolation, Measure::HiddenProcesses, hidden);

    let ipc = if wanted.private_ipc {
        sys::has_namespaces("ipc").map_err(|error| error.to_string())
    } else {
        Err(off.to_owned())
    };
    namespaces.ipc = ipc.is_ok();
    tell(isolation, Measure::PrivateIpc, ipc);

    // Missing only where it is wanted: it is a choice, and not the better one for every test suite.
    if wanted.bound_writes {
        let landlock = sys::landlock_version().map(drop);
        tell(
            isolation,
            Measure::BoundWrites,
            landlock.map_err(|error| error.to_string()),
        );
    }

    let network = sys::has_namespaces("net").map_err(|error| error.to_string());
    tell(isolation, Measure::NoNetwork, network);
    namespaces
}

/// Whether a `/tmp` of its own would hide from a command the directory that it works in.
fn not_below_temporary(config: &Config) -> Result<(), String> {
    let super::config::Roots::Beneath(roots) = &config.work_roots else {
        return Err("work directories may lie anywhere, so also in /tmp".to_owned());
    };
    for root in roots {
        let real = fs::canonicalize(root).unwrap_or_else(|_| root.clone());
        for temporary in sys::TEMPORARY_DIRECTORIES {
            if real.starts_with(temporary) {
                return Err(format!(
                    "the work root `{}` lies in {temporary}",
                    root.display()
                ));
            }
        }
    }
    Ok(())
}

/// A directory that nobody else can write to, made if need be.
fn own_directory(path: &Path) -> io::Result<OwnedFd> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let directory = fs::File::from(open(path, flags, Mode::empty())?);
    let metadata = directory.metadata()?;
    if metadata.uid() != geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
        return Err(io::Error::other("others may write to it"));
    }
    Ok(directory.into())
}
