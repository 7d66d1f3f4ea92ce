//! What follows the end of an attempt.

use proptest::prelude::*;

use super::*;
use crate::work_item::DeliveryCounts;

const ALL: [AttemptEnd; 8] = [
    AttemptEnd::Passed,
    AttemptEnd::Failed,
    AttemptEnd::TimedOut,
    AttemptEnd::Cancelled,
    AttemptEnd::Superseded,
    AttemptEnd::Infrastructure,
    AttemptEnd::Refused,
    AttemptEnd::Lost,
];

fn delivery(number: u32, queue_max: u32, requested: u32, used: u32) -> Delivery {
    let counts = DeliveryCounts {
        number,
        queue_max,
        retries_requested: requested,
        retries_used: used,
    };
    Delivery::try_from(counts).expect("a good delivery")
}

#[track_caller]
fn ends(end: AttemptEnd, of: Delivery, expected: ItemEnd) {
    assert_eq!(follow(end, &of), Follow::End(expected), "{end:?} {of:?}");
}

#[track_caller]
fn waits(end: AttemptEnd, of: Delivery, next: Delivery, because: WaitBecause) {
    let expected = Follow::Wait {
        delivery: next,
        because,
    };
    assert_eq!(follow(end, &of), expected, "{end:?} {of:?}");
}

#[test]
fn item_that_passes_says_whether_it_failed_before() {
    ends(AttemptEnd::Passed, delivery(1, 3, 2, 0), ItemEnd::Passed);
    // A lost machine before is no failure.
    ends(AttemptEnd::Passed, delivery(2, 3, 2, 0), ItemEnd::Passed);
    ends(
        AttemptEnd::Passed,
        delivery(2, 3, 2, 1),
        ItemEnd::PassedOnRetry,
    );
}

#[test]
fn failure_is_retried_while_retries_are_left() {
    waits(
        AttemptEnd::Failed,
        delivery(1, 3, 1, 0),
        delivery(2, 3, 1, 1),
        WaitBecause::Retry,
    );
    ends(AttemptEnd::Failed, delivery(2, 3, 1, 1), ItemEnd::Failed);
    ends(AttemptEnd::Failed, delivery(1, 3, 0, 0), ItemEnd::Failed);
    ends(AttemptEnd::Failed, delivery(3, 3, 9, 0), ItemEnd::Failed);
}

#[test]
fn what_tells_nothing_costs_a_delivery_and_in_the_end_the_item() {
    for end in [
        AttemptEnd::Infrastructure,
        AttemptEnd::Superseded,
        AttemptEnd::Lost,
    ] {
        waits(
            end,
            delivery(1, 2, 1, 0),
            delivery(2, 2, 1, 0),
            WaitBecause::Returned,
        );
        ends(end, delivery(2, 2, 1, 0), ItemEnd::Dead);
    }
}

#[test]
fn refusal_after_unpacking_costs_nothing_even_in_the_last_delivery() {
    let last = delivery(2, 2, 1, 1);
    waits(AttemptEnd::Refused, last, last, WaitBecause::Refused);
}

#[test]
fn agent_that_counts_otherwise_is_noticed() {
    let first = delivery(1, 3, 1, 0);
    let follow = follow(AttemptEnd::Failed, &first);
    let requeued = |next_delivery, next_retries_used| Announced::Requeued {
        next_delivery,
        next_retries_used,
    };
    assert!(agrees(requeued(2, 1), &follow));
    assert!(!agrees(requeued(2, 0), &follow));
    assert!(!agrees(requeued(3, 1), &follow));
    assert!(!agrees(Announced::Finished, &follow));
    let returned = Announced::Returned {
        next_delivery: Some(2),
    };
    assert!(!agrees(returned, &follow));
    let dead = Follow::End(ItemEnd::Dead);
    let spent = Announced::Returned {
        next_delivery: None,
    };
    assert!(agrees(spent, &dead));
    assert!(!agrees(Announced::Finished, &dead));
    assert!(!agrees(spent, &Follow::End(ItemEnd::Failed)));
}

#[test]
fn hints_are_brought_within_bounds() {
    let seconds = Duration::from_secs;
    let check = |reason, hint: Option<u64>, expected| {
        assert_eq!(
            refusal_times(reason).bound(hint.map(seconds)),
            expected,
            "{reason} {hint:?}"
        );
    };
    check("PROVISIONING", Some(90), seconds(90));
    check("PROVISIONING", Some(9000), seconds(300));
    check("PROVISIONING", None, seconds(10));
    // When the slowest item must have ended is no reason to leave the agent idle.
    check("SLOTS_FULL", Some(3600), seconds(1));
    check("SLOTS_FULL", None, Duration::from_millis(100));
    check("MISSING_CAPABILITY", None, seconds(300));
    check("OF_A_LATER_RELEASE", Some(0), seconds(1));
}

#[test]
fn exit_codes_of_helix_stand_where_the_command_has_none() {
    assert_eq!(ItemEnd::TimedOut.helix_exit_code(), Some(-3));
    assert_eq!(ItemEnd::Cancelled.helix_exit_code(), Some(-2));
    assert_eq!(ItemEnd::Dead.helix_exit_code(), Some(-1));
    assert_eq!(ItemEnd::Failed.helix_exit_code(), None);
}

proptest! {
    #[test]
    fn whole_history_keeps_to_its_limits(
        queue_max in 1_u32..8,
        requested in 0_u32..8,
        ends in prop::collection::vec(prop::sample::select(&ALL[..]), 1..40),
    ) {
        let mut delivery = Delivery::first(queue_max, requested);
        let (mut deliveries, mut failures) = (1, 0);
        for end in ends {
            match follow(end, &delivery) {
                Follow::End(item_end) => {
                    let is_right = match item_end {
                        ItemEnd::Passed => end == AttemptEnd::Passed && failures == 0,
                        ItemEnd::PassedOnRetry => end == AttemptEnd::Passed && failures > 0,
                        ItemEnd::Failed => {
                            end == AttemptEnd::Failed && delivery.retries_left() == 0
                        }
                        ItemEnd::TimedOut => end == AttemptEnd::TimedOut,
                        ItemEnd::Cancelled => end == AttemptEnd::Cancelled,
                        ItemEnd::Dead => deliveries == queue_max,
                    };
                    prop_assert!(is_right, "{:?} after {:?}", item_end, end);
                    break;
                }
                Follow::Wait { delivery: next, because } => {
                    prop_assert!(!matches!(
                        end,
                        AttemptEnd::Passed | AttemptEnd::TimedOut | AttemptEnd::Cancelled
                    ));
                    deliveries += u32::from(because != WaitBecause::Refused);
                    failures += u32::from(because == WaitBecause::Retry);
                    prop_assert_eq!(next.number(), deliveries);
                    prop_assert_eq!(next.retries_used(), failures);
                    prop_assert!(deliveries <= queue_max);
                    prop_assert!(failures <= requested.min(queue_max - 1));
                    delivery = next;
                }
            }
        }
    }

    #[test]
    fn bounds_hold_for_any_reason_and_hint(reason in "[A-Z_]{0,20}", hint: Option<u32>) {
        let times = refusal_times(&reason);
        let hint = hint.map(|hint| Duration::from_secs(u64::from(hint)));
        prop_assert!((times.least..=times.most).contains(&times.bound(hint)));
    }
}
