//! Durations and instants in all the ways that result files write them.
//!
//! Everything odd is absent: empty, negative, not a number, too large, a month 38. A wrong time is worse than none,
//! and no time is worth losing a result for. All arithmetic is on integers.

use std::time::Duration;

use crate::model::Timestamp;

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// What a single comma with three digits behind it means in a number; all other cases can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comma {
    /// It groups thousands, as Surefire writes.
    Groups,
    /// It is the decimal mark, as .NET writes in many locales.
    Decimal,
}

/// A duration in decimal seconds: `1.5`, `1e-05`, `0,288`, `1,234.5`; or in clock form.
pub(crate) fn seconds(text: &[u8], comma: Comma) -> Option<Duration> {
    match plain_seconds(text) {
        Some(duration) => Some(duration),
        None if memchr::memchr(b':', text).is_some() => clock(text),
        None => decimal(text, comma, 9),
    }
}

/// A duration in decimal milliseconds.
pub(crate) fn milliseconds(text: &[u8]) -> Option<Duration> {
    decimal(text, Comma::Decimal, 6)
}

/// The way nearly all writers write seconds: some digits, a point, at most nine digits. Any other goes the long way.
fn plain_seconds(text: &[u8]) -> Option<Duration> {
    const MOST_DIGITS: usize = 9;
    /// What a fraction of so many digits is to be multiplied with.
    const NANOS: [u32; MOST_DIGITS + 1] = [
        0,
        100_000_000,
        10_000_000,
        1_000_000,
        100_000,
        10_000,
        1_000,
        100,
        10,
        1,
    ];
    if text.len() > MOST_DIGITS * 2 {
        return None;
    }
    let mut whole = None;
    let mut value = 0_u32;
    let mut digits = 0;
    for byte in text {
        match byte {
            b'0'..=b'9' if digits < MOST_DIGITS => {
                value = value * 10 + u32::from(byte - b'0');
                digits += 1;
            }
            b'.' if whole.is_none() && digits > 0 => {
                whole = Some(value);
                value = 0;
                digits = 0;
            }
            _ => return None,
        }
    }
    let nanos = NANOS[digits];
    (nanos > 0).then_some(Duration::new(u64::from(whole?), value * nanos))
}

/// A decimal number times ten to the power of `scale`, in nanoseconds.
fn decimal(text: &[u8], comma: Comma, scale: i32) -> Option<Duration> {
    let text = text.trim_ascii();
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let (mantissa, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (
            &text[..at],
            std::str::from_utf8(&text[at + 1..])
                .ok()?
                .parse::<i32>()
                .ok()?,
        ),
        None => (text, 0),
    };
    let mark = decimal_mark(mantissa, comma);
    let mut value = 0_u128;
    let mut digits = 0_u32;
    let mut power = scale.checked_add(exponent)?;
    for (at, byte) in mantissa.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                digits += 1;
                let behind_mark = mark.is_some_and(|mark| at > mark);
                // Thirty digits hold every duration there is; more of them only move the mark.
                if value < 10_u128.pow(30) {
                    value = value * 10 + u128::from(byte - b'0');
                    power = power.saturating_sub(i32::from(behind_mark));
                } else if !behind_mark {
                    power = power.checked_add(1)?;
                }
            }
            b',' | b'.' if at > 0 || mark == Some(at) => {}
            b'_' | b'\'' | b' ' if at > 0 => {}
            _ => return None,
        }
    }
    if digits == 0 {
        return None;
    }
    let nanos = if value == 0 {
        0
    } else if power >= 0 {
        value.checked_mul(10_u128.checked_pow(power.unsigned_abs())?)?
    } else {
        match 10_u128.checked_pow(power.unsigned_abs()) {
            Some(divisor) => value / divisor + u128::from(value % divisor >= divisor / 2),
            None => 0,
        }
    };
    Some(Duration::from_nanos(u64::try_from(nanos).ok()?))
}

