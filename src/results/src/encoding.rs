//! Which encoding a file is in, and the way from there to UTF-8.
//!
//! A byte order mark is trusted first, then the pattern of the first bytes, and only then what the XML declaration
//! says: .NET writers often declare UTF-16 in files that are UTF-8.

use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE};

use crate::text::{as_u64, printable_line};

/// The byte order mark of UTF-8.
pub(crate) const UTF8_BOM: &[u8] = b"\xEF\xBB\xBF";

/// Bytes of a file in another encoding read at once.
const RAW_BYTES: usize = 16 << 10;

/// What the first bytes say.
pub(crate) struct Detected {
    /// Bytes of the mark to skip.
    pub(crate) skip: usize,
    /// The way to UTF-8, for files that are not in it.
    pub(crate) transcoder: Option<Transcoder>,
    /// What is odd about the encoding, as a sentence fragment.
    pub(crate) odd: Option<String>,
}

/// Looks at the first bytes of a file.
pub(crate) fn detect(start: &[u8]) -> Detected {
    let utf8 = |skip, odd| Detected {
        skip,
        transcoder: None,
        odd,
    };
    let other = |skip, encoding| Detected {
        skip,
        transcoder: Some(Transcoder::new(encoding)),
        odd: None,
    };
    match start {
        // UTF-32 begins like UTF-16 and is read as such: what comes out is no known format, which is what is said.
        [0xEF, 0xBB, 0xBF, ..] => {
            utf8(3, declared(start).and_then(|label| odd_beside_mark(&label)))
        }
        [0xFF, 0xFE, ..] => other(2, UTF_16LE),
        [0xFE, 0xFF, ..] => other(2, UTF_16BE),
        [first, 0, second, 0, ..] if *first != 0 && *second != 0 => other(0, UTF_16LE),
        [0, first, 0, second, ..] if *first != 0 && *second != 0 => other(0, UTF_16BE),
        _ => match declared(start) {
            None => utf8(0, None),
            Some(label) => by_label(&label),
        },
    }
}

fn by_label(label: &str) -> Detected {
    let utf8 = |odd| Detected {
        skip: 0,
        transcoder: None,
        odd,
    };
    match Encoding::for_label(label.as_bytes()) {
        Some(encoding) if encoding == UTF_8 => utf8(None),
        Some(encoding) if encoding == UTF_16LE || encoding == UTF_16BE => utf8(Some(format!(
            "it declares `{}` and is not in it; read as UTF-8",
            printable_line(label, 40)
        ))),
        // The replacement encoding stands for ones that are unsafe to decode: it would give one mark for the whole.
        Some(encoding) if encoding != encoding_rs::REPLACEMENT => Detected {
            skip: 0,
            transcoder: Some(Transcoder::new(encoding)),
            odd: None,
        },
        _ => utf8(Some(format!(
            "it declares the unknown encoding `{}`; read as UTF-8",
            printable_line(label, 40)
        ))),
    }
}

fn odd_beside_mark(label: &str) -> Option<String> {
    match Encoding::for_label(label.as_bytes()) {
        Some(encoding) if encoding == UTF_8 => None,
        _ => Some(format!(
            "it declares `{}` but carries the mark of UTF-8; read as UTF-8",
            printable_line(label, 40)
        )),
    }
}

/// The encoding named in an XML declaration, if the file begins with one.
fn declared(start: &[u8]) -> Option<String> {
    let skipped = start
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace() || UTF8_BOM.contains(byte))
        .count();
    let declaration = start[skipped..].strip_prefix(b"<?xml")?;
    let declaration = &declaration[..declaration.len().min(512)];
    let declaration = &declaration[..memchr::memchr(b'>', declaration)?];
    let after = &declaration[memchr::memmem::find(declaration, b"encoding")? + b"encoding".len()..];
    let after = after
        .trim_ascii_start()
        .strip_prefix(b"=")?
        .trim_ascii_start();
    let (quote, after) = after.split_first()?;
    let end = match quote {
        b'"' | b'\'' => memchr::memchr(*quote, after)?,
        _ => return None,
    };
    Some(String::from_utf8_lossy(&after[..end]).into_owned())
}

