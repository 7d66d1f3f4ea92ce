//! Everything that is answered with a status other than OK.

use std::io;
use std::time::SystemTime;

use helix_model::admission::{FieldProblem, Refusal};
use helix_model::ids::AttemptId;
use helix_proto::refusal::DOMAIN;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// A refused work item.
pub(crate) fn refused(refusal: &Refusal) -> Status {
    helix_proto::refusal::status(refusal, SystemTime::now())
}

/// One field of a request that is wrong.
pub(crate) fn bad_field(path: &str, message: &str) -> Status {
    let problems = vec![FieldProblem {
        path: path.to_owned(),
        message: message.to_owned(),
    }];
    refused(&Refusal::BadRequest { problems })
}

/// The agent cannot write its own state, so that it must not promise anything.
pub(crate) fn state_unwritable(error: &io::Error) -> Status {
    let message = format!(
        "the agent cannot write to its state directory: {error}; free some space there or repair it"
    );
    with_reason(Code::Unavailable, "STATE_UNWRITABLE", &message)
}

/// Nobody knows the attempt.
pub(crate) fn unknown_attempt(id: &AttemptId) -> Status {
    let message = format!("attempt `{id}` is not known here, or not any more");
    with_reason(Code::NotFound, "UNKNOWN_ATTEMPT", &message)
}

/// The attempt still runs.
pub(crate) fn not_ended(id: &AttemptId) -> Status {
    let message = format!("attempt `{id}` has not ended; acknowledge its terminal event");
    with_reason(Code::FailedPrecondition, "NOT_ENDED", &message)
}

/// The history of an ended attempt cannot be read.
pub(crate) fn history_unreadable(id: &AttemptId, error: &io::Error) -> Status {
    let message = format!("the history of attempt `{id}` cannot be read: {error}");
    with_reason(Code::DataLoss, "HISTORY_UNREADABLE", &message)
}

/// A place in the history that is not there yet.
pub(crate) fn out_of_range(event: u64, events: u64, offset: u64, bytes: u64) -> Status {
    let message = format!(
        "event {event} or console byte {offset} is beyond the end: \
         there are {events} events and {bytes} bytes"
    );
    with_reason(Code::OutOfRange, "BEYOND_END", &message)
}

fn with_reason(code: Code, reason: &str, message: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, [] as [(String, String); 0]);
    Status::with_error_details(code, message, details)
}
