//! Who may speak with the agent, and what it never tells.

use std::path::{Path, PathBuf};
use std::process::Command;

use helix_proto::agent::v1::agent_service_client::AgentServiceClient;
use helix_proto::agent::v1::{
    EnvironmentVariable, GetCapacityRequest, ListAttemptsRequest, Payload, RunRequest, WorkItem,
    payload,
};
use helix_tests::agent::Agent;
use helix_tests::archive::tar;
use helix_tests::http::{self, Reply, Server};
use helix_tests::item::shell;
use helix_tests::programs::program;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use tonic::{Code, Status};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed")
}

/// Certificate and key of somebody, as PEM.
fn issue(authority: &Authority, name: &str) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, authority).expect("signed");
    (certificate.pem(), key.serialize_pem())
}

fn write(path: PathBuf, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(&path, text).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
    path
}

/// An agent that wants certificates of `clients`, and the authority of its own.
async fn agent_with_tls(clients: &Authority) -> (Agent, String) {
    let own = authority();
    let (certificate, key) = issue(&own, "localhost");
    let directory = TempDir::with_prefix("helix-").expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let tables = format!(
        "[listen.tls]\ncertificate = {:?}\nkey = {:?}\nclient_ca = {:?}\n",
        write(at("agent.pem"), &certificate),
        write(at("agent.key"), &key),
        write(at("clients.pem"), &clients.pem()),
    );
    (
        Agent::start_in(directory, "", &tables, &[]).await,
        own.pem(),
    )
}

async fn capacity_by(
    agent: &Agent,
    authority: &str,
    identity: Option<(String, String)>,
) -> Result<(), String> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority))
        .domain_name("localhost");
    if let Some((certificate, key)) = identity {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    let channel = Channel::from_shared(format!("https://{}", agent.address()))
        .expect("an address")
        .tls_config(tls)
        .expect("a configuration")
        .connect()
        .await
        .map_err(|error| error.to_string())?;
    let mut client = AgentServiceClient::new(channel);
    let said = |status: Status| status.to_string();
    client
        .get_capacity(GetCapacityRequest {})
        .await
        .map_err(said)?;
    let item = RunRequest {
        work_item: Some(shell("echo over tls")),
    };
    let mut stream = client.run(item).await.map_err(said)?.into_inner();
    while stream.message().await.map_err(said)?.is_some() {}
    Ok(())
}

#[tokio::test]
async fn client_with_a_certificate_of_the_right_authority_is_let_in() {
    let clients = authority();
    let (agent, own) = agent_with_tls(&clients).await;
    capacity_by(&agent, &own, Some(issue(&clients, "a client")))
        .await
        .expect("let in");
}

#[tokio::test]
async fn client_without_a_certificate_or_with_a_foreign_one_is_turned_away() {
    let clients = authority();
    let (agent, own) = agent_with_tls(&clients).await;
    capacity_by(&agent, &own, None)
        .await
        .expect_err("no certificate");
    let foreign = issue(&authority(), "a client");
    capacity_by(&agent, &own, Some(foreign))
        .await
        .expect_err("a foreign certificate");
    let plain = AgentServiceClient::connect(format!("http://{}", agent.address())).await;
    if let Ok(mut plain) = plain {
        plain
            .get_capacity(GetCapacityRequest {})
            .await
            .expect_err("in the clear");
    }
    // Nobody of these has disturbed it.
    capacity_by(&agent, &own, Some(issue(&clients, "a client")))
        .await
        .expect("let in");
    let list = agent.directory().join("state/attempts");
    assert_eq!(
        std::fs::read_dir(list).expect("a directory").count(),
        1,
        "one item ran"
    );
}

#[tokio::test]
async fn client_does_not_talk_to_an_agent_of_a_foreign_authority() {
    let clients = authority();
    let (agent, _) = agent_with_tls(&clients).await;
    let other = authority().pem();
    capacity_by(&agent, &other, Some(issue(&clients, "a client")))
        .await
        .expect_err("not trusted");
}

