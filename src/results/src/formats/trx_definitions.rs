//! What a TRX file says about a test apart from its results, and the joining of both.
//!
//! Loggers of `vstest` write results first and definitions behind them, `mstest.exe` the other way round. So
//! results wait for their definitions, but only as many as may be held: where more come, they go on without.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::model::{TestCase, Trait};
use crate::problem::ProblemKind;
use crate::session::Session;
use crate::text::fnv1a;

/// The identity of a definition: a hash of its id, whatever the case it is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DefinitionId(u64);

impl DefinitionId {
    pub(crate) fn new(raw: &[u8]) -> Self {
        Self(fnv1a(&raw.trim_ascii().to_ascii_lowercase()))
    }
}

/// What is known about a test.
#[derive(Debug, Default)]
pub(crate) struct Definition {
    pub(crate) class: Option<Arc<str>>,
    pub(crate) method: String,
    pub(crate) storage: Option<Arc<str>>,
    pub(crate) traits: Vec<Trait>,
}

/// Results and definitions, whichever came first.
#[derive(Default)]
pub(crate) struct Definitions {
    known: HashMap<DefinitionId, Definition>,
    known_bytes: usize,
    waiting: VecDeque<(DefinitionId, TestCase)>,
    waiting_bytes: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Definitions may still come.
    #[default]
    Open,
    /// Some results or definitions were let go for want of room.
    Overflowed,
    /// All definitions were read.
    Complete,
}

impl Definitions {
    /// Takes a definition. Of several with the same id the first stays.
    pub(crate) fn add(
        &mut self,
        id: DefinitionId,
        definition: Definition,
        session: &mut Session<'_>,
    ) {
        let traits: usize = definition
            .traits
            .iter()
            .map(|entry| entry.name.len() + entry.value.len() + 48)
            .sum();
        let bytes = size_of::<Definition>() + definition.method.len() + traits + 64;
        if self.known_bytes + bytes > session.limits().held_bytes / 2 {
            return self.overflow(session);
        }
        self.known_bytes += bytes;
        self.known.entry(id).or_insert(definition);
    }

    /// All definitions of the document were read.
    pub(crate) fn complete(&mut self, session: &mut Session<'_>) {
        while let Some((id, case)) = self.waiting.pop_front() {
            self.emit(id, case, session);
        }
        self.waiting_bytes = 0;
        if self.state == State::Open {
            self.state = State::Complete;
        }
    }

    /// Takes a result: hands it out if its definition is known or will not come.
    pub(crate) fn result(&mut self, id: DefinitionId, case: TestCase, session: &mut Session<'_>) {
        if self.state != State::Open || self.known.contains_key(&id) {
            return self.emit(id, case, session);
        }
        self.waiting_bytes += case.bytes();
        self.waiting.push_back((id, case));
        if self.waiting_bytes > session.limits().held_bytes / 2 {
            self.complete(session);
            self.overflow(session);
        }
    }

    fn overflow(&mut self, session: &mut Session<'_>) {
        if self.state != State::Overflowed {
            self.state = State::Overflowed;
            let position = session.position();
            session.problem(ProblemKind::LimitReached, position, || {
                "there are too many tests to join all of them with their definitions; some go without class and \
                 assembly"
                    .to_owned()
            });
        }
    }

    fn emit(&self, id: DefinitionId, mut case: TestCase, session: &mut Session<'_>) {
        if let Some(definition) = self.known.get(&id) {
            if let Some(class) = &definition.class {
                case.class = class.clone();
            }
            if let Some(storage) = &definition.storage {
                case.suite = storage.clone();
            }
            case.method.clone_from(&definition.method);
            for entry in &definition.traits {
                session.push_entry(&mut case.traits, entry.clone());
            }
        }
        session.emit(case);
    }
}

/// The class without the name of its assembly: up to the first comma outside brackets of generic arguments.
pub(crate) fn class_without_assembly(class: &str) -> &str {
    let mut depth = 0_i64;
    for (at, byte) in class.bytes().enumerate() {
        match byte {
            b'[' | b'<' | b'(' => depth += 1,
            b']' | b'>' | b')' => depth -= 1,
            b',' if depth <= 0 => return class[..at].trim_end(),
            _ => {}
        }
    }
    class
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_lose_their_assembly_and_keep_generic_arguments() {
        for (class, expected) in [
            ("N.C, Assembly, Version=1.0.0.0", "N.C"),
            (
                "N.C`1[[System.Int32, mscorlib, Version=4.0.0.0]], Tests",
                "N.C`1[[System.Int32, mscorlib, Version=4.0.0.0]]",
            ),
            ("N.C<int, string>", "N.C<int, string>"),
            ("N.C", "N.C"),
            ("]], x", "]]"),
            ("", ""),
        ] {
            assert_eq!(class_without_assembly(class), expected);
        }
    }

    #[test]
    fn ids_are_the_same_whatever_their_case() {
        assert_eq!(DefinitionId::new(b" 0AbC-1"), DefinitionId::new(b"0aBc-1 "));
    }
}
