//! Waits that grow, and clocks that end.

use std::time::{Duration, SystemTime};

/// A wait that doubles with each failure in a row from the second on, up to a cap.
pub(crate) fn doubled(first: Duration, cap: Duration, failures: u32) -> Duration {
    let factor = 1_u32
        .checked_shl(failures.saturating_sub(1))
        .unwrap_or(u32::MAX);
    first.checked_mul(factor).map_or(cap, |wait| wait.min(cap))
}

/// The time after a wait; after a shorter one where the clock cannot count that far.
pub(crate) fn later(now: SystemTime, wait: Duration) -> SystemTime {
    let mut wait = wait;
    loop {
        if let Some(time) = now.checked_add(wait) {
            return time;
        }
        wait /= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_doubles_up_to_its_cap() {
        let (first, cap) = (Duration::from_secs(5), Duration::from_secs(60));
        let waits: Vec<u64> = (0..7).map(|n| doubled(first, cap, n).as_secs()).collect();
        assert_eq!(waits, [5, 5, 10, 20, 40, 60, 60]);
        assert_eq!(doubled(first, cap, u32::MAX), cap);
        assert_eq!(doubled(Duration::MAX, cap, 2), cap);
    }

    #[test]
    fn clock_that_cannot_count_that_far_still_gives_a_later_time() {
        let now = SystemTime::UNIX_EPOCH;
        assert_eq!(
            later(now, Duration::from_secs(3)),
            now + Duration::from_secs(3)
        );
        assert!(later(now, Duration::MAX) > now + Duration::from_secs(1 << 40));
    }
}
