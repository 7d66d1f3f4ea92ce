//! From the model's judgement to the wire: terminal events, verdicts, endings and counts, as
//! `event.proto` and `outcome.proto` describe them. Nothing is decided here.

#[cfg(test)]
mod tests;

use helix_model::outcome::{
    CancelledBy, Disposition, Ending, FailureReason, InfrastructureCause, Judgement, TestTally,
    TimeoutKind, Verdict,
};
use helix_model::work_item::Delivery;

use crate::agent::v1;
use crate::agent::v1::attempt_event::Kind;

/// The terminal event that follows from a judgement: `finished` when the work item is decided,
/// `requeued` when it failed with retries left, `returned` when nothing was learned.
///
/// `delivery` is the one that was judged. `ending` is made by [`ending`] of the judgement's own, with
/// what the system said besides. `tests` is absent when there was no result file.
#[must_use]
pub fn terminal_event(
    judgement: &Judgement,
    delivery: &Delivery,
    ending: v1::Ending,
    tests: Option<v1::TestCounts>,
) -> Kind {
    let reboot_requested = judgement.reboot.clone().unwrap_or_default();
    let verdict = verdict(&judgement.verdict, ending, tests);
    match &judgement.disposition {
        Disposition::Done => Kind::Finished(v1::Finished {
            passed_on_retry: matches!(judgement.verdict, Verdict::Passed)
                && delivery.retries_used() > 0,
            helix_exit_code: judgement.helix_exit_code(),
            verdict: Some(verdict),
            reboot_requested,
        }),
        Disposition::Requeue {
            next_delivery,
            retries_left,
        } => Kind::Requeued(v1::Requeued {
            verdict: Some(verdict),
            next_delivery_number: *next_delivery,
            next_retries_used: delivery.retries_used().saturating_add(1),
            retries_left: *retries_left,
            reboot_requested,
        }),
        Disposition::Infrastructure { next_delivery, .. } => Kind::Returned(v1::Returned {
            cause: Some(v1::returned::Cause::Verdict(verdict)),
            next_delivery_number: next_delivery.unwrap_or(0),
            reboot_requested,
        }),
    }
}

fn verdict(verdict: &Verdict, ending: v1::Ending, tests: Option<v1::TestCounts>) -> v1::Verdict {
    let (kind, reason) = match verdict {
        Verdict::Passed => (v1::VerdictKind::Passed, ""),
        Verdict::Failed(reason) => (
            v1::VerdictKind::Failed,
            match reason {
                FailureReason::ExitCode(_) => "EXIT_CODE",
                FailureReason::Signal { .. } => "SIGNAL",
                FailureReason::Tests { .. } => "TESTS",
                FailureReason::OutputLimit => "OUTPUT_LIMIT",
                FailureReason::OutOfMemory { .. } => "OUT_OF_MEMORY",
                FailureReason::CouldNotStart(_) => "COULD_NOT_START",
            },
        ),
        Verdict::TimedOut(TimeoutKind::Wall(_)) => (v1::VerdictKind::TimedOut, "WALL_TIMEOUT"),
        Verdict::TimedOut(TimeoutKind::Silence(_)) => {
            (v1::VerdictKind::TimedOut, "SILENCE_TIMEOUT")
        }
        Verdict::Cancelled(CancelledBy::Client { .. }) => (v1::VerdictKind::Cancelled, "REQUESTED"),
        Verdict::Cancelled(CancelledBy::Superseded { .. }) => {
            (v1::VerdictKind::Cancelled, "SUPERSEDED")
        }
        Verdict::Infrastructure(cause) => (
            v1::VerdictKind::Infrastructure,
            infrastructure_reason(cause),
        ),
    };
    v1::Verdict {
        kind: kind.into(),
        reason: reason.to_owned(),
        message: verdict.to_string(),
        ending: Some(ending),
        tests,
    }
}

