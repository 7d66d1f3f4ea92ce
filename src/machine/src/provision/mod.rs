//! Installs what is missing, in the background, while other items run.
//!
//! A **provisioner** is a command from the agent's configuration that brings one capability. What
//! it does is up to the operator; what is asked of it comes from work items, and only ever as a
//! version (see [`CommandTemplate::with_version`]). It runs as the agent, as probes do. A
//! provisioner that needs more privileges than the agent has must get them by means of its own, and
//! bound its own time, since the agent cannot kill what runs as somebody else.
//!
//! The rules:
//!
//! - **One at a time.** A provisioner runs one installation. Asking again for the same version
//!   changes nothing. Asking for another version makes that one the *next*; there is one such place,
//!   and who finds it taken asks again later, as a refused work item does anyway.
//! - **Which version.** Of the versions that the provisioner offers, the newest that is wanted.
//!   Where it offers any version: the one that the requirement names as exact or as lower bound
//!   (`16.1`, `=16.1`, `>=16.1`, `~16.1`, `^16.1`), of several the newest that the whole range
//!   contains. Where the requirement names none (`*`, `<17`, or nothing at all): the default of the
//!   configuration, if it is wanted. Else nothing is installed, and says so.
//! - **Seen or failed.** Only what the probe of the capability sees afterwards counts, whatever the
//!   installer says of itself. The probe runs at once when the installer ends.
//! - **Cool-down.** After a failure, the same version is not tried again for a while that doubles
//!   with each failure. Other versions may be: one that does not exist must not keep others from
//!   those that do.
//! - **Bounds.** The time is limited: the installer is asked to stop, then its process group is
//!   killed. Its output goes to a log file of bounded size. Nothing is started with too little disk
//!   space.
//! - **End of the agent.** [`Provisioners::shutdown`] stops what runs, politely at first; dropping
//!   the last handle kills it. The next agent starts with a clean slate: it probes first, and half an
//!   installation is for the installer to repair.
//!
//! Start in `board.rs` for the rules of one provisioner, in `choice.rs` for which version.

mod board;
mod choice;
mod installer;
mod log;

pub use choice::NoVersion;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use helix_model::admission::ProvisionerSnapshot;
use helix_model::capability::{CapabilityName, Missing, Wanted};
use helix_model::provisioning::{Provisioning, ProvisioningPolicy};
use helix_model::version::Version;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::catalog::Catalog;
use crate::command::{CommandTemplate, Environment};
use crate::free::DiskSpace;
use board::{Answer, Ask, Board};

/// How long to wait before looking again whether there is enough disk space, as told to those who
/// ask.
const DISK_RETRY: Duration = Duration::from_secs(60);

/// The longest name of a provisioner, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// The name of a provisioner; also that of the directory of its logs.
///
/// 1 to 64 characters of `A-Z a-z 0-9 . _ -`, starting with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProvisionerName(String);

/// A text that is no [`ProvisionerName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a provisioner's name has 1 to {MAX_NAME_BYTES} letters, digits, `.`, `_` or `-` and starts with a letter or digit"
)]
pub struct ProvisionerNameError;

impl ProvisionerName {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// It is empty, too long, or has other characters.
    pub fn new(name: &str) -> Result<Self, ProvisionerNameError> {
        let is_plain = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        let starts_well = name.starts_with(|first: char| first.is_ascii_alphanumeric());
        if is_plain && starts_well && name.len() <= MAX_NAME_BYTES {
            Ok(Self(name.to_owned()))
        } else {
            Err(ProvisionerNameError)
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProvisionerName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// Brings one capability.
#[derive(Debug, Clone)]
pub struct Provisioner {
    /// What it is called.
    pub name: ProvisionerName,
    /// What it brings.
    pub capability: CapabilityName,
    /// The versions that it offers; empty: whichever is asked for.
    pub versions: Vec<Version>,
    /// The version for those who name none.
    pub default_version: Option<Version>,
    /// What to run. Runs as the agent in `/`.
    pub command: CommandTemplate,
    /// Variables for the command.
    pub environment: Environment,
    /// Its times. Where no usual duration is set, that of the last success is taken for it.
    pub policy: ProvisioningPolicy,
    /// Where its logs go, each provisioner's into a directory of its own.
    pub log_directory: PathBuf,
    /// What must be free before anything is started.
    pub min_free_disk: Option<DiskFloor>,
}

/// Space that must be left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFloor {
    /// Any existing path on the file system.
    pub path: PathBuf,
    /// How much must be free, in bytes.
    pub bytes: u64,
}

/// An installation that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// Who does it.
    pub provisioner: ProvisionerName,
    /// What it brings.
    pub capability: CapabilityName,
    /// In which version; none if the provisioner does not ask for one.
    pub version: Option<Version>,
    /// How far it is.
    pub phase: Phase,
}

/// How far an installation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It was started by this call.
    Started,
    /// It was under way.
    UnderWay {
        /// Since when.
        since: SystemTime,
    },
    /// It comes next, after another version.
    Next,
}

