//! An agent from its start to its end.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use helix_exec::launcher::Measure;
use helix_machine::facts::Facts;
use helix_payload::{Cache, CacheLimits, CacheOptions, LocalFiles};
use nix::fcntl::{Flock, FlockArg};
use tokio_util::sync::CancellationToken;

use crate::attempt::recover;
use crate::config::Config;
use crate::controller::{Calls, Served};
use crate::core::{Core, Ground, Parts};
use crate::launcher::{Launcher, Place};
use crate::listener::Door;
use crate::reload::{Change, ReloadError};
use crate::workspace::layout::{PASSABLE, PRIVATE, SCRIPTS};
use crate::workspace::{environment, scripts};
use crate::{housekeeping, monitoring, reload, server, service_manager};

const LOCK: &str = "lock";
const LISTENING: &str = "listening";
const MONITORING: &str = "monitoring";
/// How long the start waits to hear whether the launcher is there.
const FIRST_WORD_WITHIN: Duration = Duration::from_secs(2);
/// Between two looks at whether all work has ended.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// A running agent.
///
/// Dropping it without [`Agent::shutdown`] leaves its tasks running in the
/// runtime.
#[derive(Debug)]
pub struct Agent {
    core: Arc<Core>,
    address: SocketAddr,
    monitoring: Option<SocketAddr>,
    health: server::HealthSwitch,
    controllers: Option<Calls>,
    served: Served,
    door: Option<Door>,
    state_directory: PathBuf,
    stop: CancellationToken,
    /// Keeps a second agent out of the state directory.
    _lock: Flock<File>,
}

