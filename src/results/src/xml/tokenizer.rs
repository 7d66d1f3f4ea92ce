//! Bytes to tags and pieces of text.

use memchr::memmem::Finder;

use crate::source::{Fill, Source};
use crate::text::find_byte;
use crate::xml::escape;
use crate::xml::tag::{
    AttributeSpan, MOST_ATTRIBUTES, Parsed, Span, Tag, ends_name, parse_tag, starts_name,
};

/// Bytes kept of one attribute value in a tag that does not fit the window.
const CUT_VALUE_BYTES: usize = 64 << 10;

/// Bytes kept in all of a tag that does not fit the window.
const CUT_TAG_BYTES: usize = 256 << 10;

/// One piece of a document. What it consists of is asked of the [`Tokenizer`], and lasts until the next piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// A start tag; [`Tokenizer::tag`] has its name and attributes.
    Open,
    /// A tag that starts and ends an element.
    Empty,
    /// An end tag; [`Tokenizer::tag`] has its name.
    Close,
    /// A piece of text between tags, references not resolved. A text may come in any number of pieces.
    Text,
    /// A piece of a CDATA section, to be taken as it is.
    Literal,
    /// No more bytes.
    End,
}

/// Something that a conforming parser would refuse the file for, and what was made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A `<` that begins no tag was taken as text.
    BareLess,
    /// A tag is too large; values or attributes at its end were cut off.
    TagCut,
    /// A tag has more attributes than are looked at.
    ManyAttributes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Content,
    Literal,
}

/// Where the bytes of the current tag are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TagBytes {
    Window,
    Scratch,
}

/// Whether a tag that is cut down is inside an attribute value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quote {
    Outside,
    Kept { closing: u8, bytes: usize },
    Dropped { closing: u8 },
}

pub(crate) struct Tokenizer<'s, 'a> {
    source: &'s mut Source<'a>,
    state: State,
    /// Bytes of the current piece, to be consumed before the next.
    pending: usize,
    name: Span,
    attributes: Vec<AttributeSpan>,
    tag_bytes: TagBytes,
    scratch: Vec<u8>,
    flaw: Option<Flaw>,
    literal_end: Finder<'static>,
    comment_end: Finder<'static>,
}

impl<'s, 'a> Tokenizer<'s, 'a> {
    pub(crate) fn new(source: &'s mut Source<'a>) -> Self {
        Self {
            source,
            state: State::Content,
            pending: 0,
            name: Span { start: 0, end: 0 },
            attributes: Vec::with_capacity(16),
            tag_bytes: TagBytes::Window,
            scratch: Vec::new(),
            flaw: None,
            literal_end: Finder::new(b"]]>"),
            comment_end: Finder::new(b"-->"),
        }
    }

