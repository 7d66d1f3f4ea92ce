//! Reads the TOML file that a program is configured with, and tells everything that is wrong with
//! it at once: each problem with file, line, column, the line itself and, where there is one, a
//! hint.
//!
//! A program owns its keys. It gives [`load()`] (or [`read()`], which takes a text) a function that
//! walks over the file: a [`Section`] is a table, asked for its keys one by one, each with a reader
//! of [`value`] or of its own, and in the end for the keys that nobody asked for. What a value
//! refers to outside the file comes from [`Sources`]: secrets through [`secret`], certificates
//! through [`pem`].
//!
//! ```
//! use std::time::Duration;
//!
//! use helix_settings::{Section, value};
//!
//! #[derive(Debug)]
//! struct Kettle {
//!     cups: u32,
//!     patience: Duration,
//! }
//!
//! fn kettle(root: &Section<'_>) -> Kettle {
//!     let mut kettle = Kettle { cups: 1, patience: Duration::from_secs(60) };
//!     root.set("cups", &mut kettle.cups, value::whole(1..=12));
//!     let bounds = Duration::from_secs(1)..=Duration::from_secs(600);
//!     root.set("patience", &mut kettle.patience, value::duration(bounds));
//!     kettle
//! }
//!
//! let problems = helix_settings::read("cup = 2\n", "kettle.toml", kettle).unwrap_err();
//! let report = [
//!     "kettle.toml:1:1: unknown key `cup`",
//!     "  1 | cup = 2",
//!     "    | ^^^",
//!     "  hint: did you mean `cups`?",
//!     "",
//!     "kettle.toml: 1 problem",
//! ];
//! assert_eq!(problems.to_string(), report.join("\n"));
//! ```
//!
//! Whatever the text is, it is taken or refused; nothing here panics. Values that may be secret are
//! never repeated in a message.
//!
//! This room knows no other room, no key of any program, and neither network nor runtime.
#![forbid(unsafe_code)]

mod complaint;
mod item;
mod lines;
mod problem;
mod read;
mod section;
mod sources;

pub mod address;
pub mod duration;
pub mod insecure;
pub mod pem;
pub mod secret;
pub mod size;
pub mod value;

pub use complaint::Complaint;
pub use item::{Entry, Integer, Item, Value};
pub use problem::{ConfigProblems, Problem};
pub use read::{load, read};
pub use section::Section;
pub use sources::{GivenSources, ProcessSources, SmallFile, Sources, VariableError};

#[cfg(test)]
mod tests;
