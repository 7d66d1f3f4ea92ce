//! Bytes to keys, values and brackets.

use crate::source::{Fill, Source};
use crate::text::Capture;

/// Open brackets at most; a file with more is not read further.
const MOST_DEPTH: u64 = 1 << 20;

/// Bytes kept of a number or literal.
const SCALAR_BYTES: usize = 64;

/// Bytes kept of a key: as many as of a name, since keys of labels are names.
pub(crate) const KEY_BYTES: usize = 16 << 10;

/// One piece of a JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    ObjectStart,
    ArrayStart,
    /// The innermost object or array ends.
    End,
    /// A key; [`Lexer::key`] has it.
    Key,
    /// A string value; [`Lexer::text`] has it.
    Text,
    /// A number; [`Lexer::scalar`] has its literal.
    Number,
    /// `true` or `false`.
    Bool(bool),
    Null,
    /// Something that is no JSON; one byte, or in line mode the line, was stepped over.
    Flaw,
    /// No more bytes, or brackets nested beyond reason.
    InputEnd,
}

/// Whether a line break may stand inside a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One document over any number of lines.
    Document,
    /// One object per line: a line break inside one shows that it is broken, and the next begins behind it.
    Lines,
}

/// What may come next inside the innermost object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    KeyOrEnd,
    Value,
}

pub(crate) struct Lexer<'s, 'a> {
    source: &'s mut Source<'a>,
    layout: Layout,
    /// One bit per open bracket: set for an object.
    objects: Vec<u64>,
    depth: u64,
    expect: Expect,
    key: Vec<u8>,
    text: Capture,
    text_limit: usize,
    scalar: Vec<u8>,
}

impl<'s, 'a> Lexer<'s, 'a> {
    pub(crate) fn new(source: &'s mut Source<'a>, layout: Layout) -> Self {
        Self {
            source,
            layout,
            objects: Vec::new(),
            depth: 0,
            expect: Expect::KeyOrEnd,
            key: Vec::new(),
            text: Capture::default(),
            text_limit: KEY_BYTES,
            scalar: Vec::new(),
        }
    }

