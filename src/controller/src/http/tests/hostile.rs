//! What nobody means well: huge bodies, wrong shapes, wrong names, tricks with paths; and that no
//! answer tells a secret.

use serde_json::json;

use super::*;
use crate::http::request::{MAX_BODY_BYTES, MAX_JOB_BYTES};

#[tokio::test]
async fn bodies_are_bounded_compressed_or_not() {
    use std::io::Write;
    let api = Api::open().await;
    let call = |path: &str| {
        api.call("POST", path)
            .header("content-type", "application/json")
    };
    let answer = call("jobs")
        .body(vec![b' '; MAX_JOB_BYTES + 1])
        .send()
        .await;
    assert_eq!(answer.problem(), "too-large");
    api.submit("j", &["a"]).await;
    let answer = call("jobs/j/cancel")
        .body(vec![b' '; MAX_BODY_BYTES + 1])
        .send()
        .await;
    assert_eq!(answer.problem(), "too-large");
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..=MAX_JOB_BYTES >> 20 {
        bomb.write_all(&vec![b' '; 1 << 20]).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    let answer = call("jobs")
        .header("content-encoding", "gzip")
        .body(bomb)
        .send()
        .await;
    assert_eq!(answer.problem(), "too-large");
    let answer = call("jobs")
        .header("content-encoding", "gzip")
        .body("no gzip")
        .send()
        .await;
    assert_eq!(answer.problem(), "invalid-request");
    let answer = api
        .call("PUT", &format!("payloads/{}", "0".repeat(64)))
        .header("content-length", "99999999999999")
        .body("x")
        .send()
        .await;
    assert_eq!(answer.problem(), "too-large");
}

#[tokio::test]
async fn wrong_json_is_answered_and_not_obeyed() {
    let api = Api::open().await;
    let deep = "[".repeat(1_000_000);
    for body in [
        "",
        "{",
        "null",
        "[]",
        "\"x\"",
        "{\"queue\":",
        "\u{0}",
        deep.as_str(),
    ] {
        let call = api
            .call("POST", "jobs")
            .header("content-type", "application/json");
        assert_eq!(
            call.body(body.to_owned()).send().await.problem(),
            "invalid-request"
        );
    }
    let call = api
        .call("POST", "jobs")
        .header("content-type", "application/json");
    assert_eq!(
        call.body(vec![0xff, 0xfe]).send().await.problem(),
        "invalid-request"
    );
    for (path, body) in [
        ("queues/x", json!({"max_delivery_count": -1})),
        ("queues/x", json!({"max_delivery_count": 4_294_967_296_u64})),
        ("queues/x", json!({"unknown": 1})),
        ("queues/x", json!({"description": "two\nlines"})),
        ("queues/-x", json!({})),
        ("queues/a%2Fb", json!({})),
    ] {
        let answer = api.call("PUT", path).json(&body).send().await;
        assert_eq!(answer.problem(), "invalid-request", "{path} {body}");
    }
    assert_eq!(
        api.get("queues").await.json()["queues"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn names_that_cannot_be_are_not_there() {
    let api = Api::open().await;
    api.eventful().await;
    let long = "x".repeat(5000);
    for path in [
        "jobs/..%2F..%2Fetc",
        "jobs/%00",
        "jobs/j%0a",
        "jobs/j/items/none",
        "jobs/j/items/..%2f..",
        "jobs/none/items/a",
        "jobs/j/items/a/attempts/0",
        "jobs/j/items/a/attempts/-1",
        "jobs/j/items/a/attempts/99999999999999999999",
        "jobs/j/items/a/attempts/x2",
        "queues/none",
        "queues/%20",
        "agents/none",
        "agents/..%2f",
        &format!("jobs/{long}"),
        &format!("jobs/j/items/{long}"),
    ] {
        let answer = api.get(path).await;
        assert_eq!(answer.problem(), "not-found", "{path}");
        assert!(answer.body.len() < 1000, "{path} is repeated");
    }
    for path in [
        "jobs/%ff",
        "jobs?limit=0",
        "jobs?limit=1001",
        "jobs?limit=x",
        "jobs?property=x",
        "jobs?unknown=1",
        "jobs/j/items?limit=0",
        "jobs/j/events?after=-1",
        "flaky?days=0",
        "payloads/xyz",
        "payloads/..%2f..",
    ] {
        assert_eq!(api.get(path).await.problem(), "invalid-request", "{path}");
    }
}

#[tokio::test]
async fn only_files_of_the_attempt_are_read() {
    let api = Api::open().await;
    api.submit("j", &["a"]).await;
    let taken = api.take("x1").await;
    let objects = api.directory.path().join("objects");
    std::fs::create_dir_all(objects.join("left")).unwrap();
    std::fs::write(objects.join("left/r.txt"), "0123456789").unwrap();
    std::fs::write(api.directory.path().join("helix.db"), "private").unwrap();
    let file = |name: &str, url: String| File {
        name: name.to_owned(),
        kind: FileKind::Upload,
        size: 10,
        sha256: Vec::new(),
        url,
    };
    let base = format!("file://{}", objects.display());
    let files = vec![
        file("dir/r.txt", format!("{base}/left/r.txt")),
        file("climb", format!("{base}/../helix.db")),
        file("climb2", format!("{base}/left/..%2f..%2fhelix.db")),
        file("passwd", "file:///etc/passwd".to_owned()),
        file("script.html\"\r\n", format!("{base}/left/r.txt")),
    ];
    let progress = Progress {
        last_event: 3,
        files,
        ..Progress::default()
    };
    api.store.record(&taken.fence, progress).await.unwrap();
    let files = "jobs/j/items/a/attempts/1/files";
    let answer = api.get(&format!("{files}/dir/r.txt")).await;
    assert_eq!(answer.text(), "0123456789");
    assert_eq!(
        answer.header("content-disposition"),
        "attachment; filename=\"r.txt\""
    );
    assert!(answer.header("content-security-policy").contains("sandbox"));
    let answer = api
        .call("GET", &format!("{files}/dir/r.txt"))
        .header("range", "bytes=4-5")
        .send()
        .await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (StatusCode::PARTIAL_CONTENT, "45")
    );
    let answer = api
        .call("GET", &format!("{files}/dir/r.txt"))
        .header("range", "bytes=10-")
        .send()
        .await;
    assert_eq!(answer.problem(), "range-not-satisfiable");
    let answer = api.get(&format!("{files}/script.html%22%0d%0a")).await;
    assert_eq!(
        answer.header("content-disposition"),
        "attachment; filename=\"script.html___\""
    );
    for name in [
        "climb",
        "climb2",
        "passwd",
        "r.txt",
        "dir",
        "dir/../dir/r.txt",
        "..%2f..%2fhelix.db",
        "dir//r.txt",
        "left/r.txt",
        "%2fetc%2fpasswd",
    ] {
        let answer = api.get(&format!("{files}/{name}")).await;
        assert_eq!(answer.problem(), "not-found", "{name}");
        assert!(!answer.text().contains("private"), "{name}");
    }
}

#[tokio::test]
async fn no_answer_tells_a_secret() {
    let tokens: [(&str, &[Scope]); 1] = [("boss", &[Scope::Admin])];
    let api = Api::with(&tokens, ENDLESS, ENDLESS).await;
    let secret = "hunter2-hunter2";
    let body = json!({
        "queue": "linux",
        "id": "j",
        "defaults": {"secrets": [secret], "environment": {"TOKEN": secret}},
        "items": [{"name": "a", "command": {"shell": format!("login {secret} x")},
                   "payloads": [{"url": format!("https://h/x?sig={secret}")}]}],
    });
    let call = |method: &str, path: &str| api.call(method, path).token("boss-secret");
    assert_eq!(
        call("POST", "jobs").json(&body).send().await.status,
        StatusCode::CREATED
    );
    let mut wrong = body.clone();
    wrong["defaults"]["environment"][format!("HELIX_{secret}").as_str()] = json!(secret);
    wrong["defaults"]["environment"]
        .as_object_mut()
        .unwrap()
        .remove(&format!("HELIX_{secret}"));
    wrong["defaults"]["limits"] = json!({"wall_timeout_seconds": secret, "output_bytes": 1});
    wrong["items"][0]["payloads"] = json!([{"url": format!("https://u:{secret}@h /x")}]);
    let mut all = String::new();
    for answer in [
        call("POST", "jobs").json(&wrong).send().await,
        call("POST", "jobs")
            .json(&json!({"queue": secret, "items": secret}))
            .send()
            .await,
    ] {
        assert_eq!(answer.problem(), "invalid-request");
        all.push_str(&answer.text());
    }
    for path in [
        "jobs",
        "jobs/j",
        "jobs/j/items",
        "jobs/j/items/a",
        "jobs/j/items/a/explain",
        "jobs/j/items/a/attempts",
        "jobs/j/events",
        "queues",
        "agents",
    ] {
        let answer = call("GET", path).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        all.push_str(&answer.text());
    }
    assert!(all.contains("login *** x"), "{all}");
    assert!(!all.contains(secret), "{all}");
    assert!(!all.contains("boss-secret"));
}
