//! How hard pressed a machine is, and how many items that leaves room for.
//!
//! Slots are a promise made when the machine was configured; pressure stall information says how it
//! really is. Levels are entered and left at different readings and only after they have lasted, so
//! that capacity does not flutter.

use std::fmt;
use std::time::{Duration, SystemTime};

/// A share of time in hundredths of a percent, 0 to 10 000.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StallShare(u16);

/// A text that is not a share such as `12.34`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a share of time between 0 and 100 percent")]
pub struct StallShareError;

impl StallShare {
    /// The whole time.
    pub const ALL: Self = Self(10_000);

    /// A share from whole percent; more than 100 counts as 100.
    #[must_use]
    pub const fn percent(percent: u16) -> Self {
        if percent >= 100 {
            Self::ALL
        } else {
            Self(percent * 100)
        }
    }

    /// The share in hundredths of a percent.
    #[must_use]
    pub fn hundredths(self) -> u16 {
        self.0
    }

    /// Reads a number of percent with at most two decimals that count, as the kernel prints it.
    ///
    /// # Errors
    ///
    /// Not such a number, or above 100.
    pub fn parse(text: &str) -> Result<Self, StallShareError> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || whole.len() > 3 || !digits(whole) || !digits(decimals) {
            return Err(StallShareError);
        }
        let hundredths = decimals.bytes().chain([b'0', b'0']).take(2);
        let value = whole
            .bytes()
            .chain(hundredths)
            .fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
        let value = u16::try_from(value).map_err(|_| StallShareError)?;
        if value > Self::ALL.0 {
            Err(StallShareError)
        } else {
            Ok(Self(value))
        }
    }
}

impl fmt::Display for StallShare {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{:02} %", self.0 / 100, self.0 % 100)
    }
}

/// The averages over ten seconds of one file of `/proc/pressure`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StallLines {
    /// The share of time in which some tasks waited.
    pub some: StallShare,
    /// The share of time in which all tasks waited; none where the kernel does not say.
    pub full: Option<StallShare>,
}

