//! The stack of open elements, and the loop that drives a reader of one format through a document.

use crate::problem::ProblemKind;
use crate::session::Session;
use crate::source::Source;
use crate::xml::tag::Tag;
use crate::xml::tokenizer::{Flaw, Token, Tokenizer};

/// Bytes of an element name kept to match its end tag.
const NAME_BYTES: usize = 32;

/// Elements looked through for the partner of an end tag that does not fit the innermost open one.
const SEARCH_DEPTH: usize = 64;

/// A piece of text inside an element.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Piece<'t> {
    /// References are not resolved yet.
    Raw(&'t [u8]),
    /// To be taken as it is.
    Literal(&'t [u8]),
}

/// Makes cases of the elements of one format.
///
/// Each open element is known by a small `Node` that the reader chose for it. Nodes are all the reader needs to
/// keep per level, so depth costs next to nothing.
pub(crate) trait ElementReader {
    /// What an open element means to the reader.
    type Node: Copy;

    /// An element begins inside `parent`; for the root there is none. Returns what it means.
    fn open(
        &mut self,
        parent: Option<Self::Node>,
        tag: &Tag<'_>,
        session: &mut Session<'_>,
    ) -> Self::Node;

    /// Text directly inside `node`, in any number of pieces.
    fn text(&mut self, node: Self::Node, piece: Piece<'_>, session: &mut Session<'_>);

    /// The element of `node` ends.
    fn close(&mut self, node: Self::Node, session: &mut Session<'_>);

    /// The document ends, in the midst of open elements if it was cut off; says what was lost then, if anything.
    fn finish(&mut self, session: &mut Session<'_>) -> Option<String>;
}

struct Frame<N> {
    node: N,
    name_bytes: usize,
}

struct Stack<N> {
    frames: Vec<Frame<N>>,
    names: Vec<u8>,
    /// Open elements below the deepest one that is understood.
    beyond: u64,
    limit: usize,
}

impl<N: Copy> Stack<N> {
    fn top(&self) -> Option<N> {
        self.frames.last().map(|frame| frame.node)
    }

    fn push(&mut self, node: N, name: &[u8]) {
        let name = &name[..name.len().min(NAME_BYTES)];
        self.names.extend_from_slice(name);
        self.frames.push(Frame {
            node,
            name_bytes: name.len(),
        });
    }

    fn pop(&mut self) -> Option<N> {
        let frame = self.frames.pop()?;
        self.names.truncate(self.names.len() - frame.name_bytes);
        Some(frame.node)
    }

    /// How many elements an end tag of this name closes; 0 where no open element has it.
    fn closes(&self, name: &[u8]) -> usize {
        let name = &name[..name.len().min(NAME_BYTES)];
        let mut end = self.names.len();
        for (count, frame) in self.frames.iter().rev().take(SEARCH_DEPTH).enumerate() {
            let start = end - frame.name_bytes;
            if &self.names[start..end] == name {
                return count + 1;
            }
            end = start;
        }
        0
    }
}

/// Reads one document, from its root's start tag, on which `source` must stand, to the root's end.
pub(crate) fn read_document<R: ElementReader>(
    source: &mut Source<'_>,
    session: &mut Session<'_>,
    mut reader: R,
) {
    let limit = usize::try_from(session.limits().depth.min(1 << 16)).unwrap_or(1 << 16);
    let mut stack = Stack {
        frames: Vec::new(),
        names: Vec::new(),
        beyond: 0,
        limit,
    };
    let mut tokenizer = Tokenizer::new(source);
    let end = loop {
        let token = tokenizer.next();
        if let Some(flaw) = tokenizer.take_flaw() {
            report_flaw(flaw, &mut tokenizer, session);
        }
        match token {
            Token::Open | Token::Empty if stack.frames.len() >= stack.limit => {
                if stack.beyond == 0 {
                    session.problem_at(tokenizer.source(), ProblemKind::LimitReached, || {
                        format!(
                            "elements nested more than {} deep were skipped",
                            stack.limit
                        )
                    });
                }
                stack.beyond += u64::from(token == Token::Open);
            }
            Token::Open | Token::Empty => {
                session.at(tokenizer.source());
                let tag = tokenizer.tag();
                let node = reader.open(stack.top(), &tag, session);
                if token == Token::Open {
                    stack.push(node, tag.raw_name());
                } else {
                    reader.close(node, session);
                }
            }
            Token::Close if stack.beyond > 0 => stack.beyond -= 1,
            Token::Close => close(&mut stack, &mut tokenizer, &mut reader, session),
            Token::Text | Token::Literal if stack.beyond > 0 => {}
            Token::Text => {
                if let Some(node) = stack.top() {
                    reader.text(node, Piece::Raw(tokenizer.text()), session);
                }
            }
            Token::Literal => {
                if let Some(node) = stack.top() {
                    reader.text(node, Piece::Literal(tokenizer.text()), session);
                }
            }
            Token::End => break DocumentEnd::InputEnded,
        }
        if stack.frames.is_empty() && stack.beyond == 0 {
            break DocumentEnd::RootClosed;
        }
        if session.is_over() {
            break DocumentEnd::SessionOver;
        }
    };
    tokenizer.finish_piece();
    let lost = reader.finish(session);
    match end {
        DocumentEnd::RootClosed | DocumentEnd::SessionOver => {}
        DocumentEnd::InputEnded => {
            session.document_cut(tokenizer.source(), stack.frames.len(), lost)
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DocumentEnd {
    RootClosed,
    InputEnded,
    SessionOver,
}

fn close<R: ElementReader>(
    stack: &mut Stack<R::Node>,
    tokenizer: &mut Tokenizer<'_, '_>,
    reader: &mut R,
    session: &mut Session<'_>,
) {
    let count = stack.closes(tokenizer.tag().raw_name());
    if count != 1 {
        let name = String::from_utf8_lossy(tokenizer.tag().raw_name()).into_owned();
        let name = crate::text::printable_line(&name, 40);
        session.problem_at(tokenizer.source(), ProblemKind::Damaged, || match count {
            0 => format!("the end tag `{name}` fits no open element and was ignored"),
            count => format!("the end tag `{name}` closed {count} elements at once"),
        });
    }
    for _ in 0..count {
        if let Some(node) = stack.pop() {
            reader.close(node, session);
        }
    }
}

fn report_flaw(flaw: Flaw, tokenizer: &mut Tokenizer<'_, '_>, session: &mut Session<'_>) {
    let (kind, detail) = match flaw {
        Flaw::BareLess => (
            ProblemKind::Damaged,
            "a `<` that begins no tag was taken as text",
        ),
        Flaw::TagCut => (
            ProblemKind::LimitReached,
            "a tag is too large; its attributes were cut",
        ),
        Flaw::ManyAttributes => (
            ProblemKind::LimitReached,
            "a tag has too many attributes; the later ones were ignored",
        ),
    };
    session.problem_at(tokenizer.source(), kind, || detail.to_owned());
}
