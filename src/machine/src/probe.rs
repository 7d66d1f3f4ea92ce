//! One tool, found by running a command and reading the versions from what it prints.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use helix_model::capability::{CapabilityName, CapabilityValue};
use helix_model::version::Version;
use regex::{Regex, RegexBuilder};

use crate::command::{CommandLine, Environment};
use crate::process::{self, End, Head, Order, StartError};

/// How much of the output is looked at, in bytes.
pub const MAX_OUTPUT_BYTES: usize = 256 * 1024;

/// How many versions one probe may find; more are left out.
pub const MAX_VERSIONS: usize = 256;

/// How large a pattern may become when compiled, in bytes.
const MAX_PATTERN_BYTES: usize = 1024 * 1024;

/// Looks for one tool.
#[derive(Debug, Clone)]
pub struct Probe {
    /// What it is called if it is there.
    pub capability: CapabilityName,
    /// What to run, such as `dotnet --list-sdks`. Runs as the agent in `/`.
    pub command: CommandLine,
    /// Finds the versions in the output. None: the tool is there if the command ends with exit code
    /// 0.
    pub pattern: Option<VersionPattern>,
    /// How long the command may take.
    pub time_limit: Duration,
    /// Variables for the command.
    pub environment: Environment,
}

/// A regular expression with one group for a version: the one named `version`, or else the first.
///
/// `^` and `$` match at the borders of lines. Each match is one version.
#[derive(Debug, Clone)]
pub struct VersionPattern {
    regex: Regex,
    group: usize,
}

/// Why a text is not a [`VersionPattern`].
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PatternError {
    /// It is no regular expression, or becomes too large.
    #[error("{0}")]
    Syntax(#[from] regex::Error),
    /// There is no group.
    #[error("the pattern has no group in parentheses that says which part is the version")]
    NoGroup,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sighting {
    /// The tool, in one or several versions.
    Present(CapabilityValue),
    /// No tool.
    Absent(Absence),
}

/// Why a probe found nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Absence {
    /// There is no such program.
    #[error("there is no program `{program}`")]
    NotFound {
        /// The program.
        program: String,
    },
    /// There is one, but it cannot be started.
    #[error("the program `{program}` cannot be started: {error}")]
    CouldNotStart {
        /// The program.
        program: String,
        /// What the system said.
        error: String,
    },
    /// It ended with an exit code other than 0.
    #[error("the command ended with exit code {code}{}", Said(said))]
    Failed {
        /// The exit code.
        code: i32,
        /// The last line of its output.
        said: Option<String>,
    },
    /// It was killed by a signal that this program did not send.
    #[error("the command was ended from outside: {how}")]
    Killed {
        /// By which signal.
        how: String,
    },
    /// Nothing that the pattern matches, or nothing of it is a version.
    #[error("the command's output has no version in it{}", Said(said))]
    NoMatch {
        /// The last line of its output.
        said: Option<String>,
    },
    /// It took too long.
    #[error("the command took longer than {} s", limit.as_secs_f64())]
    TimedOut {
        /// How long it had.
        limit: Duration,
    },
}

/// Shows what a command said behind a sentence.
struct Said<'a>(&'a Option<String>);

impl fmt::Display for Said<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(said) => write!(formatter, ", it said `{said}`"),
            None => Ok(()),
        }
    }
}

impl Absence {
    /// Whether this may be the fault of a machine under load rather than of a tool that is gone.
    #[must_use]
    pub fn is_inconclusive(&self) -> bool {
        match self {
            Self::CouldNotStart { .. } | Self::Killed { .. } | Self::TimedOut { .. } => true,
            Self::NotFound { .. } | Self::Failed { .. } | Self::NoMatch { .. } => false,
        }
    }
}

