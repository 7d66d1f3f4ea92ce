//! Tests of the attempt's table: every pair of state and event, and random histories.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::outcome::{CancelledBy, InfrastructureCause, StartFailure, TestTally, judge};
use crate::testing::{at, attempt};
use crate::work_item::Delivery;

fn judgement(ending: &Ending) -> Box<Judgement> {
    Box::new(judge(
        ending,
        &TestTally::default(),
        &[],
        &Delivery::first(3, 2),
    ))
}

fn refusal() -> Box<Refusal> {
    Box::new(Refusal::MissingCapability {
        missing: Vec::new(),
        installations: Vec::new(),
        cooling_down: Vec::new(),
    })
}

fn cancel() -> StopCause {
    StopCause::Cancelled {
        reason: "enough".to_owned(),
    }
}

fn cancelled() -> Ending {
    Ending::Cancelled {
        by: CancelledBy::Client {
            reason: "enough".to_owned(),
        },
    }
}

/// Every state, in the order of an attempt's life.
fn states() -> [AttemptState; 10] {
    let since = at(0);
    [
        AttemptState::Accepted { since },
        AttemptState::Preparing { since },
        AttemptState::Starting { since },
        AttemptState::Running { since },
        AttemptState::Stopping {
            running_since: None,
            since,
            cause: cancel(),
        },
        AttemptState::Stopping {
            running_since: Some(since),
            since,
            cause: cancel(),
        },
        AttemptState::Collecting {
            since,
            ending: Ending::Exited(0),
        },
        AttemptState::Finished {
            since,
            judgement: judgement(&Ending::Exited(0)),
        },
        AttemptState::RefusedAfterUnpack {
            since,
            refusal: refusal(),
        },
        AttemptState::Settled {
            since,
            conclusion: Conclusion::Refused(refusal()),
        },
    ]
}

/// Every event, those that end an attempt in both their kinds.
fn events() -> [AttemptEventKind; 9] {
    [
        AttemptEventKind::PreparationStarted,
        AttemptEventKind::RefusedAfterUnpack(refusal()),
        AttemptEventKind::LaunchRequested,
        AttemptEventKind::CommandStarted,
        AttemptEventKind::StopRequested(StopCause::OutputLimit),
        AttemptEventKind::Ended(Ending::Exited(1)),
        AttemptEventKind::Ended(cancelled()),
        AttemptEventKind::Judged(judgement(&Ending::Exited(1))),
        AttemptEventKind::Acknowledged,
    ]
}

#[test]
fn table_is_this_one() {
    // A row for each state, a column for each event: the state that follows, or nothing.
    const NONE: &str = "";
    let (preparing, refused) = ("preparing", "refused after unpacking");
    let (starting, running, stopping) = ("starting", "running", "stopping");
    let (collecting, finished, settled) = ("collecting", "finished", "settled");
    let table = [
        [
            preparing, NONE, NONE, NONE, NONE, NONE, collecting, NONE, NONE,
        ],
        [
            NONE, refused, starting, NONE, NONE, NONE, collecting, NONE, NONE,
        ],
        [
            NONE, NONE, NONE, running, stopping, collecting, collecting, NONE, NONE,
        ],
        [
            NONE, NONE, NONE, NONE, stopping, collecting, collecting, NONE, NONE,
        ],
        [
            NONE, NONE, NONE, stopping, stopping, collecting, collecting, NONE, NONE,
        ],
        [
            NONE, NONE, NONE, NONE, stopping, collecting, collecting, NONE, NONE,
        ],
        [NONE, NONE, NONE, NONE, NONE, NONE, NONE, finished, NONE],
        [NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, settled],
        [NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, settled],
        [NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, settled],
    ];
    for (state, row) in states().into_iter().zip(table) {
        for (kind, expected) in events().into_iter().zip(row) {
            let names = (state.name(), kind.name());
            let found = state.clone().after(AttemptEvent { at: at(9), kind });
            match found {
                Ok(next) => assert_eq!(next.name(), expected, "{names:?}"),
                Err(error) => {
                    assert_eq!("", expected, "{names:?}");
                    assert_eq!((error.state, error.event), names);
                }
            }
        }
    }
}

#[test]
fn only_what_needs_no_launch_can_end_an_attempt_before_it() {
    let check = |ending: Ending, possible: bool| {
        for state in [
            AttemptState::accepted(at(0)),
            AttemptState::Preparing { since: at(0) },
        ] {
            let kind = AttemptEventKind::Ended(ending.clone());
            let found = state.after(AttemptEvent { at: at(1), kind });
            assert_eq!(found.is_ok(), possible, "{ending:?}");
        }
    };
    check(cancelled(), true);
    check(
        Ending::Infrastructure(InfrastructureCause::AgentRestartedBeforeStart),
        true,
    );
    check(Ending::Exited(0), false);
    check(
        Ending::Signalled {
            signal: 9,
            core_dumped: false,
        },
        false,
    );
    check(
        Ending::TimedOut(TimeoutKind::Wall(Duration::from_secs(1))),
        false,
    );
    check(Ending::OutputLimit, false);
    check(Ending::OutOfMemory { limit_bytes: None }, false);
    check(
        Ending::CouldNotStart(StartFailure::ArgumentsTooLarge),
        false,
    );
}

