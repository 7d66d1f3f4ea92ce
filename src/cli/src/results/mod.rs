//! `helix results`: test result files in, a verdict and a view of them out.
//!
//! The only command without an agent. Files pass through in little memory: only what the view shows is kept, and
//! where there are several files, a few bytes for each test and the failures of those that come again. For that
//! files are read twice.

pub(crate) mod arguments;
mod inputs;
mod output;

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use helix_results::{
    Colour, Limits, ProblemList, ReadEnd, ReadError, ReadReport, RerunIndex, RerunLimits, Reruns,
    Sink, Tally, TallyLimits, TestCase, TestRun, ViewOptions, problem_lines, read, write_counts,
    write_view,
};

use self::arguments::{ResultFormat, ResultsArguments};
use self::inputs::{Input, Inputs};
use self::output::{Destination, Writer};
use crate::arguments::{Common, OutputFormat};
use crate::error::Error;
use crate::exit::Exit;
use crate::render::Palette;
use crate::screen::Screen;

/// Why no results can be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResultsError {
    /// `--json` and another format.
    #[error("cannot write JSON lines (`--json`) and another `--format` at once")]
    TwoFormats,
    /// A pattern that makes no sense.
    #[error("cannot understand the pattern `{}`", pattern.display())]
    Pattern {
        pattern: PathBuf,
        #[source]
        source: globset::Error,
    },
    /// Patterns are text.
    #[error("the pattern `{}` is not UTF-8", pattern.display())]
    PatternNotText { pattern: PathBuf },
    /// The file to write cannot be written.
    #[error("cannot write `{}`", path.display())]
    Output {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Standard output cannot be written.
    #[error("cannot write to standard output")]
    StandardOutput {
        #[source]
        source: io::Error,
    },
}

impl ResultsError {
    /// How the program ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::TwoFormats | Self::Pattern { .. } | Self::PatternNotText { .. } => {
                Exit::NoResults
            }
            Self::Output { .. } | Self::StandardOutput { .. } => Exit::InputOutput,
        }
    }

    /// What to do.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::TwoFormats => Some("leave out `--json`".to_owned()),
            Self::Pattern { .. } => {
                Some("a file whose name has such characters can be given as it is".to_owned())
            }
            Self::PatternNotText { .. } | Self::Output { .. } | Self::StandardOutput { .. } => None,
        }
    }
}

/// Reads, writes and judges.
pub(crate) fn execute(
    common: &Common,
    arguments: &ResultsArguments,
    screen: &Screen,
) -> Result<Exit, Error> {
    let format = match (common.output(), arguments.format) {
        (OutputFormat::Json, None | Some(ResultFormat::Json)) => ResultFormat::Json,
        (OutputFormat::Json, Some(_)) => return Err(ResultsError::TwoFormats.into()),
        (OutputFormat::Text, format) => format.unwrap_or(ResultFormat::Human),
    };
    let mut inputs = Inputs::find(&arguments.paths)?;
    let destination = Destination::open(arguments.output.as_deref())?;
    let tally = Tally::new(TallyLimits {
        failures: arguments.failures.into(),
        flaky: arguments.failures.into(),
        slowest: arguments.slowest.into(),
        ..TallyLimits::default()
    });
    let tee = Tee {
        tally,
        writer: Writer::new(format, destination.writer()?),
    };
    let several = inputs.files.len() > 1 && !arguments.separate;
    let (tee, joined) = if several {
        inputs.keep_streams();
        read_joined(&inputs.files, tee)
    } else {
        (read_each(&inputs.files, tee), 0)
    };
    let Tee { tally, writer } = tee;
    let mut out = match writer.finish() {
        Ok(out) => out,
        Err(source) => return destination.broken(source),
    };
    if format == ResultFormat::Human {
        let colour = match (screen.out_palette(), &arguments.output) {
            (Palette::Colored, None) => Colour::Always,
            _ => Colour::Never,
        };
        if let Err(source) = show(&tally, colour, &mut out) {
            return destination.broken(source);
        }
    }
    destination.finish(out)?;
    tell(&inputs, &tally, joined, format, screen)?;
    Ok(verdict(&inputs, &tally))
}

