//! How commands end, and that the agent tells the endings apart.

use std::time::{Duration, Instant};

use helix_proto::agent::v1::attempt_event::Kind;
use helix_proto::agent::v1::{CancelRequest, EndingKind, VerdictKind};
use helix_tests::agent::{Agent, until};
use helix_tests::item::{argv, limited, shell};
use helix_tests::stream::Seen;

const NO_GRACE: Duration = Duration::ZERO;

fn ending(seen: &Seen) -> &helix_proto::agent::v1::Ending {
    seen.verdict()
        .ending
        .as_ref()
        .expect("the command ran or could not start")
}

#[tokio::test]
async fn passing_command_ends_as_passed_with_its_output_and_events_in_order() {
    let agent = Agent::start().await;
    let seen = agent.run(shell("echo out; echo err >&2")).await;
    assert_eq!(seen.stdout, b"out\n");
    assert_eq!(seen.stderr, b"err\n");
    assert_eq!(seen.finished().helix_exit_code, 0);
    assert_eq!(seen.verdict().kind(), VerdictKind::Passed);
    let kinds: Vec<_> = seen
        .events
        .iter()
        .filter_map(|event| event.kind.as_ref())
        .collect();
    assert!(matches!(kinds[0], Kind::Accepted(_)));
    assert!(matches!(kinds[1], Kind::Started(_)));
    assert!(matches!(kinds[2], Kind::Exited(_)));
    assert!(matches!(kinds.last(), Some(Kind::Finished(_))));
    let notes = String::from_utf8_lossy(&seen.notes);
    assert!(
        notes.starts_with("Console log: 'a test' from job "),
        "{notes}"
    );
    assert!(
        notes
            .trim_end()
            .ends_with("END OF WORK ITEM LOG: Command exited with 0]"),
        "{notes}"
    );
}

#[tokio::test]
async fn exit_code_is_passed_on_and_fails_the_item() {
    let agent = Agent::start().await;
    let seen = agent.run(shell("exit 42")).await;
    assert_eq!(seen.finished().helix_exit_code, 42);
    assert_eq!(seen.verdict().kind(), VerdictKind::Failed);
    assert_eq!(seen.verdict().reason, "EXIT_CODE");
    assert_eq!(ending(&seen).exit_code, Some(42));
}

#[tokio::test]
async fn signal_is_told_apart_from_an_exit_code() {
    let agent = Agent::start().await;
    let seen = agent.run(shell("kill -SEGV $$")).await;
    assert_eq!(seen.verdict().reason, "SIGNAL");
    assert_eq!(ending(&seen).signal, Some(11));
    assert_eq!(ending(&seen).exit_code, None);
    assert_eq!(seen.finished().helix_exit_code, 128 + 11);
}

#[tokio::test]
async fn program_that_does_not_exist_could_not_start_and_did_not_exit_with_one() {
    let agent = Agent::start().await;
    let seen = agent.run(argv(&["no-such-program-anywhere", "x"])).await;
    assert_eq!(ending(&seen).kind(), EndingKind::CouldNotStart);
    assert_eq!(seen.verdict().kind(), VerdictKind::Failed);
    assert_eq!(seen.verdict().reason, "COULD_NOT_START");
    assert!(
        seen.verdict().message.contains("no-such-program-anywhere"),
        "{:?}",
        seen.verdict()
    );
}

#[tokio::test]
async fn arguments_arrive_as_they_are() {
    let agent = Agent::start().await;
    let seen = agent
        .run(argv(&["printf", "%s|", "a b", "$HOME", "*", "", "ä"]))
        .await;
    assert_eq!(String::from_utf8_lossy(&seen.stdout), "a b|$HOME|*||ä|");
}

#[tokio::test]
async fn wall_timeout_ends_the_item_and_is_never_retried() {
    let agent = Agent::start().await;
    let item = limited(
        shell("sleep 600"),
        Some(Duration::from_millis(300)),
        None,
        NO_GRACE,
    );
    let item = helix_tests::item::delivery(item, 1, 5, 4);
    let seen = agent.run(item).await;
    assert_eq!(ending(&seen).kind(), EndingKind::WallTimeout);
    assert_eq!(seen.verdict().kind(), VerdictKind::TimedOut);
    assert_eq!(seen.finished().helix_exit_code, -3);
}