/// Why nothing is being installed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotProvisioned {
    /// Nothing in the configuration brings the capability.
    #[error("no provisioner brings `{capability}`")]
    NoProvisioner {
        /// The capability.
        capability: CapabilityName,
    },
    /// There is no version to install.
    #[error("provisioner `{provisioner}` cannot tell which version to install: {reason}")]
    NoVersion {
        /// Which provisioner.
        provisioner: ProvisionerName,
        /// Why not.
        reason: NoVersion,
    },
    /// The last try failed a short while ago.
    #[error("provisioner `{provisioner}` failed and waits before it tries again: {last_error}")]
    CoolingDown {
        /// Which provisioner.
        provisioner: ProvisionerName,
        /// Until when.
        until: SystemTime,
        /// What the last try said.
        last_error: String,
    },
    /// Another version is being installed, and a third one comes next.
    #[error("provisioner `{provisioner}` is busy with other versions")]
    Busy {
        /// Which provisioner.
        provisioner: ProvisionerName,
    },
    /// There is not enough disk space.
    #[error("provisioner `{provisioner}` needs {needed} bytes free, and {problem}")]
    NoSpace {
        /// Which provisioner.
        provisioner: ProvisionerName,
        /// How much must be free, in bytes.
        needed: u64,
        /// How much is, or why that cannot be told.
        problem: String,
    },
    /// The agent is about to end.
    #[error("the agent is about to end and installs nothing")]
    ShuttingDown,
}

/// An installation that is under way or cooling down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvisioningStatus {
    /// Whose it is.
    pub provisioner: ProvisionerName,
    /// What it is to bring.
    pub capability: CapabilityName,
    /// In which version; none if the provisioner does not ask for one.
    pub version: Option<Version>,
    /// Running or cooling down, never idle.
    pub state: Provisioning,
    /// How long it may take.
    pub time_limit: Duration,
}

/// Where all provisioners stand.
#[derive(Debug, Clone)]
pub struct Boards {
    boards: Vec<Board>,
}

/// All provisioners. Cheap to clone; all clones are the same. When the last one is dropped, what
/// runs is killed.
#[derive(Debug, Clone)]
pub struct Provisioners {
    shared: Arc<Shared>,
    tasks: Arc<Tasks>,
}

/// What the tasks see. They hold this and not [`Tasks`], which would keep themselves alive.
#[derive(Debug)]
struct Shared {
    provisioners: Vec<Provisioner>,
    catalog: Catalog,
    boards: watch::Sender<Boards>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Tasks {
    runtime: Handle,
    /// Locked for moments only.
    set: Mutex<JoinSet<()>>,
}

impl Provisioners {
    /// Provisioners that run in `runtime` and see their success in `catalog`. Where several bring
    /// the same capability, the first that can is taken.
    #[must_use]
    pub fn new(provisioners: Vec<Provisioner>, catalog: Catalog, runtime: Handle) -> Self {
        let boards = vec![Board::default(); provisioners.len()];
        let (boards, _) = watch::channel(Boards { boards });
        Self {
            shared: Arc::new(Shared {
                provisioners,
                catalog,
                boards,
                stop: CancellationToken::new(),
            }),
            tasks: Arc::new(Tasks {
                runtime,
                set: Mutex::new(JoinSet::new()),
            }),
        }
    }

