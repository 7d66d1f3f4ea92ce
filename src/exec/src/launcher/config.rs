//! What a launcher may be asked for. A request can only narrow it.

use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::User;
use serde::{Deserialize, Deserializer, Serialize};

use crate::request::ResourceLimits;

/// What a launcher may be asked for, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The only user whose connections are answered. In the file a number or a name, which has to be
    /// that of a user when the file is read.
    #[serde(rename = "client", deserialize_with = "user_id")]
    pub client_uid: u32,
    /// Where spools may lie.
    pub spool_roots: Roots,
    /// Where working directories may lie.
    pub work_roots: Roots,
    /// What limits a request may ask for.
    #[serde(default)]
    pub maxima: Maxima,
    /// The users that commands run as, one at a time each. Without any they run as the launcher's
    /// own. Only a launcher that runs as root can have some.
    #[serde(default)]
    pub users: Option<Users>,
    /// The control groups that commands run in.
    #[serde(default)]
    pub control_groups: ControlGroups,
    /// What share of CPU and disks a command gets when others want them too.
    #[serde(default)]
    pub weights: Weights,
    /// A directory of the launcher's own for the locks of its slots; made when it is absent, best
    /// where nothing outlives a reboot. Needed with users or control groups.
    #[serde(default)]
    pub state_directory: Option<PathBuf>,
    /// What a command sees of the rest of the machine. Of no effect without users.
    #[serde(default)]
    pub view: View,
    /// How much rather than anything else the kernel kills a command's processes when memory runs
    /// out: -1000 (never) to 1000 (first).
    #[serde(default = "default_out_of_memory_score")]
    pub out_of_memory_score: i32,
}

/// Looks up a user who may be given by name: service managers choose the numbers.
fn user_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    use serde::de::Error as _;

    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a user's number or name")]
    enum Written {
        Number(u32),
        Name(String),
    }
    match Written::deserialize(deserializer)? {
        Written::Number(uid) => Ok(uid),
        Written::Name(name) => match User::from_name(&name) {
            Ok(Some(user)) => Ok(user.uid.as_raw()),
            Ok(None) => Err(D::Error::custom(format!("there is no user `{name}`"))),
            Err(errno) => Err(D::Error::custom(format!("look up user `{name}`: {errno}"))),
        },
    }
}

fn default_out_of_memory_score() -> i32 {
    500
}

impl Config {
    /// A launcher without privileges for its own user: everything that this user can reach, no
    /// users to change to, no control groups.
    #[must_use]
    pub fn unprivileged(client_uid: u32) -> Self {
        Self {
            client_uid,
            spool_roots: Roots::Anywhere,
            work_roots: Roots::Anywhere,
            maxima: Maxima::default(),
            users: None,
            control_groups: ControlGroups::default(),
            weights: Weights::default(),
            state_directory: None,
            view: View::default(),
            out_of_memory_score: default_out_of_memory_score(),
        }
    }
}

/// Users that commands run as. Nothing else may run as any of them: what does is killed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Users {
    /// Who they are; each is one slot.
    pub pool: Pool,
    /// Groups that all of them are in besides their own, by name; none that gives power over the
    /// machine.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// Who the users are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Pool {
    /// Users of the machine's user database, by name, each with a primary group that no other has.
    Named(Vec<String>),
    /// Ids that need not be in any database; user and group have the same number.
    Range {
        /// The first id; not 0.
        first: u32,
        /// How many; at least 1.
        count: u32,
    },
}

/// Where commands are grouped.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ControlGroups {
    /// Nowhere.
    #[default]
    None,
    /// In the launcher's own group, which a service manager has delegated to it. The launcher
    /// moves itself into the group `launcher` below it, which only a manager that starts it there
    /// (systemd 254 and later: `DelegateSubgroup=launcher`) can restart while commands run.
    Own,
    /// In the group of this name, relative to the root of the version 2 hierarchy, wherever that is
    /// mounted; made when it is absent. The launcher alone may manage it: a service of its own that
    /// does nothing but have a delegated group outlives every restart of the launcher's.
    Beneath(PathBuf),
}

/// Shares of what is scarce, against 100 for a group that says nothing; 1 to 10000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Weights {
    /// Of CPU time; `None` for 100.
    pub cpu: Option<u16>,
    /// Of the disks' time; `None` for 100.
    pub io: Option<u16>,
}

/// What a command sees of the rest of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct View {
    /// Whether it has a `/tmp`, `/var/tmp` and `/dev/shm` of its own.
    pub private_temporary: bool,
    /// Whether `/proc` shows it only processes of its own user.
    pub hidden_processes: bool,
    /// Whether its message queues, semaphores and shared memory are its own and end with it.
    pub private_ipc: bool,
    /// Whether it may write only to its own directories, to devices and to `/proc`, whatever modes
    /// other files have. There are test suites that write elsewhere, so this is off unless set.
    pub bound_writes: bool,
}

impl Default for View {
    /// All of it but bound writes.
    fn default() -> Self {
        Self {
            private_temporary: true,
            hidden_processes: true,
            private_ipc: true,
            bound_writes: false,
        }
    }
}

/// Directories beneath which the paths of a request have to lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Roots {
    /// Everywhere that the launcher's own user can reach. For a launcher without privileges.
    Anywhere,
    /// Only beneath these absolute paths. The part of a path below its root may hold no symbolic
    /// link and no `..`.
    Beneath(Vec<PathBuf>),
}

/// Upper ends of what a request may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Maxima {
    /// Longest wall time; a request without one is refused when this is set.
    pub wall: Option<Duration>,
    /// Longest grace period.
    pub grace: Duration,
    /// Most bytes kept of the head and of the tail of a console, each.
    pub kept_bytes: u64,
    /// Most supervisors at a time.
    pub supervisors: usize,
    /// What one command's tree may use, whatever it asks for.
    pub resources: ResourceLimits,
}

impl Default for Maxima {
    /// No wall limit, an hour of grace, 4 GiB of either end, 1024 supervisors.
    fn default() -> Self {
        Self {
            wall: None,
            grace: Duration::from_secs(3600),
            kept_bytes: 4 << 30,
            supervisors: 1024,
            resources: ResourceLimits::default(),
        }
    }
}
