//! SIGHUP: another configuration for a running agent.

use std::os::unix::net::UnixDatagram;

use helix_proto::agent::v1::agent_service_client::AgentServiceClient;
use helix_proto::agent::v1::attempt_event::Kind;
use helix_proto::agent::v1::{Capacity, GetCapacityRequest, RunRequest, RunResponse};
use tempfile::TempDir;
use tonic::Streaming;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::agent::{Agent, LONG, eventually, shell, write_config};
use crate::certificates::Authority;
use crate::controller::Controller;

const IN_FORCE: &str = "configuration is in force";
const REFUSED: &str = "configuration stays as it was, whole";

/// Writes another configuration and has it read; waits for `text` in the log for the nth time.
async fn reload(agent: &Agent, top: &str, tables: &str, text: &str, times: usize) {
    write_config(agent.directory.path(), top, tables);
    agent.signal("HUP");
    eventually(
        &format!("{text} for the {times}. time"),
        async || match agent.log().matches(text).count() {
            count if count == times => Ok(()),
            _ => Err(agent.log()),
        },
    )
    .await;
}

async fn capacity(client: &mut AgentServiceClient<Channel>) -> Capacity {
    let answer = client.get_capacity(GetCapacityRequest {}).await.unwrap();
    answer.into_inner().capacity.unwrap()
}

fn has_label(capacity: &Capacity, name: &str) -> bool {
    capacity
        .capabilities
        .iter()
        .any(|capability| capability.name == name)
}

/// Starts an item that ends when the file `go-on` is there, and waits for its start.
async fn start(
    agent: &Agent,
    client: &mut AgentServiceClient<Channel>,
    id: &str,
) -> Streaming<RunResponse> {
    let line = format!(
        "while ! [ -e {} ]; do sleep 0.02; done",
        agent.path("go-on").display()
    );
    let request = RunRequest {
        work_item: Some(shell(id, &line)),
    };
    let mut events = client.run(request).await.unwrap().into_inner();
    loop {
        let event = events.message().await.unwrap().unwrap().event.unwrap();
        if matches!(event.kind, Some(Kind::Started(_))) {
            return events;
        }
    }
}

