//! Readers of single values: into types, within bounds, and saying what would have been right.
//!
//! Each is given to a [`Section`](crate::Section) with a key: those that need to be told something
//! are functions that make a reader.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use toml::de::DeValue;

use crate::complaint::Complaint;
use crate::item::{Item, Value};
use crate::{duration as durations, size as sizes};

/// A string that is not empty.
///
/// # Errors
///
/// That it is empty or no string.
pub fn text(item: &Item<'_>) -> Result<String, Complaint> {
    let text = any_text(item)?;
    if text.is_empty() {
        return Err(Complaint::new("must not be empty"));
    }
    Ok(text)
}

/// A string.
///
/// # Errors
///
/// That it is none.
pub fn any_text(item: &Item<'_>) -> Result<String, Complaint> {
    match item.value() {
        Value::String(text) => Ok(text.to_owned()),
        _ => Err(Complaint::expected("a string", item)),
    }
}

/// A string of 1 to so many bytes without control characters, such as a name.
pub fn plain_text(max_bytes: usize) -> impl Fn(&Item<'_>) -> Result<String, Complaint> {
    move |item| {
        let text = text(item)?;
        if text.len() > max_bytes || text.contains(char::is_control) {
            let message = format!("must have 1 to {max_bytes} bytes of plain text");
            return Err(Complaint::new(message));
        }
        Ok(text)
    }
}

/// A string, not empty, that a type reads.
///
/// # Errors
///
/// What the type says. The string is repeated: it must be nothing that may be secret.
pub fn parsed<T>(item: &Item<'_>) -> Result<T, Complaint>
where
    T: FromStr<Err: Display>,
{
    let text = text(item)?;
    text.parse()
        .map_err(|error| Complaint::new(format!("cannot be `{text}`: {error}")))
}

/// One of a few words, each of which stands for something.
pub fn one_of<T: Copy>(words: &[(&str, T)]) -> impl Fn(&Item<'_>) -> Result<T, Complaint> {
    move |item| {
        let text = text(item)?;
        let known = words.iter().find(|(word, _)| *word == text);
        known.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let complaint = Complaint::new(format!("cannot be `{text}`"));
            complaint.hint(format!("there are {}", enumeration(&words)))
        })
    }
}

/// The one of all `values` that has the name: for lists of what is called `what`, such as `scope`.
pub fn named<T: Copy>(
    what: &str,
    values: &[T],
    name: impl Fn(T) -> &'static str,
) -> impl Fn(&Item<'_>) -> Result<T, Complaint> {
    move |item| {
        let text = text(item)?;
        let known = values.iter().find(|value| name(**value) == text);
        known.copied().ok_or_else(|| {
            let names: Vec<&str> = values.iter().map(|value| name(*value)).collect();
            Complaint::new(format!("cannot have `{text}`, which is no {what}"))
                .hint(format!("there are `{}`", names.join("`, `")))
        })
    }
}

/// `true` or `false`.
///
/// # Errors
///
/// That it is neither.
pub fn truth(item: &Item<'_>) -> Result<bool, Complaint> {
    match item.value() {
        Value::Boolean(value) => Ok(value),
        _ => Err(Complaint::expected("`true` or `false`", item)),
    }
}

/// A whole number within bounds, in any base that TOML has.
pub fn whole<T>(bounds: RangeInclusive<T>) -> impl Fn(&Item<'_>) -> Result<T, Complaint>
where
    T: TryFrom<i128> + PartialOrd + Display,
{
    move |item| {
        let Value::Integer(integer) = item.value() else {
            return Err(Complaint::expected("a whole number", item));
        };
        integer
            .value()
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| bounds.contains(number))
            .ok_or_else(|| {
                let (least, most) = (bounds.start(), bounds.end());
                Complaint::new(format!("must be from {least} to {most}, not {integer}"))
            })
    }
}

/// A length of time within bounds, as [`duration::parse`](crate::duration::parse) reads it.
pub fn duration(
    bounds: RangeInclusive<Duration>,
) -> impl Fn(&Item<'_>) -> Result<Duration, Complaint> {
    move |item| {
        const HINT: &str =
            "write a number and a unit (ms, s, m, h, d), such as \"90s\" or \"1h 30m\"";
        let Value::String(text) = item.value() else {
            return Err(Complaint::expected("a length of time", item).hint(HINT));
        };
        let duration = durations::parse(text)
            .ok_or_else(|| Complaint::new(format!("cannot be `{text}`")).hint(HINT))?;
        if bounds.contains(&duration) {
            return Ok(duration);
        }
        let least = durations::show(*bounds.start());
        let most = durations::show(*bounds.end());
        Err(Complaint::new(format!(
            "must be from \"{least}\" to \"{most}\", not \"{text}\""
        )))
    }
}

