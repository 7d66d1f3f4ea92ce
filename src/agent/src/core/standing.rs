//! Whether the machine takes work at all: drained by an operator, taken out of
//! service by a file or by a check that failed, in quarantine, or under pressure.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use helix_model::admission::Availability;
use helix_model::health::Health;
use helix_model::pressure::{PressureGauge, PressureSample};

use super::{Core, State};

const DRAINING: &str = "draining";
const OFFLINE: &str = "offline";
/// More of a reason than this helps nobody.
const MAX_REASON_BYTES: usize = 1024;

/// How hard pressed the machine is.
#[derive(Debug, Default)]
pub(crate) struct PressureReading {
    pub(crate) gauge: PressureGauge,
    /// Absent where the system does not say.
    pub(crate) sample: Option<PressureSample>,
}

impl Core {
    /// Takes nothing new from now on. Says how many attempts run.
    pub(crate) fn drain(&self, reason: &str) -> io::Result<usize> {
        let mut state = self.lock();
        if state.draining.is_none() {
            let now = SystemTime::now();
            let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            fs::write(
                self.settings().config.state_directory.join(DRAINING),
                seconds.to_string(),
            )?;
            state.draining = Some(now);
            tracing::info!(reason, "drain begins");
        }
        let running = state.registry.live_count();
        drop(state);
        self.note_change();
        Ok(running)
    }

    /// Takes nothing new for the rest of this life: the agent shuts down.
    pub(crate) fn drain_for_shutdown(&self) {
        self.lock().ending.get_or_insert_with(SystemTime::now);
        self.note_change();
    }

    /// Takes nothing new until the machine has rebooted. Says whether a reboot
    /// was not on its way before.
    pub(crate) fn begin_reboot(&self) -> bool {
        let mut state = self.lock();
        let is_new = state.ending.is_none();
        state.ending.get_or_insert_with(SystemTime::now);
        drop(state);
        self.note_change();
        is_new
    }

    /// Takes work again after a reboot that did not happen.
    pub(crate) fn end_reboot(&self) {
        self.lock().ending = None;
        self.note_change();
    }

    /// Takes work again.
    pub(crate) fn resume(&self) -> io::Result<()> {
        match fs::remove_file(self.settings().config.state_directory.join(DRAINING)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        if self.lock().draining.take().is_some() {
            tracing::info!("drain ends");
        }
        self.note_change();
        Ok(())
    }

    /// Why the agent takes no work, one sentence each; empty when it does.
    pub(crate) fn reasons_not_ready(&self) -> Vec<String> {
        let state = self.lock();
        self.reasons(&state, SystemTime::now())
    }

    pub(super) fn reasons(&self, state: &State, now: SystemTime) -> Vec<String> {
        let mut reasons = Vec::new();
        match self.ordered(state) {
            Availability::Accepting => {}
            Availability::Draining { .. } if state.ending.is_some() => {
                reasons.push("the agent is about to end".to_owned());
            }
            Availability::Draining { .. } => {
                reasons.push("the agent drains; `helix resume` ends that".to_owned());
            }
            Availability::Offline { reason } => reasons.push(format!(
                "the machine is offline ({}); remove `{}` to bring it back",
                if reason.is_empty() {
                    "no reason given"
                } else {
                    &reason
                },
                self.settings().config.config_root.join(OFFLINE).display()
            )),
        }
        reasons.extend(state.bars.iter().cloned());
        reasons.extend(self.not_isolated());
        if let Health::Quarantined { failures, .. } = state.health.at(now) {
            reasons.push(format!(
                "the machine is in quarantine after {failures} infrastructure failures in a row"
            ));
        }
        reasons
    }

    pub(super) fn availability(&self, state: &State) -> Availability {
        match self.ordered(state) {
            Availability::Accepting if !state.bars.is_empty() => Availability::Offline {
                reason: state.bars.join("; "),
            },
            ordered => ordered,
        }
    }

    /// What people have made of it, and its own end.
    fn ordered(&self, state: &State) -> Availability {
        let since = state.draining.or(state.ending);
        match (offline_reason(&self.settings().config.config_root), since) {
            (Some(reason), _) => Availability::Offline { reason },
            (None, Some(since)) => Availability::Draining { since },
            (None, None) => Availability::Accepting,
        }
    }

    /// Takes nothing new as long as there are reasons of the checks' not to; none ends that.
    pub(crate) fn bar_work(&self, bars: Vec<String>) {
        let mut state = self.lock();
        let has_changed = state.bars != bars;
        state.bars = bars;
        drop(state);
        if has_changed {
            self.note_change();
        }
    }

    /// Whether the agent is one to send work to, if there is room: not about to end, and no check
    /// failed that work would break with.
    pub(crate) fn is_serving(&self) -> bool {
        let state = self.lock();
        state.ending.is_none() && state.bars.is_empty()
    }

    /// Takes in how hard pressed the machine is.
    pub(crate) fn observe_pressure(&self, sample: Option<PressureSample>, now: SystemTime) {
        let policy = self.settings().config.pressure;
        let mut state = self.lock();
        let before = state.pressure.gauge.level();
        match (&policy, &sample) {
            (Some(policy), Some(sample)) => {
                state.pressure.gauge.observe(sample, policy, now);
            }
            (Some(_), None) => {}
            // Nothing is withheld any more.
            (None, _) => state.pressure.gauge = PressureGauge::default(),
        }
        state.pressure.sample = sample.filter(|_| policy.is_some());
        let after = state.pressure.gauge.level();
        drop(state);
        if before != after {
            tracing::info!(before = ?before, after = ?after, "pressure on the machine changed");
            self.note_change();
        }
    }
}

/// The text of the `offline` file; empty if it has none or cannot be read.
fn offline_reason(config_root: &Path) -> Option<String> {
    let path = config_root.join(OFFLINE);
    // The usual answer, at the price of one system call.
    fs::symlink_metadata(&path).ok()?;
    let mut bytes = fs::read(&path).unwrap_or_default();
    bytes.truncate(MAX_REASON_BYTES);
    Some(
        String::from_utf8_lossy(&bytes)
            .trim()
            .replace(char::is_control, " "),
    )
}

/// Since when an operator has had the agent drained.
pub(super) fn load_draining(state_directory: &Path) -> io::Result<Option<SystemTime>> {
    match fs::read_to_string(state_directory.join(DRAINING)) {
        Ok(text) => {
            let seconds = text
                .trim()
                .parse()
                .map_or(Duration::ZERO, Duration::from_secs);
            Ok(Some(UNIX_EPOCH + seconds))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
