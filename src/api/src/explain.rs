//! Why a work item does not run.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a work item does not run, or that it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The work item.
    pub item: String,
    /// What people call it.
    pub name: String,
    /// How it looks altogether.
    pub prospect: Prospect,
    /// The same in a sentence.
    pub message: String,
    /// For each requirement that nobody meets, who comes nearest, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nearest: Vec<String>,
    /// What each agent says, by name.
    pub agents: Vec<AgentAnswer>,
    /// Why agents did not take it when they were asked, one entry each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refusal>,
}

/// How it looks for a work item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Prospect {
    /// It has ended.
    Ended,
    /// An agent has it or is being asked.
    Underway,
    /// An agent could take it now.
    Now,
    /// Agents could take it that are busy, draining or silent.
    Later,
    /// Not one agent that is known can ever take it as it is.
    Never,
}

/// Whether an agent could take a work item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentAnswer {
    /// The agent.
    pub agent: String,
    /// Whether it could.
    pub prospect: Prospect,
    /// The reason in capitals, such as `MISSING_CAPABILITY`. Empty where it could now.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// Why an agent did not take a work item when it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// Who refused.
    pub agent: String,
    /// The reason in capitals, such as `MISSING_CAPABILITY`.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// When.
    pub at: Timestamp,
    /// Until when this agent is not asked again for this item.
    pub until: Timestamp,
    /// How often it has refused it.
    pub times: u32,
}
