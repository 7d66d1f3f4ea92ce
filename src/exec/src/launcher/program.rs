//! The launcher as a program of its own: its command line and its configuration file.
//!
//! ```text
//! helix-launcher --config FILE --socket PATH    make a socket and listen on it
//! helix-launcher --config FILE --service        listen on the socket of the service manager
//! helix-launcher --config FILE --connection     serve the client on standard input
//! helix-launcher --config FILE --check          read the configuration, and that is all
//! ```
//!
//! The configuration is [`Config`] as JSON; unknown keys are refused.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Config, LauncherError, Listen, inherited_connection, run};
use crate::sys;

const USAGE: &str = "usage: helix-launcher --config FILE \
                     (--socket PATH | --service | --connection | --check)";

const HELP: &str = "\
Starts the commands of work items for one helix-agent, each as a user of its own.

usage: helix-launcher --config FILE --socket PATH    make a socket and listen on it
       helix-launcher --config FILE --service        listen on the service manager's socket
       helix-launcher --config FILE --connection     serve the client on standard input
       helix-launcher --config FILE --check          read the configuration, say what is wrong
       helix-launcher --help | --version

It runs as root, has no network and one thread, and obeys only the user who is the `client`
in FILE. FILE is JSON and says which users, directories, limits and control groups it may use; a
request can only narrow that. As any other user it starts commands as that user.

It ends on SIGTERM or SIGINT. Commands that run are not disturbed by its end, nor by its death: each
has a supervisor of its own (`helix-supervise` in the process table).

Exit codes: 0 ended in order, 1 could not serve, 64 the command line or FILE has to be changed.
";

/// Why the program ends without having served.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The command line is not understood.
    #[error("{USAGE}")]
    Usage,
    /// The configuration could not be read.
    #[error("read the configuration `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Others than root may write to the configuration of a launcher that runs as root.
    #[error("trust the configuration `{}`: others than root may write to it", path.display())]
    Unprotected {
        /// The file.
        path: PathBuf,
    },
    /// The configuration makes no sense.
    #[error("understand the configuration `{}`", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What and where, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// Nothing to serve.
    #[error("take over the socket")]
    Socket(#[source] std::io::Error),
    /// Serving failed.
    #[error(transparent)]
    Launcher(#[from] LauncherError),
}

impl ProgramError {
    /// Exit code: 64 when the caller has to change something, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage
            | Self::Unreadable { .. }
            | Self::Unprotected { .. }
            | Self::Malformed { .. } => 64,
            Self::Socket(_) | Self::Launcher(_) => 1,
        }
    }

    /// The whole story on one line, as it is shown to a person.
    pub fn report(&self) -> impl fmt::Display {
        let mut text = format!("helix-launcher: {self}");
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        text
    }
}

enum Mode {
    Socket(PathBuf),
    Service,
    Connection,
    Check,
}

/// Runs the program with these arguments, without its name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Result<(), ProgramError> {
    let arguments: Vec<_> = arguments.into_iter().collect();
    if let [only] = arguments.as_slice()
        && let Some(text) = explanation(only)
    {
        // Whoever does not read it does not miss it.
        let _ = std::io::stdout().write_all(text.as_bytes());
        return Ok(());
    }
    let (path, mode) = parse(arguments).ok_or(ProgramError::Usage)?;
    let config = read(&path)?;
    let listen = match mode {
        Mode::Check => return Ok(()),
        Mode::Socket(path) => Listen::Path(path),
        Mode::Connection => {
            Listen::Connected(inherited_connection().map_err(ProgramError::Socket)?)
        }
        Mode::Service => {
            let absent = || std::io::Error::other("the service manager has handed over no socket");
            let listener = sys::handed_over_listener()
                .and_then(|listener| listener.ok_or_else(absent))
                .map_err(ProgramError::Socket)?;
            Listen::Listener(listener)
        }
    };
    Ok(run(&config, listen)?)
}

/// What is told of the program itself, if that is asked for.
fn explanation(argument: &OsStr) -> Option<&'static str> {
    match argument.to_str()? {
        "--help" | "-h" => Some(HELP),
        "--version" | "-V" => Some(concat!("helix-launcher ", env!("CARGO_PKG_VERSION"), "\n")),
        _ => None,
    }
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Option<(PathBuf, Mode)> {
    let mut arguments = arguments.into_iter();
    let (mut config, mut mode) = (None, None);
    while let Some(argument) = arguments.next() {
        let chosen = match argument.to_str()? {
            "--config" if config.is_none() => {
                config = Some(PathBuf::from(arguments.next()?));
                continue;
            }
            "--socket" => Mode::Socket(arguments.next()?.into()),
            "--service" => Mode::Service,
            "--connection" => Mode::Connection,
            "--check" => Mode::Check,
            _ => return None,
        };
        if mode.replace(chosen).is_some() {
            return None;
        }
    }
    config.zip(mode)
}

fn read(path: &Path) -> Result<Config, ProgramError> {
    let unreadable = |source| ProgramError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let own = nix::unistd::geteuid();
    // It says what root does for whom.
    if own.is_root() && (metadata.uid() != own.as_raw() || metadata.mode() & 0o022 != 0) {
        return Err(ProgramError::Unprotected {
            path: path.to_owned(),
        });
    }
    let mut json = Vec::new();
    file.read_to_end(&mut json).map_err(unreadable)?;
    serde_json::from_slice(&json).map_err(|source| ProgramError::Malformed {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn command_line_takes_one_configuration_and_one_mode() {
        let accepted = |line: &str| parse(line.split(' ').map(OsString::from)).is_some();
        for line in [
            "--config a --check",
            "--service --config a",
            "--config a --socket b",
            "--connection --config a",
        ] {
            assert!(accepted(line), "{line}");
        }
        for line in [
            "--config",
            "--config a",
            "--check",
            "--config a --check --service",
            "--config a --config b --check",
            "--config a --socket",
            "--config a --check x",
        ] {
            assert!(!accepted(line), "{line}");
        }
    }

    #[test]
    fn configuration_problems_name_the_file_and_the_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("launcher.json");
        let check = |json: &str| {
            std::fs::write(&path, json).unwrap();
            read(&path).map_err(|error| error.report().to_string())
        };
        let good = r#"{"client": 7, "spool_roots": {"beneath": ["/s"]}, "work_roots": "anywhere"}"#;
        assert_eq!(check(good).unwrap().client_uid, 7);
        let problem = check(&good.replace("client", "clint")).unwrap_err();
        assert!(
            problem.contains("launcher.json") && problem.contains("line 1"),
            "{problem}"
        );
        assert_eq!(check(&good.replace('7', "\"root\"")).unwrap().client_uid, 0);
        let problem = check(&good.replace('7', "\"nobody at all\"")).unwrap_err();
        assert!(
            problem.contains("there is no user `nobody at all` at line 1"),
            "{problem}"
        );
        let problem = check(&good.replace('7', "-1")).unwrap_err();
        assert!(problem.contains("a user's number or name"), "{problem}");
        assert!(read(Path::new("/nonexistent")).is_err());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        if nix::unistd::geteuid().is_root() {
            let problem = check(good).unwrap_err();
            assert!(problem.contains("others than root"), "{problem}");
        }
    }
}
