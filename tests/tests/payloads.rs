//! Payloads from servers, files and repositories, whole, cut, late and wrong.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use helix_proto::agent::v1::{
    CancelRequest, GitSource, Payload, Returned, VerdictKind, WorkItem, payload, returned,
};
use helix_tests::agent::{Agent, until};
use helix_tests::archive::tar;
use helix_tests::eventually;
use helix_tests::http::{Reply, Server};
use helix_tests::item::{delivery, shell, unique};
use helix_tests::stream::Seen;
use sha2::{Digest, Sha256};

fn at(url: &str) -> Payload {
    Payload {
        source: Some(payload::Source::Url(url.to_owned())),
        ..Payload::default()
    }
}

fn with_payload(line: &str, payload: Payload) -> WorkItem {
    WorkItem {
        payloads: vec![payload],
        ..shell(line)
    }
}

/// Content that does not compress, so that its size is what is sent.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

fn digest(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

/// The terminal event of an item whose payload failed: the infrastructure is to
/// blame, no retry is used, and the message says what is wrong.
#[track_caller]
fn payload_failure(seen: &Seen) -> (&Returned, &str) {
    let returned = seen.returned();
    let Some(returned::Cause::Verdict(verdict)) = &returned.cause else {
        panic!("no verdict: {returned:?}")
    };
    assert_eq!(verdict.kind(), VerdictKind::Infrastructure, "{verdict:?}");
    assert_eq!(verdict.reason, "PAYLOAD", "{verdict:?}");
    (returned, &verdict.message)
}

#[tokio::test]
async fn download_that_is_cut_goes_on_where_it_stopped() {
    let agent = Agent::start().await;
    let archive = tar(&[("blob", &noise(600_000)), ("end", b"whole\n")]);
    let sent = archive.clone();
    let server = Server::start(move |asked, before| {
        let reply = Reply::content(asked, &sent);
        if before == 0 {
            reply.cut(sent.len() / 2)
        } else {
            reply
        }
    })
    .await;
    let payload = Payload {
        sha256: digest(&archive),
        ..at(&server.url("/p.tar"))
    };
    let seen = agent
        .run(with_payload("wc -c < blob; cat end", payload))
        .await;
    assert_eq!(seen.stdout, b"600000\nwhole\n", "{}", seen.text());
    let asked = server.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(
        asked[1].range_start.is_some_and(|start| start > 100_000),
        "{asked:?}"
    );
}

#[tokio::test]
async fn busy_server_is_asked_again_when_it_says() {
    let agent = Agent::start().await;
    let archive = tar(&[("file", b"here\n")]);
    let server = Server::start(move |asked, before| match before {
        0 => Reply::status("503 Service Unavailable", "retry-after: 1\r\n"),
        1 => Reply::status("429 Too Many Requests", "retry-after: 0\r\n"),
        _ => Reply::content(asked, &archive),
    })
    .await;
    let seen = agent
        .run(with_payload("cat file", at(&server.url("/p.tar"))))
        .await;
    assert_eq!(seen.stdout, b"here\n", "{}", seen.text());
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn archive_that_is_not_there_is_no_test_failure_and_is_not_asked_for_again() {
    let agent = Agent::start().await;
    let server = Server::start(|_, _| Reply::status("404 Not Found", "")).await;
    let item = with_payload(
        "true",
        at(&server.url("/gone.zip?sig=token-of-the-address")),
    );
    let seen = agent.run(delivery(item, 1, 3, 2)).await;
    let (returned, message) = payload_failure(&seen);
    assert!(
        message.contains("404") && message.contains("/gone.zip"),
        "{message}"
    );
    assert!(!message.contains("token-of-the-address"), "{message}");
    assert_eq!(returned.next_delivery_number, 2);
    assert_eq!(
        server.asked().len(),
        1,
        "what will not pass is not tried again"
    );
}

#[tokio::test]
async fn wrong_sha256_is_the_infrastructure_and_uses_no_retry() {
    let agent = Agent::start().await;
    let archive = tar(&[("file", b"here\n")]);
    let server = Server::start(move |asked, _| Reply::content(asked, &archive)).await;
    let payload = Payload {
        sha256: digest(b"something else"),
        ..at(&server.url("/p.tar"))
    };
    let item = delivery(with_payload("cat file", payload), 1, 3, 2);
    let seen = agent.run(item).await;
    let (returned, message) = payload_failure(&seen);
    assert!(message.contains("SHA-256"), "{message}");
    assert_eq!(
        returned.next_delivery_number, 2,
        "there is another delivery"
    );
    assert!(seen.stdout.is_empty(), "the command ran");
}

#[tokio::test]
async fn file_and_destination() {
    let agent = Agent::start().await;
    let first = agent.directory().join("first.tar");
    let second = agent.directory().join("second.tar.gz");
    std::fs::write(&first, tar(&[("a/one", b"1\n")])).expect("written");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&tar(&[("two", b"2\n")])).expect("written");
    std::fs::write(&second, gz.finish().expect("finished")).expect("written");
    let file = |path: &Path, destination: &str| Payload {
        destination: destination.to_owned(),
        ..at(&format!("file://{}", path.display()))
    };
    let item = WorkItem {
        payloads: vec![file(&first, ""), file(&second, "deep/er")],
        correlation_payloads: vec![file(&first, "shared")],
        ..shell(
            "cat a/one deep/er/two \"$HELIX_CORRELATION_PAYLOAD/shared/a/one\" \
                 \"$HELIX_WORKITEM_PAYLOAD/deep/er/two\"",
        )
    };
    let seen = agent.run(item).await;
    assert_eq!(seen.stdout, b"1\n2\n1\n2\n", "{}", seen.text());
}

#[tokio::test]
async fn destination_out_of_the_root_is_refused() {
    let agent = Agent::start().await;
    for destination in [
        "..",
        "a/../../b",
        "/etc",
        "a//../..",
        "a\u{0}b",
        "./..",
        "a/./../..",
    ] {
        let payload = Payload {
            destination: destination.to_owned(),
            ..at("file:///dev/null")
        };
        let refusal = agent.refusal(with_payload("true", payload)).await;
        assert_eq!(
            refusal.code(),
            tonic::Code::InvalidArgument,
            "{destination:?}"
        );
    }
}

fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(directory)
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@localhost",
            "-c",
            "init.defaultBranch=m",
        ])
        .args(arguments)
        .output()
        .expect("git runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test]
async fn commit_of_a_repository_is_checked_out_and_not_the_newest() {
    let agent = Agent::start().await;
    let repository = agent.directory().join("repository");
    std::fs::create_dir(&repository).expect("created");
    git(&repository, &["init", "-q"]);
    std::fs::write(repository.join("file"), "first\n").expect("written");
    git(&repository, &["add", "."]);
    git(&repository, &["commit", "-q", "-m", "one"]);
    let commit = git(&repository, &["rev-parse", "HEAD"]);
    std::fs::write(repository.join("file"), "second\n").expect("written");
    git(&repository, &["commit", "-q", "-a", "-m", "two"]);
    let source = |commit: &str| Payload {
        source: Some(payload::Source::Git(GitSource {
            url: format!("file://{}", repository.display()),
            commit: commit.to_owned(),
            submodules: false,
        })),
        destination: "source".to_owned(),
        ..Payload::default()
    };
    let seen = agent
        .run(with_payload("cat source/file", source(&commit)))
        .await;
    assert_eq!(seen.stdout, b"first\n", "{}", seen.text());

    // Shared by the job, into a root where another payload lies already.
    let first = Payload {
        destination: String::new(),
        ..source(&commit)
    };
    let newest = git(&repository, &["rev-parse", "HEAD"]);
    let item = WorkItem {
        correlation_payloads: vec![source(&newest), first],
        ..shell("cd \"$HELIX_CORRELATION_PAYLOAD\"; cat file source/file; ls -A")
    };
    let seen = agent.run(item).await;
    let text = String::from_utf8_lossy(&seen.stdout).into_owned();
    assert_eq!(text, "first\nsecond\nfile\nsource\n", "{}", seen.text());

    let missing = "0123456789012345678901234567890123456789";
    let seen = agent.run(with_payload("true", source(missing))).await;
    let (_, message) = payload_failure(&seen);
    assert!(message.contains(missing), "{message}");
}

/// A server that keeps its clients waiting until `go` exists, so that all who want
/// the same are there by then.
async fn gated(archive: Vec<u8>, go: PathBuf) -> Server {
    Server::start(move |asked, _| Reply::content(asked, &archive).once_there_is(go.clone())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn correlation_payload_of_two_items_that_start_together_is_fetched_once() {
    let agent = Agent::start().await;
    let go = agent.directory().join("go");
    let server = gated(tar(&[("shared", b"for both\n")]), go.clone()).await;
    let job_id = unique("job");
    let item = || WorkItem {
        job_id: job_id.clone(),
        correlation_payloads: vec![at(&server.url("/c.tar"))],
        ..shell("cat \"$HELIX_CORRELATION_PAYLOAD/shared\"")
    };
    let both = async { tokio::join!(agent.run(item()), agent.run(item())) };
    let open = async {
        eventually("both are being prepared", async || {
            let running = agent.capacity().await.running.len();
            if running == 2 && !server.asked().is_empty() {
                Ok(())
            } else {
                Err(running)
            }
        })
        .await;
        std::fs::write(&go, b"").expect("written");
    };
    let ((one, two), ()) = tokio::join!(both, open);
    assert_eq!(one.stdout, b"for both\n", "{}", one.text());
    assert_eq!(two.stdout, b"for both\n", "{}", two.text());
    // And one that comes later.
    assert_eq!(agent.run(item()).await.stdout, b"for both\n");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_items_of_ten_jobs_at_once_are_one_download() {
    let agent = Agent::start_with("slots = 10\n", "").await;
    let go = agent.directory().join("go");
    let archive = tar(&[("file", b"ten times\n")]);
    let sha256 = digest(&archive);
    let server = gated(archive, go.clone()).await;
    let mut streams = Vec::new();
    for number in 0..10 {
        // A digest says that it is the same, whatever the address.
        let url = server.url(&format!("/p.tar?token={number}"));
        let payload = Payload {
            sha256: sha256.clone(),
            ..at(&url)
        };
        streams.push(
            agent
                .offer(with_payload("cat file", payload))
                .await
                .expect("taken"),
        );
    }
    eventually("it is asked for", async || match server.asked().len() {
        0 => Err("nobody asks"),
        _ => Ok(()),
    })
    .await;
    std::fs::write(&go, b"").expect("written");
    for mut stream in streams {
        let mut seen = Seen::default();
        while let Some(response) = stream.message().await.expect("unbroken") {
            seen.take(response.event.expect("an event"));
        }
        assert_eq!(seen.stdout, b"ten times\n", "{}", seen.text());
    }
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn correlation_payload_that_could_not_be_brought_is_brought_for_the_next_item() {
    let agent = Agent::start().await;
    let archive = tar(&[("a", b"a\n"), ("b", b"b\n")]);
    // The first archive breaks off in the middle of its content.
    let broken = archive[..700].to_vec();
    let server = Server::start(move |asked, before| {
        Reply::content(asked, if before == 0 { &broken } else { &archive })
    })
    .await;
    let job_id = unique("job");
    let item = || WorkItem {
        job_id: job_id.clone(),
        correlation_payloads: vec![at(&server.url(&format!("/{}.tar", unique("c"))))],
        ..shell("cat \"$HELIX_CORRELATION_PAYLOAD/a\" \"$HELIX_CORRELATION_PAYLOAD/b\"")
    };
    let seen = agent.run(item()).await;
    payload_failure(&seen);
    let seen = agent.run(item()).await;
    assert_eq!(seen.stdout, b"a\nb\n", "{}", seen.text());
}

#[tokio::test]
async fn correlation_payload_serves_a_job_on_both_sides_of_a_restart() {
    let mut agent = Agent::start().await;
    let archive = tar(&[("shared", b"still here\n")]);
    let server = Server::start(move |asked, _| Reply::content(asked, &archive)).await;
    let job_id = unique("job");
    let gate = agent.directory().join("gate");
    let item = |line: &str| WorkItem {
        job_id: job_id.clone(),
        correlation_payloads: vec![at(&server.url("/c.tar"))],
        ..shell(line)
    };
    let line = format!(
        "echo ready; until test -e {}; do sleep 0.05; done; cat \"$HELIX_CORRELATION_PAYLOAD/shared\"",
        gate.display()
    );
    let first = item(&line);
    let attempt_id = first.attempt_id.clone();
    let mut stream = agent.offer(first).await.expect("taken");
    let mut seen = Seen::default();
    until(&mut stream, &mut seen, |seen, _| seen.stdout == b"ready\n").await;
    agent.kill_and_start_again().await;
    let unpacked = || {
        let place = agent.directory().join("work");
        let jobs = std::fs::read_dir(place).expect("readable").flatten();
        let files = jobs.map(|job| job.path().join("p/shared"));
        let file = files.filter_map(|file| file.metadata().ok()).next();
        file.expect("it is unpacked").ino()
    };
    let before = unpacked();
    // The new life of the agent leaves alone what a running work item may be reading.
    let second = agent
        .run(item("cat \"$HELIX_CORRELATION_PAYLOAD/shared\""))
        .await;
    assert_eq!(second.stdout, b"still here\n", "{}", second.text());
    assert_eq!(
        unpacked(),
        before,
        "unpacked anew under a running work item"
    );
    std::fs::write(&gate, b"").expect("written");
    let rest = agent.attach(&attempt_id, 0, 0).await;
    assert_eq!(rest.stdout, b"ready\nstill here\n", "{}", rest.text());
}

#[tokio::test]
async fn correlation_payload_from_an_address_signed_anew_is_not_unpacked_again() {
    let agent = Agent::start().await;
    let archive = tar(&[("shared", b"the same\n")]);
    let server = Server::start(move |asked, _| Reply::content(asked, &archive)).await;
    let job_id = unique("job");
    let item = |signature: &str| WorkItem {
        job_id: job_id.clone(),
        correlation_payloads: vec![at(&server.url(&format!("/c.tar?sig={signature}")))],
        ..shell("ls -i \"$HELIX_CORRELATION_PAYLOAD/shared\"")
    };
    let first = agent.run(item("one")).await;
    let second = agent.run(item("two")).await;
    assert!(first.stdout.ends_with(b"shared\n"), "{}", first.text());
    assert_eq!(first.stdout, second.stdout, "unpacked anew");
}

#[tokio::test]
async fn cancel_while_a_payload_is_being_fetched_ends_as_cancelled() {
    let agent = Agent::start().await;
    let archive = tar(&[("blob", &noise(200_000))]);
    let server =
        Server::start(move |asked, _| Reply::content(asked, &archive).cut(100_000).hold()).await;
    let item = delivery(with_payload("true", at(&server.url("/p.tar"))), 1, 3, 2);
    let attempt_id = item.attempt_id.clone();
    let mut stream = agent.offer(item).await.expect("taken");
    eventually("it is asked for", async || match server.asked().len() {
        0 => Err("nobody asks"),
        _ => Ok(()),
    })
    .await;
    let cancel = CancelRequest {
        attempt_id,
        grace: None,
        reason: "changed my mind".to_owned(),
    };
    agent.client().await.cancel(cancel).await.expect("noted");
    let mut seen = Seen::default();
    while let Some(response) = stream.message().await.expect("unbroken") {
        seen.take(response.event.expect("an event"));
    }
    let finished = seen.finished();
    assert_eq!(finished.helix_exit_code, -2);
    assert_eq!(seen.verdict().kind(), VerdictKind::Cancelled);
    assert!(
        seen.verdict().message.contains("changed my mind"),
        "{:?}",
        seen.verdict()
    );
    let free = agent.capacity().await.free.expect("set");
    assert_eq!(free.slots, 2);
}
