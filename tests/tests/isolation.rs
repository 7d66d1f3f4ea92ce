//! Work items as users of their own, through the whole machine: what they are given, what they
//! cannot reach, and what is left of them.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use helix_proto::agent::v1::attempt_event::Kind;
use helix_proto::agent::v1::{
    EnvironmentVariable, Exited, Payload, VerdictKind, WorkItem, payload,
};
use helix_tests::agent::until;
use helix_tests::eventually;
use helix_tests::isolated::{Changes, Isolated};
use helix_tests::item::{limited, shell};
use helix_tests::stream::Seen;

fn exited(seen: &Seen) -> Exited {
    seen.find(|kind| match kind {
        Kind::Exited(exited) => Some(exited.clone()),
        _ => None,
    })
}

fn stored(seen: &Seen) -> Vec<String> {
    let mut names: Vec<_> = seen
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            Some(Kind::ArtifactStored(stored)) => Some(stored.name.clone()),
            _ => None,
        })
        .collect();
    names.sort();
    names
}

async fn all_is_swept(machine: &Isolated) {
    eventually("nothing is left of any work item", async || {
        match (machine.processes_of_slots(), machine.attempt_directories()) {
            (processes, directories) if processes.is_empty() && directories.is_empty() => Ok(()),
            left => Err(left),
        }
    })
    .await;
}

/// A line of a process's status, its words apart by one blank each.
fn status_of(pid: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .expect("a line");
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn archive(machine: &Isolated, name: &str, mode: u32) -> Payload {
    let path = machine.agent.directory().join(format!("config/{name}.tar"));
    let mut builder = tar::Builder::new(fs::File::create(&path).expect("created"));
    let mut header = tar::Header::new_ustar();
    header.set_size(7);
    header.set_mode(mode);
    builder
        .append_data(&mut header, name, &b"payload"[..])
        .expect("written");
    builder.into_inner().expect("finished");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("readable");
    Payload {
        source: Some(payload::Source::Url(format!("file://{}", path.display()))),
        ..Payload::default()
    }
}

#[tokio::test]
async fn agent_has_no_privileges_and_every_item_a_user_of_its_own() {
    let Some(machine) = Isolated::start().await else {
        return;
    };
    let agent = machine.agent.pid();
    assert_ne!(status_of(agent, "Uid:").split(' ').next(), Some("0"));
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(status_of(agent, set), "0000000000000000", "{set}");
    }
    let seen = machine.agent.run(shell("id -u; echo $USER; pwd")).await;
    let user = machine.uid(0).to_string();
    let text = String::from_utf8_lossy(&seen.stdout).into_owned();
    let lines: Vec<_> = text.lines().collect();
    // It has no name in any database.
    assert_eq!(
        (lines[0], lines[1]),
        (user.as_str(), user.as_str()),
        "{text}"
    );
    assert!(lines[2].ends_with("/e"), "{text}");
    let started = seen.find(|kind| match kind {
        Kind::Started(started) => Some(started.clone()),
        _ => None,
    });
    assert_eq!((started.run_as, started.slot), (user, Some(0)));
    let capacity = machine.agent.capacity().await;
    assert!(
        capacity.isolation.iter().any(|line| line.contains("user")),
        "{capacity:?}"
    );
    all_is_swept(&machine).await;
}

#[tokio::test]
async fn files_are_collected_whatever_modes_they_were_left_with() {
    let Some(machine) = Isolated::start().await else {
        return;
    };
    let line = "cd \"$HELIX_WORKITEM_UPLOAD_ROOT\"; mkdir -p shut/deep; echo kept > shut/deep/file; \
                echo other > plain; chmod 0 plain shut/deep/file shut/deep shut; \
                cd \"$HELIX_WORKITEM_ROOT\"; \
                echo '<testsuite name=\"s\" tests=\"1\"><testcase name=\"t\" classname=\"c\"/></testsuite>' > testResults.xml; \
                chmod 0 testResults.xml; chmod 0 .";
    let seen = machine.agent.run(shell(line)).await;
    assert_eq!(seen.finished().helix_exit_code, 0, "{}", seen.text());
    let names = stored(&seen);
    for name in ["plain", "shut/deep/file", "testResults.xml"] {
        assert!(
            names.iter().any(|stored| stored == name),
            "{name}: {names:?}"
        );
    }
    all_is_swept(&machine).await;
}

