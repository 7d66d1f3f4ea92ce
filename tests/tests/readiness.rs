//! Checks of the agent's own that fail: as long as work would break, none is taken, everybody who asks
//! is told why, and what runs goes on.

use std::path::Path;

use helix_proto::agent::v1::AgentState;
use helix_proto::agent::v1::agent_service_server::SERVICE_NAME;
use helix_tests::agent::{Agent, until};
use helix_tests::item::shell;
use helix_tests::machine::Machine;
use helix_tests::stream::Seen;
use helix_tests::{eventually, http};
use nix::sys::signal::Signal;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// What the agent keeps free of its disk, in its configuration.
const RESERVE: &str = "disk_reserve = \"1 B\"";
/// More than there is anywhere.
const TOO_MUCH: &str = "disk_reserve = \"1000 TiB\"";

fn reload(agent: &Agent, from: &str, to: &str) {
    let file = agent.directory().join("agent.toml");
    let text = std::fs::read_to_string(&file).expect("readable");
    assert!(text.contains(from), "{text}");
    std::fs::write(&file, text.replace(from, to)).expect("written");
    agent.signal(Signal::SIGHUP);
}

/// What the health service answers for the agent, and for all of it.
async fn health(agent: &Agent) -> [ServingStatus; 2] {
    let endpoint = Channel::from_shared(format!("http://{}", agent.address())).expect("an address");
    let mut client = HealthClient::new(endpoint.connect().await.expect("it answers"));
    let mut statuses = [ServingStatus::Unknown; 2];
    for (service, status) in [SERVICE_NAME, ""].into_iter().zip(&mut statuses) {
        let service = service.to_owned();
        let answer = client.check(HealthCheckRequest { service }).await;
        *status = answer.expect("it answers").into_inner().status();
    }
    statuses
}

async fn await_health(agent: &Agent, expected: ServingStatus) {
    eventually("health turns", async || {
        let statuses = health(agent).await;
        (statuses == [expected; 2]).then_some(()).ok_or(statuses)
    })
    .await;
}

fn release(path: &Path) {
    std::fs::write(path, b"").expect("written");
}

#[tokio::test]
async fn check_that_fails_keeps_work_away_until_it_is_well_and_leaves_an_item_alone() {
    let agent = Agent::start_with("slots = 2\n", &format!("[resources]\n{RESERVE}\n")).await;
    let monitoring = agent.monitoring();
    assert_eq!(health(&agent).await, [ServingStatus::Serving; 2]);
    let gate = agent.directory().join("gate");
    let line = format!(
        "echo ready; until test -e {}; do sleep 0.05; done; echo end",
        gate.display()
    );
    let mut stream = agent.offer(shell(&line)).await.expect("taken");
    let mut seen = Seen::default();
    until(&mut stream, &mut seen, |seen, _| seen.stdout == b"ready\n").await;

    reload(&agent, RESERVE, TOO_MUCH);
    await_health(&agent, ServingStatus::NotServing).await;
    let (code, _, body) = http::get(monitoring, "/readyz").await;
    assert_eq!(code, 503);
    assert!(body.contains("the check `work_disk`"), "{body}");
    assert_eq!(http::get(monitoring, "/checks").await.0, 503);
    let (_, _, metrics) = http::get(monitoring, "/metrics").await;
    for line in [
        "helix_agent_ready 0",
        "helix_agent_check{name=\"work_disk\"} 2",
    ] {
        assert!(metrics.lines().any(|told| told == line), "{line}");
    }
    // It lives all the same.
    assert_eq!(http::get(monitoring, "/healthz").await.0, 200);
    let capacity = agent.capacity().await;
    assert_eq!(capacity.state(), AgentState::Offline);
    let reasons = capacity.reasons.join("\n");
    assert!(reasons.contains("work_disk"), "{reasons}");
    assert_eq!(capacity.running.len(), 1);
    let refusal = agent.refusal(shell("true")).await;
    assert_eq!(refusal.code(), Code::Unavailable);
    assert!(refusal.message().contains("work_disk"), "{refusal:?}");

    reload(&agent, TOO_MUCH, RESERVE);
    await_health(&agent, ServingStatus::Serving).await;
    assert_eq!(http::get(monitoring, "/readyz").await.0, 200);
    assert_eq!(agent.capacity().await.state(), AgentState::Ready);
    assert_eq!(agent.run(shell("true")).await.finished().helix_exit_code, 0);
    release(&gate);
    until(&mut stream, &mut seen, |seen, _| {
        seen.stdout.ends_with(b"end\n")
    })
    .await;
}

#[tokio::test]
async fn check_that_warns_keeps_no_work_away() {
    // Less than twice of what is to stay free.
    let space = nix::sys::statvfs::statvfs(&std::env::temp_dir()).expect("a disk");
    #[allow(clippy::useless_conversion, reason = "fewer bits on macOS")]
    let free = u64::from(space.blocks_available()) * u64::from(space.fragment_size());
    let reserve = format!("[resources]\ndisk_reserve = \"{} B\"\n", free / 4 * 3);
    let agent = Agent::start_with("slots = 1\n", &reserve).await;
    eventually("it warns", async || {
        let (code, _, body) = http::get(agent.monitoring(), "/checks").await;
        let checks: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let rows = checks["checks"].as_array().expect("a list");
        let disk = rows.iter().find(|row| row["name"] == "work_disk");
        let warns = disk.is_some_and(|disk| disk["outcome"] == "warning");
        (code == 200 && warns).then_some(()).ok_or(body)
    })
    .await;
    assert_eq!(agent.run(shell("true")).await.finished().helix_exit_code, 0);
    assert_eq!(health(&agent).await, [ServingStatus::Serving; 2]);
}

#[tokio::test]
async fn launcher_that_stays_away_keeps_work_away_and_restarts_nothing() {
    let Some(machine) = Machine::install("").await else {
        return;
    };
    let unit = "helix-agent.service";
    let drop_in = "/etc/systemd/system/helix-agent.service.d/test.conf";
    machine
        .container
        .write(drop_in, "[Service]\nWatchdogSec=2s\n")
        .await;
    machine.systemctl(&["daemon-reload"]).await;
    machine.enable().await;
    let pid = machine.property(unit, "MainPID").await;
    let item = machine.begin_counting().await;
    let launcher = ["helix-launcher.socket", "helix-launcher.service"];
    machine
        .systemctl(&[&["stop"], &launcher[..]].concat())
        .await;
    let status = async |words: &str| {
        eventually("the status tells", async || {
            let status = machine.property(unit, "StatusText").await;
            status.contains(words).then_some(()).ok_or(status)
        })
        .await;
    };
    status("takes no work: the check `launcher`").await;
    let capacity = machine.container.run(&["helix", "capacity"]).await.good();
    assert!(capacity.to_lowercase().contains("offline"), "{capacity}");
    assert!(capacity.contains("launcher"), "{capacity}");
    let refused = machine.run_item("true").await;
    assert!(!refused.status.success(), "{refused:?}");
    machine.systemctl(&["start", launcher[0]]).await;
    status("takes work; 1 running").await;
    let second = machine.run_item("id -un").await;
    assert_eq!(String::from_utf8_lossy(&second.stdout), "helix-1\n");
    machine.end_counting(item).await;
    assert_eq!(machine.property(unit, "MainPID").await, pid);
    assert_eq!(machine.property(unit, "NRestarts").await, "0");
}
