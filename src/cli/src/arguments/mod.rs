//! What may be said on the command line, and what the help teaches.
//!
//! Only shapes and ranges are checked here. Files are opened and hosts are asked
//! by whoever needs them.

mod controller;
mod fleet;
mod jobs;
pub(crate) mod payload;
mod run;
mod submit;
pub(crate) mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::controller::{Addressed, ControllerArguments, Partner};
pub(crate) use self::fleet::{
    AgentsArguments, AgentsCommand, QueuesArguments, QueuesCommand, SetQueueArguments,
};
pub(crate) use self::jobs::{
    ExplainArguments, FlakyArguments, JobsArguments, RetryArguments, WatchArguments,
};
pub(crate) use self::run::RunArguments;
pub(crate) use self::submit::SubmitArguments;
use crate::exit::EXIT_CODES;
use crate::results::arguments::ResultsArguments;

/// Runs test work items on Helix agents and shows what became of them.
///
/// Some commands talk to one agent by its address (`run`, `attach`, `ps`, `capacity`, `drain`,
/// `resume`), some to a controller, which has jobs, queues and many agents (`submit`, `watch`, `jobs`,
/// `retry`, `explain`, `flaky`, `queues`, `agents`). `logs`, `cancel` and `results` know both; their
/// help says how.
#[derive(Debug, Parser)]
#[command(
    name = "helix",
    version = helix_telemetry::VERSION,
    propagate_version = true,
    after_help = "`helix help COMMAND` explains a command and gives examples.",
    after_long_help = EXIT_CODES,
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The agent: `host:port`, or a URL that says `http` or `https`.
    ///
    /// Without a scheme, an address of this machine means `http`, every other
    /// one `https`. The port is 7420 unless given.
    #[arg(
        long,
        global = true,
        value_name = "ADDR",
        env = "HELIX_AGENT",
        default_value = "127.0.0.1:7420",
        help_heading = "Connection"
    )]
    pub(crate) agent: String,
    #[command(flatten)]
    pub(crate) controller: ControllerArguments,
    /// Certificates (PEM) that the certificate of the agent or controller must lead to.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "HELIX_CA",
        help_heading = "Connection"
    )]
    pub(crate) ca: Option<PathBuf>,
    /// The certificate (PEM) that the agent is to know us by.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "HELIX_CERT",
        requires = "key",
        help_heading = "Connection"
    )]
    pub(crate) cert: Option<PathBuf>,
    /// The private key (PEM) of `--cert`.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "HELIX_KEY",
        requires = "cert",
        help_heading = "Connection"
    )]
    pub(crate) key: Option<PathBuf>,
    /// Name expected in the agent's certificate, where it is not that of ADDR.
    #[arg(long, global = true, value_name = "NAME", help_heading = "Connection")]
    pub(crate) server_name: Option<String>,
    /// How long to try to get back to an agent or controller that fell silent.
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        default_value = "2m",
        value_parser = values::duration,
        help_heading = "Connection"
    )]
    pub(crate) patience: Duration,
    /// Write one JSON object a line to standard output: every event, every row.
    #[arg(long, global = true, help_heading = "Output")]
    json: bool,
    /// When to use colour and a moving status line.
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        value_enum,
        default_value_t = ColorChoice::Auto,
        help_heading = "Output"
    )]
    pub(crate) color: ColorChoice,
}

impl Common {
    /// What standard output carries.
    pub(crate) fn output(&self) -> OutputFormat {
        if self.json {
            OutputFormat::Json
        } else {
            OutputFormat::Text
        }
    }
}