impl StallLines {
    /// Reads the text of one file of `/proc/pressure`; none if it has no readable `some` line.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let average = |kind: &str| {
            text.lines().find_map(|line| {
                let mut words = line.split_ascii_whitespace();
                if words.next() != Some(kind) {
                    return None;
                }
                let share = words.find_map(|word| word.strip_prefix("avg10="))?;
                StallShare::parse(share).ok()
            })
        };
        Some(Self {
            some: average("some")?,
            full: average("full"),
        })
    }
}

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
    /// How many slots count as there: `configured` less what the level takes away, but never less than are
    /// in use, and at least one below [`PressureLevel::Critical`].
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
            cpu_some: StallShare::percent(cpu_some),
            memory_some: StallShare::percent(memory_some),
            memory_full: StallShare::percent(memory_full),
            io_full: StallShare::percent(io_full),
        };
        // Waiting for a CPU is what a busy test machine does: it never makes a level above elevated
        // by itself short of total stall. Waiting for memory is the road to the OOM killer.
        Self {
            elevated: LevelThresholds {
                enter: sample(80, 10, 3, 40),
                leave: sample(60, 5, 1, 25),
            },
            high: LevelThresholds {
                enter: sample(95, 25, 10, 65),
                leave: sample(80, 12, 5, 45),
            },
            critical: LevelThresholds {
                enter: sample(100, 50, 25, 90),
                leave: sample(95, 30, 12, 70),
            },
            rise_after: Duration::from_secs(5),
            fall_after: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{at, seconds};

    fn memory(percent: u16) -> PressureSample {
        PressureSample {
            memory_full: StallShare::percent(percent),
            ..PressureSample::default()
        }
    }

    /// Feeds readings of memory, each with its second, and checks the level after each.
    fn check(readings: &[(u64, u16, PressureLevel)]) {
        let (policy, mut gauge) = (PressurePolicy::default(), PressureGauge::default());
        for (second, percent, expected) in readings {
            let level = gauge.observe(&memory(*percent), &policy, at(*second));
            assert_eq!(level, *expected, "{percent} % at second {second}");
        }
    }

    use PressureLevel::{Calm, Critical, Elevated, High};

    #[test]
    fn level_rises_only_when_pressure_lasts() {
        check(&[(0, 50, Calm), (4, 50, Calm), (5, 50, Critical)]);
        check(&[
            (0, 50, Calm),
            (3, 0, Calm),
            (4, 50, Calm),
            (8, 50, Calm),
            (9, 50, Critical),
        ]);
    }

    #[test]
    fn level_rises_to_what_was_called_for_all_the_time() {
        check(&[
            (0, 50, Calm),
            (3, 12, Calm),
            (5, 50, High),
            (6, 50, High),
            (11, 50, Critical),
        ]);
    }

    #[test]
    fn level_stays_while_readings_are_between_leaving_and_entering() {
        check(&[(0, 10, Calm), (5, 10, High), (50, 6, High), (500, 5, High)]);
    }

    #[test]
    fn level_falls_only_when_calm_lasts_and_only_as_far_as_it_does() {
        check(&[
            (0, 50, Calm),
            (5, 50, Critical),
            (6, 0, Critical),
            (35, 0, Critical),
            (36, 0, Calm),
        ]);
        check(&[
            (0, 50, Calm),
            (5, 50, Critical),
            (6, 0, Critical),
            (30, 7, Critical),
            (36, 0, High),
        ]);
    }

    #[test]
    fn clock_set_back_starts_the_wait_anew() {
        check(&[
            (100, 50, Calm),
            (10, 50, Calm),
            (14, 50, Calm),
            (15, 50, Critical),
        ]);
    }

    #[test]
    fn slots_shrink_with_the_level_but_not_below_what_runs() {
        let slots = |level: PressureLevel| {
            [1, 2, 3, 4, 5, 8].map(|configured| level.effective_slots(configured, 0))
        };
        assert_eq!(slots(Calm), [1, 2, 3, 4, 5, 8]);
        assert_eq!(slots(Elevated), [1, 2, 3, 3, 4, 6]);
        assert_eq!(slots(High), [1, 1, 2, 2, 3, 4]);
        assert_eq!(slots(Critical), [0, 0, 0, 0, 0, 0]);
        assert_eq!(Critical.effective_slots(8, 5), 5);
        assert_eq!(High.effective_slots(8, 5), 5);
        assert_eq!(Calm.effective_slots(2, 5), 5);
    }

    #[test]
    fn kernel_text_is_read() {
        let text = "some avg10=12.34 avg60=1.00 avg300=0.00 total=1\n\
                    full avg10=100.00 avg60=0.00 avg300=0.00 total=1\n";
        let lines = StallLines::parse(text).expect("good");
        assert_eq!(
            (lines.some.hundredths(), lines.full),
            (1234, Some(StallShare::ALL))
        );
        let only_some = StallLines::parse("some avg10=0.05 total=1").expect("good");
        assert_eq!(
            (only_some.some.to_string().as_str(), only_some.full),
            ("0.05 %", None)
        );
        for bad in [
            "",
            "full avg10=1.00",
            "some",
            "some avg10=",
            "some avg10=x",
            "some avg10=100.01",
        ] {
            assert_eq!(StallLines::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn shares_are_between_nothing_and_all() {
        let check = |text: &str, expected: Option<u16>| {
            assert_eq!(
                StallShare::parse(text).ok().map(StallShare::hundredths),
                expected,
                "{text}"
            );
        };
        check("0", Some(0));
        check("7.5", Some(750));
        check("99.999", Some(9999));
        check("100.00", Some(10_000));
        check("101", None);
        check("-1", None);
        check("1e2", None);
        check("NaN", None);
        check(".5", None);
        assert_eq!(StallShare::percent(u16::MAX), StallShare::ALL);
    }

    #[test]
    fn no_default_threshold_is_left_above_where_it_is_entered() {
        let policy = PressurePolicy::default();
        let levels = [policy.elevated, policy.high, policy.critical];
        for thresholds in levels {
            assert!(thresholds.enter.reaches_all(&thresholds.leave));
        }
        for pair in levels.windows(2) {
            assert!(pair[1].enter.reaches_all(&pair[0].enter));
            assert!(pair[1].leave.reaches_all(&pair[0].leave));
        }
    }

    impl PressureSample {
        fn reaches_all(&self, other: &Self) -> bool {
            self.cpu_some >= other.cpu_some
                && self.memory_some >= other.memory_some
                && self.memory_full >= other.memory_full
                && self.io_full >= other.io_full
        }
    }

    proptest! {
        #[test]
        fn level_never_moves_sooner_than_its_wait(
            steps in prop::collection::vec((0_u64..20, 0_u16..60), 1..60),
        ) {
            let (policy, mut gauge) = (PressurePolicy::default(), PressureGauge::default());
            let mut now = 0;
            // Since when every reading has called for more, or allowed less, than the level in force.
            let (mut pressed, mut relieved): (Option<u64>, Option<u64>) = (None, None);
            for (wait, percent) in steps {
                now += wait;
                let before = gauge.level();
                let sample = memory(percent);
                let calls = policy.highest(|thresholds| sample.reaches(&thresholds.enter));
                let needs = policy.highest(|thresholds| sample.reaches(&thresholds.leave));
                pressed = if calls > before { pressed.or(Some(now)) } else { None };
                relieved = if needs < before { relieved.or(Some(now)) } else { None };
                let level = gauge.observe(&sample, &policy, at(now));
                if level > before {
                    prop_assert!(pressed.is_some_and(|since| now - since >= 5));
                    prop_assert!(level <= calls);
                }
                if level < before {
                    prop_assert!(relieved.is_some_and(|since| now - since >= 30));
                    prop_assert!(level >= needs);
                }
                if level != before {
                    (pressed, relieved) = (None, None);
                }
                prop_assert_eq!(level, gauge.level());
            }
        }

        #[test]
        fn lasting_pressure_is_always_answered(percent in 0_u16..=100, start in 0_u16..=100) {
            let (policy, mut gauge) = (PressurePolicy::default(), PressureGauge::default());
            for second in 0..60 {
                gauge.observe(&memory(start), &policy, at(second));
            }
            for second in 60..200 {
                gauge.observe(&memory(percent), &policy, at(second));
            }
            let sample = memory(percent);
            prop_assert!(gauge.level() >= policy.highest(|t| sample.reaches(&t.enter)));
            prop_assert!(gauge.level() <= policy.highest(|t| sample.reaches(&t.leave)));
        }

        #[test]
        fn more_pressure_never_means_more_slots(configured: u32, in_use: u32) {
            let slots = [Calm, Elevated, High, Critical]
                .map(|level| level.effective_slots(configured, in_use));
            prop_assert!(slots.is_sorted_by(|a, b| a >= b));
            prop_assert!(slots.iter().all(|s| *s >= in_use && *s <= configured.max(in_use)));
        }
    }

    #[test]
    fn waits_of_nothing_change_the_level_at_once() {
        let policy = PressurePolicy {
            rise_after: seconds(0),
            fall_after: seconds(0),
            ..PressurePolicy::default()
        };
        let mut gauge = PressureGauge::default();
        assert_eq!(gauge.observe(&memory(50), &policy, at(0)), Critical);
        assert_eq!(gauge.observe(&memory(0), &policy, at(0)), Calm);
    }
}
