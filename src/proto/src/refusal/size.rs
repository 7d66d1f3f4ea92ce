//! How much of a refusal fits into a status.
//!
//! A status travels as HTTP/2 headers: the message percent-encoded, and once more inside the details,
//! which are base64. Common clients refuse more than 8 KiB of headers in all, and then show an error
//! of their own instead of ours. So texts are cut here, and violations are left out.

/// What clients take of headers, less what the server and HTTP/2 add of their own.
pub(super) const MAX_HEADER_BYTES: usize = 8192 - 512;

/// The most that the message takes as a header.
const MAX_MESSAGE_HEADER_BYTES: usize = 2048;

/// The longest text in the details, in bytes.
pub(super) const MAX_TEXT_BYTES: usize = 256;

/// Tags and lengths around the texts of one detail, in bytes, generously.
const ENVELOPE_BYTES: usize = 24;

/// Names of types, reason, domain and waiting time, in bytes, generously.
const FIXED_BYTES: usize = 384;

const CUT: &str = "...";

/// A sentence, cut to what fits as the message of a status.
pub(super) fn message(sentence: &str) -> String {
    cut(sentence, MAX_MESSAGE_HEADER_BYTES, header_bytes)
}

/// A text, cut to what one detail may hold.
pub(super) fn text(text: &str) -> String {
    cut(text, MAX_TEXT_BYTES, char::len_utf8)
}

/// The longest beginning of `text` that is not larger than `most`, the mark of the cut included.
fn cut(text: &str, most: usize, size: impl Fn(char) -> usize) -> String {
    let (mut used, mut end) = (0, 0);
    for (index, character) in text.char_indices() {
        // Where a cut would still fit.
        if used + CUT.len() <= most {
            end = index;
        }
        used += size(character);
        if used > most {
            return format!("{}{CUT}", &text[..end]);
        }
    }
    text.to_owned()
}

/// The most that a character can take in a percent-encoded header.
fn header_bytes(character: char) -> usize {
    if character.is_ascii_alphanumeric() || matches!(character, '.' | ',' | '-' | '_') {
        1
    } else {
        3 * character.len_utf8()
    }
}

/// What is left for details.
pub(super) struct Room(usize);

impl Room {
    /// The room that a message leaves.
    pub(super) fn beside(message: &str) -> Self {
        let header: usize = message.chars().map(header_bytes).sum();
        // Four characters of base64 hold three bytes.
        let details = MAX_HEADER_BYTES.saturating_sub(header) / 4 * 3;
        Self(details.saturating_sub(message.len() + FIXED_BYTES))
    }

    /// Whether a detail with these texts fits; if so, its room is taken.
    pub(super) fn take(&mut self, texts: &[&str]) -> bool {
        let wanted = ENVELOPE_BYTES + texts.iter().map(|text| text.len()).sum::<usize>();
        let left = self.0.checked_sub(wanted);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters_and_says_so() {
        assert_eq!(text(&"a".repeat(256)), "a".repeat(256));
        assert_eq!(text(&"a".repeat(257)), format!("{}...", "a".repeat(253)));
        assert_eq!(text(&"é".repeat(129)), format!("{}...", "é".repeat(126)));
        assert_eq!(text(""), "");
    }

    #[test]
    fn message_is_cut_by_its_size_as_a_header() {
        assert_eq!(message(&"a".repeat(2048)), "a".repeat(2048));
        // A blank takes three bytes, and the mark three characters of one.
        assert_eq!(message(&" ".repeat(683)).len(), 681 + CUT.len());
        assert!(
            message(&"€".repeat(2000))
                .chars()
                .map(header_bytes)
                .sum::<usize>()
                <= 2048
        );
    }

    #[test]
    fn room_is_given_until_it_is_gone() {
        let mut room = Room(100);
        assert!(room.take(&["a"; 26]));
        assert!(!room.take(&["a"; 27]));
        assert!(room.take(&["a"; 26]));
        assert!(!room.take(&[]));
    }
}
