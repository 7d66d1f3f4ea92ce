//! What happens to an attempt, from the wire into the controller's own words.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use helix_model::dispatch::{Announced, AttemptEnd};
use helix_proto::agent::v1;
use helix_proto::agent::v1::attempt_event::Kind;
use helix_store::{Counts, File, FileKind, TestFailure};

use super::Refused;

/// One message about an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// Bytes of its console.
    Console {
        /// The agent's offset of the first.
        offset: u64,
        /// At least one.
        data: Bytes,
    },
    /// Bytes of its console that are not kept.
    Gap {
        /// The agent's offset of the first.
        offset: u64,
        /// How many.
        dropped: u64,
    },
    /// Something that happened.
    Numbered {
        /// Counted from 1.
        number: u64,
        /// The agent's size of the console then: all before it comes before this.
        console: u64,
        /// When, by the agent's clock.
        at: Option<SystemTime>,
        /// What.
        kind: EventKind,
    },
}

/// What happened to an attempt, as far as the controller keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// The agent took it.
    Accepted {
        /// Isolation that is missing.
        degraded: Vec<String>,
    },
    /// The command was started.
    Started,
    /// The command is gone.
    Exited(Exited),
    /// Results were read.
    Results {
        /// Counts over all files.
        counts: Counts,
        /// The first that failed.
        failures: Vec<TestFailure>,
        /// What could not be read.
        problems: Vec<String>,
    },
    /// A file was stored.
    Stored(File),
    /// Something odd.
    Warning(String),
    /// Something that is not kept.
    Step,
    /// Its end.
    Ended(Box<Terminal>),
}

/// What a command used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Exited {
    /// How long it ran, if known.
    pub(crate) elapsed: Option<Duration>,
    /// CPU time of its tree, if known.
    pub(crate) cpu_time: Option<Duration>,
    /// Most memory of its tree in bytes, if known.
    pub(crate) peak_memory_bytes: Option<u64>,
}

/// The end of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// How it ended.
    pub(crate) end: AttemptEnd,
    /// What decided, in capitals.
    pub(crate) reason: String,
    /// The same in words.
    pub(crate) message: String,
    /// The exit code as Helix clients know it, as far as the agent said one or the command has one.
    pub(crate) exit_code: Option<i32>,
    /// What the agent says follows.
    pub(crate) announced: Announced,
    /// Where it is a refusal after unpacking: which.
    pub(crate) refused: Option<Refused>,
}

impl Event {
    /// Reads a message; none if it says nothing, as one of a later release may.
    pub(crate) fn from_wire(event: v1::AttemptEvent) -> Option<Self> {
        let offset = event.console_offset;
        let kind = match event.kind? {
            Kind::Console(chunk) if chunk.data.is_empty() => return None,
            Kind::Console(chunk) => {
                return Some(Self::Console {
                    offset,
                    data: chunk.data,
                });
            }
            Kind::ConsoleGap(gap) => {
                return Some(Self::Gap {
                    offset,
                    dropped: gap.dropped_bytes,
                });
            }
            Kind::Accepted(accepted) => EventKind::Accepted {
                degraded: accepted.degraded,
            },
            Kind::Preparing(_) => EventKind::Step,
            Kind::Started(_) => EventKind::Started,
            Kind::Exited(exited) => EventKind::Exited(Exited {
                elapsed: span(exited.elapsed).filter(|elapsed| !elapsed.is_zero()),
                cpu_time: span(exited.cpu_time),
                peak_memory_bytes: [exited.peak_tree_memory_bytes, exited.peak_memory_bytes]
                    .into_iter()
                    .find(|bytes| *bytes > 0),
            }),
            Kind::ResultsRead(results) => EventKind::Results {
                counts: counts(results.counts.unwrap_or_default()),
                failures: results.failures.into_iter().map(failure).collect(),
                problems: results.problems,
            },
            Kind::ArtifactStored(stored) => EventKind::Stored(File {
                kind: file_kind(stored.kind()),
                name: stored.name,
                size: stored.size_bytes,
                sha256: stored.sha256,
                url: stored.url,
            }),
            Kind::Warning(warning) => EventKind::Warning(warning.message),
            Kind::Finished(finished) => EventKind::Ended(Box::new(verdict(
                finished.verdict.unwrap_or_default(),
                Some(finished.helix_exit_code),
                Announced::Finished,
            ))),
            Kind::Requeued(requeued) => EventKind::Ended(Box::new(verdict(
                requeued.verdict.unwrap_or_default(),
                None,
                Announced::Requeued {
                    next_delivery: requeued.next_delivery_number,
                    next_retries_used: requeued.next_retries_used,
                },
            ))),
            Kind::Returned(returned) => EventKind::Ended(Box::new(self::returned(returned))),
        };
        Some(Self::Numbered {
            number: event.number,
            console: offset,
            at: event.time.and_then(|time| time.try_into().ok()),
            kind,
        })
    }
}

