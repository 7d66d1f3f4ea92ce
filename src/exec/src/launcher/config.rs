//! What a launcher may be asked for. A request can only narrow it.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a launcher may be asked for, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The only user whose connections are answered.
    pub client_uid: u32,
    /// Where spools may lie.
    pub spool_roots: Roots,
    /// Where working directories may lie.
    pub work_roots: Roots,
    /// What limits a request may ask for.
    #[serde(default)]
    pub maxima: Maxima,
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
}

impl Default for Maxima {
    /// No wall limit, an hour of grace, 4 GiB of either end, 1024 supervisors.
    fn default() -> Self {
        Self {
            wall: None,
            grace: Duration::from_secs(3600),
            kept_bytes: 4 << 30,
            supervisors: 1024,
        }
    }
}
