//! A tolerant streaming XML reader.
//!
//! Result files are written by dying processes and by hand-made emitters, so this is not a conforming parser. It
//! differs from the well-kept general ones where they cannot be made to fit: a text or attribute of any size
//! passes through a window of fixed size instead of being gathered first; bytes that are not valid UTF-8 do not
//! end the file; broken markup is stepped over and reported with its place; no name of an open element is kept
//! whole. Entities are never expanded and a document type is never looked into.
//!
//! [`tokenizer`] cuts the bytes into tags and pieces of text, [`tag`] takes a tag apart, [`escape`] resolves references, and [`document`]
//! keeps the stack of open elements and drives a reader of one format.

pub(crate) mod document;
pub(crate) mod escape;
pub(crate) mod tag;
pub(crate) mod tokenizer;
