//! Events as an agent would send them, and statuses as it would answer.

use std::collections::HashMap;
use std::time::Duration;

use helix_proto::agent::v1::{
    Accepted, AttemptEvent, ConsoleChunk, ConsoleStream, Ending, EndingKind, Exited, Finished,
    Refusal, Requeued, ResultsRead, Returned, Started, TestCounts, TestFailure, Verdict,
    VerdictKind, attempt_event::Kind, returned,
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// A history under construction, which numbers events and counts bytes.
#[derive(Debug, Default)]
pub(crate) struct History {
    events: Vec<AttemptEvent>,
    number: u64,
    console_offset: u64,
}

impl History {
    /// Accepted and started.
    pub(crate) fn started() -> Self {
        Self::default()
            .event(Kind::Accepted(Accepted {
                machine: "build-7".to_owned(),
                agent_version: "0.1.0".to_owned(),
                ..Accepted::default()
            }))
            .event(Kind::Started(Started {
                pid: 4711,
                ..Started::default()
            }))
    }

    pub(crate) fn event(mut self, kind: Kind) -> Self {
        self.number += 1;
        let number = self.number;
        self.push(number, kind)
    }

    pub(crate) fn out(self, data: &[u8]) -> Self {
        self.console(ConsoleStream::Stdout, data)
    }

    pub(crate) fn error(self, data: &[u8]) -> Self {
        self.console(ConsoleStream::Stderr, data)
    }

    pub(crate) fn agent(self, data: &[u8]) -> Self {
        self.console(ConsoleStream::Agent, data)
    }

    fn console(mut self, stream: ConsoleStream, data: &[u8]) -> Self {
        let chunk = ConsoleChunk {
            stream: stream.into(),
            data: data.to_vec().into(),
        };
        self = self.push(0, Kind::Console(chunk));
        self.console_offset += data.len() as u64;
        self
    }

    fn push(mut self, number: u64, kind: Kind) -> Self {
        self.events.push(AttemptEvent {
            number,
            time: Some(prost_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 0,
            }),
            console_offset: self.console_offset,
            kind: Some(kind),
        });
        self
    }

    /// The command exits with `code`.
    pub(crate) fn exited(self, code: i32) -> Self {
        self.event(Kind::Exited(Exited {
            ending: Some(exited(code)),
            elapsed: Some(prost_types::Duration {
                seconds: 2,
                nanos: 0,
            }),
            ..Exited::default()
        }))
    }

    /// Two tests, of which `failed` failed.
    pub(crate) fn results(self, failed: u64) -> Self {
        let failures = (0..failed).map(|number| TestFailure {
            name: format!("suite::case_{number}"),
            message: "expected 1, found 2".to_owned(),
            ..TestFailure::default()
        });
        self.event(Kind::ResultsRead(ResultsRead {
            counts: Some(TestCounts {
                total: 2,
                passed: 2 - failed,
                failed,
                ..TestCounts::default()
            }),
            failures: failures.collect(),
            files: vec!["testResults.xml".to_owned()],
            problems: Vec::new(),
        }))
    }

    pub(crate) fn finished(self, kind: VerdictKind, message: &str, code: i32) -> Vec<AttemptEvent> {
        self.event(Kind::Finished(Finished {
            verdict: Some(verdict(kind, message, code)),
            ..Finished::default()
        }))
        .events
    }

    pub(crate) fn passed(self) -> Vec<AttemptEvent> {
        self.exited(0).finished(VerdictKind::Passed, "", 0)
    }

    pub(crate) fn requeued(self, next: u32) -> Vec<AttemptEvent> {
        self.event(Kind::Requeued(Requeued {
            verdict: Some(verdict(VerdictKind::Failed, "1 test failed", 101)),
            next_delivery_number: next,
            next_retries_used: next - 1,
            ..Requeued::default()
        }))
        .events
    }

    pub(crate) fn lost(self, next: u32) -> Vec<AttemptEvent> {
        let verdict = Verdict {
            kind: VerdictKind::Infrastructure.into(),
            reason: "PAYLOAD".to_owned(),
            message: "the archive could not be fetched".to_owned(),
            ..Verdict::default()
        };
        self.event(Kind::Returned(Returned {
            cause: Some(returned::Cause::Verdict(verdict)),
            next_delivery_number: next,
            ..Returned::default()
        }))
        .events
    }

    pub(crate) fn refused(self, retry_after: Option<Duration>) -> Vec<AttemptEvent> {
        let refusal = Refusal {
            grpc_code: if retry_after.is_some() { 14 } else { 9 },
            reason: "MISSING_CAPABILITY".to_owned(),
            message: "There is no `xcode` 16 here.".to_owned(),
            retry_after: retry_after.map(|delay| delay.try_into().unwrap()),
            ..Refusal::default()
        };
        self.event(Kind::Returned(Returned {
            cause: Some(returned::Cause::Refusal(refusal)),
            next_delivery_number: 1,
            ..Returned::default()
        }))
        .events
    }

    /// What there is so far, without an end.
    pub(crate) fn unfinished(self) -> Vec<AttemptEvent> {
        self.events
    }
}

fn verdict(kind: VerdictKind, message: &str, code: i32) -> Verdict {
    Verdict {
        kind: kind.into(),
        message: message.to_owned(),
        ending: Some(exited(code)),
        ..Verdict::default()
    }
}

fn exited(code: i32) -> Ending {
    Ending {
        kind: EndingKind::Exited.into(),
        exit_code: Some(code),
        ..Ending::default()
    }
}

/// The agent's own no.
pub(crate) fn refusal(
    code: Code,
    reason: &str,
    message: &str,
    retry_after: Option<Duration>,
) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, "agent.helix", HashMap::new());
    if retry_after.is_some() {
        details.set_retry_info(retry_after);
    }
    Status::with_error_details(code, message, details)
}