#[tokio::test]
async fn links_lead_nobody_out_of_the_directories() {
    let Some(machine) = Isolated::start().await else {
        return;
    };
    let secret = machine.agent.directory().join("secret");
    fs::write(&secret, "for nobody\n").expect("written");
    let line = format!(
        "cd \"$HELIX_WORKITEM_UPLOAD_ROOT\"; ln -s {secret} link; ln -s / root; ln {secret} hard; \
         ln -s . round; mkfifo fifo; mv \"$HELIX_WORKITEM_UPLOAD_ROOT\" /tmp/away; \
         rmdir \"$HELIX_WORKITEM_ROOT\"; ln -sfn /etc \"$HELIX_DUMP_FOLDER\"; echo own > own",
        secret = secret.display()
    );
    let seen = machine.agent.run(shell(&line)).await;
    let names = stored(&seen);
    assert!(
        names.iter().any(|name| name == "own"),
        "{names:?} {}",
        seen.text()
    );
    for name in ["link", "hard", "root", "fifo"] {
        assert!(
            !names.iter().any(|stored| stored.starts_with(name)),
            "{names:?}"
        );
    }
    assert_eq!(fs::metadata(&secret).expect("there").uid(), 0);
    assert_eq!(fs::read_to_string(&secret).expect("there"), "for nobody\n");
    assert_eq!(fs::metadata("/etc").expect("there").uid(), 0);
    all_is_swept(&machine).await;
}

#[tokio::test]
async fn agent_and_its_files_are_out_of_reach() {
    let Some(machine) = Isolated::start().await else {
        return;
    };
    let directory = machine.agent.directory().display().to_string();
    let line = format!(
        "for f in {directory}/state {directory}/state/attempts {directory}/launcher; do ls $f && echo REACHED $f; done; \
         for p in {agent} {launcher}; do kill -9 $p && echo REACHED $p; cat /proc/$p/environ && echo REACHED $p; \
         cat /proc/$p/mem && echo REACHED $p; ls -l /proc/$p/fd && echo REACHED $p; done; \
         echo x | nc -U -w 1 {directory}/launcher.sock && echo REACHED socket; \
         echo x > {directory}/work/new && echo REACHED work; kill -9 -1; exit 0",
        agent = machine.agent.pid(),
        launcher = machine.launcher_pid(),
    );
    let neighbour = shell("echo ready; sleep 3; echo done");
    let mut stream = machine.agent.offer(neighbour).await.expect("taken");
    let mut next = Seen::default();
    until(&mut stream, &mut next, |seen, _| seen.stdout == b"ready\n").await;
    let seen = machine.agent.run(shell(&line)).await;
    assert!(!seen.text().contains("REACHED"), "{}", seen.text());
    while let Some(response) = stream.message().await.expect("unbroken") {
        next.take(response.event.expect("an event"));
    }
    assert_eq!(next.stdout, b"ready\ndone\n");
    assert_eq!(next.finished().helix_exit_code, 0);
}

#[tokio::test]
async fn neighbours_see_nothing_of_each_other() {
    let Some(machine) = Isolated::start().await else {
        return;
    };
    let item = shell("echo mine > /tmp/shared; echo mine > file; echo $$; pwd; sleep 600");
    let item = WorkItem {
        environment: vec![EnvironmentVariable {
            name: "TOKEN".to_owned(),
            value: "topsecret".to_owned(),
        }],
        ..item
    };
    let attempt = item.attempt_id.clone();
    let mut stream = machine.agent.offer(item).await.expect("taken");
    let mut first = Seen::default();
    until(&mut stream, &mut first, |seen, _| {
        seen.stdout.ends_with(b"/e\n")
    })
    .await;
    let text = String::from_utf8_lossy(&first.stdout).into_owned();
    let (pid, directory) = text.split_once('\n').expect("two lines");
    let directory = directory.trim();
    let line = format!(
        "cat /tmp/shared; ls /tmp; cat {directory}/file; ls {directory}/..; cat /proc/{pid}/environ; \
         kill -9 {pid}; echo x > {directory}/file; echo next"
    );
    let second = machine.agent.run(shell(&line)).await;
    assert_eq!(second.stdout, b"next\n", "{}", second.text());
    let mut client = machine.agent.client().await;
    let request = helix_proto::agent::v1::CancelRequest {
        attempt_id: attempt,
        ..Default::default()
    };
    client.cancel(request).await.expect("cancelled");
    while let Some(response) = stream.message().await.expect("unbroken") {
        first.take(response.event.expect("an event"));
    }
    assert_eq!(first.verdict().kind(), VerdictKind::Cancelled);
    all_is_swept(&machine).await;
}

