//! What operators see of the agent, and how it comes and goes.

use std::path::Path;
use std::process::{Command, Output};

use helix_proto::agent::v1::agent_service_server::SERVICE_NAME;
use helix_proto::agent::v1::{DrainRequest, ResumeRequest};
use helix_tests::agent::{Agent, until};
use helix_tests::item::shell;
use helix_tests::programs::program;
use helix_tests::stream::Seen;
use helix_tests::{eventually, http};
use nix::sys::signal::Signal;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// The value of a metric, labels included in its name; nothing if it is not told.
async fn metric(agent: &Agent, name: &str) -> Option<f64> {
    let (code, head, body) = http::get(agent.monitoring(), "/metrics").await;
    assert_eq!(code, 200);
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    body.lines().find_map(value)
}

async fn health(channel: &Channel, service: &str) -> ServingStatus {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = HealthClient::new(channel.clone())
        .check(request)
        .await
        .expect("it answers");
    answer.into_inner().status()
}

async fn channel(agent: &Agent) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", agent.address())).expect("an address");
    endpoint.connect().await.expect("it answers")
}

/// An item that runs until the file `gate` is there.
async fn waiting(agent: &Agent) -> (tonic::Streaming<helix_proto::agent::v1::RunResponse>, Seen) {
    let gate = agent.directory().join("gate");
    let line = format!(
        "echo ready; until test -e {}; do sleep 0.05; done; echo end",
        gate.display()
    );
    let mut stream = agent.offer(shell(&line)).await.expect("taken");
    let mut seen = Seen::default();
    until(&mut stream, &mut seen, |seen, _| seen.stdout == b"ready\n").await;
    (stream, seen)
}

