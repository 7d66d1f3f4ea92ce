//! What a command asked of the agent while it ran.
//!
//! Requests are lines of JSON in one file, which any shell can write:
//!
//! ```sh
//! echo '{"request": "infra_retry", "reason": "device lost"}' >> "$HELIX_WORKITEM_REQUESTS"
//! ```
//!
//! | `request` | further members |
//! |---|---|
//! | `infra_retry` | `reason` (optional text) |
//! | `reboot` | `reason` (optional text) |
//! | `metric` | `name`, `value` (a finite number), `dimensions` (optional object of texts), `event_type` (optional text) |
//!
//! Members that are not known are ignored, so that newer scripts work with older
//! agents. The file is the command's: it is read within bounds, never through a
//! link, and a line that makes no sense costs a warning, not the attempt. No
//! warning repeats what the file says.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use helix_model::outcome::InnerRequest;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use serde_json::{Map, Value};

/// The file of requests in its directory.
pub(crate) const FILE_NAME: &str = "requests.jsonl";

/// Most bytes of the file that are read.
const MOST_BYTES: u64 = 4 << 20;
/// Longest line, in bytes.
const LONGEST_LINE: usize = 64 << 10;
/// Most requests for a retry or a reboot that are kept.
const MOST_REQUESTS: usize = 16;
/// Most metrics that are kept.
const MOST_METRICS: usize = 1000;
/// Most dimensions of a metric.
const MOST_DIMENSIONS: usize = 32;
/// Longest reason, in characters; the rest is cut off.
const LONGEST_REASON: usize = 1000;
/// Longest name or value in a metric, in characters; the rest is cut off.
const LONGEST_NAME: usize = 256;
/// Most problems told one by one.
const MOST_PROBLEMS: usize = 10;

/// What the file says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Requests {
    /// Requests that bear on the verdict, in the order they were made.
    pub(crate) requests: Vec<InnerRequest>,
    /// Numbers to record, in the order they were sent.
    pub(crate) metrics: Vec<Metric>,
    /// What could not be understood, as sentences.
    pub(crate) problems: Vec<String>,
}

/// A number that a command sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Metric {
    pub(crate) name: String,
    /// Finite.
    pub(crate) value: f64,
    /// Sorted by name, each once.
    pub(crate) dimensions: Vec<(String, String)>,
    /// What sort of event it belongs to, in the sender's words.
    pub(crate) event_type: Option<String>,
}

/// Reads the requests in a directory. No file: no requests.
///
/// Blocks on the file system. The command's processes should be gone: what is
/// written later is missed.
pub(crate) fn read(directory: &Path) -> Requests {
    let mut reader = Reader::default();
    match open_file(directory) {
        Ok(Some(file)) => {
            if let Err(error) = reader.lines(BufReader::new(file)) {
                reader.problem(format_args!(
                    "requests could not be read to the end: {error}"
                ));
            }
        }
        Ok(None) => {}
        Err(errno) => reader.problem(format_args!("requests could not be read: {}", errno.desc())),
    }
    reader.finish()
}

/// Opens the file if it is one: not a link, not a fifo that would make the agent
/// wait.
fn open_file(directory: &Path) -> Result<Option<File>, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let directory = match open(directory, flags | OFlag::O_DIRECTORY, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let flags = flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = match openat(&directory, FILE_NAME, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(Some(file)),
        Ok(_) => Err(Errno::EINVAL),
        Err(error) => Err(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)),
    }
}

/// Why a line is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    TooLong,
    NotJson,
    NotAnObject,
    NoRequest,
    UnknownRequest,
    BadReason,
    BadMetric,
    TooManyRequests,
    TooManyMetrics,
}

impl Fault {
    fn text(self) -> String {
        match self {
            Self::TooLong => format!("it is longer than {LONGEST_LINE} bytes"),
            Self::NotJson => "it is not JSON".to_owned(),
            Self::NotAnObject => "it is not a JSON object".to_owned(),
            Self::NoRequest => "it has no text `request`".to_owned(),
            Self::UnknownRequest => {
                "its `request` is neither `infra_retry`, `reboot` nor `metric`".to_owned()
            }
            Self::BadReason => "its `reason` is not a text".to_owned(),
            Self::BadMetric => {
                "a metric needs a `name`, a finite `value` and texts for the rest".to_owned()
            }
            Self::TooManyRequests => format!("there are more than {MOST_REQUESTS} requests"),
            Self::TooManyMetrics => format!("there are more than {MOST_METRICS} metrics"),
        }
    }
}

#[derive(Default)]
struct Reader {
    found: Requests,
    untold: usize,
}

