//! Events of an attempt.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use helix_proto::agent::v1::{
    self as wire, ArtifactKind, AttemptEvent, ConsoleStream, EndingKind, VerdictKind,
    attempt_event::Kind, returned,
};
use jiff::Timestamp;
use serde::Serialize;

use crate::render::units::{wire_duration, wire_time};

/// One event.
#[derive(Debug, Serialize)]
pub(crate) struct EventLine<'a> {
    #[serde(flatten)]
    body: Body<'a>,
    attempt_id: &'a str,
    /// Absent for console bytes and gaps.
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Timestamp>,
    console_offset: u64,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Body<'a> {
    Console(Console<'a>),
    ConsoleGap {
        dropped_bytes: u64,
    },
    Accepted {
        machine: &'a str,
        agent_version: &'a str,
        retries_granted: u32,
        degraded: &'a [String],
    },
    Preparing {
        step: &'a str,
    },
    Started {
        pid: u32,
        working_directory: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        wall_timeout_seconds: Option<f64>,
        #[serde(skip_serializing_if = "str::is_empty")]
        run_as: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        slot: Option<u32>,
    },
    Exited(Exited<'a>),
    ResultsRead {
        counts: Counts,
        failures: Vec<Failure<'a>>,
        files: &'a [String],
        problems: &'a [String],
    },
    ArtifactStored {
        name: &'a str,
        kind: &'static str,
        size_bytes: u64,
        sha256: String,
        url: &'a str,
    },
    Warning {
        message: &'a str,
    },
    Finished {
        #[serde(skip_serializing_if = "Option::is_none")]
        verdict: Option<Verdict<'a>>,
        passed_on_retry: bool,
        helix_exit_code: i32,
        #[serde(skip_serializing_if = "str::is_empty")]
        reboot_requested: &'a str,
    },
    Requeued {
        #[serde(skip_serializing_if = "Option::is_none")]
        verdict: Option<Verdict<'a>>,
        next_delivery_number: u32,
        next_retries_used: u32,
        retries_left: u32,
        #[serde(skip_serializing_if = "str::is_empty")]
        reboot_requested: &'a str,
    },
    Returned {
        #[serde(skip_serializing_if = "Option::is_none")]
        verdict: Option<Verdict<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        refusal: Option<Refusal<'a>>,
        next_delivery_number: u32,
        #[serde(skip_serializing_if = "str::is_empty")]
        reboot_requested: &'a str,
    },
    /// An event that this version does not know.
    Unknown,
}

/// Bytes are text where they are UTF-8, else base64: neither loses any.
#[derive(Debug, Serialize)]
struct Console<'a> {
    stream: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

#[derive(Debug, Serialize)]
struct Exited<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ending: Option<Ending<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    elapsed_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_tree_memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_processes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_forks: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk: Option<DiskUse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_kills: Option<MemoryKills<'a>>,
    leftovers: Vec<Process<'a>>,
    leftovers_total: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    survivors: Vec<Process<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files_left: Option<FilesLeft<'a>>,
}

#[derive(Debug, Serialize)]
struct Process<'a> {
    pid: u32,
    name: &'a str,
}

#[derive(Debug, Serialize)]
struct DiskUse {
    read_bytes: u64,
    written_bytes: u64,
}

#[derive(Debug, Serialize)]
struct MemoryKills<'a> {
    count: u64,
    victims: Vec<Process<'a>>,
}

#[derive(Debug, Serialize)]
struct FilesLeft<'a> {
    count: u64,
    problems: &'a [String],
}

#[derive(Debug, Serialize)]
struct Ending<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    core_dumped: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_limit_bytes: Option<u64>,
    message: &'a str,
}

/// What the agent made of an attempt.
#[derive(Debug, Serialize)]
pub(super) struct Verdict<'a> {
    kind: &'static str,
    reason: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ending: Option<Ending<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tests: Option<Counts>,
}

#[derive(Debug, Serialize)]
struct Counts {
    total: u64,
    passed: u64,
    failed: u64,
    skipped: u64,
    flaky: u64,
    inconclusive: u64,
}

#[derive(Debug, Serialize)]
struct Failure<'a> {
    name: &'a str,
    message: &'a str,
    stack: &'a str,
    file: &'a str,
}