    /// Sees to it that what is missing gets installed: starts that, finds it under way, or puts it
    /// next. Returns at once; [`Catalog::subscribe`] sees the capability when it is there.
    ///
    /// # Errors
    ///
    /// Nothing will be installed for this, by any provisioner of the capability; what the first one
    /// says.
    pub fn ensure(&self, missing: &Missing) -> Result<Installation, NotProvisioned> {
        let mut first_error = None;
        for (index, provisioner) in self.shared.provisioners.iter().enumerate() {
            if provisioner.capability != missing.name {
                continue;
            }
            match self.ensure_by(index, provisioner, &missing.wanted, SystemTime::now()) {
                Ok(installation) => return Ok(installation),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        let nothing = || NotProvisioned::NoProvisioner {
            capability: missing.name.clone(),
        };
        Err(first_error.unwrap_or_else(nothing))
    }

    /// The provisioners in the terms of admission: those of the missing capabilities that could
    /// bring them, each in the state in which it stands to what is wanted of it.
    ///
    /// One that is busy with another version counts as running. One that lacks disk space counts as
    /// cooling down. One that cannot tell which version to install is left out.
    #[must_use]
    pub fn snapshots(&self, missing: &[Missing], now: SystemTime) -> Vec<ProvisionerSnapshot> {
        let boards = self.shared.boards.borrow().clone();
        let pairs = self.shared.provisioners.iter().zip(&boards.boards);
        pairs
            .filter_map(|(provisioner, board)| {
                let version = missing
                    .iter()
                    .filter(|missing| missing.name == provisioner.capability)
                    .find_map(|missing| choice::choose(provisioner, &missing.wanted).ok())?;
                let state = match board.state_for(version.as_ref()) {
                    running @ Provisioning::Running { .. } => running,
                    state if state.may_start(now) => match provisioner.check_space() {
                        Ok(()) => state,
                        Err(error) => Provisioning::CoolingDown {
                            until: now.checked_add(DISK_RETRY).unwrap_or(now),
                            last_error: error.to_string(),
                            failures: 1,
                        },
                    },
                    state => state,
                };
                Some(ProvisionerSnapshot {
                    name: provisioner.name.to_string(),
                    capability: provisioner.capability.clone(),
                    versions: provisioner.versions.clone(),
                    usual_duration: board.policy(&provisioner.policy).usual_duration,
                    state,
                })
            })
            .collect()
    }

    /// Everything that is under way or cooling down.
    #[must_use]
    pub fn statuses(&self, now: SystemTime) -> Vec<ProvisioningStatus> {
        let boards = self.shared.boards.borrow().clone();
        let pairs = self.shared.provisioners.iter().zip(&boards.boards);
        pairs
            .flat_map(|(provisioner, board)| {
                board
                    .states(now)
                    .map(|(version, state)| ProvisioningStatus {
                        provisioner: provisioner.name.clone(),
                        capability: provisioner.capability.clone(),
                        version: version.cloned(),
                        state: state.clone(),
                        time_limit: provisioner.policy.time_limit,
                    })
            })
            .collect()
    }

    /// Sees every change of where provisioners stand; [`Provisioners::statuses`] says how.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Boards> {
        self.shared.boards.subscribe()
    }

    /// Stops what runs, asking first and killing after a grace period, and starts nothing any more.
    /// Returns when everything has ended.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        while tasks.join_next().await.is_some() {}
    }

    fn ensure_by(
        &self,
        index: usize,
        provisioner: &Provisioner,
        wanted: &Wanted,
        now: SystemTime,
    ) -> Result<Installation, NotProvisioned> {
        if self.shared.stop.is_cancelled() {
            return Err(NotProvisioned::ShuttingDown);
        }
        let name = || provisioner.name.clone();
        let version =
            choice::choose(provisioner, wanted).map_err(|reason| NotProvisioned::NoVersion {
                provisioner: name(),
                reason,
            })?;
        let ask = Ask {
            version: version.clone(),
            wanted: wanted.clone(),
        };
        // Measured before the board is touched, for it may block. What is under way needs no
        // measure.
        let space = provisioner.check_space();
        let answer = self.shared.change(index, |board| {
            board.ask(ask.clone(), space.is_ok(), &provisioner.policy, now)
        });
        let phase = match answer {
            Some(Answer::Start) => {
                self.start(index, ask);
                Phase::Started
            }
            Some(Answer::UnderWay { since }) => Phase::UnderWay { since },
            Some(Answer::Next) => Phase::Next,
            Some(Answer::CoolingDown { until, last_error }) => {
                return Err(NotProvisioned::CoolingDown {
                    provisioner: name(),
                    until,
                    last_error,
                });
            }
            Some(Answer::NoSpace) => {
                return Err(space.err().unwrap_or(NotProvisioned::Busy {
                    provisioner: name(),
                }));
            }
            Some(Answer::Busy) | None => {
                return Err(NotProvisioned::Busy {
                    provisioner: name(),
                });
            }
        };
        let capability = provisioner.capability.clone();
        Ok(Installation {
            provisioner: name(),
            capability,
            version,
            phase,
        })
    }

    fn start(&self, index: usize, ask: Ask) {
        let shared = Arc::clone(&self.shared);
        let mut tasks = self.tasks.lock();
        // Forgets those that have ended, so that the set does not grow for ever.
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(
            async move { installer::work(&shared, index, ask).await },
            &self.tasks.runtime,
        );
    }
}

impl Shared {
    /// Changes one board, and tells whether that was a change.
    fn change<T>(&self, index: usize, change: impl FnOnce(&mut Board) -> T) -> Option<T> {
        let mut result = None;
        self.boards.send_if_modified(|boards| {
            let Some(board) = boards.boards.get_mut(index) else {
                return false;
            };
            let before = board.clone();
            result = Some(change(board));
            *board != before
        });
        result
    }
}

impl Tasks {
    fn lock(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        // A set of tasks has no state that a panic could leave half done.
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Provisioner {
    fn check_space(&self) -> Result<(), NotProvisioned> {
        let Some(floor) = &self.min_free_disk else {
            return Ok(());
        };
        let problem = match DiskSpace::of(&floor.path) {
            Ok(space) if space.free_bytes >= floor.bytes => return Ok(()),
            Ok(space) => format!(
                "{} are free at `{}`",
                space.free_bytes,
                floor.path.display()
            ),
            Err(error) => format!("failed to {error}: {}", error.source),
        };
        Err(NotProvisioned::NoSpace {
            provisioner: self.name.clone(),
            needed: floor.bytes,
            problem,
        })
    }
}

#[cfg(test)]
mod tests;
