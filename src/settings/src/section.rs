//! A table of the configuration while it is read: hands out values by key, notes every problem, and
//! knows in the end which keys nobody asked for.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::complaint::Complaint;
use crate::item::{self, Entry, Item};
use crate::problem::{Found, Problem};

/// How alike a key must be to one that exists to be taken for a slip of the hand, from 0 to 1.
const LIKENESS: f64 = 0.75;

/// The longest key that is compared with those that exist, in bytes. A longer one is like none, and
/// comparing takes time that grows with both.
const MAX_COMPARED_BYTES: usize = 64;

/// A table with its place.
///
/// Whoever has asked for all keys [finishes](Self::finish) it. Keys are named in messages with
/// their tables, such as `listen.tls.key`.
#[derive(Debug)]
pub struct Section<'a> {
    found: &'a Found,
    /// Its name with a dot behind, or nothing for the table at the top.
    prefix: String,
    span: Range<usize>,
    table: &'a DeTable<'a>,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    /// The table at the top.
    pub(crate) fn root(found: &'a Found, root: &'a Spanned<DeTable<'a>>) -> Self {
        Self::of(found, String::new(), root.span(), root.get_ref())
    }

    fn of(found: &'a Found, prefix: String, span: Range<usize>, table: &'a DeTable<'a>) -> Self {
        Self {
            found,
            prefix,
            span,
            table,
            known: RefCell::default(),
        }
    }

    /// The value of a key; none if it is not there or was complained about.
    ///
    /// `read` says what the value is, or what is wrong with it.
    pub fn get<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Item<'a>) -> Result<T, Complaint>,
    ) -> Option<T> {
        let item = self.item(key)?;
        self.heed(key, item.span(), read(&item))
    }

    /// Puts the value of a key into its place, which keeps its default if the key is not there or
    /// was complained about.
    pub fn set<T>(
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
    pub fn set_some<T>(
        &self,
        key: &'static str,
        place: &mut Option<T>,
        read: impl FnOnce(&Item<'a>) -> Result<T, Complaint>,
    ) {
        if let Some(value) = self.get(key, read) {
            *place = Some(value);
        }
    }

    /// The value of a key that must be there; none if it is not or was complained about.
    pub fn require<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Item<'a>) -> Result<T, Complaint>,
    ) -> Option<T> {
        if self.item(key).is_none() {
            let message = format!("{} is missing", self.called(key));
            let is_root = self.prefix.is_empty();
            let table = (!is_root).then(|| self.span.clone());
            self.found.add(Problem::absence(table, message));
        }
        self.get(key, read)
    }

    /// Whether a key is there, right or wrong. It counts as asked for.
    #[must_use]
    pub fn has(&self, key: &'static str) -> bool {
        self.item(key).is_some()
    }

    /// A table below this one; none if it is not there or was complained about, being something
    /// else.
    pub fn section(&self, key: &'static str) -> Option<Section<'a>> {
        let item = self.item(key)?;
        let DeValue::Table(table) = item.raw() else {
            let complaint = Complaint::expected("a table", &item).hint(format!(
                "write `[{}{key}]` on a line of its own",
                self.prefix
            ));
            return self.heed(key, item.span(), Err(complaint));
        };
        Some(self.below(key, item.span(), table))
    }

    /// The tables of a list of tables, without what was complained about; none if there is no list.
    pub fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
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
                let DeValue::Table(table) = element.raw() else {
                    let complaint = Complaint::expected("a list of tables", &element).hint(hint());
                    return self.heed(key, element.span(), Err(complaint));
                };
                Some(self.below(key, element.span(), table))
            })
            .collect()
    }

    /// Every key with its value, in the order of the keys: for a table whose keys are up to the
    /// user. Such a table is not [finished](Self::finish).
    pub fn entries(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        item::entries(self.table)
    }

    /// Keeps the values of all keys out of every report: where one shows such a line, whatever it is
    /// about, it has stars in their places. For a table whose values may be secret.
    pub fn conceal(&self) {
        for entry in self.entries() {
            self.found.conceal(entry.item().span());
        }
    }

    /// Where the value of a key is, or else the table, in bytes of the text. The table at the top
    /// is at its start, a table with a header where that is.
    #[must_use]
    pub fn span_of(&self, key: &str) -> Range<usize> {
        self.entry(key)
            .map_or(self.span.clone(), |entry| entry.item().span())
    }

    /// Complains about what is at a place, in bytes of the text. The message is a sentence in lower
    /// case without a full stop, the hint what to do about it.
    pub fn complain(&self, span: Range<usize>, message: String, hint: Option<String>) {
        self.found.add(Problem::at(span, message, hint));
    }

    /// Complains about what is not in the file, such as a variable of the environment.
    pub fn complain_of_file(&self, message: String, hint: &str) {
        self.found
            .add(Problem::of_file(message, Some(hint.to_owned())));
    }

    /// Notes what is wrong with the value of a key, which is at the place given.
    pub fn heed<T>(
        &self,
        key: &str,
        span: Range<usize>,
        result: Result<T, Complaint>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(complaint) => {
                let message = format!("{} {}", self.called(key), complaint.message);
                if complaint.is_secret {
                    self.found.conceal(span.clone());
                }
                self.complain(complaint.span.unwrap_or(span), message, complaint.hint);
                None
            }
        }
    }

    /// A key with its tables in backticks, for messages: `` `listen.tls.key` ``.
    #[must_use]
    pub fn called(&self, key: &str) -> String {
        format!("`{}{key}`", self.prefix)
    }

    /// Ends the reading: complains about the keys that nobody asked for, each with the one that is
    /// most like it or else all that there are.
    pub fn finish(&self) {
        let known = self.known.borrow();
        for entry in self.entries() {
            let key = entry.name();
            if known.contains(&key) {
                continue;
            }
            let message = format!("unknown key {}", self.called(key));
            self.complain(entry.key_span(), message, Some(likely(key, &known)));
        }
    }

    fn below(&self, key: &str, span: Range<usize>, table: &'a DeTable<'a>) -> Section<'a> {
        Self::of(self.found, format!("{}{key}.", self.prefix), span, table)
    }

    fn item(&self, key: &'static str) -> Option<Item<'a>> {
        self.known.borrow_mut().push(key);
        self.entry(key).map(|entry| entry.item())
    }

    fn entry(&self, key: &str) -> Option<Entry<'a>> {
        self.entries().find(|entry| entry.name() == key)
    }
}

/// A hint for a key that does not exist.
fn likely(key: &str, known: &[&'static str]) -> String {
    if let Some(name) = nearest(key, known) {
        return format!("did you mean `{name}`?");
    }
    let mut names: Vec<&str> = known.to_vec();
    names.sort_unstable();
    names.dedup();
    match names[..] {
        [] => "there are no keys here".to_owned(),
        _ => format!("there are `{}`", names.join("`, `")),
    }
}

fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    if key.len() > MAX_COMPARED_BYTES {
        return None;
    }
    let key = key.to_lowercase().replace('-', "_");
    let likeness = |known| strsim::normalized_damerau_levenshtein(&key, known);
    known
        .iter()
        .map(|known| (likeness(known), *known))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, name)| name)
}
