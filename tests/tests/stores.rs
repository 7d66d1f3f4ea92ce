//! Artifacts in real stores, and stores that are not there.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use helix_proto::agent::v1::attempt_event::Kind;
use helix_proto::agent::v1::{ArtifactKind, ArtifactStored, CancelRequest, VerdictKind, WorkItem};
use helix_tests::agent::{Agent, until};
use helix_tests::eventually;
use helix_tests::http::{Reply, Server};
use helix_tests::item::{delivery, limited, shell};
use helix_tests::stream::Seen;
use helix_tests::tools::tool;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// A server that is killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server and waits until it answers connections.
async fn start(mut command: Command, address: SocketAddr) -> Process {
    let process = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let process = Process(process.expect("it starts"));
    eventually("the store listens", async || {
        tokio::net::TcpStream::connect(address).await
    })
    .await;
    process
}

/// An address that nobody listens on. Somebody else may take it before it is
/// used; a port chosen by the server cannot be learned from these.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    listener.local_addr().expect("an address")
}

fn uploading() -> WorkItem {
    let line = "echo to the log; mkdir -p \"$HELIX_WORKITEM_UPLOAD_ROOT/deep\"; \
                head -c 3000000 /dev/urandom > \"$HELIX_WORKITEM_UPLOAD_ROOT/deep/large.bin\"; \
                sha256sum < \"$HELIX_WORKITEM_UPLOAD_ROOT/deep/large.bin\"; \
                echo core > \"$HELIX_DUMP_FOLDER/core.1\"; echo g > glob.txt; touch not.this; \
                echo odd > \"$HELIX_WORKITEM_UPLOAD_ROOT/a b#ü.txt\"";
    WorkItem {
        artifact_globs: vec!["*.txt".to_owned()],
        ..shell(line)
    }
}

fn stored(seen: &Seen) -> Vec<&ArtifactStored> {
    let pick = |event: &'_ helix_proto::agent::v1::AttemptEvent| {
        matches!(event.kind, Some(Kind::ArtifactStored(_)))
    };
    seen.events
        .iter()
        .filter(|event| pick(event))
        .filter_map(|event| match &event.kind {
            Some(Kind::ArtifactStored(stored)) => Some(stored),
            _ => None,
        })
        .collect()
}

/// Everything that the item left is told, once, with its true size and digest.
#[track_caller]
fn check(seen: &Seen) -> Vec<(String, u64, Vec<u8>)> {
    assert_eq!(seen.finished().helix_exit_code, 0, "{}", seen.text());
    let files = stored(seen);
    let kind = |name: &str| {
        let found: Vec<_> = files.iter().filter(|file| file.name == name).collect();
        assert_eq!(found.len(), 1, "`{name}` among {files:#?}");
        found[0].kind()
    };
    assert_eq!(kind("deep/large.bin"), ArtifactKind::Upload);
    assert_eq!(kind("a b#ü.txt"), ArtifactKind::Upload);
    assert_eq!(kind("glob.txt"), ArtifactKind::Upload);
    assert_eq!(kind("dumps/core.1"), ArtifactKind::Dump);
    assert!(files[0].name.starts_with("console.") && files[0].kind() == ArtifactKind::ConsoleLog);
    assert_eq!(files.len(), 5, "{files:#?}");
    let large = files
        .iter()
        .find(|file| file.name == "deep/large.bin")
        .expect("checked");
    assert_eq!(large.size_bytes, 3_000_000);
    let hex: String = large
        .sha256
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert!(
        String::from_utf8_lossy(&seen.stdout).contains(&hex),
        "not its digest"
    );
    files
        .iter()
        .map(|file| (file.url.clone(), file.size_bytes, file.sha256.clone()))
        .collect()
}

/// The text that is percent-encoded in a URL.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            Some(_) | None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).expect("text")
}

#[tokio::test]
async fn local_folder_holds_what_is_told() {
    let agent = Agent::start().await;
    let seen = agent.run(uploading()).await;
    for (url, size, sha256) in check(&seen) {
        let path = url.strip_prefix("file://").expect("a local store");
        let path = decoded(path);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(bytes.len() as u64, size);
        assert_eq!(Sha256::digest(&bytes).to_vec(), sha256);
    }
}