#[derive(Debug, Serialize)]
struct Refusal<'a> {
    reason: &'a str,
    grpc_code: u32,
    message: &'a str,
    metadata: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<f64>,
    missing: Vec<Missing<'a>>,
}

#[derive(Debug, Serialize)]
struct Missing<'a> {
    name: &'a str,
    wanted: &'a str,
    present: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    asked_by: &'a str,
}

impl<'a> EventLine<'a> {
    /// The line for `event` of `attempt_id`.
    pub(crate) fn new(attempt_id: &'a str, event: &'a AttemptEvent) -> Self {
        Self {
            body: event.kind.as_ref().map_or(Body::Unknown, Body::from),
            attempt_id,
            number: (event.number > 0).then_some(event.number),
            time: wire_time(event.time),
            console_offset: event.console_offset,
        }
    }
}

impl<'a> From<&'a Kind> for Body<'a> {
    fn from(kind: &'a Kind) -> Self {
        match kind {
            Kind::Console(chunk) => Self::Console(Console::from(chunk)),
            Kind::ConsoleGap(gap) => Self::ConsoleGap {
                dropped_bytes: gap.dropped_bytes,
            },
            Kind::Accepted(accepted) => Self::Accepted {
                machine: &accepted.machine,
                agent_version: &accepted.agent_version,
                retries_granted: accepted.retries_granted,
                degraded: &accepted.degraded,
            },
            Kind::Preparing(preparing) => Self::Preparing {
                step: &preparing.step,
            },
            Kind::Started(started) => Self::Started {
                pid: started.pid,
                working_directory: &started.working_directory,
                wall_timeout_seconds: seconds(started.wall_timeout),
                run_as: &started.run_as,
                slot: started.slot,
            },
            Kind::Exited(exited) => Self::Exited(Exited::from(exited)),
            Kind::ResultsRead(results) => Self::ResultsRead {
                counts: Counts::from(results.counts.unwrap_or_default()),
                failures: results.failures.iter().map(Failure::from).collect(),
                files: &results.files,
                problems: &results.problems,
            },
            Kind::ArtifactStored(artifact) => Self::ArtifactStored {
                name: &artifact.name,
                kind: artifact_kind(artifact.kind()),
                size_bytes: artifact.size_bytes,
                sha256: artifact
                    .sha256
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect(),
                url: &artifact.url,
            },
            Kind::Warning(warning) => Self::Warning {
                message: &warning.message,
            },
            Kind::Finished(finished) => Self::Finished {
                verdict: finished.verdict.as_ref().map(Verdict::from),
                passed_on_retry: finished.passed_on_retry,
                helix_exit_code: finished.helix_exit_code,
                reboot_requested: &finished.reboot_requested,
            },
            Kind::Requeued(requeued) => Self::Requeued {
                verdict: requeued.verdict.as_ref().map(Verdict::from),
                next_delivery_number: requeued.next_delivery_number,
                next_retries_used: requeued.next_retries_used,
                retries_left: requeued.retries_left,
                reboot_requested: &requeued.reboot_requested,
            },
            Kind::Returned(returned) => {
                let (verdict, refusal) = match &returned.cause {
                    Some(returned::Cause::Verdict(verdict)) => (Some(verdict.into()), None),
                    Some(returned::Cause::Refusal(refusal)) => (None, Some(refusal.into())),
                    None => (None, None),
                };
                Self::Returned {
                    verdict,
                    refusal,
                    next_delivery_number: returned.next_delivery_number,
                    reboot_requested: &returned.reboot_requested,
                }
            }
        }
    }
}

impl<'a> From<&'a wire::ConsoleChunk> for Console<'a> {
    fn from(chunk: &'a wire::ConsoleChunk) -> Self {
        let stream = match chunk.stream() {
            ConsoleStream::Unspecified => "unknown",
            ConsoleStream::Agent => "agent",
            ConsoleStream::Stdout => "stdout",
            ConsoleStream::Stderr => "stderr",
        };
        match std::str::from_utf8(&chunk.data) {
            Ok(text) => Self {
                stream,
                text: Some(text),
                base64: None,
            },
            Err(_) => Self {
                stream,
                text: None,
                base64: Some(STANDARD.encode(&chunk.data)),
            },
        }
    }
}

