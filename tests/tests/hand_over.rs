//! Work that goes on while controllers end, die and take over from each other.

use std::time::Duration;

use helix_tests::controller::{Controller, agent_of_both};
use helix_tests::eventually;
use helix_tests::postgres::Postgres;
use helix_tests::programs::program;
use serde_json::{Value, json};

/// Counts until a file is there, and ends with exit code 7.
fn counting(gate: &std::path::Path) -> Value {
    let line = format!(
        "i=0; while [ ! -e {} ]; do echo line $i; i=$((i+1)); sleep 0.02; done; echo end; exit 7",
        gate.display()
    );
    json!({ "name": "counting", "command": { "shell": line } })
}

/// The log of the first attempt has every line up to the end, once.
async fn whole_log(controller: &Controller) -> usize {
    let log = controller.log_of("job", "counting", 1).await;
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.starts_with("line "))
        .collect();
    let expected: Vec<String> = (0..lines.len())
        .map(|number| format!("line {number}"))
        .collect();
    assert_eq!(lines, expected, "{log}");
    assert_eq!(log.matches("\nend\n").count(), 1, "{log}");
    lines.len()
}

async fn runs(controller: &Controller) {
    eventually("it counts", async || {
        let item = controller.get("/jobs/job/items/counting").await;
        if item["item"]["state"] != "running" {
            return Err(item["item"]["state"].to_string());
        }
        let log = controller.log_of("job", "counting", 1).await;
        log.contains("line 5\n").then_some(()).ok_or(log)
    })
    .await;
}

async fn fails_once(controller: &Controller) {
    let job = controller.ended("job").await;
    assert_eq!(job["counts"]["failed"], 1, "{job}");
    let item = controller.get("/jobs/job/items/counting").await;
    let attempts = item["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 1, "{item}");
    assert_eq!(attempts[0]["exit_code"], 7, "{item}");
}

async fn survives(end: impl AsyncFn(&mut Controller)) {
    let directory = tempfile::tempdir().expect("a directory");
    let gate = directory.path().join("gate");
    let mut controller = Controller::start().await;
    let _agent = controller.agent("machine", 2).await;
    controller.submit("job", vec![counting(&gate)]).await;
    runs(&controller).await;
    end(&mut controller).await;
    controller.start_again().await;
    runs(&controller).await;
    std::fs::write(&gate, "").expect("written");
    fails_once(&controller).await;
    assert!(whole_log(&controller).await > 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn controller_that_ends_in_order_leaves_what_runs_to_the_next() {
    survives(async |controller: &mut Controller| {
        let status = controller.terminate().await;
        assert!(status.success(), "{status}: {}", controller.log());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn controller_that_is_killed_leaves_what_runs_to_the_next() {
    survives(async |controller: &mut Controller| controller.kill().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_while_no_controller_is_there_is_told_to_the_next() {
    let directory = tempfile::tempdir().expect("a directory");
    let gate = directory.path().join("gate");
    let mut controller = Controller::start().await;
    let agent = controller.agent("machine", 2).await;
    controller.submit("job", vec![counting(&gate)]).await;
    runs(&controller).await;
    controller.kill().await;
    std::fs::write(&gate, "").expect("written");
    eventually("it ends", async || {
        let running = agent.capacity().await.running.len();
        if running == 0 { Ok(()) } else { Err(running) }
    })
    .await;
    controller.start_again().await;
    fails_once(&controller).await;
    assert!(whole_log(&controller).await > 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_controllers_takes_over_from_the_other() {
    let Some(postgres) = Postgres::start().await else {
        return;
    };
    let tables = format!(
        "[store]\nurl = \"{}\"\n[[queues]]\nname = \"test\"\n",
        postgres.url()
    );
    let first = Controller::start_named("first", &tables).await;
    let second = Controller::start_named("second", &tables).await;
    let _agent = agent_of_both([&first, &second], "machine", 1).await;
    let directory = tempfile::tempdir().expect("a directory");
    let gate = directory.path().join("gate");
    first.submit("job", vec![counting(&gate)]).await;
    let keeper = eventually("one of them looks after it", async || {
        let item = second.get("/jobs/job/items/counting").await;
        match &item["attempts"][0]["controller"] {
            Value::String(name) => Ok(name.clone()),
            other => Err(other.to_string()),
        }
    })
    .await;
    let (mut dying, other) = if keeper == "first" {
        (first, second)
    } else {
        (second, first)
    };
    runs(&dying).await;
    // What runs is read at whichever controller somebody asks.
    runs(&other).await;
    let followed = tokio::spawn(other.follow_log("job", "counting", 1));
    dying.kill().await;
    eventually("the other looks after it", async || {
        let item = other.get("/jobs/job/items/counting").await;
        let now = item["attempts"][0]["controller"].as_str();
        if now == Some(&keeper) {
            Err(keeper.clone())
        } else {
            Ok(())
        }
    })
    .await;
    tokio::time::timeout(Duration::from_secs(60), runs(&other))
        .await
        .expect("it is seen to run");
    std::fs::write(&gate, "").expect("written");
    fails_once(&other).await;
    assert!(whole_log(&other).await > 5);
    let log = other.log_of("job", "counting", 1).await;
    assert_eq!(followed.await.expect("it ends"), log);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_backed_up_is_there_after_a_restore() {
    let mut controller = Controller::start().await;
    let _agent = controller.agent("machine", 1).await;
    let item = |name: &str| json!({ "name": name, "command": { "shell": "echo it ran" } });
    controller.submit("before", vec![item("a")]).await;
    controller.ended("before").await;
    let copy = controller.directory().join("copy.db");
    let made = tokio::process::Command::new(program("helix-controller"))
        .args(["backup", "--config"])
        .arg(controller.directory().join("controller.toml"))
        .arg(&copy)
        .output()
        .await
        .expect("it runs");
    assert!(made.status.success(), "{made:?}");
    controller.submit("after", vec![item("a")]).await;
    controller.ended("after").await;

    controller.kill().await;
    let state = controller.directory().join("state");
    for name in ["helix.db", "helix.db-wal", "helix.db-shm"] {
        let _ = std::fs::remove_file(state.join(name));
    }
    std::fs::copy(&copy, state.join("helix.db")).expect("put back");
    controller.start_again().await;
    let job = controller.ended("before").await;
    assert_eq!(job["state"], "passed", "{job}");
    assert!(controller.log_of("before", "a", 1).await.contains("it ran"));
    let gone = controller.ask("GET", "/jobs/after", None).await;
    assert_eq!(gone.expect("an answer").0, 404);
    controller.submit("again", vec![item("a")]).await;
    assert_eq!(controller.ended("again").await["state"], "passed");
}
