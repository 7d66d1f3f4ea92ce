//! Reads single values into types, within bounds, and says what would have been right.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::de::DeValue;

use super::duration;
use super::section::{Complaint, Item};

/// A string that is not empty.
pub(super) fn text(item: &Item<'_>) -> Result<String, Complaint> {
    let text = any_text(item)?;
    if text.is_empty() {
        return Err(Complaint::new("must not be empty"));
    }
    Ok(text)
}

/// A string.
pub(super) fn any_text(item: &Item<'_>) -> Result<String, Complaint> {
    match item.value() {
        DeValue::String(text) => Ok(text.to_string()),
        _ => Err(Complaint::expected("a string", item)),
    }
}

/// A string that a type reads.
pub(super) fn parsed<T>(item: &Item<'_>) -> Result<T, Complaint>
where
    T: FromStr<Err: std::fmt::Display>,
{
    let text = text(item)?;
    text.parse()
        .map_err(|error| Complaint::new(format!("cannot be `{text}`: {error}")))
}

/// A whole number within bounds.
pub(super) fn whole<T>(bounds: RangeInclusive<T>) -> impl FnOnce(&Item<'_>) -> Result<T, Complaint>
where
    T: TryFrom<i128> + PartialOrd + std::fmt::Display,
{
    move |item| {
        let DeValue::Integer(integer) = item.value() else {
            return Err(Complaint::expected("a whole number", item));
        };
        let digits = integer.as_str().replace('_', "");
        i128::from_str_radix(&digits, integer.radix())
            .ok()
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| bounds.contains(number))
            .ok_or_else(|| {
                let (least, most) = (bounds.start(), bounds.end());
                Complaint::new(format!("must be from {least} to {most}, not {integer}"))
            })
    }
}

/// A length of time within bounds.
pub(super) fn duration(
    bounds: RangeInclusive<Duration>,
) -> impl FnOnce(&Item<'_>) -> Result<Duration, Complaint> {
    move |item| {
        const HINT: &str =
            "write a number and a unit (ms, s, m, h, d), such as \"90s\" or \"1h 30m\"";
        let DeValue::String(text) = item.value() else {
            return Err(Complaint::expected("a length of time", item).hint(HINT));
        };
        let duration = duration::parse(text)
            .ok_or_else(|| Complaint::new(format!("cannot be `{text}`")).hint(HINT))?;
        if bounds.contains(&duration) {
            return Ok(duration);
        }
        let (least, most) = (
            duration::show(*bounds.start()),
            duration::show(*bounds.end()),
        );
        Err(Complaint::new(format!(
            "must be from \"{least}\" to \"{most}\", not \"{text}\""
        )))
    }
}

/// An absolute path without `..`.
pub(super) fn path(item: &Item<'_>) -> Result<PathBuf, Complaint> {
    let text = text(item)?;
    if text.contains('\0') {
        return Err(Complaint::new("has a NUL character"));
    }
    let path = Path::new(&text);
    if !path.is_absolute() {
        return Err(
            Complaint::new(format!("must be an absolute path, not `{text}`")).hint(
                "the controller's own directory means nothing to a service; start the path with `/`",
            ),
        );
    }
    if path
        .components()
        .any(|component| component == Component::ParentDir)
    {
        return Err(Complaint::new(format!(
            "must not have `..` in it, as `{text}` has"
        )));
    }
    // Without doubled and trailing separators.
    Ok(path.components().collect())
}

/// An IP address and a port.
pub(super) fn address(item: &Item<'_>) -> Result<SocketAddr, Complaint> {
    let text = text(item)?;
    text.parse().map_err(|_| {
        let complaint = Complaint::new(format!("must be an IP address and a port, not `{text}`"));
        match text.strip_prefix("localhost:") {
            Some(port) => complaint.hint(format!(
                "names are not looked up; write `127.0.0.1:{port}` or `[::1]:{port}`"
            )),
            None => {
                complaint.hint("such as `127.0.0.1:7410` or `[::]:7410`; names are not looked up")
            }
        }
    })
}

/// A list, every element read alike.
pub(super) fn list<T>(
    read: impl Fn(&Item<'_>) -> Result<T, Complaint>,
) -> impl FnOnce(&Item<'_>) -> Result<Vec<T>, Complaint> {
    move |item| {
        let elements = item
            .elements()
            .ok_or_else(|| Complaint::expected("a list", item).hint("write [\"…\"]"))?;
        elements
            .map(|element| read(&element).map_err(|complaint| complaint.at(element.span())))
            .collect()
    }
}
