//! Values of arguments: durations, sizes, variables, requirements.

use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;

/// A variable of the command's environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Environment {
    /// With the value given.
    Set { name: String, value: String },
    /// With the value of our own environment.
    Inherit { name: String },
}

/// A capability and the range wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Requirement {
    /// Its name.
    pub(crate) name: String,
    /// The range; empty for any.
    pub(crate) range: String,
}

/// Parses `90s`, `1h 30m`, `500ms`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let duration = SignedDuration::from_str(text)
        .map_err(|_| "expected a number with a unit, such as `90s`, `5m` or `1h 30m`".to_owned())?;
    Duration::try_from(duration).map_err(|_| "a duration cannot be negative".to_owned())
}

/// Parses a number of bytes with an optional binary unit: `512`, `64K`, `1.5GiB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    const EXPECTED: &str = "expected a size such as `512M`, `4G` or `1.5GiB`";
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim().to_ascii_uppercase();
    let unit = unit
        .strip_suffix("IB")
        .or_else(|| unit.strip_suffix('B'))
        .unwrap_or(&unit);
    let factor: u64 = match unit {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => return Err(EXPECTED.to_owned()),
    };
    scaled(number, factor).ok_or_else(|| EXPECTED.to_owned())
}

/// Parses a number of processors into thousandths.
pub(crate) fn cpu_millis(text: &str) -> Result<u64, String> {
    scaled(text.trim(), 1000)
        .filter(|millis| *millis > 0)
        .ok_or_else(|| {
            "expected a number of processors above zero, such as `2` or `0.5`".to_owned()
        })
}

/// `number * factor`, rounded down, exact where a float would not be.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    // More digits than these cannot change the result by a whole byte of a T.
    let fraction = &fraction[..fraction.len().min(15)];
    if fraction.is_empty() {
        return Some(whole);
    }
    let digits = u32::try_from(fraction.len()).ok()?;
    let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(factor) / 10_u128.pow(digits);
    whole.checked_add(u64::try_from(part).ok()?)
}

/// Parses `NAME=VALUE` or `NAME`.
pub(crate) fn environment(text: &str) -> Result<Environment, String> {
    match text.split_once('=') {
        Some((name, value)) => Ok(Environment::Set {
            name: variable_name(name)?,
            value: value.to_owned(),
        }),
        None => Ok(Environment::Inherit {
            name: variable_name(text)?,
        }),
    }
}

/// Parses the name of a variable.
pub(crate) fn variable_name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("the variable needs a name".to_owned());
    }
    if text.contains(['=', '\0']) {
        return Err("the name of a variable has neither `=` nor NUL in it".to_owned());
    }
    Ok(text.to_owned())
}

/// Parses `NAME RANGE`, where the range may be left out.
pub(crate) fn requirement(text: &str) -> Result<Requirement, String> {
    let text = text.trim();
    // `node>=22` is understood as well: a name has none of these characters.
    let end = text
        .find(|c: char| c.is_whitespace() || ['<', '>', '=', '^', '~', '*'].contains(&c))
        .unwrap_or(text.len());
    let (name, range) = text.split_at(end);
    if name.is_empty() {
        return Err("expected a capability and a range, such as `xcode >=16`".to_owned());
    }
    Ok(Requirement {
        name: name.to_owned(),
        range: range.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_units_or_are_seconds() {
        for (text, millis) in [
            ("300", 300_000),
            ("300s", 300_000),
            ("500ms", 500),
            ("5m", 300_000),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "5 parsecs", "-3s", "1e400s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_binary_and_exact() {
        for (text, bytes) in [
            ("512", 512),
            ("1K", 1024),
            ("64KiB", 65_536),
            ("1.5G", 1_610_612_736),
            ("0.001K", 1),
            ("16777215T", 16_777_215 << 40),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "G", "1X", "-1", "1..2", ".5G", "16777216T", "1 000"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn processors_are_counted_in_thousandths() {
        assert_eq!(cpu_millis("2"), Ok(2000));
        assert_eq!(cpu_millis("0.25"), Ok(250));
        assert!(cpu_millis("0").is_err());
        assert!(cpu_millis("two").is_err());
    }

    #[test]
    fn only_the_first_equals_sign_of_a_variable_counts() {
        assert_eq!(
            environment("A=b=c"),
            Ok(Environment::Set {
                name: "A".to_owned(),
                value: "b=c".to_owned()
            })
        );
        assert_eq!(
            environment("A"),
            Ok(Environment::Inherit {
                name: "A".to_owned()
            })
        );
        assert!(environment("=b").is_err());
    }

    #[test]
    fn a_requirement_is_a_name_and_the_rest() {
        for (text, name, range) in [
            ("xcode", "xcode", ""),
            ("xcode 16.1", "xcode", "16.1"),
            ("node >=22, <25", "node", ">=22, <25"),
            ("node>=22", "node", ">=22"),
            ("  os =linux ", "os", "=linux"),
            ("os=linux", "os", "=linux"),
        ] {
            let expected = Requirement {
                name: name.to_owned(),
                range: range.to_owned(),
            };
            assert_eq!(requirement(text), Ok(expected), "{text}");
        }
        assert!(requirement(" ").is_err());
        assert!(requirement(">=3").is_err());
    }
}
