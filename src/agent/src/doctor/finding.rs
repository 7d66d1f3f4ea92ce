//! What a check found, and how it is told: to a person, and as JSON.

use std::fmt::{self, Write};

use serde::Serialize;

/// What is looked at. The names are for programs and stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Check {
    /// The file can be used.
    Configuration,
    /// Whoever looks is whom the agent runs as.
    User,
    /// What must outlive the agent can be written, and only by it.
    StateDirectory,
    /// Work items can reach where they run.
    WorkDirectory,
    /// Space and inodes where attempts are kept.
    StateDisk,
    /// The same where work items run.
    WorkDisk,
    /// The process that starts commands answers.
    Launcher,
    /// Work items get users of their own.
    WorkItemUsers,
    /// Work items get control groups with limits.
    ControlGroups,
    /// What the kernel can do.
    Kernel,
    /// The clock is kept right.
    ClockSynchronisation,
    /// What clients are shown.
    ListenCertificates,
    /// What controllers are shown, and who is trusted as one.
    ControllerCertificates,
    /// Controllers can be called.
    Controller,
    /// The clock agrees with a controller's.
    ClockSkew,
    /// The log has a place to go.
    Journal,
    /// Tests with windows have a session.
    MacosSession,
}

impl Check {
    /// The name in JSON and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::User => "user",
            Self::StateDirectory => "state_directory",
            Self::WorkDirectory => "work_directory",
            Self::StateDisk => "state_disk",
            Self::WorkDisk => "work_disk",
            Self::Launcher => "launcher",
            Self::WorkItemUsers => "work_item_users",
            Self::ControlGroups => "control_groups",
            Self::Kernel => "kernel",
            Self::ClockSynchronisation => "clock_synchronisation",
            Self::ListenCertificates => "listen_certificates",
            Self::ControllerCertificates => "controller_certificates",
            Self::Controller => "controller",
            Self::ClockSkew => "clock_skew",
            Self::Journal => "journal",
            Self::MacosSession => "macos_session",
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) check: Check,
    /// What was looked at, and what was seen, in a few words.
    pub(crate) what: String,
    pub(crate) verdict: Verdict,
}

/// How it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and will not for long, or not as well as it could.
    Warning(Trouble),
    /// It does not work.
    Failed(Trouble),
    /// It does not apply here, or cannot be looked at.
    Skipped { why: String },
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) why: String,
    /// What to do about it.
    pub(crate) remedy: String,
    pub(crate) bearing: Bearing,
}

/// What trouble means for work that is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bearing {
    /// It can be taken all the same.
    None,
    /// It would break, and is not taken as long as this lasts.
    BarsWork,
}

impl Trouble {
    pub(crate) fn new(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            remedy: remedy.into(),
            bearing: Bearing::None,
        }
    }
}

impl Verdict {
    pub(crate) fn warning(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Warning(Trouble::new(why, remedy))
    }

    pub(crate) fn failed(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Failed(Trouble::new(why, remedy))
    }

    /// A failure with which work that is taken would break.
    pub(crate) fn barring(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Failed(Trouble {
            bearing: Bearing::BarsWork,
            ..Trouble::new(why, remedy)
        })
    }

    pub(crate) fn skipped(why: impl Into<String>) -> Self {
        Self::Skipped { why: why.into() }
    }

    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning(_) => "warning",
            Self::Failed(_) => "failed",
            Self::Skipped { .. } => "skipped",
        }
    }

    fn why(&self) -> Option<&str> {
        match self {
            Self::Ok => None,
            Self::Warning(trouble) | Self::Failed(trouble) => Some(&trouble.why),
            Self::Skipped { why } => Some(why),
        }
    }

    fn remedy(&self) -> Option<&str> {
        match self {
            Self::Ok | Self::Skipped { .. } => None,
            Self::Warning(trouble) | Self::Failed(trouble) => Some(&trouble.remedy),
        }
    }
}

