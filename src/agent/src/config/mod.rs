//! The agent's configuration: every key, its meaning and its default.
//!
//! This file is what the rest of the agent sees. It is read from TOML by means of
//! `helix-settings`, so that everything that is wrong with it is told at once, each with its line
//! and a hint. `parse.rs` is the place to start; `packaging/agent.toml` has every key with its
//! default.

mod artifacts;
mod controller;
mod difference;
mod network;
mod parse;
mod pressure;
mod tools;

pub use controller::{Advertised, Connect, ControllerAddress, ControllerConfig, ControllerTls};
pub(crate) use difference::{Difference, Effect, differences};

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use helix_exec::launcher::Measure;
use helix_machine::catalog::Label;
use helix_machine::command::CommandLine;
use helix_machine::probe::Probe;
use helix_machine::provision::Provisioner;
use helix_machine::requirement_files::RequirementFiles;
use helix_model::health::HealthPolicy;
use helix_model::ids::QueueName;
use helix_model::pressure::PressurePolicy;

/// Everything that can be said about an agent.
#[derive(Debug, Clone)]
pub struct Config {
    /// What the machine is called; default: its host name.
    pub machine_name: Option<String>,
    /// Queues served; empty: all.
    pub queues: Vec<QueueName>,
    /// Where the agent keeps what must outlive it.
    pub state_directory: PathBuf,
    /// Where work items run.
    pub work_directory: PathBuf,
    /// Where a file `offline` takes the machine out of service, its text being
    /// the reason.
    pub config_root: PathBuf,
    /// Work items at a time, at least 1.
    pub slots: u32,
    /// What of the machine may be given to work items.
    pub resources: ResourcesConfig,
    /// Where clients are answered.
    pub listen: ListenConfig,
    /// The controllers that the agent reports to; absent: none.
    pub controller: Option<ControllerConfig>,
    /// Where metrics and health are served; absent: nowhere.
    pub monitoring: Option<SocketAddr>,
    /// The socket of the launcher service; absent: the agent starts a launcher
    /// of its own, with its own rights.
    pub launcher_socket: Option<PathBuf>,
    /// How far work items must be held back.
    pub isolation: IsolationConfig,
    /// How much output is kept.
    pub output: OutputConfig,
    /// How payloads are brought in.
    pub payload: PayloadConfig,
    /// Where artifacts go.
    pub artifacts: ArtifactsConfig,
    /// How result files are read.
    pub results: ResultsConfig,
    /// Labels of the machine, beside the facts that the agent finds.
    pub labels: Vec<Label>,
    /// How tools are found.
    pub probes: Vec<Probe>,
    /// Between two looks at all tools.
    pub probe_interval: Duration,
    /// What can be installed.
    pub provisioners: Vec<Provisioner>,
    /// Which files of a payload ask for tools.
    pub requirement_files: RequirementFiles,
    /// When the machine is put into quarantine.
    pub health: HealthPolicy,
    /// When pressure takes slots away; absent: never.
    pub pressure: Option<PressurePolicy>,
    /// How long ended attempts are kept.
    pub retention: RetentionConfig,
    /// How long a shutdown waits for what runs before it leaves it to the
    /// supervisors.
    pub drain_timeout: Duration,
    /// What reboots the machine when a work item asks for it; absent: nothing,
    /// and the wish is only told.
    pub reboot_command: Option<CommandLine>,
}

/// What of the machine may be given to work items.
#[derive(Debug, Clone, Copy, Default)]
pub struct ResourcesConfig {
    /// Thousandths of a CPU; absent: all CPUs.
    pub cpu_millis: Option<u64>,
    /// Bytes of memory; absent: all.
    pub memory_bytes: Option<u64>,
    /// Bytes that stay free in the work directory.
    pub disk_reserve_bytes: u64,
}

/// Where clients are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenConfig {
    /// Address and port; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Who may come, and how; absent: everybody who reaches the address, in the
    /// clear.
    pub tls: Option<TlsConfig>,
}

/// Server and client certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM file with the agent's certificate and its chain.
    pub certificate: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
    /// PEM file with the authorities whose clients are let in.
    pub client_ca: PathBuf,
}

/// How far work items must be held back.
#[derive(Debug, Clone, Default)]
pub struct IsolationConfig {
    /// Without all of these no work is taken.
    pub require: Vec<Measure>,
}

/// How much output of one attempt is kept.
#[derive(Debug, Clone, Copy)]
pub struct OutputConfig {
    /// Bytes from the start.
    pub head_bytes: u64,
    /// Bytes from the end.
    pub tail_bytes: u64,
}

