//! How hard pressed a machine is, and how many items that leaves room for.
//!
//! Slots are a promise made when the machine was configured; pressure stall information says how it
//! really is. Levels are entered and left at different readings and only after they have lasted, so
//! that capacity does not flutter.

mod stall;

pub use stall::{StallLines, StallShare, StallShareError};

use std::time::{Duration, SystemTime};

/// One look at the machine: shares of the last ten seconds in which tasks waited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PressureSample {
    /// Some task waited for a CPU.
    pub cpu_some: StallShare,
    /// Some task waited for memory.
    pub memory_some: StallShare,
    /// All tasks waited for memory.
    pub memory_full: StallShare,
    /// All tasks waited for disks.
    pub io_full: StallShare,
}

impl PressureSample {
    /// Whether any reading reaches that of `thresholds`.
    fn reaches(&self, thresholds: &Self) -> bool {
        self.cpu_some >= thresholds.cpu_some
            || self.memory_some >= thresholds.memory_some
            || self.memory_full >= thresholds.memory_full
            || self.io_full >= thresholds.io_full
    }
}

/// How hard pressed the machine is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PressureLevel {
    /// All slots may be used.
    #[default]
    Calm,
    /// Three quarters of the slots may be used, rounded up.
    Elevated,
    /// Half of the slots may be used, rounded up.
    High,
    /// Nothing new is taken.
    Critical,
}

impl PressureLevel {
    /// How many slots count as there: `configured` less what the level takes away, but never less
    /// than are in use, and at least one below [`PressureLevel::Critical`].
    #[must_use]
    pub fn effective_slots(self, configured: u32, in_use: u32) -> u32 {
        let left = match self {
            Self::Calm => configured,
            Self::Elevated => configured - configured / 4,
            Self::High => configured.div_ceil(2),
            Self::Critical => 0,
        };
        left.max(in_use)
    }
}

/// When one level is entered and left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelThresholds {
    /// Any reading at or above its counterpart here calls for the level.
    pub enter: PressureSample,
    /// Any reading at or above its counterpart here keeps the level. Not above `enter`.
    pub leave: PressureSample,
}

/// When levels are entered and left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PressurePolicy {
    /// For [`PressureLevel::Elevated`].
    pub elevated: LevelThresholds,
    /// For [`PressureLevel::High`].
    pub high: LevelThresholds,
    /// For [`PressureLevel::Critical`].
    pub critical: LevelThresholds,
    /// How long a higher level must be called for before it is entered.
    pub rise_after: Duration,
    /// How long a lower level must suffice before it is entered.
    pub fall_after: Duration,
}

/// The level in force, and the change that is on its way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PressureGauge {
    level: PressureLevel,
    change: Change,
}

/// A change that has to last before it happens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Change {
    #[default]
    None,
    /// `to` is the lowest level that was called for since.
    Rising {
        to: PressureLevel,
        since: SystemTime,
    },
    /// `to` is the highest level that was needed since.
    Falling {
        to: PressureLevel,
        since: SystemTime,
    },
}

impl PressureGauge {
    /// The level in force.
    #[must_use]
    pub fn level(&self) -> PressureLevel {
        self.level
    }

    /// Takes in a sample and says the level that is in force from now on.
    pub fn observe(
        &mut self,
        sample: &PressureSample,
        policy: &PressurePolicy,
        now: SystemTime,
    ) -> PressureLevel {
        let called_for = policy.highest(|thresholds| sample.reaches(&thresholds.enter));
        let needed = policy.highest(|thresholds| sample.reaches(&thresholds.leave));
        self.change = if called_for > self.level {
            match self.change {
                // A clock that was set back starts the wait anew.
                Change::Rising { to, since } if since <= now => Change::Rising {
                    to: to.min(called_for),
                    since,
                },
                Change::None | Change::Rising { .. } | Change::Falling { .. } => Change::Rising {
                    to: called_for,
                    since: now,
                },
            }
        } else if needed < self.level {
            match self.change {
                Change::Falling { to, since } if since <= now => Change::Falling {
                    to: to.max(needed),
                    since,
                },
                Change::None | Change::Rising { .. } | Change::Falling { .. } => Change::Falling {
                    to: needed,
                    since: now,
                },
            }
        } else {
            Change::None
        };
        let (to, since, wait) = match self.change {
            Change::None => return self.level,
            Change::Rising { to, since } => (to, since, policy.rise_after),
            Change::Falling { to, since } => (to, since, policy.fall_after),
        };
        if now.duration_since(since).unwrap_or_default() >= wait {
            self.level = to;
            self.change = Change::None;
        }
        self.level
    }
}

impl PressurePolicy {
    /// The highest level whose thresholds pass the test.
    fn highest(&self, test: impl Fn(&LevelThresholds) -> bool) -> PressureLevel {
        if test(&self.critical) {
            PressureLevel::Critical
        } else if test(&self.high) {
            PressureLevel::High
        } else if test(&self.elevated) {
            PressureLevel::Elevated
        } else {
            PressureLevel::Calm
        }
    }
}

impl Default for PressurePolicy {
    fn default() -> Self {
        let sample = |cpu_some, memory_some, memory_full, io_full| PressureSample {
            cpu_some,
            memory_some: StallShare::percent(memory_some),
            memory_full: StallShare::percent(memory_full),
            io_full: StallShare::percent(io_full),
        };
        // Waiting for a CPU is what a busy test machine does: it slows items down and breaks none,
        // so alone it never takes more than a quarter of the slots. Waiting for memory is the road
        // to the out-of-memory killer.
        Self {
            elevated: LevelThresholds {
                enter: sample(StallShare::percent(95), 10, 3, 40),
                leave: sample(StallShare::percent(80), 5, 1, 25),
            },
            high: LevelThresholds {
                enter: sample(StallShare::NEVER, 25, 10, 65),
                leave: sample(StallShare::NEVER, 12, 5, 45),
            },
            critical: LevelThresholds {
                enter: sample(StallShare::NEVER, 50, 25, 90),
                leave: sample(StallShare::NEVER, 30, 12, 70),
            },
            rise_after: Duration::from_secs(5),
            fall_after: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests;
