//! The Azure Blob emulator.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use helix_artifacts::{Destination, Options, StoreError, Tuning};
use sha2::{Digest, Sha256};

use crate::support::{Server, file, hasty, name, noise, sha256};

/// Account and key of every emulator.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

#[tokio::test]
async fn files_of_every_size_arrive_at_azure() {
    let directory = tempfile::tempdir().expect("a directory");
    let arguments = |port: u16| {
        let mut arguments = ["--silent", "--disableTelemetry", "--skipApiVersionCheck"]
            .map(str::to_owned)
            .to_vec();
        arguments.extend(["--inMemoryPersistence", "--blobHost", "127.0.0.1"].map(str::to_owned));
        arguments.extend(["--blobPort".to_owned(), port.to_string()]);
        arguments
    };
    let Some(server) = Server::start("HELIX_TEST_AZURITE", arguments, directory.path()) else {
        return;
    };
    let endpoint = format!("http://127.0.0.1:{}/{ACCOUNT}", server.port);
    let signed = |method: &'static str, path: &str, query: &[(&str, &str)]| {
        request(&endpoint, method, path, query)
    };
    let answer = signed("PUT", "results", &[("restype", "container")])
        .send()
        .await
        .expect("sent");
    assert!(answer.status().is_success(), "{answer:?}");

    let options = Options::new()
        .with("use_emulator", "true")
        .with("endpoint", &endpoint);
    let tuning = Tuning {
        part_bytes: 1 << 20,
        ..hasty()
    };
    let destination = Destination::open("az://results/job/attempt", &options)
        .expect("opened")
        .with_tuning(tuning);
    let part = 1 << 20;
    for (path, size) in [
        ("empty.txt", 0),
        ("small.log", 1000),
        ("exact.bin", part),
        ("more.bin", 7 * part + 1),
        ("Prüfung #1/100% + ü?.xml", 17),
    ] {
        let bytes = noise(size);
        for _ in 0..2 {
            let stored = destination
                .store(file(&bytes), &name(path))
                .await
                .expect("stored");
            assert_eq!((stored.size, stored.sha256), (size as u64, sha256(&bytes)));
            let blob = stored
                .url
                .strip_prefix(&format!("{endpoint}/"))
                .expect("beneath");
            let answer = signed("GET", blob, &[]).send().await.expect("fetched");
            assert!(answer.status().is_success(), "{path}: {answer:?}");
            let content_type = answer.headers()["content-type"]
                .to_str()
                .expect("text")
                .to_owned();
            match path.rsplit_once('.').expect("an extension").1 {
                "xml" => assert_eq!(content_type, "application/xml"),
                "bin" => assert_eq!(content_type, "application/octet-stream"),
                _ => assert_eq!(content_type, "text/plain; charset=utf-8"),
            }
            assert!(
                answer.bytes().await.expect("read") == bytes,
                "{path} differs"
            );
        }
    }
    let nowhere = Destination::open("az://no-such-container", &options).expect("opened");
    let error = nowhere
        .store(file(b"x"), &name("a"))
        .await
        .expect_err("no container");
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    let stranger = options.with(
        "account_key",
        STANDARD.encode(b"not the key of this account"),
    );
    let stranger = Destination::open("az://results", &stranger).expect("opened");
    let error = stranger
        .store(file(b"x"), &name("a"))
        .await
        .expect_err("wrong key");
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
}

/// A request signed with the account's shared key.
fn request(
    endpoint: &str,
    method: &'static str,
    path: &str,
    query: &[(&str, &str)],
) -> reqwest::RequestBuilder {
    let date = jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&jiff::Timestamp::now())
        .expect("a date");
    let mut resource = format!("/{ACCOUNT}/{ACCOUNT}/{path}");
    for (name, value) in query {
        resource.push_str(&format!("\n{name}:{value}"));
    }
    // Method, eleven headers that are not sent, the service's own headers, the resource.
    let text = format!(
        "{method}{}x-ms-date:{date}\nx-ms-version:2021-08-06\n{resource}",
        "\n".repeat(12)
    );
    let key = STANDARD.decode(KEY).expect("a key");
    let signature = STANDARD.encode(hmac_sha256(&key, text.as_bytes()));
    let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
    let mut url = url::Url::parse(&format!("{endpoint}/{path}")).expect("a URL");
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    reqwest::Client::new()
        .request(method, url)
        .header("x-ms-date", date)
        .header("x-ms-version", "2021-08-06")
        .header("authorization", format!("SharedKey {ACCOUNT}:{signature}"))
}

fn hmac_sha256(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::digest([block.map(|byte| byte ^ 0x36).as_slice(), text].concat());
    Sha256::digest([block.map(|byte| byte ^ 0x5c).as_slice(), &inner].concat()).into()
}