fn returned(returned: v1::Returned) -> Terminal {
    let announced = Announced::Returned {
        next_delivery: Some(returned.next_delivery_number).filter(|number| *number > 0),
    };
    match returned.cause {
        Some(v1::returned::Cause::Refusal(refusal)) => Terminal {
            end: AttemptEnd::Refused,
            reason: refusal.reason.clone(),
            message: refusal.message.clone(),
            exit_code: None,
            announced,
            refused: Some(Refused {
                reason: refusal.reason,
                message: refusal.message,
                retry_after: span(refusal.retry_after),
            }),
        },
        Some(v1::returned::Cause::Verdict(cause)) => verdict(cause, None, announced),
        None => verdict(
            v1::Verdict {
                kind: v1::VerdictKind::Infrastructure.into(),
                reason: "AGENT_FAULT".to_owned(),
                message: "the agent gave the work item back without saying why".to_owned(),
                ..v1::Verdict::default()
            },
            None,
            announced,
        ),
    }
}

fn verdict(verdict: v1::Verdict, exit_code: Option<i32>, announced: Announced) -> Terminal {
    let end = match (verdict.kind(), verdict.reason.as_str()) {
        (v1::VerdictKind::Passed, _) => AttemptEnd::Passed,
        (v1::VerdictKind::Failed, _) => AttemptEnd::Failed,
        (v1::VerdictKind::TimedOut, _) => AttemptEnd::TimedOut,
        (v1::VerdictKind::Cancelled, "SUPERSEDED") => AttemptEnd::Superseded,
        (v1::VerdictKind::Cancelled, _) => AttemptEnd::Cancelled,
        // A verdict of a later release says nothing that this one can act on.
        (v1::VerdictKind::Infrastructure | v1::VerdictKind::Unspecified, _) => {
            AttemptEnd::Infrastructure
        }
    };
    let by_command = verdict.ending.as_ref().and_then(|ending| {
        let by_signal = ending.signal.map(|signal| signal.saturating_add(128));
        ending.exit_code.or(by_signal)
    });
    Terminal {
        end,
        reason: verdict.reason,
        message: verdict.message,
        exit_code: exit_code.or(by_command),
        announced,
        refused: None,
    }
}

fn span(duration: Option<prost_types::Duration>) -> Option<Duration> {
    duration.and_then(|duration| helix_proto::time::duration(duration).ok())
}

fn counts(counts: v1::TestCounts) -> Counts {
    Counts {
        total: counts.total,
        passed: counts.passed,
        failed: counts.failed,
        skipped: counts.skipped,
        flaky: counts.flaky,
        inconclusive: counts.inconclusive,
    }
}

fn failure(failure: v1::TestFailure) -> TestFailure {
    TestFailure {
        name: failure.name,
        message: failure.message,
        stack: failure.stack,
        file: failure.file,
    }
}

fn file_kind(kind: v1::ArtifactKind) -> FileKind {
    match kind {
        v1::ArtifactKind::ConsoleLog => FileKind::ConsoleLog,
        v1::ArtifactKind::TestResult => FileKind::TestResult,
        v1::ArtifactKind::Dump => FileKind::Dump,
        v1::ArtifactKind::Upload | v1::ArtifactKind::Unspecified => FileKind::Upload,
    }
}
