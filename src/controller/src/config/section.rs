//! A table of the configuration while it is read: hands out values by key, notes every problem, and
//! knows in the end which keys nobody asked for.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;

/// How alike a key must be to one that exists to be taken for a slip of the hand.
const LIKENESS: f64 = 0.75;

/// Collects problems while everything is read.
#[derive(Debug, Default)]
pub(super) struct Problems {
    list: RefCell<Vec<Problem>>,
}

impl Problems {
    pub(super) fn add(&self, problem: Problem) {
        self.list.borrow_mut().push(problem);
    }

    pub(super) fn into_list(self) -> Vec<Problem> {
        self.list.into_inner()
    }
}

/// What is wrong with a value, said of it: the name of the key goes in front.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    /// Where, if not the whole value.
    span: Option<Range<usize>>,
    message: String,
    hint: Option<String>,
}

impl Complaint {
    /// What is wrong, such as `must be a whole number`.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            span: None,
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    pub(super) fn at(self, span: Range<usize>) -> Self {
        Self {
            span: self.span.or(Some(span)),
            ..self
        }
    }

    /// A value of the wrong type.
    pub(super) fn expected(what: &str, item: &Item<'_>) -> Self {
        Self::new(format!("must be {what}, not {}", item.kind()))
    }
}

/// A value with its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'a> {
    spanned: &'a Spanned<DeValue<'a>>,
}

impl<'a> Item<'a> {
    pub(super) fn value(&self) -> &'a DeValue<'a> {
        self.spanned.get_ref()
    }

    pub(super) fn span(&self) -> Range<usize> {
        self.spanned.span()
    }

    /// What it is, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self.value() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with decimals",
            DeValue::Boolean(_) => "a truth value",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }

    /// The elements of a list; none for anything else.
    pub(super) fn elements(&self) -> Option<impl Iterator<Item = Item<'a>> + use<'a>> {
        let DeValue::Array(array) = self.value() else {
            return None;
        };
        Some(array.iter().map(|spanned| Item { spanned }))
    }
}

/// A table with its place.
#[derive(Debug)]
pub(super) struct Section<'a> {
    problems: &'a Problems,
    /// Its name with a dot behind, or nothing for the root.
    prefix: String,
    span: Range<usize>,
    table: &'a DeTable<'a>,
    known: RefCell<Vec<&'static str>>,
}

/// A key that is there, with its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    key: &'a Spanned<std::borrow::Cow<'a, str>>,
    pub(super) item: Item<'a>,
}

impl<'a> Entry<'a> {
    pub(super) fn name(&self) -> &'a str {
        self.key.get_ref()
    }

    pub(super) fn key_span(&self) -> Range<usize> {
        self.key.span()
    }
}

impl<'a> Section<'a> {
    /// The whole configuration.
    pub(super) fn root(problems: &'a Problems, root: &'a Spanned<DeTable<'a>>) -> Self {
        Self::of(problems, String::new(), root.span(), root.get_ref())
    }

    fn of(
        problems: &'a Problems,
        prefix: String,
        span: Range<usize>,
        table: &'a DeTable<'a>,
    ) -> Self {
        Self {
            problems,
            prefix,
            span,
            table,
            known: RefCell::default(),
        }
    }

