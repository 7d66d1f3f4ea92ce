//! What breaks in practice, looked at before it does: each check says what it saw, and where
//! something is wrong, why and what to do.
//!
//! [`examine`] does all of them once, for `helix-agent doctor`. [`watch`] does those that cost
//! next to nothing again and again in a running agent, for the log, the metric `helix_agent_check`
//! and `/checks`. A failure that would break work ([`Finding::bars_work`]) keeps the agent from taking
//! any until it is gone. What runs is not touched, and the service manager's watchdog is fed all the
//! same: a restart would not help. No check changes anything.

mod certificates;
mod controllers;
mod finding;
mod isolation;
mod machine;
mod places;

pub(crate) use finding::{Finding, json, report};

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use helix_exec::launcher::Measure;
use tokio::time::Instant;

use crate::config::Config;
use crate::core::Core;
use crate::launcher::{Launcher, Place, Standing};
use finding::{Check, Verdict};

/// Between two looks of a running agent.
const PERIOD: Duration = Duration::from_secs(60);
/// The same while a check fails that bars work, and how long it must have failed for that.
const TROUBLED_PERIOD: Duration = Duration::from_secs(5);
/// How long the launcher has to say what it is.
const FIRST_WORD_WITHIN: Duration = Duration::from_secs(5);

/// Does every check once, for the configuration in a file.
pub(crate) async fn examine(path: &Path) -> Vec<Finding> {
    let what = format!("`{}`", path.display());
    let (mut findings, config) = match Config::load(path) {
        Ok(config) => (
            vec![Finding::new(Check::Configuration, what, Verdict::Ok)],
            Some(config),
        ),
        Err(problems) => {
            let verdict = Verdict::failed(problems.to_string(), "correct it; the rest follows");
            (
                vec![Finding::new(Check::Configuration, what, verdict)],
                None,
            )
        }
    };
    if let Some(config) = &config {
        let standing = ask_launcher(config).await;
        let now = SystemTime::now();
        findings.push(places::user(config));
        findings.push(places::state_directory(config));
        findings.push(places::work_directory(config, standing.has(Measure::User)));
        findings.push(places::state_disk(config));
        findings.push(places::work_disk(config));
        findings.extend(isolation::findings(config, &standing));
        findings.push(certificates::listen(config, now));
        findings.push(certificates::controller(config, now));
        findings.extend(controllers::findings(config).await);
    }
    findings.push(machine::kernel());
    findings.push(machine::clock().await);
    findings.push(machine::journal());
    findings.push(machine::macos_session());
    findings
}

async fn ask_launcher(config: &Config) -> Standing {
    let place = match (&config.launcher_socket, std::env::current_exe()) {
        (Some(socket), _) => Place::Service(socket.clone()),
        (None, Ok(program)) => Place::Child(program),
        (None, Err(error)) => {
            return Standing::Unknown {
                why: error.to_string(),
            };
        }
    };
    let launcher = Launcher::start(place, Vec::new());
    launcher.first_word(FIRST_WORD_WITHIN).await;
    launcher.standing()
}

