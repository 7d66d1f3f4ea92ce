//! The daemons as services of a real systemd.

use std::io::Write as _;
use std::time::{Duration, Instant};

use helix_tests::eventually;
use helix_tests::machine::{GATE, Machine};

const UNITS: [&str; 7] = [
    "helix-agent.service",
    "helix-launcher.socket",
    "helix-launcher.service",
    "helix-items.service",
    "helix.slice",
    "helix-root@test.service",
    "helix-controller.service",
];

/// Written past the harness, as it is of interest also when all is well.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "in the container: {text}");
}

#[tokio::test]
async fn units_are_without_mistakes_and_closed_as_far_as_their_work_allows() {
    let Some(machine) = Machine::install("").await else {
        return;
    };
    machine.install_current(&["helix-controller"]).await.good();
    let verify = [
        "systemd-analyze",
        "verify",
        "--recursive-errors=no",
        "--man=no",
    ];
    let ran = machine.container.run(&[&verify[..], &UNITS].concat()).await;
    assert_eq!(ran.errors, "");
    ran.good();
    // In tenths, of 10.
    for (unit, most) in [
        ("helix-agent.service", 19),
        ("helix-controller.service", 19),
        ("helix-launcher.service", 84),
    ] {
        let path = format!("/usr/lib/systemd/system/{unit}");
        let threshold = format!("--threshold={most}");
        let security = [
            "systemd-analyze",
            "security",
            "--offline=true",
            "--no-pager",
        ];
        let ran = machine
            .container
            .run(&[&security[..], &[&threshold, &path]].concat())
            .await;
        tell(ran.output.lines().last().unwrap_or_default());
        ran.good();
    }
}

