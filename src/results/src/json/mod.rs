//! A tolerant streaming JSON reader.
//!
//! Reports are read value by value through the window of a [`crate::source::Source`]: no string is gathered beyond
//! what may be kept of it, nothing recurses, and lone surrogates, invalid bytes or stray commas do not end a file.
//! [`lexer`] cuts the bytes into values, [`document`] drives a reader of one format through them, and [`sniff`]
//! tells the formats apart.

pub(crate) mod document;
pub(crate) mod lexer;
pub(crate) mod sniff;
