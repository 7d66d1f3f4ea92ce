//! What the controller takes from outside and cannot be repeated: time, names, chance.

use std::fmt;
use std::time::{Duration, SystemTime};

use helix_model::ids::AttemptId;
use uuid::Uuid;

/// Where time, names and chance come from. Waiting is tokio's.
pub(crate) trait World: fmt::Debug + Send + Sync + 'static {
    /// What time it is, by a clock that may be set.
    fn now(&self) -> SystemTime;

    /// An attempt id that was never given.
    fn new_attempt(&self) -> AttemptId;

    /// A number from 0 to below 1.
    fn chance(&self) -> f64;
}

/// This machine's clock and randomness.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ThisWorld;

impl World for ThisWorld {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn new_attempt(&self) -> AttemptId {
        loop {
            // Hexadecimal digits and hyphens are always an id.
            if let Ok(id) = AttemptId::new(Uuid::now_v7().to_string()) {
                return id;
            }
        }
    }

    fn chance(&self) -> f64 {
        let bytes = Uuid::new_v4().into_bytes();
        let number = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        f64::from(number) / (f64::from(u32::MAX) + 1.0)
    }
}

/// A wait that doubles with each failure in a row, up to a most, of which chance takes up to half.
pub(crate) fn backoff(
    world: &dyn World,
    first: Duration,
    most: Duration,
    failures: u32,
) -> Duration {
    let doubled = first.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX));
    doubled.min(most).mul_f64(0.5 + world.chance() / 2.0)
}
