//! Tests of the judgement, one attempt at a time and over whole histories of an item.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::testing::attempt;
use crate::work_item::Delivery;

fn tests_failed(failed: u64) -> TestTally {
    TestTally {
        passed: 5,
        failed,
        skipped: 1,
        ..TestTally::default()
    }
}

fn text() -> String {
    "why".to_owned()
}

fn retry() -> InnerRequest {
    InnerRequest::InfrastructureRetry { reason: text() }
}

fn reboot() -> InnerRequest {
    InnerRequest::Reboot { reason: text() }
}

fn wall() -> Ending {
    Ending::TimedOut(TimeoutKind::Wall(Duration::from_secs(300)))
}

fn silence() -> Ending {
    Ending::TimedOut(TimeoutKind::Silence(Duration::from_secs(60)))
}

fn cancelled() -> Ending {
    Ending::Cancelled {
        by: CancelledBy::Client { reason: text() },
    }
}

fn superseded() -> Ending {
    Ending::Cancelled {
        by: CancelledBy::Superseded { by: attempt("a2") },
    }
}

fn crash() -> Ending {
    Ending::Signalled {
        signal: 11,
        core_dumped: true,
    }
}

fn disk_full() -> Ending {
    Ending::Infrastructure(InfrastructureCause::DiskFull { detail: text() })
}

fn not_found() -> Ending {
    Ending::CouldNotStart(StartFailure::NotFound { program: text() })
}

fn no_room() -> Ending {
    Ending::CouldNotStart(StartFailure::NoRoom { reason: text() })
}

/// Judges a delivery with one retry left and checks verdict, what follows, and the exit code, in
/// words.
fn check(ending: &Ending, failed: u64, requests: &[InnerRequest], expected: &str) {
    let judgement = judge(
        ending,
        &tests_failed(failed),
        requests,
        &Delivery::first(3, 2),
    );
    let next = match &judgement.disposition {
        Disposition::Done => "done".to_owned(),
        Disposition::Requeue {
            next_delivery,
            retries_left,
        } => {
            format!("requeue as {next_delivery} with {retries_left} left")
        }
        Disposition::Infrastructure {
            next_delivery: Some(next),
            ..
        } => format!("again as {next}"),
        Disposition::Infrastructure {
            next_delivery: None,
            ..
        } => "dead".to_owned(),
    };
    let found = format!(
        "{}; {next}; {}",
        judgement.verdict,
        judgement.helix_exit_code()
    );
    assert_eq!(found, expected, "{ending:?} {failed} {requests:?}");
    assert_eq!(&judgement.ending, ending);
    assert_eq!(judgement.tally, tests_failed(failed));
}

#[test]
fn exit_code_and_tests_decide_together() {
    check(&Ending::Exited(0), 0, &[], "passed; done; 0");
    check(
        &Ending::Exited(0),
        3,
        &[],
        "failed: 3 tests failed; requeue as 2 with 1 left; 0",
    );
    check(
        &Ending::Exited(1),
        1,
        &[],
        "failed: 1 test failed; requeue as 2 with 1 left; 1",
    );
    check(
        &Ending::Exited(7),
        0,
        &[],
        "failed: exit code 7; requeue as 2 with 1 left; 7",
    );
    check(
        &Ending::Exited(-1),
        0,
        &[],
        "failed: exit code -1; requeue as 2 with 1 left; -1",
    );
}

#[test]
fn command_that_did_not_exit_is_failed_by_what_ended_it() {
    let crashed = "failed: signal 11, core dumped; requeue as 2 with 1 left; 139";
    check(&crash(), 0, &[], crashed);
    check(&crash(), 4, &[], crashed);
    let limit = "failed: printed more than it may; requeue as 2 with 1 left; -5";
    check(&Ending::OutputLimit, 0, &[], limit);
    let hungry = |limit_bytes| Ending::OutOfMemory { limit_bytes };
    let own = "failed: wanted more than its 64.0 MiB of memory; requeue as 2 with 1 left; 137";
    check(&hungry(Some(64 << 20)), 0, &[], own);
    check(&hungry(Some(64 << 20)), 4, &[], own);
    let others = "failed: killed for want of memory; requeue as 2 with 1 left; 137";
    check(&hungry(None), 0, &[], others);
    let odd = Ending::Signalled {
        signal: i32::MAX,
        core_dumped: false,
    };
    check(
        &odd,
        0,
        &[],
        "failed: signal 2147483647; requeue as 2 with 1 left; 2147483647",
    );
}

