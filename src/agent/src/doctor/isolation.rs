//! The launcher, and how far it holds work items back.

use helix_exec::launcher::Measure;

use super::finding::{Check, Finding, Verdict};
use crate::config::Config;
use crate::launcher::Standing;

/// What control groups are for.
const GROUP_MEASURES: [Measure; 5] = [
    Measure::Tree,
    Measure::Memory,
    Measure::Processes,
    Measure::Cpu,
    Measure::Io,
];

/// What the launcher says of itself.
pub(super) fn findings(config: &Config, standing: &Standing) -> Vec<Finding> {
    let place = match &config.launcher_socket {
        Some(socket) => format!("the launcher at `{}`", socket.display()),
        None => "the agent's own launcher".to_owned(),
    };
    let launcher = match standing {
        Standing::Known(_) => match standing.slots() {
            Some(users) if users < config.slots => Verdict::warning(
                format!(
                    "it has users for {users} work items, and `slots` is {}",
                    config.slots
                ),
                "add users to `users.pool` of its configuration, or lower `slots`",
            ),
            Some(_) | None => Verdict::Ok,
        },
        Standing::Unknown { why } => Verdict::barring(
            format!("it does not answer: {why}"),
            match &config.launcher_socket {
                Some(_) => {
                    "systemctl start helix-launcher.socket; it answers only the user that its \
                     configuration names as `client`"
                }
                None => "see whether this program may start itself",
            },
        ),
    };
    vec![
        Finding::new(Check::Launcher, place, launcher),
        measures(
            config,
            standing,
            Check::WorkItemUsers,
            "a user of its own for each work item",
            &[Measure::User],
            "configure `users` for the launcher, and run it as root",
        ),
        measures(
            config,
            standing,
            Check::ControlGroups,
            "control groups with limits for work items",
            &GROUP_MEASURES,
            "give the launcher a delegated control group (`Delegate=yes` in its unit) with these \
             controllers, and configure `control_groups`",
        ),
    ]
}

fn measures(
    config: &Config,
    standing: &Standing,
    check: Check,
    what: &str,
    measures: &[Measure],
    remedy: &str,
) -> Finding {
    let finding = |verdict| Finding::new(check, what, verdict);
    let Standing::Known(_) = standing else {
        return finding(Verdict::skipped("the launcher does not answer"));
    };
    let missing = standing.missing(measures);
    if missing.is_empty() {
        return finding(Verdict::Ok);
    }
    let why = crate::launcher::in_words(&missing);
    let is_required = measures
        .iter()
        .any(|measure| config.isolation.require.contains(measure) && !standing.has(*measure));
    finding(if is_required {
        Verdict::failed(
            format!("`[isolation] require` wants what is not in force: {why}"),
            remedy,
        )
    } else if config.launcher_socket.is_some() {
        Verdict::warning(format!("not in force: {why}"), remedy)
    } else {
        Verdict::skipped(format!(
            "without `[launcher] socket` work items run as the agent's user: {why}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use helix_exec::launcher::{Isolation, Missing};

    use super::*;

    fn words(config: &Config, standing: &Standing) -> Vec<&'static str> {
        let findings = findings(config, standing);
        findings
            .iter()
            .map(|finding| finding.verdict.word())
            .collect()
    }

    fn standing(slots: Option<u32>, in_force: &[Measure]) -> Standing {
        let missing = Measure::ALL
            .iter()
            .filter(|measure| !in_force.contains(measure));
        Standing::Known(Arc::new(Isolation {
            slots,
            in_force: in_force.to_vec(),
            missing: missing
                .map(|measure| Missing {
                    measure: *measure,
                    why: "because".to_owned(),
                })
                .collect(),
        }))
    }

    #[test]
    fn what_is_wanted_and_missing_fails_what_could_be_warns() {
        let mut config = Config::default();
        let bare = standing(None, &[Measure::Session]);
        assert_eq!(words(&config, &bare), ["ok", "skipped", "skipped"]);
        config.launcher_socket = Some(PathBuf::from("/run/x"));
        assert_eq!(words(&config, &bare), ["ok", "warning", "warning"]);
        config.isolation.require = vec![Measure::Memory];
        assert_eq!(words(&config, &bare), ["ok", "warning", "failed"]);
        let full = standing(Some(1), &Measure::ALL);
        assert_eq!(words(&config, &full), ["ok", "ok", "ok"]);
        config.slots = 2;
        assert_eq!(words(&config, &full), ["warning", "ok", "ok"]);
        let away = Standing::Unknown {
            why: "refused".to_owned(),
        };
        assert_eq!(words(&config, &away), ["failed", "skipped", "skipped"]);
    }
}