#[tokio::test]
async fn payloads_belong_to_the_item_and_correlation_payloads_to_nobody() {
    let Some(machine) = Isolated::start().await else {
        return;
    };
    let correlation = Payload {
        destination: "c".to_owned(),
        ..archive(&machine, "shared", 0o600)
    };
    let line = "cat own shared-link 2>/dev/null; cat $HELIX_CORRELATION_PAYLOAD/c/shared; \
                echo x >> own && echo written; \
                echo x >> $HELIX_CORRELATION_PAYLOAD/c/shared || echo refused; \
                rm -f $HELIX_CORRELATION_PAYLOAD/c/shared || echo kept; \
                chmod u+w $HELIX_CORRELATION_PAYLOAD/c || echo closed";
    for _ in 0..2 {
        let item = WorkItem {
            job_id: "job-shared".to_owned(),
            payloads: vec![archive(&machine, "own", 0o600)],
            correlation_payloads: vec![correlation.clone()],
            ..shell(line)
        };
        let seen = machine.agent.run(item).await;
        assert_eq!(
            String::from_utf8_lossy(&seen.stdout),
            "payloadpayloadwritten\nrefused\nkept\nclosed\n",
            "{}",
            seen.text()
        );
    }
}

#[tokio::test]
async fn fork_bomb_ends_at_its_time_and_its_neighbour_does_not_notice() {
    let Some(machine) = Isolated::start().await else {
        return;
    };
    let mut bomb = limited(
        shell("bomb() { bomb | bomb & }; bomb; while :; do sleep 1; done"),
        Some(Duration::from_secs(3)),
        None,
        Duration::ZERO,
    );
    bomb.resources = Some(helix_proto::agent::v1::Resources {
        slots: 1,
        processes: 200,
        ..Default::default()
    });
    let stream = machine.agent.offer(bomb).await.expect("taken");
    let reader = tokio::spawn(read(stream));
    for _ in 0..5 {
        let seen = machine.agent.run(shell("seq 1 100 | tail -n 1")).await;
        assert_eq!(seen.stdout, b"100\n");
    }
    let seen = reader.await.expect("read");
    assert_eq!(seen.finished().helix_exit_code, -3, "{}", seen.text());
    all_is_swept(&machine).await;
    assert_eq!(
        machine.agent.run(shell("echo well")).await.stdout,
        b"well\n"
    );
}

async fn read(mut stream: tonic::Streaming<helix_proto::agent::v1::RunResponse>) -> Seen {
    let mut seen = Seen::default();
    while let Some(response) = stream.message().await.expect("unbroken") {
        seen.take(response.event.expect("an event"));
    }
    seen
}

#[tokio::test]
async fn daemons_that_left_the_session_are_killed_and_listed() {
    let Some(machine) = Isolated::start().await else {
        return;
    };
    let line = "(setsid sh -c '(setsid sleep 1234 &) ; sleep 1235' >/dev/null 2>&1 &) ; \
                until [ $(ls /proc | grep -c '^[0-9]') -ge 4 ]; do :; done; exit 3";
    let seen = machine.agent.run(shell(line)).await;
    assert_eq!(seen.finished().helix_exit_code, 3, "{}", seen.text());
    let exited = exited(&seen);
    let names: Vec<_> = exited
        .leftovers
        .iter()
        .map(|left| left.name.as_str())
        .collect();
    assert!(
        names.iter().filter(|name| **name == "sleep").count() == 2,
        "{names:?}"
    );
    assert!(exited.leftovers.iter().all(|left| left.age.is_some()));
    assert!(exited.survivors.is_empty());
    all_is_swept(&machine).await;
}

