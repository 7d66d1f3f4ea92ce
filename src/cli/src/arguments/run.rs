//! The arguments of `helix run`.

use std::time::Duration;

use clap::{ArgGroup, Args};

use super::payload::PayloadArgument;
use super::values::{self, Environment, Requirement};
use crate::exit::EXIT_CODES;

/// Run a command on an agent, follow it, and exit as it did.
///
/// The command's standard output and standard error arrive on ours, byte for
/// byte; what helix itself has to say goes to standard error. When the
/// connection breaks, the attempt goes on, and helix comes back and continues
/// where it was cut off. Ctrl-C cancels the attempt; a second one kills it at
/// once; a third one leaves it alone.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").required(true).args(["shell", "command"]),
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{PAYLOADS}\n\n{EXIT_CODES}"),
)]
pub(crate) struct RunArguments {
    /// What people are to call the work item [default: from the command].
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The queue it belongs to; an agent of other queues refuses it.
    #[arg(long, value_name = "QUEUE", default_value = "")]
    pub(crate) queue: String,

    /// Longest time the command may take.
    #[arg(long, value_name = "DURATION", default_value = "300s",
          value_parser = values::duration, help_heading = "Limits")]
    pub(crate) timeout: Duration,
    /// Longest time the command may be without any output [default: none].
    #[arg(long, value_name = "DURATION", value_parser = values::duration,
          help_heading = "Limits")]
    pub(crate) silence_timeout: Option<Duration>,
    /// Time between asking the command to end and killing it [default: 10s].
    #[arg(long, value_name = "DURATION", value_parser = values::duration,
          help_heading = "Limits")]
    pub(crate) kill_grace: Option<Duration>,
    /// Stop the command once it has written more than this [default: no limit].
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = "Limits")]
    pub(crate) output_limit: Option<u64>,

    /// A variable of the command's environment; `NAME` alone takes our value.
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = values::environment)]
    pub(crate) env: Vec<Environment>,
    /// The same with our own value, which is masked in the log.
    #[arg(long, value_name = "NAME", value_parser = values::variable_name)]
    pub(crate) secret_env: Vec<String>,
    /// Files for the command: a directory, an archive, or a URL of one.
    #[arg(short, long, value_name = "SOURCE[=DEST]", help_heading = "Files")]
    pub(crate) payload: Vec<PayloadArgument>,
    /// The same, shared with other work items and read-only.
    #[arg(long, value_name = "SOURCE[=DEST]", help_heading = "Files")]
    pub(crate) correlation: Vec<PayloadArgument>,
    /// Ship the files that match, besides results, dumps and uploads.
    #[arg(long, value_name = "GLOB", help_heading = "Files")]
    pub(crate) artifact: Vec<String>,

    /// A capability that the machine must have, and its version range.
    #[arg(long, value_name = "NAME RANGE", value_parser = values::requirement,
          help_heading = "Needs")]
    pub(crate) require: Vec<Requirement>,
    /// Places it takes on the machine [default: 1].
    #[arg(long, value_name = "NUMBER", help_heading = "Needs")]
    pub(crate) slots: Option<u32>,
    /// Processors it needs, such as `2` or `0.5`.
    #[arg(long, value_name = "NUMBER", value_parser = values::cpu_millis, help_heading = "Needs")]
    pub(crate) cpu: Option<u64>,
    /// Memory it needs, such as `512M` or `4G`.
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = "Needs")]
    pub(crate) memory: Option<u64>,
    /// Disk space it needs.
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = "Needs")]
    pub(crate) disk: Option<u64>,
    /// Processes and threads it may have at one time.
    #[arg(long, value_name = "NUMBER", help_heading = "Needs")]
    pub(crate) processes: Option<u32>,
    /// Give it no network but a loopback device of its own.
    #[arg(long, help_heading = "Needs")]
    pub(crate) no_network: bool,

    /// Deliver it again this often when it fails.
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 0,
        help_heading = "Again"
    )]
    pub(crate) retries: u32,
    /// Deliver it at most this often, whatever the reason [default: retries + 1].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..),
          help_heading = "Again")]
    pub(crate) max_deliveries: Option<u32>,
    /// How long to come back to an agent that is full, draining or installing.
    #[arg(long, value_name = "DURATION", default_value = "0s",
          value_parser = values::duration, help_heading = "Again")]
    pub(crate) wait: Duration,

    /// Write both of the command's streams to one pipe, in the exact order.
    #[arg(long)]
    pub(crate) merge_output: bool,
    /// Say nothing but what the command says.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// One line for `/bin/sh -c`.
    #[arg(long, value_name = "LINE")]
    pub(crate) shell: Option<String>,
    /// The program and its arguments, passed on as they are.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  helix run -- cargo test
  helix run --shell 'make check 2>&1 | tail -n 100'
  helix run --payload ./build/tests --timeout 20m -- ./run-tests.sh
  helix run --payload https://files.example/tests.zip=bin --env LEVEL=3 -- bin/tests
  helix run --secret-env NPM_TOKEN --require 'node >=22, <25' -- npm test
  helix run --retries 2 --cpu 2 --memory 4G --artifact '**/*.dmp' -- ./flaky-tests
  helix run --agent https://mac-7.example:7420 --ca ca.pem --cert me.pem --key me.key \\
      --wait 10m --require 'xcode 16' -- xcodebuild test";

const PAYLOADS: &str = "\
Payloads:
  DIRECTORY[=DEST]               packed into a zip archive, for an agent on this machine
  FILE[=DEST]                    zip, tar, tar.gz or tar.zst, for an agent on this machine
  URL[#sha256=HEX][=DEST]        http, https or file; the digest is verified
  git+URL@COMMIT[#submodules][=DEST]

  DEST is a directory beneath the payload's root. In a URL with a query, `=` belongs
  to the query: give a fragment first, as in `https://host/a.zip?token=x#=tools`.

Durations are numbers with units, such as `90s`, `1h 30m` or `500ms`; sizes have the
binary units K, M, G and T.";
