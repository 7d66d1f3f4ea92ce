//! The chain of names of the suites around a case.

use std::sync::Arc;

use crate::text::prefix;

/// Bytes of the joined chain that are kept.
const MOST_PATH_BYTES: usize = 2 << 10;

/// Between the names of two nested suites.
const SEPARATOR: &str = " > ";

/// The names of the open suites, joined; cheap to ask for again and again.
#[derive(Default)]
pub(crate) struct SuitePath {
    path: String,
    /// Per open suite, the lengths of `path` before it and where its own name begins.
    lengths: Vec<(usize, usize)>,
    shared: Option<Arc<str>>,
}

impl SuitePath {
    /// A suite begins inside the others.
    pub(crate) fn enter(&mut self, name: &str) {
        let before = self.path.len();
        let name = name.trim();
        if !name.is_empty() && before + SEPARATOR.len() < MOST_PATH_BYTES {
            if before > 0 {
                self.path.push_str(SEPARATOR);
            }
            let start = self.path.len();
            self.path.push_str(prefix(name, MOST_PATH_BYTES - start));
            self.lengths.push((before, start));
            self.shared = None;
        } else {
            self.lengths.push((
                before,
                self.lengths.last().map_or(before, |(_, start)| *start),
            ));
        }
    }

    /// The innermost suite ends.
    pub(crate) fn leave(&mut self) {
        if let Some((length, _)) = self.lengths.pop()
            && length < self.path.len()
        {
            self.path.truncate(length);
            self.shared = None;
        }
    }

    /// The joined names.
    pub(crate) fn path(&mut self) -> &Arc<str> {
        self.shared
            .get_or_insert_with(|| Arc::from(self.path.as_str()))
    }

    /// The innermost name that is not empty.
    pub(crate) fn last(&self) -> &str {
        self.lengths
            .last()
            .map_or("", |(_, start)| &self.path[(*start).min(self.path.len())..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_joined_and_taken_away_again() {
        let mut suites = SuitePath::default();
        suites.enter("outer");
        suites.enter("");
        suites.enter("inner");
        assert_eq!(
            (&*suites.path().clone(), suites.last()),
            ("outer > inner", "inner")
        );
        suites.leave();
        suites.leave();
        assert_eq!((&*suites.path().clone(), suites.last()), ("outer", "outer"));
        suites.leave();
        suites.leave();
        assert_eq!((&*suites.path().clone(), suites.last()), ("", ""));
    }

    #[test]
    fn long_chains_are_cut() {
        let mut suites = SuitePath::default();
        for _ in 0..5000 {
            suites.enter("n\u{e4}me");
        }
        assert!(suites.path().len() <= MOST_PATH_BYTES);
        for _ in 0..5000 {
            suites.leave();
        }
        assert!(suites.path().is_empty());
    }
}
