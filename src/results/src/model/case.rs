//! The record of one test.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::model::{
    Attachment, Attempt, Evidence, Outcome, Part, Position, SourceLocation, Timestamp, Trait,
};

/// Why a case is in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The file records it as a test.
    Recorded,
    /// The file records a failure outside any test (suite set-up, clean-up, a build, a crash); it is made a case
    /// of its own, since otherwise a red run would look green.
    Synthesised,
}

/// One test, as one file tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestCase {
    /// The container: assembly, package or chain of suite names joined by ` > `. Empty where there is none.
    pub suite: Arc<str>,
    /// Namespace-qualified class, as the file has it; may be empty. Shared, since neighbours mostly have the same.
    pub class: Arc<str>,
    /// Method without arguments, if the format has it apart from the name; else empty.
    pub method: String,
    /// Display name including arguments. Never empty: a missing name becomes `<suite>#<index>`.
    pub name: String,
    /// Recorded test or synthesised failure.
    pub origin: Origin,
    /// How it ended, after all attempts.
    pub outcome: Outcome,
    /// The outcome word of the file, empty where the format uses elements instead of a word.
    pub raw_outcome: Cow<'static, str>,
    /// Wall time of the last attempt. Absent is not zero: odd or missing values are absent.
    pub duration: Option<Duration>,
    /// When it began, where the file says so.
    pub started: Option<Timestamp>,
    /// Texts of the attempt that [`TestCase::outcome`] is about.
    pub evidence: Evidence,
    /// Other attempts inside the same file, in order of execution; empty for a test that ran once.
    /// For a test that passed in the end these are the earlier, failed ones. For one that never passed,
    /// `evidence` is the first failure and these are the later ones, as the writers do it.
    pub attempts: Vec<Attempt>,
    /// Data rows, sub-tests and the like.
    pub parts: Vec<Part>,
    /// Attachments in file order.
    pub attachments: Vec<Attachment>,
    /// Traits, categories, properties, in file order.
    pub traits: Vec<Trait>,
    /// Where the test is in the source code.
    pub location: Option<SourceLocation>,
    /// Where the record begins in the result file.
    pub position: Position,
    /// Whether the runner itself says that the test is flaky without recording the attempts.
    pub flakiness: Flakiness,
}

/// What the runner itself says about a test being flaky.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Flakiness {
    /// Nothing; only the attempts can tell.
    #[default]
    Unstated,
    /// The file marks the test as flaky.
    Stated,
}

impl TestCase {
    /// An empty record of a test at `position`, outcome unknown.
    #[must_use]
    pub fn new(suite: Arc<str>, position: Position) -> Self {
        Self {
            class: no_name(),
            suite,
            method: String::new(),
            name: String::new(),
            origin: Origin::Recorded,
            outcome: Outcome::Unknown,
            raw_outcome: Cow::Borrowed(""),
            duration: None,
            started: None,
            evidence: Evidence::default(),
            attempts: Vec::new(),
            parts: Vec::new(),
            attachments: Vec::new(),
            traits: Vec::new(),
            location: None,
            position,
            flakiness: Flakiness::Unstated,
        }
    }

    /// Makes it an empty record again, as [`TestCase::new`] gives it, in the memory that it has.
    pub(crate) fn reset(&mut self, new_suite: &Arc<str>, new_class: &Arc<str>, place: Position) {
        // Without `..`, so that no field can be forgotten.
        let Self {
            suite,
            class,
            method,
            name,
            origin,
            outcome,
            raw_outcome,
            duration,
            started,
            evidence,
            attempts,
            parts,
            attachments,
            traits,
            location,
            position,
            flakiness,
        } = self;
        // Counting owners of what is the same for many cases would take longer than all the rest.
        if !Arc::ptr_eq(suite, new_suite) {
            *suite = new_suite.clone();
        }
        if !Arc::ptr_eq(class, new_class) {
            *class = new_class.clone();
        }
        method.clear();
        name.clear();
        *origin = Origin::Recorded;
        *outcome = Outcome::Unknown;
        *raw_outcome = Cow::Borrowed("");
        *duration = None;
        *started = None;
        *evidence = Evidence::default();
        attempts.clear();
        parts.clear();
        attachments.clear();
        traits.clear();
        *location = None;
        *position = place;
        *flakiness = Flakiness::Unstated;
    }

    /// About how much memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        let attempts = self
            .attempts
            .iter()
            .map(|attempt| attempt.evidence.bytes() + size_of::<Attempt>());
        let parts = self
            .parts
            .iter()
            .map(|part| part.evidence.bytes() + part.name.len() + size_of::<Part>());
        let attachments = self
            .attachments
            .iter()
            .map(|attachment| attachment.bytes() + size_of::<Attachment>());
        let traits = self
            .traits
            .iter()
            .map(|entry| entry.name.len() + entry.value.len() + size_of::<Trait>());
        size_of::<Self>()
            + self.name.len()
            + self.class.len()
            + self.method.len()
            + self.evidence.bytes()
            + attempts
                .chain(parts)
                .chain(attachments)
                .chain(traits)
                .sum::<usize>()
    }

    /// Whether the test failed at least once and passed in the end.
    #[must_use]
    pub fn is_flaky(&self) -> bool {
        self.outcome == Outcome::Passed
            && (self.flakiness == Flakiness::Stated
                || self
                    .attempts
                    .iter()
                    .any(|attempt| attempt.outcome.is_failure()))
    }

    /// Why the test was skipped or not run, if it was and the file says why.
    #[must_use]
    pub fn skip_reason(&self) -> Option<&str> {
        match self.outcome {
            Outcome::Skipped | Outcome::NotRun if !self.evidence.message.is_empty() => {
                Some(self.evidence.message.as_str())
            }
            _ => None,
        }
    }

    /// The name people know the test by: the display name, with the class in front where the display name does
    /// not already begin with it.
    #[must_use]
    pub fn full_name(&self) -> Cow<'_, str> {
        if self.class.is_empty() || self.name.starts_with(&*self.class) {
            Cow::Borrowed(&self.name)
        } else {
            Cow::Owned(format!("{}.{}", self.class, self.name))
        }
    }
}

impl Default for TestCase {
    /// An empty record without a suite and a place, outcome unknown.
    fn default() -> Self {
        Self::new(no_name(), Position::default())
    }
}

/// The empty name, without an allocation for each case that has none.
fn no_name() -> Arc<str> {
    static NONE: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from(""));
    NONE.clone()
}