#[tokio::test]
async fn hog_of_descriptors_only_starves_itself() {
    let Some(machine) = Isolated::start().await else {
        return;
    };
    let line = "python3 -c 'import os, resource; \
                resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2); \
                held = []\ntry:\n  while True: held.append(os.pipe())\nexcept OSError as error: print(error.strerror)'; sleep 1";
    let stream = machine.agent.offer(shell(line)).await.expect("taken");
    let reader = tokio::spawn(read(stream));
    for _ in 0..3 {
        assert_eq!(
            machine.agent.run(shell("echo well")).await.stdout,
            b"well\n"
        );
    }
    let seen = reader.await.expect("read");
    assert!(
        seen.text().contains("Too many open files"),
        "{}",
        seen.text()
    );
}

#[tokio::test]
async fn hog_of_the_disk_fails_alone_and_leaves_it_empty() {
    let place = tempfile::TempDir::with_prefix_in("helix-test-disk-", "/var/lib").expect("made");
    let Some(disk) = helix_tests::disk::SmallDisk::mount(place.path().join("work"), "16m") else {
        return;
    };
    let Some(machine) = Isolated::start_on(place.path().join("work")).await else {
        return;
    };
    let hog = "cat /dev/zero > hog; echo full: $?; df -k . | tail -n 1; exit 9";
    let seen = machine.agent.run(shell(hog)).await;
    assert_eq!(seen.finished().helix_exit_code, 9, "{}", seen.text());
    assert!(
        seen.text().contains("No space left on device"),
        "{}",
        seen.text()
    );
    // What it filled is free again.
    let next = machine
        .agent
        .run(shell("head -c 8000000 /dev/zero > big && echo fits"))
        .await;
    assert_eq!(next.stdout, b"fits\n", "{}", next.text());
    drop(machine);
    drop(disk);
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("it runs")
        .count()
}

fn resident_kib(pid: u32) -> u64 {
    let text = status_of(pid, "VmRSS:");
    text.split(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .expect("a number")
}

/// Directories beneath a path, to any depth.
fn directories_below(path: &Path) -> usize {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| 1 + directories_below(&entry.path()))
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_items_and_sixty_four_at_once_leave_nothing_behind() {
    let changes = Changes {
        slots: 64,
        ..Changes::default()
    };
    let Some(machine) = Isolated::start_with(changes).await else {
        return;
    };
    let one = |job: &str| WorkItem {
        job_id: job.to_owned(),
        ..shell("echo x > file; echo y > /tmp/file; echo out")
    };
    let (agent, launcher) = (machine.agent.pid(), machine.launcher_pid());
    for _ in 0..100 {
        machine.agent.run(one("job-warm")).await;
    }
    all_is_swept(&machine).await;
    let before = (
        descriptors(launcher),
        resident_kib(agent),
        resident_kib(launcher),
    );
    for _ in 0..900 {
        let seen = machine.agent.run(one("job-warm")).await;
        assert_eq!(seen.stdout, b"out\n", "{}", seen.text());
    }
    let mut together = Vec::new();
    for _ in 0..64 {
        let item = shell(
            "echo in; until [ -e \"$HELIX_WORKITEM_ROOT/../../../../../go\" ]; do sleep 0.1; done; echo out",
        );
        let stream = machine.agent.offer(item).await.expect("taken");
        together.push(tokio::spawn(read(stream)));
    }
    assert_eq!(machine.agent.capacity().await.free.expect("set").slots, 0);
    fs::write(machine.agent.directory().join("go"), "").expect("written");
    for reader in together {
        assert_eq!(reader.await.expect("read").stdout, b"in\nout\n");
    }
    all_is_swept(&machine).await;
    eventually("the launcher has only what it had", async || {
        let now = descriptors(launcher);
        if now <= before.0 {
            Ok(())
        } else {
            Err((before.0, now))
        }
    })
    .await;
    let groups = fs::read_dir(machine.groups())
        .into_iter()
        .flatten()
        .flatten();
    assert!(groups.filter(|entry| entry.path().is_dir()).count() <= 64);
    // What an attempt is remembered by is bounded by retention, not by this test; what it costs in
    // memory is small.
    let after = (resident_kib(agent), resident_kib(launcher));
    assert!(
        after.0 < before.1 + 24 * 1024,
        "agent: {} to {} KiB",
        before.1,
        after.0
    );
    assert!(
        after.1 < before.2 + 1024,
        "launcher: {} to {} KiB",
        before.2,
        after.1
    );
    assert!(directories_below(&machine.agent.directory().join("work")) <= 200);
}
