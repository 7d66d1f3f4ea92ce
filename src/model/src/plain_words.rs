//! Numbers and times as people read them.

use std::time::{Duration, SystemTime};

/// A number of bytes in the largest unit that leaves at least one, with one decimal: `1.5 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} bytes");
    }
    // Tenths of the unit, always below 1024 * 10 after the last step, so nothing is lost.
    let mut tenths = u128::from(count) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// Thousandths of a CPU as CPUs: `0.5`, `2`.
pub(crate) fn cpus(millis: u64) -> String {
    let text = format!("{}.{:03}", millis / 1000, millis % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A count and its noun, in the plural by an `s` where one is due.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A time to the second, such as `2026-11-20 23:36:05 UTC`.
pub(crate) fn utc(time: SystemTime) -> String {
    let seconds = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i128::from(since.as_secs()),
        Err(before) => -i128::from(ceil_seconds(before.duration())),
    };
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_date(days);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!(
        "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02} UTC",
        second % 60
    )
}

fn ceil_seconds(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_add(u64::from(duration.subsec_nanos() > 0))
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
///
/// Years are taken to begin in March, so that the leap day is the last of its year; 146 097 days
/// are one cycle of 400 years.
fn civil_date(days: i128) -> (i128, i128, i128) {
    // 719 468 days lie between 0000-03-01 and 1970-01-01.
    let shifted = days + 719_468;
    let (cycle, day_of_cycle) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let leap_days = day_of_cycle / 1460 - day_of_cycle / 36_524 + day_of_cycle / 146_096;
    let year_of_cycle = (day_of_cycle - leap_days) / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    // Months from March on have 31, 30, 31, 30, 31 days, over and over: 153 in five.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, carry) = if month_from_march < 10 {
        (month_from_march + 3, 0)
    } else {
        (month_from_march - 9, 1)
    };
    (cycle * 400 + year_of_cycle + carry, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_to_one_decimal_of_the_largest_unit() {
        let check = |count, expected: &str| assert_eq!(bytes(count), expected);
        check(0, "0 bytes");
        check(1023, "1023 bytes");
        check(1024, "1.0 KiB");
        check(1536, "1.5 KiB");
        check(1023 << 10, "1023.0 KiB");
        check(1 << 20, "1.0 MiB");
        check((1 << 30) * 3 / 2, "1.5 GiB");
        check(u64::MAX, "15.9 EiB");
    }

    #[test]
    fn cpus_drop_what_is_not_needed() {
        assert_eq!(cpus(500), "0.5");
        assert_eq!(cpus(2000), "2");
        assert_eq!(cpus(10_000), "10");
        assert_eq!(cpus(1001), "1.001");
        assert_eq!(cpus(0), "0");
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        let check = |seconds: u64, expected: &str| {
            assert_eq!(
                utc(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
                expected
            );
        };
        check(0, "1970-01-01 00:00:00 UTC");
        check(951_782_400, "2000-02-29 00:00:00 UTC");
        check(951_868_799, "2000-02-29 23:59:59 UTC");
        check(951_868_800, "2000-03-01 00:00:00 UTC");
        check(1_709_164_800, "2024-02-29 00:00:00 UTC");
        check(4_107_542_400, "2100-03-01 00:00:00 UTC");
        check(1_795_217_765, "2026-11-20 23:36:05 UTC");
    }

    #[test]
    fn times_before_1970_count_backwards() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_millis(500);
        assert_eq!(utc(before), "1969-12-31 23:59:59 UTC");
    }

    #[test]
    fn every_day_of_a_cycle_follows_the_one_before() {
        let mut last = civil_date(-1);
        for day in 0..146_097 {
            let date = civil_date(day);
            let follows = date == (last.0, last.1, last.2 + 1)
                || (date.2 == 1 && last.2 >= 28 && date.1 == last.1 + 1 && date.0 == last.0)
                || (date == (last.0 + 1, 1, 1) && (last.1, last.2) == (12, 31));
            assert!(follows, "{date:?} after {last:?}");
            last = date;
        }
    }
}