/// The place of the decimal mark in a number that may have marks of thousands.
fn decimal_mark(number: &[u8], comma: Comma) -> Option<usize> {
    let last_point = memchr::memrchr(b'.', number);
    let last_comma = memchr::memrchr(b',', number);
    match (last_point, last_comma) {
        (Some(point), Some(comma)) => Some(point.max(comma)),
        (Some(point), None) => {
            let single = memchr::memchr(b'.', number) == Some(point);
            single.then_some(point)
        }
        (None, Some(at)) => {
            let single = memchr::memchr(b',', number) == Some(at);
            let groups =
                number.len() - at - 1 == 3 && &number[..at] != b"0" && comma == Comma::Groups;
            (single && !groups).then_some(at)
        }
        (None, None) => None,
    }
}

/// A duration in clock form: `[d.]hh:mm:ss[.fffffff]`, also `mm:ss`.
pub(crate) fn clock(text: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    let (days, text) = match (text.find('.'), text.find(':')) {
        (Some(point), Some(colon)) if point < colon => (plain(&text[..point])?, &text[point + 1..]),
        (_, Some(_)) => (0, text),
        (_, None) => return None,
    };
    let mut parts = text.rsplit(':');
    let seconds = decimal(parts.next()?.as_bytes(), Comma::Decimal, 9)?;
    let minutes = plain(parts.next()?)?;
    let hours = parts.next().map_or(Some(0), plain)?;
    if parts.next().is_some() || seconds >= Duration::from_secs(61) || minutes > 59 {
        return None;
    }
    let whole = days
        .checked_mul(24)?
        .checked_add(hours)?
        .checked_mul(60)?
        .checked_add(minutes)?
        .checked_mul(60)?;
    // What does not fit 64 bits of nanoseconds is no duration of a test.
    let nanos = whole.checked_mul(NANOS_PER_SECOND)?;
    Some(Duration::from_nanos(nanos).saturating_add(seconds))
}

/// A number of digits only.
fn plain(text: &str) -> Option<u64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

/// What an instant without a zone is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zone {
    /// The format is known to write UTC.
    AssumeUtc,
    /// It may be any zone, so the instant is absent.
    Required,
}

/// An instant: ISO 8601 with `T` or a space, any number of fractional digits, `Z`, an offset or nothing; or
/// `MM/dd/yyyy HH:mm:ss`; or `yyyyMMdd HH:mm:ss`.
pub(crate) fn instant(text: &[u8], zone: Zone) -> Option<Timestamp> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    let (date, rest) = match text.split_once(['T', ' ']) {
        Some((date, rest)) => (date, rest.trim_start()),
        None => return None,
    };
    let day = days_of(date)?;
    let (clock, offset) = split_zone(rest);
    let offset = match (offset, zone) {
        (Some(offset), _) => offset_seconds(offset)?,
        (None, Zone::AssumeUtc) => 0,
        (None, Zone::Required) => return None,
    };
    let mut parts = clock.trim_end().split(':');
    let hours = plain(parts.next()?)?;
    let minutes = plain(parts.next()?)?;
    let seconds = match parts.next() {
        Some(seconds) => decimal(seconds.as_bytes(), Comma::Decimal, 9)?,
        None => Duration::ZERO,
    };
    if parts.next().is_some() || hours > 24 || minutes > 59 || seconds >= Duration::from_secs(61) {
        return None;
    }
    let whole = i64::try_from(hours * 3600 + minutes * 60 + seconds.as_secs()).ok()?;
    from_parts(
        day.checked_mul(SECONDS_PER_DAY)?
            .checked_add(whole)?
            .checked_sub(offset)?,
        seconds.subsec_nanos(),
    )
}

/// The time from one instant to a later one.
pub(crate) fn between(start: Option<Timestamp>, end: Option<Timestamp>) -> Option<Duration> {
    let nanos = end?.unix_nanos.checked_sub(start?.unix_nanos)?;
    Some(Duration::from_nanos(u64::try_from(nanos).ok()?))
}

/// An instant from seconds since the epoch.
pub(crate) fn from_unix_seconds(text: &[u8]) -> Option<Timestamp> {
    let since = decimal(text, Comma::Decimal, 9)?;
    from_parts(i64::try_from(since.as_secs()).ok()?, since.subsec_nanos())
}

