//! The byte stream: chunks in, chunks out, and a handle to end it from elsewhere.

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::{CancellationToken, DropGuard, PollSender, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

/// Largest chunk in bytes; none is empty. A larger one from the peer is an error.
pub const MAX_CHUNK_BYTES: usize = 64 << 10;

/// Chunks that wait in the channel of [`outgoing`] for the message stream to take them.
pub const CHUNKS_IN_FLIGHT: usize = 4;

/// A channel for the chunks of one tunnel: its sender goes into [`Tunnel::new`], its stream is
/// turned to messages. The stream ends when the tunnel is shut down or dropped.
#[must_use]
pub fn outgoing() -> (mpsc::Sender<Bytes>, ReceiverStream<Bytes>) {
    let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
    (sender, ReceiverStream::new(receiver))
}

type Inbound = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// A byte stream in both directions, carried by chunks.
///
/// Reading ends with end of file when the stream of chunks ends, and with an error of kind
/// [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) when that gives one, which is its
/// source; of kind [`InvalidData`](io::ErrorKind::InvalidData) on a chunk that is empty or larger
/// than [`MAX_CHUNK_BYTES`]. Writing fails with [`BrokenPipe`](io::ErrorKind::BrokenPipe) when
/// nobody takes chunks any more. Shutting down ends the chunks that go out; those that come in
/// can still be read. Flushing waits for nothing: what was written is on its way.
pub struct Tunnel {
    inbound: Option<Inbound>,
    chunk: Bytes,
    outbound: PollSender<Bytes>,
    closing: CancellationToken,
    // One for each direction, since each wakes one task only and the directions may be polled
    // by different ones.
    closing_wakes_reader: Pin<Box<WaitForCancellationFutureOwned>>,
    closing_wakes_writer: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: DropGuard,
}

impl Tunnel {
    /// A tunnel over a stream of chunks and a channel of chunks, see [`outgoing`].
    pub fn new<S, E>(inbound: S, outbound: mpsc::Sender<Bytes>) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let inbound = inbound.map(|chunk| {
            let chunk =
                chunk.map_err(|error| io::Error::new(io::ErrorKind::ConnectionAborted, error))?;
            match chunk.len() {
                1..=MAX_CHUNK_BYTES => Ok(chunk),
                bytes => Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("chunk of {bytes} bytes, not 1 to {MAX_CHUNK_BYTES}"),
                )),
            }
        });
        let closing = CancellationToken::new();
        Self {
            inbound: Some(Box::pin(inbound)),
            chunk: Bytes::new(),
            outbound: PollSender::new(outbound),
            closing_wakes_reader: Box::pin(closing.clone().cancelled_owned()),
            closing_wakes_writer: Box::pin(closing.clone().cancelled_owned()),
            closing,
            ended: CancellationToken::new().drop_guard(),
        }
    }

    /// A handle on this tunnel, of use after the tunnel was given away.
    #[must_use]
    pub fn handle(&self) -> TunnelHandle {
        TunnelHandle {
            closing: self.closing.clone(),
            ended: self.ended.token().clone(),
        }
    }

    /// Waits until there is room for a chunk.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing_wakes_writer.as_mut().poll(context).is_ready() {
            self.outbound.close();
        }
        self.outbound
            .poll_reserve(context)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn send(&mut self, chunk: Bytes) -> io::Result<usize> {
        let bytes = chunk.len();
        self.outbound
            .send_item(chunk)
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes)
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tunnel")
            .field("unread", &self.chunk.len())
            .field("can_read", &self.inbound.is_some())
            .field("can_write", &!self.outbound.is_closed())
            .finish_non_exhaustive()
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.closing_wakes_reader.as_mut().poll(context).is_ready() {
            this.inbound = None;
            this.chunk.clear();
        }
        if this.chunk.is_empty() {
            let Some(inbound) = &mut this.inbound else {
                return Poll::Ready(Ok(()));
            };
            match ready!(inbound.as_mut().poll_next(context)) {
                Some(Ok(chunk)) => this.chunk = chunk,
                Some(Err(error)) => {
                    this.inbound = None;
                    return Poll::Ready(Err(error));
                }
                None => {
                    this.inbound = None;
                    return Poll::Ready(Ok(()));
                }
            }
        }
        let bytes = this.chunk.len().min(buffer.remaining());
        buffer.put_slice(&this.chunk[..bytes]);
        this.chunk.advance(bytes);
        if this.chunk.is_empty() {
            // An empty rest would keep the whole message alive.
            this.chunk = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let this = self.get_mut();
        ready!(this.poll_room(context))?;
        let bytes = buffer.len().min(MAX_CHUNK_BYTES);
        Poll::Ready(this.send(Bytes::copy_from_slice(&buffer[..bytes])))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = buffers
            .iter()
            .fold(0_usize, |sum, buffer| sum.saturating_add(buffer.len()));
        if written == 0 {
            return Poll::Ready(Ok(0));
        }
        let this = self.get_mut();
        ready!(this.poll_room(context))?;
        let mut chunk = BytesMut::with_capacity(written.min(MAX_CHUNK_BYTES));
        for buffer in buffers {
            let room = MAX_CHUNK_BYTES - chunk.len();
            chunk.extend_from_slice(&buffer[..buffer.len().min(room)]);
        }
        Poll::Ready(this.send(chunk.freeze()))
    }

    fn is_write_vectored(&self) -> bool {
        // The header of a frame and what it carries become one chunk.
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().outbound.close();
        Poll::Ready(Ok(()))
    }
}

impl Connected for Tunnel {
    /// Who is at the other end was told in the messages around the tunnel.
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

/// A handle on a [`Tunnel`] that somebody else owns.
#[derive(Debug, Clone)]
pub struct TunnelHandle {
    closing: CancellationToken,
    ended: CancellationToken,
}

impl TunnelHandle {
    /// Ends the tunnel: whoever reads comes to the end of file, even before what has already
    /// come in, and whoever writes gets [`BrokenPipe`](io::ErrorKind::BrokenPipe). Closing one
    /// that has ended changes nothing.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Waits until the tunnel's owner has dropped it, closed or not. Cancelling the wait is safe.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// The same wait as a future of a known type.
    pub(crate) fn into_ended(self) -> WaitForCancellationFutureOwned {
        self.ended.cancelled_owned()
    }

    /// Whether the tunnel's owner has dropped it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }
}
