//! References in text and attribute values.

use crate::text::{Capture, find_byte};

/// The longest reference that is resolved, `&` and `;` included. Anything longer is plain text.
pub(crate) const LONGEST_REFERENCE: usize = 16;

/// Appends `raw` to `capture` with its references resolved.
pub(crate) fn push_unescaped(raw: &[u8], capture: &mut Capture) {
    let mut rest = raw;
    while let Some(at) = find_byte(b'&', rest) {
        capture.push(&rest[..at]);
        rest = &rest[at..];
        let (character, length) = resolve(rest);
        match character {
            Some(character) => capture.push(character.encode_utf8(&mut [0; 4]).as_bytes()),
            None => capture.push(&rest[..length]),
        }
        rest = &rest[length..];
    }
    capture.push(rest);
}

/// Appends `raw` to `resolved` with its references resolved.
pub(crate) fn unescape_into(raw: &[u8], resolved: &mut Vec<u8>) {
    let mut rest = raw;
    while let Some(at) = find_byte(b'&', rest) {
        resolved.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let (character, length) = resolve(rest);
        match character {
            Some(character) => {
                resolved.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            None => resolved.extend_from_slice(&rest[..length]),
        }
        rest = &rest[length..];
    }
    resolved.extend_from_slice(rest);
}

/// Resolves the reference that `text` begins with: the character and the length of the reference, or no character
/// and the number of bytes to take as they are. What cannot be resolved stays literal: an unknown entity, a
/// reference to NUL or to half a surrogate pair. References to control characters are resolved, although XML 1.0
/// forbids them, since writers use them for what tests print.
fn resolve(text: &[u8]) -> (Option<char>, usize) {
    let window = &text[..text.len().min(LONGEST_REFERENCE)];
    let Some(end) = memchr::memchr(b';', window) else {
        return (None, 1);
    };
    let character = match &window[1..end] {
        b"lt" => Some('<'),
        b"gt" => Some('>'),
        b"amp" => Some('&'),
        b"quot" => Some('"'),
        b"apos" => Some('\''),
        [b'#', b'x' | b'X', digits @ ..] => numeric(digits, 16),
        [b'#', digits @ ..] => numeric(digits, 10),
        _ => None,
    };
    match character {
        Some(character) => (Some(character), end + 1),
        None => (None, 1),
    }
}

fn numeric(digits: &[u8], radix: u32) -> Option<char> {
    // A sign would be accepted by the standard parser.
    if !digits.first()?.is_ascii_hexdigit() {
        return None;
    }
    let code = u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()?;
    char::from_u32(code).filter(|character| *character != '\0')
}

/// How many bytes of `text` can be taken without cutting a reference in two at its end.
pub(crate) fn whole_references(text: &[u8]) -> usize {
    let from = text.len().saturating_sub(LONGEST_REFERENCE);
    match memchr::memrchr(b'&', &text[from..]) {
        Some(at) if memchr::memchr(b';', &text[from + at..]).is_none() => from + at,
        _ => text.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, expected: &str) {
        let mut resolved = Vec::new();
        unescape_into(raw.as_bytes(), &mut resolved);
        assert_eq!(String::from_utf8_lossy(&resolved), expected);
        let mut capture = Capture::new(1000);
        push_unescaped(raw.as_bytes(), &mut capture);
        assert_eq!(capture.finish().0.as_str(), expected);
    }

    #[test]
    fn known_references_are_resolved_and_others_stay() {
        check("a&lt;b&gt;&amp;&quot;&apos;", "a<b>&\"'");
        check("&#65;&#x42;&#X1b;&#10;", "AB\u{1b}\n");
        check("&nbsp;&lol9;&xxe;", "&nbsp;&lol9;&xxe;");
        check(
            "&#0;&#xD800;&#xFFFFFFFF;&#-1;&#+1;&#;&#x;",
            "&#0;&#xD800;&#xFFFFFFFF;&#-1;&#+1;&#;&#x;",
        );
        check("a & b && c &", "a & b && c &");
        check("&amp;lt;", "&lt;");
    }

    #[test]
    fn references_are_not_cut_at_the_end_of_a_piece() {
        assert_eq!(whole_references(b"abc&am"), 3);
        assert_eq!(whole_references(b"abc&amp;"), 8);
        assert_eq!(whole_references(b"a & twenty characters or more"), 29);
    }
}
