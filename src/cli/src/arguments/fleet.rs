//! The arguments of `helix queues` and `helix agents`.

use clap::{Args, Subcommand};
use jiff::civil::Date;

/// List, make and remove a controller's queues.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  helix queues
  helix queues set linux --max-deliveries 3 --os linux --description 'Debian 12'
  helix queues set secret-osx --internal --removal 2027-03-31
  helix queues remove old-linux")]
pub(crate) struct QueuesArguments {
    #[command(subcommand)]
    pub(crate) command: Option<QueuesCommand>,
}

/// What is done about queues.
#[derive(Debug, Subcommand)]
pub(crate) enum QueuesCommand {
    /// List queues and what waits and runs in them; this is the default.
    List,
    /// Make a queue, or change what is given of one.
    Set(SetQueueArguments),
    /// Remove a queue that has no open work; its ended jobs stay.
    Remove {
        /// The queue.
        #[arg(value_name = "QUEUE")]
        name: String,
    },
}

/// What a queue is to be like; what is left out stays as it is.
#[derive(Debug, Args)]
pub(crate) struct SetQueueArguments {
    /// The queue.
    #[arg(value_name = "QUEUE")]
    pub(crate) name: String,
    /// For people.
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// Family of operating systems, such as `linux` or `osx`.
    #[arg(long, value_name = "NAME")]
    pub(crate) os: Option<String>,
    /// Such as `x86_64` or `aarch64`.
    #[arg(long, value_name = "NAME")]
    pub(crate) architecture: Option<String>,
    /// How often a work item may be delivered, whatever comes of it [default: 3].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) max_deliveries: Option<u32>,
    /// Only for tokens that may submit internal jobs.
    #[arg(long, conflicts_with = "open")]
    pub(crate) internal: bool,
    /// For every token that may submit.
    #[arg(long)]
    pub(crate) open: bool,
    /// The day on which the queue is expected to go away, such as `2027-03-31`.
    #[arg(long, value_name = "DATE")]
    pub(crate) removal: Option<Date>,
    /// Jobs of a queue with a higher number go first where machines serve several queues.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(crate) priority: Option<i32>,
}

/// List a controller's agents, drain and resume them.
///
/// `helix drain` and `helix resume` do the same by an agent's own address, without a controller.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  helix agents
  helix agents --json | jq -r 'select(.liveness != \"alive\") | .name'
  helix agents drain build-7 --reason 'kernel update at noon'
  helix agents resume build-7")]
pub(crate) struct AgentsArguments {
    #[command(subcommand)]
    pub(crate) command: Option<AgentsCommand>,
}

/// What is done about agents.
#[derive(Debug, Subcommand)]
pub(crate) enum AgentsCommand {
    /// List agents with liveness and what they can take; this is the default.
    List,
    /// Let an agent finish what runs and take nothing new.
    Drain {
        /// The agent.
        #[arg(value_name = "AGENT")]
        name: String,
        /// Why, for other operators.
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// Let a drained agent take work again.
    Resume {
        /// The agent.
        #[arg(value_name = "AGENT")]
        name: String,
    },
}