#[tokio::test]
async fn metrics_count_what_is_taken_refused_and_ended() {
    let agent = Agent::start_with("slots = 3\n", "").await;
    assert_eq!(
        metric(&agent, "helix_agent_slots").await,
        Some(3.0),
        "before anybody asked"
    );
    assert_eq!(metric(&agent, "helix_agent_ready").await, Some(1.0));
    agent.run(shell("true")).await;
    agent.run(shell("exit 3")).await;
    let mut too_large = shell("true");
    too_large.resources = Some(helix_proto::agent::v1::Resources {
        slots: 4,
        ..Default::default()
    });
    agent.refusal(too_large).await;
    let (stream, _) = waiting(&agent).await;
    assert_eq!(
        metric(&agent, "helix_agent_accepted_total").await,
        Some(3.0)
    );
    let refused = "helix_agent_refused_total{reason=\"TOO_LARGE\"}";
    assert_eq!(metric(&agent, refused).await, Some(1.0));
    assert_eq!(metric(&agent, "helix_agent_slots_used").await, Some(1.0));
    assert_eq!(
        metric(&agent, "helix_agent_command_seconds_count").await,
        Some(2.0)
    );
    let (_, _, body) = http::get(agent.monitoring(), "/metrics").await;
    let ended: f64 = body
        .lines()
        .filter(|line| line.starts_with("helix_agent_ended_total{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    assert!((ended - 2.0).abs() < f64::EPSILON, "{body}");
    // Every metric says what it is.
    for line in body
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let name: String = line
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(&name);
        let told =
            body.contains(&format!("# HELP {name} ")) || body.contains(&format!("# HELP {base} "));
        assert!(told, "`{name}` is not described");
    }
    drop(stream);
}

#[tokio::test]
async fn readiness_follows_drain_and_offline_and_says_why() {
    let agent = Agent::start().await;
    let monitoring = agent.monitoring();
    assert_eq!(http::get(monitoring, "/readyz").await.0, 200);
    assert_eq!(http::get(monitoring, "/healthz").await.0, 200);
    let drain = DrainRequest {
        reason: "a test".to_owned(),
    };
    agent.client().await.drain(drain).await.expect("drained");
    let (code, _, body) = http::get(monitoring, "/readyz").await;
    assert_eq!(code, 503);
    assert!(body.contains("drain"), "{body}");
    assert_eq!(
        http::get(monitoring, "/healthz").await.0,
        200,
        "it lives all the same"
    );
    assert_eq!(metric(&agent, "helix_agent_ready").await, Some(0.0));
    agent
        .client()
        .await
        .resume(ResumeRequest {})
        .await
        .expect("resumed");
    assert_eq!(http::get(monitoring, "/readyz").await.0, 200);

    let offline = agent.directory().join("config/offline");
    std::fs::write(&offline, "a new disk comes\n").expect("written");
    let (code, _, body) = http::get(monitoring, "/readyz").await;
    assert_eq!(code, 503);
    assert!(body.contains("a new disk comes"), "{body}");
    // Resume does not bring back what a file has taken out.
    let answer = agent
        .client()
        .await
        .resume(ResumeRequest {})
        .await
        .expect("answered");
    assert!(!answer.into_inner().ready);
    std::fs::remove_file(&offline).expect("removed");
    assert_eq!(http::get(monitoring, "/readyz").await.0, 200);
    assert_eq!(http::get(monitoring, "/nothing-here").await.0, 404);
}

#[tokio::test]
async fn sigterm_turns_health_to_not_serving_and_nobody_can_resume_an_agent_that_ends() {
    let mut agent = Agent::start().await;
    let channel = channel(&agent).await;
    assert_eq!(health(&channel, "").await, ServingStatus::Serving);
    assert_eq!(health(&channel, SERVICE_NAME).await, ServingStatus::Serving);
    let (mut stream, mut seen) = waiting(&agent).await;
    agent.signal(Signal::SIGTERM);
    for service in ["", SERVICE_NAME] {
        eventually("health turns", async || {
            match health(&channel, service).await {
                ServingStatus::NotServing => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }
    let refused = eventually("work is refused", async || {
        match agent.offer(shell("true")).await {
            Err(status) => Ok(status),
            Ok(_) => Err("taken"),
        }
    })
    .await;
    assert_eq!(refused.code(), Code::Unavailable);
    let answer = agent
        .client()
        .await
        .resume(ResumeRequest {})
        .await
        .expect("answered");
    assert!(
        !answer.into_inner().ready,
        "it says that it takes work, and is about to end"
    );
    assert_eq!(agent.refusal(shell("true")).await.code(), Code::Unavailable);
    std::fs::write(agent.directory().join("gate"), b"").expect("written");
    while let Some(response) = stream.message().await.expect("unbroken") {
        seen.take(response.event.expect("an event"));
    }
    assert_eq!(seen.finished().helix_exit_code, 0);
    assert!(agent.ended().await.success());
    // The end of one life is no drain of the next.
    agent.start_again().await;
    assert_eq!(agent.run(shell("true")).await.finished().helix_exit_code, 0);
}

#[tokio::test]
async fn drain_asked_for_while_the_agent_ends_lasts_over_the_restart() {
    let mut agent = Agent::start().await;
    let (mut stream, _) = waiting(&agent).await;
    agent.signal(Signal::SIGTERM);
    eventually("the drain begins", async || {
        match agent.offer(shell("true")).await {
            Err(_) => Ok(()),
            Ok(_) => Err("taken"),
        }
    })
    .await;
    let drain = DrainRequest {
        reason: "it is to stay out".to_owned(),
    };
    agent.client().await.drain(drain).await.expect("drained");
    std::fs::write(agent.directory().join("gate"), b"").expect("written");
    while stream.message().await.expect("unbroken").is_some() {}
    assert!(agent.ended().await.success());
    agent.start_again().await;
    assert_eq!(agent.refusal(shell("true")).await.code(), Code::Unavailable);
}

#[tokio::test]
async fn second_sigterm_ends_the_agent_at_once_and_what_runs_goes_on() {
    let mut agent = Agent::start().await;
    let (_, seen) = waiting(&agent).await;
    let attempt_id = agent.capacity().await.running[0].attempt_id.clone();
    let channel = channel(&agent).await;
    agent.signal(Signal::SIGTERM);
    eventually("the first is noticed", async || {
        match health(&channel, "").await {
            ServingStatus::NotServing => Ok(()),
            other => Err(other),
        }
    })
    .await;
    agent.signal(Signal::SIGTERM);
    assert!(agent.ended().await.success());
    agent.start_again().await;
    assert_eq!(
        agent.capacity().await.running.len(),
        1,
        "it was not adopted"
    );
    std::fs::write(agent.directory().join("gate"), b"").expect("written");
    let last = seen.events.last().map_or(0, |event| event.number);
    let rest = agent.attach(&attempt_id, last, seen.console_end).await;
    assert_eq!(rest.stdout, b"end\n");
    assert_eq!(rest.finished().helix_exit_code, 0);
}

#[tokio::test]
async fn second_agent_on_the_same_state_directory_is_kept_out() {
    let agent = Agent::start().await;
    let output = helix_agent(&["run", "--config"], &agent.directory().join("agent.toml"));
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        error.contains("another agent runs with the state directory"),
        "{error}"
    );
    assert_eq!(agent.run(shell("true")).await.finished().helix_exit_code, 0);
}

fn helix_agent(arguments: &[&str], file: &Path) -> Output {
    let mut command = Command::new(program("helix-agent"));
    command
        .args(arguments)
        .arg(file)
        .output()
        .expect("it starts")
}

fn validate(text: &str) -> (Option<i32>, String, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("agent.toml");
    std::fs::write(&file, text).expect("written");
    let output = helix_agent(&["validate", "--config"], &file);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn good_configuration_is_said_to_be_good() {
    let (code, out, error) = validate("slots = 4\nqueues = [\"a\", \"b\"]\n[payload]\nratio = 9\n");
    assert_eq!(code, Some(0), "{error}");
    assert!(out.contains("ok"), "{out}");
    assert_eq!(validate("").0, Some(0), "an empty one is good");
}

#[test]
fn packaged_configuration_is_good() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/agent.toml");
    let output = helix_agent(&["validate", "--config"], &file);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn every_problem_of_a_configuration_is_told_at_once_with_its_place() {
    let text = "slots = 0\nslotz = 2\n[listen]\naddress = \"nowhere\"\n\
                [payload]\ndeadline = \"soon\"\n\n[[probes]]\ncapability = \"x\"\n";
    let (code, _, error) = validate(text);
    assert_eq!(code, Some(78), "{error}");
    for place in [
        "agent.toml:1:9: ",
        "agent.toml:2:1: ",
        "agent.toml:4:11: ",
        "agent.toml:6:12: ",
    ] {
        assert!(error.contains(place), "no problem at {place}\n{error}");
    }
    assert!(error.contains("unknown key `slotz`"), "{error}");
    assert!(error.contains("did you mean `slots`?"), "{error}");
    assert!(error.contains("`probes.command` is missing"), "{error}");
}

#[test]
fn agent_does_not_start_with_a_bad_configuration() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("agent.toml");
    std::fs::write(&file, "slots = -1\n[no_such_section]\nx = 1\n").expect("written");
    let output = helix_agent(&["run", "--config"], &file);
    assert_eq!(output.status.code(), Some(78));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("agent.toml:1:9"), "{error}");
    assert!(error.contains("unknown key `no_such_section`"), "{error}");
    let output = helix_agent(
        &["run", "--config"],
        &directory.path().join("not-there.toml"),
    );
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn text_that_is_no_configuration_at_all_is_told_with_its_place() {
    for text in [
        "slots = ",
        "[listen\naddress = 1",
        "a = 1\na = 2\n",
        "\u{0}\u{1}",
        "slots = 99999999999999999999",
    ] {
        let (code, _, error) = validate(text);
        assert_eq!(code, Some(78), "{text:?}: {error}");
        assert!(error.contains("agent.toml:"), "{text:?}: {error}");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("agent.toml");
    std::fs::write(&file, b"slots = 1 # \xff\xfe\n").expect("written");
    assert_eq!(
        helix_agent(&["validate", "--config"], &file).status.code(),
        Some(78)
    );
    assert_eq!(
        helix_agent(&["validate", "--config"], directory.path())
            .status
            .code(),
        Some(78)
    );
}

#[test]
fn help_teaches_signals_exit_codes_and_the_environment() {
    let output = helix_agent(&["--help"], Path::new("run"));
    assert!(output.status.success());
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    for word in ["SIGTERM", "78", "HELIX_LOG", "validate", "run"] {
        assert!(help.contains(word), "no word of {word}:\n{help}");
    }
    let output = helix_agent(&["run"], Path::new("--help"));
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    for word in [
        "--config",
        "/etc/helix/agent.toml",
        "--log-format",
        "json",
        "journald",
    ] {
        assert!(help.contains(word), "no word of {word}:\n{help}");
    }
    let output = helix_agent(&["no-such-command"], Path::new("x"));
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test]
async fn log_is_json_on_request_with_the_attempt_in_it() {
    let agent = Agent::start().await;
    // A second agent beside it, with a log of the test's choice.
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().display().to_string();
    let text = std::fs::read_to_string(agent.directory().join("agent.toml")).expect("read");
    let text = text.replace(&agent.directory().display().to_string(), &root);
    let file = directory.path().join("agent.toml");
    std::fs::write(&file, text).expect("written");
    let log = std::fs::File::create(directory.path().join("log")).expect("created");
    let mut process = tokio::process::Command::new(program("helix-agent"))
        .args(["run", "--log-format", "json", "--config"])
        .arg(&file)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let address = eventually("it listens", async || {
        std::fs::read_to_string(directory.path().join("state/listening"))
    })
    .await;
    let mut client = helix_proto::agent::v1::agent_service_client::AgentServiceClient::connect(
        format!("http://{}", address.trim()),
    )
    .await
    .expect("it answers");
    let item = shell("true");
    let attempt_id = item.attempt_id.clone();
    let request = helix_proto::agent::v1::RunRequest {
        work_item: Some(item),
    };
    let mut stream = client.run(request).await.expect("taken").into_inner();
    while stream.message().await.expect("unbroken").is_some() {}
    let pid = process
        .id()
        .and_then(|pid| pid.try_into().ok())
        .expect("it runs");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM).expect("sent");
    assert!(process.wait().await.expect("a child").success());
    let log = std::fs::read_to_string(directory.path().join("log")).expect("read");
    let mut of_the_attempt = 0;
    for line in log.lines() {
        let value: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(
            value["level"].is_string() && value["timestamp"].is_string(),
            "{line}"
        );
        of_the_attempt += usize::from(line.contains(&attempt_id));
    }
    assert!(of_the_attempt >= 2, "{log}");
}