/// Why an agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A directory or file of its own cannot be made or used.
    #[error("{operation} `{path}`", path = path.display())]
    File {
        /// What was to be done.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another agent uses the state directory.
    #[error("another agent runs with the state directory `{path}`", path = path.display())]
    AlreadyRunning {
        /// The directory.
        path: PathBuf,
    },
    /// The scripts for work items cannot be written.
    #[error("install the scripts for work items")]
    Scripts(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It cannot listen.
    #[error("listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The certificates cannot be used.
    #[error("use the certificates of `[listen.tls]`")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The machine does not say what it is.
    #[error("look at the machine")]
    Machine(#[from] helix_machine::facts::FactsError),
    /// The place for artifacts cannot be used.
    #[error("use the artifact store")]
    Artifacts(#[from] helix_artifacts::OpenError),
    /// A queue cannot have its name.
    #[error("name the queue")]
    Queue(#[from] helix_model::ids::NameError),
    /// The payload cache cannot be used.
    #[error("open the payload cache: {}", .0.chain())]
    Cache(helix_payload::Error),
}

impl Agent {
    /// Starts an agent: takes up what an earlier life left, then listens.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from taking work. Nothing is left running then.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        monitoring::recorder();
        hide_memory();
        let lock = prepare_directories(&config)?;
        let facts = Facts::read()?;
        let core = open_core(config, facts)?;
        // No reload exchanges anything while the agent starts.
        let settings = core.settings();
        let config = &settings.config;
        core.launcher.first_word(FIRST_WORD_WITHIN).await;
        core.observe_isolation();
        warn_of_closed_doors(&core);
        let recovered = recover::recover(&core)
            .await
            .map_err(|source| StartError::File {
                operation: "take up the attempts in",
                path: core.attempts_directory(),
                source,
            })?;
        let swept = core.jobs.sweep(&config.work_directory, &recovered.damaged);
        for leftover in swept {
            core.leftovers.remove_or_wait(leftover).await;
        }
        core.settings().catalog.refresh().await;

        let stop = CancellationToken::new();
        housekeeping::start(&core, &stop);
        let address = config.listen.address;
        let listening = server::start(&core, stop.clone()).await?;
        let monitoring = match config.monitoring {
            None => None,
            Some(wanted) => {
                let bound = monitoring::serve(Arc::clone(&core), wanted, stop.clone()).await;
                Some(bound.map_err(|source| StartError::Listen {
                    address: wanted,
                    source,
                })?)
            }
        };
        let state_directory = &config.state_directory;
        if let Some(address) = monitoring {
            tell_where(state_directory, MONITORING, address)?;
        }
        tell_where(state_directory, LISTENING, listening.address)?;
        tracing::info!(
            asked = %address,
            address = %listening.address,
            monitoring = monitoring.map(tracing::field::display),
            machine = core.machine_name(),
            slots = config.slots,
            "agent listens"
        );
        let served = Served {
            routes: listening.routes,
            address: listening.address,
            tls: config.listen.tls.is_some(),
        };
        let controllers = config.controller.as_ref();
        let controllers = controllers.map(|config| Calls::start(&core, &served, config, &stop));
        Ok(Self {
            core,
            address: listening.address,
            monitoring,
            health: listening.health,
            controllers,
            served,
            door: listening.door,
            state_directory: config.state_directory.clone(),
            stop,
            _lock: lock,
        })
    }

    /// Where clients are answered.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics and health are served.
    #[must_use]
    pub fn monitoring_address(&self) -> Option<SocketAddr> {
        self.monitoring
    }

    /// Begins to tell the service manager of this process, if it has one, how this
    /// agent is.
    pub(crate) fn report_to_service_manager(&self) {
        service_manager::start(&self.core, self.address, &self.stop);
    }

    /// Takes nothing new from now on and waits until nothing runs. Says how much
    /// still ran after `limit`. Dropping the future leaves the agent draining.
    pub async fn drain(&self, limit: Duration) -> usize {
        self.core.drain_for_shutdown();
        self.health.not_serving().await;
        let ended = async {
            while self.core.running() > 0 || !self.core.tasks.is_empty() {
                tokio::time::sleep(LOOK_AGAIN_AFTER).await;
            }
        };
        let _ = tokio::time::timeout(limit, ended).await;
        self.core.running()
    }

    /// How long a shutdown waits for what runs.
    pub(crate) fn drain_timeout(&self) -> Duration {
        self.core.settings().config.drain_timeout
    }

    /// Puts another configuration in force, whole, or nothing of it. What runs keeps what it
    /// began with, and connections go on. Certificates are read anew even if nothing changed.
    ///
    /// # Errors
    ///
    /// Why it cannot be put in force by a running agent; nothing has changed then.
    pub async fn reload(&mut self, config: Config) -> Result<Vec<Change>, ReloadError> {
        let plan = reload::plan(&self.core, config).await?;
        if let (Some(door), Some(tls)) = (&self.door, plan.tls) {
            door.exchange(tls);
        }
        let controllers = plan.settings.config.controller.clone();
        self.core.exchange(plan.settings);
        if plan.is_other_controller {
            if let Some(calls) = self.controllers.take() {
                calls.end().await;
            }
            self.controllers = controllers
                .map(|config| Calls::start(&self.core, &self.served, &config, &self.stop));
        }
        Ok(plan.changes)
    }

    /// Ends the agent. What still runs is left to its supervisors, and taken up
    /// by the next agent with the same state directory.
    pub async fn shutdown(self) {
        self.health.not_serving().await;
        if let Some(controllers) = self.controllers {
            controllers.end().await;
        }
        self.stop.cancel();
        // A stale address would lead the next client astray.
        for name in [LISTENING, MONITORING] {
            let _ = fs::remove_file(self.state_directory.join(name));
        }
    }
}

/// Keeps other processes of the same user, which work items may be, from reading the
/// memory and the environment of this one.
fn hide_memory() {
    #[cfg(target_os = "linux")]
    if let Err(errno) = nix::sys::prctl::set_dumpable(false) {
        tracing::warn!(error = %errno, "memory of the agent can be read by its user's processes");
    }
}

fn prepare_directories(config: &Config) -> Result<Flock<File>, StartError> {
    // Work items of other users are to find their way to their directories, and to
    // nothing of the agent's.
    for (path, mode) in [
        (&config.state_directory, PRIVATE),
        (&config.work_directory, PASSABLE),
    ] {
        make_directory(path, mode).map_err(|source| StartError::File {
            operation: "make the directory",
            path: path.to_owned(),
            source,
        })?;
        if let Err(error) = settle_mode(path, mode) {
            tracing::warn!(
                path = %path.display(),
                error = %error,
                "directory cannot be given the mode {mode:o}"
            );
        }
    }
    let path = config.state_directory.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| StartError::File {
            operation: "open the lock file",
            path,
            source,
        })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| StartError::AlreadyRunning {
        path: config.state_directory.clone(),
    })
}

/// Makes a directory with a mode, and those above it with the usual one.
fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    if let Some(above) = path.parent() {
        fs::create_dir_all(above)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::create_dir_all(path),
        made => made,
    }
}

