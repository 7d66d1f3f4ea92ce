//! Values of the file with their places.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

/// A value with its place.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    spanned: &'a Spanned<DeValue<'a>>,
}

/// What a value is. Most are read by the functions of [`value`](crate::value); this is for readers
/// that take several types.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Value<'a> {
    /// A string, without its quotes.
    String(&'a str),
    /// A whole number of any size.
    Integer(Integer<'a>),
    /// A number with decimals, or `inf` or `nan`, as it is written but without `_`.
    Float(&'a str),
    /// `true` or `false`.
    Boolean(bool),
    /// A date, a time or both; see [`day`](crate::value::day).
    Datetime,
    /// A list; see [`Item::elements`].
    List,
    /// A table; see [`Item::entries`].
    Table,
}

/// A whole number, which may be larger than any integer type. Shown, it has its base in front, such
/// as `0xff`.
#[derive(Debug, Clone, Copy)]
pub struct Integer<'a> {
    number: &'a DeInteger<'a>,
}

/// A key that is there, with its value.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    key: &'a Spanned<Cow<'a, str>>,
    item: Item<'a>,
}

impl<'a> Item<'a> {
    /// What it is.
    #[must_use]
    pub fn value(&self) -> Value<'a> {
        match self.raw() {
            DeValue::String(text) => Value::String(text),
            DeValue::Integer(number) => Value::Integer(Integer { number }),
            DeValue::Float(number) => Value::Float(number.as_str()),
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Datetime(_) => Value::Datetime,
            DeValue::Array(_) => Value::List,
            DeValue::Table(_) => Value::Table,
        }
    }

    /// Its bytes in the text; of a table with a header, the header.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.spanned.span()
    }

    /// The elements of a list; none for anything else.
    #[must_use]
    pub fn elements(&self) -> Option<impl Iterator<Item = Item<'a>> + use<'a>> {
        let DeValue::Array(array) = self.raw() else {
            return None;
        };
        Some(array.iter().map(|spanned| Item { spanned }))
    }

    /// The keys of a table with their values, in the order of the keys; none for anything else.
    #[must_use]
    pub fn entries(&self) -> Option<impl Iterator<Item = Entry<'a>> + use<'a>> {
        let DeValue::Table(table) = self.raw() else {
            return None;
        };
        Some(entries(table))
    }

    /// What it is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match self.raw() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with decimals",
            DeValue::Boolean(_) => "a truth value",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }

    pub(crate) fn raw(&self) -> &'a DeValue<'a> {
        self.spanned.get_ref()
    }
}

impl<'a> Integer<'a> {
    /// Its digits, perhaps after a sign, if it is written in base 10.
    #[must_use]
    pub fn decimal(&self) -> Option<&'a str> {
        (self.number.radix() == 10).then_some(self.number.as_str())
    }

    /// Its value, if that is not beyond all types.
    pub(crate) fn value(&self) -> Option<i128> {
        let digits = self.number.as_str().replace('_', "");
        i128::from_str_radix(&digits, self.number.radix()).ok()
    }
}

impl fmt::Display for Integer<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(formatter)
    }
}

impl<'a> Entry<'a> {
    /// The key, without quotes.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.key.get_ref()
    }

    /// The bytes of the key in the text.
    #[must_use]
    pub fn key_span(&self) -> Range<usize> {
        self.key.span()
    }

    /// The value.
    #[must_use]
    pub fn item(&self) -> Item<'a> {
        self.item
    }
}

/// The keys of a table with their values, in the order of the keys.
pub(crate) fn entries<'a>(table: &'a DeTable<'a>) -> impl Iterator<Item = Entry<'a>> + use<'a> {
    table.iter().map(|(key, spanned)| Entry {
        key,
        item: Item { spanned },
    })
}
