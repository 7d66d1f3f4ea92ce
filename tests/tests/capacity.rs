//! What the agent says of itself: capacity as it changes, attempts page by page,
//! and what it forgets.

use std::time::{Duration, Instant};

use helix_proto::agent::v1::{
    AcknowledgeRequest, AgentState, AttachRequest, AttemptState, Capacity, DrainRequest,
    ListAttemptsRequest, ListAttemptsResponse, Resources, ResumeRequest, WatchCapacityRequest,
    WatchCapacityResponse, WorkItem,
};
use helix_tests::agent::{Agent, until};
use helix_tests::item::shell;
use helix_tests::stream::Seen;
use helix_tests::{PATIENCE, eventually};
use tonic::{Code, Streaming};
use tonic_types::StatusExt;

async fn watch(agent: &Agent, interval: Duration) -> Streaming<WatchCapacityResponse> {
    let interval = Some(interval.try_into().expect("it fits"));
    let request = WatchCapacityRequest { interval };
    agent
        .client()
        .await
        .watch_capacity(request)
        .await
        .expect("watched")
        .into_inner()
}

async fn next(stream: &mut Streaming<WatchCapacityResponse>) -> Capacity {
    let answer = tokio::time::timeout(PATIENCE, stream.message()).await;
    let answer = answer
        .expect("it is not silent for ever")
        .expect("unbroken");
    answer
        .expect("it does not end")
        .capacity
        .expect("a capacity")
}

/// Waits for a state; says how many answers that took.
async fn next_with(
    stream: &mut Streaming<WatchCapacityResponse>,
    wanted: impl Fn(&Capacity) -> bool,
) -> usize {
    for count in 1.. {
        if wanted(&next(stream).await) {
            return count;
        }
    }
    unreachable!("it does not end")
}

/// Longer than any test: whatever comes was caused by a change.
const NEVER: Duration = Duration::from_secs(600);

#[tokio::test]
async fn watcher_is_told_at_once_and_after_every_change() {
    let agent = Agent::start().await;
    let mut stream = watch(&agent, NEVER).await;
    assert_eq!(next(&mut stream).await.state(), AgentState::Ready);
    let gate = agent.directory().join("gate");
    let line = format!("until test -e {}; do sleep 0.05; done", gate.display());
    let mut run = agent.offer(shell(&line)).await.expect("taken");
    let slots = |capacity: &Capacity| capacity.free.expect("set").slots;
    let running = |capacity: &Capacity| {
        let first = capacity.running.first();
        slots(capacity) == 1 && first.is_some_and(|row| row.state() == AttemptState::Running)
    };
    next_with(&mut stream, running).await;
    std::fs::write(&gate, b"").expect("written");
    while run.message().await.expect("unbroken").is_some() {}
    next_with(&mut stream, |capacity| {
        slots(capacity) == 2 && capacity.running.is_empty()
    })
    .await;

    let drain = DrainRequest {
        reason: String::new(),
    };
    agent.client().await.drain(drain).await.expect("drained");
    next_with(&mut stream, |capacity| {
        capacity.state() == AgentState::Draining && capacity.draining_since.is_some()
    })
    .await;
    agent
        .client()
        .await
        .resume(ResumeRequest {})
        .await
        .expect("resumed");
    next_with(&mut stream, |capacity| {
        capacity.state() == AgentState::Ready
    })
    .await;
}

#[tokio::test]
async fn watcher_hears_of_the_offline_file_though_nobody_tells_the_agent() {
    let agent = Agent::start().await;
    let mut stream = watch(&agent, NEVER).await;
    next(&mut stream).await;
    let file = agent.directory().join("config/offline");
    std::fs::write(&file, "a test\n").expect("written");
    next_with(&mut stream, |capacity| {
        capacity.state() == AgentState::Offline
            && capacity
                .reasons
                .iter()
                .any(|reason| reason.contains("a test"))
    })
    .await;
    std::fs::remove_file(&file).expect("removed");
    next_with(&mut stream, |capacity| {
        capacity.state() == AgentState::Ready
    })
    .await;
}

