//! A real job, from its submission to its last attempt: real test suites on two agents.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use helix_tests::controller::Controller;
use helix_tests::{eventually, eventually_all};
use serde_json::{Value, json};

/// Crates whose tests need nothing but themselves, in the order of their names.
const SUITES: [&str; 5] = ["heck", "percent-encoding", "strsim", "unicase", "untrusted"];
/// A crate that calls the compiler, and tests of its own that fail without one.
const NEEDS_COMPILER: &str = "autocfg";
const COMPILER_TESTS: [&str; 5] = [
    "probe_add",
    "probe_as_ref",
    "probe_i128",
    "probe_std",
    "probe_sum",
];
/// How the test programs write a report.
const REPORT: &str = "-Z unstable-options --format junit";

/// A test of a real suite.
struct Test {
    /// Name of the test program in the payload.
    program: String,
    /// Full name.
    name: String,
}

/// Test programs of crates that cargo has downloaded anyhow, and what tests they have.
struct Suites {
    directory: tempfile::TempDir,
    tests: Vec<Test>,
    compiler_tests: Vec<Test>,
}

impl Suites {
    fn build() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut suites = Self {
            directory,
            tests: Vec::new(),
            compiler_tests: Vec::new(),
        };
        std::fs::create_dir(suites.programs()).expect("a directory");
        for name in SUITES {
            let tests = suites.add(name);
            suites.tests.extend(tests);
        }
        suites.compiler_tests = suites.add(NEEDS_COMPILER);
        suites
            .compiler_tests
            .retain(|test| COMPILER_TESTS.contains(&test.name.as_str()));
        assert_eq!(suites.compiler_tests.len(), COMPILER_TESTS.len());
        suites
    }

    /// All test programs.
    fn archive(&self) -> Vec<u8> {
        let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(
            Vec::new(),
            flate2::Compression::fast(),
        ));
        archive
            .append_dir_all(".", self.programs())
            .and_then(|()| archive.into_inner())
            .and_then(flate2::write::GzEncoder::finish)
            .expect("an archive in memory")
    }

    fn programs(&self) -> PathBuf {
        self.directory.path().join("programs")
    }

    /// Builds the tests of a crate, and lists them.
    fn add(&self, name: &str) -> Vec<Test> {
        let source = newest_source(name);
        let copy = self.directory.path().join(name);
        copy_tree(&source, &copy);
        // It speaks of crates that only the authors need.
        let _ = std::fs::remove_file(copy.join("Cargo.lock"));
        let built = Command::new(env!("CARGO"))
            .args(["test", "--offline", "--tests", "--no-run"])
            .args(["--message-format", "json"])
            .current_dir(&copy)
            .env("CARGO_TARGET_DIR", self.directory.path().join("target"))
            .output()
            .expect("cargo runs");
        let problems = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "{name}: {problems}");
        let mut tests = Vec::new();
        for line in built.stdout.split(|byte| *byte == b'\n') {
            let Ok(message) = serde_json::from_slice::<Value>(line) else {
                continue;
            };
            let Some(path) = message["executable"].as_str().map(Path::new) else {
                continue;
            };
            let program = path.file_name().expect("a name").to_string_lossy();
            std::fs::copy(path, self.programs().join(&*program)).expect("copied");
            let listed = Command::new(path)
                .args(["--list", "--format", "terse"])
                .current_dir(&copy)
                .output()
                .expect("it lists");
            for line in String::from_utf8_lossy(&listed.stdout).lines() {
                if let Some(name) = line.strip_suffix(": test") {
                    tests.push(Test {
                        program: program.clone().into_owned(),
                        name: name.to_owned(),
                    });
                }
            }
        }
        tests
    }
}

/// The newest version that any registry has brought.
fn newest_source(name: &str) -> PathBuf {
    let home = std::env::var_os("CARGO_HOME").map_or_else(
        || std::env::home_dir().expect("a home").join(".cargo"),
        PathBuf::from,
    );
    let registries = std::fs::read_dir(home.join("registry/src")).expect("cargo has downloaded");
    registries
        .flatten()
        .flat_map(|registry| std::fs::read_dir(registry.path()).expect("readable"))
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            file.strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('-'))
                .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        })
        .max()
        .unwrap_or_else(|| panic!("cargo has no sources of {name}"))
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("readable").flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

fn states(items: &[Value]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for item in items {
        let state = item["state"].as_str().expect("a state").to_owned();
        *counts.entry(state).or_default() += 1;
    }
    counts
}

fn by_name<'a>(items: &'a [Value], name: &str) -> &'a Value {
    let found = items.iter().find(|item| item["name"] == name);
    found.unwrap_or_else(|| panic!("no item `{name}`"))
}