/// How payloads are brought in.
#[derive(Debug, Clone)]
pub struct PayloadConfig {
    /// Where archives are kept; absent: `cache` in the state directory.
    pub cache_directory: Option<PathBuf>,
    /// Bytes that the cache may hold.
    pub cache_bytes: u64,
    /// Bytes of one archive.
    pub archive_bytes: u64,
    /// Bytes of what one archive holds.
    pub unpacked_bytes: u64,
    /// Entries of one archive.
    pub entries: u64,
    /// How many times as large as an archive its content may be.
    pub ratio: u32,
    /// For all payloads of one attempt together.
    pub deadline: Duration,
    /// Whether `file` URLs may name any file that the agent can read.
    pub allow_file_urls: bool,
}

/// Where artifacts go.
#[derive(Debug, Clone)]
pub struct ArtifactsConfig {
    /// `file:///…`, `az://container/prefix` or `s3://bucket/prefix`; absent: the
    /// folder `artifacts` in the state directory.
    pub url: Option<String>,
    /// Options of the store, credentials among them. Never shown.
    pub options: helix_artifacts::Options,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of one attempt.
    pub total_bytes: u64,
    /// Files of one attempt.
    pub files: usize,
    /// For the log, and again for all other files of one attempt together. A
    /// store that cannot be reached holds the slot for as long.
    pub deadline: Duration,
}

/// How result files are read.
#[derive(Debug, Clone, Copy)]
pub struct ResultsConfig {
    /// Files of one attempt.
    pub files: usize,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// For all files of one attempt together.
    pub time: Duration,
}

/// How long ended attempts are kept.
#[derive(Debug, Clone, Copy)]
pub struct RetentionConfig {
    /// Since their end.
    pub age: Duration,
    /// Bytes of all together; acknowledged ones go first, then the oldest.
    pub bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        const GIB: u64 = 1 << 30;
        Self {
            machine_name: None,
            queues: Vec::new(),
            state_directory: PathBuf::from("/var/lib/helix/agent"),
            work_directory: PathBuf::from("/var/lib/helix/work"),
            config_root: PathBuf::from("/etc/helix"),
            slots: 1,
            resources: ResourcesConfig {
                cpu_millis: None,
                memory_bytes: None,
                disk_reserve_bytes: GIB,
            },
            listen: ListenConfig {
                address: SocketAddr::from((Ipv4Addr::LOCALHOST, 7420)),
                tls: None,
            },
            controller: None,
            monitoring: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 7421))),
            launcher_socket: None,
            isolation: IsolationConfig::default(),
            output: OutputConfig {
                head_bytes: 64 << 20,
                tail_bytes: 64 << 20,
            },
            payload: PayloadConfig {
                cache_directory: None,
                cache_bytes: 20 * GIB,
                archive_bytes: 8 * GIB,
                unpacked_bytes: 64 * GIB,
                entries: 2_000_000,
                ratio: 200,
                deadline: Duration::from_secs(600),
                allow_file_urls: false,
            },
            artifacts: ArtifactsConfig {
                url: None,
                options: helix_artifacts::Options::new(),
                file_bytes: 4 * GIB,
                total_bytes: 16 * GIB,
                files: 10_000,
                deadline: Duration::from_secs(600),
            },
            results: ResultsConfig {
                files: 2_000,
                file_bytes: 2 * GIB,
                time: Duration::from_secs(300),
            },
            labels: Vec::new(),
            probes: Vec::new(),
            probe_interval: Duration::from_secs(300),
            provisioners: Vec::new(),
            requirement_files: RequirementFiles::default(),
            health: HealthPolicy::default(),
            pressure: Some(PressurePolicy::default()),
            retention: RetentionConfig {
                age: Duration::from_secs(7 * 24 * 60 * 60),
                bytes: 10 * GIB,
            },
            drain_timeout: Duration::from_secs(60),
            reboot_command: None,
        }
    }
}

impl Config {
    /// An agent on loopback that keeps everything below `directory` and lets the
    /// system choose its ports.
    #[must_use]
    pub fn for_loopback(directory: &Path) -> Self {
        let mut config = Self {
            state_directory: directory.join("state"),
            work_directory: directory.join("work"),
            config_root: directory.join("config"),
            slots: 2,
            ..Self::default()
        };
        config.listen.address.set_port(0);
        config.monitoring = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        config.payload.allow_file_urls = true;
        config
    }

    /// Where payload archives are kept.
    #[must_use]
    pub fn cache_directory(&self) -> PathBuf {
        let default = || self.state_directory.join("cache");
        self.payload.cache_directory.clone().unwrap_or_else(default)
    }
}

#[cfg(test)]
mod tests;