#[tokio::test]
async fn watcher_is_told_at_the_interval_when_nothing_changes() {
    let agent = Agent::start().await;
    let mut stream = watch(&agent, Duration::from_secs(1)).await;
    let mut times = Vec::new();
    for _ in 0..3 {
        times.push(next(&mut stream).await.time.expect("set"));
    }
    for pair in times.windows(2) {
        let [earlier, later] = pair else { continue };
        let passed = (later.seconds - earlier.seconds) * 1000
            + i64::from(later.nanos - earlier.nanos) / 1_000_000;
        assert!(passed >= 90, "answers {passed} ms apart");
    }
    let total = times[2].seconds - times[0].seconds;
    assert!((1..30).contains(&total), "{times:?}");
    for interval in [
        Duration::from_millis(999),
        Duration::from_secs(601),
        Duration::ZERO,
    ] {
        let interval = Some(interval.try_into().expect("it fits"));
        let request = WatchCapacityRequest { interval };
        let status = agent
            .client()
            .await
            .watch_capacity(request)
            .await
            .expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        let violations = &details
            .bad_request()
            .expect("a BadRequest")
            .field_violations;
        assert_eq!(violations[0].field, "interval");
    }
}

#[tokio::test]
async fn burst_of_changes_is_told_at_most_ten_times_a_second_and_the_last_state_is_told() {
    let agent = Agent::start_with("slots = 8\n", "").await;
    let mut stream = watch(&agent, NEVER).await;
    next(&mut stream).await;
    let began = Instant::now();
    let flips = async {
        for _ in 0..150 {
            let drain = DrainRequest {
                reason: String::new(),
            };
            agent.client().await.drain(drain).await.expect("drained");
            agent
                .client()
                .await
                .resume(ResumeRequest {})
                .await
                .expect("resumed");
        }
        let drain = DrainRequest {
            reason: "the end".to_owned(),
        };
        agent.client().await.drain(drain).await.expect("drained");
    };
    let mut answers = 0_u32;
    let mut last = None;
    tokio::pin!(flips);
    let took = loop {
        tokio::select! {
            biased;
            () = &mut flips => break began.elapsed(),
            capacity = next(&mut stream) => {
                answers += 1;
                last = Some(capacity.state());
            }
        }
    };
    // Two more than the time allows: the first, and the one under way.
    let most = u32::try_from(took.as_millis() / 100)
        .unwrap_or(u32::MAX)
        .saturating_add(2);
    assert!(answers <= most, "{answers} answers in {took:?}");
    if last != Some(AgentState::Draining) || agent.capacity().await.draining_since.is_none() {
        next_with(&mut stream, |capacity| {
            capacity.state() == AgentState::Draining
        })
        .await;
    }
}

