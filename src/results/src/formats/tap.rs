//! Test Anything Protocol, versions 12 to 14.

use crate::model::Format;

/// The format, if `window` begins with a line of it.
pub(crate) fn sniff(window: &[u8]) -> Option<Format> {
    begins(window).then_some(Format::Tap)
}

/// Whether `text` begins with a line that only this format has.
pub(crate) fn begins(text: &[u8]) -> bool {
    let _ = text;
    false
}
