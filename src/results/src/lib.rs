//! Test result files in, one model of test runs out.
//!
//! Start at [`read()`]: it takes bytes, finds out which format they are in, and hands each test case to a [`Sink`]
//! while it reads. [`Tally`] is the sink that counts; [`Collector`] the one that keeps. [`discover()`] finds result
//! files below a directory by their names. [`Reruns`] joins what several files say of one test.
//!
//! What holds throughout:
//!
//! * Elements are counted; totals that a file claims are only compared.
//! * Where signals conflict the worse one wins, and an outcome that is not known is not passed.
//! * A file is hostile until read: memory stays bounded whatever it holds, nothing recurses on its depth, no entity
//!   is expanded, no path in it is opened, and nothing in it makes the reader panic.
//! * A damaged file gives what it held before (and where possible after) the damage, and a [`Problem`] that says so.
//!
//! This room knows no other room, no network and no async runtime.

#![forbid(unsafe_code)]

mod discover;
mod encoding;
mod fold;
mod formats;
mod json;
mod limits;
mod lines;
mod model;
mod problem;
mod read;
mod rerun;
mod session;
mod sink;
mod sniff;
mod source;
mod tally;
mod text;
mod time;
mod view;
mod write;
mod xml;

pub use discover::{
    DiscoverError, DiscoverLimits, Discovery, FileNames, Found, discover, is_result_file_name,
};
pub use fold::{Execution, Fold, FoldedTest, Row, Shape, executions_in_file};
pub use limits::Limits;
pub use model::{
    Attachment, AttachmentBody, Attempt, DeclaredTotals, Evidence, Flakiness, Format, Origin,
    Outcome, Part, Position, SourceLocation, TestCase, TestRun, Timestamp, Trait,
};
pub use problem::{Problem, ProblemKind, ReadError};
pub use read::{ReadEnd, ReadReport, read};
pub use rerun::{RerunIndex, RerunLimits, Reruns};
pub use sink::{CollectedRun, Collector, Sink};
pub use tally::{CaseBrief, Counts, Tally, TallyLimits};
pub use text::{Text, printable, printable_line};
pub use view::{Colour, ProblemList, ViewOptions, problem_lines, write_counts, write_view};
pub use write::ctrf::CtrfWriter;
pub use write::json::JsonWriter;
pub use write::junit::JUnitWriter;
