//! An S3 server that nobody here wrote.

use helix_artifacts::{Destination, Options, StoreError};

use crate::support::{Server, file, hasty, name, noise, sha256};

#[tokio::test]
async fn files_of_every_size_arrive_at_s3() {
    let directory = tempfile::tempdir().expect("a directory");
    let arguments = |port: u16| {
        ["-H", "127.0.0.1", "-p", &port.to_string()]
            .map(str::to_owned)
            .to_vec()
    };
    let Some(server) = Server::start("HELIX_TEST_MOTO", arguments, directory.path()) else {
        return;
    };
    let endpoint = format!("http://127.0.0.1:{}", server.port);
    let client = reqwest::Client::new();
    let answer = client
        .put(format!("{endpoint}/helix-bucket"))
        .send()
        .await
        .expect("sent");
    assert!(answer.status().is_success(), "{answer:?}");

    let options = Options::new()
        .with("endpoint", &endpoint)
        .with("access_key_id", "testing")
        .with("secret_access_key", "testing-secret");
    // S3 takes no parts below 5 MiB.
    let tuning = helix_artifacts::Tuning {
        part_bytes: 5 << 20,
        ..hasty()
    };
    let destination = Destination::open("s3://helix-bucket/job/attempt", &options)
        .expect("opened")
        .with_tuning(tuning);
    let part = 5 << 20;
    for (path, size) in [
        ("empty.txt", 0),
        ("small.log", 1000),
        ("exact.bin", part),
        ("more.bin", 2 * part + 1),
        ("Prüfung #1/100% + ü?.xml", 17),
    ] {
        let bytes = noise(size);
        for _ in 0..2 {
            let stored = destination
                .store(file(&bytes), &name(path))
                .await
                .expect("stored");
            assert_eq!((stored.size, stored.sha256), (size as u64, sha256(&bytes)));
            // Any signature will do for this server, but none will not.
            let get = client
                .get(&stored.url)
                .header("authorization", "AWS testing:none");
            let answer = get.send().await.expect("fetched");
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
    let nowhere = Destination::open("s3://no-such-bucket", &options).expect("opened");
    let error = nowhere
        .store(file(b"x"), &name("a"))
        .await
        .expect_err("no bucket");
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
}
