//! Whether an agent takes a work item, decided before anything is touched.

mod decide;
mod refusal;
mod sentence;

pub use decide::{
    Admission, AgentSnapshot, Availability, IsolationSnapshot, KnownAttempt, ProvisionerSnapshot,
    Standing, decide, refuse_missing,
};
pub use refusal::{CoolingDown, FieldProblem, Installation, MissingMeasure, Phase, Refusal};

#[cfg(test)]
mod tests;
