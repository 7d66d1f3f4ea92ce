//! Which stream the log goes to: a decision on what was asked for and where stderr leads.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use crate::target::{LogFormat, LogTarget};

/// What a file descriptor leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamId {
    device: u64,
    inode: u64,
}

/// Where the log is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// The journal, with fields.
    Journald,
    /// Lines on stderr.
    Text {
        /// Whether with colour.
        colour: bool,
    },
    /// JSON on stderr.
    Json,
}

/// What is known about this process's stderr.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stderr {
    /// What it leads to; none if it is closed.
    pub(crate) id: Option<StreamId>,
    /// Whether a person reads it.
    pub(crate) is_terminal: bool,
}

impl StreamId {
    /// Reads `device:inode`, both decimal, as in `JOURNAL_STREAM`.
    fn parse(text: &OsStr) -> Option<Self> {
        let (device, inode) = text.to_str()?.split_once(':')?;
        Some(Self {
            device: device.parse().ok()?,
            inode: inode.parse().ok()?,
        })
    }

    /// What a descriptor leads to.
    fn of(stream: impl AsFd) -> io::Result<Self> {
        // A duplicate, since looking at a descriptor through `File` would close it afterwards.
        let metadata = File::from(stream.as_fd().try_clone_to_owned()?).metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

impl Stderr {
    /// Looks at the stderr of this process.
    pub(crate) fn look() -> Self {
        let stderr = io::stderr();
        Self {
            id: StreamId::of(&stderr).ok(),
            is_terminal: stderr.is_terminal(),
        }
    }
}

/// Where the log goes.
///
/// `JOURNAL_STREAM` alone proves nothing, since it is inherited by everything that the service
/// starts, such as a shell whose stderr is a file: it must name what stderr is.
pub(crate) fn choose(target: &LogTarget, stderr: Stderr) -> Stream {
    let colour = stderr.is_terminal && !target.plain;
    match target.format {
        LogFormat::Text => Stream::Text { colour },
        LogFormat::Json => Stream::Json,
        LogFormat::Journald => Stream::Journald,
        LogFormat::Auto => {
            let journal = target.journal_stream.as_deref().and_then(StreamId::parse);
            if journal.is_some() && journal == stderr.id {
                Stream::Journald
            } else {
                Stream::Text { colour }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;

    use super::{Stderr, Stream, StreamId, choose};
    use crate::target::{LogFormat, LogTarget};

    fn target(format: LogFormat, journal_stream: Option<&str>) -> LogTarget {
        LogTarget {
            program: "test",
            format,
            filter: None,
            journal_stream: journal_stream.map(OsString::from),
            plain: false,
        }
    }

    fn stderr(device: u64, inode: u64) -> Stderr {
        Stderr {
            id: Some(StreamId { device, inode }),
            is_terminal: false,
        }
    }

    #[track_caller]
    fn check_auto(journal_stream: Option<&str>, stderr: Stderr, expected: Stream) {
        assert_eq!(
            choose(&target(LogFormat::Auto, journal_stream), stderr),
            expected
        );
    }

    const PLAIN: Stream = Stream::Text { colour: false };

    #[test]
    fn auto_takes_the_journal_only_if_stderr_is_its_stream() {
        check_auto(Some("9:40153"), stderr(9, 40153), Stream::Journald);
        check_auto(Some("9:40153"), stderr(9, 40154), PLAIN);
        check_auto(Some("9:40153"), stderr(8, 40153), PLAIN);
        check_auto(None, stderr(9, 40153), PLAIN);
    }

    #[test]
    fn auto_with_closed_stderr_is_text() {
        let closed = Stderr {
            id: None,
            is_terminal: false,
        };
        check_auto(Some("9:40153"), closed, PLAIN);
        check_auto(None, closed, PLAIN);
    }

    #[test]
    fn malformed_journal_stream_is_no_journal() {
        for text in [
            "",
            ":",
            "9",
            "9:",
            ":40153",
            "9:40153:1",
            "9:x",
            "-9:40153",
            "0x9:40153",
        ] {
            check_auto(Some(text), stderr(9, 40153), PLAIN);
        }
    }

    #[test]
    fn what_was_asked_for_overrides_what_stderr_is() {
        let id = stderr(9, 40153);
        let asked = |format| choose(&target(format, Some("9:40153")), id);
        assert_eq!(asked(LogFormat::Text), PLAIN);
        assert_eq!(asked(LogFormat::Json), Stream::Json);
        assert_eq!(
            choose(&target(LogFormat::Journald, None), id),
            Stream::Journald
        );
    }

    #[test]
    fn colour_is_for_terminals_that_want_it() {
        let terminal = Stderr {
            id: None,
            is_terminal: true,
        };
        let mut target = target(LogFormat::Auto, None);
        assert_eq!(choose(&target, terminal), Stream::Text { colour: true });
        target.plain = true;
        assert_eq!(choose(&target, terminal), PLAIN);
    }

    #[test]
    fn a_descriptor_is_recognised_by_device_and_inode() {
        let file = File::open("/dev/null").expect("there is a null device");
        let metadata = file.metadata().expect("it can be looked at");
        let text = OsString::from(format!("{}:{}", metadata.dev(), metadata.ino()));
        assert_eq!(StreamId::of(&file).ok(), StreamId::parse(&text));
        // The descriptor is still open.
        assert!(file.metadata().is_ok());
    }
}
