//! What became of an attempt, and what follows from it.
//!
//! Three things are kept apart: how the command ended ([`Ending`]), whether the work item passed
//! ([`Verdict`]), and what happens to it next ([`Disposition`]). [`judge()`] is the only way from the
//! first to the others.

mod ending;
mod judge;

pub use ending::{
    Blame, CancelledBy, Ending, InfrastructureCause, PayloadFault, StartFailure, TimeoutKind,
};
pub use judge::{
    Disposition, FailureReason, HELIX_EXIT_CANCELLED, HELIX_EXIT_DEAD_LETTER,
    HELIX_EXIT_INFRASTRUCTURE, HELIX_EXIT_OUTPUT_LIMIT, HELIX_EXIT_TIMEOUT, InnerRequest,
    Judgement, Results, TestTally, Verdict, judge,
};

#[cfg(test)]
mod tests;
