//! How hard pressed the machine is now, as the kernel sees it. What follows from that is decided in
//! [`helix_model::pressure`].

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

use std::io;
use std::path::PathBuf;

use helix_model::pressure::{PressurePolicy, PressureSample, StallLines, StallShare};

/// One look at the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Stall times, by what was waited for (Linux).
    Stalls {
        /// Waiting for a CPU.
        cpu: StallLines,
        /// Waiting for memory.
        memory: StallLines,
        /// Waiting for disks.
        io: StallLines,
    },
    /// No times, only the kernel's own verdict on memory (macOS).
    MemoryVerdict(MemoryVerdict),
}

/// What the kernel thinks of the memory that is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemoryVerdict {
    /// There is enough.
    Normal,
    /// It asks programs to give some back.
    Warning,
    /// It is about to end programs.
    Critical,
}

/// Why there is no reading.
#[derive(Debug, thiserror::Error)]
pub enum PressureError {
    /// The kernel does not measure it: older than Linux 4.20, or told not to (`psi=0`).
    #[error("the kernel does not measure pressure: there is no readable `{}`", path.display())]
    NotMeasured {
        /// The file that should say.
        path: PathBuf,
        /// What happened on reading it.
        source: io::Error,
    },
    /// A file says something else than expected.
    #[error("read the pressure from `{place}`, which says `{text}`")]
    Unreadable {
        /// The file or system variable.
        place: String,
        /// How it begins.
        text: String,
    },
    /// The system variable cannot be read.
    #[error("read the system variable `{name}`")]
    Variable {
        /// Its name.
        name: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The operating system has nothing of the kind.
    #[error("this operating system does not say how hard pressed it is")]
    Unsupported,
}

impl Reading {
    /// Looks at the machine. Reads three small files or one system variable.
    ///
    /// # Errors
    ///
    /// The system does not measure it, now or ever. An agent without readings takes its configured
    /// slots for what they are.
    pub fn take() -> Result<Self, PressureError> {
        #[cfg(target_os = "linux")]
        return linux::read(std::path::Path::new(linux::DIRECTORY));
        #[cfg(target_os = "macos")]
        return macos::read().map(Self::MemoryVerdict);
        #[cfg(not(any(target_os = "linux", target_os = "macos")))]
        return Err(PressureError::Unsupported);
    }

    /// The reading in the terms of a policy.
    ///
    /// A verdict is no share of time. A warning stands for the memory threshold at which the policy
    /// enters its elevated level, a critical verdict for that of its critical level.
    #[must_use]
    pub fn sample(&self, policy: &PressurePolicy) -> PressureSample {
        match self {
            Self::Stalls { cpu, memory, io } => PressureSample {
                cpu_some: cpu.some,
                memory_some: memory.some,
                memory_full: memory.full.unwrap_or_default(),
                io_full: io.full.unwrap_or_default(),
            },
            Self::MemoryVerdict(verdict) => {
                let threshold = match verdict {
                    MemoryVerdict::Normal => StallShare::default(),
                    MemoryVerdict::Warning => policy.elevated.enter.memory_some,
                    MemoryVerdict::Critical => policy.critical.enter.memory_some,
                };
                // A threshold that is never reached is not reached by this either.
                let memory_some = if threshold == StallShare::NEVER {
                    StallShare::default()
                } else {
                    threshold
                };
                PressureSample {
                    memory_some,
                    ..PressureSample::default()
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use helix_model::pressure::{
        PressureGauge, PressureLevel, PressurePolicy, PressureSample, StallLines, StallShare,
    };

    use super::{MemoryVerdict, Reading};

    fn lines(some: u16, full: Option<u16>) -> StallLines {
        StallLines {
            some: StallShare::percent(some),
            full: full.map(StallShare::percent),
        }
    }

    #[test]
    fn stalls_become_a_sample_and_what_is_not_said_is_zero() {
        let reading = Reading::Stalls {
            cpu: lines(7, Some(1)),
            memory: lines(5, None),
            io: lines(9, Some(3)),
        };
        assert_eq!(
            reading.sample(&PressurePolicy::default()),
            PressureSample {
                cpu_some: StallShare::percent(7),
                memory_some: StallShare::percent(5),
                memory_full: StallShare::percent(0),
                io_full: StallShare::percent(3),
            },
        );
    }

    #[test]
    fn verdict_leads_to_the_level_that_it_stands_for() {
        let policy = PressurePolicy::default();
        for (verdict, expected) in [
            (MemoryVerdict::Normal, PressureLevel::Calm),
            (MemoryVerdict::Warning, PressureLevel::Elevated),
            (MemoryVerdict::Critical, PressureLevel::Critical),
        ] {
            let mut gauge = PressureGauge::default();
            let sample = Reading::MemoryVerdict(verdict).sample(&policy);
            let start = SystemTime::UNIX_EPOCH;
            gauge.observe(&sample, &policy, start);
            let level = gauge.observe(&sample, &policy, start + Duration::from_secs(600));
            assert_eq!(level, expected, "{verdict:?}");
        }
    }

    #[test]
    fn verdict_does_not_reach_a_threshold_that_is_never_reached() {
        let mut policy = PressurePolicy::default();
        policy.critical.enter.memory_some = StallShare::NEVER;
        let sample = Reading::MemoryVerdict(MemoryVerdict::Critical).sample(&policy);
        assert_eq!(sample, PressureSample::default());
    }
}