/// Follows an item to its end, and says whether it finished.
async fn finishes(mut events: Streaming<RunResponse>) -> bool {
    let mut finished = false;
    while let Some(answer) = events.message().await.unwrap() {
        finished |= matches!(answer.event.unwrap().kind, Some(Kind::Finished(_)));
    }
    finished
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_count_at_once_and_what_runs_keeps_what_it_began_with() {
    let place = |agent: &Agent, name: &str| {
        format!(
            "[artifacts]\nurl = \"file://{}\"\n",
            agent.path(name).display()
        )
    };
    let agent = Agent::start("slots = 1\nqueues = [\"a\"]\n", "").await;
    let mut client = agent.client().await;
    let first = place(&agent, "first");
    reload(&agent, "slots = 1\n", &first, IN_FORCE, 1).await;
    let running = start(&agent, &mut client, "old").await;

    let probe = "[[probes]]\ncapability = \"shell\"\ncommand = [\"/bin/sh\", \"-c\", \"true\"]\n";
    let tables = format!(
        "{}[labels]\nfast = true\n[retention]\nage = \"2h\"\n{probe}",
        place(&agent, "second")
    );
    let top = "slots = 2\nqueues = [\"b\", \"c\"]\nmachine_name = \"renamed\"\n";
    reload(&agent, top, &tables, IN_FORCE, 2).await;
    let now = capacity(&mut client).await;
    assert_eq!(now.total.as_ref().unwrap().slots, 2);
    let info = now.agent.as_ref().unwrap();
    assert_eq!(
        (info.machine.as_str(), &info.queues[..]),
        ("renamed", &["b".to_owned(), "c".to_owned()][..])
    );
    assert!(
        has_label(&now, "fast") && has_label(&now, "shell"),
        "{now:?}"
    );
    assert_eq!(now.running.len(), 1);
    let log = agent.log();
    for key in [
        "slots",
        "queues",
        "machine_name",
        "labels",
        "probes",
        "retention.age",
        "artifacts.url",
    ] {
        assert!(log.contains(&format!("\"key\":\"{key}\"")), "{key}");
    }
    assert!(log.contains(r#""key":"slots","before":"1","after":"2""#));

    // The new slot is one at once, and goes by the new settings.
    let mut item = shell("new", "true");
    item.queue = "c".to_owned();
    let request = RunRequest {
        work_item: Some(item),
    };
    let events = client.run(request).await.unwrap().into_inner();
    assert!(finishes(events).await);
    assert!(agent.path("second/job-new").exists());
    std::fs::write(agent.path("go-on"), "").unwrap();
    assert!(finishes(running).await);
    assert!(agent.path("first/job-old").exists());
    assert!(!agent.path("second/job-old").exists());

    // What is taken back is gone.
    reload(&agent, "slots = 2\n", "", IN_FORCE, 3).await;
    let now = capacity(&mut client).await;
    assert!(
        !has_label(&now, "fast") && !has_label(&now, "shell"),
        "{now:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configuration_that_cannot_be_put_in_force_changes_nothing() {
    let agent = Agent::start("slots = 1\n", "").await;
    let mut client = agent.client().await;
    let check = async |top: &str, tables: &str, times: usize, words: &str| {
        reload(&agent, top, tables, REFUSED, times).await;
        assert!(agent.log().contains(words), "{words}: {}", agent.log());
        let now = capacity(&mut agent.client().await).await;
        assert_eq!(now.total.unwrap().slots, 1);
    };
    check(
        "slots = 2\nslot = 3\n",
        "",
        1,
        "agent.toml:2:1: unknown key `slot`",
    )
    .await;
    check(
        "slots = 2\n",
        "[artifacts]\nurl = \"file://relative\"\n",
        2,
        "`artifacts.url` has no absolute path",
    )
    .await;
    let other = "[payload]\ncache_size = \"1 GiB\"\n[launcher]\nsocket = \"/run/x\"\n";
    check(
        "slots = 2\n",
        other,
        3,
        "`launcher.socket`, `payload.cache_size` change only with a restart",
    )
    .await;
    assert!(
        agent
            .log()
            .contains(r#""key":"launcher.socket","before":"none","after":"/run/x""#)
    );
    let moved = "[listen]\naddress = \"127.0.0.1:1\"\n";
    check(
        "slots = 2\n",
        moved,
        4,
        "`listen.address` changes only with a restart",
    )
    .await;
    std::fs::remove_file(agent.path("agent.toml")).unwrap();
    agent.signal("HUP");
    agent.logs("the configuration cannot be read").await;

    let events = start(&agent, &mut client, "still").await;
    reload(&agent, "slots = 2\n", "", IN_FORCE, 1).await;
    assert_eq!(capacity(&mut client).await.total.unwrap().slots, 2);
    std::fs::write(agent.path("go-on"), "").unwrap();
    assert!(finishes(events).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_do_not_change_under_an_installation() {
    let tool = |extra: &str| {
        format!(
            "[[probes]]\ncapability = \"tool\"\ncommand = [\"/bin/sh\", \"-c\", \"false\"]\n\
             [[provisioners]]\nname = \"installer\"\ncapability = \"tool\"\n\
             command = [\"/bin/sleep\", \"600\"]\n{extra}"
        )
    };
    let agent = Agent::start("", &tool("")).await;
    let mut client = agent.client().await;
    let mut item = shell("wants", "true");
    item.requirements = vec![helix_proto::agent::v1::Requirement {
        name: "tool".to_owned(),
        ..Default::default()
    }];
    let request = RunRequest {
        work_item: Some(item),
    };
    client.run(request).await.unwrap_err();
    reload(&agent, "", &tool("[labels]\nx = true\n"), REFUSED, 1).await;
    assert!(
        agent
            .log()
            .contains("installations of `tool` are under way")
    );
    // What has nothing to do with tools may change meanwhile.
    reload(&agent, "slots = 3\n", &tool(""), IN_FORCE, 1).await;
    assert_eq!(capacity(&mut client).await.total.unwrap().slots, 3);
}

/// Connects with a certificate of `own`, and trusts `trusted`.
async fn connect(agent: &Agent, trusted: &Authority, own: &Authority) -> Option<Channel> {
    let (certificate, key) = own.issue(&["client.test"]);
    let tls = ClientTlsConfig::new()
        .domain_name("agent.test")
        .ca_certificate(Certificate::from_pem(trusted.pem()))
        .identity(Identity::from_pem(certificate, key));
    let endpoint = Endpoint::from_shared(format!("https://{}", agent.address())).unwrap();
    let channel = endpoint.tls_config(tls).unwrap().connect().await.ok()?;
    let mut client = AgentServiceClient::new(channel.clone());
    let answered = client.get_capacity(GetCapacityRequest {}).await;
    answered.ok().map(|_| channel)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_exchanged_under_a_running_stream() {
    let (old, new, clients, other_clients) = (
        Authority::new(),
        Authority::new(),
        Authority::new(),
        Authority::new(),
    );
    let directory = TempDir::with_prefix("helix-").unwrap();
    let path = directory.path().to_owned();
    old.write(&path, "agent", &["agent.test"]);
    clients.write(&path, "clients", &["unused"]);
    let at = |name: &str| path.join(name).display().to_string();
    let tables = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n[listen.tls]\ncertificate = {:?}\nkey = {:?}\nclient_ca = {:?}\n",
        at("agent.crt"),
        at("agent.key"),
        at("clients.ca"),
    );
    let agent = Agent::start_in(directory, "", &tables).await;
    let before = connect(&agent, &old, &clients).await.expect("let in");
    assert!(connect(&agent, &old, &other_clients).await.is_none());
    let mut client = AgentServiceClient::new(before);
    let events = start(&agent, &mut client, "long").await;

    // A key that is another certificate's is refused, and the old ones stay.
    let (stranger, _) = new.issue(&["agent.test"]);
    let present = std::fs::read(at("agent.crt")).unwrap();
    std::fs::write(at("agent.crt"), stranger).unwrap();
    reload(&agent, "slots = 2\n", &tables, REFUSED, 1).await;
    assert!(
        agent.log().contains("does not belong to the certificate"),
        "{}",
        agent.log()
    );
    std::fs::write(at("agent.crt"), present).unwrap();
    assert!(connect(&agent, &old, &clients).await.is_some());

    new.write(&path, "agent", &["agent.test"]);
    other_clients.write(&path, "clients", &["unused"]);
    reload(&agent, "", &tables, IN_FORCE, 1).await;
    assert!(connect(&agent, &new, &other_clients).await.is_some());
    assert!(connect(&agent, &old, &other_clients).await.is_none());
    assert!(connect(&agent, &new, &clients).await.is_none());
    std::fs::write(agent.path("go-on"), "").unwrap();
    assert!(finishes(events).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controller_can_come_and_go() {
    let mut controller = Controller::start().await;
    let agent = Agent::start("", "").await;
    reload(&agent, "", &controller.config(""), IN_FORCE, 1).await;
    let (_, _channel, tunnel) = controller.tunnel().await;
    // Nothing has changed for it, so that it is left alone.
    reload(&agent, "slots = 2\n", &controller.config(""), IN_FORCE, 2).await;
    assert!(!tunnel.has_ended());
    reload(&agent, "", "", IN_FORCE, 3).await;
    let ended = tokio::time::timeout(LONG, tunnel.ended()).await;
    ended.expect("what is called no longer hears of it");
    let mut other = Controller::start().await;
    reload(&agent, "", &other.config(""), IN_FORCE, 4).await;
    other.tunnel().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_manager_hears_of_a_reload_and_of_its_end() {
    let directory = TempDir::with_prefix("helix-").unwrap();
    let socket = directory.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_nonblocking(true).unwrap();
    let environment = [("NOTIFY_SOCKET", socket.to_str().unwrap())];
    let agent = Agent::spawn_in(directory, "", "", &environment);
    let next = async || {
        eventually("a message", async || {
            let mut buffer = [0; 4096];
            let length = manager.recv(&mut buffer).map_err(|_| agent.log())?;
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.starts_with("STATUS=") {
                Err(text)
            } else {
                Ok(text)
            }
        })
        .await
    };
    assert_eq!(next().await.trim(), "READY=1");
    for (top, outcome) in [("slots = 2\n", IN_FORCE), ("slots = 0\n", REFUSED)] {
        reload(&agent, top, "", outcome, 1).await;
        let message = next().await;
        let lines: Vec<&str> = message.lines().collect();
        assert_eq!(lines[0], "RELOADING=1");
        let time = lines[1].strip_prefix("MONOTONIC_USEC=").expect("the time");
        assert!(time.parse::<u64>().unwrap() > 0);
        assert_eq!(next().await.trim(), "READY=1");
    }
}
