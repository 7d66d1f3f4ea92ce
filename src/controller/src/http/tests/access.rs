//! Who may do what: a table of every endpoint and every scope, rates, pages from elsewhere.

use helix_api::{Access, Endpoint};

use super::*;

const EVERYBODY: [(&str, &[Scope]); 5] = [
    ("reader", &[Scope::Read]),
    ("submitter", &[Scope::Submit]),
    ("insider", &[Scope::SubmitInternal]),
    ("operator", &[Scope::Operate]),
    ("boss", &[Scope::Admin]),
];

fn path(endpoint: Endpoint) -> String {
    endpoint.fill(&["nothing", "nothing", "1", "nothing"])
}

/// Who gets past the guard; written out, so that a scope that changes by accident is seen here.
fn expected(endpoint: Endpoint) -> &'static [&'static str] {
    match endpoint {
        Endpoint::SubmitJob
        | Endpoint::CancelJob
        | Endpoint::RetryJob
        | Endpoint::CancelItem
        | Endpoint::PutPayload
        | Endpoint::HasPayload => &["submitter", "boss"],
        Endpoint::ListJobs
        | Endpoint::GetJob
        | Endpoint::JobEvents
        | Endpoint::ListItems
        | Endpoint::GetItem
        | Endpoint::ExplainItem
        | Endpoint::ListAttempts
        | Endpoint::GetAttempt
        | Endpoint::AttemptLog
        | Endpoint::AttemptFile
        | Endpoint::ListQueues
        | Endpoint::GetQueue
        | Endpoint::ListAgents
        | Endpoint::GetAgent
        | Endpoint::Flaky
        | Endpoint::GetPayload => &["reader", "boss"],
        Endpoint::PutQueue | Endpoint::DeleteQueue => &["boss"],
        Endpoint::DrainAgent | Endpoint::ResumeAgent => &["operator", "boss"],
        Endpoint::OpenApi => &["reader", "submitter", "insider", "operator", "boss"],
    }
}

#[tokio::test]
async fn every_endpoint_lets_in_exactly_whom_the_table_names() {
    let api = Api::with(&EVERYBODY, ENDLESS, ENDLESS).await;
    for endpoint in Endpoint::ALL {
        let (method, path) = (endpoint.method().as_str(), path(endpoint));
        for (name, _) in EVERYBODY {
            let token = format!("{name}-secret");
            let answer = api.call(method, &path).token(&token).send().await;
            let status = answer.status;
            assert_ne!(status, StatusCode::UNAUTHORIZED, "{endpoint:?} {name}");
            let let_in = status != StatusCode::FORBIDDEN;
            assert_eq!(
                let_in,
                expected(endpoint).contains(&name),
                "{endpoint:?} {name} {status}"
            );
        }
        for wrong in [None, Some("nobody-secret"), Some("")] {
            let mut call = api.call(method, &path);
            if let Some(token) = wrong {
                call = call.token(token);
            }
            let answer = call.send().await;
            let is_public = endpoint.access() == Access::Public;
            let refused = answer.status == StatusCode::UNAUTHORIZED;
            assert_eq!(refused, !is_public, "{endpoint:?} {wrong:?}");
            assert!(is_public || answer.header("www-authenticate") == "Bearer");
        }
    }
}

#[tokio::test]
async fn every_endpoint_has_a_route_and_no_other_method_has_one() {
    let api = Api::open().await;
    for endpoint in Endpoint::ALL {
        let path = path(endpoint);
        let siblings: Vec<&str> = Endpoint::ALL
            .into_iter()
            .filter(|other| other.path() == endpoint.path())
            .map(|other| other.method().as_str())
            .collect();
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let answer = api.call(method, &path).send().await;
            let is_there = answer.status != StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(is_there, siblings.contains(&method), "{method} {path}");
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(!text.contains("there is no such path"), "{method} {path}");
        }
    }
    for path in [
        "/",
        "/api/v1",
        "/api/v1/",
        "/api/v1/jobs/",
        "/api/v2/jobs",
        "/api/v1/jobs/j/x",
    ] {
        assert_eq!(api.get(path).await.problem(), "not-found", "{path}");
    }
}

#[tokio::test]
async fn internal_queues_are_for_insiders() {
    let tokens: [(&str, &[Scope]); 2] = [
        ("submitter", &[Scope::Submit]),
        ("insider", &[Scope::Submit, Scope::SubmitInternal]),
    ];
    let api = Api::with(&tokens, ENDLESS, ENDLESS).await;
    let body =
        serde_json::json!({"queue": "inside", "items": [{"name": "a", "command": {"shell": "x"}}]});
    let answer = api
        .call("POST", "jobs")
        .token("submitter-secret")
        .json(&body)
        .send()
        .await;
    assert_eq!(answer.problem(), "forbidden");
    let answer = api
        .call("POST", "jobs")
        .token("insider-secret")
        .json(&body)
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
}

