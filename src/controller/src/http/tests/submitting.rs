//! Submitting, repeating, cancelling, retrying, uploading.

use std::io::Write;

use serde_json::json;

use super::*;
use crate::http::wire::hex;

fn job(id: &str, items: &[Value]) -> Value {
    json!({"queue": "linux", "id": id, "items": items})
}

fn item(name: &str, shell: &str) -> Value {
    json!({"name": name, "command": {"shell": shell}})
}

#[tokio::test]
async fn the_same_submission_is_one_job_and_another_of_its_id_is_refused() {
    let api = Api::open().await;
    let body = job("j", &[item("a", "true"), item("b", "true")]);
    let answer = api.post("jobs", &body).await;
    assert_eq!(
        (answer.status, &answer.json()["repeated"]),
        (StatusCode::CREATED, &json!(false))
    );
    let answer = api.post("jobs", &body).await;
    assert_eq!(
        (answer.status, &answer.json()["repeated"]),
        (StatusCode::OK, &json!(true))
    );
    let other = job("j", &[item("a", "false"), item("b", "true")]);
    assert_eq!(api.post("jobs", &other).await.problem(), "conflict");
    let items = api.get("jobs/j/items").await.json();
    assert_eq!(items["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn fewer_retries_than_asked_for_are_told() {
    let api = Api::open().await;
    let mut body = job("j", &[item("a", "true"), item("b", "true")]);
    body["items"][0]["retries"] = json!(7);
    let told = api.post("jobs", &body).await.json();
    assert_eq!(
        (&told["items_with_fewer_retries"], &told["most_retries"]),
        (&json!(1), &json!(1))
    );
    let retries = api.get("jobs/j/items/a").await.json()["item"]["retries"].clone();
    assert_eq!(retries, json!({"requested": 7, "granted": 1, "used": 0}));
}

#[tokio::test]
async fn what_is_wrong_is_named_by_field() {
    let api = Api::open().await;
    let answer = api
        .post("jobs", &json!({"queue": "none", "items": [item("a", "x")]}))
        .await;
    assert_eq!(
        answer.json()["errors"],
        json!([{"path": "$.queue", "message": "there is no queue `none`"}])
    );
    let missing = "1".repeat(64);
    let mut body = job("j", &[item("a", "x")]);
    body["defaults"] = json!({"payloads": [{"url": format!("payload:{missing}")}]});
    let answer = api.post("jobs", &body).await;
    assert_eq!(
        answer.json()["errors"][0]["message"],
        "it has not been uploaded"
    );
    assert_eq!(
        api.get("jobs/j").await.problem(),
        "not-found",
        "nothing was stored"
    );
}

#[tokio::test]
async fn a_job_is_retried_once_for_the_same_failures() {
    let api = Api::open().await;
    api.submit("j", &["a", "b", "c"]).await;
    assert_eq!(
        api.call("POST", "jobs/j/retry").send().await.problem(),
        "conflict"
    );
    let first = api.take("x1").await;
    api.settle(
        &first,
        VerdictKind::TimedOut,
        end(ItemEndKind::TimedOut),
        b"",
    )
    .await;
    let answer = api.call("POST", "jobs/j/retry").send().await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    let new = answer.json()["job"].as_str().unwrap().to_owned();
    let again = api.call("POST", "jobs/j/retry").send().await;
    assert_eq!(
        (again.status, again.json()["job"].as_str()),
        (StatusCode::OK, Some(new.as_str()))
    );
    let job = api.get(&format!("jobs/{new}")).await.json();
    assert_eq!(
        (&job["retry_of"], &job["counts"]["total"]),
        (&json!("j"), &json!(1))
    );
    let answer = api
        .post("jobs/j/retry", &json!({"items": ["b", "none", "a", "a"]}))
        .await;
    let paths: Vec<&str> = answer.json()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| match error["path"].as_str() {
            Some("$.items[0]") => "b has not ended",
            Some("$.items[1]") => "none is not there",
            Some("$.items[3]") => "a is there twice",
            _ => "?",
        })
        .collect();
    assert_eq!(
        paths,
        ["b has not ended", "none is not there", "a is there twice"]
    );
    assert_eq!(
        api.get("jobs/j").await.json()["counts"]["timed_out"],
        1,
        "the old one stays"
    );
}

#[tokio::test]
async fn what_waits_is_cancelled_at_once() {
    let api = Api::open().await;
    api.submit("j", &["a", "b"]).await;
    api.take("x1").await;
    let answer = api
        .post("jobs/j/cancel", &json!({"reason": "wrong branch"}))
        .await;
    assert_eq!(
        answer.json(),
        json!({"ended": 1, "stopping": 1, "untouched": 0})
    );
    assert_eq!(api.get("jobs/j").await.json()["cancelled"], "wrong branch");
    let answer = api.post("jobs/none/cancel", &json!({})).await;
    assert_eq!(answer.problem(), "not-found");
}

#[tokio::test]
async fn compressed_submissions_are_welcome_and_answers_are_compressed() {
    let api = Api::open().await;
    let items: Vec<Value> = (0..50)
        .map(|n| item(&format!("item {n}"), "true"))
        .collect();
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer
        .write_all(job("j", &items).to_string().as_bytes())
        .unwrap();
    let answer = api
        .call("POST", "jobs")
        .header("content-type", "application/json")
        .header("content-encoding", "gzip")
        .body(packer.finish().unwrap())
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    let answer = api
        .call("GET", "jobs/j/items")
        .header("accept-encoding", "gzip")
        .send()
        .await;
    assert_eq!(answer.header("content-encoding"), "gzip");
    let answer = api.get("jobs/j/items").await;
    assert_eq!(answer.header("content-encoding"), "");
}

#[tokio::test]
async fn lists_come_in_pages() {
    let api = Api::open().await;
    for id in ["j1", "j2", "j3"] {
        api.submit(id, &["a", "b", "c"]).await;
    }
    for (first, list) in [("jobs?limit=2", "jobs"), ("jobs/j1/items?limit=2", "items")] {
        let page = api.get(first).await.json();
        assert_eq!(page[list].as_array().unwrap().len(), 2, "{first}");
        let next = page["next"].as_str().expect("another page");
        let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
        let page = api.get(&format!("{first}&after={next}")).await.json();
        assert_eq!(page[list].as_array().unwrap().len(), 1, "{first}");
        assert!(page.get("next").is_none());
    }
}

#[tokio::test]
async fn payloads_are_kept_under_the_digest_of_what_came() {
    let api = Api::open().await;
    // More than one part, and no whole number of them.
    let large: Vec<u8> = (0..20_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    for content in [large, b"small".to_vec(), Vec::new()] {
        let digest = hex(&Sha256::digest(&content));
        let path = format!("payloads/{digest}");
        let wrong = format!("payloads/{}", "1".repeat(64));
        let answer = api.call("PUT", &wrong).body(content.clone()).send().await;
        assert_eq!(answer.problem(), "invalid-request");
        assert_eq!(api.get(&wrong).await.problem(), "not-found");
        for status in [StatusCode::CREATED, StatusCode::OK] {
            let answer = api.call("PUT", &path).body(content.clone()).send().await;
            assert_eq!(answer.status, status, "{}", answer.text());
            assert_eq!(answer.json()["size"], content.len());
        }
        let answer = api.get(&path).await;
        assert!(answer.body == content, "it comes back as it was");
        assert_eq!(answer.header("etag"), format!("\"{digest}\""));
        let head = api.call("HEAD", &path).send().await;
        assert_eq!(head.status, StatusCode::OK);
        if content.len() > 4 {
            let answer = api
                .call("GET", &path)
                .header("range", "bytes=1-3")
                .send()
                .await;
            assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
            assert_eq!(answer.body, content[1..4]);
        }
    }
    let left = walk(&api.directory.path().join("objects"));
    assert_eq!(
        left.len(),
        3,
        "nothing is left of what was refused: {left:?}"
    );
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(walk(&path)),
            false => found.push(path),
        }
    }
    found
}
