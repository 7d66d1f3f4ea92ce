//! `helix run` with a connection that holds.

use std::fs::File;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use helix_proto::agent::v1::{VerdictKind, payload};
use tonic::Code;

use crate::agent::{FakeAgent, Part, send};
use crate::events::{History, refusal};
use crate::program::{finish, helix, run};

#[tokio::test]
async fn bytes_arrive_untouched_and_on_their_own_stream() {
    let history = History::started()
        .agent(b"Console log: 'x'\n")
        .out(b"\xff\x00out without end")
        .error(b"error\x1b[31m")
        .exited(0)
        .finished(VerdictKind::Passed, "", 0);
    let agent = FakeAgent::start([Part::Take(send(history))]).await;
    let output = run(agent.address, &["run", "--", "true"]).await;
    assert_eq!(output.code(), Some(0));
    assert_eq!(output.stdout, b"\xff\x00out without end");
    let stderr = output
        .stderr
        .replace(&agent.offers()[0].attempt_id, "ATTEMPT");
    let expected = "helix: accepted by build-7 as ATTEMPT\n\
                    helix: started as process 4711\n\
                    Console log: 'x'\n\
                    error\x1b[31m\n\
                    helix: exited with code 0 after 2 s\n\
                    helix: passed (2 s)\n";
    assert_eq!(stderr, expected);
}

#[tokio::test]
async fn quiet_leaves_only_what_the_command_says() {
    let history = History::started()
        .agent(b"Console log: 'x'\n")
        .out(b"out\n")
        .error(b"error\n")
        .exited(3)
        .finished(VerdictKind::Failed, "exit code 3", 3);
    let agent = FakeAgent::start([Part::Take(send(history))]).await;
    let output = run(agent.address, &["run", "--quiet", "--", "true"]).await;
    assert_eq!(output.code(), Some(3));
    assert_eq!((output.out(), output.stderr.as_str()), ("out\n", "error\n"));
}

#[tokio::test]
async fn failed_tests_are_named_and_decide_the_exit_code() {
    let history =
        History::started()
            .exited(0)
            .results(1)
            .finished(VerdictKind::Failed, "1 test failed", 0);
    let agent = FakeAgent::start([Part::Take(send(history))]).await;
    let output = run(agent.address, &["run", "--", "true"]).await;
    assert_eq!(output.code(), Some(1));
    for expected in [
        "failed test: suite::case_0\n    expected 1, found 2\n",
        "2 tests: 1 passed, 1 failed (1 result file)\n",
        "failed: 1 test failed (2 s)\n",
    ] {
        assert!(
            output.stderr.contains(expected),
            "{expected:?} is not in {}",
            output.stderr
        );
    }
}

#[tokio::test]
async fn a_requeued_item_is_delivered_again_under_a_new_attempt() {
    let agent = FakeAgent::start([
        Part::Take(send(History::started().exited(101).results(1).requeued(2))),
        Part::Take(send(History::started().results(0).passed())),
    ])
    .await;
    let output = run(agent.address, &["run", "--retries", "1", "--", "true"]).await;
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    assert!(
        output.stderr.contains("to be delivered again as number 2"),
        "{}",
        output.stderr
    );
    let offers = agent.offers();
    let delivery = |at: usize| offers[at].delivery.unwrap();
    assert_eq!((delivery(0).number, delivery(0).retries_used), (1, Some(0)));
    assert_eq!((delivery(1).number, delivery(1).retries_used), (2, Some(1)));
    assert_eq!(delivery(1).queue_max_delivery_count, 2);
    assert_eq!(offers[0].work_item_id, offers[1].work_item_id);
    assert_ne!(offers[0].attempt_id, offers[1].attempt_id);
}

#[tokio::test]
async fn an_item_that_nothing_was_learned_about_is_delivered_again_without_a_retry() {
    let agent = FakeAgent::start([
        Part::Take(send(History::default().lost(2))),
        Part::Take(send(History::default().lost(0))),
    ])
    .await;
    let output = run(
        agent.address,
        &["run", "--max-deliveries", "2", "--", "true"],
    )
    .await;
    assert_eq!(output.code(), Some(70), "{}", output.stderr);
    let delivery = agent.offers()[1].delivery.unwrap();
    assert_eq!((delivery.number, delivery.retries_used), (2, Some(0)));
    assert!(
        output.stderr.contains("all deliveries are spent"),
        "{}",
        output.stderr
    );
}

