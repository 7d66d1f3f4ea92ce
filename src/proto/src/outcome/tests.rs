//! Judgements as terminal events.

use std::time::Duration;

use helix_model::outcome::{InnerRequest, PayloadFault, StartFailure, judge};
use helix_model::work_item::DeliveryCounts;

use super::*;

fn delivery(number: u32, queue_max: u32, retries_requested: u32) -> Delivery {
    let counts = DeliveryCounts {
        number,
        queue_max,
        retries_requested,
        retries_used: number - 1,
    };
    Delivery::try_from(counts).expect("good counts")
}

fn terminal(end: &Ending, tally: &TestTally, delivery: &Delivery) -> Kind {
    let judgement = judge(end, tally, &[], delivery);
    terminal_event(&judgement, delivery, ending(end, None, None), None)
}

/// Class and reason of the verdict, whatever the event.
fn check_verdict(end: &Ending, kind: v1::VerdictKind, reason: &str) {
    let delivery = delivery(1, 1, 0);
    let verdict = match terminal(end, &TestTally::default(), &delivery) {
        Kind::Finished(finished) => finished.verdict,
        Kind::Returned(v1::Returned {
            cause: Some(v1::returned::Cause::Verdict(verdict)),
            ..
        }) => Some(verdict),
        other => panic!("{other:?}"),
    };
    let verdict = verdict.expect("always there");
    assert_eq!((verdict.kind(), verdict.reason.as_str()), (kind, reason));
    assert!(!verdict.message.is_empty());
    assert!(verdict.ending.is_some(), "{reason}");
    // What a client may rely on stands in the contract.
    let contract = include_str!("../../../../proto/helix/agent/v1/outcome.proto");
    assert!(contract.contains(reason), "{reason}");
}

fn cause(cause: InfrastructureCause) -> Ending {
    Ending::Infrastructure(cause)
}

#[test]
fn every_ending_has_its_verdict_and_reason() {
    use v1::VerdictKind as Wire;
    let check = check_verdict;
    let second = Duration::from_secs(1);
    let detail = || "x".to_owned();
    let signalled = Ending::Signalled {
        signal: 11,
        core_dumped: true,
    };
    let program = "x".to_owned();
    let not_found = Ending::CouldNotStart(StartFailure::NotFound { program });
    let no_room = Ending::CouldNotStart(StartFailure::NoRoom { reason: detail() });
    check(&Ending::Exited(0), Wire::Passed, "");
    check(&Ending::Exited(3), Wire::Failed, "EXIT_CODE");
    check(&signalled, Wire::Failed, "SIGNAL");
    check(&Ending::OutputLimit, Wire::Failed, "OUTPUT_LIMIT");
    let hungry = Ending::OutOfMemory { limit_bytes: None };
    check(&hungry, Wire::Failed, "OUT_OF_MEMORY");
    check(&not_found, Wire::Failed, "COULD_NOT_START");
    check(&no_room, Wire::Infrastructure, "COULD_NOT_START");
    let timeout = Ending::TimedOut(TimeoutKind::Wall(second));
    check(&timeout, Wire::TimedOut, "WALL_TIMEOUT");
    let timeout = Ending::TimedOut(TimeoutKind::Silence(second));
    check(&timeout, Wire::TimedOut, "SILENCE_TIMEOUT");
    let by = CancelledBy::Client { reason: detail() };
    check(&Ending::Cancelled { by }, Wire::Cancelled, "REQUESTED");
    let by = "newer".parse().expect("a good id");
    let by = CancelledBy::Superseded { by };
    check(&Ending::Cancelled { by }, Wire::Cancelled, "SUPERSEDED");
    use InfrastructureCause as Cause;
    for (found, reason) in [
        (
            Cause::Payload {
                payload: detail(),
                fault: PayloadFault::Sender,
                reason: detail(),
            },
            "PAYLOAD",
        ),
        (Cause::DiskFull { detail: detail() }, "DISK_FULL"),
        (
            Cause::LauncherUnreachable { detail: detail() },
            "LAUNCHER_UNREACHABLE",
        ),
        (
            Cause::SupervisorLost { detail: detail() },
            "SUPERVISOR_LOST",
        ),
        (Cause::SpoolDamaged { detail: detail() }, "SPOOL_DAMAGED"),
        (Cause::AgentRestartedBeforeStart, "AGENT_RESTARTED"),
        (Cause::AgentShutDown, "AGENT_SHUT_DOWN"),
        (Cause::MachineRebooted, "MACHINE_REBOOTED"),
        (
            Cause::MachineOutOfMemory { detail: detail() },
            "MACHINE_OUT_OF_MEMORY",
        ),
        (
            Cause::ArtifactStoreUnreachable { detail: detail() },
            "ARTIFACT_STORE_UNREACHABLE",
        ),
        (Cause::Requested { reason: detail() }, "REQUESTED"),
        (Cause::AgentFault { detail: detail() }, "AGENT_FAULT"),
    ] {
        check(&cause(found), Wire::Infrastructure, reason);
    }
}

