//! Names and sizes of what lies in a spool.
//!
//! | name | what |
//! |---|---|
//! | `console.<offset>` | console bytes from that offset on, twenty decimal digits |
//! | `index.<offset>` | the records of that segment, see [`super::index`] |
//! | `status.json` | [`super::status::Status`], replaced as a whole |
//! | `status.next` | the next status, and room kept for the last one |
//! | `ctl` | the supervisor's control socket while it runs |
//!
//! A segment ends where the next begins; bytes between two segments are gone (dropped for the
//! limits, or lost to a full disk).

use serde::{Deserialize, Serialize};

pub(crate) const CONTROL_SOCKET: &str = "ctl";
pub(crate) const STATUS: &str = "status.json";
pub(crate) const STATUS_NEXT: &str = "status.next";

/// How much of a console is kept, and in what pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpoolLimits {
    /// Bytes kept for ever from the start; 0 or more. Index bytes count too, so a console that
    /// changes streams all the time keeps a little less.
    pub head_bytes: u64,
    /// Bytes kept from the end once the head is full. Up to one segment more is on disk.
    pub tail_bytes: u64,
    /// Size of one segment, [`SpoolLimits::MIN_SEGMENT_BYTES`] to
    /// [`SpoolLimits::MAX_SEGMENT_BYTES`].
    pub segment_bytes: u64,
}

impl SpoolLimits {
    /// Smallest segment in bytes.
    pub const MIN_SEGMENT_BYTES: u64 = 4 << 10;
    /// Largest segment in bytes.
    pub const MAX_SEGMENT_BYTES: u64 = 1 << 30;
}

impl Default for SpoolLimits {
    /// 64 MiB of either end in segments of 8 MiB.
    fn default() -> Self {
        Self {
            head_bytes: 64 << 20,
            tail_bytes: 64 << 20,
            segment_bytes: 8 << 20,
        }
    }
}

/// Name of the segment of console bytes that starts at `offset`.
pub(crate) fn console_name(offset: u64) -> String {
    format!("console.{offset:020}")
}

/// Name of that segment's index.
pub(crate) fn index_name(offset: u64) -> String {
    format!("index.{offset:020}")
}

/// The offset in the name of a console segment, if it is one.
pub(crate) fn console_offset(name: &[u8]) -> Option<u64> {
    let digits = name.strip_prefix(b"console.")?;
    if digits.len() != 20 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_names_sort_as_their_offsets_and_read_back() {
        for offset in [0, 1, 8 << 20, u64::MAX] {
            assert_eq!(
                console_offset(console_name(offset).as_bytes()),
                Some(offset)
            );
        }
        assert!(console_name(9) < console_name(10));
        for name in [
            "console.1",
            "console.",
            "console.0000000000000000000x",
            "index.00000000000000000000",
        ] {
            assert_eq!(console_offset(name.as_bytes()), None, "{name}");
        }
        assert_eq!(console_offset(b"console.99999999999999999999"), None);
    }
}
