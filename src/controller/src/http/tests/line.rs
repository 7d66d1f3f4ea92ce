//! The server on a real line: TLS, refusing to start, slow peers, and the typed client against it.

use helix_api::client::{Client, ClientError, Content, Options, SetupError, Until};
use helix_api::{EventQuery, ItemQuery, JobEventKind, JobQuery, ProblemKind, RetryRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::ServerIdentity;
use crate::http::serve;

/// A controller that listens.
struct Line {
    address: std::net::SocketAddr,
    store: MemoryStore,
    core: Arc<Core>,
    directory: tempfile::TempDir,
    stop: CancellationToken,
}

async fn listen(change: impl FnOnce(&mut Config)) -> std::io::Result<Line> {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = Config::for_loopback(directory.path());
    change(&mut config);
    let store = MemoryStore::new();
    store
        .put_queue(queue("linux", Visibility::Open))
        .await
        .expect("a queue");
    let core = Arc::new(Core::new(Parts {
        name: "here".to_owned(),
        store: Arc::new(store.clone()),
        logs: LogDirectory::new(&directory.path().join("logs")),
        storage: Storage::folder(&directory.path().join("objects")).expect("a folder"),
        world: Arc::new(ThisWorld),
        addresses: Arc::new(Network { tls: None }),
        config,
    }));
    let stop = CancellationToken::new();
    let address = serve(Arc::clone(&core), stop.clone()).await?;
    Ok(Line {
        address,
        store,
        core,
        directory,
        stop,
    })
}

fn options(url: String) -> Options {
    Options {
        url,
        token: None,
        authorities: None,
        patience: Duration::from_secs(5),
        user_agent: "test".to_owned(),
    }
}

fn client(line: &Line) -> Client {
    Client::new(&options(format!("http://{}", line.address))).expect("a client")
}

fn request(id: &str, names: &[&str]) -> helix_api::submit::JobRequest {
    let items: Vec<Value> = names
        .iter()
        .map(|name| serde_json::json!({"name": name, "command": {"shell": "true"}}))
        .collect();
    let body = serde_json::json!({"queue": "linux", "id": id, "items": items});
    helix_api::submit::JobRequest::read(body.to_string().as_bytes()).expect("a job")
}

#[tokio::test]
async fn without_tokens_only_loopback_is_served() {
    let error = listen(|config| config.http.address = "0.0.0.0:0".parse().unwrap()).await;
    let error = error.map(|line| line.address).expect_err("it refuses");
    let text = error.to_string();
    assert!(
        text.contains("without tokens") && text.contains("loopback"),
        "{text}"
    );
}

#[tokio::test]
async fn the_typed_client_does_what_the_api_offers() {
    let line = listen(|_| {}).await.unwrap();
    let client = client(&line);
    let job = request("j", &["a", "b/ü ?#"]);
    assert!(!client.submit(&job).await.unwrap().repeated);
    assert!(client.submit(&job).await.unwrap().repeated);
    let query = JobQuery {
        queue: Some("linux".to_owned()),
        open: true,
        ..JobQuery::default()
    };
    assert_eq!(client.jobs(&query).await.unwrap().jobs.len(), 1);
    let page = client.items("j", &ItemQuery::default()).await.unwrap();
    assert_eq!(page.items.len(), 2);
    assert_eq!(
        client.item("j", "b/ü ?#").await.unwrap().item.name,
        "b/ü ?#"
    );
    assert_eq!(
        client.explain("j", "a").await.unwrap().message,
        "no agent is known"
    );
    let error = client.item("j", "../..").await.unwrap_err();
    assert_eq!(
        error.problem().map(|problem| problem.kind),
        Some(ProblemKind::NotFound)
    );
    let events = client.events("j", &EventQuery::default()).await.unwrap();
    assert_eq!(events.events[0].kind, JobEventKind::Submitted);

    let api = Api::open().await;
    let steps = Api {
        store: line.store.clone(),
        ..api
    };
    let taken = steps.take("x1").await;
    let mut log = client.log("j", "a", "1", 2, Until::End);
    let settle = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        steps
            .settle(
                &taken,
                VerdictKind::Failed,
                end(ItemEndKind::Failed),
                b"0123456789",
            )
            .await;
    };
    let read = async {
        let mut all = Vec::new();
        while let Some(piece) = log.next().await.unwrap() {
            all.extend_from_slice(&piece);
        }
        all
    };
    let (all, ()) = tokio::join!(read, settle);
    assert_eq!(all, b"23456789");
    let mut beyond = client.log("j", "a", "1", 10, Until::Now);
    assert_eq!(beyond.next().await.unwrap(), None);
    assert_eq!(client.cancel_job("j", "enough").await.unwrap().ended, 1);
    let mut events = client.follow_events("j", 0);
    let mut kinds = Vec::new();
    while let Some(event) = events.next().await.unwrap() {
        kinds.push(event.kind);
    }
    assert_eq!(kinds.last(), Some(&JobEventKind::JobEnded));
    let retried = client.retry("j", &RetryRequest::default()).await.unwrap();
    assert_eq!(retried.items, 2);
    client.cancel_job(&retried.job, "").await.unwrap();

    let settings = helix_api::QueueSettings::default();
    assert_eq!(
        client
            .put_queue("new", &settings)
            .await
            .unwrap()
            .max_delivery_count,
        3
    );
    assert_eq!(client.queues().await.unwrap().queues.len(), 2);
    client.delete_queue("new").await.unwrap();
    assert!(client.agents().await.unwrap().agents.is_empty());
    let error = client.drain("none", "").await.unwrap_err();
    assert_eq!(error.problem().map(|problem| problem.status), Some(404));
}

