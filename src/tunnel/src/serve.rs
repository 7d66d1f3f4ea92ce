//! The end that serves.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio_stream::Stream;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::transport::server::Router;

use crate::tunnel::Tunnel;

/// Serves the one connection of a tunnel, and returns when it has ended, however it did.
///
/// To end it, close the tunnel by its [handle](Tunnel::handle): dropping this future leaves the
/// connection to itself. Frames of [`FRAME_BYTES`](crate::FRAME_BYTES) go well with a tunnel.
///
/// # Errors
///
/// The router cannot serve at all. How the connection fares is no error.
pub async fn serve(tunnel: Tunnel, router: Router) -> Result<(), tonic::transport::Error> {
    router.serve_with_incoming(Incoming::of(tunnel)).await
}

/// A stream of one connection, for tonic's `serve_with_incoming`: gives the tunnel, and ends when
/// that has been dropped.
#[derive(Debug)]
pub struct Incoming {
    tunnel: Option<Tunnel>,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Incoming {
    /// The stream of this one tunnel.
    #[must_use]
    pub fn of(tunnel: Tunnel) -> Self {
        Self {
            ended: Box::pin(tunnel.handle().into_ended()),
            tunnel: Some(tunnel),
        }
    }
}

impl Stream for Incoming {
    type Item = Result<Tunnel, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(tunnel) = self.tunnel.take() {
            return Poll::Ready(Some(Ok(tunnel)));
        }
        ready!(self.ended.as_mut().poll(context));
        Poll::Ready(None)
    }
}