impl Reader {
    fn lines(&mut self, file: impl BufRead) -> io::Result<()> {
        let mut file = file.take(MOST_BYTES);
        let mut number = 0_u64;
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut start = file.by_ref().take(LONGEST_LINE as u64 + 1);
            if start.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            number += 1;
            let read = if line.last() != Some(&b'\n') && line.len() > LONGEST_LINE {
                pass_line(&mut file)?;
                Err(Fault::TooLong)
            } else {
                self.line(&line)
            };
            if let Err(fault) = read {
                self.problem(format_args!("request in line {number}: {}", fault.text()));
            }
        }
        if file.limit() == 0 && !file.into_inner().fill_buf()?.is_empty() {
            self.problem(format_args!(
                "requests beyond {MOST_BYTES} bytes were not read"
            ));
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Fault> {
        let line = String::from_utf8_lossy(line);
        let line = line.trim();
        if line.is_empty() {
            return Ok(());
        }
        let value: Value = serde_json::from_str(line).map_err(|_| Fault::NotJson)?;
        let Value::Object(members) = value else {
            return Err(Fault::NotAnObject);
        };
        match members
            .get("request")
            .and_then(Value::as_str)
            .ok_or(Fault::NoRequest)?
        {
            "infra_retry" => {
                let reason = reason(&members)?;
                self.request(InnerRequest::InfrastructureRetry { reason })
            }
            "reboot" => {
                let reason = reason(&members)?;
                self.request(InnerRequest::Reboot { reason })
            }
            "metric" if self.found.metrics.len() >= MOST_METRICS => Err(Fault::TooManyMetrics),
            "metric" => {
                self.found
                    .metrics
                    .push(metric(&members).ok_or(Fault::BadMetric)?);
                Ok(())
            }
            _ => Err(Fault::UnknownRequest),
        }
    }

    fn request(&mut self, request: InnerRequest) -> Result<(), Fault> {
        if self.found.requests.len() >= MOST_REQUESTS {
            return Err(Fault::TooManyRequests);
        }
        self.found.requests.push(request);
        Ok(())
    }

    fn problem(&mut self, problem: std::fmt::Arguments<'_>) {
        if self.found.problems.len() < MOST_PROBLEMS {
            self.found.problems.push(problem.to_string());
        } else {
            self.untold += 1;
        }
    }

    fn finish(mut self) -> Requests {
        if self.untold > 0 {
            self.found
                .problems
                .push(format!("{} more problems with requests", self.untold));
        }
        self.found
    }
}

/// Reads on to the end of a line without keeping it.
fn pass_line(file: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = file.fill_buf()?;
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let passed = end.map_or(buffer.len(), |end| end + 1);
        file.consume(passed);
        if end.is_some() || passed == 0 {
            return Ok(());
        }
    }
}

fn reason(members: &Map<String, Value>) -> Result<String, Fault> {
    let reason = match members.get("reason") {
        None | Some(Value::Null) => "",
        Some(Value::String(reason)) => reason,
        Some(_) => return Err(Fault::BadReason),
    };
    let reason = one_line(reason, LONGEST_REASON);
    Ok(if reason.is_empty() {
        "no reason given".to_owned()
    } else {
        reason
    })
}

fn metric(members: &Map<String, Value>) -> Option<Metric> {
    let text = |value: &Value| value.as_str().map(|text| one_line(text, LONGEST_NAME));
    let name = text(members.get("name")?)?;
    let value = members
        .get("value")?
        .as_f64()
        .filter(|value| value.is_finite())?;
    let dimensions = match members.get("dimensions") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Object(dimensions)) if dimensions.len() <= MOST_DIMENSIONS => dimensions
            .iter()
            .map(|(name, value)| Some((one_line(name, LONGEST_NAME), text(value)?)))
            .collect::<Option<_>>()?,
        Some(_) => return None,
    };
    let event_type = match members.get("event_type") {
        None | Some(Value::Null) => None,
        Some(event_type) => Some(text(event_type)?),
    };
    (!name.is_empty()).then_some(Metric {
        name,
        value,
        dimensions,
        event_type,
    })
}

