//! What is done from time to time: looking at the pressure on the machine and at
//! its tools, and removing what is kept no longer.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use helix_machine::pressure::Reading;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::attempt::retention;
use crate::core::Core;
use crate::doctor;

/// Between two looks at what changes without anybody telling: the `offline` file
/// and the end of a quarantine.
const STANDING_PERIOD: Duration = Duration::from_secs(1);
const PRESSURE_PERIOD: Duration = Duration::from_secs(5);
const SWEEP_PERIOD: Duration = Duration::from_secs(300);
const LEFTOVERS_PERIOD: Duration = Duration::from_secs(60);

/// Starts it all, until `stop`.
pub(crate) fn start(core: &Arc<Core>, stop: &CancellationToken) {
    let (core, stop) = (Arc::clone(core), stop.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = watch_tools(&core) => {}
            () = watch_standing(&core) => {}
            () = watch_launcher(&core) => {}
            () = watch_pressure(&core) => {}
            () = sweep(&core) => {}
            () = remove_leftovers(&core) => {}
            () = doctor::watch(&core) => {}
        }
    });
}

async fn watch_tools(core: &Arc<Core>) {
    let mut exchanges = core.exchanges();
    loop {
        let settings = Arc::clone(&exchanges.borrow_and_update());
        let mut tools = settings.catalog.subscribe();
        let mut installations = settings.provisioners.subscribe();
        let probing = settings
            .catalog
            .refresh_every(settings.config.probe_interval);
        tokio::select! {
            () = probing => {}
            () = async {
                while tools.changed().await.is_ok() {
                    core.note_change();
                }
            } => {}
            () = async {
                while installations.changed().await.is_ok() {
                    core.note_change();
                }
            } => {}
            // The settings hold both; so only this ends the others.
            _ = exchanges.changed() => {}
        }
    }
}

async fn watch_standing(core: &Arc<Core>) {
    let mut ticks = ticks(STANDING_PERIOD);
    let mut before = core.reasons_not_ready();
    loop {
        ticks.tick().await;
        let now = core.reasons_not_ready();
        if now != before {
            before = now;
            core.note_change();
        }
    }
}

async fn watch_launcher(core: &Arc<Core>) {
    let mut standing = core.launcher.subscribe();
    loop {
        core.observe_isolation();
        if standing.changed().await.is_err() {
            // Its task ends with the agent.
            return std::future::pending().await;
        }
    }
}

async fn watch_pressure(core: &Arc<Core>) {
    let mut ticks = ticks(PRESSURE_PERIOD);
    loop {
        ticks.tick().await;
        let Some(policy) = core.settings().config.pressure else {
            // It may have been there before a reload.
            core.observe_pressure(None, SystemTime::now());
            continue;
        };
        match Reading::take() {
            Ok(reading) => core.observe_pressure(Some(reading.sample(&policy)), SystemTime::now()),
            Err(error) => {
                // It will not come back: the kernel says it or does not.
                tracing::info!(
                    error = crate::error_chain(&error),
                    "the system does not tell its pressure; slots are given by number alone"
                );
                return std::future::pending().await;
            }
        }
    }
}

async fn sweep(core: &Arc<Core>) {
    let mut ticks = ticks(SWEEP_PERIOD);
    loop {
        ticks.tick().await;
        retention::sweep(core, SystemTime::now()).await;
    }
}

async fn remove_leftovers(core: &Arc<Core>) {
    let mut ticks = ticks(LEFTOVERS_PERIOD);
    let mut standing = core.launcher.subscribe();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            // What has waited for the launcher waits no longer.
            Ok(()) = standing.changed() => {}
        }
        for leftover in core.jobs.forget_idle() {
            core.leftovers.remove_or_wait(leftover).await;
        }
        core.leftovers.try_again().await;
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