/// Gives a directory a mode; one that is readable to more than need be, and is meant
/// for passing through, stays so.
fn settle_mode(path: &Path, mode: u32) -> io::Result<()> {
    let present = fs::metadata(path)?.permissions().mode() & 0o7777;
    let wanted = match mode {
        PRIVATE => present & !0o077 | PRIVATE,
        passable => present | passable,
    };
    if wanted == present {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(wanted))
}

/// Warns of directories above the work directory that other users cannot pass
/// through, where work items have users of their own.
fn warn_of_closed_doors(core: &Core) {
    if !core.launcher.standing().has(Measure::User) {
        return;
    }
    for above in core.settings().config.work_directory.ancestors() {
        let is_closed =
            fs::metadata(above).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 == 0);
        if is_closed {
            tracing::warn!(
                path = %above.display(),
                "work items cannot reach their directories: others may not pass through this one"
            );
        }
    }
}

fn open_core(config: Config, facts: Facts) -> Result<Arc<Core>, StartError> {
    let payload = &config.payload;
    let mut options = CacheOptions {
        limits: CacheLimits {
            max_bytes: payload.cache_bytes,
            max_archive_bytes: payload.archive_bytes,
            ..CacheLimits::default()
        },
        ..CacheOptions::default()
    };
    if payload.allow_file_urls {
        options.local_files = LocalFiles::Anywhere;
    }
    let cache = Cache::open(&config.cache_directory(), options).map_err(StartError::Cache)?;
    let place = match &config.launcher_socket {
        Some(socket) => Place::Service(socket.clone()),
        None => Place::Child(std::env::current_exe().map_err(|source| StartError::File {
            operation: "find the program of",
            path: PathBuf::from("/proc/self/exe"),
            source,
        })?),
    };
    let launcher = Launcher::start(place, config.isolation.require.clone());
    let scripts = config.work_directory.join(SCRIPTS);
    scripts::install(&scripts).map_err(|error| StartError::Scripts(Box::new(error)))?;
    let ground = Ground {
        python: environment::find_python(OsStr::new(environment::DEFAULT_PATH)),
        user: own_user(),
        scripts,
    };
    let state_directory = config.state_directory.clone();
    let parts = Parts {
        settings: reload::settings(config, &facts)?,
        facts,
        cache,
        launcher,
        ground,
    };
    Core::new(parts).map_err(|source| StartError::File {
        operation: "read the state in",
        path: state_directory,
        source,
    })
}

/// Writes an address down, at one blow, for those who let the system choose.
fn tell_where(state_directory: &Path, name: &str, address: SocketAddr) -> Result<(), StartError> {
    let path = state_directory.join(name);
    let next = state_directory.join(format!("{name}.next"));
    fs::write(&next, format!("{address}\n"))
        .and_then(|()| fs::rename(&next, &path))
        .map_err(|source| StartError::File {
            operation: "write the address to",
            path,
            source,
        })
}

/// The name of the user that the agent, and so its own launcher, runs as.
fn own_user() -> String {
    let uid = nix::unistd::geteuid();
    match nix::unistd::User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => uid.to_string(),
    }
}
