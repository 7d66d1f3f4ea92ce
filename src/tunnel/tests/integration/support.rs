//! Two ends that are connected by TCP in one direction, and call each other in the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use helix_tunnel::{
    CARRIER_WINDOW_BYTES, FRAME_BYTES, Tunnel, TunnelHandle, dial, endpoint, outgoing, serve,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Status, Streaming};

use crate::service::{Double, Messages, call};

pub(crate) const LONG: Duration = Duration::from_secs(60);
pub(crate) const CHUNK: usize = 32 << 10;
const WINDOW_BYTES: u32 = 4 << 20;

/// How far the method `pour` of the inner service has come, in bytes.
pub(crate) type Poured = Arc<AtomicU64>;

/// The two ends.
pub(crate) struct Ends {
    /// Calls the inner service through the tunnel.
    pub(crate) inner: Channel,
    /// The tunnel at the end that dials.
    pub(crate) dialling: TunnelHandle,
    /// The tunnel at the end that serves.
    pub(crate) serving: TunnelHandle,
    /// The server of the inner service.
    pub(crate) server: tokio::task::JoinHandle<()>,
    pub(crate) poured: Poured,
}

/// Opens a stream of messages over TCP, and gives the tunnels at its two ends: of the one that
/// was called, and of the one that called.
pub(crate) async fn tunnels() -> (Tunnel, Tunnel) {
    let (accepted, mut accept) = mpsc::channel(1);
    let outer = Double::new(move |_, messages| {
        let (sender, chunks) = outgoing();
        let tunnel = Tunnel::new(messages, sender);
        accepted
            .try_send(tunnel)
            .map_err(|_| Status::aborted("one is enough"))?;
        Ok(Box::pin(chunks.map(Ok)))
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(
        Server::builder()
            .initial_stream_window_size(CARRIER_WINDOW_BYTES)
            .initial_connection_window_size(CARRIER_WINDOW_BYTES)
            .add_service(outer)
            .serve_with_incoming(TcpIncoming::from(listener)),
    );
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let outer = endpoint.connect().await.unwrap();
    let (sender, chunks) = outgoing();
    let messages = call(&outer, "carry", chunks).await.unwrap();
    let called = accept.recv().await.unwrap();
    (called, Tunnel::new(messages, sender))
}

/// The inner service through a tunnel.
pub(crate) async fn ends() -> Ends {
    let (called, caller) = tunnels().await;
    let (dialling, serving) = (called.handle(), caller.handle());
    let poured = Poured::default();
    let router = Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .add_service(inner_service(&poured));
    let server = tokio::spawn(async move { serve(caller, router).await.unwrap() });
    let inner = dial(called, &endpoint()).await.unwrap();
    Ends {
        inner,
        dialling,
        serving,
        server,
        poured,
    }
}

/// `echo` gives every message back; `pour` gives as many chunks as the first message says, and
/// counts them; `drink` counts the bytes it gets, and says how many; `silence` never ends.
fn inner_service(poured: &Poured) -> Double {
    let poured = Arc::clone(poured);
    Double::new(move |method, messages| match method {
        "echo" => Ok(Box::pin(messages)),
        "pour" => Ok(pour(messages, Arc::clone(&poured))),
        "drink" => Ok(drink(messages, Arc::clone(&poured))),
        "silence" => Ok(Box::pin(tokio_stream::pending())),
        _ => Err(Status::unimplemented(method)),
    })
}

fn pour(mut messages: Streaming<Bytes>, poured: Poured) -> Messages {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let wanted = messages.message().await.unwrap().unwrap();
        let wanted: u64 = std::str::from_utf8(&wanted).unwrap().parse().unwrap();
        for number in 0..wanted {
            let chunk = Bytes::from(vec![number.to_le_bytes()[0]; CHUNK]);
            if sender.send(Ok(chunk)).await.is_err() {
                return;
            }
            poured.fetch_add(CHUNK as u64, Ordering::SeqCst);
        }
    });
    Box::pin(tokio_stream::wrappers::ReceiverStream::new(receiver))
}

fn drink(mut messages: Streaming<Bytes>, drunk: Poured) -> Messages {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut total = 0_u64;
        while let Ok(Some(message)) = messages.message().await {
            total += message.len() as u64;
            drunk.store(total, Ordering::SeqCst);
        }
        let _ = sender.send(Ok(Bytes::from(total.to_string()))).await;
    });
    Box::pin(tokio_stream::wrappers::ReceiverStream::new(receiver))
}

/// Waits for something that must come.
pub(crate) async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, wait)
        .await
        .unwrap_or_else(|_| panic!("{what} within {LONG:?}"))
}