/// Runs the agent with these tables until it ends by itself.
fn refused(tables: &str) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().display();
    let text = format!(
        "state_directory = \"{root}/state\"\nwork_directory = \"{root}/work\"\n\
         config_root = \"{root}/config\"\n{tables}"
    );
    let file = write(directory.path().join("agent.toml"), &text);
    let output = Command::new(program("helix-agent"))
        .args(["run", "--config"])
        .arg(file)
        .output()
        .expect("it starts");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn agent_refuses_to_listen_off_loopback_without_tls() {
    for address in [
        "0.0.0.0:0",
        "[::]:0",
        "192.0.2.1:7420",
        "[::ffff:192.0.2.1]:7420",
    ] {
        let (code, error) = refused(&format!("[listen]\naddress = \"{address}\"\n"));
        assert_eq!(code, Some(78), "{address}: {error}");
        assert!(
            error.contains("whoever reaches it can run commands here"),
            "{error}"
        );
        assert!(error.contains("[listen.tls]"), "{error}");
    }
    for word in ["true", "\"yes\"", "\"I-UNDERSTAND\""] {
        let tables = format!("[listen]\naddress = \"0.0.0.0:0\"\ninsecure_without_tls = {word}\n");
        assert_eq!(refused(&tables).0, Some(78), "{word}");
    }
    let (code, error) = refused("[monitoring]\naddress = \"0.0.0.0:0\"\n");
    assert_eq!(code, Some(78), "{error}");
    assert!(error.contains("can read what this one does"), "{error}");
}

#[test]
fn agent_refuses_certificates_that_are_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let junk = write(directory.path().join("junk.pem"), "no certificate\n");
    let tables = format!(
        "[listen]\naddress = \"0.0.0.0:0\"\n[listen.tls]\ncertificate = {junk:?}\nkey = {junk:?}\n\
         client_ca = \"/nowhere/ca.pem\"\n"
    );
    let (code, error) = refused(&tables);
    assert_eq!(code, Some(78), "{error}");
    assert!(error.contains("3 problems"), "{error}");
    // What looks like one and is none shows only when it is used.
    let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n\
                -----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let fake = write(directory.path().join("fake.pem"), text);
    let tables = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n[monitoring]\naddress = \"127.0.0.1:0\"\n\
         [listen.tls]\ncertificate = {fake:?}\nkey = {fake:?}\nclient_ca = {fake:?}\n"
    );
    let (code, error) = refused(&tables);
    assert!(code.is_some_and(|code| code != 0), "{error}");
    assert!(
        error.contains("certificate") || error.contains("key"),
        "{error}"
    );
}

#[tokio::test]
async fn word_that_cannot_be_written_by_mistake_opens_the_agent_to_all() {
    let directory = TempDir::with_prefix("helix-").expect("a directory");
    let root = directory.path().display().to_string();
    let text = format!(
        "state_directory = \"{root}/state\"\nwork_directory = \"{root}/work\"\n\
         config_root = \"{root}/config\"\n[listen]\naddress = \"0.0.0.0:0\"\n\
         insecure_without_tls = \"i-understand-that-anyone-can-run-commands\"\n\
         [monitoring]\naddress = \"\"\n"
    );
    let file = write(directory.path().join("agent.toml"), &text);
    let mut process = tokio::process::Command::new(program("helix-agent"))
        .args(["run", "--config"])
        .arg(file)
        .kill_on_drop(true)
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    let address = helix_tests::eventually("it listens", async || {
        std::fs::read_to_string(directory.path().join("state/listening"))
    })
    .await;
    let port = address
        .trim()
        .rsplit(':')
        .next()
        .expect("a port")
        .to_owned();
    let client = AgentServiceClient::connect(format!("http://127.0.0.1:{port}")).await;
    client
        .expect("it answers")
        .get_capacity(GetCapacityRequest {})
        .await
        .expect("an answer");
    process.kill().await.expect("killed");
}

/// What must never be seen outside the work item itself.
const SECRET: &str = "s3cret-Value-Zq81";
const VARIABLE: &str = "env1ronment-Value-Xw55";
const TOKEN: &str = "query-T0ken-Yy77";
const PASSWORD: &str = "url-Passw0rd-Kk33";
const ARGUMENT: &str = "shell-l1ne-Nn44";

