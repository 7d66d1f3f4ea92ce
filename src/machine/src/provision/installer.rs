//! The background task of one provisioner: runs an installation, looks whether it helped, and goes
//! on with the next.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use helix_model::capability::{CapabilitySet, Wanted};
use helix_model::provisioning::InstallationEnd;
use helix_model::version::Version;

use super::board::Ask;
use super::log::Log;
use super::{Provisioner, Shared};
use crate::process::{self, End, Order, StartError};

/// How long an installer has between being asked to stop and being killed.
const GRACE: Duration = Duration::from_secs(10);

/// Installs what was asked for, and then what came next meanwhile, until nothing is left.
pub(super) async fn work(shared: &Shared, index: usize, first: Ask) {
    let Some(provisioner) = shared.provisioners.get(index) else {
        return;
    };
    let mut ask = Some(first);
    while let Some(current) = ask {
        let (end, capabilities) = install(shared, provisioner, &current).await;
        // What stops takes nothing up again.
        let is_met = |wanted: &Wanted| {
            shared.stop.is_cancelled() || is_met(wanted, provisioner, &capabilities)
        };
        let next = shared.change(index, |board| {
            board.end(end, is_met, &provisioner.policy, SystemTime::now())
        });
        ask = next.flatten();
    }
}

/// Runs one installation and looks whether it helped.
async fn install(
    shared: &Shared,
    provisioner: &Provisioner,
    ask: &Ask,
) -> (InstallationEnd, Arc<CapabilitySet>) {
    let version = ask.version.as_ref().map_or("", Version::as_str);
    tracing::info!(
        provisioner = %provisioner.name,
        capability = %provisioner.capability,
        version,
        "installation started",
    );
    let result = run(shared, provisioner, ask).await;
    let capabilities = shared
        .catalog
        .refresh_capability(&provisioner.capability)
        .await;
    let is_seen = is_met(&ask.wanted, provisioner, &capabilities);
    let end = match result {
        // Such as an installer that fails because there is nothing left to do.
        Err(error) if is_seen => {
            tracing::warn!(
                provisioner = %provisioner.name,
                version,
                error,
                "installer failed, but the probe sees what was wanted",
            );
            InstallationEnd::Seen
        }
        Err(error) => InstallationEnd::Failed { error },
        Ok(Finished::Well | Finished::TimedOut) if is_seen => InstallationEnd::Seen,
        Ok(Finished::Well) => InstallationEnd::NotSeen,
        Ok(Finished::TimedOut) => InstallationEnd::TimedOut,
    };
    match &end {
        InstallationEnd::Seen => {
            tracing::info!(provisioner = %provisioner.name, version, "installation succeeded");
        }
        InstallationEnd::NotSeen | InstallationEnd::Failed { .. } | InstallationEnd::TimedOut => {
            tracing::warn!(
                provisioner = %provisioner.name,
                version,
                reason = ?end,
                "installation failed",
            );
        }
    }
    (end, capabilities)
}

fn is_met(wanted: &Wanted, provisioner: &Provisioner, capabilities: &CapabilitySet) -> bool {
    capabilities
        .get(&provisioner.capability)
        .is_some_and(|value| wanted.is_met_by(value))
}

/// How an installer ended that did not fail.
enum Finished {
    Well,
    TimedOut,
}

/// Runs the installer. The error is one sentence.
async fn run(shared: &Shared, provisioner: &Provisioner, ask: &Ask) -> Result<Finished, String> {
    let command = match &ask.version {
        Some(version) => provisioner
            .command
            .with_version(version)
            .map_err(|error| error.to_string())?,
        None => provisioner.command.without_version().clone(),
    };
    let version = ask.version.as_ref().map_or("any", Version::as_str);
    let mut log = Log::create(
        &provisioner.log_directory.join(provisioner.name.as_str()),
        version,
        &format!("$ {command}"),
        SystemTime::now(),
    )
    .await;
    let order = Order {
        command: &command,
        environment: &provisioner.environment,
        time_limit: provisioner.policy.time_limit,
        grace: GRACE,
        stop: Some(&shared.stop),
    };
    let result = match process::run(order, &mut log).await {
        Ok(End::Exited(status)) => match process::failure(status) {
            None => Ok(Finished::Well),
            Some(how) => Err(match log.last_words() {
                Some(said) => format!("{how}: {said}"),
                None => how,
            }),
        },
        Ok(End::TimedOut) => Ok(Finished::TimedOut),
        Ok(End::Stopped) => Err("stopped because the agent ends".to_owned()),
        Ok(End::Stuck) => Err("took too long and could not be killed".to_owned()),
        Err(StartError::NotFound) => Err(format!("there is no program `{}`", command.program())),
        Err(StartError::Failed(error)) => {
            Err(format!("`{}` could not be run: {error}", command.program()))
        }
    };
    let ending = match &result {
        Ok(Finished::Well) => "[the installer ended well]".to_owned(),
        Ok(Finished::TimedOut) => "[the installer took too long and was stopped]".to_owned(),
        Err(error) => format!("[the installer failed: {error}]"),
    };
    if let Some(path) = log.path() {
        tracing::debug!(provisioner = %provisioner.name, path = %path.display(), "installer ended");
    }
    log.finish(&ending).await;
    result
}
