//! Which lane comes next: what waits of one job in front of what waits of another.
//!
//! Priority of the queue, then of the job, then the job with the least running, then the one that
//! was served longest ago. So a job of a million items shares with one of three: it has much
//! running, and goes behind the other each time.

use std::cmp::Reverse;

/// The place of a lane among others: the least comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Turn {
    queue_priority: Reverse<i32>,
    job_priority: Reverse<i32>,
    running: u64,
    served: u64,
}

impl Turn {
    /// The place of a lane whose job has so much running and was served last at a time, counted from
    /// 0 for never by whoever serves.
    #[must_use]
    pub fn new(queue_priority: i32, job_priority: i32, running: u64, served: u64) -> Self {
        Self {
            queue_priority: Reverse(queue_priority),
            job_priority: Reverse(job_priority),
            running,
            served,
        }
    }
}

#[cfg(test)]
mod tests;
