//! The end that calls.

use std::future;
use std::io;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Error};
use tower::service_fn;

use crate::FRAME_BYTES;
use crate::tunnel::Tunnel;

/// What requests name as their host. Nobody resolves it.
const HOST: &str = "http://tunnel";
/// Enough for a stream of output to run at full speed over a long line.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// A peer that is gone without a word is noticed within the sum of both.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The settings that go well with a tunnel; a caller may change them before [`dial`].
#[must_use]
pub fn endpoint() -> Endpoint {
    Endpoint::from_static(HOST)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
}

/// A channel whose one connection is the tunnel. When that has ended, every call fails, with
/// `UNAVAILABLE` save where the call itself meets the end: there is no second connection. It ends when all clones of the channel are
/// dropped, when the peer ends it, or when it is closed by its [handle](Tunnel::handle).
///
/// # Errors
///
/// The tunnel ended before a connection could be made of it.
pub async fn dial(tunnel: Tunnel, endpoint: &Endpoint) -> Result<Channel, Error> {
    let mut tunnel = Some(tunnel);
    let connector = service_fn(move |_| {
        let connection = tunnel.take().map(TokioIo::new);
        future::ready(
            connection
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the tunnel has ended")),
        )
    });
    endpoint.connect_with_connector(connector).await
}
