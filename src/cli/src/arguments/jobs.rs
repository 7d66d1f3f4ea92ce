//! The arguments of the commands about jobs, besides `helix submit`.

use clap::Args;

/// Watch jobs until they have ended.
///
/// Shows a progress bar for each job on a terminal, and lines elsewhere: what was tried again, what
/// ended and how. Exits with 0 if all work items passed, at once or on a retry, and with 1 if not.
/// Ctrl-C ends the watching, not the job.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  helix watch 019ab3c4-7d3e-7a31-9f5e-3c1d2b4a5e6f
  helix watch $(helix submit --file a.json) $(helix submit --file b.json)
  helix watch --json 019ab3c4-… | jq -r 'select(.state == \"failed\") | .name'")]
pub(crate) struct WatchArguments {
    /// The jobs.
    #[arg(required = true, value_name = "JOB")]
    pub(crate) jobs: Vec<String>,
}

/// List jobs, newest first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  helix jobs
  helix jobs --open --queue linux
  helix jobs --property branch=main --limit 5 --json | jq -r .id")]
pub(crate) struct JobsArguments {
    /// Those of this queue.
    #[arg(short, long, value_name = "QUEUE")]
    pub(crate) queue: Option<String>,
    /// Those that the token of this name submitted.
    #[arg(long, value_name = "NAME")]
    pub(crate) creator: Option<String>,
    /// Those from this source.
    #[arg(long, value_name = "TEXT")]
    pub(crate) source: Option<String>,
    /// Those with this property.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) property: Option<String>,
    /// Those that have not ended.
    #[arg(long)]
    pub(crate) open: bool,
    /// Show at most this many.
    #[arg(long, value_name = "NUMBER", default_value_t = 50,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
}

/// Run what did not pass again, as a new job.
///
/// The old job stays as it is, and the new one names it. Asked twice about the same failures, it is
/// one new job. Prints the new job's id.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  helix retry 019ab3c4-7d3e-7a31-9f5e-3c1d2b4a5e6f --watch
  helix retry 019ab3c4-… --item parser --item printer")]
pub(crate) struct RetryArguments {
    /// The job.
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    /// Only these work items, by name or id, even if they passed.
    #[arg(long, value_name = "ITEM")]
    pub(crate) item: Vec<String>,
    /// The new job's id [default: made of the old job and its failures].
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Stay and watch the new job.
    #[arg(short, long)]
    pub(crate) watch: bool,
}

/// Say why a work item does not run.
///
/// Asks the same rules that hand out work, for each agent: whether it could take the work item now,
/// later, or never, and why. Where nobody ever can, says who comes nearest.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  helix explain 019ab3c4-7d3e-7a31-9f5e-3c1d2b4a5e6f parser
  helix explain 019ab3c4-… parser --json | jq -r '.agents[] | \"\\(.agent): \\(.message)\"'")]
pub(crate) struct ExplainArguments {
    /// The job.
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    /// The work item, by name or id.
    #[arg(value_name = "ITEM")]
    pub(crate) item: String,
}

/// List tests that passed only on a retry, the most frequent first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  helix flaky
  helix flaky --queue osx --days 7 --limit 10")]
pub(crate) struct FlakyArguments {
    /// Of this queue only.
    #[arg(short, long, value_name = "QUEUE")]
    pub(crate) queue: Option<String>,
    /// Look back so many days.
    #[arg(long, value_name = "NUMBER", default_value_t = 30,
          value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
    /// Show at most this many.
    #[arg(long, value_name = "NUMBER", default_value_t = 50,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
}