impl VersionPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// It is no regular expression, or has no group.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        let regex = RegexBuilder::new(pattern)
            .multi_line(true)
            .size_limit(MAX_PATTERN_BYTES)
            .build()?;
        let named = regex
            .capture_names()
            .position(|name| name == Some("version"));
        match named {
            Some(group) => Ok(Self { regex, group }),
            None if regex.captures_len() > 1 => Ok(Self { regex, group: 1 }),
            None => Err(PatternError::NoGroup),
        }
    }

    /// The pattern as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.regex.as_str()
    }

    /// The versions in a text, at most [`MAX_VERSIONS`]. Matches that are no versions are passed
    /// over.
    #[must_use]
    pub fn versions(&self, text: &str) -> BTreeSet<Version> {
        self.regex
            .captures_iter(text)
            .filter_map(|captures| Version::parse(captures.get(self.group)?.as_str()).ok())
            .take(MAX_VERSIONS)
            .collect()
    }
}

impl Probe {
    /// Runs the command and says what it found. Dropping the future kills the command.
    pub async fn run(&self) -> Sighting {
        let order = Order {
            command: &self.command,
            environment: &self.environment,
            time_limit: self.time_limit,
            grace: Duration::ZERO,
            stop: None,
        };
        let mut head = Head::new(MAX_OUTPUT_BYTES);
        let program = || self.command.program().to_owned();
        let absence = match process::run(order, &mut head).await {
            Err(StartError::NotFound) => Absence::NotFound { program: program() },
            Err(StartError::Failed(error)) => Absence::CouldNotStart {
                program: program(),
                error: error.to_string(),
            },
            Ok(End::TimedOut | End::Stopped | End::Stuck) => Absence::TimedOut {
                limit: self.time_limit,
            },
            Ok(End::Exited(status)) if status.success() => match self.read(&head.text()) {
                Ok(value) => return Sighting::Present(value),
                Err(absence) => absence,
            },
            Ok(End::Exited(status)) => match status.code() {
                Some(code) => Absence::Failed {
                    code,
                    said: process::last_words(&head.text()),
                },
                None => Absence::Killed {
                    how: process::failure(status).unwrap_or_default(),
                },
            },
        };
        Sighting::Absent(absence)
    }

