//! Lengths of time as people write them: `90s`, `5m`, `1h 30m`, `500ms`, `7d`.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Reads one or several whole numbers with their units (`ms`, `s`, `m`, `h`, `d`), largest unit
/// first or not, which are added up. None if it is no such text or more than 2^64 milliseconds.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut millis = 0_u64;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let after = after.trim_start();
        let end = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let part = number.parse::<u64>().ok()?.checked_mul(*factor)?;
        millis = millis.checked_add(part)?;
        rest = after.trim_start();
    }
    Some(Duration::from_millis(millis))
}

/// Writes a length of time so that [`parse`] reads it, in the largest units that lose nothing.
/// What is below a millisecond is cut off.
#[must_use]
pub fn show(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut parts = Vec::new();
    for (unit, factor) in UNITS.iter().rev() {
        let count = millis / factor;
        millis %= factor;
        if count > 0 {
            parts.push(format!("{count}{unit}"));
        }
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{parse, show};

    #[track_caller]
    fn check(text: &str, expected: Option<u64>) {
        assert_eq!(parse(text), expected.map(Duration::from_millis), "{text:?}");
    }

    #[test]
    fn numbers_with_units_are_read() {
        check("90s", Some(90_000));
        check("5m", Some(300_000));
        check("1h30m", Some(5_400_000));
        check(" 1h 30m ", Some(5_400_000));
        check("2 d", Some(172_800_000));
        check("500ms", Some(500));
        check("0s", Some(0));
    }

    #[test]
    fn anything_else_is_not() {
        for text in [
            "",
            " ",
            "5",
            "m",
            "5 minutes",
            "5M",
            "-5s",
            "1.5h",
            "5s 3",
            "5s,3m",
            "99999999999999999999s",
        ] {
            check(text, None);
        }
        check(&format!("{}d", u64::MAX), None);
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(millis: u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&show(duration)), Some(duration));
        }
    }
}
