//! The commands about jobs, queues and agents, against the real controller and agent of `helix up`.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::program::{LIMIT, Output, finish, helix};

/// An address where nobody listens.
const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

/// A controller with an agent.
struct System {
    _child: Child,
    controller: String,
    directory: tempfile::TempDir,
}

impl System {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("up");
        let listen = ["--listen", "127.0.0.1:0", "--agent-listen", "127.0.0.1:0"];
        let mut child = helix(NOBODY, &["up", "--json", "--slots", "2", "--directory"])
            .arg(&home)
            .args(listen)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(LIMIT, lines.next_line()).await;
        let line = line.unwrap().unwrap().expect("it is up");
        let line: Value = serde_json::from_str(&line).unwrap();
        Self {
            _child: child,
            controller: line["controller"].as_str().unwrap().to_owned(),
            directory,
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = helix(NOBODY, arguments);
        command.env_remove("HELIX_AGENT");
        command.env("HELIX_CONTROLLER", &self.controller);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        finish(self.command(arguments).spawn().unwrap()).await
    }

    /// Submits a job list and gives the job's id.
    async fn submit(&self, job: &Value) -> String {
        let file = self.directory.path().join("jobs.json");
        fs::write(&file, job.to_string()).unwrap();
        let output = self
            .run(&["submit", "--file", file.to_str().unwrap()])
            .await;
        assert_eq!(output.code(), Some(0), "{}", output.stderr);
        output.out().trim().to_owned()
    }
}

fn item(name: &str, shell: &str) -> Value {
    json!({"name": name, "command": {"shell": shell}})
}

#[tokio::test]
async fn a_directory_and_a_command_become_a_job_that_is_watched() {
    let system = System::start().await;
    let files = system.directory.path().join("tests");
    fs::create_dir(&files).unwrap();
    fs::write(
        files.join("run.sh"),
        "#!/bin/sh\necho \"ran $1 $LEVEL\"\nexit $2\n",
    )
    .unwrap();
    fs::set_permissions(files.join("run.sh"), PermissionsExt::from_mode(0o755)).unwrap();
    let files = files.to_str().unwrap();
    let submit = |code: &'static str| {
        let arguments = [
            "submit", "--watch", "--env", "LEVEL=3", files, "--", "./run.sh", "here", code,
        ];
        arguments.map(str::to_owned)
    };
    let arguments = submit("0");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = system.run(&arguments).await;
    assert_eq!(
        output.code(),
        Some(0),
        "{}\n{}",
        output.out(),
        output.stderr
    );
    assert!(output.stderr.contains("uploading"), "{}", output.stderr);
    assert!(
        output.out().contains("1 item: 1 passed"),
        "{}",
        output.out()
    );

    let arguments = submit("3");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = system.run(&arguments).await;
    assert_eq!(
        output.code(),
        Some(1),
        "{}\n{}",
        output.out(),
        output.stderr
    );
    assert!(
        !output.stderr.contains("uploading"),
        "the same content is there already"
    );
    let jobs = system.run(&["jobs", "--json"]).await.json();
    assert_eq!(jobs.len(), 2);
    let job = jobs[0]["id"].as_str().unwrap();
    let output = system.run(&["logs", job, "./run.sh here 3"]).await;
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    assert!(output.out().contains("ran here 3\n"), "{}", output.out());
}

#[tokio::test]
async fn a_job_list_is_watched_read_and_retried() {
    let system = System::start().await;
    let job = system
        .submit(&json!({
            "queue": "local", "name": "nightly", "retries": 1,
            "items": [item("good", "echo fine"), item("bad", "echo broken; exit 7")],
        }))
        .await;
    let output = system.run(&["watch", &job]).await;
    assert_eq!(output.code(), Some(1), "{}", output.stderr);
    let out = output.out();
    assert!(out.contains("retried   bad"), "{out}");
    assert!(out.contains("passed    good"), "{out}");
    assert!(out.contains("failed    bad: "), "{out}");
    assert!(out.ends_with("2 items: 1 passed, 1 failed\n"), "{out}");

    let lines = system.run(&["watch", "--json", &job]).await.json();
    assert_eq!(lines.last().unwrap()["type"], "job");
    let ended = lines.iter().filter(|line| line["kind"] == "item_ended");
    assert_eq!(ended.count(), 2);

    let output = system.run(&["results", "--job", &job]).await;
    assert_eq!(output.code(), Some(1), "{}", output.stderr);
    let out = output.out();
    assert!(
        out.contains("attempt 1 on ") && out.contains("attempt 2 on "),
        "{out}"
    );
    let lines = system
        .run(&["results", "--json", "--job", &job, "--item", "bad"])
        .await
        .json();
    assert_eq!(lines[0]["runs"].as_array().unwrap().len(), 2);
    let output = system
        .run(&["results", "--job", &job, "--item", "good"])
        .await;
    assert_eq!(output.code(), Some(0));

    let output = system
        .run(&["logs", &job, "bad", "--attempt", "1", "--json"])
        .await;
    assert_eq!(output.json()[0]["type"], "log");
    let output = system.run(&["logs", "-f", &job, "good"]).await;
    assert!(output.out().contains("fine"), "{}", output.out());

    let output = system.run(&["retry", "--watch", &job]).await;
    assert_eq!(output.code(), Some(1), "{}", output.stderr);
    assert!(
        output.out().contains("1 item: 1 failed"),
        "{}",
        output.out()
    );
    let output = system.run(&["retry", &job, "--item", "none"]).await;
    assert_eq!(output.code(), Some(64), "{}", output.stderr);
}