#[test]
fn command_that_cannot_be_started_fails_unless_the_machine_is_to_blame() {
    check(
        &not_found(),
        0,
        &[],
        "failed: the program `why` was not found; requeue as 2 with 1 left; 127",
    );
    let failure = StartFailure::NotExecutable {
        program: "x".to_owned(),
        reason: text(),
    };
    check(
        &Ending::CouldNotStart(failure),
        0,
        &[],
        "failed: the program `x` cannot be executed: why; requeue as 2 with 1 left; 126",
    );
    check(
        &Ending::CouldNotStart(StartFailure::ArgumentsTooLarge),
        0,
        &[],
        "failed: arguments and environment are too large for the system; requeue as 2 with 1 left; 126",
    );
    check(
        &no_room(),
        0,
        &[],
        "infrastructure failure: the command could not be started: the machine has no room for \
         another process: why; again as 2; -4",
    );
    check(
        &Ending::CouldNotStart(StartFailure::SetUp { reason: text() }),
        0,
        &[],
        "infrastructure failure: the command could not be started: the command's surroundings \
         could not be set up: why; again as 2; -4",
    );
}

#[test]
fn timeout_and_cancel_are_final_whatever_the_item_asked_for() {
    for requests in [&[][..], &[retry()], &[reboot(), retry()]] {
        check(
            &wall(),
            0,
            requests,
            "timed out: ran longer than 300 s; done; -3",
        );
        check(
            &silence(),
            9,
            requests,
            "timed out: printed nothing for 60 s; done; -3",
        );
        check(&cancelled(), 0, requests, "cancelled: why; done; -2");
        check(
            &superseded(),
            0,
            requests,
            "cancelled: superseded by attempt `a2`; done; -2",
        );
    }
    let quiet = Ending::Cancelled {
        by: CancelledBy::Client {
            reason: String::new(),
        },
    };
    check(&quiet, 0, &[], "cancelled; done; -2");
}

#[test]
fn infrastructure_failure_costs_a_delivery_and_no_retry() {
    let expected = "infrastructure failure: the disk is full: why; again as 2; -4";
    check(&disk_full(), 0, &[], expected);
    check(&disk_full(), 2, &[retry()], expected);
}

#[test]
fn item_that_asks_for_another_machine_is_not_judged() {
    let expected =
        "infrastructure failure: the work item asked for another machine: why; again as 2; -4";
    check(&Ending::Exited(0), 0, &[retry()], expected);
    check(&Ending::Exited(0), 3, &[reboot(), retry()], expected);
    check(&Ending::Exited(7), 0, &[retry()], expected);
    check(&crash(), 0, &[retry(), reboot()], expected);
    check(&Ending::OutputLimit, 0, &[retry()], expected);
}

#[test]
fn spent_deliveries_end_the_item_as_dead_letter_with_its_results() {
    let last = Delivery::first(1, 5);
    let judgement = judge(&Ending::Exited(0), &tests_failed(0), &[retry()], &last);
    let Disposition::Infrastructure {
        next_delivery: None,
        reason,
    } = &judgement.disposition
    else {
        panic!("there is another delivery in {judgement:?}");
    };
    assert_eq!(reason, "the work item asked for another machine: why");
    assert_eq!(judgement.helix_exit_code(), HELIX_EXIT_DEAD_LETTER);
    assert_eq!(judgement.results, Results::Report);
    assert!(judgement.is_final());
}

#[test]
fn results_are_withheld_only_when_others_will_follow() {
    let results = |ending: &Ending, requests: &[InnerRequest]| {
        judge(ending, &tests_failed(1), requests, &Delivery::first(2, 1)).results
    };
    assert_eq!(results(&Ending::Exited(0), &[]), Results::Report);
    assert_eq!(results(&wall(), &[retry()]), Results::Report);
    assert_eq!(results(&Ending::Exited(0), &[retry()]), Results::Withhold);
    assert_eq!(results(&disk_full(), &[]), Results::Withhold);
}

#[test]
fn reboot_is_passed_on_whatever_the_ending() {
    for ending in [
        Ending::Exited(0),
        wall(),
        cancelled(),
        disk_full(),
        not_found(),
    ] {
        let with = judge(
            &ending,
            &tests_failed(0),
            &[retry(), reboot()],
            &Delivery::first(1, 0),
        );
        assert_eq!(with.reboot, Some(text()), "{ending:?}");
        let without = judge(
            &ending,
            &tests_failed(0),
            &[retry()],
            &Delivery::first(1, 0),
        );
        assert_eq!(without.reboot, None, "{ending:?}");
    }
}

#[test]
fn unreadable_result_files_decide_nothing() {
    let tally = TestTally {
        problems: 9,
        skipped: 3,
        flaky: 2,
        ..TestTally::default()
    };
    let judgement = judge(&Ending::Exited(0), &tally, &[], &Delivery::first(1, 0));
    assert_eq!(judgement.verdict, Verdict::Passed);
    assert_eq!(tally.total(), 3);
}

