//! Servers that fail in the middle of things.

use std::time::{Duration, Instant};

use futures::StreamExt;
use helix_artifacts::{Destination, Options, StoreError, Tuning};

use crate::fake_s3::{FakeS3, Fault, Head};
use crate::support::{file, hasty, name, noise, sha256, until};

/// A script that applies these faults, one to each request that `which` picks, then none.
fn faults(
    which: impl Fn(&Head) -> bool + Send + 'static,
    faults: impl IntoIterator<Item = Fault>,
) -> impl FnMut(&Head) -> Fault + Send + 'static {
    let mut faults = faults.into_iter().collect::<Vec<_>>().into_iter();
    move |head| {
        if which(head) {
            faults.next().unwrap_or(Fault::None)
        } else {
            Fault::None
        }
    }
}

fn any(_: &Head) -> bool {
    true
}

fn is_part(head: &Head) -> bool {
    head.method == "PUT" && head.target.contains("partNumber")
}

fn is_completion(head: &Head) -> bool {
    head.method == "POST" && head.target.contains("uploadId")
}

fn busy(status: u16) -> Fault {
    Fault::Answer(status, "", String::new())
}

async fn check_arrives(server: &FakeS3, size: usize) {
    let bytes = noise(size);
    let stored = server
        .destination()
        .store(file(&bytes), &name("dir/a.trx"))
        .await
        .expect("stored");
    assert_eq!(stored.sha256, sha256(&bytes));
    let state = server.state();
    let object = state.objects.get("results/dir/a.trx").expect("an object");
    assert!(object.bytes == bytes, "the object differs from the file");
    assert_eq!(object.content_type, "application/xml");
    assert!(state.uploads.is_empty(), "parts stay behind");
    assert_eq!(
        stored.url,
        format!("http://127.0.0.1:{}/bucket/results/dir/a.trx", server.port)
    );
}

#[tokio::test]
async fn without_faults_each_request_is_made_once() {
    let server = FakeS3::start(|_| Fault::None).await;
    check_arrives(&server, 1000).await;
    check_arrives(&server, 300_000).await;
    // Should anything be discarded after its completion, it is done by now.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.state().requests.len(), 1 + 1 + 5 + 1);
}

#[tokio::test]
async fn connections_cut_within_a_body_are_begun_again() {
    let cuts = [
        Fault::CutAfter(10),
        Fault::CutAfter(0),
        Fault::CutAfter(900),
    ];
    let server = FakeS3::start(faults(any, cuts)).await;
    check_arrives(&server, 1000).await;
    assert_eq!(server.state().requests.len(), 4);
}

#[tokio::test]
async fn a_part_that_fails_is_sent_again_alone() {
    let fails = [
        Fault::CutAfter(30_000),
        busy(503),
        busy(500),
        Fault::AnswerLost,
        busy(429),
    ];
    let server = FakeS3::start(faults(is_part, fails)).await;
    check_arrives(&server, 300_000).await;
    assert_eq!(server.count("POST", &["?uploads"]), 1);
    assert_eq!(server.count("PUT", &["partNumber"]), 5 + 5);
}

#[tokio::test]
async fn a_completion_whose_answer_was_lost_does_not_lose_the_file() {
    let server = FakeS3::start(faults(is_completion, [Fault::AnswerLost])).await;
    check_arrives(&server, 300_000).await;
}

#[tokio::test]
async fn an_error_in_an_answer_that_says_success_is_seen() {
    let error = "<Error><Code>InternalError</Code></Error>".to_owned();
    let server = FakeS3::start(faults(is_completion, [Fault::Answer(200, "", error)])).await;
    check_arrives(&server, 300_000).await;
}

#[tokio::test]
async fn an_upload_that_the_server_forgot_is_begun_anew() {
    let gone = "<Error><Code>NoSuchUpload</Code></Error>".to_owned();
    let server = FakeS3::start(faults(is_part, [Fault::None, Fault::Answer(404, "", gone)])).await;
    check_arrives(&server, 300_000).await;
    assert_eq!(server.count("POST", &["?uploads"]), 2);
}