#[tokio::test]
async fn nothing_that_may_be_secret_is_ever_written_or_told() {
    let directory = TempDir::with_prefix("helix-").expect("a directory");
    let agent = Agent::start_in(directory, "", "", &[("HELIX_LOG", "trace")]).await;
    let archive = tar(&[("file", b"content\n")]);
    let found = Server::start(move |asked, _| match asked.path.starts_with("/good") {
        true => Reply::content(asked, &archive),
        false => Reply::status("403 Forbidden", ""),
    })
    .await;
    let authority = found
        .url("")
        .replace("http://", &format!("http://user:{PASSWORD}@"));
    let at = |path: &str| Payload {
        source: Some(payload::Source::Url(format!(
            "{authority}{path}?sig={TOKEN}"
        ))),
        ..Payload::default()
    };
    let item = |path: &str| WorkItem {
        payloads: vec![at(path)],
        correlation_payloads: vec![Payload {
            destination: "c".to_owned(),
            ..at("/good/c")
        }],
        secrets: vec![SECRET.to_owned()],
        environment: vec![
            EnvironmentVariable {
                name: "SECRET".to_owned(),
                value: SECRET.to_owned(),
            },
            EnvironmentVariable {
                name: "OTHER".to_owned(),
                value: VARIABLE.to_owned(),
            },
        ],
        ..shell(&format!(
            "test -n '{ARGUMENT}'; echo \"$SECRET\"; echo \"$SECRET\" >&2; cat file"
        ))
    };
    let good = item("/good/p");
    let mut told = format!("{:?}", agent.run(good.clone()).await);
    assert!(
        told.contains("content") || told.contains("99, 111"),
        "{told}"
    );
    told += &format!("{:?}", agent.run(item("/forbidden")).await);
    let mut bad = item("/good/p");
    bad.limits = Some(helix_proto::agent::v1::Limits {
        output_bytes: 1,
        ..Default::default()
    });
    told += &format!("{:?}", agent.refusal(bad).await);
    let duplicate = agent.refusal(good).await;
    assert_eq!(duplicate.code(), Code::AlreadyExists);
    told += &format!("{duplicate:?} {}", duplicate.message());
    told += &format!("{:?}", agent.capacity().await);
    let list = ListAttemptsRequest::default();
    told += &format!(
        "{:?}",
        agent
            .client()
            .await
            .list_attempts(list)
            .await
            .expect("a list")
    );
    told += &http::get(agent.monitoring(), "/metrics").await.2;
    let all = [SECRET, VARIABLE, TOKEN, PASSWORD, ARGUMENT];
    for word in all {
        assert!(!told.contains(word), "`{word}` is told: {told}");
        assert_no_trace(agent.directory(), word.as_bytes());
    }
}

/// No file below `directory` holds `word`, save what the item itself was given.
fn assert_no_trace(directory: &Path, word: &[u8]) {
    for entry in std::fs::read_dir(directory).expect("readable").flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            assert_no_trace(&path, word);
        } else if let Ok(bytes) = std::fs::read(&path) {
            let place = bytes.windows(word.len()).position(|window| window == word);
            if let Some(place) = place {
                let around = &bytes[place.saturating_sub(200)..(place + 100).min(bytes.len())];
                panic!(
                    "it stands in {}: {}",
                    path.display(),
                    String::from_utf8_lossy(around)
                );
            }
        }
    }
}

#[tokio::test]
async fn variables_of_the_agent_do_not_reach_a_work_item_not_even_by_way_of_its_parents() {
    let directory = TempDir::with_prefix("helix-").expect("a directory");
    let variables = [("STORE_CREDENTIAL", "cr3dential-of-the-agent")];
    let agent = Agent::start_in(directory, "", "", &variables).await;
    // The supervisor is the command's parent, and both run as the same user.
    let line = "env; tr '\\0' '\\n' < /proc/$PPID/environ; echo done";
    let seen = agent.run(shell(line)).await;
    assert!(
        !seen.text().contains("cr3dential-of-the-agent"),
        "{}",
        seen.text()
    );
    assert!(seen.text().contains("done"), "{}", seen.text());
}
