//! Another configuration for a running agent: what differs, whether that can be put in force as it
//! runs, and all that it takes, made before anything is changed.

use std::fmt;
use std::sync::Arc;

use helix_artifacts::{Destination, Tuning};
use helix_machine::catalog::Catalog;
use helix_machine::facts::Facts;
use helix_machine::provision::Provisioners;
use helix_model::ids::QueueName;
use helix_model::provisioning::Provisioning;
use rustls::ServerConfig;

use crate::agent::StartError;
use crate::config::{Config, Difference, Effect, differences};
use crate::core::{Core, Settings};
use crate::tls::{self, TlsError};

/// The queue of a work item that names none, where the agent serves all queues.
const DEFAULT_QUEUE: &str = "default";

/// A key whose value is another one now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key, with its table.
    pub key: &'static str,
    /// What it was; defaults are shown, secrets never.
    pub before: String,
    /// What it is.
    pub after: String,
}

/// Why a running agent cannot take a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Keys have changed that count only at the start.
    #[error("{} only with a restart", list(.keys))]
    NeedsRestart {
        /// The keys, with what they are and would be.
        keys: Vec<Change>,
    },
    /// Tools have changed that something is being installed by.
    #[error("installations of `{}` are under way, and the tools have changed", .capabilities.join("`, `"))]
    Installing {
        /// What is being installed.
        capabilities: Vec<String>,
    },
    /// Certificates cannot be used.
    #[error("use the certificates of `[{table}]`")]
    Tls {
        /// Where they are named.
        table: &'static str,
        /// What is wrong with them.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What the configuration names cannot be used.
    #[error(transparent)]
    Settings(#[from] StartError),
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}`", self.key)
    }
}

fn list(keys: &[Change]) -> String {
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    let verb = if keys.len() == 1 { "changes" } else { "change" };
    format!("{} {verb}", keys.join(", "))
}

impl From<Difference> for Change {
    fn from(difference: Difference) -> Self {
        Self {
            key: difference.key,
            before: difference.before,
            after: difference.after,
        }
    }
}

/// All that it takes to put a configuration in force.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    /// What clients are shown, where they are shown anything.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) is_other_controller: bool,
    pub(crate) changes: Vec<Change>,
}

/// Looks at a configuration and makes what it needs. Takes as long as its probes, if these have
/// changed; changes nothing.
pub(crate) async fn plan(core: &Arc<Core>, config: Config) -> Result<Plan, ReloadError> {
    let present = core.settings();
    let before = &present.config;
    let (restart, at_once): (Vec<_>, Vec<_>) = differences(before, &config)
        .into_iter()
        .partition(|difference| difference.effect == Effect::Restart);
    if !restart.is_empty() {
        return Err(ReloadError::NeedsRestart {
            keys: restart.into_iter().map(Change::from).collect(),
        });
    }
    let changes: Vec<Change> = at_once.into_iter().map(Change::from).collect();
    let changed = |key: &str| changes.iter().any(|change| change.key == key);

    let listen = config.listen.tls.as_ref().map(tls::server_config);
    let tls = listen.transpose().map_err(of_table("listen.tls"))?;
    if let Some(tls) = config.controller.as_ref().and_then(|one| one.tls.as_ref()) {
        tls::client_config(tls).map_err(of_table("controller.tls"))?;
    }
    let is_other_controller = before.controller != config.controller;

    let are_other_tools = changed("labels") || changed("probes");
    let settings = if are_other_tools || changed("provisioners") {
        let capabilities = being_installed(&present);
        if !capabilities.is_empty() {
            return Err(ReloadError::Installing { capabilities });
        }
        let settings = settings(config, &core.facts)?;
        // Whoever asks meanwhile is told of the old ones; nothing is missing for a moment.
        settings.catalog.refresh().await;
        settings
    } else {
        Settings {
            catalog: present.catalog.clone(),
            provisioners: present.provisioners.clone(),
            artifacts: artifacts(&config)?,
            default_queue: default_queue(&config)?,
            config,
        }
    };
    Ok(Plan {
        settings,
        tls,
        is_other_controller,
        changes,
    })
}

fn of_table(table: &'static str) -> impl FnOnce(TlsError) -> ReloadError {
    move |source| ReloadError::Tls {
        table,
        source: Box::new(source),
    }
}

fn being_installed(settings: &Settings) -> Vec<String> {
    let statuses = settings
        .provisioners
        .statuses(std::time::SystemTime::now())
        .into_iter();
    statuses
        .filter(|status| matches!(status.state, Provisioning::Running { .. }))
        .map(|status| status.capability.to_string())
        .collect()
}

/// What is made of a configuration. No probe has run.
pub(crate) fn settings(config: Config, facts: &Facts) -> Result<Settings, StartError> {
    let catalog = Catalog::new(facts, &config.labels, config.probes.clone());
    let runtime = tokio::runtime::Handle::current();
    Ok(Settings {
        provisioners: Provisioners::new(config.provisioners.clone(), catalog.clone(), runtime),
        catalog,
        artifacts: artifacts(&config)?,
        default_queue: default_queue(&config)?,
        config,
    })
}

fn artifacts(config: &Config) -> Result<Destination, StartError> {
    let artifacts = match &config.artifacts.url {
        Some(url) => Destination::open(url, &config.artifacts.options)?,
        None => Destination::folder(&config.state_directory.join("artifacts"))?,
    };
    Ok(artifacts.with_tuning(Tuning {
        within: config.artifacts.deadline,
        largest_file: config.artifacts.file_bytes,
        ..Tuning::default()
    }))
}

fn default_queue(config: &Config) -> Result<QueueName, StartError> {
    match config.queues.first() {
        Some(queue) => Ok(queue.clone()),
        None => Ok(QueueName::new(DEFAULT_QUEUE)?),
    }
}