    /// The value of a key; none if it is not there or was complained about.
    pub(super) fn get<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Item<'a>) -> Result<T, Complaint>,
    ) -> Option<T> {
        let item = self.item(key)?;
        self.heed(key, item.span(), read(&item))
    }

    /// Puts the value of a key into its place, which keeps its default if it is not there.
    pub(super) fn set<T>(
        &self,
        key: &'static str,
        place: &mut T,
        read: impl FnOnce(&Item<'a>) -> Result<T, Complaint>,
    ) {
        if let Some(value) = self.get(key, read) {
            *place = value;
        }
    }

    /// The same for a place that may be empty.
    pub(super) fn set_some<T>(
        &self,
        key: &'static str,
        place: &mut Option<T>,
        read: impl FnOnce(&Item<'a>) -> Result<T, Complaint>,
    ) {
        if let Some(value) = self.get(key, read) {
            *place = Some(value);
        }
    }

    /// The value of a key that must be there.
    pub(super) fn require<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Item<'a>) -> Result<T, Complaint>,
    ) -> Option<T> {
        if self.item(key).is_none() {
            let message = format!("`{}{key}` is missing", self.prefix);
            self.problems
                .add(Problem::absence(self.span.clone(), message));
        }
        self.get(key, read)
    }

    /// Whether a key is there, right or wrong.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.item(key).is_some()
    }

    /// A table below this one.
    pub(super) fn section(&self, key: &'static str) -> Option<Section<'a>> {
        let item = self.item(key)?;
        let DeValue::Table(table) = item.value() else {
            let complaint = Complaint::expected("a table", &item).hint(format!(
                "write `[{}{key}]` on a line of its own",
                self.prefix
            ));
            return self.heed(key, item.span(), Err(complaint));
        };
        Some(self.below(key, item.span(), table))
    }

    /// The tables of a list of tables.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(item) = self.item(key) else {
            return Vec::new();
        };
        let hint = || format!("write `[[{}{key}]]` on a line of its own", self.prefix);
        let Some(elements) = item.elements() else {
            let complaint = Complaint::expected("a list of tables", &item).hint(hint());
            self.heed::<()>(key, item.span(), Err(complaint));
            return Vec::new();
        };
        elements
            .filter_map(|element| {
                let DeValue::Table(table) = element.value() else {
                    let complaint = Complaint::expected("a list of tables", &element).hint(hint());
                    return self.heed(key, element.span(), Err(complaint));
                };
                Some(self.below(key, element.span(), table))
            })
            .collect()
    }

    /// Every key with its value, for a table whose keys are up to the user.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        self.table.iter().map(|(key, spanned)| Entry {
            key,
            item: Item { spanned },
        })
    }

    /// Where the value of a key is, or else the table.
    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        self.entry(key)
            .map_or(self.span.clone(), |entry| entry.item.span())
    }

    /// Complains about what is at a place.
    pub(super) fn complain(&self, span: Range<usize>, message: String, hint: Option<String>) {
        self.problems.add(Problem::at(span, message, hint));
    }

    /// Notes what is wrong with the value of a key.
    pub(super) fn heed<T>(
        &self,
        key: &str,
        span: Range<usize>,
        result: Result<T, Complaint>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(complaint) => {
                let message = format!("`{}{key}` {}", self.prefix, complaint.message);
                self.complain(complaint.span.unwrap_or(span), message, complaint.hint);
                None
            }
        }
    }

    /// Ends the reading: complains about the keys that nobody asked for.
    pub(super) fn finish(&self) {
        let known = self.known.borrow();
        for entry in self.entries() {
            let key = entry.name();
            if known.contains(&key) {
                continue;
            }
            let message = format!("unknown key `{}{key}`", self.prefix);
            self.complain(entry.key_span(), message, Some(likely(key, &known)));
        }
    }

    fn below(&self, key: &str, span: Range<usize>, table: &'a DeTable<'a>) -> Section<'a> {
        Self::of(self.problems, format!("{}{key}.", self.prefix), span, table)
    }

    fn item(&self, key: &'static str) -> Option<Item<'a>> {
        self.known.borrow_mut().push(key);
        self.entry(key).map(|entry| entry.item)
    }

    fn entry(&self, key: &str) -> Option<Entry<'a>> {
        self.entries().find(|entry| entry.name() == key)
    }
}

/// A hint for a key that does not exist.
fn likely(key: &str, known: &[&'static str]) -> String {
    let lower = key.to_lowercase().replace('-', "_");
    let best = known
        .iter()
        .map(|known| {
            (
                strsim::normalized_damerau_levenshtein(&lower, known),
                *known,
            )
        })
        .max_by(|left, right| left.0.total_cmp(&right.0));
    match best {
        Some((likeness, name)) if likeness >= LIKENESS => format!("did you mean `{name}`?"),
        _ => {
            let mut names: Vec<&str> = known.to_vec();
            names.sort_unstable();
            names.dedup();
            format!("there are `{}`", names.join("`, `"))
        }
    }
}