#[test]
fn failure_with_retries_left_is_requeued_with_the_next_numbers() {
    let Kind::Requeued(requeued) = terminal(
        &Ending::Exited(1),
        &TestTally::default(),
        &delivery(2, 5, 3),
    ) else {
        panic!("it is to be requeued");
    };
    assert_eq!(requeued.next_delivery_number, 3);
    assert_eq!(requeued.next_retries_used, 2);
    assert_eq!(requeued.retries_left, 1);
}

#[test]
fn pass_after_a_retry_says_so_and_a_failed_test_keeps_the_exit_code() {
    let finished = |end, tally, delivery| match terminal(&end, &tally, &delivery) {
        Kind::Finished(finished) => finished,
        other => panic!("{other:?}"),
    };
    let none = TestTally::default();
    assert!(finished(Ending::Exited(0), none, delivery(2, 2, 1)).passed_on_retry);
    assert!(!finished(Ending::Exited(0), none, delivery(1, 2, 1)).passed_on_retry);
    let failed = TestTally { failed: 1, ..none };
    let last = finished(Ending::Exited(0), failed, delivery(2, 2, 1));
    assert!(!last.passed_on_retry);
    assert_eq!(last.helix_exit_code, 0);
    assert_eq!(
        last.verdict.map(|verdict| verdict.reason).as_deref(),
        Some("TESTS")
    );
}

#[test]
fn finished_carries_the_exit_codes_of_the_contract() {
    let check =
        |end: Ending, code: i32| match terminal(&end, &TestTally::default(), &delivery(1, 1, 0)) {
            Kind::Finished(finished) => assert_eq!(finished.helix_exit_code, code, "{end:?}"),
            other => panic!("{other:?}"),
        };
    let program = || "x".to_owned();
    let by = CancelledBy::Client {
        reason: String::new(),
    };
    check(Ending::Exited(255), 255);
    check(
        Ending::Signalled {
            signal: 9,
            core_dumped: false,
        },
        137,
    );
    check(
        Ending::CouldNotStart(StartFailure::NotFound { program: program() }),
        127,
    );
    check(Ending::CouldNotStart(StartFailure::ArgumentsTooLarge), 126);
    check(Ending::Cancelled { by }, -2);
    check(Ending::TimedOut(TimeoutKind::Wall(Duration::ZERO)), -3);
    check(Ending::OutputLimit, -5);
}

#[test]
fn infrastructure_failure_is_returned_with_the_next_number_or_none() {
    let next = |delivery: Delivery| {
        let end = cause(InfrastructureCause::MachineRebooted);
        match terminal(&end, &TestTally::default(), &delivery) {
            Kind::Returned(returned) => returned.next_delivery_number,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(next(delivery(1, 2, 0)), 2);
    assert_eq!(next(delivery(2, 2, 0)), 0);
}

#[test]
fn wish_for_a_reboot_is_passed_on() {
    let delivery = delivery(1, 1, 0);
    let wish = InnerRequest::Reboot {
        reason: "driver".to_owned(),
    };
    let end = Ending::Exited(0);
    let judgement = judge(&end, &TestTally::default(), &[wish], &delivery);
    match terminal_event(&judgement, &delivery, ending(&end, None, None), None) {
        Kind::Finished(finished) => assert_eq!(finished.reboot_requested, "driver"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn ending_tells_what_the_system_said_of_a_stopped_command() {
    let timeout = Ending::TimedOut(TimeoutKind::Wall(Duration::from_millis(1500)));
    let wire = ending(&timeout, None, Some(15));
    assert_eq!(wire.kind(), v1::EndingKind::WallTimeout);
    assert_eq!((wire.exit_code, wire.signal), (None, Some(15)));
    assert_eq!(wire.message, "ran longer than 1.5 s");
    // Of a command that ended by itself the ending knows better.
    let wire = ending(&Ending::Exited(4), None, Some(9));
    assert_eq!((wire.exit_code, wire.signal), (Some(4), None));
    let signalled = Ending::Signalled {
        signal: 6,
        core_dumped: true,
    };
    let wire = ending(&signalled, Some(1), None);
    assert_eq!(
        (wire.exit_code, wire.signal, wire.core_dumped),
        (None, Some(6), true)
    );
}

#[test]
fn counts_add_up() {
    let tally = TestTally {
        passed: 5,
        failed: 2,
        skipped: 1,
        flaky: 1,
        problems: 9,
    };
    let counts = test_counts(&tally, 3);
    assert_eq!(counts.total, 11);
    assert_eq!((counts.passed, counts.failed, counts.skipped), (5, 2, 1));
    assert_eq!((counts.flaky, counts.inconclusive), (1, 3));
}