/// Replays kinds of events, one each second from the second after acceptance.
fn replay(kinds: Vec<AttemptEventKind>) -> Result<AttemptState, IllegalTransition> {
    let events = (1..).zip(kinds).map(|(second, kind)| AttemptEvent {
        at: at(second),
        kind,
    });
    AttemptState::replay(at(0), events)
}

#[test]
fn first_reason_to_stop_is_kept() {
    let superseded = StopCause::Superseded { by: attempt("a2") };
    let state = replay(vec![
        AttemptEventKind::PreparationStarted,
        AttemptEventKind::LaunchRequested,
        AttemptEventKind::StopRequested(cancel()),
        AttemptEventKind::StopRequested(superseded),
        AttemptEventKind::CommandStarted,
    ]);
    let expected = AttemptState::Stopping {
        running_since: Some(at(5)),
        since: at(3),
        cause: cancel(),
    };
    assert_eq!(state, Ok(expected));
}

#[test]
fn acknowledgement_may_be_repeated_and_keeps_what_was_acknowledged() {
    let judged = judgement(&cancelled());
    let state = replay(vec![
        AttemptEventKind::Ended(cancelled()),
        AttemptEventKind::Judged(judged.clone()),
        AttemptEventKind::Acknowledged,
        AttemptEventKind::Acknowledged,
    ]);
    let conclusion = Conclusion::Judged(judged);
    assert_eq!(
        state,
        Ok(AttemptState::Settled {
            since: at(3),
            conclusion
        })
    );
}

#[test]
fn replay_stops_at_the_first_event_that_cannot_be() {
    let error = replay(vec![
        AttemptEventKind::PreparationStarted,
        AttemptEventKind::Acknowledged,
        AttemptEventKind::LaunchRequested,
    ])
    .expect_err("nothing to acknowledge yet");
    let says = "an attempt that is preparing cannot see the event `acknowledged`";
    assert_eq!(error.to_string(), says);
}

#[test]
fn recovery_never_starts_a_command_twice() {
    use Recovery::{Attach, CollectAgain, EndAsNeverStarted, Forget, ReportAgain};
    let expected = [
        EndAsNeverStarted,
        EndAsNeverStarted,
        Attach,
        Attach,
        Attach,
        Attach,
        CollectAgain,
        ReportAgain,
        ReportAgain,
        Forget,
    ];
    assert_eq!(states().map(|state| state.recovery()), expected);
}

#[test]
fn slot_is_held_until_everything_is_collected() {
    let active = states().map(|state| state.is_active());
    assert_eq!(
        active,
        [
            true, true, true, true, true, true, true, false, false, false
        ]
    );
}

proptest! {
    #[test]
    fn attempt_is_launched_ended_judged_and_settled_at_most_once(
        picks in prop::collection::vec(0_usize..9, 0..60),
    ) {
        let all = events();
        let mut state = AttemptState::accepted(at(0));
        let mut seen: Vec<AttemptEvent> = Vec::new();
        for (second, pick) in (1..).zip(picks) {
            let event = AttemptEvent { at: at(second), kind: all[pick].clone() };
            // An event that cannot be is dropped, as the agent would.
            if let Ok(next) = state.clone().after(event.clone()) {
                state = next;
                seen.push(event);
            }
            // A crash at any moment loses nothing.
            let replayed = AttemptState::replay(at(0), seen.clone());
            prop_assert_eq!(replayed.as_ref(), Ok(&state));
            prop_assert!(state.since() <= at(second));
        }
        let count = |name: &str| seen.iter().filter(|event| event.kind.name() == name).count();
        for once in ["preparation started", "launch requested", "command started", "ended", "judged"] {
            prop_assert!(count(once) <= 1, "{}", once);
        }
        let place = |name: &str| seen.iter().position(|event| event.kind.name() == name);
        let order = ["preparation started", "launch requested", "ended", "judged", "acknowledged"];
        let places: Vec<usize> = order.iter().filter_map(|name| place(name)).collect();
        prop_assert!(places.is_sorted(), "{:?}", seen);
        prop_assert!(count("refused after unpacking") == 0 || count("launch requested") == 0);
        prop_assert!(count("command started") <= count("launch requested"));
        // What a crash would have the agent do about it agrees with what has happened.
        let launched = count("launch requested") > 0;
        match state.recovery() {
            Recovery::EndAsNeverStarted => prop_assert!(!launched && count("ended") == 0),
            Recovery::Attach => prop_assert!(launched && count("ended") == 0),
            Recovery::CollectAgain => prop_assert!(count("ended") == 1 && count("judged") == 0),
            Recovery::ReportAgain => prop_assert_eq!(count("acknowledged"), 0),
            Recovery::Forget => prop_assert!(count("acknowledged") >= 1),
        }
    }
}
