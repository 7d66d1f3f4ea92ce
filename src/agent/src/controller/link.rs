//! How it goes with one controller: a line in the log for each change, and a metric.

use std::time::Duration;

use helix_proto::controller::v1::ControllerInfo;
use tokio::time::Instant;

use super::CallError;

const CONNECTED: &str = "helix_agent_controller_connected";
/// More of a name than this helps nobody.
const MAX_NAME_CHARACTERS: usize = 100;

/// What is known of one controller.
#[derive(Debug)]
pub(super) struct Link {
    address: String,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It was not called yet.
    Fresh,
    /// It knows of the agent.
    Up { since: Instant },
    /// It does not, as the last call ended with these words.
    Down { why: String },
}

impl Link {
    pub(super) fn new(address: String) -> Self {
        metrics::gauge!(CONNECTED, "controller" => address.clone()).set(0.0);
        Self {
            address,
            state: State::Fresh,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// The controller has said who it is.
    pub(super) fn up(&mut self, controller: &ControllerInfo) {
        let (name, version) = (plain(&controller.name), plain(&controller.version));
        tracing::info!(
            controller.name = name,
            controller.version = version,
            "controller knows of this agent"
        );
        self.state = State::Up {
            since: Instant::now(),
        };
        self.gauge(1.0);
    }

    /// The call ended, and is made again after `pause`.
    pub(super) fn down(&mut self, error: &CallError, pause: Duration) {
        let why = crate::error_chain(error);
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        match &self.state {
            State::Up { since } => {
                let stood_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(error = why, stood_ms, pause_ms, "controller is gone");
            }
            State::Down { why: before } if *before == why => {
                tracing::debug!(error = why, pause_ms, "controller still cannot be reached");
            }
            State::Fresh | State::Down { .. } => {
                tracing::warn!(error = why, pause_ms, "controller cannot be reached");
            }
        }
        self.state = State::Down { why };
        self.gauge(0.0);
    }

    fn gauge(&self, value: f64) {
        metrics::gauge!(CONNECTED, "controller" => self.address.clone()).set(value);
    }
}

impl Drop for Link {
    /// What is called no longer is not connected.
    fn drop(&mut self) {
        self.gauge(0.0);
    }
}

/// What a controller says of itself, on one line.
fn plain(text: &str) -> String {
    text.chars()
        .take(MAX_NAME_CHARACTERS)
        .map(|character| match character {
            character if character.is_control() => ' ',
            character => character,
        })
        .collect()
}