#[tokio::test]
async fn a_running_log_is_followed_and_its_job_cancelled() {
    let system = System::start().await;
    let job = system
        .submit(&json!({
            "queue": "local",
            "items": [item("long", "echo begun; sleep 600"), item("unable", "true")],
        }))
        .await;
    let mut child = system
        .command(&["logs", "-f", &job, "long"])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // What the agent says first is in the log too.
    loop {
        let line = tokio::time::timeout(LIMIT, lines.next_line()).await;
        let line = line.unwrap().unwrap();
        if line.expect("more, while it runs") == "begun" {
            break;
        }
    }
    let output = system.run(&["results", "--job", &job]).await;
    assert_eq!(output.code(), Some(2), "it has not ended: {}", output.out());
    let output = system
        .run(&["cancel", &job, "long", "--reason", "enough"])
        .await;
    assert_eq!(
        output.out(),
        "0 waiting items cancelled, 1 running item asked to end\n"
    );
    let ended = tokio::time::timeout(LIMIT, child.wait())
        .await
        .unwrap()
        .unwrap();
    assert!(ended.success());
    let output = system.run(&["watch", &job]).await;
    assert_eq!(output.code(), Some(1));
    let output = system.run(&["cancel", "--job", &job]).await;
    assert_eq!(output.out(), "everything had ended before\n");
}

#[tokio::test]
async fn what_nobody_can_run_is_explained() {
    let system = System::start().await;
    let mut unable = item("unable", "true");
    unable["requirements"] = json!([{"name": "unobtainium", "range": ">=3"}]);
    let job = system
        .submit(&json!({"queue": "local", "items": [unable]}))
        .await;
    let output = system.run(&["explain", &job, "unable"]).await;
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    assert!(output.out().contains("never"), "{}", output.out());
    assert!(output.out().contains("unobtainium"), "{}", output.out());
    let lines = system
        .run(&["explain", "--json", &job, "unable"])
        .await
        .json();
    assert_eq!(
        (&lines[0]["type"], &lines[0]["prospect"]),
        (&json!("explanation"), &json!("never"))
    );
    let output = system.run(&["logs", &job, "unable"]).await;
    assert_eq!(output.code(), Some(66));
    assert!(
        output.stderr.contains("nothing has been started"),
        "{}",
        output.stderr
    );
    assert_eq!(system.run(&["cancel", "--job", &job]).await.code(), Some(0));
}

#[tokio::test]
async fn queues_and_agents_are_looked_after() {
    let system = System::start().await;
    let set = [
        "queues",
        "set",
        "osx",
        "--max-deliveries",
        "5",
        "--internal",
        "--removal",
        "2027-03-31",
    ];
    let output = system.run(&set).await;
    assert_eq!(output.out(), "queue osx is made\n", "{}", output.stderr);
    let output = system
        .run(&["queues", "set", "osx", "--description", "Macs"])
        .await;
    assert_eq!(output.out(), "queue osx is changed\n", "{}", output.stderr);
    let lines = system.run(&["queues", "--json"]).await.json();
    let osx = lines.iter().find(|line| line["name"] == "osx").unwrap();
    assert_eq!(
        (&osx["max_delivery_count"], &osx["visibility"]),
        (&json!(5), &json!("internal"))
    );
    assert_eq!(
        (&osx["description"], &osx["type"]),
        (&json!("Macs"), &json!("queue"))
    );
    assert!(
        system
            .run(&["queues"])
            .await
            .out()
            .contains("Macs, to be removed on 2027-03-31")
    );
    assert_eq!(
        system.run(&["queues", "remove", "osx"]).await.code(),
        Some(0)
    );
    assert_eq!(
        system.run(&["queues", "remove", "osx"]).await.code(),
        Some(66)
    );

    let agents = system.run(&["agents", "--json"]).await.json();
    let name = agents[0]["name"].as_str().unwrap();
    assert_eq!(agents[0]["liveness"], "alive");
    let output = system
        .run(&["agents", "drain", name, "--reason", "update"])
        .await;
    assert_eq!(
        output.out(),
        format!("{name} is draining; 0 attempts still running\n")
    );
    let output = system.run(&["agents", "resume", name]).await;
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
    assert_eq!(
        system.run(&["agents", "drain", "nobody"]).await.code(),
        Some(66)
    );
    let output = system.run(&["flaky"]).await;
    assert_eq!((output.code(), output.out()), (Some(0), ""));
}