/// An instant from milliseconds since the epoch.
pub(crate) fn from_unix_milliseconds(text: &[u8]) -> Option<Timestamp> {
    let since = milliseconds(text)?;
    from_parts(i64::try_from(since.as_secs()).ok()?, since.subsec_nanos())
}

fn from_parts(seconds: i64, nanos: u32) -> Option<Timestamp> {
    // Writers that know no time write the first instant of some calendar.
    const YEAR_1980: i64 = 315_532_800;
    const YEAR_2200: i64 = 7_258_118_400;
    if !(YEAR_1980..YEAR_2200).contains(&seconds) {
        return None;
    }
    let unix_nanos = seconds
        .checked_mul(1_000_000_000)?
        .checked_add(i64::from(nanos))?;
    Some(Timestamp { unix_nanos })
}

/// Cuts `HH:mm:ss+01:00` and the like in two.
fn split_zone(text: &str) -> (&str, Option<&str>) {
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        return (clock, Some(""));
    }
    match text.rfind(['+', '-']) {
        Some(at) => (&text[..at], Some(&text[at..])),
        None => (text, None),
    }
}

fn offset_seconds(text: &str) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits: String = text[1..]
        .chars()
        .filter(|character| *character != ':')
        .collect();
    let number = i64::try_from(plain(&digits)?).ok()?;
    let (hours, minutes) = match digits.len() {
        1 | 2 => (number, 0),
        4 => (number / 100, number % 100),
        _ => return None,
    };
    (hours <= 18 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Days since the epoch of a date in one of the known forms.
fn days_of(date: &str) -> Option<i64> {
    let numbers = |parts: [&str; 3]| -> Option<[i64; 3]> {
        let [one, two, three] =
            parts.map(|part| plain(part).and_then(|number| i64::try_from(number).ok()));
        Some([one?, two?, three?])
    };
    let split = |mark: char| -> Option<[&str; 3]> {
        let mut parts = date.split(mark);
        let three = [parts.next()?, parts.next()?, parts.next()?];
        parts.next().is_none().then_some(three)
    };
    let [year, month, day] = if let Some(parts) = split('-') {
        numbers(parts)?
    } else if let Some(parts) = split('/') {
        let [month, day, year] = numbers(parts)?;
        [year, month, day]
    } else if date.len() == 8 && date.is_ascii() {
        numbers([&date[..4], &date[4..6], &date[6..]])?
    } else {
        return None;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=9999).contains(&year) || !(1..=longest).contains(&day) {
        return None;
    }
    // Counting years from March puts the leap day at the end of a year, where it shifts nothing.
    let (year, month) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    Some(year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468)
}

/// An instant in ISO 8601, in UTC, with milliseconds, and with nanoseconds where it has any.
pub(crate) fn iso(timestamp: Timestamp) -> String {
    let millis = timestamp.unix_nanos.div_euclid(1_000_000);
    let (days, in_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    // The reverse of the above: eras of 400 years of 146,097 days, years beginning in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hours, minutes, rest) = (in_day / 3_600_000, in_day / 60_000 % 60, in_day % 60_000);
    let mut fraction = format!("{:09}", timestamp.unix_nanos.rem_euclid(1_000_000_000));
    if fraction.ends_with("000000") {
        fraction.truncate(3);
    }
    format!(
        "{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{:02}.{fraction}Z",
        rest / 1000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(duration: Option<Duration>) -> Option<u128> {
        duration.map(|duration| duration.as_nanos())
    }

    #[test]
    fn seconds_are_exact_in_every_spelling() {
        for (text, expected) in [
            ("0", 0),
            ("1", 1_000_000_000),
            (" 0.1 ", 100_000_000),
            ("0.000000001", 1),
            ("0.0000000005", 1),
            ("0.00000000049", 0),
            ("1e-05", 10_000),
            ("6.280E-4", 628_000),
            ("1.5e+1", 15_000_000_000),
            (".5", 500_000_000),
            ("5.", 5_000_000_000),
            ("1,234.5", 1_234_500_000_000),
            ("1.234,5", 1_234_500_000_000),
            ("1,234,567", 1_234_567_000_000_000),
            ("0,288", 288_000_000),
            ("12,5", 12_500_000_000),
            ("00:00:01.5000000", 1_500_000_000),
            ("1e-999999999", 0),
            ("0.00000000000000000000e-2147483648", 0),
        ] {
            assert_eq!(
                nanos(seconds(text.as_bytes(), Comma::Groups)),
                Some(expected),
                "{text}"
            );
        }
        assert_eq!(
            nanos(seconds(b"1,234", Comma::Groups)),
            Some(1_234_000_000_000)
        );
        assert_eq!(
            nanos(seconds(b"1,234", Comma::Decimal)),
            Some(1_234_000_000)
        );
        assert_eq!(nanos(milliseconds(b"1.25")), Some(1_250_000));
    }

    #[test]
    fn odd_durations_are_absent() {
        let digits = "9".repeat(500);
        for text in [
            "",
            "-",
            "-1",
            "NaN",
            "Infinity",
            "-Inf",
            "1e999",
            "abc",
            "1s",
            "0x10",
            "e5",
            ",",
            ".",
            &digits,
            "1e99999999999",
        ] {
            assert_eq!(seconds(text.as_bytes(), Comma::Groups), None, "{text}");
        }
    }

    #[test]
    fn clocks_may_have_days_and_fractions() {
        assert_eq!(
            nanos(clock(b"1.02:03:04.5000000")),
            Some(93_784_500_000_000)
        );
        assert_eq!(nanos(clock(b"00:00:00.0000001")), Some(100));
        assert_eq!(nanos(clock(b"01:02")), Some(62_000_000_000));
        for text in [
            "-00:00:01",
            "00:99:00",
            "00:00:61",
            "1:2:3:4",
            "::",
            "5",
            "99999999999999.00:00:00",
            "a:b:c",
        ] {
            assert_eq!(clock(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn instants_are_read_in_all_forms_and_written_back() {
        for (text, expected) in [
            ("2024-02-29T12:00:00Z", "2024-02-29T12:00:00.000Z"),
            ("2016-06-04 17:17:57Z", "2016-06-04T17:17:57.000Z"),
            (
                "2019-01-31T23:30:00.1239999+02:00",
                "2019-01-31T21:30:00.123999900Z",
            ),
            ("2019-01-31T23:30:00-0530", "2019-02-01T05:00:00.000Z"),
            ("2021-12-31T23:59:60Z", "2022-01-01T00:00:00.000Z"),
            ("2000-03-01T00:00:00", "2000-03-01T00:00:00.000Z"),
            ("12/24/2020 01:02:03", "2020-12-24T01:02:03.000Z"),
            ("20201224 01:02:03.5", "2020-12-24T01:02:03.500Z"),
        ] {
            let read = instant(text.as_bytes(), Zone::AssumeUtc).map(iso);
            assert_eq!(read.as_deref(), Some(expected), "{text}");
        }
        assert_eq!(
            from_unix_milliseconds(b"1700000000123").map(iso).as_deref(),
            Some("2023-11-14T22:13:20.123Z")
        );
        assert_eq!(
            from_unix_seconds(b"1700000000").map(iso).as_deref(),
            Some("2023-11-14T22:13:20.000Z")
        );
    }

    #[test]
    fn odd_instants_are_absent() {
        for text in [
            "",
            "2018-38-06T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "0001-01-01T00:00:00",
            "1970-01-01T00:00:00Z",
            "2024-01-01",
            "2024-01-01T25:00:00Z",
            "9999-12-31T23:59:59Z",
            "2024-01-01T00:00:00+99:00",
            "Monday",
            "2024-01-01T\u{e9}:00:00Z",
        ] {
            assert_eq!(instant(text.as_bytes(), Zone::AssumeUtc), None, "{text}");
        }
        assert_eq!(instant(b"2024-01-01T00:00:00", Zone::Required), None);
    }
}
