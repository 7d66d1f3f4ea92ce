//! What an agent makes of a state directory that a crash of the whole machine has left behind.

use std::fs;
use std::path::{Path, PathBuf};

use helix_proto::agent::v1::{VerdictKind, WorkItem};
use helix_tests::agent::{Agent, until};
use helix_tests::eventually;
use helix_tests::isolated::Isolated;
use helix_tests::item::{delivery, shell};
use helix_tests::stream::Seen;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Offers an item that writes a line and a file and then waits; its attempt, and the directory of
/// it in the agent's state.
async fn running(agent: &Agent) -> (String, PathBuf) {
    let line = "echo so far; echo x > file; chmod 0 file; (setsid sleep 900 &) ; sleep 901";
    let item = shell(line);
    let attempt_id = item.attempt_id.clone();
    let item = WorkItem {
        attempt_id: attempt_id.clone(),
        ..delivery(item, 1, 3, 1)
    };
    let mut stream = agent.offer(item).await.expect("taken");
    let mut seen = Seen::default();
    until(&mut stream, &mut seen, |seen, _| seen.stdout == b"so far\n").await;
    let attempts = fs::read_dir(agent.directory().join("state/attempts")).expect("readable");
    let mut attempts: Vec<_> = attempts.flatten().map(|entry| entry.path()).collect();
    assert_eq!(attempts.len(), 1, "{attempts:?}");
    (attempt_id, attempts.remove(0))
}

fn status(attempt: &Path) -> serde_json::Value {
    let text = fs::read(attempt.join("spool/status.json")).expect("there");
    serde_json::from_slice(&text).expect("JSON")
}

fn replace(path: &Path, content: &[u8]) {
    let staged = path.with_extension("staged");
    fs::write(&staged, content).expect("written");
    fs::set_permissions(&staged, fs::metadata(path).expect("there").permissions()).expect("a mode");
    let owner = fs::metadata(path).expect("there");
    let (uid, gid) = {
        use std::os::unix::fs::MetadataExt as _;
        (owner.uid(), owner.gid())
    };
    std::os::unix::fs::chown(&staged, Some(uid), Some(gid)).expect("an owner");
    fs::rename(staged, path).expect("replaced");
}

/// Kills the supervisor of an attempt and its command, as the end of a machine does, and waits until
/// they are gone.
async fn end_of_the_machine(attempt: &Path) {
    let status = status(attempt);
    let pid = |value: &serde_json::Value| {
        i32::try_from(value.as_i64().expect("a number")).expect("a pid")
    };
    let all = [pid(&status["supervisor"]["pid"]), pid(&status["command"])];
    for pid in all {
        // The command may have died of its supervisor's end.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    eventually("they are gone", async || {
        let living = all.iter().filter(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(')')
                .next()
                .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
        });
        match living.count() {
            0 => Ok(()),
            count => Err(count),
        }
    })
    .await;
}

/// The same as after a reboot: the supervisor that was recorded belongs to another boot.
fn another_boot(attempt: &Path) {
    let mut status = status(attempt);
    status["supervisor"]["boot_id"] = "11111111-2222-3333-4444-555555555555".into();
    let text = serde_json::to_vec(&status).expect("JSON");
    replace(&attempt.join("spool/status.json"), &text);
}

#[track_caller]
fn given_back(seen: &Seen, reason: &str) {
    let verdict = seen.verdict();
    assert_eq!(verdict.kind(), VerdictKind::Infrastructure, "{verdict:?}");
    assert_eq!(verdict.reason, reason, "{verdict:?}");
    assert_eq!(seen.returned().next_delivery_number, 2);
    assert_eq!(seen.stdout, b"so far\n", "{}", seen.text());
    assert!(
        seen.text().contains("END OF WORK ITEM LOG"),
        "{}",
        seen.text()
    );
}

#[tokio::test]
async fn attempt_that_a_reboot_has_cut_off_is_given_back_with_its_log() {
    let mut agent = Agent::start().await;
    let (attempt_id, attempt) = running(&agent).await;
    agent.kill().await;
    end_of_the_machine(&attempt).await;
    another_boot(&attempt);
    agent.start_again().await;
    given_back(&agent.attach(&attempt_id, 0, 0).await, "MACHINE_REBOOTED");
    assert_eq!(agent.run(shell("echo well")).await.stdout, b"well\n");
}