    fn read(&self, output: &str) -> Result<CapabilityValue, Absence> {
        let Some(pattern) = &self.pattern else {
            return Ok(CapabilityValue::Label);
        };
        let versions = pattern.versions(output);
        if versions.is_empty() {
            return Err(Absence::NoMatch {
                said: process::last_words(output),
            });
        }
        Ok(CapabilityValue::versions(versions))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use helix_model::capability::{CapabilityName, CapabilityValue};
    use helix_model::version::Version;

    use super::{Absence, PatternError, Probe, Sighting, VersionPattern};
    use crate::command::{CommandLine, Environment};

    fn probe(script: &str, pattern: Option<&str>) -> Probe {
        Probe {
            capability: CapabilityName::new("tool").expect("it is a name"),
            command: CommandLine::new(["/bin/sh", "-c", script].map(str::to_owned))
                .expect("it is a command line"),
            pattern: pattern.map(|pattern| VersionPattern::new(pattern).expect("it is a pattern")),
            time_limit: Duration::from_secs(60),
            environment: Environment::default(),
        }
    }

    fn versions(texts: &[&str]) -> Sighting {
        let versions = texts
            .iter()
            .map(|text| Version::parse(text).expect("it is a version"));
        Sighting::Present(CapabilityValue::versions(versions))
    }

    #[track_caller]
    fn check_pattern(pattern: &str, text: &str, expected: &[&str]) {
        let pattern = VersionPattern::new(pattern).expect("it is a pattern");
        let found: Vec<String> = pattern
            .versions(text)
            .iter()
            .map(|version| version.as_str().to_owned())
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn patterns_find_versions_in_what_tools_print() {
        check_pattern(
            r"^Xcode (\S+)",
            "Xcode 16.1\nBuild version 16B40\n",
            &["16.1"],
        );
        check_pattern(
            r"^(\S+) \[",
            "8.0.404 [/usr/share/dotnet/sdk]\n10.0.100-rc.2.25502.107 [/usr/share/dotnet/sdk]\n9.0.100 [/x]\n",
            &["8.0.404", "9.0.100", "10.0.100-rc.2.25502.107"],
        );
        check_pattern(
            r#"version "([^"]+)""#,
            "openjdk version \"17.0.15\" 2025-04-15",
            &["17.0.15"],
        );
        check_pattern(
            r"(?P<vendor>\w+) (?P<version>\S+)",
            "clang 19.1.0",
            &["19.1.0"],
        );
    }

    #[test]
    fn match_that_is_no_version_is_passed_over() {
        check_pattern(
            r"^tool (\S+)",
            "tool unknown\ntool 1.2\ntool --help\n",
            &["1.2"],
        );
    }

    #[test]
    fn flood_of_versions_is_cut() {
        let text: String = (0..1000).map(|number| format!("{number}\n")).collect();
        let pattern = VersionPattern::new(r"^(\d+)$").expect("it is a pattern");
        assert_eq!(pattern.versions(&text).len(), super::MAX_VERSIONS);
    }

    #[test]
    fn pattern_without_a_group_is_refused() {
        assert_eq!(
            VersionPattern::new(r"\d+").err(),
            Some(PatternError::NoGroup)
        );
        assert!(matches!(
            VersionPattern::new("("),
            Err(PatternError::Syntax(_))
        ));
        assert!(matches!(
            VersionPattern::new(r"((\w{999}){999})"),
            Err(PatternError::Syntax(_))
        ));
    }

    #[tokio::test]
    async fn versions_on_either_stream_are_found() {
        let probe = probe("echo tool 2.0 >&2; echo tool 1.0", Some(r"^tool (\S+)"));
        assert_eq!(probe.run().await, versions(&["1.0", "2.0"]));
    }

    #[tokio::test]
    async fn command_without_a_pattern_shows_presence_by_its_exit_code() {
        assert_eq!(
            probe("exit 0", None).run().await,
            Sighting::Present(CapabilityValue::Label)
        );
        let absence = Absence::Failed {
            code: 1,
            said: None,
        };
        assert_eq!(probe("exit 1", None).run().await, Sighting::Absent(absence));
    }

    #[tokio::test]
    async fn failed_command_is_absence_whatever_it_printed() {
        let probe = probe(
            "echo tool 1.0; echo licence not accepted >&2; exit 69",
            Some(r"tool (\S+)"),
        );
        let said = Some("licence not accepted".to_owned());
        assert_eq!(
            probe.run().await,
            Sighting::Absent(Absence::Failed { code: 69, said })
        );
    }

    #[tokio::test]
    async fn output_without_a_version_is_absence() {
        let probe = probe("echo no tool here", Some(r"^tool (\S+)"));
        let said = Some("no tool here".to_owned());
        assert_eq!(
            probe.run().await,
            Sighting::Absent(Absence::NoMatch { said })
        );
    }

    #[tokio::test]
    async fn absent_program_is_absence() {
        let mut probe = probe("", None);
        let program = "/nonexistent/tool".to_owned();
        probe.command = CommandLine::new([program.clone()]).expect("it is a command line");
        assert_eq!(
            probe.run().await,
            Sighting::Absent(Absence::NotFound { program })
        );
    }

    #[tokio::test]
    async fn slow_command_is_killed_and_says_nothing_about_the_tool() {
        let mut probe = probe("sleep 1000", None);
        probe.time_limit = Duration::from_millis(50);
        let Sighting::Absent(absence) = probe.run().await else {
            panic!("it takes too long to be seen");
        };
        assert_eq!(
            absence,
            Absence::TimedOut {
                limit: probe.time_limit
            }
        );
        assert!(absence.is_inconclusive());
    }

    #[tokio::test]
    async fn command_killed_from_outside_says_nothing_about_the_tool() {
        let Sighting::Absent(absence) = probe("kill -9 $$", None).run().await else {
            panic!("it does not end well");
        };
        assert!(matches!(absence, Absence::Killed { .. }), "{absence:?}");
        assert!(absence.is_inconclusive());
    }

    #[tokio::test]
    async fn endless_output_is_read_away_up_to_the_time_limit() {
        let mut probe = probe("yes tool 1.0", Some(r"^tool (\S+)"));
        probe.time_limit = Duration::from_millis(200);
        let limit = probe.time_limit;
        assert_eq!(
            probe.run().await,
            Sighting::Absent(Absence::TimedOut { limit })
        );
    }
}
