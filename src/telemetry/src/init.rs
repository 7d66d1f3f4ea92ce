//! Installs the log of the process.

use std::io;

use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, fmt};

use crate::line::OneLineStderr;
use crate::stream::{Stderr, Stream, choose};
use crate::target::LogTarget;

/// The filter where none is asked for, or none that can be read.
const DEFAULT_FILTER: &str = "info";

/// What fields are prefixed with in the journal, so that none is taken for one of the journal's
/// own.
const JOURNAL_FIELD_PREFIX: &str = "HELIX";

/// Which log was installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// The journal, with fields.
    Journald,
    /// Lines on stderr.
    Text,
    /// JSON on stderr.
    Json,
}

/// Why no log was installed.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is one already.
    #[error("install the log of this process")]
    AlreadyInstalled(#[source] TryInitError),
}

/// Something that is not as asked for, but no reason to stop. Said in the log once there is one.
#[derive(Debug)]
enum Complaint {
    Filter { filter: String, error: ParseError },
    Journald { error: io::Error },
}

/// Installs the log of this process. To be called once, before anything is logged and before any
/// thread is started.
///
/// A journal that cannot be reached and a filter that cannot be read are no errors: the log then
/// goes to stderr as text, or shows what it does by default, and begins with a warning that says
/// so.
///
/// # Errors
///
/// The process has a log already.
pub fn init(target: &LogTarget) -> Result<Installed, InitError> {
    let mut complaints = Vec::new();
    let stderr = Stderr::look();
    let (layer, installed) = match choose(target, stderr) {
        Stream::Journald => match journald(target.program) {
            Ok(layer) => (layer, Installed::Journald),
            Err(error) => {
                complaints.push(Complaint::Journald { error });
                (text(stderr.is_terminal && !target.plain), Installed::Text)
            }
        },
        Stream::Text { colour } => (text(colour), Installed::Text),
        Stream::Json => (json(), Installed::Json),
    };
    let filter = read_filter(target.filter.as_deref(), &mut complaints);
    tracing_subscriber::registry()
        .with(layer)
        .with(filter)
        .try_init()
        .map_err(InitError::AlreadyInstalled)?;
    for complaint in complaints {
        complaint.log();
    }
    Ok(installed)
}

impl Complaint {
    fn log(&self) {
        match self {
            Self::Filter { filter, error } => tracing::warn!(
                filter,
                error = %error,
                "log filter cannot be read, showing the default",
            ),
            Self::Journald { error } => tracing::warn!(
                error = %error,
                "journal cannot be reached, logging to stderr",
            ),
        }
    }
}

fn read_filter(filter: Option<&str>, complaints: &mut Vec<Complaint>) -> EnvFilter {
    let Some(filter) = filter else {
        return EnvFilter::new(DEFAULT_FILTER);
    };
    EnvFilter::try_new(filter).unwrap_or_else(|error| {
        complaints.push(Complaint::Filter {
            filter: filter.to_owned(),
            error,
        });
        EnvFilter::new(DEFAULT_FILTER)
    })
}

type BoxedLayer<S> = Box<dyn Layer<S> + Send + Sync>;

fn journald<S>(program: &str) -> io::Result<BoxedLayer<S>>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let layer = tracing_journald::layer()?
        .with_field_prefix(Some(JOURNAL_FIELD_PREFIX.to_owned()))
        .with_syslog_identifier(program.to_owned());
    Ok(layer.boxed())
}

fn text<S>(colour: bool) -> BoxedLayer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fmt::layer()
        .with_writer(OneLineStderr { colour })
        .with_ansi(colour)
        .with_target(false)
        // It would be said on stderr that stderr cannot be written, in a way that panics.
        .log_internal_errors(false)
        .boxed()
}

fn json<S>() -> BoxedLayer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fmt::layer()
        .with_writer(OneLineStderr { colour: false })
        .with_ansi(false)
        .log_internal_errors(false)
        .json()
        .with_current_span(false)
        .with_span_list(true)
        .boxed()
}
