//! Standard output and standard error: data on one, words on the other.
//!
//! A work item's bytes are passed on untouched. What helix says itself is whole
//! lines on standard error. A status line that moves is drawn only on a terminal
//! and only while nobody is in the middle of a line.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use helix_proto::agent::v1::ConsoleStream;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::arguments::{ColorChoice, OutputFormat};
use crate::error::Error;
use crate::json::Notice;
use crate::render::{self, Palette};

/// How long output must pause before the status line comes back.
const QUIET: Duration = Duration::from_millis(700);
const TICK: Duration = Duration::from_millis(120);

/// Where everything is written. One writes at a time.
#[derive(Debug)]
pub(crate) struct Screen {
    format: OutputFormat,
    out_palette: Palette,
    error_palette: Palette,
    inner: Mutex<Inner>,
}

/// Whether anybody still reads standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// As far as we know.
    Listens,
    /// The pipe was closed, as `head` does it.
    Left,
}

#[derive(Debug)]
struct Inner {
    reader: Reader,
    /// What is at the end of what can be seen where standard error goes.
    cursor: LineCursor,
    /// What standard output shares with standard error.
    devices: Devices,
    last_output: Instant,
    status: Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineCursor {
    AtStart,
    InMiddle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Devices {
    /// Both are terminals, and so the same one.
    OneTerminal,
    /// Anything else.
    Apart,
}

/// The status line.
#[derive(Debug)]
enum Status {
    /// There is no terminal to draw on.
    Impossible,
    /// Not shown for the moment.
    Hidden { text: String },
    /// Shown.
    Shown { bar: ProgressBar },
}

impl Screen {
    /// Finds out what the two streams are.
    pub(crate) fn new(color: ColorChoice, format: OutputFormat) -> Self {
        let (out, error) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let moves = error && format == OutputFormat::Text && color != ColorChoice::Never;
        Self {
            format,
            out_palette: palette(color, anstream::AutoStream::choice(&io::stdout())),
            error_palette: palette(color, anstream::AutoStream::choice(&io::stderr())),
            inner: Mutex::new(Inner {
                reader: Reader::Listens,
                cursor: LineCursor::AtStart,
                devices: if out && error {
                    Devices::OneTerminal
                } else {
                    Devices::Apart
                },
                last_output: Instant::now(),
                status: if moves {
                    Status::Hidden {
                        text: String::new(),
                    }
                } else {
                    Status::Impossible
                },
            }),
        }
    }

    /// What standard output carries.
    pub(crate) fn format(&self) -> OutputFormat {
        self.format
    }

    /// The palette of standard output.
    pub(crate) fn out_palette(&self) -> Palette {
        self.out_palette
    }

    /// The palette of standard error.
    pub(crate) fn error_palette(&self) -> Palette {
        self.error_palette
    }

    /// Whether standard output is a terminal that may be cleared and redrawn.
    pub(crate) fn can_redraw(&self) -> bool {
        self.format == OutputFormat::Text
            && self.out_palette == Palette::Colored
            && io::stdout().is_terminal()
    }

    /// Passes on bytes of a work item's console.
    pub(crate) fn console(&self, stream: ConsoleStream, data: &[u8]) -> Result<Reader, Error> {
        let mut inner = self.lock();
        inner.hide();
        inner.last_output = Instant::now();
        match stream {
            ConsoleStream::Stdout => inner.out(data)?,
            ConsoleStream::Stderr => inner.error(data)?,
            ConsoleStream::Agent | ConsoleStream::Unspecified => match self.error_palette {
                Palette::Plain => inner.error(data)?,
                Palette::Colored => {
                    let text = [b"\x1b[2m", data, b"\x1b[0m"].concat();
                    inner.error(&text)?;
                    inner.cursor = LineCursor::after(data, inner.cursor);
                }
            },
        }
        Ok(inner.reader)
    }

    /// Writes data for people to standard output, which must end its lines.
    pub(crate) fn data(&self, text: &str) -> Result<Reader, Error> {
        let mut inner = self.lock();
        inner.hide();
        inner.out(text.as_bytes())?;
        Ok(inner.reader)
    }

    /// Writes one object for programs to standard output.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<Reader, Error> {
        let mut line = serde_json::to_vec(value)
            .map_err(|error| output("standard output", io::Error::other(error)))?;
        line.push(b'\n');
        let mut inner = self.lock();
        inner.out(&line)?;
        Ok(inner.reader)
    }

    /// Says something on a line of its own; not to a program.
    pub(crate) fn note(&self, text: &str) -> Result<(), Error> {
        if self.format == OutputFormat::Json {
            return Ok(());
        }
        let prefix = self.error_palette.dim("helix:");
        let mut inner = self.lock();
        inner.hide();
        inner.start_line()?;
        inner.error(format!("{prefix} {text}\n").as_bytes())
    }

    /// Says something on a line of its own whatever standard output carries.
    pub(crate) fn aside(&self, text: &str) -> Result<(), Error> {
        let prefix = self.error_palette.dim("helix:");
        let text = render::text::clean(text);
        let mut inner = self.lock();
        inner.hide();
        inner.start_line()?;
        inner.error(format!("{prefix} {text}\n").as_bytes())
    }

    /// Says what went wrong, to people and programs. What cannot be said is
    /// lost: there is nobody left to tell.
    pub(crate) fn error(&self, error: &Error) {
        if self.format == OutputFormat::Json {
            let _ = self.json(&Notice::from(error));
        }
        let text = render::failure::failure(error, self.error_palette);
        let mut inner = self.lock();
        inner.hide();
        let _ = inner.start_line();
        let _ = inner.error(format!("{text}\n").as_bytes());
    }

    /// Whether there is a status line that moves.
    pub(crate) fn has_status(&self) -> bool {
        !matches!(self.lock().status, Status::Impossible)
    }

    /// Sets the text of the status line, shown when output pauses.
    pub(crate) fn status(&self, text: impl Into<String>) {
        match &mut self.lock().status {
            Status::Impossible => {}
            Status::Hidden { text: old } => *old = text.into(),
            Status::Shown { bar } => bar.set_message(text.into()),
        }
    }

    /// Shows the status line if output has paused; to be called now and then.
    pub(crate) fn tick(&self) {
        let mut inner = self.lock();
        if inner.cursor == LineCursor::AtStart && inner.last_output.elapsed() >= QUIET {
            inner.show();
        }
    }

    /// Takes the status line away for good.
    pub(crate) fn end_status(&self) {
        let mut inner = self.lock();
        inner.hide();
        if let Status::Hidden { text } = &mut inner.status {
            text.clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic in the middle of a write leaves nothing half done in here.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn out(&mut self, data: &[u8]) -> Result<(), Error> {
        if self.reader == Reader::Left {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(data).and_then(|()| stdout.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.reader = Reader::Left,
            Err(error) => return Err(output("standard output", error)),
        }
        if self.devices == Devices::OneTerminal {
            self.cursor = LineCursor::after(data, self.cursor);
        }
        Ok(())
    }

    fn error(&mut self, data: &[u8]) -> Result<(), Error> {
        self.cursor = LineCursor::after(data, self.cursor);
        match io::stderr().lock().write_all(data) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(output("standard error", error))
            }
            // Whoever closed our standard error does not want to hear of it.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn start_line(&mut self) -> Result<(), Error> {
        match self.cursor {
            LineCursor::AtStart => Ok(()),
            LineCursor::InMiddle => self.error(b"\n"),
        }
    }

    fn show(&mut self) {
        if let Status::Hidden { text } = &mut self.status
            && !text.is_empty()
        {
            let bar = ProgressBar::new_spinner();
            bar.set_draw_target(ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {msg:.dim}") {
                bar.set_style(style);
            }
            bar.set_message(std::mem::take(text));
            bar.enable_steady_tick(TICK);
            self.status = Status::Shown { bar };
        }
    }

    fn hide(&mut self) {
        if let Status::Shown { bar } = &self.status {
            let text = bar.message();
            bar.finish_and_clear();
            self.status = Status::Hidden { text };
        }
    }
}

impl LineCursor {
    fn after(data: &[u8], before: Self) -> Self {
        match data.last() {
            None => before,
            Some(b'\n') => Self::AtStart,
            Some(_) => Self::InMiddle,
        }
    }
}

fn palette(color: ColorChoice, automatic: anstream::ColorChoice) -> Palette {
    match (color, automatic) {
        (ColorChoice::Always, _) => Palette::Colored,
        (ColorChoice::Never, _) | (ColorChoice::Auto, anstream::ColorChoice::Never) => {
            Palette::Plain
        }
        (ColorChoice::Auto, _) => Palette::Colored,
    }
}

fn output(stream: &'static str, source: io::Error) -> Error {
    Error::Output { stream, source }
}
