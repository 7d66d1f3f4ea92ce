//! The agent's end of a running supervisor's control socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use helix_exec::control::{self, Notice, Order, StopReason};
use helix_exec::frame::{self, Decoder, MAX_CONTROL_FRAME};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

const READ_BYTES: usize = 4096;

/// A connection to the supervisor of one attempt.
#[derive(Debug)]
pub(crate) struct Supervision {
    stream: UnixStream,
    decoder: Decoder,
}

impl Supervision {
    /// Connects to the supervisor of the spool at `spool`.
    ///
    /// `NotFound` or `ConnectionRefused`: there is none, or not any more.
    pub(crate) fn connect(spool: &Path) -> io::Result<Self> {
        let stream = control::connect(spool)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: UnixStream::from_std(stream)?,
            decoder: Decoder::new(MAX_CONTROL_FRAME),
        })
    }

    /// The next notice; `None` once the supervisor has closed.
    ///
    /// Cancel safe: a notice that was half read is not lost.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Notice>> {
        loop {
            if let Some(notice) = self.decoder.next_message().map_err(io::Error::other)? {
                return Ok(Some(notice));
            }
            let mut buffer = [0; READ_BYTES];
            let count = self.stream.read(&mut buffer).await?;
            if count == 0 {
                return Ok(None);
            }
            self.decoder.feed(&buffer[..count]);
        }
    }

    /// Asks for the end of the tree. Not cancel safe.
    pub(crate) async fn stop(&mut self, reason: StopReason, grace: Duration) -> io::Result<()> {
        let order = Order::Stop { reason, grace };
        let bytes = frame::encode(&order, MAX_CONTROL_FRAME).map_err(io::Error::other)?;
        self.stream.write_all(&bytes).await
    }
}