impl Finding {
    pub(crate) fn new(check: Check, what: impl Into<String>, verdict: Verdict) -> Self {
        Self {
            check,
            what: what.into(),
            verdict,
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        matches!(self.verdict, Verdict::Failed(_))
    }

    /// Why no work is taken, as a sentence; `None` if this is no reason. It stays the same for as long
    /// as the reason does, whatever numbers go up and down.
    pub(crate) fn bars_work(&self) -> Option<String> {
        match &self.verdict {
            Verdict::Failed(trouble) if trouble.bearing == Bearing::BarsWork => {
                let sentence = format!(
                    "the check `{}` of `helix-agent doctor` failed: {}",
                    self.check.name(),
                    trouble.why
                );
                Some(visible(&sentence))
            }
            Verdict::Ok | Verdict::Warning(_) | Verdict::Failed(_) | Verdict::Skipped { .. } => {
                None
            }
        }
    }
}

impl fmt::Display for Finding {
    /// One line, and one each for why and what to do; without control characters.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.verdict.word();
        write!(
            formatter,
            "{word:<7}  {}: {}",
            self.check.name(),
            visible(&self.what)
        )?;
        for (name, text) in [("why", self.verdict.why()), ("do", self.verdict.remedy())] {
            let Some(text) = text else { continue };
            let mut lines = text.lines();
            write!(
                formatter,
                "\n{:9}{name}: {}",
                "",
                visible(lines.next().unwrap_or(""))
            )?;
            for line in lines {
                write!(formatter, "\n{:11}{}", "", visible(line))?;
            }
        }
        Ok(())
    }
}

fn visible(text: &str) -> String {
    let plain = |character: char| match character {
        character if character.is_control() => '\u{fffd}',
        character => character,
    };
    text.chars().map(plain).collect()
}

/// The report for a person: every finding, then the counts.
pub(crate) fn report(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{finding}");
    }
    let count = |word: &str| {
        let of_word = findings.iter().filter(|one| one.verdict.word() == word);
        format!("{} {word}", of_word.count())
    };
    let counts = ["ok", "warning", "failed", "skipped"].map(count);
    let _ = writeln!(text, "{}", counts.join(", "));
    text
}

/// The report for programs: one document. Fields may be added later, never renamed or removed.
pub(crate) fn json(findings: &[Finding]) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        /// `failed` if any check did; else `ok`.
        outcome: &'static str,
        checks: Vec<Row<'a>>,
    }
    #[derive(Serialize)]
    struct Row<'a> {
        name: &'static str,
        outcome: &'static str,
        what: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        remedy: Option<&'a str>,
    }
    let document = Document {
        outcome: if findings.iter().any(Finding::has_failed) {
            "failed"
        } else {
            "ok"
        },
        checks: findings
            .iter()
            .map(|finding| Row {
                name: finding.check.name(),
                outcome: finding.verdict.word(),
                what: &finding.what,
                why: finding.verdict.why(),
                remedy: finding.verdict.remedy(),
            })
            .collect(),
    };
    // Strings and lists cannot fail to become JSON.
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        vec![
            Finding::new(Check::Kernel, "Linux 6.1", Verdict::Ok),
            Finding::new(
                Check::StateDisk,
                "`/s`\x1b[2J",
                Verdict::failed("it is full\nreally", "make room"),
            ),
            Finding::new(Check::Journal, "journald", Verdict::skipped("no systemd")),
        ]
    }

    #[test]
    fn report_is_for_people_and_does_nothing_to_a_terminal() {
        assert_eq!(
            report(&findings()),
            "ok       kernel: Linux 6.1\n\
             failed   state_disk: `/s`\u{fffd}[2J\n\
             \x20        why: it is full\n\
             \x20          really\n\
             \x20        do: make room\n\
             skipped  journal: journald\n\
             \x20        why: no systemd\n\
             1 ok, 0 warning, 1 failed, 1 skipped\n"
        );
    }

    #[test]
    fn only_what_work_would_break_with_bars_it() {
        let bars = |verdict| Finding::new(Check::Launcher, "it", verdict).bars_work();
        assert_eq!(
            bars(Verdict::barring("it is\ngone", "start it")).as_deref(),
            Some("the check `launcher` of `helix-agent doctor` failed: it is\u{fffd}gone")
        );
        for verdict in [
            Verdict::failed("it is gone", "start it"),
            Verdict::warning("it is slow", "wait"),
            Verdict::skipped("there is none"),
            Verdict::Ok,
        ] {
            assert_eq!(bars(verdict), None);
        }
    }

    #[test]
    fn json_is_for_programs() {
        let document: serde_json::Value = serde_json::from_str(&json(&findings())).unwrap();
        assert_eq!(document["outcome"], "failed");
        assert_eq!(document["checks"][1]["remedy"], "make room");
        assert_eq!(document["checks"][2]["why"], "no systemd");
        assert_eq!(document["checks"][0].get("why"), None);
        let fine: serde_json::Value = serde_json::from_str(&json(&findings()[..1])).unwrap();
        assert_eq!(fine["outcome"], "ok");
    }
}