impl<'a> From<&'a wire::Exited> for Exited<'a> {
    fn from(exited: &'a wire::Exited) -> Self {
        Self {
            ending: exited.ending.as_ref().map(Ending::from),
            elapsed_seconds: seconds(exited.elapsed),
            cpu_seconds: seconds(exited.cpu_time),
            peak_memory_bytes: (exited.peak_memory_bytes > 0).then_some(exited.peak_memory_bytes),
            peak_tree_memory_bytes: (exited.peak_tree_memory_bytes > 0)
                .then_some(exited.peak_tree_memory_bytes),
            peak_processes: (exited.peak_processes > 0).then_some(exited.peak_processes),
            refused_forks: exited.refused_forks,
            disk: exited.disk.map(|disk| DiskUse {
                read_bytes: disk.read_bytes,
                written_bytes: disk.written_bytes,
            }),
            memory_kills: exited.memory_kills.as_ref().map(|kills| MemoryKills {
                count: kills.count,
                victims: kills
                    .victims
                    .iter()
                    .map(|victim| Process {
                        pid: victim.pid,
                        name: &victim.name,
                    })
                    .collect(),
            }),
            leftovers: exited.leftovers.iter().map(Process::from).collect(),
            leftovers_total: exited.leftovers_total,
            survivors: exited.survivors.iter().map(Process::from).collect(),
            files_left: exited.files_left.as_ref().map(|left| FilesLeft {
                count: left.count,
                problems: &left.problems,
            }),
        }
    }
}

impl<'a> From<&'a wire::LeftoverProcess> for Process<'a> {
    fn from(process: &'a wire::LeftoverProcess) -> Self {
        Self {
            pid: process.pid,
            name: &process.name,
        }
    }
}

impl<'a> From<&'a wire::Ending> for Ending<'a> {
    fn from(ending: &'a wire::Ending) -> Self {
        let kind = match ending.kind() {
            EndingKind::Unspecified => "unknown",
            EndingKind::Exited => "exited",
            EndingKind::Signalled => "signalled",
            EndingKind::WallTimeout => "wall_timeout",
            EndingKind::SilenceTimeout => "silence_timeout",
            EndingKind::Cancelled => "cancelled",
            EndingKind::OutputLimit => "output_limit",
            EndingKind::OutOfMemory => "out_of_memory",
            EndingKind::CouldNotStart => "could_not_start",
            EndingKind::Infrastructure => "infrastructure",
        };
        Self {
            kind,
            exit_code: ending.exit_code,
            signal: ending.signal,
            core_dumped: ending.core_dumped,
            memory_limit_bytes: (ending.memory_limit_bytes > 0)
                .then_some(ending.memory_limit_bytes),
            message: &ending.message,
        }
    }
}

impl<'a> From<&'a wire::Verdict> for Verdict<'a> {
    fn from(verdict: &'a wire::Verdict) -> Self {
        let kind = match verdict.kind() {
            VerdictKind::Unspecified => "unknown",
            VerdictKind::Passed => "passed",
            VerdictKind::Failed => "failed",
            VerdictKind::TimedOut => "timed_out",
            VerdictKind::Cancelled => "cancelled",
            VerdictKind::Infrastructure => "infrastructure",
        };
        Self {
            kind,
            reason: &verdict.reason,
            message: &verdict.message,
            ending: verdict.ending.as_ref().map(Ending::from),
            tests: verdict.tests.map(Counts::from),
        }
    }
}

impl From<wire::TestCounts> for Counts {
    fn from(counts: wire::TestCounts) -> Self {
        let wire::TestCounts {
            total,
            passed,
            failed,
            skipped,
            flaky,
            inconclusive,
        } = counts;
        Self {
            total,
            passed,
            failed,
            skipped,
            flaky,
            inconclusive,
        }
    }
}

impl<'a> From<&'a wire::TestFailure> for Failure<'a> {
    fn from(failure: &'a wire::TestFailure) -> Self {
        let wire::TestFailure {
            name,
            message,
            stack,
            file,
        } = failure;
        Self {
            name,
            message,
            stack,
            file,
        }
    }
}

