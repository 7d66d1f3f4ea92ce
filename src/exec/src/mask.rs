//! Replaces secrets in a byte stream, wherever the stream happens to be cut.
//!
//! The result is that of masking the whole stream at once: from left to right, at each position
//! the longest needle that begins there becomes `***`. To get there with pieces, the end of a
//! piece is held back as long as more bytes could still make a needle of it, or a longer one.

use std::fmt;

use aho_corasick::{
    AhoCorasick, AhoCorasickKind, Anchored, BuildError, Input, MatchKind, StartKind,
};

use crate::request::Needles;

const MASK: &[u8] = b"***";

/// Finds the needles of one attempt.
pub(crate) struct Masker {
    automaton: AhoCorasick,
    /// Ascending, none empty, none twice.
    needles: Needles,
    longest: usize,
    begins_needle: [bool; 256],
}

/// What is held back of one stream: at most one byte less than the longest needle has.
#[derive(Default)]
pub(crate) struct Held(Vec<u8>);

impl fmt::Debug for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Held({} bytes)", self.0.len())
    }
}

impl fmt::Debug for Masker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Masker")
            .field(&self.needles)
            .finish()
    }
}

impl Masker {
    /// `None` when there is nothing to mask.
    pub(crate) fn new(needles: Needles) -> Result<Option<Self>, BuildError> {
        let Some(longest) = needles.as_slice().iter().map(Vec::len).max() else {
            return Ok(None);
        };
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .start_kind(StartKind::Both)
            // A good deal smaller than the alternative, and nearly as quick.
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(needles.as_slice())?;
        let mut begins_needle = [false; 256];
        for needle in needles.as_slice() {
            begins_needle[usize::from(needle[0])] = true;
        }
        Ok(Some(Self {
            automaton,
            needles,
            longest,
            begins_needle,
        }))
    }

    /// Takes the next piece of a stream; what can be decided goes to the end of `output`.
    pub(crate) fn push(&self, held: &mut Held, piece: &[u8], output: &mut Vec<u8>) {
        if held.0.is_empty() {
            let decided = self.mask(piece, output);
            held.0.extend_from_slice(&piece[decided..]);
        } else {
            held.0.extend_from_slice(piece);
            let decided = self.mask(&held.0, output);
            held.0.drain(..decided);
        }
    }

    /// Ends a stream: what was held back goes to the end of `output`.
    pub(crate) fn finish(&self, held: &mut Held, output: &mut Vec<u8>) {
        let rest = std::mem::take(&mut held.0);
        let end = self.mask_up_to(rest.len(), &rest, output);
        output.extend_from_slice(&rest[end..]);
    }

    /// The text with every needle in it masked.
    pub(crate) fn mask_text(&self, text: &str) -> String {
        let mut output = Vec::with_capacity(text.len());
        self.finish(&mut Held(text.into()), &mut output);
        String::from_utf8_lossy(&output).into_owned()
    }

    /// Masks the start of `bytes` as far as that can be decided without what follows; how far.
    fn mask(&self, bytes: &[u8], output: &mut Vec<u8>) -> usize {
        // Of a needle that begins before this position all bytes are there.
        let whole = (bytes.len() + 1).saturating_sub(self.longest);
        let mut at = self.mask_up_to(whole, bytes, output);
        if at < whole {
            output.extend_from_slice(&bytes[at..whole]);
            at = whole;
        }
        while let Some(&byte) = bytes.get(at) {
            let rest = &bytes[at..];
            if !self.begins_needle[usize::from(byte)] {
                output.push(byte);
                at += 1;
            } else if self.could_become_needle(rest) {
                break;
            } else if let Some(found) = self
                .automaton
                .find(Input::new(rest).anchored(Anchored::Yes))
            {
                output.extend_from_slice(MASK);
                at += found.end();
            } else {
                output.push(byte);
                at += 1;
            }
        }
        at
    }

    /// Masks all needles that begin before `limit`; the end of the last one, 0 without any.
    fn mask_up_to(&self, limit: usize, bytes: &[u8], output: &mut Vec<u8>) -> usize {
        let mut at = 0;
        if limit == 0 {
            return at;
        }
        for found in self.automaton.find_iter(bytes) {
            if found.start() >= limit {
                break;
            }
            output.extend_from_slice(&bytes[at..found.start()]);
            output.extend_from_slice(MASK);
            at = found.end();
        }
        at
    }