#[tokio::test]
async fn a_server_that_says_when_to_come_back_is_heard() {
    let later = Fault::Answer(503, "retry-after: 1\r\n", String::new());
    let server = FakeS3::start(faults(any, [later])).await;
    let begun = Instant::now();
    check_arrives(&server, 10).await;
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_refusal_is_final_at_once_and_says_why() {
    let body = "<Error><Code>AccessDenied</Code>\n<Message>no \
                a-very-secret-access-key</Message></Error>";
    let server = FakeS3::start(move |_| Fault::Answer(403, "", body.to_owned())).await;
    let error = server
        .destination()
        .store(file(&noise(300_000)), &name("a"))
        .await
        .expect_err("refused");
    assert_eq!(server.state().requests.len(), 1);
    let StoreError::Refused {
        reason,
        destination,
        ..
    } = &error
    else {
        panic!("{error:?}")
    };
    assert!(
        reason.contains("403") && reason.contains("AccessDenied"),
        "{reason}"
    );
    assert_eq!(
        *destination,
        format!("http://127.0.0.1:{}/bucket/results", server.port)
    );
    for text in [format!("{error:?}"), error.to_string()] {
        assert!(
            !text.contains("a-very-secret") && !text.contains('\n'),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_server_that_keeps_failing_is_left_at_the_deadline() {
    let server = FakeS3::start(|_| busy(503)).await;
    let tuning = Tuning {
        within: Duration::from_millis(800),
        ..hasty()
    };
    let begun = Instant::now();
    let error = server
        .destination()
        .with_tuning(tuning)
        .store(file(b"x"), &name("a"))
        .await
        .expect_err("out of time");
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    let StoreError::OutOfTime { reason, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(reason, "503 Service Unavailable");
    assert!(server.state().requests.len() > 2);
}

#[tokio::test]
async fn a_server_that_is_silent_is_left_at_the_deadline() {
    let server = FakeS3::start(|_| Fault::Silence).await;
    let tuning = Tuning {
        within: Duration::from_millis(500),
        ..hasty()
    };
    let destination = server.destination().with_tuning(tuning);
    let error = destination
        .store(file(b"x"), &name("a"))
        .await
        .expect_err("out of time");
    assert!(
        error
            .to_string()
            .ends_with("the transfer was still going on"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_with_its_reason() {
    let options = Options::new()
        .with("endpoint", "http://127.0.0.1:1")
        .with("access_key_id", "AKIDEXAMPLE")
        .with("secret_access_key", "a-very-secret-access-key");
    let destination = Destination::open("s3://bucket", &options)
        .expect("opened")
        .with_tuning(Tuning {
            within: Duration::from_millis(300),
            ..hasty()
        });
    let error = destination
        .store(file(b"x"), &name("a"))
        .await
        .expect_err("out of time");
    assert!(error.to_string().contains("onnection refused"), "{error}");
}

#[tokio::test]
async fn no_more_parts_are_on_their_way_than_allowed() {
    let server = FakeS3::start(faults(is_part, vec![Fault::Silence; 20])).await;
    let tuning = Tuning {
        parts_at_once: 3,
        ..hasty()
    };
    let destination = server.destination().with_tuning(tuning);
    let name = name("a");
    let storing = destination.store(file(&noise(2_000_000)), &name);
    let looking = async {
        until("three parts", || server.count("PUT", &["partNumber"]) == 3).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(server.count("PUT", &["partNumber"]), 3);
    };
    tokio::select! {
        stored = storing => panic!("{stored:?}"),
        () = looking => {}
    }
}

#[tokio::test]
async fn a_cancelled_upload_in_parts_is_discarded_at_the_server() {
    let server = FakeS3::start(|head| {
        if head.target.contains("partNumber=4") {
            Fault::Silence
        } else {
            Fault::None
        }
    })
    .await;
    let destination = server.destination();
    let name = name("a");
    tokio::select! {
        stored = destination.store(file(&noise(600_000)), &name) => panic!("{stored:?}"),
        () = until("the fourth part", || server.count("PUT", &["partNumber=4"]) > 0) => {}
    }
    until("the end of the upload", || {
        server.state().uploads.is_empty()
    })
    .await;
    assert!(server.state().objects.is_empty());
    assert_eq!(server.count("DELETE", &["uploadId"]), 1);
}

#[tokio::test]
async fn a_failed_upload_in_parts_is_discarded_at_the_server() {
    let server = FakeS3::start(faults(is_part, [Fault::None, Fault::None, busy(403)])).await;
    let destination = server.destination();
    destination
        .store(file(&noise(600_000)), &name("a"))
        .await
        .expect_err("refused");
    until("the end of the upload", || {
        server.state().uploads.is_empty()
    })
    .await;
}

#[tokio::test]
async fn files_share_one_deadline_and_all_are_answered() {
    let server = FakeS3::start(|_| Fault::Silence).await;
    let uploads = tempfile::tempdir().expect("a directory");
    for number in 0..20 {
        std::fs::write(uploads.path().join(number.to_string()), "x").expect("written");
    }
    let rule = helix_artifacts::Rule {
        directory: uploads.path().to_owned(),
        kind: helix_artifacts::Kind::Upload,
        take: helix_artifacts::Take::Everything,
        beneath: None,
    };
    let selection = helix_artifacts::select(&[rule], &[], &helix_artifacts::Limits::default());
    let tuning = Tuning {
        within: Duration::from_secs(3),
        ..hasty()
    };
    let begun = Instant::now();
    let destination = server.destination().with_tuning(tuning);
    let outcomes: Vec<_> = destination.store_all(selection.files).collect().await;
    // One after the other they would take five times as long.
    assert!(
        begun.elapsed() < Duration::from_secs(9),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(outcomes.len(), 20);
    assert_eq!(server.state().requests.len(), hasty().files_at_once);
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome.result, Err(StoreError::OutOfTime { .. })))
    );
}

#[tokio::test]
async fn a_server_whose_certificate_is_not_trusted_is_left_at_once() {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("signed");
    let key = rustls::pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der());
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key.expect("a key"))
        .expect("a configuration");
    let config = std::sync::Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = listener.local_addr().expect("an address").port();
    let connections = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    std::thread::spawn({
        let connections = std::sync::Arc::clone(&connections);
        move || {
            for stream in listener.incoming().flatten() {
                connections.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let mut stream = stream;
                let connection = rustls::ServerConnection::new(std::sync::Arc::clone(&config));
                // The handshake fails on the other side.
                let _ = connection.expect("a connection").complete_io(&mut stream);
            }
        }
    });
    let options = Options::new()
        .with("endpoint", format!("https://localhost:{port}"))
        .with("access_key_id", "AKIDEXAMPLE")
        .with("secret_access_key", "a-very-secret-access-key");
    let destination = Destination::open("s3://bucket", &options)
        .expect("opened")
        .with_tuning(hasty());
    let error = destination
        .store(file(b"x"), &name("a"))
        .await
        .expect_err("a stranger");
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("certificate"), "{error}");
    assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[test]
fn speaking_in_the_clear_to_another_machine_needs_permission() {
    let options = Options::new().with("endpoint", "http://storage.example:9000");
    let error = Destination::open("s3://bucket", &options).expect_err("refused");
    assert!(
        matches!(error, helix_artifacts::OpenError::PlainHttp { .. }),
        "{error:?}"
    );
    let options = options
        .with("allow_http", "true")
        .with("access_key_id", "x")
        .with("secret_access_key", "y");
    Destination::open("s3://bucket", &options).expect("allowed");
}
