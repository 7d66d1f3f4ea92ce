//! How tunnels end.

use std::io::ErrorKind;

use bytes::Bytes;
use helix_tunnel::{CHUNKS_IN_FLIGHT, MAX_CHUNK_BYTES, Tunnel, outgoing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::service::call;
use crate::support::{ends, soon, tunnels};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_either_end_ends_the_calls_and_both_ends() {
    for closes_the_serving_end in [true, false] {
        let ends = ends().await;
        let mut silence = call(&ends.inner, "silence", tokio_stream::pending())
            .await
            .unwrap();
        if closes_the_serving_end {
            ends.serving.close();
        } else {
            ends.dialling.close();
        }
        let cut_off = soon("the call's end", silence.message()).await;
        cut_off.unwrap_err();
        soon("the server's end", ends.server).await.unwrap();
        soon("the tunnel's end", ends.serving.ended()).await;
        soon("the tunnel's end", ends.dialling.ended()).await;
        assert!(ends.serving.has_ended() && ends.dialling.has_ended());
        // The first may still meet the connection that is gone.
        let _ = call(&ends.inner, "echo", tokio_stream::empty()).await;
        for _ in 0..3 {
            let again = call(&ends.inner, "echo", tokio_stream::empty()).await;
            assert_eq!(again.unwrap_err().code(), tonic::Code::Unavailable);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_that_is_gone_in_the_middle_of_a_stream_is_noticed() {
    let ends = ends().await;
    let wanted = tokio_stream::once(Bytes::from_static(b"1000000"));
    let mut answers = call(&ends.inner, "pour", wanted).await.unwrap();
    answers.message().await.unwrap().unwrap();
    ends.serving.close();
    soon("an error", async {
        while let Ok(Some(_)) = answers.message().await {}
    })
    .await;
    soon("the server's end", ends.server).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_channel_ends_the_server() {
    let ends = ends().await;
    drop(ends.inner);
    soon("the server's end", ends.server).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_that_is_shut_down_leaves_the_other_half() {
    let (mut called, mut caller) = tunnels().await;
    caller.write_all(b"question").await.unwrap();
    caller.shutdown().await.unwrap();
    let mut question = String::new();
    called.read_to_string(&mut question).await.unwrap();
    assert_eq!(question, "question");
    let answer = vec![3; 1 << 20];
    let writing = tokio::spawn(async move {
        called.write_all(&answer).await.unwrap();
        called.shutdown().await.unwrap();
    });
    let mut read = Vec::new();
    soon("the answer", caller.read_to_end(&mut read))
        .await
        .unwrap();
    assert!(read.len() == 1 << 20 && read.iter().all(|byte| *byte == 3));
    writing.await.unwrap();
    let late = caller.write(b"late").await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::BrokenPipe);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_nobody_reads_stop_the_writer() {
    let (mut called, mut caller) = tunnels().await;
    let chunk = [9; 10_000];
    let mut written = 0;
    let pause = std::time::Duration::from_millis(500);
    while let Ok(written_now) = tokio::time::timeout(pause, caller.write(&chunk)).await {
        written += written_now.unwrap();
        assert!(written < 8 << 20, "nothing stops it");
    }
    // Nothing was lost by giving up the last write.
    caller.shutdown().await.unwrap();
    let mut read = Vec::new();
    soon("the end", called.read_to_end(&mut read))
        .await
        .unwrap();
    assert_eq!(read.len(), written);
}

#[tokio::test]
async fn error_of_the_stream_is_told_once_and_then_it_is_over() {
    let (sender, _chunks) = outgoing();
    let inbound = tokio_stream::iter([Ok(Bytes::from_static(b"ab")), Err("cut the line")]);
    let mut tunnel = Tunnel::new(inbound, sender);
    let mut read = [0; 2];
    tunnel.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"ab");
    let error = tunnel.read(&mut read).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    assert_eq!(error.to_string(), "cut the line");
    assert_eq!(tunnel.read(&mut read).await.unwrap(), 0);
}

#[tokio::test]
async fn chunk_of_a_forbidden_size_is_an_error() {
    for size in [0, MAX_CHUNK_BYTES + 1] {
        let (sender, _chunks) = outgoing();
        let inbound = tokio_stream::once(Ok::<_, std::io::Error>(Bytes::from(vec![0; size])));
        let mut tunnel = Tunnel::new(inbound, sender);
        let error = tunnel.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{size}");
    }
}

#[tokio::test]
async fn writer_waits_for_whoever_takes_chunks() {
    let (sender, mut chunks) = outgoing();
    let inbound = tokio_stream::pending::<Result<Bytes, std::io::Error>>();
    let mut tunnel = Tunnel::new(inbound, sender);
    let large = vec![5; MAX_CHUNK_BYTES * 3];
    // More than a chunk is never taken at once.
    assert_eq!(tunnel.write(&large).await.unwrap(), MAX_CHUNK_BYTES);
    let slices = [std::io::IoSlice::new(&large), std::io::IoSlice::new(b"x")];
    assert_eq!(
        tunnel.write_vectored(&slices).await.unwrap(),
        MAX_CHUNK_BYTES
    );
    for _ in 2..CHUNKS_IN_FLIGHT {
        assert_eq!(tunnel.write(b"small").await.unwrap(), 5);
    }
    let mut blocked = polled_once(tunnel.write(b"small"));
    assert!(blocked.is_none(), "{blocked:?}");
    assert_eq!(chunks.next().await.unwrap().len(), MAX_CHUNK_BYTES);
    blocked = Some(tunnel.write(b"small").await.unwrap());
    assert_eq!(blocked, Some(5));
}

#[tokio::test]
async fn closing_wakes_a_reader_and_a_writer_in_different_tasks() {
    let (sender, _chunks) = mpsc::channel(1);
    let (_never, inbound) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let tunnel = Tunnel::new(ReceiverStream::new(inbound), sender);
    let handle = tunnel.handle();
    let (mut reader, mut writer) = tokio::io::split(tunnel);
    let reading = tokio::spawn(async move { reader.read(&mut [0; 1]).await });
    let writing = tokio::spawn(async move {
        loop {
            if let Err(error) = writer.write(b"more").await {
                return error.kind();
            }
        }
    });
    // Both wait by then: there is one thread.
    tokio::task::yield_now().await;
    assert!(!handle.has_ended());
    handle.close();
    assert_eq!(soon("end of file", reading).await.unwrap().unwrap(), 0);
    assert_eq!(
        soon("an error", writing).await.unwrap(),
        ErrorKind::BrokenPipe
    );
    soon("the end", handle.ended()).await;
}

/// What a future gives when it is polled once.
fn polled_once<T: std::fmt::Debug>(future: impl Future<Output = std::io::Result<T>>) -> Option<T> {
    let mut future = Box::pin(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(result) => Some(result.unwrap()),
        std::task::Poll::Pending => None,
    }
}
