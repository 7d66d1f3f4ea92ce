//! Where results are written, and in which format.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use helix_results::{CtrfWriter, JUnitWriter, JsonWriter, Problem, Sink, TestCase, TestRun};
use tempfile::NamedTempFile;

use super::ResultsError;
use super::arguments::ResultFormat;
use crate::error::Error;
use crate::exit::Exit;

/// What everything is written through.
pub(super) type Out = BufWriter<Box<dyn Write>>;

/// Where everything is written.
pub(super) enum Destination {
    StandardOutput,
    /// A file that takes its place once it is complete, so that nobody reads half of it.
    New {
        path: PathBuf,
        file: NamedTempFile,
    },
    /// Something that is there and is no regular file, like a pipe.
    Existing {
        path: PathBuf,
        file: File,
    },
}

impl Destination {
    pub(super) fn open(path: Option<&Path>) -> Result<Self, ResultsError> {
        let Some(path) = path else {
            return Ok(Self::StandardOutput);
        };
        let failed = |source| ResultsError::Output {
            path: path.to_owned(),
            source,
        };
        let is_other = fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
        let path = path.to_owned();
        if is_other {
            let file = File::options().write(true).open(&path).map_err(failed)?;
            return Ok(Self::Existing { path, file });
        }
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let file = tempfile::Builder::new()
            .prefix(".helix-results-")
            .permissions(default_permissions())
            .tempfile_in(directory)
            .map_err(failed)?;
        Ok(Self::New { path, file })
    }

    pub(super) fn writer(&self) -> Result<Out, ResultsError> {
        let writer: Box<dyn Write> = match self {
            Self::StandardOutput => Box::new(io::stdout().lock()),
            Self::New { file, .. } => {
                Box::new(file.reopen().map_err(|source| self.failed(source))?)
            }
            Self::Existing { file, .. } => {
                Box::new(file.try_clone().map_err(|source| self.failed(source))?)
            }
        };
        Ok(BufWriter::with_capacity(64 << 10, writer))
    }

    /// Puts what was written in its place.
    pub(super) fn finish(self, mut out: Out) -> Result<(), ResultsError> {
        if let Err(source) = out.flush() {
            return Err(self.failed(source));
        }
        drop(out);
        match self {
            Self::New { path, file } => match file.persist(&path) {
                Ok(_) => Ok(()),
                Err(error) => Err(ResultsError::Output {
                    path,
                    source: error.error,
                }),
            },
            Self::StandardOutput | Self::Existing { .. } => Ok(()),
        }
    }

    /// Nothing more can be written. Where the reader of a pipe has left, nobody is there to tell of it.
    pub(super) fn broken(self, source: io::Error) -> Result<Exit, Error> {
        match (&self, source.kind()) {
            (Self::StandardOutput, io::ErrorKind::BrokenPipe) => Ok(Exit::InputOutput),
            _ => Err(self.failed(source).into()),
        }
    }

    fn failed(&self, source: io::Error) -> ResultsError {
        match self {
            Self::StandardOutput => ResultsError::StandardOutput { source },
            Self::New { path, .. } | Self::Existing { path, .. } => ResultsError::Output {
                path: path.clone(),
                source,
            },
        }
    }
}

/// What a new file gets from the system, less the mask of the process: temporary files are for the owner only.
fn default_permissions() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}

/// Writes cases in one of the formats, or not at all where only the view is wanted.
pub(super) enum Writer {
    Nothing(Out),
    Json(JsonWriter<Out>),
    JUnit(JUnitWriter<Out>),
    Ctrf(CtrfWriter<Out>),
}

impl Writer {
    pub(super) fn new(format: ResultFormat, out: Out) -> Self {
        match format {
            ResultFormat::Human => Self::Nothing(out),
            ResultFormat::Json => Self::Json(JsonWriter::new(out)),
            ResultFormat::Junit => Self::JUnit(JUnitWriter::new(out)),
            ResultFormat::Ctrf => Self::Ctrf(CtrfWriter::new(out, "helix results")),
        }
    }

    pub(super) fn finish(self) -> io::Result<Out> {
        match self {
            Self::Nothing(out) => Ok(out),
            Self::Json(writer) => writer.finish(),
            Self::JUnit(writer) => writer.finish(),
            Self::Ctrf(writer) => writer.finish(),
        }
    }

    fn sink(&mut self) -> Option<&mut dyn Sink> {
        match self {
            Self::Nothing(_) => None,
            Self::Json(writer) => Some(writer),
            Self::JUnit(writer) => Some(writer),
            Self::Ctrf(writer) => Some(writer),
        }
    }
}

impl Sink for Writer {
    fn run_started(&mut self, run: &TestRun) {
        if let Some(sink) = self.sink() {
            sink.run_started(run);
        }
    }

    fn case(&mut self, case: &mut TestCase) -> ControlFlow<()> {
        match self.sink() {
            Some(sink) => sink.case(case),
            None => ControlFlow::Continue(()),
        }
    }

    fn problem(&mut self, problem: Problem) {
        if let Some(sink) = self.sink() {
            sink.problem(problem);
        }
    }

    fn run_finished(&mut self, run: &TestRun) {
        if let Some(sink) = self.sink() {
            sink.run_finished(run);
        }
    }
}