/// Account and key of every Azure emulator.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A client that nobody here wrote: makes the container, or reads every URL.
const AZURE_CLIENT: &str = "
import hashlib, sys
from azure.storage.blob import BlobServiceClient, BlobClient
endpoint, key, what = sys.argv[1:4]
if what == 'make':
    BlobServiceClient(endpoint, credential=key).create_container('results')
for url in sys.argv[4:]:
    data = BlobClient.from_blob_url(url, credential=key).download_blob().readall()
    print(len(data), hashlib.sha256(data).hexdigest())
";

#[tokio::test]
async fn azure_holds_what_is_told() {
    let Some(program) = tool("HELIX_TEST_AZURITE") else {
        return;
    };
    let Some(python) = tool("HELIX_TEST_PYTHON") else {
        return;
    };
    let directory = TempDir::with_prefix("helix-").expect("a directory");
    let address = free_address();
    let mut command = Command::new(program);
    command
        .args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"])
        .args([
            "--inMemoryPersistence",
            "--blobHost",
            "127.0.0.1",
            "--blobPort",
        ])
        .arg(address.port().to_string())
        .current_dir(directory.path());
    let _server = start(command, address).await;
    let endpoint = format!("http://{address}/{ACCOUNT}");
    let client = |what: &str, urls: &[String]| {
        let output = Command::new(&python)
            .args(["-c", AZURE_CLIENT, &endpoint, KEY, what])
            .args(urls)
            .output()
            .expect("python runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    client("make", &[]);
    let tables = format!(
        "[artifacts]\nurl = \"az://results/ci\"\n[artifacts.options]\naccount_name = \"{ACCOUNT}\"\n\
         account_key = {{ env = \"STORE_KEY\" }}\nendpoint = \"{endpoint}\"\nallow_http = \"true\"\n"
    );
    let agent = Agent::start_in(directory, "", &tables, &[("STORE_KEY", KEY)]).await;
    let files = check(&agent.run(uploading()).await);
    let urls: Vec<String> = files.iter().map(|file| file.0.clone()).collect();
    let expected: String = files
        .iter()
        .map(|(_, size, sha256)| {
            let hex: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{size} {hex}\n")
        })
        .collect();
    assert_eq!(client("read", &urls), expected);
    assert!(
        urls.iter().all(|url| !url.contains('?')),
        "a token in {urls:?}"
    );
    assert!(!agent.log().contains(KEY));
}

#[tokio::test]
async fn s3_holds_what_is_told() {
    let Some(program) = tool("HELIX_TEST_MOTO") else {
        return;
    };
    let Some(python) = tool("HELIX_TEST_PYTHON") else {
        return;
    };
    let directory = TempDir::with_prefix("helix-").expect("a directory");
    let address = free_address();
    let mut command = Command::new(program);
    command
        .args(["-H", "127.0.0.1", "-p"])
        .arg(address.port().to_string());
    let _server = start(command, address).await;
    let python = |code: &str, arguments: &[String]| {
        let output = Command::new(&python)
            .args(["-c", code])
            .args(arguments)
            .output();
        let output = output.expect("python runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let endpoint = format!("http://{address}");
    let make = "import sys, urllib.request as u\n\
                u.urlopen(u.Request(sys.argv[1] + '/helix-bucket', method='PUT'))";
    python(make, std::slice::from_ref(&endpoint));
    let tables = format!(
        "[artifacts]\nurl = \"s3://helix-bucket/ci\"\n[artifacts.options]\nendpoint = \"{endpoint}\"\n\
         allow_http = \"true\"\nregion = \"us-east-1\"\naccess_key_id = \"testing\"\n\
         secret_access_key = {{ env = \"STORE_KEY\" }}\n"
    );
    let agent = Agent::start_in(
        directory,
        "",
        &tables,
        &[("STORE_KEY", "s3-key-of-the-test")],
    )
    .await;
    let files = check(&agent.run(uploading()).await);
    // The server wants a signature and does not look at it.
    let read = "import sys, hashlib, urllib.request as u\n\
                scope = 'Credential=testing/20240101/us-east-1/s3/aws4_request'\n\
                sign = 'AWS4-HMAC-SHA256 ' + scope + ', SignedHeaders=host, Signature=0'\n\
                for url in sys.argv[1:]:\n \
                data = u.urlopen(u.Request(url, headers={'Authorization': sign})).read()\n \
                print(len(data), hashlib.sha256(data).hexdigest())";
    let urls: Vec<String> = files
        .iter()
        .map(|file| match file.0.strip_prefix("s3://") {
            Some(rest) => format!("{endpoint}/{rest}"),
            None => file.0.clone(),
        })
        .collect();
    let expected: String = files
        .iter()
        .map(|(_, size, sha256)| {
            let hex: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{size} {hex}\n")
        })
        .collect();
    assert_eq!(python(read, &urls), expected);
    assert!(!agent.log().contains("s3-key-of-the-test"));
}

/// A store that answers nobody, for at most a second.
fn unreachable_store(address: SocketAddr) -> String {
    format!(
        "[artifacts]\nurl = \"s3://helix-bucket/ci\"\ndeadline = \"1s\"\n[artifacts.options]\n\
         endpoint = \"http://{address}\"\nallow_http = \"true\"\nregion = \"us-east-1\"\n\
         access_key_id = \"testing\"\nsecret_access_key = {{ env = \"STORE_KEY\" }}\n"
    )
}

async fn agent_without_store(address: SocketAddr) -> Agent {
    let directory = TempDir::with_prefix("helix-").expect("a directory");
    let key = [("STORE_KEY", "s3-key-of-the-test")];
    Agent::start_in(directory, "", &unreachable_store(address), &key).await
}

#[tokio::test]
async fn store_that_cannot_be_reached_is_the_infrastructure_and_the_log_can_still_be_read() {
    let agent = agent_without_store(free_address()).await;
    let item = delivery(shell("echo the log is still here"), 1, 3, 0);
    let attempt_id = item.attempt_id.clone();
    let seen = agent.run(item).await;
    let returned = seen.returned();
    assert_eq!(seen.verdict().kind(), VerdictKind::Infrastructure);
    assert_eq!(seen.verdict().reason, "ARTIFACT_STORE_UNREACHABLE");
    assert_eq!(returned.next_delivery_number, 2);
    assert!(!seen.verdict().message.contains("s3-key-of-the-test"));
    let again = agent.attach(&attempt_id, 0, 0).await;
    assert_eq!(again.stdout, b"the log is still here\n");
    assert!(!agent.log().contains("s3-key-of-the-test"));
}

#[tokio::test]
async fn store_that_refuses_says_why() {
    let server = Server::start(|_, _| Reply::status("403 Forbidden", "")).await;
    let address = server
        .url("")
        .replace("http://", "")
        .parse()
        .expect("an address");
    let agent = agent_without_store(address).await;
    let seen = agent.run(shell("echo x")).await;
    assert_eq!(seen.verdict().reason, "ARTIFACT_STORE_UNREACHABLE");
    assert!(
        seen.verdict().message.contains("403"),
        "{}",
        seen.verdict().message
    );
}

#[tokio::test]
async fn timeout_and_cancel_are_never_retried_not_even_when_the_store_is_away() {
    let agent = agent_without_store(free_address()).await;
    let wall = Some(Duration::from_millis(200));
    let slow = limited(shell("sleep 600"), wall, None, Duration::ZERO);
    let seen = agent.run(delivery(slow, 1, 3, 2)).await;
    assert_eq!(seen.finished().helix_exit_code, -3, "{:?}", seen.verdict());

    let item = delivery(shell("echo ready; sleep 600"), 1, 3, 2);
    let attempt_id = item.attempt_id.clone();
    let mut stream = agent.offer(item).await.expect("taken");
    let mut seen = Seen::default();
    until(&mut stream, &mut seen, |seen, _| seen.stdout == b"ready\n").await;
    let grace = Some(prost_types::Duration::default());
    let cancel = CancelRequest {
        attempt_id,
        grace,
        reason: String::new(),
    };
    agent.client().await.cancel(cancel).await.expect("noted");
    while let Some(response) = stream.message().await.expect("unbroken") {
        seen.take(response.event.expect("an event"));
    }
    assert_eq!(seen.finished().helix_exit_code, -2, "{:?}", seen.verdict());
    // Somebody must be able to see that the files are nowhere.
    let warned = seen.find(|kind| match kind {
        Kind::Warning(warning) => Some(warning),
        _ => None,
    });
    assert!(warned.message.contains("store"), "{}", warned.message);
}
