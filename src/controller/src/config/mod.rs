//! The controller's configuration: every key, its meaning and its default.
//!
//! This file is what the rest of the controller sees. It is read from TOML by means of
//! `helix-settings`, so that everything that is wrong with it is told at once, each with its line
//! and a hint. `parse.rs` is the place to start.

mod network;
mod parse;
mod places;
mod queues;
mod tokens;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use helix_settings::ConfigProblems;
use helix_store::Queue;

/// Everything that can be said about a controller.
#[derive(Debug, Clone)]
pub struct Config {
    /// What it is called: one process at a time has the name. Default: the host's name.
    pub name: Option<String>,
    /// Where it keeps what must outlive it: the embedded store, the local object store, and the logs
    /// of what runs.
    pub state_directory: PathBuf,
    /// Where people and agents reach the REST API from outside, such as `https://helix.example`,
    /// without a slash at the end; absent: the address that it listens on.
    pub external_url: Option<String>,
    /// Where everything is kept.
    pub store: StoreConfig,
    /// Where logs and payloads are kept.
    pub storage: StorageConfig,
    /// Where the REST API is served.
    pub http: HttpConfig,
    /// Who may use the REST API; empty: everybody who reaches it, which is then only possible on
    /// loopback.
    pub tokens: Vec<TokenConfig>,
    /// How agents are found and judged.
    pub agents: AgentsConfig,
    /// Queues that are made, or given these settings, at each start. Others stay as they are.
    pub queues: Vec<Queue>,
}

/// Where everything is kept.
#[derive(Clone, Default)]
pub struct StoreConfig {
    /// `sqlite:///path` or `postgres://…`; absent: `helix.db` in the state directory. May hold a
    /// password.
    pub url: Option<String>,
}

/// Where logs and payloads are kept.
#[derive(Clone, Default)]
pub struct StorageConfig {
    /// `file:///…`, `az://container/prefix` or `s3://bucket/prefix`; absent: the folder `objects` in
    /// the state directory.
    pub url: Option<String>,
    /// Options of the store by name, credentials among them. Never shown.
    pub options: BTreeMap<String, String>,
}

/// Where the REST API is served.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Address and port; port 0 lets the system choose.
    pub address: SocketAddr,
    /// With which certificate; absent: in the clear.
    pub tls: Option<ServerIdentity>,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct ServerIdentity {
    /// PEM file with the certificate and its chain.
    pub certificate: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
}

/// Somebody who may use the REST API.
#[derive(Clone)]
pub struct TokenConfig {
    /// What the bearer is called; unique.
    pub name: String,
    /// SHA-256 of the token.
    pub sha256: [u8; 32],
    /// What the bearer may do.
    pub scopes: Vec<Scope>,
}

/// What the bearer of a token may do. None includes another, save that `admin` includes all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Look at everything but secrets.
    Read,
    /// Send jobs to open queues, and cancel and retry jobs.
    Submit,
    /// Send jobs to internal queues as well.
    SubmitInternal,
    /// Drain and resume agents.
    Operate,
    /// Make and remove queues, and everything else.
    Admin,
}

/// How agents are found and judged.
#[derive(Debug, Clone)]
pub struct AgentsConfig {
    /// Where agents announce themselves and open tunnels; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Who may come there, and how; absent: everybody who reaches the address, in the clear.
    pub tls: Option<TlsConfig>,
    /// How the controller shows itself to agents that it calls with TLS, and which it trusts; absent:
    /// as at its own listener.
    pub client_tls: Option<ClientTlsConfig>,
    /// Whether agents of other machines may be called without TLS.
    pub allow_plain: bool,
    /// Agents that are called without their announcing themselves.
    pub configured: Vec<AgentAddress>,
    /// How long an agent may say nothing before nothing new is offered to it.
    pub silence: Duration,
    /// How long an agent may say nothing before what it runs is taken for lost.
    pub patience: Duration,
}

/// Server and client certificates.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// The controller's own.
    pub identity: ServerIdentity,
    /// PEM file with the authorities whose agents are let in.
    pub client_ca: PathBuf,
}

/// How agents are called with TLS.
#[derive(Debug, Clone)]
pub struct ClientTlsConfig {
    /// The controller's own certificate.
    pub identity: ServerIdentity,
    /// PEM file with the authorities of the agents' certificates.
    pub ca: PathBuf,
}

/// Where an agent is called: `http://host:port` or `https://host:port`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentAddress(pub String);

impl fmt::Debug for StoreConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.url.as_deref().and_then(|url| url.split(':').next());
        formatter
            .debug_struct("StoreConfig")
            .field("kind", &kind)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for StorageConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("StorageConfig")
            .field("url", &self.url)
            .field("options", &self.options.keys())
            .finish()
    }
}

impl fmt::Debug for TokenConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TokenConfig")
            .field("name", &self.name)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: None,
            state_directory: PathBuf::from("/var/lib/helix/controller"),
            external_url: None,
            store: StoreConfig::default(),
            storage: StorageConfig::default(),
            http: HttpConfig {
                address: SocketAddr::from((Ipv4Addr::LOCALHOST, 7410)),
                tls: None,
            },
            tokens: Vec::new(),
            agents: AgentsConfig {
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7411)),
                tls: None,
                client_tls: None,
                allow_plain: false,
                configured: Vec::new(),
                silence: Duration::from_secs(30),
                patience: Duration::from_secs(120),
            },
            queues: Vec::new(),
        }
    }
}

impl Config {
    /// A controller on loopback that keeps everything below `directory` and lets the system choose
    /// its ports.
    #[must_use]
    pub fn for_loopback(directory: &Path) -> Self {
        let mut config = Self {
            state_directory: directory.to_owned(),
            ..Self::default()
        };
        config.http.address.set_port(0);
        config.agents.listen.set_port(0);
        config
    }

    /// Where the store is: the configured one, or the embedded one in the state directory.
    #[must_use]
    pub fn store_url(&self) -> String {
        let default = || {
            format!(
                "sqlite://{}",
                self.state_directory.join("helix.db").display()
            )
        };
        self.store.url.clone().unwrap_or_else(default)
    }
}

#[cfg(test)]
mod tests;
