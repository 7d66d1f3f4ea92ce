//! How many requests are too many: a bucket for each caller, which fills up again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Buckets beyond this many are tidied up; a full one is as good as none.
const MANY: usize = 10_000;

/// How much is too much.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// Requests a second in the long run; above zero.
    pub(super) per_second: f64,
    /// Requests at once.
    pub(super) burst: f64,
}

/// The buckets of all callers of one kind.
#[derive(Debug)]
pub(super) struct Buckets<K> {
    rate: Rate,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl<K: Eq + Hash> Buckets<K> {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            buckets: Mutex::default(),
        }
    }

    /// Takes one out of a bucket; where it is empty, how long until there is one.
    pub(super) fn take(&self, key: K, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MANY {
            let rate = self.rate;
            buckets.retain(|_, bucket| bucket.fill(rate, now) < rate.burst);
            if buckets.len() >= 4 * MANY {
                // So many different callers at once are an attack: starting over costs nothing but
                // one burst for each.
                buckets.clear();
            }
        }
        let bucket = buckets.entry(key).or_insert(Bucket {
            left: self.rate.burst,
            at: now,
        });
        bucket.left = bucket.fill(self.rate, now);
        bucket.at = now;
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64(
                (1.0 - bucket.left) / self.rate.per_second,
            ));
        }
        bucket.left -= 1.0;
        Ok(())
    }

    /// Whether a bucket is empty, without taking anything; how long until it is not.
    pub(super) fn look(&self, key: &K, now: Instant) -> Result<(), Duration> {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        match buckets.get(key).map(|bucket| bucket.fill(self.rate, now)) {
            Some(left) if left < 1.0 => {
                Err(Duration::from_secs_f64((1.0 - left) / self.rate.per_second))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Bucket {
    fn fill(&self, rate: Rate, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.left + passed * rate.per_second).min(rate.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: 2.0,
        burst: 3.0,
    };

    #[test]
    fn a_burst_is_free_and_then_the_rate_counts() {
        let buckets = Buckets::new(RATE);
        let begin = Instant::now();
        for _ in 0..3 {
            assert_eq!(buckets.take("a", begin), Ok(()));
        }
        assert_eq!(buckets.take("a", begin), Err(Duration::from_millis(500)));
        assert!(buckets.look(&"a", begin).is_err());
        assert_eq!(buckets.take("b", begin), Ok(()));
        let later = begin + Duration::from_millis(500);
        assert_eq!(buckets.take("a", later), Ok(()));
        assert!(buckets.take("a", later).is_err());
        // An hour does not save up more than a burst.
        let later = begin + Duration::from_secs(3600);
        let granted = (0..10).filter(|_| buckets.take("a", later).is_ok()).count();
        assert_eq!(granted, 3);
    }

    #[test]
    fn many_callers_do_not_pile_up() {
        let buckets = Buckets::new(RATE);
        let begin = Instant::now();
        for caller in 0..3 * MANY {
            let at = begin + Duration::from_millis(caller as u64);
            assert_eq!(buckets.take(caller, at), Ok(()));
        }
        assert!(buckets.buckets.lock().unwrap().len() <= MANY + 1);
    }
}
