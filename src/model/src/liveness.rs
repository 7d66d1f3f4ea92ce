//! Whether an agent is there: alive, silent or lost.
//!
//! A machine that comes back with another boot is no case of its own: the agent is asked for each
//! attempt, since the end of one may be on its disk, and what it does not know of is lost.

use std::time::Duration;

/// How long an agent may say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LivenessPolicy {
    /// Before nothing new is offered to it.
    pub silence: Duration,
    /// Before what runs there is taken for lost. Not less than `silence`.
    pub patience: Duration,
}

/// Whether an agent is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Liveness {
    /// It was heard of lately.
    Alive,
    /// It was not: nothing new is offered, what runs there is kept.
    Silent,
    /// It was not for too long: what ran there is given to others.
    Lost,
}

impl LivenessPolicy {
    /// Whether an agent is there that was last heard of so long ago, by a clock that nobody sets.
    #[must_use]
    pub fn judge(&self, silent_for: Duration) -> Liveness {
        if silent_for >= self.patience.max(self.silence) {
            Liveness::Lost
        } else if silent_for >= self.silence {
            Liveness::Silent
        } else {
            Liveness::Alive
        }
    }

    /// How long until the judgement may be another; none once it is lost.
    #[must_use]
    pub fn next_judgement_in(&self, silent_for: Duration) -> Option<Duration> {
        let at = match self.judge(silent_for) {
            Liveness::Alive => self.silence,
            Liveness::Silent => self.patience,
            Liveness::Lost => return None,
        };
        Some(at.saturating_sub(silent_for))
    }
}

#[cfg(test)]
mod tests;
