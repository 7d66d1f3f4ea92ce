//! The vocabulary and rules of Helix: pure functions of state, event and time.
//!
//! Nothing here does I/O, reads a clock or draws a random number: what the world looks like and
//! what time it is come in as arguments, so that whole histories, with crashes and lost messages,
//! run inside a unit test. Nothing here knows a wire format, a database or a file format of ours.
//!
//! A good order to read in is the order of the modules below: the names, what a work item is, what
//! a machine offers, whether the one fits the other, and what became of it.
#![forbid(unsafe_code)]

pub mod ids;
pub mod path;

mod backoff;
mod plain_words;

pub mod work_item;

pub mod version;

pub mod capability;

pub mod resources;

pub mod pressure;

pub mod provisioning;

pub mod health;

pub mod admission;

pub mod outcome;

pub mod attempt;

pub mod matching;

pub mod fairness;

pub mod liveness;

pub mod dispatch;

#[cfg(test)]
mod testing;
