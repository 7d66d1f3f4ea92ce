//! What is answered matches what the served document says of it.

use helix_api::{Endpoint, document};
use serde_json::json;

use super::*;

/// The document as it is served.
async fn served(api: &Api) -> Value {
    let answer = api.get("openapi.json").await;
    assert_eq!(answer.status, StatusCode::OK);
    answer.json()
}

/// Complains where an answer is not as the document says.
fn check(document: &Value, endpoint: Endpoint, answer: &Answer) {
    let method = endpoint.method().as_str().to_lowercase();
    let operation = &document["paths"][document::template(endpoint)][&method];
    let responses = &operation["responses"];
    let status = answer.status.as_u16().to_string();
    let response = match answer.status.is_success() {
        true => &responses[&status],
        false => &responses["default"],
    };
    assert!(
        response.is_object(),
        "{endpoint:?} answers {status}: {}",
        answer.text()
    );
    let kind = answer.header("content-type");
    let schema = &response["content"][kind]["schema"];
    assert!(
        schema.is_object(),
        "{endpoint:?} answers {status} with `{kind}`"
    );
    let mut root = schema.clone();
    root["components"] = document["components"].clone();
    let validator = jsonschema::validator_for(&root).expect("a schema");
    let body = answer.json();
    let errors: Vec<String> = validator
        .iter_errors(&body)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{endpoint:?}: {errors:?} in {body}");
}

#[tokio::test]
async fn every_answer_is_as_the_document_says() {
    let api = Api::open().await;
    let document = served(&api).await;
    api.eventful().await;
    let digest = "0".repeat(64);
    for (endpoint, values, body) in [
        (Endpoint::ListJobs, vec![], None),
        (Endpoint::GetJob, vec!["j"], None),
        (Endpoint::GetJob, vec!["none"], None),
        (Endpoint::JobEvents, vec!["j"], None),
        (Endpoint::ListItems, vec!["j"], None),
        (Endpoint::GetItem, vec!["j", "a"], None),
        (Endpoint::GetItem, vec!["j", "b/ü"], None),
        (Endpoint::ExplainItem, vec!["j", "a"], None),
        (Endpoint::ListAttempts, vec!["j", "a"], None),
        (Endpoint::GetAttempt, vec!["j", "a", "1"], None),
        (Endpoint::GetAttempt, vec!["j", "a", "x3"], None),
        (Endpoint::GetAttempt, vec!["j", "a", "9"], None),
        (Endpoint::Flaky, vec![], None),
        (Endpoint::ListQueues, vec![], None),
        (
            Endpoint::PutQueue,
            vec!["new"],
            Some(json!({"max_delivery_count": 5})),
        ),
        (
            Endpoint::PutQueue,
            vec!["new"],
            Some(json!({"estimated_removal": "2027-03-31T00:00:00Z"})),
        ),
        (
            Endpoint::PutQueue,
            vec!["new"],
            Some(json!({"max_delivery_count": 0})),
        ),
        (Endpoint::GetQueue, vec!["NEW"], None),
        (Endpoint::ListAgents, vec![], None),
        (Endpoint::GetAgent, vec!["none"], None),
        (
            Endpoint::DrainAgent,
            vec!["none"],
            Some(json!({"reason": "x"})),
        ),
        (Endpoint::ResumeAgent, vec!["none"], None),
        (
            Endpoint::SubmitJob,
            vec![],
            Some(
                json!({"queue": "linux", "id": "k", "retries": 9, "items": [{"name": "a", "command": {"argv": ["x"]}}]}),
            ),
        ),
        (
            Endpoint::SubmitJob,
            vec![],
            Some(json!({"queue": "linux", "items": []})),
        ),
        (
            Endpoint::CancelItem,
            vec!["k", "a"],
            Some(json!({"reason": "x"})),
        ),
        (Endpoint::CancelJob, vec!["k"], None),
        (Endpoint::RetryJob, vec!["k"], None),
        (Endpoint::RetryJob, vec!["j"], None),
        (Endpoint::PutPayload, vec![&digest], None),
        (Endpoint::GetPayload, vec![&digest], None),
        (Endpoint::AttemptFile, vec!["j", "a", "1", "none"], None),
        (Endpoint::AttemptLog, vec!["j", "a", "7"], None),
    ] {
        let mut call = api.call(endpoint.method().as_str(), &endpoint.fill(&values));
        if let Some(body) = &body {
            call = call.json(body);
        }
        check(&document, endpoint, &call.send().await);
    }
    // Both were asked for good answers above; these have no content.
    let answer = api.call("DELETE", "queues/new").send().await;
    assert_eq!(
        (answer.status, answer.body.len()),
        (StatusCode::NO_CONTENT, 0)
    );
    let answer = api.call("HEAD", &format!("payloads/{digest}")).send().await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_job_that_went_through_something_is_told_as_it_was() {
    let api = Api::open().await;
    api.eventful().await;
    let job = api.get("jobs/j").await.json();
    assert_eq!(job["state"], "passed");
    assert_eq!(
        (&job["counts"]["passed"], &job["counts"]["passed_on_retry"]),
        (&json!(2), &json!(1))
    );
    let detail = api.get("jobs/j/items/a").await.json();
    let item = &detail["item"];
    assert_eq!(
        (&item["state"], &item["partial_failure"]),
        (&json!("passed_on_retry"), &json!(true))
    );
    assert_eq!(
        item["retries"],
        json!({"requested": 1, "granted": 1, "used": 1})
    );
    assert_eq!(detail["command"], json!(["true"]));
    let attempts = detail["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 2);
    assert_eq!(
        (&attempts[0]["state"], &attempts[0]["reason"]),
        (&json!("failed"), &json!("EXIT_CODE"))
    );
    assert_eq!(attempts[0]["failures"][0]["name"], "T.One");
    let id = item["id"].as_str().expect("an id");
    let href = format!("/api/v1/jobs/j/items/{id}/attempts/1/files/out/r%201.trx");
    assert_eq!(attempts[0]["files"][0]["href"], href);
    let answer = api.get(&href).await;
    assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(answer.header("location"), "https://files.example/r");
    let log = attempts[0]["log"].as_str().expect("an address");
    assert_eq!(api.get(log).await.text(), "0123456789");
    let flaky = api.get("flaky").await.json();
    assert_eq!(
        (&flaky["tests"][0]["name"], &flaky["tests"][0]["item_name"]),
        (&json!("T.One"), &json!("a"))
    );
    let kinds: Vec<String> = api.get("jobs/j/events").await.json()["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| {
            format!(
                "{} {}",
                event["kind"].as_str().unwrap(),
                event["name"].as_str().unwrap_or("-")
            )
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "submitted -",
            "attempt_started a",
            "item_retried a",
            "attempt_started b/ü",
            "item_ended b/ü",
            "attempt_started a",
            "item_ended a",
            "job_ended -",
        ]
    );
}
