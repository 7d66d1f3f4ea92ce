//! A refusal as a gRPC status with typed details, and as a part of an event.
//!
//! The table of reasons, codes and metadata stands in
//! `proto/helix/agent/v1/agent_service.proto`; what keeps a status within what clients take as a
//! header, in `size`.

mod metadata;
mod size;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use helix_model::admission::Refusal;
use helix_model::capability::Missing;
use helix_model::pressure::PressureLevel;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::agent::v1;
use crate::capacity;
use metadata::metadata;

/// The domain of every `google.rpc.ErrorInfo` of the agent.
pub const DOMAIN: &str = "agent.helix";

/// The status that refuses a work item: code, sentence, and the `google.rpc` details `ErrorInfo`,
/// `RetryInfo` where `refusal` says when to come back, and `BadRequest` or `PreconditionFailure`
/// where it is about fields or capabilities.
///
/// `now` is what the waiting time is counted from. Long texts are cut and violations that do not
/// fit are left out, so that the status stays below 8 KiB as a header; [`event`] is whole.
#[must_use]
pub fn status(refusal: &Refusal, now: SystemTime) -> Status {
    let message = size::message(&refusal.sentence());
    let metadata = metadata(refusal)
        .into_iter()
        .map(|(key, value)| (key.to_owned(), size::text(&value)));
    let metadata: Vec<(String, String)> = metadata.collect();
    let mut room = size::Room::beside(&message);
    for (key, value) in &metadata {
        room.take(&[key, value]);
    }
    let mut details = ErrorDetails::new();
    details.set_error_info(
        refusal.reason(),
        DOMAIN,
        metadata
            .into_iter()
            .collect::<std::collections::HashMap<_, _>>(),
    );
    if let Some(wait) = refusal.retry_after(now) {
        details.set_retry_info(Some(wait));
    }
    if let Refusal::BadRequest { problems } = refusal {
        for problem in problems {
            let (path, message) = (size::text(&problem.path), size::text(&problem.message));
            if room.take(&[&path, &message]) {
                details.add_bad_request_violation(path, message);
            }
        }
    }
    for missing in missing(refusal) {
        let (name, text) = (missing.name.as_str(), size::text(&missing.to_string()));
        if room.take(&[refusal.reason(), name, &text]) {
            details.add_precondition_failure_violation(refusal.reason(), name, text);
        }
    }
    Status::with_error_details(code(refusal), message, details)
}

/// The same as a part of an event, for what is found only after unpacking. Nothing is cut.
#[must_use]
pub fn event(refusal: &Refusal, now: SystemTime) -> v1::Refusal {
    v1::Refusal {
        grpc_code: u32::try_from(i32::from(code(refusal))).unwrap_or_default(),
        reason: refusal.reason().to_owned(),
        message: refusal.sentence(),
        metadata: metadata(refusal)
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
        retry_after: refusal
            .retry_after(now)
            .and_then(|wait| wait.try_into().ok()),
        missing: missing(refusal)
            .into_iter()
            .map(capacity::missing)
            .collect(),
    }
}

/// What is missing, for the refusals that are about that.
fn missing(refusal: &Refusal) -> Vec<&Missing> {
    match refusal {
        Refusal::MissingCapability { missing, .. } => missing.iter().collect(),
        Refusal::Provisioning { installations } => installations
            .iter()
            .map(|installation| &installation.missing)
            .collect(),
        Refusal::BadRequest { .. }
        | Refusal::Duplicate { .. }
        | Refusal::Superseded { .. }
        | Refusal::Offline { .. }
        | Refusal::Draining { .. }
        | Refusal::WrongQueue { .. }
        | Refusal::NotIsolated { .. }
        | Refusal::Unhealthy { .. }
        | Refusal::TooLarge { .. }
        | Refusal::SlotsFull { .. }
        | Refusal::CpuShort { .. }
        | Refusal::MemoryShort { .. }
        | Refusal::DiskShort { .. } => Vec::new(),
    }
}

fn code(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::BadRequest { .. } => Code::InvalidArgument,
        Refusal::Duplicate { .. } => Code::AlreadyExists,
        Refusal::Superseded { .. } => Code::Aborted,
        Refusal::Offline { .. }
        | Refusal::Draining { .. }
        | Refusal::Unhealthy { .. }
        | Refusal::Provisioning { .. } => Code::Unavailable,
        Refusal::WrongQueue { .. }
        | Refusal::NotIsolated { .. }
        | Refusal::TooLarge { .. }
        | Refusal::MissingCapability { .. } => Code::FailedPrecondition,
        Refusal::SlotsFull { .. }
        | Refusal::CpuShort { .. }
        | Refusal::MemoryShort { .. }
        | Refusal::DiskShort { .. } => Code::ResourceExhausted,
    }
}

/// The name of a level on the wire, as in `Pressure.level` and in the metadata of `SLOTS_FULL`.
#[must_use]
pub fn pressure_level(level: PressureLevel) -> &'static str {
    match level {
        PressureLevel::Calm => "CALM",
        PressureLevel::Elevated => "ELEVATED",
        PressureLevel::High => "HIGH",
        PressureLevel::Critical => "CRITICAL",
    }
}