/// The text on one line, every control character a blank, cut to a length.
fn one_line(text: &str, longest: usize) -> String {
    let blank = |character: char| {
        if character.is_control() {
            ' '
        } else {
            character
        }
    };
    text.trim().chars().map(blank).take(longest).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    fn read_text(text: impl AsRef<[u8]>) -> Requests {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join(FILE_NAME), text).expect("written");
        read(directory.path())
    }

    fn retry(reason: &str) -> InnerRequest {
        InnerRequest::InfrastructureRetry {
            reason: reason.to_owned(),
        }
    }

    fn reboot(reason: &str) -> InnerRequest {
        InnerRequest::Reboot {
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn no_file_and_no_directory_are_no_requests() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(read(directory.path()), Requests::default());
        assert_eq!(read(&directory.path().join("missing")), Requests::default());
    }

    #[test]
    fn good_lines_count_beside_damaged_ones() {
        let read = read_text(
            b"{\"request\": \"infra_retry\", \"reason\": \"device\\nlost\", \"later\": 1}\r\n\
              \n\
              not json\n\
              [1]\n\
              {\"request\": \"dance\"}\n\
              {\"reason\": \"x\"}\n\
              {\"request\": \"reboot\", \"reason\": 7}\n\
              {\"request\": \"metric\", \"name\": \"x\", \"value\": \"7\"}\n\
              {\"request\": \"infra_retry\", \"reason\": \"caf\xe9\"}\n\
              {\"request\": \"reboot\"}\n\
              {\"request\": \"rebo",
        );
        assert_eq!(
            read.requests,
            [
                retry("device lost"),
                retry("caf\u{fffd}"),
                reboot("no reason given")
            ]
        );
        assert_eq!(
            read.problems,
            [
                "request in line 3: it is not JSON",
                "request in line 4: it is not a JSON object",
                "request in line 5: its `request` is neither `infra_retry`, `reboot` nor `metric`",
                "request in line 6: it has no text `request`",
                "request in line 7: its `reason` is not a text",
                "request in line 8: a metric needs a `name`, a finite `value` and texts for the \
                 rest",
                "request in line 11: it is not JSON",
            ]
        );
    }

    #[test]
    fn everything_has_its_bound() {
        let long = format!(
            "{{\"request\": \"infra_retry\", \"reason\": \"{}\"}}\n",
            "é".repeat(5000)
        );
        let read = read_text(&long);
        assert_eq!(read.requests, [retry(&"é".repeat(LONGEST_REASON))]);

        let line = "{\"request\": \"reboot\", \"reason\": \"x\"}\n";
        let read = read_text(line.repeat(100));
        assert_eq!(read.requests.len(), MOST_REQUESTS);
        assert_eq!(read.problems.len(), MOST_PROBLEMS + 1);
        assert_eq!(
            read.problems[MOST_PROBLEMS],
            "74 more problems with requests"
        );

        let metric = "{\"request\": \"metric\", \"name\": \"x\", \"value\": 1e3}\n";
        assert_eq!(read_text(metric.repeat(2000)).metrics.len(), MOST_METRICS);

        let endless = format!("{}\n{line}", "x".repeat(3 * LONGEST_LINE));
        let read = read_text(endless);
        assert_eq!(read.requests.len(), 1);
        assert_eq!(
            read.problems,
            ["request in line 1: it is longer than 65536 bytes"]
        );

        let large = format!(
            "{}{line}",
            "\n".repeat(usize::try_from(MOST_BYTES).expect("fits"))
        );
        let read = read_text(large);
        assert_eq!(read.requests, []);
        assert_eq!(
            read.problems,
            ["requests beyond 4194304 bytes were not read"]
        );

        let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
        assert_eq!(
            read_text(deep).problems,
            ["request in line 1: it is not JSON"]
        );
    }

    #[test]
    fn links_and_fifos_are_not_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(FILE_NAME);
        fs::write(directory.path().join("other"), "{\"request\": \"reboot\"}").expect("written");
        symlink("other", &path).expect("a link");
        assert_eq!(read(directory.path()).requests, []);
        assert_eq!(read(directory.path()).problems.len(), 1);
        fs::remove_file(&path).expect("removed");
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).expect("a fifo");
        assert_eq!(read(directory.path()).problems.len(), 1);
        let link = directory.path().join("link");
        symlink(directory.path(), &link).expect("a link");
        assert_eq!(read(&link).problems.len(), 1);
    }

    #[test]
    fn a_shell_can_make_a_request() {
        let directory = tempfile::tempdir().expect("a directory");
        let script = r#"echo '{"request": "infra_retry", "reason": "device lost"}' >> "$HELIX_WORKITEM_REQUESTS""#;
        let status = Command::new("/bin/sh")
            .args(["-c", script])
            .env("HELIX_WORKITEM_REQUESTS", directory.path().join(FILE_NAME))
            .status()
            .expect("a shell");
        assert!(status.success());
        assert_eq!(read(directory.path()).requests, [retry("device lost")]);
    }
}