fn any_ending() -> impl Strategy<Value = Ending> {
    let all = vec![
        Ending::Exited(0),
        Ending::Exited(0),
        Ending::Exited(1),
        crash(),
        Ending::OutputLimit,
        wall(),
        silence(),
        cancelled(),
        superseded(),
        not_found(),
        no_room(),
        disk_full(),
        Ending::Infrastructure(InfrastructureCause::MachineRebooted),
    ];
    prop::sample::select(all)
}

/// How one delivery goes.
fn any_run() -> impl Strategy<Value = (Ending, u64, Vec<InnerRequest>)> {
    let requests = prop::sample::select(vec![
        vec![],
        vec![],
        vec![],
        vec![retry()],
        vec![reboot()],
        vec![reboot(), retry()],
    ]);
    (
        any_ending(),
        prop::sample::select(vec![0, 0, 1, 7]),
        requests,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Plays an item through as many deliveries as it gets. `runs` says how each goes, over and
    /// over.
    #[test]
    fn history_of_an_item_ends_once_and_within_its_limits(
        queue_max in 0_u32..8,
        requested in 0_u32..8,
        runs in prop::collection::vec(any_run(), 1..10),
    ) {
        let mut delivery = Delivery::first(queue_max, requested);
        let allowed = requested.min(queue_max.max(1) - 1);
        prop_assert_eq!(delivery.retries_allowed(), allowed);
        let (mut deliveries, mut retries) = (0_u32, 0_u32);
        loop {
            let run = &runs[usize::try_from(deliveries).expect("small") % runs.len()];
            let (ending, failed, requests) = run;
            deliveries += 1;
            prop_assert_eq!(delivery.number(), deliveries, "numbers have no gaps");
            prop_assert!(deliveries <= queue_max.max(1), "never more than the queue allows");

            let judgement = judge(ending, &tests_failed(*failed), requests, &delivery);

            let told = matches!(ending, Ending::TimedOut(_) | Ending::Cancelled { .. });
            let wants_retry = requests.contains(&retry());
            if told {
                prop_assert!(judgement.is_final(), "timeout and cancel end it");
            }
            if judgement.verdict == Verdict::Passed {
                prop_assert_eq!(ending, &Ending::Exited(0));
                prop_assert!(*failed == 0 && !wants_retry);
                prop_assert!(judgement.is_final(), "nothing runs after it passed");
                prop_assert_eq!(judgement.helix_exit_code(), 0);
            }
            match &judgement.disposition {
                Disposition::Done => {
                    let failure_ends_it = matches!(judgement.verdict, Verdict::Failed(_));
                    prop_assert!(!failure_ends_it || delivery.retries_left() == 0);
                    prop_assert!(judgement.is_final());
                    break;
                }
                Disposition::Requeue { next_delivery, retries_left } => {
                    let is_failure = matches!(judgement.verdict, Verdict::Failed(_));
                    prop_assert!(is_failure && !judgement.is_final());
                    retries += 1;
                    prop_assert!(retries <= allowed, "never more than allowed");
                    delivery = delivery.after_failure().expect("there is a next delivery");
                    prop_assert_eq!(delivery.number(), *next_delivery);
                    prop_assert_eq!(delivery.retries_left(), *retries_left);
                    prop_assert_eq!(delivery.retries_used(), retries);
                }
                Disposition::Infrastructure { next_delivery, reason } => {
                    let is_infrastructure = matches!(judgement.verdict, Verdict::Infrastructure(_));
                    prop_assert!(is_infrastructure && !told && !reason.is_empty());
                    let Some(next) = next_delivery else {
                        prop_assert_eq!(deliveries, queue_max.max(1));
                        prop_assert_eq!(judgement.helix_exit_code(), HELIX_EXIT_DEAD_LETTER);
                        prop_assert!(judgement.is_final());
                        break;
                    };
                    prop_assert_eq!(judgement.results, Results::Withhold);
                    delivery = delivery.after_infrastructure().expect("there is a next delivery");
                    prop_assert_eq!(delivery.number(), *next);
                    prop_assert_eq!(delivery.retries_used(), retries, "costs no retry");
                }
            }
        }
    }

    #[test]
    fn exit_code_for_helix_never_hides_a_failure_of_the_command(
        ending in any_ending(), code: i32, failed in 0_u64..3, requests in any_run(),
    ) {
        let ending = if ending == Ending::Exited(1) { Ending::Exited(code) } else { ending };
        let judgement = judge(&ending, &tests_failed(failed), &requests.2, &Delivery::first(3, 2));
        if judgement.helix_exit_code() == 0 {
            prop_assert_eq!(ending, Ending::Exited(0));
        }
    }
}