#[tokio::test]
async fn who_is_meant_is_never_guessed() {
    let system = System::start().await;
    let both = |arguments: &[&str]| {
        let mut command = system.command(arguments);
        command.env("HELIX_AGENT", NOBODY.to_string());
        command.spawn().unwrap()
    };
    for arguments in [["cancel", "x"], ["logs", "x"]] {
        let output = finish(both(&arguments)).await;
        assert_eq!(output.code(), Some(64), "{}", output.stderr);
        assert!(
            output.stderr.contains("cannot tell whether `x`"),
            "{}",
            output.stderr
        );
    }
    let output = finish(both(&["cancel", "--job", "x"])).await;
    assert!(
        output.stderr.contains("there is no job `x`"),
        "{}",
        output.stderr
    );
    let output = system.run(&["cancel", "x"]).await;
    assert!(
        output.stderr.contains("there is no job `x`"),
        "{}",
        output.stderr
    );
    let output = system.run(&["logs", "x"]).await;
    assert!(
        output.stderr.contains("name a work item"),
        "{}",
        output.stderr
    );
    let agent = NOBODY.to_string();
    let output = system.run(&["cancel", "x", "--agent", &agent]).await;
    assert_eq!(output.code(), Some(69), "{}", output.stderr);
    let output = system.run(&["logs", "x", "y", "--agent", &agent]).await;
    assert_eq!(output.code(), Some(64), "{}", output.stderr);
}

#[tokio::test]
async fn what_is_wrong_with_a_job_list_is_said_field_by_field() {
    let system = System::start().await;
    let file = system.directory.path().join("bad.json");
    let submit = async |content: &str| {
        fs::write(&file, content).unwrap();
        system
            .run(&["submit", "--file", file.to_str().unwrap()])
            .await
    };
    let output =
        submit(r#"{"queue": 1, "items": [{"nmae": "a", "command": {"shell": "x"}}]}"#).await;
    assert_eq!(output.code(), Some(64));
    for part in [
        "`$.queue`",
        "`$.items[0].name`",
        "`$.items[0].nmae`",
        "hint: ",
    ] {
        assert!(output.stderr.contains(part), "{part} in {}", output.stderr);
    }
    let output = submit(r#"{"queue": "local", "items": [{"name": "a", "command": {"shell": " "}, "secrets": ["x"]}]}"#).await;
    assert_eq!(output.code(), Some(64));
    for part in ["`$.items[0].command.shell`", "`$.items[0].secrets[0]`"] {
        assert!(output.stderr.contains(part), "{part} in {}", output.stderr);
    }
    let output =
        submit(r#"{"queue": "nowhere", "items": [{"name": "a", "command": {"shell": "x"}}]}"#)
            .await;
    assert!(
        output.stderr.contains("there is no queue `nowhere`"),
        "{}",
        output.stderr
    );
    let output = submit(r#"{"queue": "local", "items": [{"name": "a", "command": {"shell": "x"}, "payloads": [{"url": "./none"}]}]}"#).await;
    assert_eq!(output.code(), Some(66), "{}", output.stderr);
}

#[tokio::test]
async fn tokens_come_from_places_that_others_cannot_see() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    fs::write(&file, "secret-token\n").unwrap();
    let open =
        |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    open(&file, 0o644);
    let run = async |url: &str| {
        let mut command = helix(NOBODY, &["queues", "--patience", "0s", "--controller", url]);
        command.arg("--token-file").arg(&file);
        finish(command.spawn().unwrap()).await
    };
    let output = run("http://127.0.0.1:1").await;
    assert_eq!(output.code(), Some(77), "{}", output.stderr);
    assert!(
        output.stderr.contains("others can read it"),
        "{}",
        output.stderr
    );
    open(&file, 0o600);
    let output = run("http://127.0.0.1:1").await;
    assert_eq!(output.code(), Some(69), "{}", output.stderr);
    let output = run("http://helix.example").await;
    assert_eq!(output.code(), Some(64), "{}", output.stderr);
    assert!(output.stderr.contains("in the clear"), "{}", output.stderr);
    assert!(!output.stderr.contains("secret-token"));
}