/// An amount of bytes, at least so many, as [`size::parse`](crate::size::parse) reads it.
pub fn size(least: u64) -> impl Fn(&Item<'_>) -> Result<u64, Complaint> {
    move |item| {
        const HINT: &str =
            "write a number and a unit (B, kB, KiB, MB, MiB, GB, GiB, TB, TiB), such as \"20 GiB\"";
        let Value::String(text) = item.value() else {
            return Err(Complaint::expected("an amount of bytes", item).hint(HINT));
        };
        let bytes = sizes::parse(text)
            .ok_or_else(|| Complaint::new(format!("cannot be `{text}`")).hint(HINT))?;
        if bytes < least {
            let least = sizes::show(least);
            return Err(Complaint::new(format!(
                "must be at least \"{least}\", not \"{text}\""
            )));
        }
        Ok(bytes)
    }
}

/// A day such as `2027-03-31`, of which the first moment in UTC counts; from 1970 on.
///
/// # Errors
///
/// That it is none, or has a time of the day.
pub fn day(item: &Item<'_>) -> Result<SystemTime, Complaint> {
    const HINT: &str = "write a day without quotes, such as 2027-03-31";
    let DeValue::Datetime(datetime) = item.raw() else {
        return Err(Complaint::expected("a day", item).hint(HINT));
    };
    let date = datetime
        .date
        .filter(|_| datetime.time.is_none() && datetime.offset.is_none())
        .filter(|date| date.year >= 1970)
        .ok_or_else(|| Complaint::new("must be a day from 1970 on").hint(HINT))?;
    let seconds = days_from_epoch(date.year, date.month, date.day) * 24 * 60 * 60;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// An absolute path without `..`, freed of doubled and trailing separators. Nothing has to be there.
///
/// # Errors
///
/// That it is none.
pub fn path(item: &Item<'_>) -> Result<PathBuf, Complaint> {
    let text = text(item)?;
    if text.contains('\0') {
        return Err(Complaint::new("has a NUL character"));
    }
    let path = Path::new(&text);
    if !path.is_absolute() {
        let complaint = Complaint::new(format!("must be an absolute path, not `{text}`"));
        return Err(complaint.hint(
            "the directory that a service happens to be in means nothing; start the path with `/`",
        ));
    }
    if path
        .components()
        .any(|component| component == Component::ParentDir)
    {
        return Err(Complaint::new(format!(
            "must not have `..` in it, as `{text}` has"
        )));
    }
    Ok(path.components().collect())
}

/// A list, every element read alike. The first that is wrong is complained about.
pub fn list<T>(
    read: impl Fn(&Item<'_>) -> Result<T, Complaint>,
) -> impl Fn(&Item<'_>) -> Result<Vec<T>, Complaint> {
    move |item| {
        let elements = item
            .elements()
            .ok_or_else(|| Complaint::expected("a list", item).hint("write [\"…\"]"))?;
        elements
            .map(|element| read(&element).map_err(|complaint| complaint.at(element.span())))
            .collect()
    }
}

/// Words in backticks, the last after `and`.
fn enumeration(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => format!("`{word}`"),
        [words @ .., last] => format!("`{}` and `{last}`", words.join("`, `")),
    }
}

/// Days from 1970-01-01 to a day of the Gregorian calendar that is not before it.
fn days_from_epoch(year: u16, month: u8, day: u8) -> u64 {
    let is_leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let year = u64::from(year);
    let before: u64 = (1970..year)
        .map(|year| 365 + u64::from(is_leap(year)))
        .sum();
    let february = 28 + u64::from(is_leap(year));
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let months: u64 = lengths
        .iter()
        .take(usize::from(month.saturating_sub(1)))
        .sum();
    before + months + u64::from(day.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::{days_from_epoch, enumeration};

    #[test]
    fn days_are_those_of_the_calendar() {
        for (date, days) in [
            ((1970, 1, 1), 0),
            ((1970, 12, 31), 364),
            ((1972, 3, 1), 790),
            ((2000, 3, 1), 11_017),
            ((2026, 11, 21), 20_778),
            ((2100, 3, 1), 47_541),
        ] {
            let (year, month, day) = date;
            assert_eq!(days_from_epoch(year, month, day), days, "{date:?}");
        }
    }

    #[test]
    fn words_are_enumerated_as_people_do() {
        assert_eq!(enumeration(&["a"]), "`a`");
        assert_eq!(enumeration(&["a", "b"]), "`a` and `b`");
        assert_eq!(enumeration(&["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