fn show(tally: &Tally, colour: Colour, out: &mut dyn io::Write) -> io::Result<()> {
    let options = ViewOptions {
        colour,
        problems: ProblemList::Elsewhere,
        ..ViewOptions::default()
    };
    let mut view = String::new();
    // Writing to a string cannot fail.
    let _ = write_view(tally, &options, &mut view);
    out.write_all(view.as_bytes())?;
    out.flush()
}

/// Says on standard error what is wrong with the files, and how many tests there are where the format does not.
fn tell(
    inputs: &Inputs,
    tally: &Tally,
    joined: u64,
    format: ResultFormat,
    screen: &Screen,
) -> Result<(), Error> {
    for line in inputs.missing.iter().chain(&inputs.passed_over) {
        screen.aside(line)?;
    }
    for line in problem_lines(tally) {
        screen.aside(&line)?;
    }
    if joined > 0 {
        screen.aside(&format!(
            "{joined} results are further runs of a test in another file and were joined; \
             `--separate` counts each"
        ))?;
    }
    if format != ResultFormat::Human {
        let mut counts = String::new();
        // Writing to a string cannot fail.
        let _ = write_counts(tally, &ViewOptions::default(), &mut counts);
        screen.aside(counts.trim_end())?;
    }
    Ok(())
}

fn verdict(inputs: &Inputs, tally: &Tally) -> Exit {
    if tally.is_red() {
        Exit::Failed
    } else if !inputs.missing.is_empty()
        || tally.files_without_results() > 0
        || tally.may_lack_results()
        || tally.counts().total() == 0
    {
        Exit::NoResults
    } else {
        Exit::Success
    }
}

/// Counts each case and passes it on.
struct Tee<W> {
    tally: Tally,
    writer: W,
}

impl<W: Sink> Sink for Tee<W> {
    fn run_started(&mut self, run: &TestRun) {
        self.tally.run_started(run);
        self.writer.run_started(run);
    }

    fn case(&mut self, case: &mut TestCase) -> ControlFlow<()> {
        self.tally.add(case);
        self.writer.case(case)
    }

    fn problem(&mut self, problem: helix_results::Problem) {
        self.tally.problem(problem.clone());
        self.writer.problem(problem);
    }

    fn run_finished(&mut self, run: &TestRun) {
        self.tally.run_finished(run);
        self.writer.run_finished(run);
    }
}

fn read_each<W: Sink>(files: &[Input], mut tee: Tee<W>) -> Tee<W> {
    for input in files {
        let result = read_one(input, &mut tee);
        tee.tally.file_ended(&result);
        if is_broken(&result) {
            break;
        }
    }
    tee
}

/// Reads twice: to see which tests come again, and to join those. The number says how many were joined to others.
fn read_joined<W: Sink>(files: &[Input], tee: Tee<W>) -> (Tee<W>, u64) {
    let mut index = RerunIndex::new(RerunLimits::default());
    for input in files {
        index.next_file();
        // What is wrong with it is told in the second reading.
        let _ = read_one(input, &mut index);
    }
    let mut reruns = Reruns::new(index, tee);
    for input in files {
        reruns.next_file();
        let result = read_one(input, &mut reruns);
        reruns.inner().tally.file_ended(&result);
        if is_broken(&result) {
            break;
        }
    }
    let joined = reruns.joined();
    (reruns.finish(), joined)
}

/// Whether the writer takes no more.
fn is_broken(result: &Result<ReadReport, ReadError>) -> bool {
    matches!(result, Ok(report) if report.end == ReadEnd::SinkBroke)
}

fn read_one(input: &Input, sink: &mut dyn Sink) -> Result<ReadReport, ReadError> {
    let mut file = input.open().map_err(|source| ReadError::Input {
        file: Arc::from(input.name.as_str()),
        source,
    })?;
    read(&mut file, &input.name, &Limits::default(), &|| false, sink)
}
