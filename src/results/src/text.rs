//! Texts from result files: kept within bounds while they are read, and made safe before they are shown.

use std::borrow::Cow;
use std::fmt;

/// A text of which the middle may have been dropped while reading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text {
    content: String,
    dropped_bytes: u64,
}

impl Text {
    /// The text; where bytes were dropped, a line in the middle says how many.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.content
    }

    /// How many bytes of the file's text are missing from the middle.
    #[must_use]
    pub fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.content.is_empty()
    }

    /// Adds `other` behind a `separator`, unless the text has reached `limit` bytes; then it is counted as dropped.
    pub(crate) fn append(&mut self, separator: &str, other: &Self, limit: usize) {
        if self.content.len() >= limit {
            self.dropped_bytes += as_u64(other.content.len()) + other.dropped_bytes;
        } else {
            self.content.push_str(separator);
            self.content.push_str(&other.content);
            self.dropped_bytes += other.dropped_bytes;
        }
    }

    /// The text as an owned string.
    #[must_use]
    pub fn into_string(self) -> String {
        self.content
    }
}

impl From<String> for Text {
    fn from(content: String) -> Self {
        Self {
            content,
            dropped_bytes: 0,
        }
    }
}

impl From<&str> for Text {
    fn from(content: &str) -> Self {
        Self::from(content.to_owned())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.content)
    }
}

/// Collects bytes of a text piece by piece and keeps its head and its tail.
#[derive(Debug, Default)]
pub(crate) struct Capture {
    head: Vec<u8>,
    tail: Vec<u8>,
    head_limit: usize,
    tail_limit: usize,
    dropped: u64,
}

impl Capture {
    /// A capture that keeps at most `limit` bytes: half of them from the head, half from the tail.
    pub(crate) fn new(limit: usize) -> Self {
        let tail_limit = limit / 2;
        Self {
            head_limit: limit - tail_limit,
            tail_limit,
            ..Self::default()
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.dropped == 0
    }

    /// Adds bytes, in the order of the file.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let room = self.head_limit - self.head.len().min(self.head_limit);
        if bytes.len() <= room {
            self.head.extend_from_slice(bytes);
            return;
        }
        let (first, rest) = bytes.split_at(room);
        self.head.extend_from_slice(first);
        // Of one piece no more than the tail can survive, so a huge piece is never copied whole.
        let skipped = rest.len().saturating_sub(self.tail_limit);
        if skipped > 0 {
            self.dropped += as_u64(self.tail.len() + skipped);
            self.tail.clear();
        }
        self.tail.extend_from_slice(&rest[skipped..]);
        // Trimming only at twice the size makes each byte move a bounded number of times.
        if self.tail.len() > self.tail_limit * 2 {
            self.trim_tail();
        }
    }

    fn trim_tail(&mut self) {
        let excess = self.tail.len().saturating_sub(self.tail_limit);
        self.tail.drain(..excess);
        self.dropped += as_u64(excess);
    }

    /// Bytes that [`Capture::finish`] would return, about.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// The text so far, decoded; the capture is empty afterwards and keeps its limit.
    /// The second value is the number of invalid sequences that were replaced.
    pub(crate) fn finish(&mut self) -> (Text, u64) {
        self.trim_tail();
        let dropped = std::mem::take(&mut self.dropped);
        let mut replaced = 0;
        let content = if dropped == 0 {
            // Nothing is missing in between: a character may lie across the seam.
            self.head.append(&mut self.tail);
            decode_owned(std::mem::take(&mut self.head), &mut replaced)
        } else {
            let mut content =
                decode_owned(trim_cut_end(std::mem::take(&mut self.head)), &mut replaced);
            content.push_str(&format!("\n[... {dropped} bytes dropped ...]\n"));
            let tail = std::mem::take(&mut self.tail);
            let start = tail
                .iter()
                .take(3)
                .take_while(|byte| is_continuation(**byte))
                .count();
            content.push_str(&decode(&tail[start..], &mut replaced));
            content
        };
        (
            Text {
                content,
                dropped_bytes: dropped,
            },
            replaced,
        )
    }

