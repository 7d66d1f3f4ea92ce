//! One tag: its name, its attributes, and how they are found in a stretch of bytes.

use crate::text::find_byte;
use crate::xml::tokenizer::Token;

/// Attributes of one tag that are looked at.
pub(super) const MOST_ATTRIBUTES: usize = 256;

#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct AttributeSpan {
    /// Without a namespace prefix.
    key: Span,
    value: Span,
}

/// A tag: its name and attributes.
#[derive(Clone, Copy)]
pub(crate) struct Tag<'t> {
    pub(super) bytes: &'t [u8],
    pub(super) length: usize,
    pub(super) name: Span,
    pub(super) attributes: &'t [AttributeSpan],
}

impl<'t> Tag<'t> {
    /// Bytes of the start tag, where it fits the window.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// The name with its prefix.
    pub(crate) fn raw_name(&self) -> &'t [u8] {
        &self.bytes[self.name.start..self.name.end]
    }

    /// The name without a namespace prefix.
    pub(crate) fn name(&self) -> &'t [u8] {
        let name = self.raw_name();
        // Names are too short for a vectorised search to pay.
        match name.iter().position(|byte| *byte == b':') {
            Some(at) => &name[at + 1..],
            None => name,
        }
    }

    /// Names without prefix and raw values, declarations of namespaces left out, from the last to the first. A reader that lets later ones overwrite
    /// earlier ones thereby gets the first of duplicates.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&'t [u8], &'t [u8])> + use<'t> {
        let bytes = self.bytes;
        self.attributes.iter().rev().map(move |attribute| {
            let key = &bytes[attribute.key.start..attribute.key.end];
            let value = &bytes[attribute.value.start..attribute.value.end];
            (key, value)
        })
    }

    /// The raw value of the first attribute of this name.
    pub(crate) fn attribute(&self, name: &[u8]) -> Option<&'t [u8]> {
        let of = |span: Span| &self.bytes[span.start..span.end];
        self.attributes
            .iter()
            .find(|attribute| of(attribute.key) == name)
            .map(|attribute| of(attribute.value))
    }
}

/// What parsing a start tag from a stretch of bytes gave.
pub(super) enum Parsed {
    Complete {
        length: usize,
        token: Token,
    },
    /// The bytes end inside the tag.
    Unfinished,
    /// At `length` a `<` shows that this is no tag.
    NoTag {
        length: usize,
    },
}

/// Whether a tag name can begin with this byte. Anything beyond ASCII is let through.
pub(super) fn starts_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte == b':' || byte >= 0x80
}

pub(super) fn ends_name(byte: u8) -> bool {
    name_byte(byte) == NameByte::EndsName
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// What a byte means inside a name: nothing, the end of a prefix, the end of the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NameByte {
    Inside,
    EndsPrefix,
    EndsName,
}

/// [`NameByte`] of each byte: names are looked at byte by byte, which is where much of the time goes.
static NAME_BYTES: [NameByte; 256] = {
    let mut table = [NameByte::Inside; 256];
    let ends = b" \t\r\n/>=<";
    let mut at = 0;
    while at < ends.len() {
        table[ends[at] as usize] = NameByte::EndsName;
        at += 1;
    }
    table[b':' as usize] = NameByte::EndsPrefix;
    table
};

fn name_byte(byte: u8) -> NameByte {
    NAME_BYTES[usize::from(byte)]
}

/// The name of the attribute that begins at `start`, without its prefix, and where it ends.
fn find_key(bytes: &[u8], start: usize) -> Option<(Span, usize)> {
    let mut local = start;
    // At least one byte is taken even where no name can begin.
    for (at, byte) in bytes.iter().enumerate().skip(start + 1) {
        match name_byte(*byte) {
            NameByte::Inside => {}
            NameByte::EndsPrefix if local == start => local = at + 1,
            NameByte::EndsPrefix => {}
            NameByte::EndsName => {
                let key = Span {
                    start: local,
                    end: at,
                };
                return Some((key, at));
            }
        }
    }
    None
}

/// The first place from `from` on whose byte `ends` says yes to.
fn find(bytes: &[u8], from: usize, ends: impl Fn(u8) -> bool) -> Option<usize> {
    bytes[from..]
        .iter()
        .position(|byte| ends(*byte))
        .map(|at| from + at)
}

/// The first place from `from` on that is no white space.
fn skip_space(bytes: &[u8], from: usize) -> Option<usize> {
    find(bytes, from, |byte| !is_space(byte))
}

/// Parses the start tag at the beginning of `bytes`.
pub(super) fn parse_tag(
    bytes: &[u8],
    name: &mut Span,
    attributes: &mut Vec<AttributeSpan>,
) -> Parsed {
    attributes.clear();
    let Some(mut at) = find(bytes, 1, ends_name) else {
        return Parsed::Unfinished;
    };
    *name = Span { start: 1, end: at };
    loop {
        at = match skip_space(bytes, at) {
            Some(at) => at,
            None => return Parsed::Unfinished,
        };
        match bytes[at] {
            b'>' => {
                return Parsed::Complete {
                    length: at + 1,
                    token: Token::Open,
                };
            }
            b'/' => match bytes.get(at + 1) {
                Some(b'>') => {
                    return Parsed::Complete {
                        length: at + 2,
                        token: Token::Empty,
                    };
                }
                Some(_) => {
                    at += 1;
                    continue;
                }
                None => return Parsed::Unfinished,
            },
            b'<' => return Parsed::NoTag { length: at },
            _ => {}
        }
        // At least one byte is taken even where no name can begin, so that the loop always moves on.
        let Some((key, key_end)) = find_key(bytes, at) else {
            return Parsed::Unfinished;
        };
        let is_namespace = bytes[at..].starts_with(b"xmlns");
        let Some(sign) = skip_space(bytes, key_end) else {
            return Parsed::Unfinished;
        };
        let value = if bytes[sign] == b'=' {
            let Some(open) = skip_space(bytes, sign + 1) else {
                return Parsed::Unfinished;
            };
            let (value, next) = match bytes[open] {
                quote @ (b'"' | b'\'') => match find_byte(quote, &bytes[open + 1..]) {
                    Some(length) => (
                        Span {
                            start: open + 1,
                            end: open + 1 + length,
                        },
                        open + length + 2,
                    ),
                    None => return Parsed::Unfinished,
                },
                _ => match find(bytes, open, |byte| {
                    is_space(byte) || byte == b'>' || byte == b'<'
                }) {
                    Some(end) => (Span { start: open, end }, end),
                    None => return Parsed::Unfinished,
                },
            };
            at = next;
            value
        } else {
            at = sign;
            Span {
                start: key_end,
                end: key_end,
            }
        };
        if attributes.len() < MOST_ATTRIBUTES && !is_namespace {
            attributes.push(AttributeSpan { key, value });
        }
    }
}
