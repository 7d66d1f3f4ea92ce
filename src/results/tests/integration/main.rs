//! The room as its callers see it: bytes of whole files in, cases and problems out.

mod corpus;
mod hostile;
mod random;
mod recovery;
mod round_trips;
mod samples;
mod scrutiny;
mod support;
mod view;
mod writers;