    /// Forgets everything and sets a new limit.
    pub(crate) fn reset(&mut self, limit: usize) {
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        *self = Self {
            head,
            ..Self::new(limit)
        };
    }
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

/// Drops an incomplete character at the end, which the cut and not the file has made invalid.
fn trim_cut_end(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Err(error) = std::str::from_utf8(&bytes)
        && error.error_len().is_none()
    {
        bytes.truncate(error.valid_up_to());
    }
    bytes
}

fn decode_owned(bytes: Vec<u8>, replaced: &mut u64) -> String {
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => decode(error.as_bytes(), replaced).into_owned(),
    }
}

/// Decodes UTF-8, replacing what is invalid and counting the replacements.
pub(crate) fn decode<'a>(bytes: &'a [u8], replaced: &mut u64) -> Cow<'a, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            let mut text = String::with_capacity(bytes.len() + 8);
            for chunk in bytes.utf8_chunks() {
                text.push_str(chunk.valid());
                if !chunk.invalid().is_empty() {
                    text.push(char::REPLACEMENT_CHARACTER);
                    *replaced += 1;
                }
            }
            Cow::Owned(text)
        }
    }
}

/// `usize` as `u64`, which loses nothing on any machine this runs on.
pub(crate) fn as_u64(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// The longest prefix of `text` of at most `limit` bytes that ends between two characters.
pub(crate) fn prefix(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

/// Cuts a name that is longer than `limit` bytes; a hash of the whole keeps two long names different.
pub(crate) fn clip_name(name: Cow<'_, str>, limit: usize) -> String {
    if name.len() <= limit {
        return name.into_owned();
    }
    let hash = fnv1a(name.as_bytes());
    format!("{}...#{hash:016x}", prefix(&name, limit.saturating_sub(20)))
}

/// The FNV-1a hash: stable across versions and machines, which the standard hasher does not promise.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Like `memchr`, which pays for its start-up only in longer texts than most attribute values are.
pub(crate) fn find_byte(byte: u8, bytes: &[u8]) -> Option<usize> {
    const SHORT: usize = 64;
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (short, rest) = bytes.split_at(bytes.len().min(SHORT));
    let pattern = u64::from(byte) * ONES;
    // A byte of zero, and only that, borrows from its neighbour; the lowest one found is exact.
    let find = |word: &[u8; 8]| {
        let different = u64::from_le_bytes(*word) ^ pattern;
        different.wrapping_sub(ONES) & !different & (ONES << 7)
    };
    let lowest = |found: u64| usize::try_from(found.trailing_zeros() / 8).unwrap_or(0);
    let (words, tail) = short.as_chunks::<8>();
    // The lengths of values vary, so that the end of the loop is guessed wrong less often with fewer rounds.
    let (pairs, last) = words.as_chunks::<2>();
    for (index, [one, other]) in pairs.iter().enumerate() {
        let at = index * 16;
        match (find(one), find(other)) {
            (0, 0) => {}
            (0, found) => return Some(at + 8 + lowest(found)),
            (found, _) => return Some(at + lowest(found)),
        }
    }
    if let [word] = last
        && let found @ 1.. = find(word)
    {
        return Some(pairs.len() * 16 + lowest(found));
    }
    let before = short.len() - tail.len();
    match tail.iter().position(|other| *other == byte) {
        Some(at) => Some(before + at),
        None => memchr::memchr(byte, rest).map(|at| short.len() + at),
    }
}

/// Makes a text safe to print or to send: control characters other than tab and line feed, and characters that
/// turn the direction of writing, become visible escapes; the openings of lines that a build service would obey
/// (`##vso[`, `##[`) are broken. Line ends become `\n`.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe_to_print) && !text.contains("##") {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let rest = characters.as_str();
        match character {
            '\r' if rest.starts_with('\n') => {}
            '#' if opens_service_command(rest) => safe.push_str("# "),
            character if is_unsafe_to_print(character) => push_escape(&mut safe, character),
            character => safe.push(character),
        }
    }
    Cow::Owned(safe)
}

/// Whether what follows one `#` makes it the opening of a command to the build service.
fn opens_service_command(rest: &str) -> bool {
    let Some(rest) = rest.strip_prefix('#') else {
        return false;
    };
    rest.starts_with('[')
        || rest
            .get(..4)
            .is_some_and(|word| word.eq_ignore_ascii_case("vso["))
}

