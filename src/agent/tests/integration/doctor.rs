//! `helix-agent doctor`, and the same checks in a running agent.

use std::collections::BTreeMap;
use std::path::Path;

use rcgen::date_time_ymd;
use serde_json::Value;
use tempfile::TempDir;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::agent::{Agent, eventually, run, write_config, write_private};
use crate::certificates::Authority;
use crate::controller::Controller;

/// What the doctor says of a configuration: the exit code, and outcome and all text by name.
async fn examine(
    directory: &Path,
    top: &str,
    tables: &str,
) -> (Option<i32>, BTreeMap<String, (String, String)>) {
    write_config(directory, top, tables);
    let path = directory.join("agent.toml").display().to_string();
    let output = tokio::task::spawn_blocking(move || run(&["doctor", "--json", "--config", &path]));
    let output = output.await.unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let code = output.status.code();
    assert_eq!(
        document["outcome"] == "failed",
        code == Some(1),
        "{document}"
    );
    let rows = document["checks"].as_array().unwrap().iter().map(|row| {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let all = [text("what"), text("why"), text("remedy")].join("; ");
        (text("name"), (text("outcome"), all))
    });
    (code, rows.collect())
}

#[track_caller]
fn check(rows: &BTreeMap<String, (String, String)>, name: &str, outcome: &str, words: &str) {
    let (found, text) = &rows[name];
    assert_eq!(found, outcome, "{name}: {text}");
    assert!(text.contains(words), "{name}: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machine_that_is_well_passes_every_check_that_applies() {
    let directory = TempDir::with_prefix("helix-").unwrap();
    let (code, rows) = examine(directory.path(), "", "").await;
    assert_eq!(code, Some(0), "{rows:?}");
    let names: Vec<&str> = rows.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "clock_skew",
            "clock_synchronisation",
            "configuration",
            "control_groups",
            "controller",
            "controller_certificates",
            "journal",
            "kernel",
            "launcher",
            "listen_certificates",
            "macos_session",
            "state_directory",
            "state_disk",
            "user",
            "work_directory",
            "work_disk",
            "work_item_users",
        ]
    );
    check(&rows, "launcher", "ok", "own launcher");
    check(&rows, "state_directory", "skipped", "the agent makes it");
    // It has looked and not touched.
    assert!(!directory.path().join("state").exists());
    let text = run(&[
        "doctor",
        "--config",
        &directory.path().join("agent.toml").display().to_string(),
    ]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.starts_with("ok       configuration: "), "{text}");
    assert!(text.trim_end().ends_with("skipped"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_said_with_what_to_do() {
    let directory = TempDir::with_prefix("helix-").unwrap();
    let tables = "[launcher]\nsocket = \"/nowhere/launcher.sock\"\n\
                  [isolation]\nrequire = [\"user\"]\n\
                  [resources]\ndisk_reserve = \"1000000 TiB\"\n";
    std::fs::write(directory.path().join("state"), "no directory").unwrap();
    let (code, rows) = examine(directory.path(), "", tables).await;
    assert_eq!(code, Some(1));
    check(&rows, "launcher", "failed", "No such file or directory");
    check(
        &rows,
        "launcher",
        "failed",
        "systemctl start helix-launcher.socket",
    );
    check(&rows, "state_directory", "failed", "it is no directory");
    check(&rows, "work_disk", "failed", "MiB are free");
    let (code, rows) = examine(directory.path(), "slots = 0\n", "").await;
    assert_eq!(code, Some(1));
    check(&rows, "configuration", "failed", "agent.toml:1:9: ");
    assert!(rows.contains_key("kernel"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_looked_at_before_they_expire() {
    let directory = TempDir::with_prefix("helix-").unwrap();
    let at = |name: &str| directory.path().join(name);
    let (own, clients) = (Authority::new(), Authority::new());
    clients.write(directory.path(), "clients", &["unused"]);
    let tables = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n[listen.tls]\ncertificate = {:?}\nkey = {:?}\nclient_ca = {:?}\n",
        at("agent.crt"),
        at("agent.key"),
        at("clients.ca"),
    );
    let with = async |(certificate, key): (String, String)| {
        write_private(&at("agent.crt"), &certificate);
        write_private(&at("agent.key"), &key);
        examine(directory.path(), "", &tables).await.1
    };
    let name = "listen_certificates";
    let good = own.issue(&["agent.test"]);
    check(
        &with(good.clone()).await,
        name,
        "ok",
        "the first to expire is in",
    );
    let expired = own.issue_with(&["a"], |params| {
        params.not_after = date_time_ymd(2020, 1, 1)
    });
    let rows = with(expired).await;
    check(&rows, name, "failed", "agent.crt` expired ");
    check(&rows, name, "failed", "systemctl reload helix-agent");
    let early = own.issue_with(&["a"], |params| {
        params.not_before = date_time_ymd(4000, 1, 1)
    });
    check(&with(early).await, name, "failed", "is not valid before");
    let soon = own.issue_with(&["a"], |params| {
        let week = std::time::Duration::from_secs(7 * 24 * 60 * 60 + 60);
        params.not_after = (std::time::SystemTime::now() + week).into();
    });
    check(&with(soon).await, name, "warning", "expires in 7 days");
    let other = own.issue(&["agent.test"]);
    check(
        &with((good.0, other.1)).await,
        name,
        "failed",
        "does not belong to the certificate",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controller_is_called_and_its_clock_is_read() {
    let directory = TempDir::with_prefix("helix-").unwrap();
    let (controllers, agents, others) = (Authority::new(), Authority::new(), Authority::new());
    let (certificate, key) = controllers.issue(&["127.0.0.1"]);
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(certificate, key))
        .client_ca_root(Certificate::from_pem(agents.pem()));
    let address = "127.0.0.1:0".parse().unwrap();
    let controller = Controller::start_at(address, Some(tls)).await;
    let at = |name: &str| directory.path().join(name);
    let tables = format!(
        "[controller]\naddress = \"https://{}\"\n[controller.tls]\nca = {:?}\ncertificate = {:?}\nkey = {:?}\n",
        controller.address,
        at("controllers.ca"),
        at("agent.crt"),
        at("agent.key"),
    );
    controllers.write(directory.path(), "controllers", &["unused"]);
    agents.write(directory.path(), "agent", &["agent.test"]);
    let (_, rows) = examine(directory.path(), "", &tables).await;
    check(&rows, "controller", "ok", "https://127.0.0.1:");
    check(&rows, "clock_skew", "ok", "against that of https://");
    check(&rows, "controller_certificates", "ok", "days");

    others.write(directory.path(), "agent", &["agent.test"]);
    let (code, rows) = examine(directory.path(), "", &tables).await;
    assert_eq!(code, Some(1));
    check(
        &rows,
        "controller",
        "failed",
        "it does not take the agent's certificate",
    );

    let word = "insecure_without_tls = \"i-understand-that-anyone-can-run-commands\"\n";
    let tables = format!("[controller]\naddress = \"http://controller.invalid:1\"\n{word}");
    let (_, rows) = examine(directory.path(), "", &tables).await;
    check(
        &rows,
        "controller",
        "failed",
        "its name `controller.invalid` is not resolved",
    );
    controller.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_agent_looks_again_and_again() {
    let agent = Agent::start("", "").await;
    let metric = |name: &str| format!("helix_agent_check{{name=\"{name}\"}}");
    let value = async |name: &str, wanted: &str| {
        eventually(&format!("{name} is {wanted}"), async || {
            match agent.metric(&metric(name)).await.as_deref() {
                Some(value) if value == wanted => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    };
    value("state_disk", "0").await;
    value("launcher", "0").await;
    value("listen_certificates", "-1").await;
    let (status, body) = agent.monitoring("/checks").await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    let document: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(document["outcome"], "ok");

    // Another configuration is a reason to look at once.
    write_config(
        agent.directory.path(),
        "",
        "[resources]\ndisk_reserve = \"1000000 TiB\"\n",
    );
    agent.signal("HUP");
    value("work_disk", "2").await;
    let (status, _) = agent.monitoring("/checks").await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert_eq!(agent.logs("check failed").await, 1);
    write_config(agent.directory.path(), "", "");
    agent.signal("HUP");
    value("work_disk", "0").await;
    assert_eq!(agent.logs("check is well again").await, 1);
}