impl<'a> From<&'a wire::Refusal> for Refusal<'a> {
    fn from(refusal: &'a wire::Refusal) -> Self {
        Self {
            reason: &refusal.reason,
            grpc_code: refusal.grpc_code,
            message: &refusal.message,
            metadata: refusal
                .metadata
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect(),
            retry_after_seconds: seconds(refusal.retry_after),
            missing: refusal.missing.iter().map(Missing::from).collect(),
        }
    }
}

impl<'a> From<&'a wire::MissingCapability> for Missing<'a> {
    fn from(missing: &'a wire::MissingCapability) -> Self {
        let wire::MissingCapability {
            name,
            wanted,
            present,
            asked_by,
        } = missing;
        Self {
            name,
            wanted,
            present,
            asked_by,
        }
    }
}

fn artifact_kind(kind: ArtifactKind) -> &'static str {
    match kind {
        ArtifactKind::Unspecified => "unknown",
        ArtifactKind::ConsoleLog => "console_log",
        ArtifactKind::TestResult => "test_result",
        ArtifactKind::Upload => "upload",
        ArtifactKind::Dump => "dump",
    }
}

fn seconds(duration: Option<prost_types::Duration>) -> Option<f64> {
    wire_duration(duration).map(|duration| duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(number: u64, kind: Kind, expected: &str) {
        let time = Some(prost_types::Timestamp {
            seconds: 1_700_000_000,
            nanos: 5_000_000,
        });
        let event = AttemptEvent {
            number,
            time,
            console_offset: 7,
            kind: Some(kind),
        };
        let text = serde_json::to_string(&EventLine::new("a.1", &event)).unwrap();
        assert_eq!(text, expected);
    }

    #[test]
    fn bytes_that_are_no_text_survive() {
        let chunk = |data: &'static [u8]| {
            Kind::Console(wire::ConsoleChunk {
                stream: ConsoleStream::Stderr.into(),
                data: data.into(),
            })
        };
        check(
            0,
            chunk("ü\n".as_bytes()),
            r#"{"type":"console","stream":"stderr","text":"ü\n","attempt_id":"a.1","time":"2023-11-14T22:13:20.005Z","console_offset":7}"#,
        );
        check(
            0,
            chunk(b"\xff\xfe"),
            r#"{"type":"console","stream":"stderr","base64":"//4=","attempt_id":"a.1","time":"2023-11-14T22:13:20.005Z","console_offset":7}"#,
        );
    }

    #[test]
    fn an_end_has_its_verdict() {
        let ending = wire::Ending {
            kind: EndingKind::Exited.into(),
            exit_code: Some(101),
            ..wire::Ending::default()
        };
        let verdict = wire::Verdict {
            kind: VerdictKind::Failed.into(),
            reason: "EXIT_CODE".to_owned(),
            message: "exit code 101".to_owned(),
            ending: Some(ending),
            tests: None,
        };
        check(
            9,
            Kind::Finished(wire::Finished {
                verdict: Some(verdict),
                helix_exit_code: 101,
                ..wire::Finished::default()
            }),
            r#"{"type":"finished","verdict":{"kind":"failed","reason":"EXIT_CODE","message":"exit code 101","ending":{"kind":"exited","exit_code":101,"core_dumped":false,"message":""}},"passed_on_retry":false,"helix_exit_code":101,"attempt_id":"a.1","number":9,"time":"2023-11-14T22:13:20.005Z","console_offset":7}"#,
        );
    }

    #[test]
    fn an_artifact_has_its_digest_in_hexadecimal() {
        check(
            3,
            Kind::ArtifactStored(wire::ArtifactStored {
                name: "a/b.log".to_owned(),
                size_bytes: 2,
                sha256: vec![0, 255],
                url: "file:///a/b.log".to_owned(),
                kind: ArtifactKind::Upload.into(),
            }),
            r#"{"type":"artifact_stored","name":"a/b.log","kind":"upload","size_bytes":2,"sha256":"00ff","url":"file:///a/b.log","attempt_id":"a.1","number":3,"time":"2023-11-14T22:13:20.005Z","console_offset":7}"#,
        );
    }
}
