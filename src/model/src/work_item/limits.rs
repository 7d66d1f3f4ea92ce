//! How long a command may run and how much it may print.

use std::fmt;
use std::time::Duration;

/// How long a command may run when nothing is said: what Helix gives a work item.
pub const DEFAULT_WALL_TIMEOUT: Duration = Duration::from_secs(300);

/// The longest time a command may run: thirty days.
pub const MAX_WALL_TIMEOUT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long a tree that was asked to end may take before it is killed, when nothing is said.
pub const DEFAULT_KILL_GRACE: Duration = Duration::from_secs(10);

/// The longest grace before the kill: ten minutes.
pub const MAX_KILL_GRACE: Duration = Duration::from_secs(10 * 60);

/// The smallest limit on output, in bytes.
pub const MIN_OUTPUT_BYTES: u64 = 4 * 1024;

/// The largest limit on output, in bytes: one tebibyte.
pub const MAX_OUTPUT_BYTES: u64 = 1 << 40;

/// What a request says about limits; what it leaves out takes its default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WantedLimits {
    /// The time the command may run; above zero, at most [`MAX_WALL_TIMEOUT`].
    pub wall_timeout: Option<Duration>,
    /// The time the command may go without printing; above zero, at most [`MAX_WALL_TIMEOUT`]. None
    /// by default.
    pub silence_timeout: Option<Duration>,
    /// The time between asking a tree to end and killing it; zero kills at once, at most
    /// [`MAX_KILL_GRACE`].
    pub kill_grace: Option<Duration>,
    /// How much the command may print in all, in bytes, from [`MIN_OUTPUT_BYTES`] to
    /// [`MAX_OUTPUT_BYTES`]. More ends it. None by default.
    pub output_bytes: Option<u64>,
}

/// The limits in force for one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    wall_timeout: Duration,
    silence_timeout: Option<Duration>,
    kill_grace: Duration,
    output_bytes: Option<u64>,
}

/// One of the limits, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// The time the command may run.
    WallTimeout,
    /// The time it may go without printing.
    SilenceTimeout,
    /// The time between asking and killing.
    KillGrace,
    /// The bytes it may print.
    OutputBytes,
}

/// A limit outside of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Less than the least that makes sense.
    #[error("{limit} must be at least {least} {unit}", unit = limit.unit_of_least())]
    TooSmall {
        /// Which limit.
        limit: Limit,
        /// The least it may be, in bytes for [`Limit::OutputBytes`] and milliseconds for the rest.
        least: u64,
    },
    /// More than is allowed.
    #[error("{limit} must be at most {most} {unit}", unit = limit.unit_of_most())]
    TooLarge {
        /// Which limit.
        limit: Limit,
        /// The most it may be, in bytes for [`Limit::OutputBytes`] and seconds for the rest.
        most: u64,
    },
}

impl Limit {
    fn unit_of_least(self) -> &'static str {
        match self {
            Self::WallTimeout | Self::SilenceTimeout | Self::KillGrace => "ms",
            Self::OutputBytes => "bytes",
        }
    }

    fn unit_of_most(self) -> &'static str {
        match self {
            Self::WallTimeout | Self::SilenceTimeout | Self::KillGrace => "s",
            Self::OutputBytes => "bytes",
        }
    }
}

impl LimitError {
    /// Which limit is wrong.
    #[must_use]
    pub fn limit(&self) -> Limit {
        match self {
            Self::TooSmall { limit, .. } | Self::TooLarge { limit, .. } => *limit,
        }
    }
}

impl WantedLimits {
    /// Fills in the defaults and checks the ranges.
    ///
    /// # Errors
    ///
    /// The first limit that is out of its range.
    pub fn resolve(self) -> Result<Limits, LimitError> {
        let wall_timeout = self.wall_timeout.unwrap_or(DEFAULT_WALL_TIMEOUT);
        check_timeout(Limit::WallTimeout, wall_timeout)?;
        if let Some(silence_timeout) = self.silence_timeout {
            check_timeout(Limit::SilenceTimeout, silence_timeout)?;
        }
        let kill_grace = self.kill_grace.unwrap_or(DEFAULT_KILL_GRACE);
        if kill_grace > MAX_KILL_GRACE {
            return Err(LimitError::TooLarge {
                limit: Limit::KillGrace,
                most: MAX_KILL_GRACE.as_secs(),
            });
        }
        if let Some(output_bytes) = self.output_bytes {
            if output_bytes < MIN_OUTPUT_BYTES {
                return Err(LimitError::TooSmall {
                    limit: Limit::OutputBytes,
                    least: MIN_OUTPUT_BYTES,
                });
            }
            if output_bytes > MAX_OUTPUT_BYTES {
                return Err(LimitError::TooLarge {
                    limit: Limit::OutputBytes,
                    most: MAX_OUTPUT_BYTES,
                });
            }
        }
        Ok(Limits {
            wall_timeout,
            silence_timeout: self.silence_timeout,
            kill_grace,
            output_bytes: self.output_bytes,
        })
    }
}

