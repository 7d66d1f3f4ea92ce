//! `Range`: which bytes are wanted (RFC 9110, section 14).

use std::ops::Range;

use axum::http::HeaderMap;
use axum::http::header::RANGE;

/// What is wanted of something, as it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it. Also where there is no range, one that cannot be read, or several: those may be
    /// passed over.
    All,
    /// From an offset on.
    From(u64),
    /// From an offset to another, which belongs to it.
    Between(u64, u64),
    /// The last so many bytes.
    Last(u64),
}

impl Wanted {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        headers
            .get(RANGE)
            .and_then(|value| value.to_str().ok())
            .and_then(Self::parse)
            .unwrap_or(Self::All)
    }

    fn parse(text: &str) -> Option<Self> {
        let (unit, range) = text.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") || range.contains(',') {
            return None;
        }
        let (first, last) = range.trim().split_once('-')?;
        let number = |text: &str| {
            // `parse` would take a sign.
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
        };
        match (first.is_empty(), last.is_empty()) {
            (true, true) => None,
            (true, false) => Some(Self::Last(number(last)?)),
            (false, true) => Some(Self::From(number(first)?)),
            (false, false) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::Between(first, last))
            }
        }
    }

    /// Which bytes of so many that is; none where there are none of them.
    pub(super) fn within(self, length: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::All => return Some(0..length),
            Self::From(first) => first..length,
            Self::Between(first, last) => first..last.saturating_add(1).min(length),
            Self::Last(count) => length.saturating_sub(count)..length,
        };
        (range.start < range.end).then_some(range)
    }

    /// Where it begins, if that does not depend on the end.
    pub(super) fn start(self) -> Option<u64> {
        match self {
            Self::All => Some(0),
            Self::From(first) | Self::Between(first, _) => Some(first),
            Self::Last(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, length: u64, expected: Option<Range<u64>>) {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, text.parse().unwrap());
        assert_eq!(Wanted::of(&headers).within(length), expected, "{text}");
    }

    #[test]
    fn one_range_is_obeyed_and_clamped() {
        check("bytes=0-0", 10, Some(0..1));
        check("bytes=2-", 10, Some(2..10));
        check("Bytes= 2-5", 10, Some(2..6));
        check("bytes=2-99", 10, Some(2..10));
        check("bytes=-3", 10, Some(7..10));
        check("bytes=-99", 10, Some(0..10));
        check("bytes=0-18446744073709551615", 10, Some(0..10));
        check("bytes=0-99999999999999999999999", 10, Some(0..10));
    }

    #[test]
    fn what_lies_beyond_the_end_is_told() {
        check("bytes=10-", 10, None);
        check("bytes=99999999999999999999999-", 10, None);
        check("bytes=-0", 10, None);
        check("bytes=0-", 0, None);
    }

    #[test]
    fn what_is_no_single_range_is_passed_over() {
        for text in [
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "lines=1-2",
            "bytes=0-1,3-4",
            "bytes=+1-2",
            "bytes=a-b",
            "1-2",
        ] {
            check(text, 10, Some(0..10));
        }
    }
}