    /// The source; its position is that of the current piece, save for tags that did not fit the window.
    pub(crate) fn source(&mut self) -> &mut Source<'a> {
        self.source
    }

    /// The current tag.
    pub(crate) fn tag(&self) -> Tag<'_> {
        let bytes = match self.tag_bytes {
            TagBytes::Window => self.source.available(),
            TagBytes::Scratch => &self.scratch,
        };
        Tag {
            bytes,
            length: self.pending,
            name: self.name,
            attributes: &self.attributes,
        }
    }

    /// The current piece of text.
    pub(crate) fn text(&self) -> &[u8] {
        &self.source.available()[..self.pending]
    }

    /// What is in the window from the current piece on.
    pub(crate) fn ahead(&self) -> &[u8] {
        self.source.available()
    }

    /// What was wrong since the last call.
    pub(crate) fn take_flaw(&mut self) -> Option<Flaw> {
        self.flaw.take()
    }

    /// Consumes the current piece, so that the source stands behind it.
    pub(crate) fn finish_piece(&mut self) {
        self.source.consume(self.pending);
        self.pending = 0;
    }

    pub(crate) fn next(&mut self) -> Token {
        self.finish_piece();
        loop {
            if self.state == State::Literal {
                match self.literal() {
                    Some(token) => return token,
                    None => continue,
                }
            }
            let token = match self.source.available() {
                [] => match self.source.fill() {
                    Fill::Ended => Some(Token::End),
                    Fill::More | Fill::Full => None,
                },
                [b'<', ..] => self.markup(),
                _ => self.plain_text(),
            };
            if let Some(token) = token {
                return token;
            }
        }
    }

    /// A piece of text up to the next `<`. `None` asks to be called again.
    fn plain_text(&mut self) -> Option<Token> {
        let available = self.source.available();
        self.pending = match find_byte(b'<', available) {
            Some(length) => length,
            None => {
                let whole = escape::whole_references(available);
                let all = available.len();
                match self.source.fill() {
                    Fill::More => return None,
                    Fill::Full if whole > 0 => whole,
                    Fill::Full | Fill::Ended => all,
                }
            }
        };
        Some(Token::Text)
    }

    /// A piece of a CDATA section. `None` when the section ended without one, or asks to be called again.
    fn literal(&mut self) -> Option<Token> {
        let available = self.source.available();
        match self.literal_end.find(available) {
            Some(0) => {
                self.source.consume(3);
                self.state = State::Content;
                None
            }
            Some(length) => {
                self.pending = length;
                Some(Token::Literal)
            }
            None => {
                let length = available.len();
                match self.source.fill() {
                    Fill::More => return None,
                    // The last two bytes may be the beginning of the end.
                    Fill::Full => self.pending = length - 2,
                    Fill::Ended => {
                        self.state = State::Content;
                        if length == 0 {
                            return None;
                        }
                        self.pending = length;
                    }
                }
                Some(Token::Literal)
            }
        }
    }

    /// Whatever a `<` begins. `None` where it was stepped over.
    fn markup(&mut self) -> Option<Token> {
        if !self.source.ensure(2) {
            self.source.consume(1);
            return Some(Token::End);
        }
        match self.source.available()[1] {
            b'/' => self.end_tag(),
            b'!' => {
                self.source.ensure(9);
                let available = self.source.available();
                if available.starts_with(b"<!--") {
                    self.source.consume(4);
                    self.skip_comment();
                } else if available.starts_with(b"<![CDATA[") {
                    self.source.consume(9);
                    self.state = State::Literal;
                } else {
                    self.skip_declaration();
                }
                None
            }
            b'?' => {
                self.source.consume(2);
                self.skip_instruction();
                None
            }
            byte if starts_name(byte) => self.start_tag(),
            _ => Some(self.take_as_text(1)),
        }
    }

    fn take_as_text(&mut self, length: usize) -> Token {
        self.flaw = Some(Flaw::BareLess);
        self.pending = length;
        Token::Text
    }

    fn end_tag(&mut self) -> Option<Token> {
        self.attributes.clear();
        self.tag_bytes = TagBytes::Window;
        loop {
            let available = self.source.available();
            // A `<` ends the search too: else each of many end tags that do not end would be searched through to the
            // end of the window.
            let end = memchr::memchr2(b'>', b'<', &available[2..]).map(|at| at + 2);
            if let Some(end) = end {
                if available[end] == b'<' {
                    return Some(self.take_as_text(end));
                }
                let name = &available[2..end];
                let length = name
                    .iter()
                    .position(|byte| ends_name(*byte))
                    .unwrap_or(name.len());
                self.name = Span {
                    start: 2,
                    end: 2 + length,
                };
                self.pending = end + 1;
                return Some(Token::Close);
            }
            match self.source.fill() {
                Fill::More => {}
                Fill::Full => {
                    let all = self.source.available().len();
                    return Some(self.take_as_text(all));
                }
                Fill::Ended => {
                    self.consume_all();
                    return Some(Token::End);
                }
            }
        }
    }

    fn start_tag(&mut self) -> Option<Token> {
        self.source.mark();
        self.tag_bytes = TagBytes::Window;
        loop {
            match parse_tag(
                self.source.available(),
                &mut self.name,
                &mut self.attributes,
            ) {
                Parsed::Complete { length, token } => {
                    self.pending = length;
                    if self.attributes.len() >= MOST_ATTRIBUTES {
                        self.flaw = Some(Flaw::ManyAttributes);
                    }
                    return Some(token);
                }
                Parsed::NoTag { length } => return Some(self.take_as_text(length)),
                Parsed::Unfinished => match self.source.fill() {
                    Fill::More => {}
                    Fill::Full => return Some(self.large_tag()),
                    Fill::Ended => {
                        self.consume_all();
                        return Some(Token::End);
                    }
                },
            }
        }
    }

    /// Reads a tag that does not fit the window, keeping what fits the scratch space.
    fn large_tag(&mut self) -> Token {
        self.flaw = Some(Flaw::TagCut);
        self.tag_bytes = TagBytes::Scratch;
        self.scratch.clear();
        let mut quote = Quote::Outside;
        let mut last = b'<';
        'tag: loop {
            let available = self.source.available();
            for (at, &byte) in available.iter().enumerate() {
                let room = self.scratch.len() < CUT_TAG_BYTES;
                let keep = match (quote, byte) {
                    (Quote::Outside, b'>') => {
                        self.source.consume(at + 1);
                        break 'tag;
                    }
                    (Quote::Outside, b'<') if at > 0 || !self.scratch.is_empty() => {
                        self.source.consume(at);
                        break 'tag;
                    }
                    (Quote::Outside, b'"' | b'\'') if room => {
                        quote = Quote::Kept {
                            closing: byte,
                            bytes: 0,
                        };
                        true
                    }
                    (Quote::Outside, b'"' | b'\'') => {
                        quote = Quote::Dropped { closing: byte };
                        false
                    }
                    (Quote::Outside, _) => room,
                    (Quote::Kept { closing, .. }, _) if byte == closing => {
                        quote = Quote::Outside;
                        true
                    }
                    (Quote::Kept { closing, bytes }, _) => {
                        quote = Quote::Kept {
                            closing,
                            bytes: bytes + 1,
                        };
                        bytes < CUT_VALUE_BYTES
                    }
                    (Quote::Dropped { closing }, _) => {
                        if byte == closing {
                            quote = Quote::Outside;
                        }
                        false
                    }
                };
                if keep {
                    self.scratch.push(byte);
                }
                last = byte;
            }
            self.consume_all();
            if self.source.fill() == Fill::Ended {
                return Token::End;
            }
        }
        // The empty value completes an attribute whose own value found no room.
        self.scratch
            .extend_from_slice(if last == b'/' { b" \"\"/>" } else { b" \"\">" });
        match parse_tag(&self.scratch, &mut self.name, &mut self.attributes) {
            Parsed::Complete { token, .. } => token,
            // What was cut lets no tag be made out: the element is there, its name is not.
            Parsed::Unfinished | Parsed::NoTag { .. } => {
                self.name = Span { start: 0, end: 0 };
                self.attributes.clear();
                if last == b'/' {
                    Token::Empty
                } else {
                    Token::Open
                }
            }
        }
    }

    fn consume_all(&mut self) {
        let length = self.source.available().len();
        self.source.consume(length);
    }

    fn skip_comment(&mut self) {
        loop {
            if let Some(at) = self.comment_end.find(self.source.available()) {
                self.source.consume(at + 3);
                return;
            }
            if !self.skip_all_but(2) {
                return;
            }
        }
    }

    fn skip_instruction(&mut self) {
        loop {
            let end = memchr::memmem::find(self.source.available(), b"?>");
            if let Some(at) = end {
                self.source.consume(at + 2);
                return;
            }
            if !self.skip_all_but(1) {
                return;
            }
        }
    }

    /// Steps over what is in the window, save for a possible beginning of the end mark. False at the end of input.
    fn skip_all_but(&mut self, kept: usize) -> bool {
        let length = self.source.available().len();
        self.source.consume(length.saturating_sub(kept));
        if self.source.fill() == Fill::Ended {
            self.consume_all();
            return false;
        }
        true
    }

    /// Steps over a document type with its internal subset, or any other declaration. Nothing in it is obeyed.
    fn skip_declaration(&mut self) {
        let mut nesting = 0_u64;
        let mut quote = None;
        while self.source.ensure(4) || !self.source.available().is_empty() {
            let available = self.source.available();
            if quote.is_none() && available.starts_with(b"<!--") {
                self.source.consume(4);
                self.skip_comment();
                continue;
            }
            let byte = available[0];
            self.source.consume(1);
            match (quote, byte) {
                (Some(open), _) if byte == open => quote = None,
                (Some(_), _) => {}
                (None, b'"' | b'\'') => quote = Some(byte),
                (None, b'<') => nesting += 1,
                (None, b'>') => {
                    nesting -= 1;
                    if nesting == 0 {
                        return;
                    }
                }
                (None, _) => {}
            }
        }
    }
}