    /// Whether some needle begins with all of `bytes` and goes on.
    fn could_become_needle(&self, bytes: &[u8]) -> bool {
        let needles = self.needles.as_slice();
        let first = needles.partition_point(|needle| needle.as_slice() < bytes);
        // Those that begin with the bytes come next, the one that equals them before all others.
        needles[first..]
            .iter()
            .take(2)
            .any(|needle| needle.len() > bytes.len() && needle.starts_with(bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masker(needles: &[&[u8]]) -> Masker {
        Masker::new(Needles::new(needles.iter().map(|needle| needle.to_vec())))
            .unwrap()
            .unwrap()
    }

    fn in_pieces<'a>(masker: &Masker, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let (mut held, mut output) = (Held::default(), Vec::new());
        for piece in pieces {
            masker.push(&mut held, piece, &mut output);
            assert!(
                held.0.len() < masker.longest,
                "held back more than could be a needle"
            );
        }
        masker.finish(&mut held, &mut output);
        output
    }

    /// The definition, as slow as it is plain.
    fn by_definition(needles: &[Vec<u8>], bytes: &[u8]) -> Vec<u8> {
        let (mut output, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let found = needles
                .iter()
                .filter(|needle| !needle.is_empty() && bytes[at..].starts_with(needle))
                .map(Vec::len)
                .max();
            match found {
                Some(length) => {
                    output.extend_from_slice(MASK);
                    at += length;
                }
                None => {
                    output.push(bytes[at]);
                    at += 1;
                }
            }
        }
        output
    }

    fn check(needles: &[&[u8]], input: &[u8], expected: &[u8]) {
        let masker = masker(needles);
        for size in 1..=input.len().max(1) {
            let output = in_pieces(&masker, input.chunks(size));
            assert_eq!(
                output.escape_ascii().to_string(),
                expected.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn needles_are_masked_across_every_cut() {
        check(&[b"secret"], b"a secret, secretsecre", b"a ***, ***secre");
        check(&[b"abc", b"abcdef"], b"abcde abcdef abc", b"***de *** ***");
        check(&[b"ab", b"bcd"], b"abcd bcd", b"***cd ***");
        check(&[b"aa"], b"aaaaa", b"******a");
        check(&[b"a\nb", b"\xff\xfe"], b"a\nb\xff\xfe\xff", b"******\xff");
        check(&[b"x"], b"", b"");
    }

    #[test]
    fn bytes_that_cannot_become_a_needle_are_not_held_back() {
        let masker = masker(&[b"password"]);
        let (mut held, mut output) = (Held::default(), Vec::new());
        masker.push(&mut held, b"a prompt> pass", &mut output);
        assert_eq!(output, b"a prompt> ");
        masker.push(&mut held, b"age", &mut output);
        assert_eq!(output, b"a prompt> passage");
    }

    #[test]
    fn debug_output_hides_needles_and_what_may_be_one() {
        let masker = masker(&[b"hunter2"]);
        let mut held = Held::default();
        masker.push(&mut held, b"hunter", &mut Vec::new());
        assert_eq!(
            format!("{masker:?} {held:?}"),
            "Masker(Needles(1 hidden)) Held(6 bytes)"
        );
    }

    proptest! {
        #[test]
        fn any_chunking_gives_what_masking_the_whole_gives(
            needles in prop::collection::vec(prop::collection::vec(0_u8..3, 1..7), 1..6),
            bytes in prop::collection::vec(0_u8..3, 0..200),
            cuts in prop::collection::vec(1_usize..9, 1..50),
        ) {
            let masker = Masker::new(Needles::new(needles.clone())).unwrap().unwrap();
            let mut rest = bytes.as_slice();
            let mut sizes = cuts.iter().cycle();
            let pieces = std::iter::from_fn(|| {
                let size = (*sizes.next()?).min(rest.len());
                let (piece, after) = rest.split_at(size);
                rest = after;
                (!piece.is_empty()).then_some(piece)
            });
            prop_assert_eq!(in_pieces(&masker, pieces), by_definition(&needles, &bytes));
        }
    }
}
