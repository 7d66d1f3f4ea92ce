//! Time and chance of a simulated world, all of it from one seed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use helix_model::ids::AttemptId;
use tokio::time::Instant;

use crate::world::World;

/// Numbers that look like chance, the same for the same seed. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Chance(Arc<AtomicU64>);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seed)))
    }

    /// The next number.
    pub(super) fn next(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let state = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to below `end`, which must not be 0.
    pub(super) fn below(&self, end: u64) -> u64 {
        self.next() % end
    }

    /// True so many times of a thousand.
    pub(super) fn per_mille(&self, times: u64) -> bool {
        self.below(1000) < times
    }

    /// Some milliseconds, up to so many.
    pub(super) fn millis(&self, most: u64) -> Duration {
        Duration::from_millis(self.below(most + 1))
    }
}

/// Time and chance of one controller.
#[derive(Debug)]
pub(super) struct SimulatedWorld {
    pub(super) chance: Chance,
    /// Names must not be given twice, by whichever controller in whichever life.
    pub(super) names: Arc<AtomicU64>,
    pub(super) clock: Arc<Clock>,
}

/// A clock on the wall, which may be set.
#[derive(Debug)]
pub(super) struct Clock {
    began: Instant,
    /// Seconds that it is ahead.
    ahead: Mutex<i64>,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            ahead: Mutex::default(),
        }
    }

    pub(super) fn set_by(&self, seconds: i64) {
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) += seconds;
    }

    pub(super) fn now(&self) -> SystemTime {
        const START: Duration = Duration::from_secs(1_800_000_000);
        let time = SystemTime::UNIX_EPOCH + START + self.began.elapsed();
        let ahead = *self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let by = Duration::from_secs(ahead.unsigned_abs());
        if ahead < 0 { time - by } else { time + by }
    }
}

impl World for SimulatedWorld {
    fn now(&self) -> SystemTime {
        self.clock.now()
    }

    fn new_attempt(&self) -> AttemptId {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        AttemptId::new(format!("attempt-{number:08}")).expect("a good id")
    }

    fn chance(&self) -> f64 {
        f64::from(u32::try_from(self.chance.next() >> 32).expect("32 bits")) / 4_294_967_296.0
    }
}
