//! How long to wait before trying again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Growing, jittered delays without an end: from 100 ms to 5 s.
#[derive(Debug)]
pub(crate) struct Backoff(ExponentialBackoff);

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

impl Backoff {
    /// Starts with the shortest delay.
    pub(crate) fn new() -> Self {
        Self(
            ExponentialBuilder::default()
                .with_min_delay(FIRST)
                .with_max_delay(LONGEST)
                .with_jitter()
                .without_max_times()
                .build(),
        )
    }

    /// The next delay.
    pub(crate) fn next_delay(&mut self) -> Duration {
        self.0.next().unwrap_or(LONGEST)
    }
}
