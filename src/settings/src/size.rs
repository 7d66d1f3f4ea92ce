//! Amounts of bytes as people write them: `20 GiB`, `512MB`, `1.5 TiB`, `0 B`.

const UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
];

/// The most decimals that count.
const MAX_DECIMALS: usize = 6;

/// Reads a number with a unit (`B`, `kB`, `KiB`, … `TiB`), whose case does not matter, in bytes.
/// There may be up to 6 decimals; what makes no whole byte is cut off. None if it is no such text
/// or 2^64 bytes or more.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start();
    let (_, factor) = UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || decimals.is_empty() || decimals.len() > MAX_DECIMALS {
        return None;
    }
    let mut bytes = u128::from(whole.parse::<u64>().ok()?) * u128::from(*factor);
    let scale = 10_u128.pow(u32::try_from(decimals.len()).ok()?);
    bytes += u128::from(decimals.parse::<u64>().ok()?) * u128::from(*factor) / scale;
    u64::try_from(bytes).ok()
}

/// Writes an amount of bytes so that [`parse`] reads it, in the largest unit that loses nothing.
#[must_use]
pub fn show(bytes: u64) -> String {
    let binary = UNITS
        .iter()
        .rev()
        .filter(|(name, _)| name.contains('i') || *name == "B");
    let fitting = binary.filter(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor));
    let (unit, factor) = fitting.copied().next().unwrap_or(("B", 1));
    format!("{} {unit}", bytes / factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{parse, show};

    #[track_caller]
    fn check(text: &str, expected: Option<u64>) {
        assert_eq!(parse(text), expected, "{text:?}");
    }

    #[test]
    fn numbers_with_units_are_read() {
        check("20 GiB", Some(20 << 30));
        check("20GiB", Some(20 << 30));
        check("20gib", Some(20 << 30));
        check("512 MB", Some(512_000_000));
        check("1.5 KiB", Some(1536));
        check("0 B", Some(0));
        check("0.0001 kB", Some(0));
        check("16777215.999999 TiB", Some(18_446_744_073_708_452_104));
    }

    #[test]
    fn anything_else_is_not() {
        for text in [
            "",
            "20",
            "GiB",
            "20 G",
            "20 GiB/s",
            "-1 B",
            "1e3 B",
            ". B",
            "1. B",
            ".5 KiB",
            "1.2.3 B",
            "1.0000001 GiB",
            "16777216 TiB",
            "99999999999999999999 B",
        ] {
            check(text, None);
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(bytes: u64) {
            prop_assert_eq!(parse(&show(bytes)), Some(bytes));
        }
    }
}