/// Turns bytes of another encoding into UTF-8, replacing what is invalid.
pub(crate) struct Transcoder {
    decoder: Decoder,
    raw: Vec<u8>,
    start: usize,
    end: usize,
    replaced: u64,
    state: TranscoderState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TranscoderState {
    Decoding,
    /// The decoder was told of the end and must not be used again.
    Finished,
}

impl Transcoder {
    fn new(encoding: &'static Encoding) -> Self {
        Self {
            decoder: encoding.new_decoder_without_bom_handling(),
            raw: vec![0; RAW_BYTES],
            start: 0,
            end: 0,
            replaced: 0,
            state: TranscoderState::Decoding,
        }
    }

    /// Sequences that were invalid so far; a stretch of text with several may count as one.
    pub(crate) fn replaced(&self) -> u64 {
        self.replaced
    }

    /// Adds bytes that were read before the encoding was known.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.raw.resize(self.end + bytes.len().max(RAW_BYTES), 0);
        self.raw[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Where to read more bytes into; only to be called when [`Transcoder::drain_into`] gave nothing.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.raw.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        &mut self.raw[self.end..]
    }

    /// Tells how many bytes were read into [`Transcoder::space`].
    pub(crate) fn added(&mut self, count: usize) {
        self.end += count;
    }

    /// Decodes as much as fits; `last` when no more input comes. Returns the bytes written.
    pub(crate) fn drain_into(&mut self, target: &mut [u8], last: bool) -> usize {
        if self.state == TranscoderState::Finished {
            return 0;
        }
        let (result, read, written, had_errors) =
            self.decoder
                .decode_to_utf8(&self.raw[self.start..self.end], target, last);
        self.start += read;
        self.replaced += as_u64(usize::from(had_errors));
        if last && result == CoderResult::InputEmpty {
            self.state = TranscoderState::Finished;
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Fill, Source};

    fn check(bytes: &[u8], expected: &str, odd: bool) {
        // Decoded from one read and from drops of three bytes, which cut characters in two.
        for size in [usize::MAX, 3] {
            let mut rest = bytes;
            let mut drip = Drip {
                rest: &mut rest,
                size,
            };
            let (mut source, note) = Source::open(&mut drip, &|| false, u64::MAX).expect("opens");
            while source.fill() == Fill::More {}
            assert_eq!(String::from_utf8_lossy(source.available()), expected);
            assert_eq!(note.is_some(), odd, "{note:?}");
        }
    }

    struct Drip<'a, 'b> {
        rest: &'a mut &'b [u8],
        size: usize,
    }

    impl std::io::Read for Drip<'_, '_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            // The first read gives enough to find the encoding, as a file does.
            let size = buffer.len().min(self.size);
            self.size = self.size.clamp(3, usize::MAX);
            std::io::Read::read(self.rest, &mut buffer[..size])
        }
    }

    fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(unit).collect()
    }

    #[test]
    fn marks_and_patterns_win_over_declarations() {
        let text = "<?xml version=\"1.0\" encoding=\"utf-16\"?><a>na\u{ef}ve \u{1f389}</a>";
        check(text.as_bytes(), text, true);
        check(&[UTF8_BOM, text.as_bytes()].concat(), text, true);
        check(&[UTF8_BOM, UTF8_BOM, b"{}"].concat(), "{}", false);
        check(&utf16(text, u16::to_le_bytes), text, false);
        check(&utf16(text, u16::to_be_bytes), text, false);
        check(
            &utf16(&format!("\u{feff}{text}"), u16::to_le_bytes),
            text,
            false,
        );
        check(
            &utf16(&format!("\u{feff}{text}"), u16::to_be_bytes),
            text,
            false,
        );
        check(&utf16("ok 1", u16::to_le_bytes), "ok 1", false);
    }

    #[test]
    fn declared_legacy_encodings_are_decoded_and_unknown_ones_are_utf8() {
        let head = "<?xml version='1.0' encoding='windows-1252'?>";
        check(
            &[head.as_bytes(), b"\x93q\x94 \x80"].concat(),
            &format!("{head}\u{201c}q\u{201d} \u{20ac}"),
            false,
        );
        let head = "\n<?xml version='1.0' encoding = \"Shift_JIS\"?>";
        check(
            &[head.as_bytes(), b"\x83\x5c"].concat(),
            &format!("{head}\u{30bd}"),
            false,
        );
        let head = "<?xml version='1.0' encoding='klingon'?>caf\u{e9}";
        check(head.as_bytes(), head, true);
        let head = "<?xml version='1.0' encoding='iso-2022-kr'?>x";
        check(head.as_bytes(), head, true);
    }
}
