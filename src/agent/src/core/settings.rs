//! What a reload of the configuration exchanges, as one piece: whoever holds it sees all of the
//! old or all of the new, and an attempt holds what it began with to its end.

use std::sync::Arc;

use helix_artifacts::Destination;
use helix_machine::catalog::Catalog;
use helix_machine::provision::Provisioners;
use helix_model::ids::QueueName;
use helix_model::resources::Resources;
use tokio::sync::watch;

use super::{Core, admission};
use crate::config::Config;

/// The configuration and what is made of it.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    pub(crate) catalog: Catalog,
    pub(crate) provisioners: Provisioners,
    pub(crate) artifacts: Destination,
    /// The queue of a work item that names none.
    pub(crate) default_queue: QueueName,
}

impl Core {
    /// What is in force now.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.borrow())
    }

    /// Word of every exchange.
    pub(crate) fn exchanges(&self) -> watch::Receiver<Arc<Settings>> {
        self.settings.subscribe()
    }

    /// Puts other settings in force for all that begins from now on.
    pub(crate) fn exchange(&self, settings: Settings) {
        let mut state = self.lock();
        let total = admission::total(&settings.config, &self.facts);
        let users = self.launcher.standing().slots().unwrap_or(u32::MAX);
        state.ledger.set_total(Resources {
            slots: total.slots.min(users),
            ..total
        });
        if state.registry.live_count() == 0 {
            state.idle_disk_bytes = admission::free_disk(&settings.config);
        }
        self.launcher
            .require(settings.config.isolation.require.clone());
        self.settings.send_replace(Arc::new(settings));
        drop(state);
        self.note_change();
    }
}
