//! Logs and events: ranges, following, streams that are taken up again.

use futures::StreamExt;

use super::*;

const LOG: &str = "jobs/j/items/a/attempts/1/log";

async fn check(api: &Api, range: &str, status: u16, content: &str, content_range: &str) {
    let answer = api.call("GET", LOG).header("range", range).send().await;
    assert_eq!(answer.status.as_u16(), status, "{range}");
    assert_eq!(answer.header("content-range"), content_range, "{range}");
    if status < 400 {
        assert_eq!(answer.text(), content, "{range}");
    } else {
        assert_eq!(answer.problem(), "range-not-satisfiable");
    }
}

#[tokio::test]
async fn ranges_of_a_log_are_obeyed() {
    let api = Api::open().await;
    api.eventful().await;
    check(&api, "bytes=2-4", 206, "234", "bytes 2-4/10").await;
    check(&api, "bytes=7-", 206, "789", "bytes 7-9/10").await;
    check(&api, "bytes=-2", 206, "89", "bytes 8-9/10").await;
    check(&api, "bytes=5-999", 206, "56789", "bytes 5-9/10").await;
    check(&api, "bytes=10-", 416, "", "bytes */10").await;
    check(&api, "bytes=99999999999999999999-", 416, "", "bytes */10").await;
    check(&api, "bytes=0-1,4-5", 200, "0123456789", "").await;
    let empty = "jobs/j/items/a/attempts/2/log";
    assert_eq!(api.get(empty).await.text(), "");
    let answer = api
        .call("GET", empty)
        .header("range", "bytes=0-")
        .send()
        .await;
    assert_eq!(answer.problem(), "range-not-satisfiable");
    assert_eq!(
        api.get(LOG).await.header("x-content-type-options"),
        "nosniff"
    );
}

#[tokio::test]
async fn a_log_is_followed_to_the_end_of_its_attempt() {
    let api = Api::open().await;
    api.submit("j", &["a"]).await;
    let taken = api.take("x1").await;
    let path = format!("{LOG}?follow");
    let follow = api.call("GET", &path).header("range", "bytes=3-").send();
    let settle = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        api.settle(
            &taken,
            VerdictKind::Passed,
            end(ItemEndKind::Passed),
            b"0123456789",
        )
        .await;
    };
    let (answer, ()) = tokio::join!(follow, settle);
    assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(answer.text(), "3456789");
    assert_eq!(api.get(&path).await.text(), "0123456789");
    for wrong in ["follow=yes", "folow", "follow&x=1"] {
        assert_eq!(
            api.get(&format!("{LOG}?{wrong}")).await.problem(),
            "invalid-request"
        );
    }
}

#[tokio::test]
async fn a_log_as_events_goes_on_after_the_last_one() {
    let api = Api::open().await;
    api.eventful().await;
    let call = || api.call("GET", LOG).header("accept", "text/event-stream");
    let answer = call().send().await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    let expected = "id: 10\ndata: MDEyMzQ1Njc4OQ==\n\nid: 10\nevent: end\ndata: \n\n";
    assert_eq!(answer.text(), expected);
    let answer = call().header("last-event-id", "8").send().await;
    assert_eq!(
        answer.text(),
        "id: 10\ndata: ODk=\n\nid: 10\nevent: end\ndata: \n\n"
    );
    let answer = call().header("last-event-id", "x").send().await;
    assert_eq!(answer.problem(), "invalid-request");
}

#[tokio::test]
async fn events_are_paged_and_streamed() {
    let api = Api::open().await;
    api.eventful().await;
    let page = api.get("jobs/j/events?limit=3").await.json();
    let next = page["next"].as_u64().expect("a number");
    assert_eq!(page["events"].as_array().unwrap().len(), 3);
    let rest = api.get(&format!("jobs/j/events?after={next}")).await.json();
    assert_eq!(rest["events"].as_array().unwrap().len(), 5);
    let stream = |after: u64| {
        let call = api
            .call("GET", "jobs/j/events")
            .header("accept", "text/event-stream");
        call.header("last-event-id", &after.to_string()).send()
    };
    let all = stream(0).await.text();
    assert_eq!(all.matches("data: ").count(), 8);
    let rest = stream(next).await.text();
    assert_eq!(rest.matches("data: ").count(), 5);
    assert!(all.ends_with(&rest));
    assert_eq!(
        stream(u64::MAX).await.text(),
        "",
        "nothing comes after the end"
    );
}

#[tokio::test]
async fn events_come_as_they_happen() {
    let api = Api::open().await;
    api.submit("j", &["a"]).await;
    let call = api
        .call("GET", "jobs/j/events")
        .header("accept", "text/event-stream");
    let mut body = call.open().await.into_body().into_data_stream();
    let first = body.next().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&first).contains("submitted"));
    let taken = api.take("x1").await;
    let second = tokio::time::timeout(Duration::from_secs(2), body.next()).await;
    let second = second
        .expect("at once, not at the next look")
        .unwrap()
        .unwrap();
    assert!(String::from_utf8_lossy(&second).contains("attempt_started"));
    api.settle(&taken, VerdictKind::Passed, end(ItemEndKind::Passed), b"")
        .await;
    let rest: Vec<Bytes> = body.map(Result::unwrap).collect().await;
    let rest = String::from_utf8(rest.concat()).unwrap();
    assert!(
        rest.contains("item_ended") && rest.contains(r#""state":"passed""#),
        "{rest}"
    );
    assert!(rest.contains("job_ended"), "{rest}");
}
