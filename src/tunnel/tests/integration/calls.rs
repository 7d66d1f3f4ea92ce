//! Calls through a tunnel.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio_stream::StreamExt;

use crate::service::call;
use crate::support::{CHUNK, ends, soon};

const MEGABYTES: u64 = 256;
/// All that may be on its way between the two services: the windows of the inner connection,
/// and what two servers and two clients buffer.
const ON_THE_WAY: u64 = 8 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_comes_back() {
    let ends = ends().await;
    for size in [0, 1, 16_384, 65_536, 1 << 20, 3 << 20] {
        let message = Bytes::from(vec![7; size]);
        let mut answers = call(&ends.inner, "echo", tokio_stream::once(message.clone()))
            .await
            .unwrap();
        assert_eq!(answers.message().await.unwrap(), Some(message));
        assert_eq!(answers.message().await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn error_of_the_service_is_not_the_tunnels() {
    let ends = ends().await;
    let status = call(&ends.inner, "nothing", tokio_stream::empty())
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented);
    let message = Bytes::from_static(b"and on");
    let mut answers = call(&ends.inner, "echo", tokio_stream::once(message.clone()))
        .await
        .unwrap();
    assert_eq!(answers.message().await.unwrap(), Some(message));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_stream_is_never_far_ahead_of_its_reader() {
    let ends = ends().await;
    let chunks = (MEGABYTES << 20) / CHUNK as u64;
    let wanted = tokio_stream::once(Bytes::from(chunks.to_string()));
    let mut answers = call(&ends.inner, "pour", wanted).await.unwrap();
    let (mut read, mut furthest, mut number) = (0_u64, 0_u64, 0_u64);
    while let Some(chunk) = soon("the next chunk", answers.message()).await.unwrap() {
        assert!(chunk.iter().all(|byte| *byte == number.to_le_bytes()[0]));
        number += 1;
        read += chunk.len() as u64;
        furthest = furthest.max(ends.poured.load(Ordering::SeqCst).saturating_sub(read));
    }
    assert_eq!(read, MEGABYTES << 20);
    assert!(furthest < ON_THE_WAY, "{furthest} bytes on the way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reader_that_stops_stops_the_writer() {
    let ends = ends().await;
    let wanted = tokio_stream::once(Bytes::from((64_u64 << 20).to_string()));
    let mut answers = call(&ends.inner, "pour", wanted).await.unwrap();
    answers.message().await.unwrap().unwrap();
    let mut before = 0;
    soon("the writer stops", async {
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = ends.poured.load(Ordering::SeqCst);
            if now == before {
                break;
            }
            before = now;
        }
    })
    .await;
    assert!(before < ON_THE_WAY, "{before} bytes on the way");
    // Others are not stopped by it.
    let message = Bytes::from_static(b"meanwhile");
    let mut others = call(&ends.inner, "echo", tokio_stream::once(message.clone()))
        .await
        .unwrap();
    let answer = soon("another call's answer", others.message()).await;
    assert_eq!(answer.unwrap(), Some(message));
    answers.message().await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_direction_carries_as_much() {
    let ends = ends().await;
    let chunks = (64_u64 << 20) / CHUNK as u64;
    let messages = tokio_stream::iter((0..chunks).map(|_| Bytes::from(vec![1; CHUNK])));
    let mut answers = call(&ends.inner, "drink", messages).await.unwrap();
    let total = soon("the sum", answers.message()).await.unwrap().unwrap();
    assert_eq!(total, (64_u64 << 20).to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_at_once_keep_apart() {
    let ends = ends().await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..500_u32 {
        let channel = ends.inner.clone();
        calls.spawn(async move {
            let messages = (0..20_u32).map(move |part| Bytes::from(format!("{number}.{part}")));
            let answers = call(&channel, "echo", tokio_stream::iter(messages.clone()))
                .await
                .unwrap();
            let answers: Result<Vec<Bytes>, _> = answers.collect().await;
            assert_eq!(answers.unwrap(), messages.collect::<Vec<_>>());
        });
    }
    soon("all answers", calls.join_all()).await;
}
