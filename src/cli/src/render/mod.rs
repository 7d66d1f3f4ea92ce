//! How things look to people: pure functions from events and states to text.
//!
//! Nothing in here writes, asks the clock or knows a terminal; [`Palette`] says
//! whether colour is wanted, and whoever calls says what time it is.

pub(crate) mod capacity;
pub(crate) mod event;
pub(crate) mod failure;
pub(crate) mod palette;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod units;
pub(crate) mod verdict;

pub(crate) use self::palette::Palette;