#[tokio::test]
async fn silence_timeout_spares_a_command_that_speaks_and_ends_one_that_does_not() {
    let agent = Agent::start().await;
    let silence = Some(Duration::from_millis(1500));
    let speaks = shell("for i in 1 2 3 4 5 6 7 8 9 10; do echo $i; sleep 0.3; done");
    let seen = agent.run(limited(speaks, None, silence, NO_GRACE)).await;
    assert_eq!(seen.verdict().kind(), VerdictKind::Passed);
    let seen = agent
        .run(limited(
            shell("echo once; sleep 600"),
            None,
            silence,
            NO_GRACE,
        ))
        .await;
    assert_eq!(ending(&seen).kind(), EndingKind::SilenceTimeout);
    assert_eq!(seen.verdict().reason, "SILENCE_TIMEOUT");
    assert_eq!(seen.stdout, b"once\n");
}

#[tokio::test]
async fn command_that_ignores_sigterm_is_killed_after_the_grace_with_its_output_read() {
    let agent = Agent::start().await;
    let line = "trap 'echo asked' TERM; echo ready; while :; do sleep 0.05; done";
    let grace = Duration::from_millis(500);
    let item = limited(shell(line), Some(Duration::from_millis(500)), None, grace);
    let seen = agent.run(item).await;
    assert_eq!(ending(&seen).kind(), EndingKind::WallTimeout);
    assert_eq!(ending(&seen).signal, Some(9));
    assert!(
        String::from_utf8_lossy(&seen.stdout).contains("asked"),
        "{}",
        seen.text()
    );
}

#[tokio::test]
async fn command_that_exits_within_the_grace_has_timed_out_all_the_same() {
    let agent = Agent::start().await;
    let line = "trap 'echo cleaning; exit 0' TERM; while :; do sleep 0.05; done";
    let grace = Duration::from_secs(30);
    let item = limited(shell(line), Some(Duration::from_millis(300)), None, grace);
    let seen = agent.run(item).await;
    assert_eq!(seen.verdict().kind(), VerdictKind::TimedOut);
    assert_eq!(ending(&seen).exit_code, Some(0));
    assert_eq!(seen.stdout, b"cleaning\n");
}

#[tokio::test]
async fn cancel_asks_then_kills_and_tells_who_wanted_it() {
    let agent = Agent::start().await;
    let item = shell("trap '' TERM; echo ready; while :; do sleep 0.05; done");
    let attempt_id = item.attempt_id.clone();
    let mut stream = agent.offer(item).await.expect("taken");
    let mut seen = Seen::default();
    until(&mut stream, &mut seen, |seen, _| seen.stdout == b"ready\n").await;
    let cancel = CancelRequest {
        attempt_id: attempt_id.clone(),
        grace: Some(Duration::from_millis(200).try_into().expect("fits")),
        reason: "not wanted".to_owned(),
    };
    let answer = agent
        .client()
        .await
        .cancel(cancel.clone())
        .await
        .expect("noted")
        .into_inner();
    assert!(!answer.already_ended);
    while let Some(response) = stream.message().await.expect("unbroken") {
        seen.take(response.event.expect("an event"));
    }
    assert_eq!(seen.verdict().kind(), VerdictKind::Cancelled);
    assert!(
        seen.verdict().message.contains("not wanted"),
        "{:?}",
        seen.verdict()
    );
    assert_eq!(ending(&seen).signal, Some(9));
    assert_eq!(seen.finished().helix_exit_code, -2);
    let answer = agent
        .client()
        .await
        .cancel(cancel)
        .await
        .expect("no error")
        .into_inner();
    assert!(answer.already_ended);
}