#[tokio::test]
async fn a_refusal_says_why_and_when_to_come_back() {
    let full = refusal(
        Code::ResourceExhausted,
        "SLOTS_FULL",
        "All 2 slots are taken.",
        Some(Duration::from_secs(7)),
    );
    let agent = FakeAgent::start([Part::Refuse(full.clone()), Part::Refuse(full)]).await;
    let output = run(agent.address, &["run", "--name", "tests", "--", "true"]).await;
    assert_eq!(output.code(), Some(75));
    assert_eq!(output.out(), "");
    insta::assert_snapshot!(output.stderr, @r"
    helix: the agent refused `tests`
      cause: SLOTS_FULL: All 2 slots are taken.
      hint: come back in 7 s, or let `helix run --wait 10m` do it
    ");

    let output = run(agent.address, &["run", "--json", "--", "true"]).await;
    assert_eq!(output.code(), Some(75));
    assert_eq!(output.types(), ["offered", "error"]);
    let error = &output.json()[1];
    assert_eq!(error["refusal"]["reason"], "SLOTS_FULL");
    assert_eq!(error["refusal"]["retry_after_seconds"], 7.0);
    assert_eq!(error["exit_code"], 75);
}

#[tokio::test]
async fn who_is_willing_to_wait_comes_back_when_told() {
    let full = refusal(
        Code::ResourceExhausted,
        "SLOTS_FULL",
        "All 2 slots are taken.",
        Some(Duration::from_millis(300)),
    );
    let parts = [
        Part::Refuse(full),
        Part::Take(send(History::started().passed())),
    ];
    let agent = FakeAgent::start(parts).await;
    let before = std::time::Instant::now();
    let output = run(agent.address, &["run", "--wait", "20s", "--", "true"]).await;
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    assert!(before.elapsed() >= Duration::from_millis(300));
    let offers = agent.offers();
    assert_eq!(offers[0].attempt_id, offers[1].attempt_id, "it never ran");
    assert!(
        output.stderr.contains("coming back in 300 ms: SLOTS_FULL"),
        "{}",
        output.stderr
    );
}

#[tokio::test]
async fn waiting_does_not_help_where_the_agent_will_never_take_it() {
    let never = refusal(
        Code::FailedPrecondition,
        "MISSING_CAPABILITY",
        "There is no `xcode`.",
        None,
    );
    let agent = FakeAgent::start([Part::Refuse(never)]).await;
    let output = run(agent.address, &["run", "--wait", "1h", "--", "true"]).await;
    assert_eq!(output.code(), Some(75));
    assert!(
        output.stderr.contains("hint: this agent will not take it"),
        "{}",
        output.stderr
    );
}

#[tokio::test]
async fn a_refusal_after_unpacking_is_a_refusal_too() {
    let agent = FakeAgent::start([
        Part::Take(send(
            History::default().refused(Some(Duration::from_millis(200))),
        )),
        Part::Take(send(History::default().refused(None))),
    ])
    .await;
    let output = run(agent.address, &["run", "--wait", "20s", "--", "true"]).await;
    assert_eq!(output.code(), Some(75), "{}", output.stderr);
    assert!(
        output.stderr.contains("There is no `xcode` 16 here."),
        "{}",
        output.stderr
    );
    let offers = agent.offers();
    assert_ne!(offers[0].attempt_id, offers[1].attempt_id, "it had begun");
    assert_eq!(
        offers[1].delivery.unwrap().number,
        1,
        "it costs no delivery"
    );
}

#[tokio::test]
async fn a_wrong_work_item_is_the_callers_error() {
    let wrong = refusal(
        Code::InvalidArgument,
        "BAD_REQUEST",
        "`work_item.queue` is wrong.",
        None,
    );
    let agent = FakeAgent::start([Part::Refuse(wrong)]).await;
    let output = run(agent.address, &["run", "--queue", "?", "--", "true"]).await;
    assert_eq!(output.code(), Some(64));
}

#[tokio::test]
async fn json_tells_everything_in_order() {
    let history = History::started()
        .out(b"a\n")
        .exited(0)
        .results(0)
        .finished(VerdictKind::Passed, "", 0);
    let agent = FakeAgent::start([Part::Take(send(history))]).await;
    let output = run(agent.address, &["--json", "run", "--", "true"]).await;
    assert_eq!(output.code(), Some(0));
    assert_eq!(
        output.types(),
        [
            "offered",
            "accepted",
            "started",
            "console",
            "exited",
            "results_read",
            "finished",
            "ended"
        ]
    );
    assert_eq!(output.stderr, "");
    let attempt = &agent.offers()[0].attempt_id;
    assert!(
        output
            .json()
            .iter()
            .all(|line| line["attempt_id"] == attempt.as_str())
    );
    assert_eq!(output.json()[7]["exit_code"], 0);
}

#[tokio::test]
async fn a_directory_is_there_as_an_archive_for_as_long_as_it_is_needed() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("run.sh"), "#!/bin/sh\n").unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let agent = FakeAgent::start([Part::Take(send(History::started().passed()))]).await;
    let record = Arc::clone(&seen);
    *agent.state.on_offer.lock().unwrap() = Some(Box::new(move |item| {
        let Some(payload::Source::Url(url)) = &item.payloads[0].source else {
            panic!("no URL")
        };
        let path = url.strip_prefix("file://").unwrap().to_owned();
        let zip = zip::ZipArchive::new(File::open(&path).unwrap()).unwrap();
        let names: Vec<String> = zip
            .file_names()
            .map(|name| name.unwrap().into_owned())
            .collect();
        record
            .lock()
            .unwrap()
            .push((path, names, item.payloads[0].destination.clone()));
    }));
    let source = format!("{}=tools", directory.path().display());
    let output = run(agent.address, &["run", "--payload", &source, "--", "true"]).await;
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    let (path, names, destination) = seen.lock().unwrap().pop().unwrap();
    assert_eq!(
        (names.as_slice(), destination.as_str()),
        (&["run.sh".to_owned()][..], "tools")
    );
    assert!(
        !std::path::Path::new(&path).exists(),
        "the archive outlived the program"
    );
}