/// A timer finer than this would only measure the scheduler.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);

fn check_timeout(limit: Limit, timeout: Duration) -> Result<(), LimitError> {
    if timeout < MIN_TIMEOUT {
        return Err(LimitError::TooSmall { limit, least: 1 });
    }
    if timeout > MAX_WALL_TIMEOUT {
        return Err(LimitError::TooLarge {
            limit,
            most: MAX_WALL_TIMEOUT.as_secs(),
        });
    }
    Ok(())
}

impl Limits {
    /// The time the command may run.
    #[must_use]
    pub fn wall_timeout(&self) -> Duration {
        self.wall_timeout
    }

    /// The time the command may go without printing, if that is limited.
    #[must_use]
    pub fn silence_timeout(&self) -> Option<Duration> {
        self.silence_timeout
    }

    /// The time between asking a tree to end and killing it; zero kills at once.
    #[must_use]
    pub fn kill_grace(&self) -> Duration {
        self.kill_grace
    }

    /// How many bytes the command may print in all, if that is limited.
    #[must_use]
    pub fn output_bytes(&self) -> Option<u64> {
        self.output_bytes
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall_timeout: DEFAULT_WALL_TIMEOUT,
            silence_timeout: None,
            kill_grace: DEFAULT_KILL_GRACE,
            output_bytes: None,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::WallTimeout => "the wall timeout",
            Self::SilenceTimeout => "the silence timeout",
            Self::KillGrace => "the kill grace",
            Self::OutputBytes => "the limit on output",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_wanted_gives_the_defaults() {
        let limits = WantedLimits::default()
            .resolve()
            .expect("defaults are good");
        assert_eq!(limits, Limits::default());
        assert_eq!(limits.wall_timeout(), Duration::from_secs(300));
        assert_eq!(limits.kill_grace(), Duration::from_secs(10));
        assert_eq!(
            (limits.silence_timeout(), limits.output_bytes()),
            (None, None)
        );
    }

    #[test]
    fn limits_out_of_range_are_named() {
        let check = |wanted: WantedLimits, expected: &str| {
            let error = wanted.resolve().expect_err("out of range");
            assert_eq!(error.to_string(), expected);
        };
        let none = WantedLimits::default();
        let wall = |time| WantedLimits {
            wall_timeout: Some(time),
            ..none
        };
        check(
            wall(Duration::ZERO),
            "the wall timeout must be at least 1 ms",
        );
        check(
            wall(Duration::MAX),
            "the wall timeout must be at most 2592000 s",
        );
        let silence = WantedLimits {
            silence_timeout: Some(Duration::from_nanos(1)),
            ..none
        };
        check(silence, "the silence timeout must be at least 1 ms");
        let grace = WantedLimits {
            kill_grace: Some(Duration::from_secs(601)),
            ..none
        };
        check(grace, "the kill grace must be at most 600 s");
        let output = |bytes| WantedLimits {
            output_bytes: Some(bytes),
            ..none
        };
        check(
            output(4095),
            "the limit on output must be at least 4096 bytes",
        );
        check(
            output(u64::MAX),
            "the limit on output must be at most 1099511627776 bytes",
        );
    }

    #[test]
    fn limits_at_their_bounds_are_taken() {
        let least = WantedLimits {
            wall_timeout: Some(Duration::from_millis(1)),
            silence_timeout: Some(Duration::from_millis(1)),
            kill_grace: Some(Duration::ZERO),
            output_bytes: Some(MIN_OUTPUT_BYTES),
        };
        let most = WantedLimits {
            wall_timeout: Some(MAX_WALL_TIMEOUT),
            silence_timeout: Some(MAX_WALL_TIMEOUT),
            kill_grace: Some(MAX_KILL_GRACE),
            output_bytes: Some(MAX_OUTPUT_BYTES),
        };
        assert!(least.resolve().is_ok());
        assert!(most.resolve().is_ok());
    }
}
