//! What must never be shown.

use std::io::Write;
use std::sync::{Arc, Mutex};

use helix_artifacts::{Destination, Options, Tuning};
use tracing::instrument::WithSubscriber;

use crate::fake_s3::{FakeS3, Fault};
use crate::support::{file, hasty, name};

const SECRETS: [&str; 3] = [
    "c2VjcmV0LWFjY291bnQta2V5",
    "sig%2Fnature-secret",
    "sig/nature-secret",
];

fn shows_a_secret(text: &str) -> bool {
    SECRETS.iter().any(|secret| text.contains(secret))
}

#[tokio::test]
async fn neither_destinations_nor_errors_nor_urls_show_credentials() {
    let key = Options::new()
        .with("account_name", "builds")
        .with("account_key", SECRETS[0]);
    let sas = Options::new().with("account_name", "builds").with(
        "sas_token",
        format!("?sv=2024-11-04&sp=rw&sig={}", SECRETS[1]),
    );
    for options in [key, sas] {
        assert!(!shows_a_secret(&format!("{options:?}")));
        let options = options.with("endpoint", "http://127.0.0.1:1/builds");
        let destination = Destination::open("az://container/prefix", &options)
            .expect("opened")
            .with_tuning(Tuning {
                within: std::time::Duration::from_millis(300),
                ..hasty()
            });
        assert!(!shows_a_secret(&format!("{destination:?}")));
        assert_eq!(
            destination.url(),
            "http://127.0.0.1:1/builds/container/prefix"
        );
        let url = destination.url_of(&name("a b#1.txt"));
        assert_eq!(
            url,
            "http://127.0.0.1:1/builds/container/prefix/a%20b%25231.txt"
        );
        let error = destination
            .store(file(b"x"), &name("a"))
            .await
            .expect_err("no server");
        assert!(!shows_a_secret(&format!("{error} {error:?}")));
    }
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("the log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn neither_logs_nor_answers_that_quote_a_request_show_a_token() {
    let quoted = format!("<Message>sig={} and {}</Message>", SECRETS[1], SECRETS[2]);
    let mut busy = 3;
    let server = FakeS3::start(move |_| {
        busy -= 1;
        let status = if busy > 0 { 503 } else { 403 };
        Fault::Answer(status, "", quoted.clone())
    })
    .await;
    let options = Options::new()
        .with("account_name", "builds")
        .with(
            "sas_token",
            format!("sv=2024-11-04&sp=rw&sig={}", SECRETS[1]),
        )
        .with("endpoint", format!("http://127.0.0.1:{}", server.port));
    let destination = Destination::open("az://container", &options)
        .expect("opened")
        .with_tuning(hasty());
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(move || writer.clone())
        .finish();
    let name = name("a");
    let storing = destination.store(file(b"x"), &name);
    let error = storing
        .with_subscriber(subscriber)
        .await
        .expect_err("refused");
    assert!(
        server.count("PUT", &["sig="]) >= 3,
        "the token was not even sent"
    );
    assert!(!shows_a_secret(&format!("{error} {error:?}")), "{error}");
    assert!(error.to_string().contains("***"), "{error}");
    let log = String::from_utf8(log.0.lock().expect("the log").clone()).expect("text");
    assert!(
        log.contains("repeating a request"),
        "nothing was logged: {log}"
    );
    assert!(!shows_a_secret(&log), "{log}");
}

#[test]
fn wrong_options_are_named_without_their_values() {
    let open = |url: &str, name: &str, value: &str| {
        let options = Options::new()
            .with("account_name", "builds")
            .with(name, value);
        let error = Destination::open(url, &options).expect_err("refused");
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hidden-value"), "{text}");
        text
    };
    assert!(open("az://container", "acount_key", "hidden-value").contains("`acount_key`"));
    assert!(open("az://container", "account_key", "hidden-value").contains("options"));
    assert!(open("az://container", "use_emulator", "hidden-value").contains("`use_emulator`"));
    assert!(open("az://container", "endpoint", "https://x/?hidden-value").contains("`endpoint`"));
    assert!(open("az://container", "proxy_url", "hidden-value").contains("`proxy_url`"));
    assert!(open("s3://bucket", "account_key", "hidden-value").contains("account_"));
}

#[test]
fn the_public_clouds_have_their_usual_addresses() {
    let options = Options::new()
        .with("account_name", "builds")
        .with("account_key", SECRETS[0]);
    let azure = Destination::open("az://container/a/b", &options).expect("opened");
    assert_eq!(
        azure.url(),
        "https://builds.blob.core.windows.net/container/a/b"
    );
    let options = Options::new()
        .with("access_key_id", "x")
        .with("secret_access_key", "y")
        .with("region", "eu-north-1");
    let path = Destination::open("s3://my.bucket/a", &options).expect("opened");
    assert_eq!(
        path.url(),
        "https://s3.eu-north-1.amazonaws.com/my.bucket/a"
    );
    let options = options.with("virtual_hosted_style_request", "true");
    let hosted = Destination::open("s3://my-bucket", &options).expect("opened");
    assert_eq!(
        hosted.url(),
        "https://my-bucket.s3.eu-north-1.amazonaws.com/"
    );
}