#[tokio::test(flavor = "multi_thread")]
async fn real_suites_on_two_agents_end_as_they_should_with_every_attempt_kept() {
    let suites = tokio::task::spawn_blocking(Suites::build)
        .await
        .expect("suites");
    assert!(suites.tests.len() >= 200, "{} tests", suites.tests.len());
    let controller = Controller::start().await;
    let first = controller.agent("first", 4).await;
    let second = controller.agent("second", 4).await;

    let programs = controller.upload(suites.archive()).await;
    // First what needs to be watched, then what is many.
    let mut items = vec![
        json!({
            "name": "cancelled in mid-run",
            "command": { "shell": "echo it runs; exec sleep 600" },
        }),
        json!({
            "name": "too slow",
            "retries": 2,
            "command": { "argv": ["sleep", "60"] },
            "limits": { "wall_timeout_seconds": 0.5 },
        }),
        json!({
            "name": "nobody can",
            "command": { "argv": ["true"] },
            "requirements": [{ "name": "quantum-processor", "range": ">=2" }],
        }),
    ];
    items.extend(suites.tests.iter().enumerate().map(|(number, test)| {
        json!({
            "name": format!("{number} {}", test.name),
            "command": { "shell": format!(
                "$HELIX_CORRELATION_PAYLOAD/{} --exact '{}' {REPORT} >a-testResults.xml",
                test.program, test.name
            ) },
        })
    }));
    for (number, test) in suites.compiler_tests.iter().enumerate() {
        // A real suite that fails for a real reason, which has gone by the next time.
        items.push(json!({
            "name": format!("late compiler {number}"),
            "retries": 2,
            "command": { "shell": format!(
                "[ $HELIX_WORKITEM_DELIVERY -gt 1 ] || RUSTC=/nonexistent; export RUSTC; \
                 $HELIX_CORRELATION_PAYLOAD/{} --exact {} {REPORT} >a-testResults.xml",
                test.program, test.name
            ) },
        }));
    }
    let total = items.len();
    let job_file = suites.directory.path().join("job.json");
    let path = std::env::var("PATH").expect("a path");
    let job = json!({
        "queue": "test",
        "id": "real",
        "name": "real suites",
        "defaults": {
            "environment": {
                "RUSTC_BOOTSTRAP": "1",
                "RUSTC": compiler(),
                "PATH": path,
                "HOME": std::env::home_dir(),
            },
            "correlation_payloads": [{ "url": programs }],
        },
        "items": items,
    });
    std::fs::write(&job_file, job.to_string()).expect("written");
    let submitted = controller
        .helix(&[
            "--json",
            "submit",
            "--file",
            &job_file.display().to_string(),
        ])
        .await;
    let told = String::from_utf8_lossy(&submitted.stdout).into_owned();
    let problem = String::from_utf8_lossy(&submitted.stderr).into_owned();
    assert!(submitted.status.success(), "{told}{problem}");

    // Cancel the one that runs, once it does.
    eventually("it runs", async || {
        let item = controller
            .get("/jobs/real/items/cancelled%20in%20mid-run")
            .await;
        let state = item["item"]["state"].clone();
        if state != "running" {
            return Err(state.to_string());
        }
        let log = controller
            .log_of("real", "cancelled%20in%20mid-run", 1)
            .await;
        log.contains("it runs").then_some(()).ok_or(log)
    })
    .await;
    controller
        .post(
            "/jobs/real/items/cancelled%20in%20mid-run/cancel",
            &json!({ "reason": "enough" }),
        )
        .await;

    // Everything else ends; what nobody can run waits, and is explained.
    eventually_all("all but one end", async || {
        let job = controller.get("/jobs/real").await;
        let counts = &job["counts"];
        if counts["waiting"] == 1 && counts["running"] == 0 {
            Ok(())
        } else {
            Err(counts.to_string())
        }
    })
    .await;
    let explained = controller
        .get("/jobs/real/items/nobody%20can/explain")
        .await;
    assert_eq!(explained["prospect"], "never", "{explained}");
    assert!(
        explained.to_string().contains("quantum-processor"),
        "{explained}"
    );
    let spoken = controller.helix(&["explain", "real", "nobody can"]).await;
    let spoken = String::from_utf8_lossy(&spoken.stdout).into_owned();
    assert!(spoken.contains("quantum-processor"), "{spoken}");
    let cancelled = controller.helix(&["cancel", "real", "nobody can"]).await;
    assert!(cancelled.status.success(), "{cancelled:?}");
    let job = controller.ended("real").await;

    // Whatever is wrong, the log of an item that failed says more than a count.
    let items = controller.items("real").await;
    if let Some(item) = items.iter().find(|item| item["state"] == "failed") {
        let id = item["id"].as_str().expect("an id");
        let log = controller.log_of("real", id, 1).await;
        panic!("{item}\n{log}");
    }

    // As the job says.
    assert_eq!(job["state"], "failed", "not all passed: {job}");
    let counts = &job["counts"];
    assert_eq!(counts["total"], total);
    assert_eq!(
        counts["passed"],
        suites.tests.len() + COMPILER_TESTS.len(),
        "{counts}"
    );
    assert_eq!(counts["passed_on_retry"], COMPILER_TESTS.len(), "{counts}");
    assert_eq!(counts["timed_out"], 1, "{counts}");
    assert_eq!(counts["cancelled"], 2, "{counts}");

    // As the items say.
    assert_eq!(items.len(), total);
    let expected = BTreeMap::from([
        ("passed".to_owned(), suites.tests.len()),
        ("passed_on_retry".to_owned(), COMPILER_TESTS.len()),
        ("timed_out".to_owned(), 1),
        ("cancelled".to_owned(), 2),
    ]);
    assert_eq!(states(&items), expected);
    let slow = by_name(&items, "too slow");
    assert_eq!(slow["attempts"], 1, "a timeout is never retried: {slow}");
    assert_eq!(slow["exit_code"], -3);
    let never = by_name(&items, "nobody can");
    assert_eq!(never["attempts"], 0);

    // As the attempts say, and their logs.
    let late = controller.get("/jobs/real/items/late%20compiler%200").await;
    let attempts = late["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 2, "{late}");
    assert_eq!(attempts[0]["state"], "failed");
    assert!(attempts[0]["counts"]["failed"].as_u64() > Some(0), "{late}");
    assert!(
        !attempts[0]["failures"]
            .as_array()
            .expect("failures")
            .is_empty(),
        "{late}"
    );
    assert_eq!(attempts[1]["state"], "passed");
    assert_eq!(attempts[1]["counts"]["failed"], 0);
    for (attempt, end) in [(1, "exited with 101"), (2, "exited with 0")] {
        let log = controller
            .log_of("real", "late%20compiler%200", attempt)
            .await;
        assert!(log.contains(end), "attempt {attempt}: {log}");
        let printed = controller
            .helix(&[
                "logs",
                "real",
                "late compiler 0",
                "--attempt",
                &attempt.to_string(),
            ])
            .await;
        let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
        assert!(printed.contains(end), "attempt {attempt}: {printed}");
    }
    let mut agents = BTreeSet::new();
    let mut tests = 0;
    for item in &items {
        let id = item["id"].as_str().expect("an id");
        let detail = controller.get(&format!("/jobs/real/items/{id}")).await;
        for attempt in detail["attempts"].as_array().expect("attempts") {
            agents.insert(attempt["agent"].as_str().expect("an agent").to_owned());
        }
        if item["state"] == "passed" {
            let counts = &detail["attempts"][0]["counts"];
            tests += counts["passed"].as_u64().unwrap_or_default();
            let skipped = counts["skipped"].as_u64().unwrap_or_default();
            assert_eq!(counts["total"], 1, "{detail}");
            assert_eq!(counts["failed"], 0, "{skipped} {detail}");
        }
    }
    assert!(tests >= 200, "{tests} tests were counted");
    let both = ["first".to_owned(), "second".to_owned()];
    assert_eq!(agents, BTreeSet::from(both), "both agents had work");

    // Each end was told once.
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    let mut after = 0;
    loop {
        let page = controller
            .get(&format!("/jobs/real/events?after={after}"))
            .await;
        let events = page["events"].as_array().expect("events");
        for event in events {
            if event["kind"] == "item_ended" {
                let item = event["item"].as_str().expect("an item").to_owned();
                *ends.entry(item).or_default() += 1;
            }
        }
        if events.is_empty() {
            break;
        }
        after = page["next"].as_u64().expect("a number");
    }
    assert_eq!(ends.len(), total);
    assert!(ends.values().all(|times| *times == 1), "{ends:?}");

    // And the tests that passed only on a retry are known by name.
    let flaky = controller.get("/flaky").await;
    let flaky = flaky["tests"].as_array().expect("a list");
    assert!(!flaky.is_empty(), "no flaky test is known");
    let watched = controller.helix(&["watch", "real"]).await;
    assert_eq!(
        watched.status.code(),
        Some(1),
        "not all passed: {watched:?}"
    );
    drop((first, second));
}

/// The compiler itself, and not a proxy for it, which would want an environment of its own.
fn compiler() -> PathBuf {
    let program = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let told = Command::new(program)
        .args(["--print", "sysroot"])
        .output()
        .expect("a compiler");
    Path::new(String::from_utf8_lossy(&told.stdout).trim_end()).join("bin/rustc")
}
