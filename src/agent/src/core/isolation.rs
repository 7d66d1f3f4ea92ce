//! How far work items are held back, as far as that is the agent's affair: what
//! its configuration requires, how many slots that leaves, and word of changes.

use helix_exec::launcher::Measure;
use helix_model::admission::{IsolationSnapshot, MissingMeasure};
use helix_model::resources::Resources;

use super::Core;
use crate::launcher::{Standing, in_words};

impl Core {
    /// Takes in what the launcher says of itself: slots, metrics, and a line in the
    /// log for each change.
    pub(crate) fn observe_isolation(&self) {
        let standing = self.launcher.standing();
        let mut state = self.lock();
        // Where the launcher is gone, what is known of it may be true again soon.
        if let Standing::Known(_) = &standing {
            let slots = standing
                .slots()
                .unwrap_or(u32::MAX)
                .min(self.settings().config.slots);
            let total = state.ledger.total();
            state.ledger.set_total(Resources { slots, ..total });
        }
        let before = state.isolation.replace(standing.clone());
        drop(state);
        if before.as_ref() == Some(&standing) {
            return;
        }
        for measure in Measure::ALL {
            let is_in_force = standing.has(measure);
            metrics::gauge!("helix_agent_isolation", "measure" => measure.name())
                .set(f64::from(u8::from(is_in_force)));
            let was_in_force = before.as_ref().map(|before| before.has(measure));
            let was_known = matches!(before, Some(Standing::Known(_)));
            match (&standing, standing.lacks(measure)) {
                (Standing::Known(_), None) if was_in_force != Some(true) => {
                    tracing::info!(measure = measure.name(), "isolation is in force: {measure}");
                }
                (Standing::Known(_), Some(why)) if was_in_force == Some(true) || !was_known => {
                    tracing::warn!(
                        measure = measure.name(),
                        why,
                        "isolation is not in force: {measure}"
                    );
                }
                // Told as one below; or known before.
                (Standing::Unknown { .. } | Standing::Known(_), _) => {}
            }
        }
        if let Standing::Unknown { why } = &standing {
            tracing::warn!(
                why,
                "launcher cannot be reached; nothing is started until it can"
            );
        }
        self.note_change();
    }

    /// What of the required isolation is not in force.
    pub(crate) fn missing_isolation(&self) -> Vec<MissingMeasure> {
        self.launcher
            .standing()
            .missing(&self.settings().config.isolation.require)
    }

    pub(super) fn isolation_snapshot(&self) -> IsolationSnapshot {
        let standing = self.launcher.standing();
        IsolationSnapshot {
            missing: standing.missing(&self.settings().config.isolation.require),
            network: standing.missing(&[Measure::NoNetwork]).pop(),
        }
    }

    /// Why less can run at a time than is configured, as a sentence.
    pub(super) fn fewer_slots(&self) -> Option<String> {
        let configured = self.settings().config.slots;
        let users = self.launcher.standing().slots()?;
        (users < configured).then(|| {
            format!(
                "{} of {configured} slots cannot be used, as the launcher has users for {users}",
                configured - users
            )
        })
    }

    /// Why no work is taken for want of isolation, as a sentence.
    pub(super) fn not_isolated(&self) -> Option<String> {
        let missing = self.missing_isolation();
        (!missing.is_empty()).then(|| {
            format!(
                "isolation that `[isolation] require` names is not in force: {}",
                in_words(&missing)
            )
        })
    }
}
