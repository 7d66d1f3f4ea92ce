//! A controller from its start to its end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use helix_store::{AgentOrigin, Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::agent::{follow_address, service};
use crate::config::Config;
use crate::core::{Core, Parts};
use crate::ground::Ground;
use crate::link::grpc::Network;
use crate::log::LogDirectory;
use crate::storage::{Storage, StorageError};
use crate::world::ThisWorld;
use crate::{http, metrics, scheduler};

/// How long the end waits for what is being written.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// A running controller.
///
/// Dropping it without [`Running::shutdown`] leaves its tasks running in the runtime.
#[derive(Debug)]
pub struct Running {
    pub(crate) core: Arc<Core>,
    http: SocketAddr,
    agents: SocketAddr,
    stop: CancellationToken,
    ground: Ground,
}

/// Why a controller could not start.
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
        source: std::io::Error,
    },
    /// Another controller uses the state directory.
    #[error("another controller uses `{path}`", path = path.display())]
    AlreadyRunning {
        /// The directory.
        path: PathBuf,
    },
    /// It cannot listen.
    #[error("listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The certificates cannot be used.
    #[error("use the certificates of `[{section}]`")]
    Tls {
        /// The table of the configuration.
        section: &'static str,
        /// What is wrong with them.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store cannot be used.
    #[error("use the store")]
    Store(#[from] StoreError),
    /// The object store cannot be used.
    #[error("use the object store")]
    Storage(#[from] StorageError),
}

/// Starts a controller: takes up what an earlier life left, then listens.
///
/// # Errors
///
/// Whatever keeps it from working. Nothing is left running then.
pub async fn start(config: Config) -> Result<Running, StartError> {
    let ground = Ground::take(&config.state_directory)?;
    let store = helix_store::open(&config.store_url(), &helix_store::Options::default()).await?;
    start_on(config, ground, store).await
}

/// The same on a store that is open.
pub(crate) async fn start_on(
    config: Config,
    ground: Ground,
    store: Arc<dyn Store>,
) -> Result<Running, StartError> {
    metrics::recorder();
    // Whoever else is in the process may have chosen the same before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let logs_path = config.state_directory.join("logs");
    let logs = LogDirectory::new(&logs_path);
    logs.prepare().map_err(|source| StartError::File {
        operation: "empty the directory",
        path: logs_path,
        source,
    })?;
    let storage = match &config.storage.url {
        Some(url) => Storage::open(url, &config.storage.options)?,
        None => Storage::folder(&config.state_directory.join("objects"))?,
    };
    let name = match &config.name {
        Some(name) => name.clone(),
        None => host_name(),
    };
    for queue in &config.queues {
        store.put_queue(queue.clone()).await?;
    }
    let addresses = Arc::new(Network {
        tls: config.agents.client_tls.clone(),
    });
    let core = Arc::new(Core::new(Parts {
        config,
        name,
        store,
        storage,
        logs,
        world: Arc::new(ThisWorld),
        addresses,
    }));
    let stop = CancellationToken::new();
    let listening = listen(&core, &stop).await;
    let (http, agents) = match listening {
        Ok(addresses) => addresses,
        Err(error) => {
            stop.cancel();
            core.tasks().end();
            return Err(error);
        }
    };
    let begun = match begin(&core).await {
        Ok(()) => ground.tell_where(http, agents),
        Err(error) => Err(error.into()),
    };
    if let Err(error) = begun {
        stop.cancel();
        core.tasks().end();
        return Err(error);
    }
    tracing::info!(name = core.name(), http = %http, agents = %agents, "controller listens");
    Ok(Running {
        core,
        http,
        agents,
        stop,
        ground,
    })
}

async fn listen(
    core: &Arc<Core>,
    stop: &CancellationToken,
) -> Result<(SocketAddr, SocketAddr), StartError> {
    let http = http::serve(Arc::clone(core), stop.clone())
        .await
        .map_err(|source| StartError::Listen {
            address: core.config().http.address,
            source,
        })?;
    let agents = service::serve(core, stop.clone()).await?;
    Ok((http, agents))
}

/// Takes up what an earlier life left, reaches out to agents, and begins to hand out.
pub(crate) async fn begin(core: &Arc<Core>) -> Result<(), StoreError> {
    core.store().beat(core.id(), core.now()).await?;
    let held = core.store().adopt_own(core.id(), core.now()).await?;
    scheduler::adopt(core, held);
    for address in &core.config().agents.configured {
        follow_address(core, address.clone());
    }
    // Agents that announced themselves once can be called before they do so again.
    for agent in core.store().agents().await? {
        let is_configured = core
            .config()
            .agents
            .configured
            .iter()
            .any(|address| address.0 == agent.address);
        if agent.origin == AgentOrigin::Announced && !is_configured {
            service::follow_announced(core, &agent.name, &agent.address);
        }
    }
    scheduler::start(core);
    Ok(())
}

impl Running {
    /// Where the REST API is served.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// Where agents announce themselves and open tunnels.
    #[must_use]
    pub fn agents_address(&self) -> SocketAddr {
        self.agents
    }

    /// Offers nothing new, lets go of what runs, which goes on, and ends within seconds. The next
    /// controller of the name, or another at once, takes it up.
    pub async fn shutdown(self) {
        self.ground.forget_where();
        self.core.leave();
        self.stop.cancel();
        // What has just ended is written down, and what is being taken is known of.
        let _ = tokio::time::timeout(LAST_WORDS, self.core.quiet()).await;
        self.core.tasks().end();
        self.core.tasks().ended().await;
        // A beat of long ago tells others that they may take over what is left.
        let last = self
            .core
            .store()
            .beat(self.core.id(), SystemTime::UNIX_EPOCH);
        match tokio::time::timeout(LAST_WORDS, last).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = %error, "others cannot be told that this controller ends");
            }
            Err(_) => tracing::warn!("store does not answer at the end"),
        }
    }
}

/// What the machine is called.
fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "controller".to_owned())
}