#[tokio::test]
async fn uploads_of_the_typed_client_are_fetched_by_signed_addresses() {
    let line = listen(|_| {}).await.unwrap();
    let client = client(&line);
    let content: Vec<u8> = (0..10_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let file = line.directory.path().join("payload");
    std::fs::write(&file, &content).unwrap();
    let digest = super::super::wire::hex(&Sha256::digest(&content));
    assert!(!client.has_payload(&digest).await.unwrap());
    let stored = client
        .put_payload(&digest, &Content::File(file))
        .await
        .unwrap();
    assert_eq!(stored.reference, format!("payload:{digest}"));
    assert!(client.has_payload(&digest).await.unwrap());
    let mut item = helix_proto::agent::v1::WorkItem {
        payloads: vec![helix_proto::agent::v1::Payload {
            source: Some(helix_proto::agent::v1::payload::Source::Url(
                stored.reference,
            )),
            ..Default::default()
        }],
        ..Default::default()
    };
    line.core.address_payloads(&mut item);
    let Some(helix_proto::agent::v1::payload::Source::Url(url)) = &item.payloads[0].source else {
        panic!("no address")
    };
    assert!(
        url.starts_with(&format!("http://{}/", line.address)),
        "{url}"
    );
    let path = url
        .strip_prefix(&format!("http://{}", line.address))
        .unwrap();
    let answer = raw(
        line.address,
        &format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            line.address
        ),
    )
    .await;
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer[..80])
    );
    assert!(answer.ends_with(&content));
}

async fn raw(address: std::net::SocketAddr, request: &str) -> Vec<u8> {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn https_is_served_with_a_certificate_that_clients_can_check() {
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = identity.cert.pem();
    let key = identity.signing_key.serialize_pem();
    let files = tempfile::tempdir().unwrap();
    let (certificate_file, key_file) = (files.path().join("c.pem"), files.path().join("k.pem"));
    std::fs::write(&certificate_file, &pem).unwrap();
    std::fs::write(&key_file, key).unwrap();
    let line = listen(|config| {
        config.http.tls = Some(ServerIdentity {
            certificate: certificate_file,
            key: key_file,
        });
        config.tokens = vec![TokenConfig {
            name: "reader".to_owned(),
            sha256: Sha256::digest("reader-secret").into(),
            scopes: vec![Scope::Read],
        }];
    })
    .await
    .unwrap();
    let url = format!("https://localhost:{}", line.address.port());
    let with = |token: Option<&str>, authorities: Option<&str>| Options {
        token: token.map(str::to_owned),
        authorities: authorities.map(|pem| pem.as_bytes().to_vec()),
        patience: Duration::from_millis(10),
        ..options(url.clone())
    };
    let good = Client::new(&with(Some("reader-secret"), Some(&pem))).unwrap();
    assert_eq!(good.queues().await.unwrap().queues.len(), 1);
    let error = good.put_queue("x", &Default::default()).await.unwrap_err();
    assert_eq!(
        error.problem().map(|problem| problem.kind),
        Some(ProblemKind::Forbidden)
    );
    let nobody = Client::new(&with(None, Some(&pem))).unwrap();
    let error = nobody.queues().await.unwrap_err();
    assert_eq!(
        error.problem().map(|problem| problem.kind),
        Some(ProblemKind::Unauthenticated)
    );
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let stranger = Client::new(&with(Some("reader-secret"), Some(&other.cert.pem()))).unwrap();
    let error = stranger.queues().await.unwrap_err();
    assert!(
        matches!(error, ClientError::Unreachable { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_token_does_not_travel_in_the_clear() {
    let far = Options {
        token: Some("secret".to_owned()),
        ..options("http://helix.example".to_owned())
    };
    assert!(matches!(
        Client::new(&far),
        Err(SetupError::TokenInTheClear { .. })
    ));
    for wrong in ["helix.example", "ftp://x", "http://u:pw@x", "http://x?y"] {
        let error = Client::new(&options(wrong.to_owned())).unwrap_err();
        assert!(!error.to_string().contains("pw"), "{error}");
    }
}

#[tokio::test]
async fn a_stopped_server_lets_go_of_those_who_follow() {
    let line = listen(|_| {}).await.unwrap();
    let client = client(&line);
    client.submit(&request("j", &["a"])).await.unwrap();
    let mut stream = tokio::net::TcpStream::connect(line.address).await.unwrap();
    let ask = format!(
        "GET /api/v1/jobs/j/events HTTP/1.1\r\nhost: {}\r\naccept: text/event-stream\r\n\r\n",
        line.address
    );
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut piece = vec![0; 4096];
    assert!(stream.read(&mut piece).await.unwrap() > 0);
    line.stop.cancel();
    let ended = async { while stream.read(&mut piece).await.is_ok_and(|count| count > 0) {} };
    tokio::time::timeout(Duration::from_secs(20), ended)
        .await
        .expect("it ends");
    assert!(tokio::net::TcpStream::connect(line.address).await.is_err());
}
