//! What `--json` writes: one object a line, each with a `type`.
//!
//! The shapes are written out by hand, so that a change of the wire contract
//! cannot change them by accident. Fields may be added later, never renamed or
//! removed; what is not known is left out. Times are RFC 3339, durations are
//! seconds, sizes are bytes, digests are hexadecimal.

mod agent;
mod event;

use std::collections::BTreeMap;

use serde::Serialize;

pub(crate) use self::agent::{AttemptRow, CapacityLine};
pub(crate) use self::event::EventLine;
use crate::client::answer::Refusal;
use crate::error::Error;

/// What the program itself has to tell.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Notice<'a> {
    /// A work item is about to be offered.
    Offered {
        attempt_id: &'a str,
        work_item_id: &'a str,
        job_id: &'a str,
        name: &'a str,
        delivery: u32,
    },
    /// The agent refused for now; the next try comes after the delay.
    Waiting {
        attempt_id: &'a str,
        refusal: RefusalBody<'a>,
        delay_seconds: f64,
    },
    /// The connection broke; the next try comes after the delay.
    ConnectionLost {
        attempt_id: &'a str,
        cause: String,
        delay_seconds: f64,
    },
    /// The connection is back.
    ConnectionRestored { attempt_id: &'a str },
    /// The work item is over for this program.
    Ended { attempt_id: &'a str, exit_code: u8 },
    /// The wish to end an attempt was noted.
    CancelRequested {
        attempt_id: &'a str,
        already_ended: bool,
    },
    /// The agent takes nothing new.
    Draining { running: u32 },
    /// The agent was asked to take work again.
    Resumed { ready: bool },
    /// A work item of the demonstration went somewhere.
    Queue {
        name: &'a str,
        event: &'a str,
        message: &'a str,
    },
    /// A controller and an agent listen.
    Up {
        controller: String,
        /// Of the agent.
        address: String,
        directory: String,
        slots: u32,
    },
    /// The program failed.
    Error {
        exit_code: u8,
        message: String,
        causes: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        refusal: Option<RefusalBody<'a>>,
    },
}

/// The agent's own no.
#[derive(Debug, Serialize)]
pub(crate) struct RefusalBody<'a> {
    reason: &'a str,
    /// Number of the gRPC status.
    grpc_code: i32,
    message: &'a str,
    metadata: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Detail<'a>>,
}

#[derive(Debug, Serialize)]
struct Detail<'a> {
    subject: &'a str,
    problem: &'a str,
}

impl<'a> From<&'a Refusal> for RefusalBody<'a> {
    fn from(refusal: &'a Refusal) -> Self {
        Self {
            reason: &refusal.reason,
            grpc_code: refusal.code.into(),
            message: &refusal.message,
            metadata: &refusal.metadata,
            retry_after_seconds: refusal.retry_after.map(|delay| delay.as_secs_f64()),
            details: refusal
                .details
                .iter()
                .map(|(subject, problem)| Detail { subject, problem })
                .collect(),
        }
    }
}

impl<'a> From<&'a Error> for Notice<'a> {
    fn from(error: &'a Error) -> Self {
        Self::Error {
            exit_code: error.exit().code(),
            message: error.to_string(),
            causes: error.causes(),
            hint: error.hint(),
            refusal: error.refusal().map(RefusalBody::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic::Code;

    use super::*;

    #[test]
    fn a_refusal_can_be_branched_upon() {
        let refusal = Refusal {
            code: Code::FailedPrecondition,
            reason: "MISSING_CAPABILITY".to_owned(),
            message: "No `xcode` here.".to_owned(),
            metadata: BTreeMap::from([("name".to_owned(), "xcode".to_owned())]),
            retry_after: Some(Duration::from_millis(1500)),
            details: vec![(
                "xcode".to_owned(),
                "wanted >=16, present nothing".to_owned(),
            )],
        };
        let error = Error::Refused {
            name: "tests".to_owned(),
            refusal: Box::new(refusal),
        };
        let text = serde_json::to_string_pretty(&Notice::from(&error)).unwrap();
        insta::assert_snapshot!(text, @r#"
        {
          "type": "error",
          "exit_code": 75,
          "message": "the agent refused `tests`",
          "causes": [
            "MISSING_CAPABILITY: No `xcode` here.; `xcode`: wanted >=16, present nothing"
          ],
          "hint": "come back in 1.5 s, or let `helix run --wait 10m` do it",
          "refusal": {
            "reason": "MISSING_CAPABILITY",
            "grpc_code": 9,
            "message": "No `xcode` here.",
            "metadata": {
              "name": "xcode"
            },
            "retry_after_seconds": 1.5,
            "details": [
              {
                "subject": "xcode",
                "problem": "wanted >=16, present nothing"
              }
            ]
          }
        }
        "#);
    }
}