#[tokio::test]
async fn agent_is_active_only_once_it_answers() {
    let probe = "[[probes]]\ncapability = \"slow\"\n\
                 command = [\"sh\", \"-c\", \"while [ ! -e /run/gate ]; do sleep 0.02; done\"]\n";
    let Some(machine) = Machine::install(probe).await else {
        return;
    };
    machine
        .systemctl(&["start", "--no-block", "helix-agent.service"])
        .await;
    let unit = "helix-agent.service";
    // It waits for its probe, so it does not listen yet.
    machine.await_file("/var/lib/helix/agent/lock").await;
    assert_eq!(machine.property(unit, "ActiveState").await, "activating");
    assert!(!machine.has_file("/var/lib/helix/agent/listening").await);
    machine.container.run(&["touch", GATE]).await.good();
    machine.systemctl(&["start", unit]).await;
    assert_eq!(machine.property(unit, "ActiveState").await, "active");
    assert!(machine.has_file("/var/lib/helix/agent/listening").await);
    assert!(machine.run_item("true").await.status.success());
    eventually("the status tells", async || {
        let status = machine.property(unit, "StatusText").await;
        if status == "takes work; 0 running" {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await;
}

#[tokio::test]
async fn item_runs_as_user_of_a_slot_in_the_group_of_work_items() {
    let Some(machine) = Machine::start().await else {
        return;
    };
    let line = "id -un; id -Gn; grep ^0: /proc/self/cgroup; cat /proc/self/oom_score_adj; \
                grep CapBnd /proc/self/status; ls /tmp; echo x >file && cat file";
    let output = machine.run_item(line).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<_> = text.lines().collect();
    let expected = [
        "helix-0",
        "helix-0",
        "0::/helix.slice/helix-items.service/slot-0",
        "500",
        "CapBnd:\t0000000000000000",
        "x",
    ];
    assert_eq!(
        lines,
        expected,
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for (unit, slice) in [
        ("helix-agent.service", "system.slice"),
        ("helix-launcher.service", "system.slice"),
    ] {
        assert_eq!(machine.property(unit, "Slice").await, slice);
    }
    // The score itself cannot be had on every machine that runs containers.
    for (unit, score) in [
        ("helix-agent.service", "-500"),
        ("helix-launcher.service", "-900"),
    ] {
        assert_eq!(machine.property(unit, "OOMScoreAdjust").await, score);
    }
}

#[tokio::test]
async fn socket_of_the_launcher_is_open_to_the_agent_alone() {
    let Some(machine) = Machine::start().await else {
        return;
    };
    let stat = ["stat", "--format=%U %G %a", "/run/helix/launcher.sock"];
    let mode = machine.container.run(&stat).await.good();
    assert_eq!(mode, "helix-agent helix-agent 600");
}

#[tokio::test]
async fn restarts_of_launcher_and_agent_do_not_disturb_an_item() {
    let Some(machine) = Machine::start().await else {
        return;
    };
    let item = machine.begin_counting().await;
    for unit in [
        "helix-launcher.service",
        "helix-agent.service",
        "helix-launcher.service",
    ] {
        let before = machine.property(unit, "MainPID").await;
        machine.systemctl(&["restart", unit]).await;
        assert_ne!(machine.property(unit, "MainPID").await, before);
    }
    // A new launcher starts the next while the first still runs.
    let second = machine.run_item("id -un").await;
    assert_eq!(String::from_utf8_lossy(&second.stdout), "helix-1\n");
    machine.systemctl(&["daemon-reexec"]).await;
    machine.end_counting(item).await;
    assert_eq!(machine.failed_units().await, "");
}

#[tokio::test]
async fn daemons_that_are_killed_come_back_to_an_item_that_runs_on() {
    let Some(machine) = Machine::start().await else {
        return;
    };
    let item = machine.begin_counting().await;
    for unit in ["helix-launcher.service", "helix-agent.service"] {
        let before = machine.property(unit, "MainPID").await;
        machine
            .systemctl(&["kill", "--kill-who=main", "--signal=SIGKILL", unit])
            .await;
        eventually("it is started again", async || {
            let now = machine.property(unit, "MainPID").await;
            let state = machine.property(unit, "ActiveState").await;
            if now != before && now != "0" && state == "active" {
                Ok(())
            } else {
                Err((now, state))
            }
        })
        .await;
    }
    machine.end_counting(item).await;
}

#[tokio::test]
async fn agent_that_hangs_is_restarted_and_takes_its_item_up_again() {
    let Some(machine) = Machine::install("").await else {
        return;
    };
    let drop_in = "/etc/systemd/system/helix-agent.service.d/test.conf";
    machine
        .container
        .write(drop_in, "[Service]\nWatchdogSec=2s\n")
        .await;
    machine.systemctl(&["daemon-reload"]).await;
    let unit = "helix-agent.service";
    machine.systemctl(&["start", unit]).await;
    let item = machine.begin_counting().await;
    let healthy = machine.property(unit, "MainPID").await;
    // Longer than the watchdog waits: a well agent is left alone.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(machine.property(unit, "MainPID").await, healthy);
    let began = Instant::now();
    machine
        .systemctl(&["kill", "--kill-who=main", "--signal=SIGSTOP", unit])
        .await;
    eventually("the watchdog has it restarted", async || {
        let restarts = machine.property(unit, "NRestarts").await;
        let state = machine.property(unit, "ActiveState").await;
        if restarts == "1" && state == "active" {
            Ok(())
        } else {
            Err((restarts, state))
        }
    })
    .await;
    tell(&format!(
        "a hung agent was replaced after {:?}",
        began.elapsed()
    ));
    machine.end_counting(item).await;
    let journal = machine.journal(unit).await;
    assert!(
        journal.iter().any(|entry| entry["MESSAGE"]
            .as_str()
            .is_some_and(|text| text.contains("Watchdog timeout"))),
        "{journal:?}"
    );
}

#[tokio::test]
async fn stopping_the_items_ends_them_and_their_record_says_interrupted() {
    let Some(machine) = Machine::start().await else {
        return;
    };
    let item = machine.begin_counting().await;
    machine.systemctl(&["stop", "helix-items.service"]).await;
    let output = item.wait_with_output().await.expect("a child");
    let errors = String::from_utf8_lossy(&output.stderr);
    // Nothing was learned about the work item.
    assert_eq!(output.status.code(), Some(70), "{errors}");
    assert_eq!(machine.failed_units().await, "");
    // It stays so until somebody wants it otherwise.
    let socket = "helix-launcher.socket";
    assert_eq!(machine.property(socket, "ActiveState").await, "inactive");
    machine.systemctl(&["start", socket]).await;
    eventually("work is taken again", async || {
        let output = machine.run_item("id -un").await;
        if output.stdout == b"helix-0\n" {
            Ok(())
        } else {
            Err(output)
        }
    })
    .await;
}

#[tokio::test]
async fn work_without_a_supervisor_ends_with_the_items_too() {
    let Some(machine) = Machine::start().await else {
        return;
    };
    let unit = "helix-items.service";
    let keeper = machine.property(unit, "MainPID").await;
    let group = machine
        .container
        .run(&["cat", &format!("/proc/{keeper}/cgroup")])
        .await
        .good();
    // Out of the way of the slots' groups, and so of their controllers.
    assert!(
        group.contains("0::/helix.slice/helix-items.service/keeper"),
        "{group}"
    );
    // Nobody but the service manager knows of this one.
    let line = "mkdir /sys/fs/cgroup/helix.slice/helix-items.service/slot-7 && \
                sh -c 'trap : TERM; touch /run/begun; while :; do sleep 1; done' >/dev/null 2>&1 & \
                echo $! >/sys/fs/cgroup/helix.slice/helix-items.service/slot-7/cgroup.procs; echo $!";
    let line = line.replacen(" && ", "; ", 1);
    let stray = machine.container.run(&["sh", "-c", &line]).await.good();
    machine.await_file("/run/begun").await;
    machine.systemctl(&["stop", unit]).await;
    assert!(!machine.has_file(&format!("/proc/{stray}/exe")).await);
    assert_eq!(machine.failed_units().await, "");
}

#[tokio::test]
async fn stopped_services_leave_nothing_that_failed_and_nothing_that_runs() {
    let Some(machine) = Machine::start().await else {
        return;
    };
    assert!(machine.run_item("true").await.status.success());
    let stop = [&["stop"], &UNITS[..4]].concat();
    machine.systemctl(&stop).await;
    assert_eq!(machine.failed_units().await, "");
    for unit in &UNITS[..4] {
        assert_eq!(machine.property(unit, "ActiveState").await, "inactive");
    }
    eventually("nothing runs", async || {
        let ran = machine.container.run(&["pgrep", "-l", "helix"]).await;
        if ran.output.is_empty() {
            Ok(())
        } else {
            Err(ran)
        }
    })
    .await;
    assert!(!machine.has_file("/var/lib/helix/agent/listening").await);
    // And all of it starts again.
    machine.systemctl(&["start", "helix-agent.service"]).await;
    assert!(machine.run_item("true").await.status.success());
}

#[tokio::test]
async fn wrong_configuration_keeps_the_agent_from_starting_and_is_in_the_journal() {
    let Some(machine) = Machine::install("").await else {
        return;
    };
    machine
        .container
        .write("/etc/helix/agent.toml", "slots = 0\n")
        .await;
    let unit = "helix-agent.service";
    let ran = machine.container.run(&["systemctl", "start", unit]).await;
    assert_ne!(ran.exit_code, Some(0), "{ran:?}");
    eventually("the service manager gives up", async || {
        match machine.property(unit, "ActiveState").await.as_str() {
            "failed" => Ok(()),
            state => Err(state.to_owned()),
        }
    })
    .await;
    // Nobody tries again what cannot get better by itself.
    assert_eq!(machine.property(unit, "NRestarts").await, "0");
    let journal = machine.journal(unit).await;
    assert!(
        journal.iter().any(|entry| entry["MESSAGE"]
            .as_str()
            .is_some_and(|text| text.contains("agent.toml:1"))),
        "{journal:?}"
    );
}

#[tokio::test]
async fn journal_has_the_fields_of_an_attempt() {
    let Some(machine) = Machine::start().await else {
        return;
    };
    assert!(machine.run_item("true").await.status.success());
    let journal = machine.journal("helix-agent.service").await;
    let entry = journal
        .iter()
        .find(|entry| entry["MESSAGE"] == "attempt ended")
        .unwrap_or_else(|| panic!("{journal:?}"));
    assert_eq!(entry["SYSLOG_IDENTIFIER"], "helix-agent", "{entry}");
    assert_eq!(entry["PRIORITY"], "5", "{entry}");
    for field in [
        "HELIX_ATTEMPT_ID",
        "HELIX_WORK_ITEM_ID",
        "HELIX_JOB_ID",
        "HELIX_VERDICT",
        "HELIX_ELAPSED_MS",
    ] {
        assert!(entry[field].is_string(), "{field}: {entry}");
    }
}

/// Waits for a line of the agent's in the journal with all of these words in it.
async fn await_journal(machine: &Machine, words: &[&str]) {
    eventually("the journal says it", async || {
        let journal = machine.journal("helix-agent.service").await;
        let says = |entry: &serde_json::Value| {
            let message = entry["MESSAGE"].as_str().unwrap_or_default();
            words.iter().all(|word| message.contains(word))
        };
        journal.iter().any(says).then_some(()).ok_or(journal)
    })
    .await;
}

#[tokio::test]
async fn reload_under_an_item_puts_a_configuration_in_force_and_says_what_changed() {
    let Some(machine) = Machine::start().await else {
        return;
    };
    let unit = "helix-agent.service";
    let pid = machine.property(unit, "MainPID").await;
    let item = machine.begin_counting().await;
    let changed = "slots = 3\nmachine_name = \"box\"\n\
                   [launcher]\nsocket = \"/run/helix/launcher.sock\"\n\
                   [shutdown]\ndrain_timeout = \"100ms\"\n";
    machine
        .container
        .write("/etc/helix/agent.toml", changed)
        .await;
    machine.systemctl(&["reload", unit]).await;
    await_journal(&machine, &["`slots` from 2 to 3"]).await;
    await_journal(&machine, &["`machine_name` from", "box"]).await;
    await_journal(&machine, &["configuration is in force"]).await;
    eventually("the reload is over", async || {
        let state = machine.property(unit, "ActiveState").await;
        (state == "active").then_some(()).ok_or(state)
    })
    .await;
    let capacity = machine.container.run(&["helix", "capacity"]).await.good();
    assert!(capacity.contains("2 of 3 free"), "{capacity}");
    // The signal itself does as well.
    machine.configure("").await;
    machine
        .systemctl(&["kill", "--kill-who=main", "--signal=SIGHUP", unit])
        .await;
    await_journal(&machine, &["`slots` from 3 to 2"]).await;
    machine.end_counting(item).await;
    assert_eq!(machine.property(unit, "MainPID").await, pid);
}

#[tokio::test]
async fn reload_of_what_cannot_be_used_changes_nothing_and_ends_nothing() {
    let Some(machine) = Machine::start().await else {
        return;
    };
    let unit = "helix-agent.service";
    let pid = machine.property(unit, "MainPID").await;
    let item = machine.begin_counting().await;
    let refused = "configuration stays as it was, whole";
    for (broken, why) in [
        // One key is right and another wrong; a key counts only at the start; it is no TOML.
        ("machine_name = \"box\"\nslots = 0\n", "agent.toml:2"),
        (
            "slots = 3\nwork_directory = \"/var/lib/helix/elsewhere\"\n",
            "`work_directory`",
        ),
        ("slots = \n", "agent.toml:1"),
    ] {
        machine
            .container
            .write("/etc/helix/agent.toml", broken)
            .await;
        machine.systemctl(&["reload", unit]).await;
        await_journal(&machine, &[refused, why]).await;
        let capacity = machine.container.run(&["helix", "capacity"]).await.good();
        assert!(capacity.contains("1 of 2 free"), "{capacity}");
        assert!(!capacity.contains("box"), "{capacity}");
    }
    eventually("the reload is over", async || {
        let state = machine.property(unit, "ActiveState").await;
        (state == "active").then_some(()).ok_or(state)
    })
    .await;
    let second = machine.run_item("id -un").await;
    assert_eq!(String::from_utf8_lossy(&second.stdout), "helix-1\n");
    machine.end_counting(item).await;
    assert_eq!(machine.property(unit, "MainPID").await, pid);
    // Once it is right, it counts.
    machine.configure("machine_name = \"box\"").await;
    machine.systemctl(&["reload", unit]).await;
    await_journal(&machine, &["configuration is in force"]).await;
}
