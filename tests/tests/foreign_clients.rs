//! Clients that know nothing of this project: they ask the agent what it can do
//! by server reflection, and then do it.

use std::process::{Output, Stdio};

use helix_tests::agent::Agent;
use helix_tests::tools::tool;
use tokio::process::Command;

const SERVICE: &str = "helix.agent.v1.AgentService";

async fn run(mut command: Command) -> Output {
    command
        .stdin(Stdio::null())
        .output()
        .await
        .expect("it starts")
}

#[track_caller]
fn success(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).expect("text")
}

#[tokio::test]
async fn python_client_runs_an_item_through_reflection_alone() {
    let Some(python) = tool("HELIX_TEST_PYTHON") else {
        return;
    };
    let agent = Agent::start().await;
    let mut command = Command::new(python);
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/foreign/client.py"))
        .arg(agent.address().to_string());
    let text = success(&run(command).await);
    let seen: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(
        seen["services"]
            .as_array()
            .expect("a list")
            .contains(&SERVICE.into()),
        "{seen}"
    );
    assert!(
        seen["services"]
            .as_array()
            .expect("a list")
            .contains(&"grpc.health.v1.Health".into())
    );
    assert_eq!(seen["slots"], 2);
    assert_eq!(seen["output"], "hello from python\n");
    assert_eq!(seen["errors"], "\u{ff}bytes");
    assert_eq!(seen["kinds"][0], "accepted");
    assert_eq!(seen["verdict"], "EXIT_CODE");
    assert_eq!(seen["exit_code"], 3);
    assert_eq!(seen["again"][0], 3, "attached behind the second event");
    assert_eq!(seen["refusal"]["code"], "FAILED_PRECONDITION");
    assert_eq!(seen["refusal"]["reason"], "MISSING_CAPABILITY");
    assert_eq!(seen["refusal"]["metadata"]["name"], "no-such-tool");
}

#[tokio::test]
async fn buf_curl_lists_the_service_reads_capacity_and_runs_an_item() {
    let Some(buf) = tool("HELIX_TEST_BUF") else {
        return;
    };
    let agent = Agent::start().await;
    let curl = |arguments: &[&str], path: &str| {
        let mut command = Command::new(&buf);
        command
            .args(["curl", "--protocol", "grpc", "--http2-prior-knowledge"])
            .args(arguments)
            .arg(format!("http://{}{path}", agent.address()));
        run(command)
    };
    let methods = success(&curl(&["--list-methods"], "").await);
    for method in [
        "Run",
        "Attach",
        "Acknowledge",
        "Cancel",
        "GetCapacity",
        "WatchCapacity",
    ] {
        assert!(
            methods.contains(&format!("{SERVICE}/{method}")),
            "{methods}"
        );
    }
    let capacity = success(&curl(&["-d", "{}"], &format!("/{SERVICE}/GetCapacity")).await);
    let capacity: serde_json::Value = serde_json::from_str(&capacity).expect("JSON");
    assert_eq!(capacity["capacity"]["state"], "AGENT_STATE_READY");
    let item = serde_json::json!({"work_item": {
        "work_item_id": "i", "job_id": "j", "attempt_id": "from-buf",
        "command": {"shell": "echo hello from buf"},
    }});
    let events = success(&curl(&["-d", &item.to_string()], &format!("/{SERVICE}/Run")).await);
    // "hello from buf\n" in base64, as JSON carries bytes.
    assert!(events.contains("aGVsbG8gZnJvbSBidWYK"), "{events}");
    assert!(events.contains("VERDICT_KIND_PASSED"), "{events}");
    let again = curl(&["-d", &item.to_string()], &format!("/{SERVICE}/Run")).await;
    assert!(!again.status.success());
    assert!(
        String::from_utf8_lossy(&again.stderr).contains("already_exists"),
        "{again:?}"
    );
}

#[tokio::test]
async fn contract_follows_the_rules_of_the_lint() {
    let Some(buf) = tool("HELIX_TEST_BUF") else {
        return;
    };
    let mut command = Command::new(buf);
    command
        .arg("lint")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../proto"));
    success(&run(command).await);
}
