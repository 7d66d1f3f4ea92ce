//! The records of a pax extension header: `<length> <keyword>=<value>\n`, as many as there are.

use std::time::Duration;

use super::sparse::Map;

/// What the records say, as far as it matters here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    /// Time since 1970; `None` also for times before it.
    pub(super) modified: Option<Duration>,
    pub(super) sparse: SparseRecords,
}

/// The records GNU tar writes for a sparse file, in three generations.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SparseRecords {
    pub(super) name: Option<Vec<u8>>,
    /// The size of the file with its holes.
    pub(super) file_bytes: Option<u64>,
    version: Option<u64>,
    /// Offsets and lengths in turn, from either of the older generations.
    numbers: Vec<u64>,
}

impl Extensions {
    /// Reads all records; of a keyword that comes twice, the last counts.
    pub(super) fn parse(mut records: &[u8]) -> Result<Self, &'static str> {
        let mut extensions = Self::default();
        while !records.is_empty() {
            // Some writers fill up with NUL bytes.
            if records.iter().all(|byte| *byte == 0) {
                break;
            }
            let (keyword, value, rest) = first_record(records)?;
            extensions.take(keyword, value)?;
            records = rest;
        }
        Ok(extensions)
    }

    fn take(&mut self, keyword: &[u8], value: &[u8]) -> Result<(), &'static str> {
        const NOT_A_NUMBER: &str = "a pax record holds no number where one belongs";
        let number = || parse_number(value).ok_or(NOT_A_NUMBER);
        match keyword {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link_path = Some(value.to_vec()),
            b"size" => self.size = Some(number()?),
            b"mtime" => self.modified = parse_time(value),
            b"GNU.sparse.major" => self.sparse.version = Some(number()?),
            b"GNU.sparse.name" => self.sparse.name = Some(value.to_vec()),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                self.sparse.file_bytes = Some(number()?);
            }
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.sparse.numbers.push(number()?),
            b"GNU.sparse.map" => {
                self.sparse.numbers = value
                    .split(|byte| *byte == b',')
                    .map(|digits| parse_number(digits).ok_or(NOT_A_NUMBER))
                    .collect::<Result<_, _>>()?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl SparseRecords {
    /// Whether the map is in front of the content (`true`) or in these records; `None` if the file
    /// is not sparse at all.
    pub(super) fn map_is_in_front(&self) -> Option<Result<bool, &'static str>> {
        match self.version {
            Some(1) => Some(Ok(true)),
            Some(0) => Some(Ok(false)),
            Some(_) => Some(Err("a sparse file of an unknown version")),
            None if self.file_bytes.is_some() || !self.numbers.is_empty() => Some(Ok(false)),
            None => None,
        }
    }

    /// The map in these records.
    pub(super) fn map(&self) -> Result<Map, &'static str> {
        let file_bytes = self
            .file_bytes
            .ok_or("a sparse file without its real size")?;
        let pairs = self.numbers.chunks_exact(2);
        if !pairs.remainder().is_empty() {
            return Err("a sparse map with half a segment");
        }
        Ok(Map {
            file_bytes,
            segments: pairs.map(|pair| (pair[0], pair[1])).collect(),
        })
    }
}

/// A number in decimal digits and nothing else.
pub(super) fn parse_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A keyword, its value, and what is behind them.
type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// Splits the first record off.
fn first_record(records: &[u8]) -> Result<Record<'_>, &'static str> {
    const MALFORMED: &str = "a malformed pax record";
    let space = records
        .iter()
        .position(|byte| *byte == b' ')
        .ok_or(MALFORMED)?;
    let length = parse_number(&records[..space])
        .and_then(|length| usize::try_from(length).ok())
        .ok_or(MALFORMED)?;
    // The length counts everything: its own digits, the space, and the newline at the end.
    let body = records.get(space + 1..length).ok_or(MALFORMED)?;
    let body = body.strip_suffix(b"\n").ok_or(MALFORMED)?;
    let equals = body
        .iter()
        .position(|byte| *byte == b'=')
        .ok_or(MALFORMED)?;
    Ok((&body[..equals], &body[equals + 1..], &records[length..]))
}

/// Seconds since 1970 with an optional fraction; `None` for what is before 1970 or no time.
fn parse_time(value: &[u8]) -> Option<Duration> {
    let (seconds, fraction) = match value.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&value[..dot], &value[dot + 1..]),
        None => (value, &value[..0]),
    };
    let seconds = parse_number(seconds)?;
    let mut nanoseconds = 0_u32;
    for place in 0..9 {
        let digit = match fraction.get(place) {
            Some(digit @ b'0'..=b'9') => u32::from(digit - b'0'),
            Some(_) => return None,
            None => 0,
        };
        nanoseconds = nanoseconds * 10 + digit;
    }
    Some(Duration::new(seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(keyword: &str, value: &str) -> String {
        let body = format!(" {keyword}={value}\n");
        let mut length = body.len() + 1;
        while length != body.len() + length.to_string().len() {
            length += 1;
        }
        format!("{length}{body}")
    }

    #[test]
    fn records_are_read_and_the_last_of_a_keyword_counts() {
        let text = [
            record("path", "old"),
            record("path", "a = b\nc"),
            record("linkpath", ""),
            record("size", "18446744073709551615"),
            record("mtime", "12.0345"),
            record("comment", "ignored"),
        ]
        .concat();
        let found = Extensions::parse(text.as_bytes()).unwrap();
        assert_eq!(found.path.as_deref(), Some(b"a = b\nc".as_slice()));
        assert_eq!(found.link_path.as_deref(), Some(b"".as_slice()));
        assert_eq!(found.size, Some(u64::MAX));
        assert_eq!(found.modified, Some(Duration::new(12, 34_500_000)));
        assert_eq!(found.sparse, SparseRecords::default());
    }

    #[test]
    fn malformed_records_are_refused() {
        for text in [
            "x",
            "6 a=b",
            "7 a=b\n",
            "5 a=b\n",
            "99999999999999999999 a=b\n",
            "3 \n",
            "0 a=b\n",
            "2 a=b\n",
            "+6 a=b\n",
            "5 ab\n",
            &record("size", "-1"),
            &record("size", "1.5"),
            &record("size", "18446744073709551616"),
            &record("GNU.sparse.map", "1,,2"),
        ] {
            assert!(Extensions::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn times_before_1970_and_nonsense_are_no_times() {
        for (text, expected) in [
            ("0", Some(Duration::ZERO)),
            ("1.999999999999", Some(Duration::new(1, 999_999_999))),
            ("-1", None),
            ("1.x", None),
            ("", None),
        ] {
            assert_eq!(parse_time(text.as_bytes()), expected, "{text:?}");
        }
    }
}