/// [`printable`] on one line of at most `limit` bytes: line ends and tabs become spaces, what is cut off ends in `...`.
#[must_use]
pub fn printable_line(text: &str, limit: usize) -> String {
    let cut = prefix(text, limit);
    let mut line = printable(cut).replace(['\n', '\t'], " ");
    if cut.len() < text.len() {
        line.push_str("...");
    }
    line
}

fn is_unsafe_to_print(character: char) -> bool {
    match character {
        '\t' | '\n' => false,
        // Marks and overrides of the direction, and line or paragraph separators that some terminals obey.
        '\u{061C}'
        | '\u{200E}'
        | '\u{200F}'
        | '\u{2028}'..='\u{202E}'
        | '\u{2066}'..='\u{2069}' => true,
        '\u{FFFE}' | '\u{FFFF}' | '\u{FEFF}' => true,
        character => character.is_control(),
    }
}

fn push_escape(safe: &mut String, character: char) {
    let code = u32::from(character);
    if code < 0x100 {
        safe.push_str(&format!("\\x{code:02x}"));
    } else {
        safe.push_str(&format!("\\u{{{code:x}}}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_wherever_they_are() {
        for length in 0..200 {
            for at in 0..length {
                let mut bytes = vec![b'\''; length];
                bytes[at] = b'"';
                bytes[length - 1] = b'"';
                assert_eq!(find_byte(b'"', &bytes), Some(at));
            }
            assert_eq!(find_byte(b'"', &vec![b'#'; length]), None);
            assert_eq!(find_byte(0x80, &vec![0x81; length]), None);
        }
    }

    fn captured(limit: usize, pieces: &[&[u8]]) -> (Text, u64) {
        let mut capture = Capture::new(limit);
        for piece in pieces {
            capture.push(piece);
        }
        capture.finish()
    }

    #[test]
    fn captures_keep_head_and_tail_and_count_the_rest() {
        assert_eq!(captured(10, &[b"0123456789"]).0, Text::from("0123456789"));
        let (text, _) = captured(10, &[b"01234", b"5678", b"9abc", b"def"]);
        assert_eq!(text.as_str(), "01234\n[... 6 bytes dropped ...]\nbcdef");
        assert_eq!(text.dropped_bytes(), 6);
        let many: Vec<&[u8]> = std::iter::repeat_n(b"x".as_slice(), 1000).collect();
        let (text, _) = captured(10, &many);
        assert_eq!(text.dropped_bytes(), 990);
        let (text, _) = captured(0, &[b"all of it"]);
        assert_eq!(text.dropped_bytes(), 9);
    }

    #[test]
    fn captures_cut_between_characters_and_replace_only_what_is_invalid() {
        let text = "\u{e9}".repeat(20);
        let (text, replaced) = captured(9, &[text.as_bytes()]);
        assert_eq!(replaced, 0, "{text}");
        assert!(!text.as_str().contains(char::REPLACEMENT_CHARACTER));
        let (text, replaced) = captured(100, &[b"a\xC3", b"\xA9 \xFF"]);
        assert_eq!((text.as_str(), replaced), ("a\u{e9} \u{fffd}", 1));
    }

    #[test]
    fn long_names_are_cut_and_stay_different() {
        let one = clip_name(Cow::Owned("n".repeat(100)), 60);
        let other = clip_name(Cow::Owned("n".repeat(101)), 60);
        assert!(one.len() <= 60 && other.len() <= 60 && one != other);
        assert_eq!(clip_name(Cow::Borrowed("short"), 60), "short");
    }

    #[test]
    fn printable_text_obeys_no_terminal_and_no_build_service() {
        for (text, expected) in [
            ("plain\tline\n", "plain\tline\n"),
            ("a\r\nb\rc", "a\nb\\x0dc"),
            ("\u{1b}[31m\0\u{7f}\u{85}", "\\x1b[31m\\x00\\x7f\\x85"),
            ("\u{202e}evil\u{feff}", "\\u{202e}evil\\u{feff}"),
            ("x ##vso[task.complete]", "x # #vso[task.complete]"),
            ("##VSO[a]##[error]", "# #VSO[a]# #[error]"),
            ("## a heading, ###[x]", "## a heading, ## #[x]"),
        ] {
            assert_eq!(printable(text), expected);
            // Making it safe once more changes nothing.
            assert_eq!(printable(&printable(text)), expected);
        }
        assert_eq!(printable_line("a\n\tb c", 4), "a  b...");
    }
}