/// Does the cheap checks again and again, for ever.
pub(crate) async fn watch(core: &Arc<Core>) {
    let mut exchanges = core.exchanges();
    let mut launcher = core.launcher.subscribe();
    let mut known = BTreeMap::new();
    let mut suspicions = Suspicions::default();
    loop {
        let settings = Arc::clone(&exchanges.borrow_and_update());
        let standing = launcher.borrow_and_update().clone();
        // A disk may hang.
        let looked = tokio::task::spawn_blocking(move || cheap(&settings.config, &standing));
        if let Ok(findings) = looked.await {
            let barring = findings.iter().filter(|one| one.bars_work().is_some());
            let barring = barring.map(|one| one.check).collect();
            let are_confirmed = suspicions.observe(barring, Instant::now());
            if are_confirmed {
                core.bar_work(findings.iter().filter_map(Finding::bars_work).collect());
            }
            if are_confirmed || known.is_empty() {
                tell_changes(&findings, &mut known);
                core.note_findings(findings);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(suspicions.look_again_after()) => {}
            _ = exchanges.changed() => {}
            // Its task ends with the agent, and so does this.
            Ok(()) = launcher.changed() => {}
        }
    }
}

/// Since when checks have failed that bar work. They count only after a while: a launcher that is
/// restarted, or a certificate that is being exchanged, is no reason yet.
#[derive(Debug, Default)]
struct Suspicions {
    since: BTreeMap<Check, Instant>,
}

impl Suspicions {
    /// Takes in which checks bar work now. Says whether all of them have done so for long enough.
    fn observe(&mut self, barring: BTreeSet<Check>, now: Instant) -> bool {
        self.since.retain(|check, _| barring.contains(check));
        for check in barring {
            self.since.entry(check).or_insert(now);
        }
        let mut since = self.since.values();
        since.all(|since| now.duration_since(*since) >= TROUBLED_PERIOD)
    }

    fn look_again_after(&self) -> Duration {
        if self.since.is_empty() {
            PERIOD
        } else {
            TROUBLED_PERIOD
        }
    }
}

fn cheap(config: &Config, standing: &Standing) -> Vec<Finding> {
    let now = SystemTime::now();
    let mut findings = vec![
        places::state_directory(config),
        places::work_directory(config, standing.has(Measure::User)),
        places::state_disk(config),
        places::work_disk(config),
        certificates::listen(config, now),
        certificates::controller(config, now),
    ];
    findings.extend(isolation::findings(config, standing));
    findings
}

/// Sets the metrics, and logs each verdict that is another than before.
fn tell_changes(findings: &[Finding], known: &mut BTreeMap<Check, &'static str>) {
    for Finding {
        check,
        what,
        verdict,
    } in findings
    {
        let value = match verdict {
            Verdict::Ok => 0.0,
            Verdict::Warning(_) => 1.0,
            Verdict::Failed(_) => 2.0,
            Verdict::Skipped { .. } => -1.0,
        };
        metrics::gauge!("helix_agent_check", "name" => check.name()).set(value);
        let before = known.insert(*check, verdict.word());
        if before == Some(verdict.word()) {
            continue;
        }
        let check = check.name();
        match verdict {
            Verdict::Failed(trouble) => {
                tracing::error!(
                    check,
                    what,
                    why = trouble.why,
                    remedy = trouble.remedy,
                    "check failed"
                );
            }
            Verdict::Warning(trouble) => {
                tracing::warn!(
                    check,
                    what,
                    why = trouble.why,
                    remedy = trouble.remedy,
                    "check warns"
                );
            }
            Verdict::Ok | Verdict::Skipped { .. } if before.is_some() => {
                tracing::info!(check, what, "check is well again");
            }
            Verdict::Ok | Verdict::Skipped { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_bars_work_only_once_it_has_lasted() {
        let start = Instant::now();
        let mut suspicions = Suspicions::default();
        let mut observe = |seconds, checks: &[Check]| {
            let now = start + Duration::from_secs(seconds);
            suspicions.observe(checks.iter().copied().collect(), now)
        };
        assert!(observe(0, &[]));
        assert!(!observe(10, &[Check::Launcher]));
        assert!(!observe(14, &[Check::Launcher]));
        // It went, and is another one now.
        assert!(observe(14, &[]));
        assert!(!observe(16, &[Check::Launcher]));
        assert!(observe(21, &[Check::Launcher]));
        // One that is new counts for itself.
        assert!(!observe(22, &[Check::Launcher, Check::WorkDisk]));
        assert!(observe(27, &[Check::Launcher, Check::WorkDisk]));
        assert!(observe(28, &[]));
        assert_eq!(suspicions.look_again_after(), PERIOD);
    }
}
