//! Agents that report to controllers.

use std::time::{Duration, Instant};

use helix_proto::agent::v1::attempt_event::Kind;
use helix_proto::agent::v1::{
    AttachRequest, CancelRequest, GetCapacityRequest, Limits, ListAttemptsRequest, Payload,
    RunRequest, VerdictKind, payload,
};
use tempfile::TempDir;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::{ErrorDetails, StatusExt};

use crate::agent::{Agent, eventually, shell};
use crate::controller::{Call, Controller, Manners, agent_client};

const CONNECTED: &str = "helix_agent_controller_connected";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_runs_work_through_a_tunnel() {
    let mut controller = Controller::start().await;
    let agent = Agent::start("machine_name = \"far\"\n", &controller.config("")).await;
    let (info, channel, _tunnel) = controller.tunnel().await;
    assert_eq!(info.machine, "far");

    let mut client = agent_client(&channel);
    let capacity = client.get_capacity(GetCapacityRequest {}).await.unwrap();
    let capacity = capacity.into_inner().capacity.unwrap();
    assert_eq!(capacity.agent.unwrap(), info);

    // More than all windows together, so that the tunnel is not merely a pipe full of bytes.
    let line = "head -c 40000000 /dev/zero | tr '\\0' '~'; exit 3";
    let request = RunRequest {
        work_item: Some(shell("tunnel", line)),
    };
    let mut events = client.run(request).await.unwrap().into_inner();
    let (mut bytes, mut verdict) = (0, None);
    while let Some(answer) = events.message().await.unwrap() {
        match answer.event.unwrap().kind.unwrap() {
            Kind::Console(chunk) => {
                bytes += chunk.data.iter().filter(|byte| **byte == b'~').count();
            }
            Kind::Finished(finished) => verdict = finished.verdict,
            _ => {}
        }
    }
    assert_eq!(bytes, 40_000_000);
    assert_eq!(verdict.unwrap().kind(), VerdictKind::Failed);

    // The same service as at the listener, and all that goes with it.
    let mut health = HealthClient::new(channel);
    let request = HealthCheckRequest {
        service: "helix.agent.v1.AgentService".to_owned(),
    };
    let status = health.check(request).await.unwrap().into_inner().status();
    assert_eq!(
        status,
        tonic_health::pb::health_check_response::ServingStatus::Serving
    );
    let mut client = agent.client().await;
    let listed = client.list_attempts(ListAttemptsRequest::default()).await;
    assert_eq!(listed.unwrap().into_inner().attempts.len(), 1);
    assert_eq!(agent.metric(CONNECTED).await.as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controller_that_comes_back_finds_what_ran_meanwhile() {
    let mut controller = Controller::start().await;
    let address = controller.address;
    let agent = Agent::start("", &controller.config("")).await;
    let (_, channel, _tunnel) = controller.tunnel().await;
    let go_on = agent.path("go-on");
    let line = format!(
        "echo before; while ! [ -e {} ]; do sleep 0.05; done; echo after",
        go_on.display()
    );
    let request = RunRequest {
        work_item: Some(shell("back", &line)),
    };
    let mut events = agent_client(&channel)
        .run(request)
        .await
        .unwrap()
        .into_inner();
    loop {
        let event = events.message().await.unwrap().unwrap().event.unwrap();
        if matches!(event.kind, Some(Kind::Console(_))) {
            break;
        }
    }
    controller.end().await;
    agent.logs("controller is gone").await;
    assert_eq!(agent.metric(CONNECTED).await.as_deref(), Some("0"));
    std::fs::write(&go_on, "").unwrap();
    // A port that nobody listens at tells nothing new, so that it is told once.
    agent.logs("controller still cannot be reached").await;
    assert_eq!(
        agent.log().matches("controller cannot be reached").count(),
        1
    );

    let mut controller = Controller::start_at(address, None).await;
    let (_, channel, _tunnel) = controller.tunnel().await;
    let request = AttachRequest {
        attempt_id: "attempt-back".to_owned(),
        after_event: 0,
        console_offset: 0,
    };
    let mut events = agent_client(&channel)
        .attach(request)
        .await
        .unwrap()
        .into_inner();
    let mut console = Vec::new();
    while let Some(answer) = events.message().await.unwrap() {
        if let Some(Kind::Console(chunk)) = answer.event.unwrap().kind {
            console.extend_from_slice(&chunk.data);
        }
    }
    let console = String::from_utf8(console).unwrap();
    assert!(console.contains("\nbefore\nafter\n"), "{console}");
    assert_eq!(
        agent
            .log()
            .matches("controller knows of this agent")
            .count(),
        2
    );
    assert_eq!(agent.metric(CONNECTED).await.as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_announces_the_address_where_it_listens() {
    let mut controller = Controller::start().await;
    let agent = Agent::start("", &controller.config("connect = \"announce\"")).await;
    let Call::Announced(request) = controller.call().await else {
        panic!("it announces");
    };
    assert_eq!(request.address, agent.address().to_string());
    assert!(!request.tls);
    assert!(!request.agent.unwrap().machine.is_empty());
    agent.logs("controller knows of this agent").await;

    let other = controller.config("connect = \"announce\"\nadvertise = \"a.example:7\"");
    let _other = Agent::start("", &other).await;
    let Call::Announced(request) = controller.call().await else {
        panic!("it announces");
    };
    assert_eq!(request.address, "a.example:7");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controller_that_gives_no_signs_of_life_is_called_again() {
    let mut controller = Controller::start().await;
    controller.behaves(Manners::FallsSilent);
    let agent = Agent::start("", &controller.config("connect = \"announce\"")).await;
    controller.call().await;
    controller.behaves(Manners::Good);
    controller.call().await;
    assert_eq!(agent.logs("it has said nothing for 3 s").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_agent_waits_as_long_as_it_is_told_and_says_why() {
    let mut controller = Controller::start().await;
    let wait = Duration::from_secs(4);
    let details = ErrorDetails::with_retry_info(Some(wait));
    controller.behaves(Manners::Refuses(Status::with_error_details(
        Code::ResourceExhausted,
        "no more agents are taken",
        details,
    )));
    let agent = Agent::start("", &controller.config("")).await;
    agent
        .logs("no more agents are taken (ResourceExhausted)")
        .await;
    let told = Instant::now();
    controller.behaves(Manners::Good);
    controller.tunnel().await;
    assert!(told.elapsed() > wait / 2, "{:?}", told.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_in_the_address_of_a_payload_is_told_to_nobody() {
    const TOKEN: &str = "c2VjcmV0LXRva2Vu";
    let mut controller = Controller::start().await;
    let directory = TempDir::with_prefix("helix-").unwrap();
    let everything = [("HELIX_LOG", "trace")];
    let agent = Agent::spawn_in(directory, "", &controller.config(""), &everything);
    let (_, channel, _tunnel) = controller.tunnel().await;
    // Nobody is there; and the controller, who is, has no such thing.
    for (id, address) in [
        ("closed", "http://127.0.0.1:9".to_owned()),
        ("wrong", format!("http://{}", controller.address)),
    ] {
        let mut item = shell(id, "true");
        item.payloads = vec![Payload {
            source: Some(payload::Source::Url(format!(
                "{address}/a.zip?se=2026&sig={TOKEN}"
            ))),
            ..Payload::default()
        }];
        item.limits = Some(Limits {
            wall_timeout: Duration::from_secs(5).try_into().ok(),
            ..Limits::default()
        });
        let request = RunRequest {
            work_item: Some(item),
        };
        let mut events = agent_client(&channel)
            .run(request)
            .await
            .unwrap()
            .into_inner();
        let mut told = String::new();
        // To try again and again is right; one try is enough here.
        let mut cancel = Some(CancelRequest {
            attempt_id: format!("attempt-{id}"),
            ..CancelRequest::default()
        });
        while let Some(answer) = events.message().await.unwrap() {
            let kind = answer.event.unwrap().kind.unwrap();
            if let Kind::Console(chunk) = &kind {
                told.push_str(&String::from_utf8_lossy(&chunk.data));
            }
            told.push_str(&format!("{kind:?}"));
            if told.contains("a.zip")
                && let Some(cancel) = cancel.take()
            {
                agent_client(&channel).cancel(cancel).await.unwrap();
            }
        }
        assert!(told.contains("a.zip"), "{told}");
        assert!(!told.contains(TOKEN), "{told}");
    }
    let log = agent.log();
    assert!(log.contains("TRACE"));
    if let Some(line) = log.lines().find(|line| line.contains(TOKEN)) {
        panic!("logged: {line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_controller_of_a_list_is_called() {
    let mut first = Controller::start().await;
    let mut second = Controller::start().await;
    let tables = format!(
        "[controller]\naddresses = [\"http://{}\", \"http://{}\"]\n",
        first.address, second.address
    );
    let _agent = Agent::start("", &tables).await;
    let (one, two) = (first.tunnel().await, second.tunnel().await);
    assert_eq!(one.0, two.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tunnel_ends_with_the_agent_after_what_runs() {
    let mut controller = Controller::start().await;
    let mut agent = Agent::start("", &controller.config("")).await;
    let (_, channel, tunnel) = controller.tunnel().await;
    let request = RunRequest {
        work_item: Some(shell("last", "sleep 1; echo done")),
    };
    let mut events = agent_client(&channel)
        .run(request)
        .await
        .unwrap()
        .into_inner();
    events.message().await.unwrap().unwrap();
    agent.signal("TERM");
    let mut finished = false;
    while let Some(answer) = events.message().await.unwrap() {
        finished |= matches!(answer.event.unwrap().kind, Some(Kind::Finished(_)));
    }
    assert!(finished);
    assert_eq!(agent.ends().await, Some(0));
    eventually("the tunnel ends", async || {
        if tunnel.has_ended() {
            Ok(())
        } else {
            Err("open")
        }
    })
    .await;
}
