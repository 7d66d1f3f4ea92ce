//! Durations, sizes and times in words.

use std::time::Duration;

use jiff::Timestamp;

/// `340 ms`, `12.3 s`, `4 min 05 s`, `2 h 03 min`, `3 d 04 h`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds == 0 {
        return format!("{} ms", duration.as_millis());
    }
    if seconds < 60 {
        let tenths = duration.subsec_millis() / 100;
        return if tenths == 0 {
            format!("{seconds} s")
        } else {
            format!("{seconds}.{tenths} s")
        };
    }
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    match (days, hours) {
        (0, 0) if seconds == 0 => format!("{minutes} min"),
        (0, 0) => format!("{minutes} min {seconds:02} s"),
        (0, _) => format!("{hours} h {minutes:02} min"),
        (_, _) => format!("{days} d {hours:02} h"),
    }
}

/// `0:07`, `12:34`, `1:02:03`: for a clock that moves.
pub(crate) fn stopwatch(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours == 0 {
        format!("{minutes}:{seconds:02}")
    } else {
        format!("{hours}:{minutes:02}:{seconds:02}")
    }
}

/// `512 B`, `64.0 KiB`, `1.5 GiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = "";
    for name in UNITS {
        tenths /= 1024;
        unit = name;
        if tenths < 10_240 {
            break;
        }
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// `1 test`, `2 tests`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

/// A duration of the contract; nothing if it is absent or negative.
pub(crate) fn wire_duration(duration: Option<prost_types::Duration>) -> Option<Duration> {
    duration.and_then(|duration| Duration::try_from(duration).ok())
}

/// A time of the contract; nothing if it is absent or out of range.
pub(crate) fn wire_time(time: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok())
}

/// From `earlier` to `later`, zero if the clocks of two machines disagree.
pub(crate) fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        for (millis, expected) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1000, "1 s"),
            (12_345, "12.3 s"),
            (60_000, "1 min"),
            (245_000, "4 min 05 s"),
            (7_380_000, "2 h 03 min"),
            (273_600_000, "3 d 04 h"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn sizes_have_one_digit_after_the_point() {
        for (size, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_572_864, "1.5 MiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(bytes(size), expected);
        }
    }

    #[test]
    fn a_time_that_no_calendar_knows_is_absent() {
        let time = prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: 0,
        };
        assert_eq!(wire_time(Some(time)), None);
    }

    #[test]
    fn clocks_that_disagree_make_no_negative_age() {
        let (earlier, later) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(5).unwrap());
        assert_eq!(between(earlier, later), Duration::from_secs(5));
        assert_eq!(between(later, earlier), Duration::ZERO);
    }
}