#[tokio::test]
async fn reboot_is_known_even_when_it_took_the_status_along() {
    let mut agent = Agent::start().await;
    let (attempt_id, attempt) = running(&agent).await;
    agent.kill().await;
    end_of_the_machine(&attempt).await;
    replace(&attempt.join("spool/status.json"), b"");
    replace(
        &attempt.join("launching"),
        b"11111111-2222-3333-4444-555555555555",
    );
    agent.start_again().await;
    given_back(&agent.attach(&attempt_id, 0, 0).await, "MACHINE_REBOOTED");
}

#[tokio::test]
async fn directories_of_a_slots_user_are_had_back_after_a_reboot() {
    let Some(mut machine) = Isolated::start().await else {
        return;
    };
    let (attempt_id, attempt) = running(&machine.agent).await;
    machine.agent.kill().await;
    machine.kill_launcher().await;
    end_of_the_machine(&attempt).await;
    for pid in machine.processes_of_slots() {
        let pid = Pid::from_raw(i32::try_from(pid).expect("a pid"));
        kill(pid, Signal::SIGKILL).expect("it runs");
    }
    another_boot(&attempt);
    // What lies in memory only does not outlive a reboot.
    fs::remove_dir_all(machine.agent.directory().join("launcher")).expect("forgotten");
    assert_eq!(machine.attempt_directories().len(), 1);
    machine.restart_launcher().await;
    machine.agent.start_again().await;
    given_back(
        &machine.agent.attach(&attempt_id, 0, 0).await,
        "MACHINE_REBOOTED",
    );
    eventually("nothing is left", async || {
        match machine.attempt_directories() {
            left if left.is_empty() => Ok(()),
            left => Err(left),
        }
    })
    .await;
}

#[tokio::test]
async fn status_that_was_half_written_is_told_as_such_and_the_log_is_kept() {
    let mut agent = Agent::start().await;
    let (attempt_id, attempt) = running(&agent).await;
    agent.kill().await;
    end_of_the_machine(&attempt).await;
    let path = attempt.join("spool/status.json");
    let whole = fs::read(&path).expect("there");
    replace(&path, &whole[..whole.len() / 2]);
    agent.start_again().await;
    given_back(&agent.attach(&attempt_id, 0, 0).await, "SPOOL_DAMAGED");
    assert_eq!(agent.run(shell("echo well")).await.stdout, b"well\n");
}

#[tokio::test]
async fn index_that_was_half_written_costs_no_byte_of_the_console() {
    let mut agent = Agent::start().await;
    let (attempt_id, attempt) = running(&agent).await;
    agent.kill().await;
    end_of_the_machine(&attempt).await;
    let spool = fs::read_dir(attempt.join("spool"))
        .expect("readable")
        .flatten();
    for entry in spool {
        if entry.file_name().to_string_lossy().starts_with("index.") {
            let whole = fs::read(entry.path()).expect("there");
            replace(&entry.path(), &whole[..whole.len().saturating_sub(5)]);
        }
    }
    agent.start_again().await;
    let seen = agent.attach(&attempt_id, 0, 0).await;
    assert_eq!(seen.verdict().kind(), VerdictKind::Infrastructure);
    let text = seen.text();
    assert!(
        text.contains("so far\n") && text.contains("END OF WORK ITEM LOG"),
        "{text}"
    );
}

#[tokio::test]
async fn record_that_cannot_be_read_is_put_aside_and_the_agent_works_on() {
    let mut agent = Agent::start().await;
    let (attempt_id, attempt) = running(&agent).await;
    agent.kill().await;
    end_of_the_machine(&attempt).await;
    let path = attempt.join("record");
    let whole = fs::read(&path).expect("there");
    replace(&path, &whole[..whole.len() / 3]);
    agent.start_again().await;
    assert_eq!(agent.run(shell("echo well")).await.stdout, b"well\n");
    let request = helix_proto::agent::v1::AttachRequest {
        attempt_id,
        ..Default::default()
    };
    let status = agent
        .client()
        .await
        .attach(request)
        .await
        .expect_err("unknown");
    assert_eq!(status.code(), tonic::Code::NotFound, "{status:?}");
    let aside = fs::read_dir(agent.directory().join("state/attempts")).expect("readable");
    let aside = aside
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with("damaged-"));
    assert!(aside.expect("put aside").path().join("spool").is_dir());
}
