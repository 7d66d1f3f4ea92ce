//! Files with holes: a map says where the content that is stored belongs.

use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom};
use std::path::Path;

use crate::error::{ArchiveProblem, Error};

use super::name::EntryName;
use super::pax::parse_number;
use super::session::{Charged, Output, Session};

/// Where the content of a sparse file belongs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Map {
    /// The size of the file with its holes, in bytes.
    pub(super) file_bytes: u64,
    /// Offset and length of each piece of content, in bytes.
    pub(super) segments: Vec<(u64, u64)>,
}

impl Map {
    /// Whether the segments are in order, inside the file, and `stored` bytes together.
    pub(super) fn check(&self, stored: u64) -> Result<(), &'static str> {
        let mut end = 0;
        let mut total = 0_u64;
        for (offset, length) in &self.segments {
            if *offset < end {
                return Err("the segments of a sparse file overlap");
            }
            end = offset
                .checked_add(*length)
                .ok_or("a segment of a sparse file has no end")?;
            // No overflow: each segment lies behind the one before it.
            total += length;
        }
        if end > self.file_bytes {
            return Err("a segment of a sparse file lies behind its end");
        }
        if total != stored {
            return Err("the segments of a sparse file are not as long as its content");
        }
        Ok(())
    }
}

/// Reads a map from `text`: the number of segments, then offset and length of each, one number a
/// line. `None` while the text is not whole yet.
pub(super) fn parse_lines(text: &[u8]) -> Result<Option<Vec<(u64, u64)>>, &'static str> {
    const NOT_A_NUMBER: &str = "the map of a sparse file holds no number where one belongs";
    // What is behind the last newline is the beginning of a number, or padding.
    let whole = match text.iter().rposition(|byte| *byte == b'\n') {
        Some(newline) => &text[..newline],
        None if text.len() > 32 => return Err(NOT_A_NUMBER),
        None => return Ok(None),
    };
    let mut numbers = whole
        .split(|byte| *byte == b'\n')
        .map(|line| parse_number(line).ok_or(NOT_A_NUMBER));
    let count = numbers.next().ok_or(NOT_A_NUMBER)??;
    // Called once a block more has arrived, so a map that is not whole is told apart cheaply.
    let lines = text.iter().filter(|byte| **byte == b'\n').count() as u64;
    if lines <= count.saturating_mul(2) {
        return Ok(None);
    }
    let mut segments = Vec::new();
    for _ in 0..count {
        let (Some(offset), Some(length)) = (numbers.next(), numbers.next()) else {
            return Ok(None);
        };
        segments.push((offset?, length?));
    }
    Ok(Some(segments))
}

/// Writes the content that `from` holds to where `map`, already checked, says it belongs.
pub(super) fn write(
    session: &mut Session<'_>,
    name: &EntryName,
    from: &mut dyn Read,
    map: &Map,
    file: &mut File,
    place: &Path,
) -> Result<(), Error> {
    for (offset, length) in &map.segments {
        if *length == 0 {
            continue;
        }
        file.seek(SeekFrom::Start(*offset))
            .map_err(|error| Error::io("write", place, error))?;
        let mut output = Output {
            file,
            place,
            charged: Charged::Before,
        };
        let copied = session.copy(name, &mut Read::take(&mut *from, *length), &mut output)?;
        if copied < *length {
            return Err(name.refuse(ArchiveProblem::Truncated));
        }
    }
    file.set_len(map.file_bytes)
        .map_err(|error| Error::io("write", place, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn map_must_be_in_order_and_add_up() {
        for (segments, file_bytes, stored, holds) in [
            (vec![], 0, 0, true),
            (vec![], 100, 0, true),
            (vec![(0, 10)], 10, 10, true),
            (vec![(5, 5), (10, 5)], 20, 10, true),
            (vec![(5, 5), (9, 5)], 20, 10, false),
            (vec![(5, 5), (0, 5)], 20, 10, false),
            (vec![(15, 6)], 20, 6, false),
            (vec![(5, 5)], 20, 6, false),
            (vec![(u64::MAX, 1)], u64::MAX, 1, false),
        ] {
            let map = Map {
                file_bytes,
                segments,
            };
            assert_eq!(map.check(stored).is_ok(), holds, "{map:?} {stored}");
        }
    }

    #[test]
    fn map_in_lines_is_read_once_it_is_whole() {
        assert_eq!(parse_lines(b"2\n0\n5\n10"), Ok(None));
        assert_eq!(parse_lines(b"2\n0\n5\n10\n"), Ok(None));
        assert_eq!(
            parse_lines(b"2\n0\n5\n10\n5\n\0\0\0"),
            Ok(Some(vec![(0, 5), (10, 5)]))
        );
        assert_eq!(parse_lines(b"0\n\0\0"), Ok(Some(vec![])));
        assert!(parse_lines(b"1\nx\n5\n").is_err());
        assert!(parse_lines(b"-1\n").is_err());
        assert!(parse_lines(&[b'1'; 512]).is_err());
        // A count that promises more than any map holds allocates nothing ahead.
        assert_eq!(parse_lines(b"18446744073709551615\n1\n1\n"), Ok(None));
    }
}