#[tokio::test]
async fn what_an_attempt_reserves_is_shown_and_given_back() {
    let tables = "[resources]\ncpu_millis = 4000\nmemory = \"1 GiB\"\n";
    let agent = Agent::start_with("slots = 4\n", tables).await;
    let wanted = Resources {
        slots: 2,
        cpu_millis: 1500,
        memory_bytes: 300 << 20,
        disk_bytes: 5 << 20,
        processes: 0,
    };
    let gate = agent.directory().join("gate");
    let line = format!(
        "echo ready; until test -e {}; do sleep 0.05; done",
        gate.display()
    );
    let item = WorkItem {
        resources: Some(wanted),
        ..shell(&line)
    };
    let (work_item_id, job_id) = (item.work_item_id.clone(), item.job_id.clone());
    let mut run = agent.offer(item).await.expect("taken");
    let mut seen = Seen::default();
    until(&mut run, &mut seen, |seen, _| seen.stdout == b"ready\n").await;
    let capacity = agent.capacity().await;
    let row = &capacity.running[0];
    assert_eq!((&row.work_item_id, &row.job_id), (&work_item_id, &job_id));
    assert_eq!(row.state(), AttemptState::Running);
    assert!(row.accepted.is_some());
    assert_eq!(row.reserved, Some(wanted));
    let (total, free) = (capacity.total.expect("set"), capacity.free.expect("set"));
    assert_eq!(
        (total.slots, total.cpu_millis, total.memory_bytes),
        (4, 4000, 1 << 30)
    );
    assert_eq!((free.slots, free.cpu_millis), (2, 2500));
    assert!(free.memory_bytes <= (1 << 30) - (300 << 20), "{free:?}");
    std::fs::write(&gate, b"").expect("written");
    while run.message().await.expect("unbroken").is_some() {}
    let free = eventually("all is given back", async || {
        let capacity = agent.capacity().await;
        if capacity.running.is_empty() {
            Ok(capacity.free.expect("set"))
        } else {
            Err(capacity)
        }
    })
    .await;
    assert_eq!((free.slots, free.cpu_millis), (4, 4000));
    let info = capacity.agent.expect("set");
    assert!(!info.machine.is_empty() && !info.version.is_empty() && !info.boot_id.is_empty());
    assert!(
        capacity
            .capabilities
            .iter()
            .any(|capability| capability.name == "os")
    );
}

async fn page(agent: &Agent, size: u32, token: &str, running_only: bool) -> ListAttemptsResponse {
    let request = ListAttemptsRequest {
        running_only,
        page_size: size,
        page_token: token.to_owned(),
    };
    agent
        .client()
        .await
        .list_attempts(request)
        .await
        .expect("a list")
        .into_inner()
}

fn ids(page: &ListAttemptsResponse) -> Vec<String> {
    let id = |row: &helix_proto::agent::v1::AttemptSummary| {
        row.attempt.as_ref().expect("set").attempt_id.clone()
    };
    page.attempts.iter().map(id).collect()
}

#[tokio::test]
async fn attempts_are_listed_newest_first_page_by_page_and_the_same_after_a_restart() {
    let mut agent = Agent::start().await;
    let mut expected = Vec::new();
    for _ in 0..6 {
        let item = shell("echo x");
        expected.insert(0, item.attempt_id.clone());
        agent.run(item).await;
    }
    for restart in [false, true] {
        if restart {
            agent.kill_and_start_again().await;
        }
        let first = page(&agent, 2, "", false).await;
        let second = page(&agent, 2, &first.next_page_token, false).await;
        let third = page(&agent, 2, &second.next_page_token, false).await;
        let all = [ids(&first), ids(&second), ids(&third)].concat();
        assert_eq!(all, expected, "after a restart: {restart}");
        assert_eq!(third.next_page_token, "", "there is no fourth");
        assert_eq!(ids(&page(&agent, 0, "", false).await), expected);
        for row in first.attempts {
            assert!(row.ended.is_some() && row.terminal_event.is_some());
            assert!(row.events >= 4 && row.console_bytes > 2, "{row:?}");
            assert!(!row.acknowledged);
            assert_eq!(row.attempt.expect("set").state(), AttemptState::Ended);
        }
    }
    let mut run = agent
        .offer(shell("echo ready; sleep 600"))
        .await
        .expect("taken");
    let mut seen = Seen::default();
    until(&mut run, &mut seen, |seen, _| seen.stdout == b"ready\n").await;
    let running = page(&agent, 0, "", true).await;
    assert_eq!(running.attempts.len(), 1);
    assert!(running.attempts[0].terminal_event.is_none() && running.attempts[0].ended.is_none());
    for token in [
        "nonsense",
        "../../etc/passwd",
        "1.2",
        "\u{7f}",
        "99999999999999999999.1-a",
    ] {
        let request = ListAttemptsRequest {
            page_token: token.to_owned(),
            ..Default::default()
        };
        let status = agent
            .client()
            .await
            .list_attempts(request)
            .await
            .expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument, "{token}");
    }
}

