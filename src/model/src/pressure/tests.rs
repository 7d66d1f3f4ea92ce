//! Tests of levels and their waits.

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
fn busy_cpus_alone_take_a_quarter_of_the_slots_at_most() {
    let (policy, mut gauge) = (PressurePolicy::default(), PressureGauge::default());
    let cpu_some = StallShare::ALL;
    let sample = PressureSample {
        cpu_some,
        ..PressureSample::default()
    };
    for second in 0..600 {
        gauge.observe(&sample, &policy, at(second));
    }
    assert_eq!(gauge.level(), Elevated);
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
