//! Where the log goes and what of it: what the user asked for, before looking at the world.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;

/// The environment variable with the filter, in the syntax of `tracing_subscriber::EnvFilter`: a
/// level (`debug`), or levels by module (`info,helix_exec=trace`). Default: `info`.
pub const FILTER_VARIABLE: &str = "HELIX_LOG";

/// The variable in which systemd says which device and inode the journal listens on.
const JOURNAL_STREAM_VARIABLE: &str = "JOURNAL_STREAM";

/// The variable that asks programs to print without colour (<https://no-color.org>).
const NO_COLOR_VARIABLE: &str = "NO_COLOR";

/// How the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// To the journal if stderr leads there, else text.
    #[default]
    Auto,
    /// Lines for people, on stderr.
    Text,
    /// One JSON object a line, on stderr.
    Json,
    /// To the journal, with fields.
    Journald,
}

/// A text that is no [`LogFormat`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a log format; there are `auto`, `text`, `json` and `journald`")]
pub struct LogFormatError;

impl LogFormat {
    /// Every format by its name on the command line.
    pub const ALL: [(&'static str, Self); 4] = [
        ("auto", Self::Auto),
        ("text", Self::Text),
        ("json", Self::Json),
        ("journald", Self::Journald),
    ];
}

impl FromStr for LogFormat {
    type Err = LogFormatError;

    fn from_str(text: &str) -> Result<Self, LogFormatError> {
        Self::ALL
            .into_iter()
            .find_map(|(name, format)| (name == text).then_some(format))
            .ok_or(LogFormatError)
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
            Self::Journald => "journald",
        })
    }
}

/// What is asked of the log.
#[derive(Debug, Clone)]
pub struct LogTarget {
    /// What the program is called in the journal.
    pub program: &'static str,
    /// How it is to be written.
    pub format: LogFormat,
    /// What of it, in the syntax of [`FILTER_VARIABLE`]. None: `info`.
    pub filter: Option<String>,
    /// The device and inode of the journal's stream as systemd gives it, such as `9:40153`.
    pub journal_stream: Option<OsString>,
    /// Whether colour is unwelcome even on a terminal.
    pub plain: bool,
}

impl LogTarget {
    /// What the command line (`format`) and the process's environment ask for.
    ///
    /// A filter that is not Unicode is passed on damaged, so that `init` complains
    /// about it.
    #[must_use]
    pub fn from_environment(program: &'static str, format: LogFormat) -> Self {
        Self {
            program,
            format,
            filter: env::var_os(FILTER_VARIABLE)
                .map(|filter| filter.to_string_lossy().into_owned())
                .filter(|filter| !filter.trim().is_empty()),
            journal_stream: env::var_os(JOURNAL_STREAM_VARIABLE),
            plain: env::var_os(NO_COLOR_VARIABLE).is_some_and(|value| !value.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LogFormat, LogFormatError};

    #[test]
    fn every_format_is_read_back_from_what_it_prints() {
        for (name, format) in LogFormat::ALL {
            assert_eq!(format.to_string(), name);
            assert_eq!(name.parse(), Ok(format));
        }
    }

    #[test]
    fn unknown_format_is_refused() {
        for text in ["", "JSON", "syslog", " text"] {
            assert_eq!(text.parse::<LogFormat>(), Err(LogFormatError), "{text:?}");
        }
    }
}