#[tokio::test]
async fn daemon_that_holds_the_pipe_open_neither_keeps_the_item_alive_nor_survives() {
    let agent = Agent::start().await;
    let line = "setsid sh -c 'setsid sleep 613 & sleep 613' & echo done; exit 0";
    let began = Instant::now();
    let seen = agent.run(shell(line)).await;
    assert_eq!(seen.verdict().kind(), VerdictKind::Passed);
    assert_eq!(seen.stdout, b"done\n");
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "the daemon kept the item alive"
    );
    let leftovers = seen.find(|kind| match kind {
        Kind::Exited(exited) => Some(&exited.leftovers),
        _ => None,
    });
    if cfg!(target_os = "linux") {
        assert!(
            !leftovers.is_empty(),
            "nobody was listed: {:?}",
            seen.events
        );
        for process in leftovers {
            let path = format!("/proc/{}/cmdline", process.pid);
            let command = std::fs::read(path).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).into_owned();
            assert!(
                !command.contains("613"),
                "process {process:?} lives on as {command}"
            );
        }
    }
}

#[tokio::test]
async fn failed_item_with_retries_is_requeued_until_they_are_spent() {
    let agent = Agent::start().await;
    let item = shell("exit 1");
    let first = helix_tests::item::delivery(item.clone(), 1, 3, 9);
    let seen = agent.run(first).await;
    let requeued = seen.requeued();
    assert_eq!(requeued.next_delivery_number, 2);
    assert_eq!(requeued.retries_left, 1);
    let granted = seen.find(|kind| match kind {
        Kind::Accepted(accepted) => Some(accepted.retries_granted),
        _ => None,
    });
    assert_eq!(granted, 2, "min(3 deliveries - 1, 9 asked for)");
    let second = agent
        .run(helix_tests::item::delivery(item.clone(), 2, 3, 9))
        .await;
    assert_eq!(second.requeued().next_delivery_number, 3);
    assert_eq!(second.requeued().retries_left, 0);
    let last = agent.run(helix_tests::item::delivery(item, 3, 3, 9)).await;
    assert_eq!(last.finished().helix_exit_code, 1);
    assert!(!last.finished().passed_on_retry);
}

#[tokio::test]
async fn item_that_passes_on_a_retry_says_so() {
    let agent = Agent::start().await;
    let item = shell("test \"$HELIX_WORKITEM_DELIVERY\" = 2");
    let seen = agent
        .run(helix_tests::item::delivery(item.clone(), 1, 3, 2))
        .await;
    assert_eq!(seen.requeued().next_delivery_number, 2);
    let seen = agent.run(helix_tests::item::delivery(item, 2, 3, 2)).await;
    assert!(seen.finished().passed_on_retry);
    assert_eq!(seen.verdict().kind(), VerdictKind::Passed);
}

#[tokio::test]
async fn infrastructure_retry_asked_for_from_inside_is_no_retry_of_the_item() {
    let agent = Agent::start().await;
    let line =
        r#"echo '{"request":"infra_retry","reason":"no device"}' >> "$HELIX_WORKITEM_REQUESTS""#;
    let seen = agent
        .run(helix_tests::item::delivery(shell(line), 1, 3, 0))
        .await;
    let returned = seen.returned();
    assert_eq!(returned.next_delivery_number, 2);
    assert_eq!(seen.verdict().kind(), VerdictKind::Infrastructure);
    assert_eq!(seen.verdict().reason, "REQUESTED");
    assert!(
        seen.verdict().message.contains("no device"),
        "{:?}",
        seen.verdict()
    );
}

#[tokio::test]
async fn output_limit_stops_the_command() {
    let agent = Agent::start().await;
    let mut item = limited(
        shell("yes | head -c 1000000; sleep 600"),
        None,
        None,
        NO_GRACE,
    );
    item.limits.as_mut().expect("set").output_bytes = 65_536;
    let seen = agent.run(item).await;
    assert_eq!(ending(&seen).kind(), EndingKind::OutputLimit);
    assert_eq!(seen.verdict().reason, "OUTPUT_LIMIT");
}
