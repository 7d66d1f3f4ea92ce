//! One of the three processes of an attempt killed at every step of it: the attempt ends once, with
//! all that its command has written, and nothing is left behind.

use std::time::Duration;

use helix_proto::agent::v1::attempt_event::Kind;
use helix_proto::agent::v1::{AttachRequest, WorkItem};
use helix_tests::eventually;
use helix_tests::isolated::Isolated;
use helix_tests::item::{delivery, shell};
use helix_tests::stream::Seen;

/// Steps of the launcher and of the supervisor, in the order in which an attempt comes by.
const STEPS: [&str; 14] = [
    "launcher-asked",
    "launcher-job-given",
    "supervisor-employed",
    "supervisor-handing-over",
    "supervisor-berthed",
    "supervisor-posted",
    "supervisor-ready",
    "launcher-heard",
    "supervisor-started",
    "supervisor-launched",
    "supervisor-alone",
    "supervisor-giving-back",
    "supervisor-given-back",
    "supervisor-ended",
];

/// Steps of the agent.
const STEPS_OF_THE_AGENT: [&str; 9] = [
    "agent-accepted",
    "agent-prepared",
    "agent-launching",
    "agent-launched",
    "agent-started",
    "agent-exited",
    "agent-collected",
    "agent-decided",
    "agent-released",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    /// Whoever comes by.
    Itself,
    Launcher,
    Agent,
}

/// Attaches until the attempt has ended, however often the agent goes away meanwhile.
async fn follow(machine: &Isolated, attempt_id: &str) -> Seen {
    eventually("the attempt ends", async || {
        let mut client =
            match helix_proto::agent::v1::agent_service_client::AgentServiceClient::connect(
                format!("http://{}", machine.agent.address()),
            )
            .await
            {
                Ok(client) => client,
                Err(error) => return Err(error.to_string()),
            };
        let request = AttachRequest {
            attempt_id: attempt_id.to_owned(),
            ..AttachRequest::default()
        };
        let mut stream = match client.attach(request).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => return Err(status.to_string()),
        };
        let mut seen = Seen::default();
        while let Ok(Some(response)) = stream.message().await {
            seen.take(response.event.expect("an event"));
        }
        if seen.terminal().is_some() {
            Ok(seen)
        } else {
            Err(seen.text())
        }
    })
    .await
}

fn item() -> WorkItem {
    let line = "echo begun; echo kept > \"$HELIX_WORKITEM_UPLOAD_ROOT/kept\"; chmod 0 \"$HELIX_WORKITEM_UPLOAD_ROOT/kept\"; \
                (setsid sleep 900 &); sleep 0.2; echo done; exit 4";
    let item = shell(line);
    let attempt_id = item.attempt_id.clone();
    WorkItem {
        attempt_id,
        ..delivery(item, 1, 3, 1)
    }
}

async fn check(machine: &mut Isolated, step: &str, victim: Victim) {
    let context = format!("{victim:?} killed at `{step}`");
    let pid = match victim {
        Victim::Itself => None,
        Victim::Launcher => Some(machine.launcher_pid()),
        Victim::Agent => Some(machine.agent.pid()),
    };
    machine.arm(step, pid);
    let item = item();
    let attempt_id = item.attempt_id.clone();
    // The stream may break, as may the call itself.
    let offered = machine.agent.offer(item).await;
    let begun = offered.is_ok();
    if let Ok(mut stream) = offered {
        while let Ok(Some(_)) = stream.message().await {}
    }
    eventually(&format!("{context}: the step is reached"), async || {
        if machine.was_hit(step) {
            Ok(())
        } else {
            Err(())
        }
    })
    .await;
    machine.disarm(step);
    let who = match victim {
        Victim::Itself => step.split('-').next().expect("a word"),
        Victim::Launcher => "launcher",
        Victim::Agent => "agent",
    };
    match who {
        "agent" => {
            machine.agent.ended().await;
            machine.agent.start_again().await;
        }
        "launcher" => machine.restart_launcher().await,
        _ => {}
    }
    if !begun {
        // Nobody was told that it was taken: whether it was is for the agent to say.
        let ended = tokio::time::timeout(Duration::from_millis(500), follow(machine, &attempt_id));
        let _ = ended.await;
        return;
    }
    let seen = follow(machine, &attempt_id).await;
    let terminals = seen
        .events
        .iter()
        .filter(|event| {
            matches!(
                event.kind,
                Some(Kind::Finished(_) | Kind::Requeued(_) | Kind::Returned(_))
            )
        })
        .count();
    assert_eq!(terminals, 1, "{context}: {:#?}", seen.events);
    match seen.terminal() {
        // It ended as if nothing had happened.
        Some(Kind::Requeued(_)) => {
            assert_eq!(seen.stdout, b"begun\ndone\n", "{context}: {}", seen.text());
        }
        // Infrastructure: with what was written until then.
        Some(Kind::Returned(returned)) => {
            assert_eq!(returned.next_delivery_number, 2, "{context}");
            assert!(
                b"begun\ndone\n".starts_with(&seen.stdout),
                "{context}: {}",
                seen.text()
            );
            assert_ne!(
                (victim, step),
                (Victim::Agent, "supervisor-launched"),
                "{context}: a running item was lost"
            );
        }
        other => panic!("{context}: {other:?}"),
    }
    assert!(
        seen.text().contains("END OF WORK ITEM LOG"),
        "{context}: {}",
        seen.text()
    );
    eventually(&format!("{context}: nothing is left"), async || {
        let left = (machine.processes_of_slots(), machine.attempt_directories());
        if left.0.is_empty() && left.1.is_empty() {
            Ok(())
        } else {
            Err(left)
        }
    })
    .await;
    let next = machine
        .agent
        .run(shell("id -u > /dev/null; echo well"))
        .await;
    assert_eq!(next.stdout, b"well\n", "{context}: {}", next.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn supervisor_or_launcher_killed_at_every_step_ends_the_attempt_once() {
    let Some(mut machine) = Isolated::start().await else {
        return;
    };
    for step in STEPS {
        check(&mut machine, step, Victim::Itself).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn launcher_killed_at_every_step_of_a_supervisor_disturbs_nothing() {
    let Some(mut machine) = Isolated::start().await else {
        return;
    };
    for step in STEPS
        .into_iter()
        .filter(|step| step.starts_with("supervisor"))
    {
        check(&mut machine, step, Victim::Launcher).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_killed_at_every_step_of_the_others_takes_the_attempt_up_again() {
    let Some(mut machine) = Isolated::start().await else {
        return;
    };
    for step in STEPS {
        check(&mut machine, step, Victim::Agent).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_killed_at_every_step_of_its_own_ends_the_attempt_once() {
    let Some(mut machine) = Isolated::start().await else {
        return;
    };
    for step in STEPS_OF_THE_AGENT {
        check(&mut machine, step, Victim::Itself).await;
    }
}