fn infrastructure_reason(cause: &InfrastructureCause) -> &'static str {
    match cause {
        InfrastructureCause::Payload { .. } => "PAYLOAD",
        InfrastructureCause::DiskFull { .. } => "DISK_FULL",
        InfrastructureCause::LauncherUnreachable { .. } => "LAUNCHER_UNREACHABLE",
        InfrastructureCause::SupervisorLost { .. } => "SUPERVISOR_LOST",
        InfrastructureCause::SpoolDamaged { .. } => "SPOOL_DAMAGED",
        InfrastructureCause::AgentRestartedBeforeStart => "AGENT_RESTARTED",
        InfrastructureCause::AgentShutDown => "AGENT_SHUT_DOWN",
        InfrastructureCause::MachineRebooted => "MACHINE_REBOOTED",
        InfrastructureCause::MachineOutOfMemory { .. } => "MACHINE_OUT_OF_MEMORY",
        InfrastructureCause::ArtifactStoreUnreachable { .. } => "ARTIFACT_STORE_UNREACHABLE",
        InfrastructureCause::CouldNotStart(_) => "COULD_NOT_START",
        InfrastructureCause::Requested { .. } => "REQUESTED",
        InfrastructureCause::AgentFault { .. } => "AGENT_FAULT",
    }
}

/// How a command ended, in the words of the wire.
///
/// `exit_code` and `signal` are what the system said of the command, also when the agent had asked
/// it to end; of a command that ended by itself the ending knows better, and they are not looked at.
#[must_use]
pub fn ending(ending: &Ending, exit_code: Option<i32>, signal: Option<i32>) -> v1::Ending {
    use v1::EndingKind as Wire;
    let (kind, message) = match ending {
        Ending::Exited(code) => (Wire::Exited, format!("exited with {code}")),
        Ending::Signalled { signal, .. } => (Wire::Signalled, format!("killed by signal {signal}")),
        Ending::TimedOut(TimeoutKind::Wall(limit)) => (
            Wire::WallTimeout,
            format!("ran longer than {} s", limit.as_secs_f64()),
        ),
        Ending::TimedOut(TimeoutKind::Silence(limit)) => (
            Wire::SilenceTimeout,
            format!("printed nothing for {} s", limit.as_secs_f64()),
        ),
        Ending::Cancelled { by } => (
            Wire::Cancelled,
            match by {
                CancelledBy::Client { reason } if reason.is_empty() => "cancelled".to_owned(),
                CancelledBy::Client { reason } => format!("cancelled: {reason}"),
                CancelledBy::Superseded { by } => format!("superseded by attempt `{by}`"),
            },
        ),
        Ending::OutputLimit => (Wire::OutputLimit, "printed more than it may".to_owned()),
        Ending::OutOfMemory {
            limit_bytes: Some(limit),
        } => (
            Wire::OutOfMemory,
            format!("killed for want of memory: it may have {limit} bytes"),
        ),
        Ending::OutOfMemory { limit_bytes: None } => {
            (Wire::OutOfMemory, "killed for want of memory".to_owned())
        }
        Ending::CouldNotStart(failure) => (Wire::CouldNotStart, failure.to_string()),
        Ending::Infrastructure(cause) => (Wire::Infrastructure, cause.to_string()),
    };
    let (exit_code, signal, core_dumped) = match ending {
        Ending::Exited(code) => (Some(*code), None, false),
        Ending::Signalled {
            signal,
            core_dumped,
        } => (None, Some(*signal), *core_dumped),
        Ending::TimedOut(_)
        | Ending::Cancelled { .. }
        | Ending::OutputLimit
        | Ending::OutOfMemory { .. }
        | Ending::CouldNotStart(_)
        | Ending::Infrastructure(_) => (exit_code, signal, false),
    };
    let memory_limit_bytes = match ending {
        Ending::OutOfMemory { limit_bytes } => limit_bytes.unwrap_or(0),
        _ => 0,
    };
    v1::Ending {
        kind: kind.into(),
        exit_code,
        signal,
        core_dumped,
        message,
        memory_limit_bytes,
    }
}

/// Counts of tests in the words of the wire. `inconclusive` are those that `tally` leaves out, having
/// neither passed nor failed nor been skipped.
#[must_use]
pub fn test_counts(tally: &TestTally, inconclusive: u64) -> v1::TestCounts {
    v1::TestCounts {
        total: tally.total().saturating_add(inconclusive),
        passed: tally.passed,
        failed: tally.failed,
        skipped: tally.skipped,
        flaky: tally.flaky,
        inconclusive,
    }
}
