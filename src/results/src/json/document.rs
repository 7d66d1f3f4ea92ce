//! The loop that drives a reader of one format through a JSON document.

use crate::json::lexer::{KEY_BYTES, Layout, Lexer, Token};
use crate::problem::ProblemKind;
use crate::session::Session;
use crate::source::{InputEnd, Source};
use crate::text::Capture;

/// A value that is no object and no array.
pub(crate) enum Scalar<'t> {
    /// A string, at most as much of it as [`ValueReader::keep`] asked for.
    Text(&'t mut Capture),
    /// A number as it is written.
    Number(&'t [u8]),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
}

/// Makes cases of the objects of one format.
///
/// As with [`crate::xml::document::ElementReader`], each open object or array is known by a small `Node`.
pub(crate) trait ValueReader {
    /// What an open object or array means to the reader.
    type Node: Copy;

    /// An object or array begins inside `parent`, under `key` if that is an object; inside an array the key is the
    /// one of the array. The outermost has no parent.
    fn open(
        &mut self,
        parent: Option<Self::Node>,
        key: &[u8],
        session: &mut Session<'_>,
    ) -> Self::Node;

    /// How many bytes to keep of a string under `key` in `node`.
    fn keep(&self, node: Self::Node, key: &[u8], session: &Session<'_>) -> usize;

    /// A value inside `node`.
    fn scalar(
        &mut self,
        node: Self::Node,
        key: &[u8],
        value: Scalar<'_>,
        session: &mut Session<'_>,
    );

    /// The object or array of `node` ends.
    fn close(&mut self, node: Self::Node, session: &mut Session<'_>);

    /// The document ends, in the midst of open objects if it was cut off; says what was lost then, if anything.
    fn finish(&mut self, session: &mut Session<'_>) -> Option<String>;
}

struct Frame<N> {
    node: N,
    /// Bytes of its key, at the end of the keys of all frames.
    key_bytes: usize,
}

/// Reads one document, or with [`Layout::Lines`] one object per line up to the end of the input.
pub(crate) fn read_document<R: ValueReader>(
    source: &mut Source<'_>,
    layout: Layout,
    session: &mut Session<'_>,
    mut reader: R,
) {
    let limit = usize::try_from(session.limits().depth.min(1 << 16)).unwrap_or(1 << 16);
    let mut frames: Vec<Frame<R::Node>> = Vec::new();
    let mut keys: Vec<u8> = Vec::new();
    let mut beyond = 0_u64;
    let mut flaws = 0_u64;
    let mut key = Vec::with_capacity(KEY_BYTES);
    let mut lexer = Lexer::new(source, layout);
    let cut = loop {
        if let Some(frame) = frames.last()
            && beyond == 0
        {
            lexer.keep(reader.keep(frame.node, &key, session));
        }
        match lexer.next() {
            Token::ObjectStart | Token::ArrayStart if frames.len() >= limit => beyond += 1,
            Token::ObjectStart | Token::ArrayStart => {
                session.at(lexer.source());
                let node = reader.open(frames.last().map(|frame| frame.node), &key, session);
                // Only names that mean something need to come back when an inner object ends.
                let kept = key.len().min(32);
                keys.extend_from_slice(&key[..kept]);
                frames.push(Frame {
                    node,
                    key_bytes: kept,
                });
            }
            Token::End if beyond > 0 => beyond -= 1,
            Token::End => {
                if let Some(frame) = frames.pop() {
                    let start = keys.len() - frame.key_bytes;
                    key.clear();
                    key.extend_from_slice(&keys[start..]);
                    keys.truncate(start);
                    reader.close(frame.node, session);
                }
            }
            Token::Key => {
                key.clear();
                key.extend_from_slice(lexer.key());
            }
            token @ (Token::Text | Token::Number | Token::Bool(_) | Token::Null) => {
                if let Some(frame) = frames.last()
                    && beyond == 0
                {
                    let value = match token {
                        Token::Text => Scalar::Text(lexer.text()),
                        Token::Number => Scalar::Number(lexer.scalar()),
                        Token::Bool(value) => Scalar::Bool(value),
                        _ => Scalar::Null,
                    };
                    reader.scalar(frame.node, &key, value, session);
                }
            }
            Token::Flaw => {
                flaws += 1;
                if layout == Layout::Lines {
                    // The reader is not told: a record of which the end is missing is not to be believed.
                    frames.clear();
                    keys.clear();
                    beyond = 0;
                } else if flaws == 1 {
                    session.problem_at(lexer.source(), ProblemKind::Damaged, || {
                        "what is no JSON was stepped over".to_owned()
                    });
                }
            }
            Token::InputEnd => break true,
        }
        if session.is_over() {
            break false;
        }
        if layout == Layout::Document && lexer.depth() == 0 {
            break false;
        }
    };
    if layout == Layout::Lines && flaws > 0 {
        session.problem_at(lexer.source(), ProblemKind::ForeignText, || {
            format!("{flaws} lines that are no JSON objects were passed over")
        });
    }
    let open = frames.len();
    let lost = reader.finish(session);
    if session.is_over() {
        return;
    }
    let at_end = cut && !matches!(lexer.source().ended(), Some(InputEnd::EndOfFile) | None);
    let whole = open == 0 && layout == Layout::Lines && lost.is_none() && !at_end;
    if cut && !whole {
        session.document_cut(lexer.source(), open, lost);
    }
}
