//! Agents as controllers tell each other of them.

use std::fmt;
use std::time::SystemTime;

use crate::ControllerId;

/// What an agent is called: the name of its machine. Compares exactly.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentName(pub String);

impl fmt::Display for AgentName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// An agent as it was last known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its name.
    pub name: AgentName,
    /// How controllers came to know of it.
    pub origin: AgentOrigin,
    /// Where it can be called; empty where only the controller below has a line to it.
    pub address: String,
    /// The controller that last heard of it.
    pub controller: ControllerId,
    /// Its capacity as it was told last; opaque here.
    pub capacity: Vec<u8>,
    /// Changes with each boot of its machine.
    pub boot_id: String,
    /// When it was last heard of.
    pub seen: SystemTime,
}

/// How a controller came to know of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AgentOrigin {
    /// It is in the configuration.
    Configured,
    /// It announced itself with an address.
    Announced,
    /// It keeps a line open.
    Tunnelled,
}
