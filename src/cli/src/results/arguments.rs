//! What `helix results` understands on its command line.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Read test result files and show what became of the tests.
///
/// The format is found from the content: JUnit XML in its dialects, xUnit.net,
/// NUnit 2 and 3, TRX, CTest, CTRF, TAP, `go test -json`, and JSON lines of
/// libtest and nextest. Files of any size are read in little memory. A file
/// that was cut off gives what it held before; standard error says where it
/// ends and what was lost.
///
/// A test that stands in several files was run again: it counts once, passes
/// if one run passed, and is then called flaky. Name the files in the order of
/// the attempts. A file that is reached twice is read once.
///
/// With `--job` it reads no files but asks the controller what became of a job: each work item that
/// did not pass or passed only on a retry, with its attempts and failed tests.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  helix results build/test-results             what ran below a directory
  helix results 'out/**/*.trx' TEST-extra.xml  files and patterns
  helix results attempt-1 attempt-2            two attempts of the same tests
  go test -json ./... | helix results -        standard input
  helix results --format junit -o all.xml out  one file made of many
  helix results out --format json | jq -r 'select(.outcome == \"failed\") | .name'
  helix results --job 019ab3c4-7d3e-7a31-9f5e-3c1d2b4a5e6f
  helix results --job 019ab3c4-… --item parser

Exit codes:
  0       every test that counts passed, was skipped or was not to run;
          `--job`: every work item passed, at once or on a retry
  1       a test failed, or a file ends too early; `--job`: a work item did not pass
  2       wrong arguments, no test found, or something could not be read;
          `--job`: it has not ended, and nothing has failed so far
  74      standard output or `--output` cannot be written")]
pub(crate) struct ResultsArguments {
    /// Result files, directories, patterns, or `-` for standard input.
    ///
    /// In a directory, files are taken by name: `*.trx`, `*.tap`, `TEST-*.xml`,
    /// `junit.xml`, `TestResult.xml`, `ctrf-report.json`, and names that end in
    /// `testResults.xml`, `test-results.xml`, `test_results.xml`, `.junit.xml`,
    /// `junit-results.xml`, `junitresults.xml` or `.ctrf.json`. No link is
    /// followed there.
    /// In a pattern `*` and `?` stay within a name, `**` crosses directories,
    /// and `[a-z]` and `{a,b}` choose; quote it, or the shell expands it.
    #[arg(required_unless_present = "job", value_name = "FILE|DIR|PATTERN|-")]
    pub(crate) paths: Vec<PathBuf>,
    /// Ask the controller about this job instead of reading files.
    #[arg(long, value_name = "JOB", conflicts_with_all = ["paths", "format", "output", "separate", "slowest"])]
    pub(crate) job: Option<String>,
    /// Only this work item of the job, by name or id, with everything about it.
    #[arg(long, value_name = "ITEM", requires = "job")]
    pub(crate) item: Option<String>,
    /// What to write [default: human, or json with `--json`].
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    pub(crate) format: Option<ResultFormat>,
    /// Write there and not to standard output; replaced once all is written.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Count each file by itself: the same name in two files is two tests.
    #[arg(long)]
    pub(crate) separate: bool,
    /// Show at most this many failed tests, and as many flaky ones.
    #[arg(long, value_name = "NUMBER", default_value_t = 50,
          value_parser = clap::value_parser!(u16).range(0..=10_000))]
    pub(crate) failures: u16,
    /// Show this many of the slowest tests.
    #[arg(long, value_name = "NUMBER", default_value_t = 10,
          value_parser = clap::value_parser!(u16).range(0..=10_000))]
    pub(crate) slowest: u16,
}

/// What `helix results` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ResultFormat {
    /// Failures first, then flaky tests, the slowest, and the counts.
    Human,
    /// A JSON object a line: everything that was read.
    Json,
    /// JUnit XML.
    Junit,
    /// Common Test Report Format.
    Ctrf,
}
