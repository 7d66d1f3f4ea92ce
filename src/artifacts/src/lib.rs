//! Files out: selects the files of an attempt and streams them to object storage, with size and
//! SHA-256.
//!
//! [`select()`] walks directories that a hostile command has written, never follows a link, and
//! says what it left out. [`Destination`] is where files go: a local folder, Azure Blob or S3. It
//! stores one file ([`Destination::store`]) or many at once ([`Destination::store_all`]), in
//! bounded memory, retried, and visible only when whole.
//!
//! This room knows nothing of work items, of the wire or of processes: who names a file and why
//! it is kept is the caller's affair.

#![forbid(unsafe_code)]

mod content_type;
mod destination;
mod key;
mod many;
mod name;
mod options;
mod problem;
mod remote;
pub mod select;
mod store;
mod transport;

pub use destination::{Destination, OpenError};
pub use many::Outcome;
pub use name::{ArtifactName, NameError};
pub use options::Options;
pub use select::{
    GlobError, Globs, Kind, LeftOut, Limits, Problem, Rule, Selected, Selection, Take, TakeError,
    select,
};
pub use store::{StoreError, Stored, Tuning};
