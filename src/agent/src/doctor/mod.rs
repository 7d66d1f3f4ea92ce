//! What breaks in practice, looked at before it does: each check says what it saw, and where
//! something is wrong, why and what to do.
//!
//! [`examine`] does all of them once, for `helix-agent doctor`. [`watch`] does those that cost
//! nothing again and again in a running agent, for the log, the metric `helix_agent_check` and
//! `/checks`. No check changes anything; none decides whether work is taken.

mod certificates;
mod controllers;
mod finding;
mod isolation;
mod machine;
mod places;

pub(crate) use finding::{Finding, json, report};

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use helix_exec::launcher::Measure;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::Config;
use crate::core::Core;
use crate::launcher::{Launcher, Place, Standing};
use finding::{Check, Verdict};

/// Between two looks of a running agent.
const PERIOD: Duration = Duration::from_secs(60);
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
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut exchanges = core.exchanges();
    let mut known = BTreeMap::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = exchanges.changed() => {}
        }
        let settings = Arc::clone(&exchanges.borrow_and_update());
        let standing = core.launcher.standing();
        // A disk may hang.
        let looked = tokio::task::spawn_blocking(move || cheap(&settings.config, &standing));
        if let Ok(findings) = looked.await {
            tell_changes(&findings, &mut known);
            core.note_findings(findings);
        }
    }
}

fn cheap(config: &Config, standing: &Standing) -> Vec<Finding> {
    let now = SystemTime::now();
    let mut findings = vec![
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
