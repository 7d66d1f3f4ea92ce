//! The arguments of `helix submit`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};

use super::values::{self, Environment, Requirement};

/// Send a job to a controller, which has agents run it.
///
/// One work item out of a directory and a command: the directory is packed by its content and
/// uploaded once, however often it is submitted, and the command runs in a copy of it. Or many work
/// items out of a job list. Prints the job's id, with which `helix watch`, `logs`, `results` and the
/// rest know it again.
///
/// A submission that is not answered is repeated; the job's id sees to it that there is one job.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").required(true).args(["file", "directory"]),
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{JOB_LIST}"),
)]
pub(crate) struct SubmitArguments {
    /// The queue that the job is sent to [default: `local`, which `helix up` makes, or as the job list
    /// says].
    #[arg(short, long, value_name = "QUEUE", env = "HELIX_QUEUE")]
    pub(crate) queue: Option<String>,
    /// What people are to call the job.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The job's id: submitted twice, it is one job [default: a new one].
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Where the job comes from, such as a repository and branch.
    #[arg(long, value_name = "TEXT")]
    pub(crate) source: Option<String>,
    /// Higher goes first within the queue.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(crate) priority: Option<i32>,
    /// Something to find the job by later.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) property: Vec<(String, String)>,
    /// Try a work item again this often when it fails; the queue may grant less.
    #[arg(long, value_name = "NUMBER", help_heading = "Again")]
    pub(crate) retries: Option<u32>,
    /// Try it again on another machine than the last.
    #[arg(long, help_heading = "Again")]
    pub(crate) another_machine: bool,

    /// Longest time the command may take [default: 300s].
    #[arg(long, value_name = "DURATION", value_parser = values::duration,
          conflicts_with = "file", help_heading = "Work item")]
    pub(crate) timeout: Option<Duration>,
    /// A variable of the command's environment; `NAME` alone takes our value.
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = values::environment,
          conflicts_with = "file", help_heading = "Work item")]
    pub(crate) env: Vec<Environment>,
    /// The same with our own value, which is masked in the log.
    #[arg(long, value_name = "NAME", value_parser = values::variable_name,
          conflicts_with = "file", help_heading = "Work item")]
    pub(crate) secret_env: Vec<String>,
    /// A capability that the machine must have, and its version range.
    #[arg(long, value_name = "NAME RANGE", value_parser = values::requirement,
          conflicts_with = "file", help_heading = "Work item")]
    pub(crate) require: Vec<Requirement>,
    /// Keep the files that match, besides results, dumps and uploads.
    #[arg(
        long,
        value_name = "GLOB",
        conflicts_with = "file",
        help_heading = "Work item"
    )]
    pub(crate) artifact: Vec<String>,
    /// Processors it needs, such as `2` or `0.5`.
    #[arg(long, value_name = "NUMBER", value_parser = values::cpu_millis,
          conflicts_with = "file", help_heading = "Work item")]
    pub(crate) cpu: Option<u64>,
    /// Memory it needs, such as `512M` or `4G`.
    #[arg(long, value_name = "SIZE", value_parser = values::size,
          conflicts_with = "file", help_heading = "Work item")]
    pub(crate) memory: Option<u64>,
    /// Give it no network but a loopback device of its own.
    #[arg(long, conflicts_with = "file", help_heading = "Work item")]
    pub(crate) no_network: bool,

    /// Stay and watch; exit with 0 if all passed and with 1 if not.
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// A job list in JSON; `-` for standard input.
    #[arg(short, long, value_name = "JOBS.JSON", conflicts_with = "command")]
    pub(crate) file: Option<PathBuf>,
    /// The directory with the command's files.
    #[arg(value_name = "DIRECTORY", requires = "command")]
    pub(crate) directory: Option<PathBuf>,
    /// The program and its arguments, passed on as they are.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected a name and a value, such as `branch=main`".to_owned()),
    }
}

const EXAMPLES: &str = "\
Examples:
  helix submit ./build/tests -- ./run-tests.sh
  helix submit --queue linux --retries 2 --watch ./build/tests -- ./run-tests.sh --all
  helix submit --require 'dotnet-sdk >=9' --memory 4G ./out -- dotnet test
  helix submit --file jobs.json
  make-jobs | helix submit --queue osx --file - --json | jq -r .job";

const JOB_LIST: &str = "\
A job list:
  {
    \"queue\": \"linux\",
    \"name\": \"nightly\",
    \"retries\": 1,
    \"defaults\": {
      \"payloads\": [{\"url\": \"./build/tests\"}],
      \"limits\": {\"wall_timeout_seconds\": 600},
      \"environment\": {\"LEVEL\": \"3\"}
    },
    \"items\": [
      {\"name\": \"parser\", \"command\": {\"argv\": [\"./run-tests.sh\", \"parser\"]}},
      {\"name\": \"printer\", \"command\": {\"shell\": \"./run-tests.sh printer 2>&1\"}, \"retries\": 3}
    ]
  }

  An address that begins with `./`, `../` or `/` is a directory or an archive of this machine,
  seen from where the list is; it is uploaded. The controller describes every field at
  `/api/v1/openapi.json`.";
