//! One client's view of an attempt: its events and its console, merged.
//!
//! The task reads from the spool at the client's own pace and holds at most a
//! few chunks, so that a slow client costs memory for those chunks and slows
//! nobody. When the client goes away the task ends, and the attempt does not
//! notice.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use helix_exec::spool::{Chunk, Piece, SpoolReader, Stream, UnixNanos};
use helix_proto::agent::v1::attempt_event::Kind;
use helix_proto::agent::v1::{AttemptEvent, ConsoleChunk, ConsoleGap, ConsoleStream};
use tokio::sync::mpsc;
use tonic::Status;

use super::handle::Attempt;
use super::journal::is_terminal;

/// Large enough that the cost of a message disappears, small enough that a few
/// of them for each client do not count, and that the allocator does not ask
/// the system for each of them anew.
const CHUNK_BYTES: usize = 64 << 10;
/// Messages that wait for a client.
const WAITING_MESSAGES: usize = 4;

/// What a client is sent.
pub(crate) type Message = Result<AttemptEvent, Status>;

/// Follows `attempt` from behind the event `after_event` and from the console
/// byte `console_offset` to its terminal event.
pub(crate) fn follow(
    attempt: Arc<Attempt>,
    after_event: u64,
    console_offset: u64,
) -> mpsc::Receiver<Message> {
    let (sender, receiver) = mpsc::channel(WAITING_MESSAGES);
    tokio::spawn(async move {
        let mut follower = Follower {
            attempt,
            sender,
            reader: None,
            offset: console_offset,
        };
        // A client that is gone needs no answer.
        let _ = follower.run(after_event).await;
    });
    receiver
}

struct Follower {
    attempt: Arc<Attempt>,
    sender: mpsc::Sender<Message>,
    /// Taken out while a blocking thread reads with it.
    reader: Option<SpoolReader>,
    offset: u64,
}

/// The client does not listen any more.
struct ClientGone;

impl Follower {
    async fn run(&mut self, mut number: u64) -> Result<(), ClientGone> {
        let mut events = self.attempt.journal.subscribe();
        let mut console = self.attempt.console();
        loop {
            // Marked as seen before they are looked at: what changes from here
            // on wakes the wait below.
            events.borrow_and_update();
            let size = *console.borrow_and_update();
            let event = self.attempt.journal.after(number);
            let end = event.as_ref().map_or(size, |event| event.console_offset);
            while self.offset < end {
                self.send_piece(end).await?;
            }
            let Some(event) = event else {
                // Whoever has seen the terminal event already gets no other.
                if self
                    .attempt
                    .journal
                    .terminal()
                    .is_some_and(|last| last.number <= number)
                {
                    return Ok(());
                }
                tokio::select! {
                    _ = events.changed() => {}
                    _ = console.changed() => {}
                    () = self.sender.closed() => return Err(ClientGone),
                }
                continue;
            };
            number = event.number;
            let last = is_terminal(&event);
            self.send(event.as_ref().clone()).await?;
            if last {
                return Ok(());
            }
        }
    }

    async fn send_piece(&mut self, end: u64) -> Result<(), ClientGone> {
        let most = usize::try_from(end - self.offset)
            .unwrap_or(CHUNK_BYTES)
            .min(CHUNK_BYTES);
        let (piece, next) = match self.read(most).await {
            Some(Piece::Chunk(chunk)) => {
                let next = chunk.offset + chunk.bytes.len() as u64;
                (chunk_event(chunk), next)
            }
            Some(Piece::Gap(gap)) => {
                // A gap may reach beyond the event that is due; the rest of it
                // is said after that event.
                let next = gap.offset.saturating_add(gap.bytes).min(end);
                (gap_event(self.offset, next - self.offset), next)
            }
            // The agent was told of bytes that the spool does not have.
            Some(Piece::End) | None => (gap_event(self.offset, end - self.offset), end),
        };
        self.send(piece).await?;
        self.offset = next;
        Ok(())
    }

    /// What there is at the present offset; `None` when it cannot be read. The
    /// client is told of a gap then, so that it still hears how all ended.
    async fn read(&mut self, most: usize) -> Option<Piece> {
        let reader = self.reader.take();
        let spool = self.attempt.spool();
        let offset = self.offset;
        let read = tokio::task::spawn_blocking(move || {
            let mut reader = match reader {
                Some(reader) => reader,
                None => SpoolReader::open(&spool)?,
            };
            let piece = reader.read_at(offset, most)?;
            Ok::<_, helix_exec::spool::SpoolError>((reader, piece))
        });
        let error = match read.await {
            Ok(Ok((reader, piece))) => {
                self.reader = Some(reader);
                return Some(piece);
            }
            Ok(Err(error)) => crate::error_chain(&error),
            Err(error) => error.to_string(),
        };
        tracing::error!(
            attempt = %self.attempt.identity.attempt,
            error,
            "console cannot be read and is shown as a gap"
        );
        None
    }

    async fn send(&self, event: AttemptEvent) -> Result<(), ClientGone> {
        self.sender.send(Ok(event)).await.map_err(|_| ClientGone)
    }
}

fn chunk_event(chunk: Chunk) -> AttemptEvent {
    let stream = match chunk.stream {
        Stream::Agent => ConsoleStream::Agent,
        Stream::Stdout => ConsoleStream::Stdout,
        Stream::Stderr => ConsoleStream::Stderr,
    };
    AttemptEvent {
        number: 0,
        time: (chunk.time != UnixNanos::default()).then(|| SystemTime::from(chunk.time).into()),
        console_offset: chunk.offset,
        kind: Some(Kind::Console(ConsoleChunk {
            stream: stream.into(),
            data: Bytes::from(chunk.bytes),
        })),
    }
}

fn gap_event(offset: u64, length: u64) -> AttemptEvent {
    AttemptEvent {
        number: 0,
        time: None,
        console_offset: offset,
        kind: Some(Kind::ConsoleGap(ConsoleGap {
            dropped_bytes: length,
        })),
    }
}
