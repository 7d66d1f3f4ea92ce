//! One thing that is done to a machine, as data.

use std::fmt;
use std::path::PathBuf;

use super::manifest::Manifest;

/// Each can be taken twice: the second time it finds nothing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Writes down what was put here and what is being put here.
    Record(Manifest),
    /// A directory, with those above it. One that is there keeps its owner and mode.
    Directory {
        path: PathBuf,
        mode: u32,
    },
    /// A directory of the agent's user, whose owner and mode are set in any case.
    OwnDirectory {
        path: PathBuf,
        owner: &'static str,
        mode: u32,
    },
    File(NewFile),
    Link {
        path: PathBuf,
        to: PathBuf,
    },
    /// A hidden user of macOS who cannot log in, and a group that nobody else is in.
    Account {
        name: &'static str,
        description: &'static str,
    },
    Command(Command),
    /// Restarts a job of launchd that is loaded, if a program accepts its configuration.
    RestartJob {
        label: &'static str,
        check: Vec<String>,
    },
    /// Loads a job of launchd, if it is not.
    StartJob {
        label: &'static str,
        list: PathBuf,
    },
    /// Has launchd end a job, and waits until it has.
    StopJob {
        label: &'static str,
    },
    /// Kills whatever a user runs.
    KillProcesses {
        account: String,
    },
    RemoveFile {
        path: PathBuf,
    },
    /// With all that is in it.
    RemoveTree {
        path: PathBuf,
    },
    /// Only if nothing is in it.
    RemoveDirectory {
        path: PathBuf,
    },
    RemoveAccount {
        name: String,
    },
}

/// A file that is written as a whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewFile {
    pub(super) path: PathBuf,
    pub(super) content: Content,
    pub(super) mode: u32,
    /// Default: root.
    pub(super) owner: Option<&'static str>,
    pub(super) whose: Whose,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    Text(String),
    /// Of a program.
    Copy(PathBuf),
}

/// Who decides what is in a file once it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// The installation. What is there of anybody else's is a reason to refuse.
    Ours,
    /// The administrator, from the first time on.
    Administrators,
}

/// A program that is run, found by the search path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) words: Vec<String>,
    pub(super) when: When,
    pub(super) failure: Failure,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Always,
    /// Some file of the installation is another than before.
    Changed,
}

/// What it means if it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing further is done.
    Ends,
    /// It is told, and the rest is done.
    Told,
    /// Nothing: there was nothing to do for it.
    Expected,
}

impl Command {
    pub(super) fn new(words: &[&str]) -> Self {
        Self {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            when: When::Always,
            failure: Failure::Ends,
        }
    }

    pub(super) fn if_changed(mut self) -> Self {
        self.when = When::Changed;
        self
    }

    pub(super) fn may_fail(mut self, failure: Failure) -> Self {
        self.failure = failure;
        self
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(manifest) => write!(
                formatter,
                "record {} files, {} directories and {} users as put here",
                manifest.files.len(),
                manifest.directories.len(),
                manifest.accounts.len()
            ),
            Self::Directory { path, mode } => {
                write!(
                    formatter,
                    "make the directory `{}` ({mode:04o})",
                    path.display()
                )
            }
            Self::OwnDirectory { path, owner, mode } => write!(
                formatter,
                "make the directory `{}` ({mode:04o}, of `{owner}`)",
                path.display()
            ),
            Self::File(file) => file.fmt(formatter),
            Self::Link { path, to } => {
                write!(formatter, "link `{}` to `{}`", path.display(), to.display())
            }
            Self::Account { name, .. } => {
                write!(formatter, "make the hidden user `{name}` and its group")
            }
            Self::Command(command) => {
                write!(formatter, "run `{}`", command.words.join(" "))?;
                match command.when {
                    When::Always => Ok(()),
                    When::Changed => write!(formatter, " if any file changed"),
                }
            }
            Self::RestartJob { label, check } => write!(
                formatter,
                "restart `{label}` if it runs, any file changed and `{}` succeeds",
                check.join(" ")
            ),
            Self::StartJob { label, list } => {
                write!(formatter, "start `{label}` from `{}`", list.display())
            }
            Self::StopJob { label } => write!(formatter, "stop `{label}`, and wait for its end"),
            Self::KillProcesses { account } => {
                write!(formatter, "kill what `{account}` runs")
            }
            Self::RemoveFile { path } => write!(formatter, "remove `{}`", path.display()),
            Self::RemoveTree { path } => {
                write!(formatter, "remove `{}` and all in it", path.display())
            }
            Self::RemoveDirectory { path } => {
                write!(formatter, "remove `{}` if it is empty", path.display())
            }
            Self::RemoveAccount { name } => {
                write!(formatter, "remove the user `{name}` and its group")
            }
        }
    }
}

impl fmt::Display for NewFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.content {
            Content::Text(_) => write!(formatter, "write `{path}`")?,
            Content::Copy(from) => write!(formatter, "copy `{}` to `{path}`", from.display())?,
        }
        write!(formatter, " ({:04o}", self.mode)?;
        if let Some(owner) = self.owner {
            write!(formatter, ", of `{owner}`")?;
        }
        formatter.write_str(")")
    }
}
