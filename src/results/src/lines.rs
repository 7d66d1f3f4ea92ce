//! Lines of a file, cut to size.

use crate::source::{Fill, Source};

/// Bytes of a line that are kept.
const LINE_BYTES: usize = 64 << 10;

/// Moves behind the next line and puts it, without its end, into `line`. False at the end of the input.
pub(crate) fn next_line(source: &mut Source<'_>, line: &mut Vec<u8>) -> bool {
    line.clear();
    source.mark();
    let mut seen = false;
    loop {
        let available = source.available();
        seen |= !available.is_empty();
        let end = memchr::memchr(b'\n', available);
        let piece = &available[..end.unwrap_or(available.len())];
        let room = LINE_BYTES - line.len().min(LINE_BYTES);
        line.extend_from_slice(&piece[..piece.len().min(room)]);
        let length = piece.len();
        match end {
            Some(_) => {
                source.consume(length + 1);
                break;
            }
            None => {
                source.consume(length);
                if source.fill() == Fill::Ended {
                    break;
                }
            }
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_their_ends_and_what_is_too_long() {
        let long = "x".repeat(LINE_BYTES * 3);
        let text = format!("a\r\n\n{long}\nlast");
        let mut input = text.as_bytes();
        let (mut source, _) = Source::open(&mut input, &|| false, u64::MAX).expect("opens");
        let mut line = Vec::new();
        let mut lengths = Vec::new();
        while next_line(&mut source, &mut line) {
            lengths.push(line.len());
        }
        assert_eq!(lengths, [1, 0, LINE_BYTES, 4]);
    }
}