    pub(crate) fn source(&mut self) -> &mut Source<'a> {
        self.source
    }

    /// Open brackets.
    pub(crate) fn depth(&self) -> u64 {
        self.depth
    }

    /// The last key.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The last string value.
    pub(crate) fn text(&mut self) -> &mut Capture {
        &mut self.text
    }

    /// The literal of the last number.
    pub(crate) fn scalar(&self) -> &[u8] {
        &self.scalar
    }

    /// Sets how many bytes to keep of the next string value.
    pub(crate) fn keep(&mut self, bytes: usize) {
        self.text_limit = bytes;
    }

    pub(crate) fn next(&mut self) -> Token {
        loop {
            let Some(&byte) = self.source.available().first() else {
                match self.source.fill() {
                    Fill::Ended => return Token::InputEnd,
                    Fill::More | Fill::Full => continue,
                }
            };
            match byte {
                b'\n' if self.layout == Layout::Lines && self.depth > 0 => {
                    self.source.consume(1);
                    self.depth = 0;
                    return Token::Flaw;
                }
                b' ' | b'\t' | b'\r' | b'\n' | b',' => self.source.consume(1),
                b'{' | b'[' => return self.open(byte == b'{'),
                b'}' | b']' if self.depth > 0 => {
                    self.source.consume(1);
                    self.depth -= 1;
                    self.expect = Expect::KeyOrEnd;
                    return Token::End;
                }
                b'"' if self.depth > 0 => return self.string(),
                b'-' | b'+' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' if self.depth > 0 => {
                    return self.literal();
                }
                _ => return self.flaw(),
            }
        }
    }

    fn open(&mut self, is_object: bool) -> Token {
        if self.depth >= MOST_DEPTH {
            return Token::InputEnd;
        }
        self.source.mark();
        self.source.consume(1);
        let (word, bit) = (self.depth / 64, self.depth % 64);
        let word = usize::try_from(word).unwrap_or(0);
        if word >= self.objects.len() {
            self.objects.push(0);
        }
        self.objects[word] = (self.objects[word] & !(1 << bit)) | (u64::from(is_object) << bit);
        self.depth += 1;
        self.expect = Expect::KeyOrEnd;
        if is_object {
            Token::ObjectStart
        } else {
            Token::ArrayStart
        }
    }

    fn in_object(&self) -> bool {
        let Some(level) = self.depth.checked_sub(1) else {
            return false;
        };
        let word = usize::try_from(level / 64).unwrap_or(0);
        self.objects
            .get(word)
            .is_some_and(|word| word >> (level % 64) & 1 == 1)
    }

    /// Steps over what is no JSON.
    fn flaw(&mut self) -> Token {
        match self.layout {
            Layout::Document => self.source.consume(1),
            Layout::Lines => {
                self.depth = 0;
                self.skip_to_object();
            }
        }
        Token::Flaw
    }

    /// Steps over the rest of the line, or up to an object in it: tests print without a line break too, and what
    /// the runner says next then stands on the same line.
    fn skip_to_object(&mut self) {
        self.source.consume(1);
        let available = self.source.available();
        let line = &available[..memchr::memchr(b'\n', available).unwrap_or(available.len())];
        let object = memchr::memchr_iter(b'{', line)
            .find(|at| matches!(&line[at + 1..], [b'"', ..] | [b' ', b'"', ..]));
        match object {
            Some(at) => self.source.consume(at),
            None => self.skip_line(),
        }
    }

    /// Steps over the rest of the line and its end.
    pub(crate) fn skip_line(&mut self) {
        loop {
            let available = self.source.available();
            if let Some(at) = memchr::memchr(b'\n', available) {
                self.source.consume(at + 1);
                return;
            }
            let length = available.len();
            self.source.consume(length);
            if self.source.fill() == Fill::Ended {
                return;
            }
        }
    }

    fn literal(&mut self) -> Token {
        self.scalar.clear();
        'literal: loop {
            let available = self.source.available();
            for (at, &byte) in available.iter().enumerate() {
                if !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')) {
                    self.source.consume(at);
                    break 'literal;
                }
                if self.scalar.len() < SCALAR_BYTES {
                    self.scalar.push(byte);
                }
            }
            let length = available.len();
            self.source.consume(length);
            if self.source.fill() == Fill::Ended {
                break;
            }
        }
        self.expect = Expect::KeyOrEnd;
        match self.scalar.as_slice() {
            b"true" => Token::Bool(true),
            b"false" => Token::Bool(false),
            b"null" => Token::Null,
            [b'-' | b'+' | b'0'..=b'9', ..] => Token::Number,
            _ => self.flaw_behind(),
        }
    }

    fn flaw_behind(&mut self) -> Token {
        if self.layout == Layout::Lines {
            self.depth = 0;
            self.skip_to_object();
        }
        Token::Flaw
    }

    /// Reads a string: a key with the colon behind it, or a value.
    fn string(&mut self) -> Token {
        self.source.consume(1);
        let is_key = self.in_object() && self.expect == Expect::KeyOrEnd;
        let limit = if is_key {
            KEY_BYTES * 2
        } else {
            self.text_limit
        };
        self.text.reset(limit);
        if let Some(token) = self.string_content() {
            return token;
        }
        if !is_key {
            self.expect = Expect::KeyOrEnd;
            return Token::Text;
        }
        let (key, _) = self.text.finish();
        self.key.clear();
        let key = key.as_str().as_bytes();
        self.key.extend_from_slice(&key[..key.len().min(KEY_BYTES)]);
        loop {
            match self.source.available().first().copied() {
                Some(b':') => {
                    self.source.consume(1);
                    self.expect = Expect::Value;
                    return Token::Key;
                }
                Some(b' ' | b'\t' | b'\r') => self.source.consume(1),
                Some(b'\n') if self.layout == Layout::Document => self.source.consume(1),
                Some(_) => return self.flaw(),
                None if self.source.fill() == Fill::Ended => return Token::InputEnd,
                None => {}
            }
        }
    }

    /// Reads up to and over the closing quote. A token if there is none.
    fn string_content(&mut self) -> Option<Token> {
        loop {
            let available = self.source.available();
            let stop = match self.layout {
                Layout::Document => memchr::memchr2(b'"', b'\\', available),
                Layout::Lines => memchr::memchr3(b'"', b'\\', b'\n', available),
            };
            let length = stop.unwrap_or(available.len());
            self.text.push(&available[..length]);
            let byte = available.get(length).copied();
            self.source.consume(length);
            match byte {
                Some(b'"') => {
                    self.source.consume(1);
                    return None;
                }
                Some(b'\n') => return Some(self.flaw()),
                Some(_) => self.escape(),
                None if self.source.fill() == Fill::Ended => return Some(Token::InputEnd),
                None => {}
            }
        }
    }

    /// Resolves the escape at the current place; what is no escape is taken as it is.
    fn escape(&mut self) {
        // Two escapes together may be one character beyond the basic plane.
        self.source.ensure(12);
        let available = self.source.available();
        let (character, length) = match available.get(1) {
            Some(b'n') => ('\n', 2),
            Some(b't') => ('\t', 2),
            Some(b'r') => ('\r', 2),
            Some(b'b') => ('\u{8}', 2),
            Some(b'f') => ('\u{c}', 2),
            Some(b'u') => unicode_escape(available),
            Some(byte @ (b'"' | b'\\' | b'/')) => (char::from(*byte), 2),
            _ => ('\\', 1),
        };
        self.text
            .push(character.encode_utf8(&mut [0; 4]).as_bytes());
        self.source.consume(length);
    }
}