#[tokio::test]
async fn a_reader_that_leaves_does_not_change_the_verdict() {
    let mut history = History::started();
    for _ in 0..200 {
        history = history.out(&[b'x'; 4096]);
    }
    let history = history
        .exited(5)
        .finished(VerdictKind::Failed, "exit code 5", 5);
    let agent = FakeAgent::start([Part::Take(send(history))]).await;
    let mut child = helix(agent.address, &["run", "--", "true"])
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = finish(child).await;
    assert_eq!(output.code(), Some(5), "{}", output.stderr);
}

#[tokio::test]
async fn arguments_that_make_no_sense_are_a_usage_error() {
    let agent = FakeAgent::start([]).await;
    for arguments in [
        &["run"][..],
        &["run", "--shell", "a", "--", "b"],
        &["run", "--timeout", "soon", "--", "a"],
        &["run", "--secret-env", "NOT_SET_HERE", "--", "a"],
        &["--agent", "ftp://x", "ps"],
        &["--ca", "x.pem", "ps"],
        &["--agent", "build-7.invalid", "ps"],
        &["nonsense"],
    ] {
        let output = run(agent.address, arguments).await;
        assert_eq!(output.code(), Some(64), "{arguments:?}: {}", output.stderr);
        assert!(!output.stderr.is_empty());
    }
    let output = run(agent.address, &["run", "--payload", "/no/such", "--", "a"]).await;
    assert_eq!(output.code(), Some(66), "{}", output.stderr);
    let output = run(agent.address, &["run", "--help"]).await;
    assert_eq!(output.code(), Some(0));
    assert!(output.out().contains("Examples:") && output.out().contains("Exit codes:"));
}