/// What standard output carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputFormat {
    /// Text for people, and a work item's own bytes.
    Text,
    /// One JSON object a line.
    Json,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` or `TERM=dumb` says no.
    Auto,
    /// Always, in a pipe too.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command on an agent, follow it, and exit as it did.
    Run(Box<RunArguments>),
    /// Follow an attempt, running or ended.
    Attach(AttachArguments),
    /// Print what an attempt wrote.
    Logs(LogsArguments),
    /// Ask an attempt, a job or a work item of one to end.
    Cancel(CancelArguments),
    /// Send a job to a controller.
    Submit(Box<SubmitArguments>),
    /// Watch jobs until they have ended.
    Watch(WatchArguments),
    /// List jobs.
    Jobs(JobsArguments),
    /// Run what did not pass again, as a new job.
    Retry(RetryArguments),
    /// Say why a work item does not run.
    Explain(ExplainArguments),
    /// List tests that passed only on a retry.
    Flaky(FlakyArguments),
    /// List, make and remove queues.
    Queues(QueuesArguments),
    /// List a controller's agents, drain and resume them.
    Agents(AgentsArguments),
    /// List attempts.
    Ps(PsArguments),
    /// Show what an agent can take, and why not more.
    Capacity(CapacityArguments),
    /// Let an agent finish what runs and take nothing new.
    Drain(DrainArguments),
    /// Let a drained agent take work again.
    Resume,
    Results(ResultsArguments),
    /// Start a controller and an agent on this machine, with nothing to set up.
    Up(UpArguments),
}

/// Follow an attempt, running or ended.
///
/// Shows the attempt from the beginning, or from a place in its console, and
/// exits as the work item did. Ctrl-C ends the following, not the attempt.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  helix attach parser-tests-6f1c03d2a9b4.1
  helix attach parser-tests-6f1c03d2a9b4.1 --from 1048576")]
pub(crate) struct AttachArguments {
    /// The attempt, as `helix run` and `helix ps` name it.
    pub(crate) attempt: String,
    /// Leave out this many bytes of the console.
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    pub(crate) from: u64,
}

/// Print what an attempt wrote.
///
/// With a job and a work item it asks the controller: for the last attempt, or the one of `--attempt`.
/// With an attempt's id alone it asks an agent by its address.
///
/// Without `--follow` it stops where the log ends now. With it, it goes on until the attempt has
/// ended; and, unless `--attempt` names one, through the attempts that follow, until the work item
/// has. A controller keeps one log of both streams, which goes to standard output; from an agent,
/// standard output goes to standard output and standard error to standard error.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  helix logs 019ab3c4-7d3e-7a31-9f5e-3c1d2b4a5e6f parser > console.txt
  helix logs -f 019ab3c4-… parser
  helix logs 019ab3c4-… parser --attempt 1
  helix logs -f parser-tests-6f1c03d2a9b4.1                  an agent's attempt
  helix logs --agent build-7 parser-tests-6f1c03d2a9b4.1")]
pub(crate) struct LogsArguments {
    /// The job, before a work item; or an agent's attempt, as `helix run` and `helix ps` name it.
    #[arg(value_name = "JOB|ATTEMPT")]
    pub(crate) attempt: String,
    /// The work item of the job, by name or id.
    #[arg(value_name = "ITEM")]
    pub(crate) item: Option<String>,
    /// Which attempt of the work item, from 1, or its id [default: the last].
    #[arg(
        long = "attempt",
        id = "number",
        value_name = "NUMBER",
        requires = "item"
    )]
    pub(crate) number: Option<String>,
    /// Go on until the attempt has ended.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Leave out this many bytes.
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    pub(crate) from: u64,
}

/// Ask an attempt, a job or a work item of one to end: SIGTERM, and SIGKILL after the grace.
///
/// A job, or a job and a work item, are the controller's: what waits ends at once. One name without
/// `--job` is an agent's attempt, unless only a controller is named (`--controller` or
/// HELIX_CONTROLLER): then it is a job.
///
/// Comes back when the wish is noted, not when all has ended. At an agent, a second cancel can shorten
/// the grace, not lengthen it.
#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("target").required(true).args(["attempt", "job"]),
    after_help = "\
Examples:
  helix cancel --job 019ab3c4-7d3e-7a31-9f5e-3c1d2b4a5e6f --reason 'wrong branch'
  helix cancel 019ab3c4-… parser                             one work item
  helix cancel parser-tests-6f1c03d2a9b4.1 --grace 0s        an agent's attempt")]
pub(crate) struct CancelArguments {
    /// The job, before a work item; or an agent's attempt, as `helix run` and `helix ps` name it.
    #[arg(value_name = "JOB|ATTEMPT")]
    pub(crate) attempt: Option<String>,
    /// The work item of the job, by name or id.
    #[arg(value_name = "ITEM")]
    pub(crate) item: Option<String>,
    /// A whole job.
    #[arg(long, value_name = "JOB", conflicts_with_all = ["attempt", "item", "grace"])]
    pub(crate) job: Option<String>,
    /// Time between asking and killing, up to 10m; agents only [default: the work item's own].
    #[arg(long, value_name = "DURATION", value_parser = values::duration, conflicts_with = "item")]
    pub(crate) grace: Option<Duration>,
    /// Why, for others.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
}

/// List attempts, newest first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  helix ps
  helix ps --all --json | jq -r 'select(.verdict.kind == \"failed\") | .attempt_id'")]
pub(crate) struct PsArguments {
    /// Include attempts that have ended.
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Show at most this many.
    #[arg(long, value_name = "NUMBER", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
}

/// Show what an agent can take, and why not more.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  helix capacity
  helix capacity --watch
  helix capacity --json | jq .free.slots")]
pub(crate) struct CapacityArguments {
    /// Show it again after every change, until Ctrl-C.
    #[arg(short, long)]
    pub(crate) watch: bool,
}

/// Let an agent finish what runs and take nothing new.
///
/// Lasts over restarts of the agent, until `helix resume`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  helix drain --reason 'kernel update at noon'")]
pub(crate) struct DrainArguments {
    /// Why, for other operators.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
}

/// Start a whole system on this machine, with nothing to set up: a controller and an agent.
///
/// It needs no configuration and no root, listens on loopback only, and keeps
/// everything in one directory. What is submitted to the queue `local` runs here.
/// Ctrl-C takes nothing new and waits for what runs; a second one leaves at once,
/// and the next `helix up` takes up what still runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  helix up
  helix up --demo
  helix up --listen 127.0.0.1:7510 --agent-listen 127.0.0.1:7520 --directory ./helix --slots 8")]
pub(crate) struct UpArguments {
    /// Where the controller answers, on loopback; port 0 lets the system choose.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7410")]
    pub(crate) listen: SocketAddr,
    /// Where the agent answers, on loopback; port 0 lets the system choose.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7420")]
    pub(crate) agent_listen: SocketAddr,
    /// Where everything is kept [default: below the user's state directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// Work items that run at one time [default: one for each processor].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) slots: Option<u32>,
    /// Submit real test suites as a job, show what becomes of them, and end.
    ///
    /// Takes the sources of crates that cargo has downloaded before, needs no
    /// network, and leaves nothing behind unless a directory is given. The
    /// system chooses the ports.
    #[arg(long, conflicts_with_all = ["listen", "agent_listen"])]
    pub(crate) demo: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_description_of_the_arguments_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_certificate_needs_its_key() {
        let error = Arguments::try_parse_from(["helix", "--cert", "a.pem", "ps"]).unwrap_err();
        assert_eq!(
            error.kind(),
            clap::error::ErrorKind::MissingRequiredArgument
        );
    }
}