/// The character of `\uXXXX`, or of two of them that are a surrogate pair, and the bytes it takes.
fn unicode_escape(text: &[u8]) -> (char, usize) {
    let unit = |from: usize| -> Option<u32> {
        let digits = text.get(from..from + 6)?.strip_prefix(b"\\u")?;
        let digits = std::str::from_utf8(digits).ok()?;
        digits
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit())
            .then(|| u32::from_str_radix(digits, 16).ok())?
    };
    let Some(first) = unit(0) else {
        return ('\\', 1);
    };
    if let Some(character) = char::from_u32(first) {
        return (character, 6);
    }
    if let (0xD800..=0xDBFF, Some(second @ 0xDC00..=0xDFFF)) = (first, unit(6)) {
        let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        return (
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
            12,
        );
    }
    (char::REPLACEMENT_CHARACTER, 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str, layout: Layout) -> Vec<String> {
        let mut input = text.as_bytes();
        let (mut source, _) = Source::open(&mut input, &|| false, u64::MAX).expect("opens");
        let mut lexer = Lexer::new(&mut source, layout);
        let mut tokens = Vec::new();
        loop {
            lexer.keep(100);
            match lexer.next() {
                Token::InputEnd => return tokens,
                Token::ObjectStart => tokens.push("{".to_owned()),
                Token::ArrayStart => tokens.push("[".to_owned()),
                Token::End => tokens.push("/".to_owned()),
                Token::Key => tokens.push(format!("{}:", String::from_utf8_lossy(lexer.key()))),
                Token::Text => tokens.push(format!("'{}'", lexer.text().finish().0)),
                Token::Number => tokens.push(String::from_utf8_lossy(lexer.scalar()).into_owned()),
                Token::Bool(value) => tokens.push(value.to_string()),
                Token::Null => tokens.push("null".to_owned()),
                Token::Flaw => tokens.push("!".to_owned()),
            }
        }
    }

    fn check(text: &str, layout: Layout, expected: &str) {
        assert_eq!(tokens(text, layout).join(" "), expected, "{text}");
    }

    #[test]
    fn values_of_all_kinds_are_cut_out() {
        check(
            r#" {"a": [1, -2.5e3, true, false, null, "x"], "b": {"c": "d"}, "e": {}, } "#,
            Layout::Document,
            "{ a: [ 1 -2.5e3 true false null 'x' / b: { c: 'd' / e: { / /",
        );
        check(
            r#"{"\u0061\"":"\ud83c\udf89 \ud83c x \udc00 \q \/"}"#,
            Layout::Document,
            "{ a\": '\u{1f389} \u{fffd} x \u{fffd} \\q /' /",
        );
    }

    #[test]
    fn broken_lines_do_not_harm_their_neighbours() {
        check(
            "noise\n{\"a\":1}\n{\"b\":\"cut\n{\"c\":[{\n{\"d\":2} trailing\n{\"e\":nonsense}\n{\"f\":3}\n",
            Layout::Lines,
            "! { a: 1 / { b: ! { c: [ { ! { d: 2 / ! { e: ! { f: 3 /",
        );
    }

    #[test]
    fn depth_costs_a_bit_and_is_bounded() {
        let text = "[".repeat(1 << 21);
        assert_eq!(tokens(&text, Layout::Document).len(), 1 << 20);
        let mixed = "[{\"a\":".repeat(1000);
        assert_eq!(tokens(&mixed, Layout::Document).len(), 3000);
    }
}