#[tokio::test]
async fn history_of_an_ended_attempt_reads_the_same_after_a_restart() {
    let mut agent = Agent::start().await;
    let item = shell("echo out; echo err >&2; exit 4");
    let attempt_id = item.attempt_id.clone();
    let first = agent.run(item).await;
    agent.kill_and_start_again().await;
    let again = agent.attach(&attempt_id, 0, 0).await;
    assert_eq!(again.events, first.events);
    assert_eq!((again.stdout, again.stderr), (first.stdout, first.stderr));
    assert_eq!(again.notes, first.notes);
}

#[tokio::test]
async fn whoever_has_seen_all_is_told_that_there_is_no_more() {
    let agent = Agent::start().await;
    let item = shell("echo x");
    let attempt_id = item.attempt_id.clone();
    let seen = agent.run(item).await;
    let last = seen.events.last().expect("there are some").number;
    let rest = tokio::time::timeout(PATIENCE, agent.attach(&attempt_id, last, seen.console_end));
    let rest = rest.await.expect("the stream of an ended attempt ends");
    assert!(rest.events.is_empty() && rest.stdout.is_empty());
    // Only the last byte of the console was missed.
    let rest = agent.attach(&attempt_id, last, seen.console_end - 1).await;
    assert_eq!(rest.notes, b"\n");
    for (after_event, console_offset) in [
        (last + 1, 0),
        (0, seen.console_end + 1),
        (u64::MAX, u64::MAX),
    ] {
        let request = AttachRequest {
            attempt_id: attempt_id.clone(),
            after_event,
            console_offset,
        };
        let status = agent
            .client()
            .await
            .attach(request)
            .await
            .expect_err("beyond the end");
        assert_eq!(status.code(), Code::OutOfRange);
    }
}

#[tokio::test]
async fn what_is_too_much_is_forgotten_acknowledged_attempts_first() {
    // Enough for one of the two.
    let tables = "[retention]\nage = \"1h\"\nsize = \"3 MiB\"\n";
    let mut agent = Agent::start_with("", tables).await;
    let item = || shell("head -c 2000000 /dev/zero | tr '\\0' x");
    let (old, new) = (item(), item());
    let (old_id, new_id) = (old.attempt_id.clone(), new.attempt_id.clone());
    agent.run(old).await;
    agent.run(new).await;
    let acknowledge = AcknowledgeRequest {
        attempt_id: new_id.clone(),
    };
    agent
        .client()
        .await
        .acknowledge(acknowledge)
        .await
        .expect("it has ended");
    // A sweep comes with every start.
    agent.kill_and_start_again().await;
    eventually("it is forgotten", async || {
        match ids(&page(&agent, 0, "", false).await) {
            list if list == [old_id.clone()] => Ok(()),
            list => Err(list),
        }
    })
    .await;
    let unknown = |attempt_id: &str| AttachRequest {
        attempt_id: attempt_id.to_owned(),
        after_event: 0,
        console_offset: 0,
    };
    let status = agent
        .client()
        .await
        .attach(unknown(&new_id))
        .await
        .expect_err("forgotten");
    assert_eq!(status.code(), Code::NotFound);
    let info = status
        .get_error_details()
        .error_info()
        .cloned()
        .expect("an ErrorInfo");
    assert_eq!(info.reason, "UNKNOWN_ATTEMPT");
    assert_eq!(agent.attach(&old_id, 0, 0).await.stdout.len(), 2_000_000);
    // Its directory is gone as well.
    let directory = agent.directory().join("state/attempts");
    eventually("its files are gone", async || {
        match std::fs::read_dir(&directory).expect("a directory").count() {
            1 => Ok(()),
            count => Err(count),
        }
    })
    .await;
}
