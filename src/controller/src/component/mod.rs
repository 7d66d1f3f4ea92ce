//! A whole controller in memory against a scripted agent over real gRPC: found by its address, by
//! its announcement and through a tunnel.

mod agent;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use helix_model::ids::{JobId, QueueName, WorkItemId};
use helix_model::liveness::Liveness;
use helix_proto::agent::v1;
use helix_proto::controller::v1 as controller_v1;
use helix_proto::controller::v1::controller_service_client::ControllerServiceClient;
use helix_store::{
    AgentName, AgentOrigin, Item, ItemEndKind, ItemState, MemoryStore, Queue, RetryPlace, Store,
    Submitted, Visibility,
};
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt;

use self::agent::{Script, ScriptedAgent};
use crate::config::{AgentAddress, Config};
use crate::controller::{Running, start_on};
use crate::core::{Prospect, Submission, SubmittedItem};
use crate::ground::Ground;

/// Far above what anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

struct Scene {
    store: MemoryStore,
    directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        Self {
            store: MemoryStore::new(),
            directory: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    async fn start(&self, agents: Vec<AgentAddress>) -> Running {
        let mut config = Config::for_loopback(self.directory.path());
        config.name = Some("controller".to_owned());
        config.agents.configured = agents;
        config.queues.push(Queue {
            name: queue(),
            description: String::new(),
            operating_system_group: String::new(),
            architecture: String::new(),
            max_delivery_count: NonZeroU32::new(3).expect("not 0"),
            visibility: Visibility::Open,
            estimated_removal: None,
            priority: 0,
        });
        let store: Arc<dyn Store> = Arc::new(self.store.clone());
        let ground = Ground::take(self.directory.path()).expect("nobody else is there");
        start_on(config, ground, store).await.expect("it starts")
    }

    async fn item(&self, name: &str) -> Item {
        let item = self.store.item(&job(), name).await.expect("it answers");
        item.expect("it is there")
    }

    /// Waits until an item has ended, and says how.
    async fn end(&self, name: &str) -> ItemEndKind {
        let ended = async {
            loop {
                if let ItemState::Ended(end) = self.item(name).await.state {
                    return end.kind;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LIMIT, ended).await.expect("it ends")
    }
}

fn queue() -> QueueName {
    QueueName::new("queue").expect("a good name")
}

fn job() -> JobId {
    JobId::new("job").expect("a good id")
}

async fn submit(running: &Running, items: &[&str], retries: u32, tool: Option<&str>) {
    let items = items
        .iter()
        .map(|name| SubmittedItem {
            id: WorkItemId::new(*name).expect("a good id"),
            name: name.parse().expect("a good name"),
            template: v1::WorkItem {
                command: Some(v1::Command {
                    kind: Some(v1::command::Kind::Shell("true".to_owned())),
                    ..v1::Command::default()
                }),
                requirements: tool
                    .map(|name| v1::Requirement {
                        name: name.to_owned(),
                        range: String::new(),
                    })
                    .into_iter()
                    .collect(),
                ..v1::WorkItem::default()
            },
            retries,
            retry_place: RetryPlace::Anywhere,
        })
        .collect();
    let submission = Submission {
        id: job(),
        queue: queue(),
        name: "job".to_owned(),
        creator: String::new(),
        source: String::new(),
        priority: 0,
        properties: BTreeMap::new(),
        retry_of: None,
        items,
    };
    let submitted = running.core.submit(submission).await.expect("it is stored");
    assert_eq!(submitted, Submitted::Now);
}

/// The log of an item's attempt, read to its end while it runs.
async fn read_log(running: &Running, scene: &Scene, item: &str, number: usize) -> String {
    let id = scene.item(item).await.id;
    let attempts = scene.store.attempts(&id).await.expect("it answers");
    let log = running.core.live_log(&attempts[number].id, 0).await;
    let mut log = log.expect("it answers").expect("it is there");
    let mut bytes = Vec::new();
    while let Some(more) = log.reader.next().await.expect("it can be read") {
        bytes.extend_from_slice(&more);
    }
    String::from_utf8(bytes).expect("text")
}

#[tokio::test]
async fn item_runs_on_an_agent_at_an_address_and_its_log_is_kept() {
    let scene = Scene::new();
    let agent = ScriptedAgent::new("one");
    let address = agent.listen().await;
    let running = scene
        .start(vec![AgentAddress(format!("http://{address}"))])
        .await;
    submit(&running, &["passes", "fails-first", "prints-much"], 1, None).await;
    assert_eq!(scene.end("passes").await, ItemEndKind::Passed);
    assert_eq!(scene.end("fails-first").await, ItemEndKind::PassedOnRetry);
    assert_eq!(scene.end("prints-much").await, ItemEndKind::Passed);
    assert_eq!(
        read_log(&running, &scene, "passes", 0).await,
        "hello from passes\n"
    );
    assert_eq!(
        read_log(&running, &scene, "fails-first", 1).await,
        "hello from fails-first\n"
    );
    // Long logs go to the object store, and are no different to read.
    let much = read_log(&running, &scene, "prints-much", 0).await;
    assert_eq!(much, agent::MUCH.repeat(agent::TIMES));
    let standing = running
        .core
        .agent(&AgentName("one".to_owned()))
        .expect("known");
    assert_eq!(standing.liveness, Liveness::Alive);
    assert_eq!(standing.origin, AgentOrigin::Configured);
    agent.wait_for_acknowledged(4).await;
    running.shutdown().await;
}

#[tokio::test]
async fn running_item_is_cancelled_and_its_log_followed() {
    let scene = Scene::new();
    let agent = ScriptedAgent::new("one");
    let address = agent.listen().await;
    let running = scene
        .start(vec![AgentAddress(format!("http://{address}"))])
        .await;
    submit(&running, &["hangs"], 3, None).await;
    let started = async {
        while !matches!(scene.item("hangs").await.state, ItemState::Running { .. }) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, started).await.expect("it runs");
    let reads = read_log(&running, &scene, "hangs", 0);
    let cancels = async {
        let cancelled = running.core.cancel(&job(), None, "enough").await;
        assert_eq!(cancelled.expect("it answers").running.len(), 1);
    };
    let (log, ()) = tokio::join!(reads, cancels);
    assert_eq!(log, "hello from hangs\n");
    assert_eq!(scene.end("hangs").await, ItemEndKind::Cancelled);
    running.shutdown().await;
}

#[tokio::test]
async fn next_controller_attaches_to_what_runs() {
    let scene = Scene::new();
    let agent = ScriptedAgent::new("one");
    let address = agent.listen().await;
    let addresses = vec![AgentAddress(format!("http://{address}"))];
    let running = scene.start(addresses.clone()).await;
    submit(&running, &["hangs"], 0, None).await;
    agent.wait_for_runs(1).await;
    running.shutdown().await;
    agent.release();
    let running = scene.start(addresses).await;
    assert_eq!(scene.end("hangs").await, ItemEndKind::Passed);
    assert_eq!(agent.runs(), 1, "it is not run again");
    assert_eq!(
        read_log(&running, &scene, "hangs", 0).await,
        "hello from hangs\n"
    );
    running.shutdown().await;
}

#[tokio::test]
async fn agent_that_announces_itself_is_called_back() {
    let scene = Scene::new();
    let agent = ScriptedAgent::new("one");
    let address = agent.listen().await;
    let running = scene.start(Vec::new()).await;
    let mut client = client(&running).await;
    let request = controller_v1::AnnounceRequest {
        agent: Some(agent.info()),
        address: address.to_string(),
        tls: false,
    };
    let mut responses = client
        .announce(request)
        .await
        .expect("admitted")
        .into_inner();
    let first = responses
        .message()
        .await
        .expect("it answers")
        .expect("the first");
    let Some(controller_v1::announce_response::Kind::Controller(info)) = first.kind else {
        panic!("the first says who answers");
    };
    assert_eq!(info.name, "controller");
    submit(&running, &["passes"], 0, None).await;
    assert_eq!(scene.end("passes").await, ItemEndKind::Passed);
    running.shutdown().await;
}

#[tokio::test]
async fn agent_behind_a_tunnel_runs_items() {
    let scene = Scene::new();
    let agent = ScriptedAgent::new("one");
    let running = scene.start(Vec::new()).await;
    let mut client = client(&running).await;
    let (outbound, outgoing) = helix_tunnel::outgoing();
    let hello = controller_v1::TunnelRequest {
        kind: Some(controller_v1::tunnel_request::Kind::Hello(
            controller_v1::TunnelHello {
                agent: Some(agent.info()),
            },
        )),
    };
    let data = outgoing.map(|data| controller_v1::TunnelRequest {
        kind: Some(controller_v1::tunnel_request::Kind::Data(data)),
    });
    let requests = futures::stream::iter([hello]).chain(data);
    let mut responses = client
        .tunnel(requests)
        .await
        .expect("admitted")
        .into_inner();
    let first = responses
        .message()
        .await
        .expect("it answers")
        .expect("the first");
    assert!(matches!(
        first.kind,
        Some(controller_v1::tunnel_response::Kind::Controller(_))
    ));
    let chunks = responses.map(|response| match response?.kind {
        Some(controller_v1::tunnel_response::Kind::Data(data)) => Ok(data),
        _ => Err(tonic::Status::internal("no data")),
    });
    let tunnel = helix_tunnel::Tunnel::new(chunks, outbound);
    let router = agent.router();
    let serving = tokio::spawn(helix_tunnel::serve(tunnel, router));
    submit(&running, &["passes", "prints-much"], 0, None).await;
    assert_eq!(scene.end("passes").await, ItemEndKind::Passed);
    assert_eq!(scene.end("prints-much").await, ItemEndKind::Passed);
    let standing = running
        .core
        .agent(&AgentName("one".to_owned()))
        .expect("known");
    assert_eq!(standing.origin, AgentOrigin::Tunnelled);
    running.shutdown().await;
    serving.abort();
}

#[tokio::test]
async fn item_that_nobody_can_run_says_so_and_who_comes_nearest() {
    let scene = Scene::new();
    let agent = ScriptedAgent::new("one");
    let address = agent.listen().await;
    let running = scene
        .start(vec![AgentAddress(format!("http://{address}"))])
        .await;
    submit(&running, &["passes"], 0, Some("gpu")).await;
    let explained = async {
        loop {
            let explanation = running.core.explain(&job(), "passes").await;
            let explanation = explanation.expect("it answers").expect("it is there");
            if explanation
                .agents
                .iter()
                .any(|agent| agent.reason != "SILENT")
            {
                return explanation;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let explanation = tokio::time::timeout(LIMIT, explained)
        .await
        .expect("in time");
    assert_eq!(explanation.prospect, Prospect::Never);
    assert_eq!(explanation.nearest, ["no agent has `gpu` in any version"]);
    assert_eq!(explanation.agents[0].reason, "MISSING_CAPABILITY");
    running.shutdown().await;
}

#[tokio::test]
async fn refusal_costs_nothing_and_is_kept() {
    let scene = Scene::new();
    let agent = ScriptedAgent::new("one").with(Script::RefuseFirst);
    let address = agent.listen().await;
    let running = scene
        .start(vec![AgentAddress(format!("http://{address}"))])
        .await;
    submit(&running, &["passes"], 0, None).await;
    assert_eq!(scene.end("passes").await, ItemEndKind::Passed);
    let item = scene.item("passes").await;
    assert_eq!(item.delivery.number(), 1);
    let refusals = scene.store.refusals(&item.id).await.expect("it answers");
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].reason, "PROVISIONING");
    running.shutdown().await;
}

#[tokio::test]
async fn hello_that_makes_no_sense_is_refused_by_its_field() {
    let scene = Scene::new();
    let running = scene.start(Vec::new()).await;
    let mut client = client(&running).await;
    let good = ScriptedAgent::new("one").info();
    for (machine, address, tls, field, code) in [
        (
            "",
            "127.0.0.1:1",
            false,
            "agent.machine",
            Code::InvalidArgument,
        ),
        ("one", "127.0.0.1", false, "address", Code::InvalidArgument),
        (
            "one",
            "127.0.0.1:0",
            false,
            "address",
            Code::InvalidArgument,
        ),
        ("one", "::1:80", false, "address", Code::InvalidArgument),
        (
            "one",
            "user@host:80",
            false,
            "address",
            Code::InvalidArgument,
        ),
        ("one", "agent.example:80", false, "", Code::PermissionDenied),
        ("one", "127.0.0.1:1", true, "", Code::PermissionDenied),
    ] {
        let request = controller_v1::AnnounceRequest {
            agent: Some(v1::AgentInfo {
                machine: machine.to_owned(),
                ..good.clone()
            }),
            address: address.to_owned(),
            tls,
        };
        let status = client.announce(request).await.expect_err("refused");
        assert_eq!(status.code(), code, "{address}");
        let details = status.get_details_bad_request();
        let fields = details.map(|details| details.field_violations);
        let fields = fields.unwrap_or_default().into_iter().map(|it| it.field);
        let fields: Vec<String> = fields.collect();
        assert_eq!(fields.join(","), field, "{address}");
    }
    running.shutdown().await;
}

async fn client(running: &Running) -> ControllerServiceClient<Channel> {
    let address = format!("http://{}", running.agents_address());
    ControllerServiceClient::connect(address)
        .await
        .expect("it listens")
}