#[tokio::test]
async fn other_peoples_jobs_are_for_operators() {
    let tokens: [(&str, &[Scope]); 3] = [
        ("one", &[Scope::Submit]),
        ("two", &[Scope::Submit]),
        ("operator", &[Scope::Submit, Scope::Operate]),
    ];
    let api = Api::with(&tokens, ENDLESS, ENDLESS).await;
    let body = serde_json::json!({"queue": "linux", "id": "j", "items": [{"name": "a", "command": {"shell": "x"}}]});
    let answer = api
        .call("POST", "jobs")
        .token("one-secret")
        .json(&body)
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::CREATED);
    for path in ["jobs/j/cancel", "jobs/j/items/a/cancel", "jobs/j/retry"] {
        let answer = api.call("POST", path).token("two-secret").send().await;
        assert_eq!(answer.problem(), "forbidden", "{path}");
    }
    let answer = api
        .call("POST", "jobs/j/items/a/cancel")
        .token("one-secret")
        .send()
        .await;
    assert_eq!(answer.json()["ended"], 1);
    let answer = api
        .call("POST", "jobs/j/cancel")
        .token("operator-secret")
        .send()
        .await;
    assert_eq!(answer.json()["untouched"], 1);
}

#[tokio::test]
async fn a_signed_address_needs_no_token_and_opens_nothing_else() {
    let api = Api::with(&EVERYBODY, ENDLESS, ENDLESS).await;
    let digest = super::super::wire::hex(&Sha256::digest(b"content"));
    let path = format!("payloads/{digest}");
    let answer = api
        .call("PUT", &path)
        .token("submitter-secret")
        .body("content")
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    let query = api.state.signer.query(&digest, SystemTime::now());
    assert_eq!(api.get(&format!("{path}?{query}")).await.text(), "content");
    let old = api.state.signer.query(&digest, SystemTime::UNIX_EPOCH);
    assert_eq!(
        api.get(&format!("{path}?{old}")).await.problem(),
        "unauthenticated"
    );
    let other = digest.replace(
        &digest[..1],
        if digest.starts_with('0') { "1" } else { "0" },
    );
    let stolen = format!("payloads/{other}?{query}");
    assert_eq!(api.get(&stolen).await.problem(), "unauthenticated");
    for method in ["PUT", "HEAD"] {
        let answer = api.call(method, &format!("{path}?{query}")).send().await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method}");
    }
    assert_eq!(
        api.get(&format!("jobs?{query}")).await.problem(),
        "unauthenticated"
    );
}

#[tokio::test]
async fn too_many_calls_are_told_when_to_come_back() {
    let rate = Rate {
        per_second: 0.1,
        burst: 3.0,
    };
    let api = Api::with(&EVERYBODY, rate, ENDLESS).await;
    for _ in 0..3 {
        let answer = api.call("GET", "jobs").token("reader-secret").send().await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    let answer = api.call("GET", "jobs").token("reader-secret").send().await;
    assert_eq!(answer.problem(), "too-many-requests");
    let seconds: u64 = answer.header("retry-after").parse().expect("a number");
    assert!((9..=11).contains(&seconds), "{seconds}");
    let answer = api.call("GET", "jobs").token("boss-secret").send().await;
    assert_eq!(answer.status, StatusCode::OK, "others are not held up");
}

#[tokio::test]
async fn whoever_guesses_tokens_is_slowed_down() {
    let rate = Rate {
        per_second: 0.1,
        burst: 3.0,
    };
    let api = Api::with(&EVERYBODY, ENDLESS, rate).await;
    for _ in 0..3 {
        let answer = api.call("GET", "jobs").token("guess").send().await;
        assert_eq!(answer.problem(), "unauthenticated");
    }
    for token in ["guess", "boss-secret"] {
        let answer = api.call("GET", "jobs").token(token).send().await;
        assert_eq!(answer.problem(), "too-many-requests", "{token}");
    }
}

#[tokio::test]
async fn pages_from_elsewhere_are_refused_where_there_are_no_tokens() {
    let api = Api::open().await;
    let call = |name: &'static str, value: &str| api.call("GET", "jobs").header(name, value);
    assert_eq!(
        call("host", "evil.example").send().await.problem(),
        "forbidden"
    );
    let answer = call("origin", "https://evil.example").send().await;
    assert_eq!(answer.problem(), "forbidden");
    assert_eq!(
        call("host", "127.0.0.1:1").send().await.status,
        StatusCode::OK
    );
    // What a form can send without asking is not taken for JSON.
    let body = r#"{"queue": "linux", "items": [{"name": "a", "command": {"shell": "x"}}]}"#;
    let answer = api
        .call("POST", "jobs")
        .header("content-type", "text/plain")
        .body(body)
        .send()
        .await;
    assert_eq!(answer.problem(), "unsupported-media-type");
}
