//! The agents that this controller knows, and the line to each.

mod line;
pub(crate) mod service;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use helix_store::{AgentName, AgentOrigin};
use tokio::time::Instant;

pub(crate) use line::{Way, follow_address, follow_named, watch_over};

use crate::link::AgentLink;
use crate::signal::{Listener, Signal};

/// An agent, for those who call it.
#[derive(Debug)]
pub(crate) struct AgentHandle {
    /// What it is called.
    pub(crate) name: AgentName,
    known: Mutex<Known>,
    connection: Signal<Connection>,
}

/// How an agent is known, and when it was heard of.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// How it is known.
    pub(crate) origin: AgentOrigin,
    /// Where it is called; empty where it keeps a line open itself.
    pub(crate) address: String,
    /// When it was last heard of, by the clock on the wall.
    pub(crate) seen: SystemTime,
    /// The same by a clock that nobody sets.
    pub(crate) heard: Instant,
}

/// The line to an agent.
#[derive(Debug, Clone)]
pub(crate) enum Connection {
    /// It is there.
    Up {
        /// The line.
        link: Arc<dyn AgentLink>,
        /// Which one since the controller started, counted from 1.
        number: u64,
    },
    /// There is none just now.
    Down,
    /// There has been none for so long that what ran there is given up.
    Lost,
}

impl AgentHandle {
    /// An agent that there is no line to yet.
    pub(crate) fn new(
        name: AgentName,
        origin: AgentOrigin,
        address: &str,
        seen: SystemTime,
    ) -> Self {
        Self {
            name,
            known: Mutex::new(Known {
                origin,
                address: address.to_owned(),
                seen,
                // Whoever has just started has not listened long enough to give anybody up.
                heard: Instant::now(),
            }),
            connection: Signal::new(Connection::Down),
        }
    }

    /// How it is known.
    pub(crate) fn known(&self) -> Known {
        self.lock().clone()
    }

    /// Notes that it was heard of.
    pub(crate) fn heard(&self, seen: SystemTime) {
        let mut known = self.lock();
        known.seen = seen;
        known.heard = Instant::now();
    }

    /// Notes how it is known from now on.
    pub(crate) fn reached_by(&self, origin: AgentOrigin, address: &str) {
        let mut known = self.lock();
        known.origin = origin;
        address.clone_into(&mut known.address);
    }

    /// The line, and a sign whenever it changes.
    pub(crate) fn connection(&self) -> Listener<Connection> {
        self.connection.listen()
    }

    /// The line, if it is there.
    pub(crate) fn link(&self) -> Option<Arc<dyn AgentLink>> {
        match self.connection.get() {
            Connection::Up { link, .. } => Some(link),
            Connection::Down | Connection::Lost => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
