//! Events of a job as they happen (server-sent events).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use reqwest::Response;

use super::connection::Ask;
use super::{Client, ClientError};
use crate::{Endpoint, JobEvent, JobEventKind, Method};

/// The server says something every quarter of this; a line that is silent for so long is cut.
const SILENCE: Duration = Duration::from_secs(60);
/// The longest line that makes sense.
const MAX_LINE_BYTES: usize = 1 << 20;

/// The events of a job. Comes back where it was cut off.
#[derive(Debug)]
pub struct EventReader {
    client: Client,
    path: String,
    after: u64,
    state: State,
    ready: VecDeque<JobEvent>,
    /// Since when nothing has come although the line broke.
    broken: Option<Instant>,
}

#[derive(Debug)]
enum State {
    Closed,
    Open(Response, Lines),
    Done,
}

/// Lines of a stream, and what they have said since the last empty one.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
    data: String,
}

impl EventReader {
    pub(super) fn new(client: Client, job: &str, after: u64) -> Self {
        Self {
            client,
            path: Endpoint::JobEvents.fill(&[job]),
            after,
            state: State::Closed,
            ready: VecDeque::new(),
            broken: None,
        }
    }

    /// The next event; none after the job's end.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]; a line that breaks is one only when it stays broken.
    pub async fn next(&mut self) -> Result<Option<JobEvent>, ClientError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                if event.number <= self.after {
                    continue;
                }
                self.after = event.number;
                self.broken = None;
                if event.kind == JobEventKind::JobEnded {
                    self.state = State::Done;
                }
                return Ok(Some(event));
            }
            match &mut self.state {
                State::Done => return Ok(None),
                State::Closed => {
                    let mut ask = Ask::to(Method::Get, self.path.clone())
                        .header("accept", "text/event-stream");
                    if self.after > 0 {
                        ask = ask.header("last-event-id", self.after.to_string());
                    }
                    let response = self.client.open(&ask).await?;
                    self.state = State::Open(response, Lines::default());
                }
                State::Open(response, lines) => {
                    let chunk = tokio::time::timeout(SILENCE, response.chunk()).await;
                    let cut = match chunk {
                        Ok(Ok(Some(bytes))) => {
                            lines.take(&bytes, &mut self.ready)?;
                            continue;
                        }
                        // It ends by itself only after the job's end, which would have been seen.
                        Ok(Ok(None)) => None,
                        Ok(Err(error)) => Some(self.client.broken(error)),
                        Err(_) => Some(self.client.silent(SILENCE)),
                    };
                    self.state = State::Closed;
                    let since = *self.broken.get_or_insert_with(Instant::now);
                    if since.elapsed() > self.client.patience() {
                        return match cut {
                            Some(error) => Err(error),
                            None => Ok(None),
                        };
                    }
                    // A server that ends each stream at once must not be asked in a tight loop.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }
}

impl Lines {
    fn take(&mut self, bytes: &[u8], ready: &mut VecDeque<JobEvent>) -> Result<(), ClientError> {
        self.rest.extend_from_slice(bytes);
        let mut begin = 0;
        while let Some(length) = self.rest[begin..].iter().position(|byte| *byte == b'\n') {
            let line = &self.rest[begin..begin + length];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            begin += length + 1;
            if line.is_empty() {
                let data = std::mem::take(&mut self.data);
                if !data.is_empty() {
                    ready.push_back(serde_json::from_str(&data).map_err(ClientError::Answer)?);
                }
            } else if let Some(data) = line.strip_prefix(b"data:") {
                let data = data.strip_prefix(b" ").unwrap_or(data);
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(&String::from_utf8_lossy(data));
            }
            // The id is in the data as well, and other fields are for others.
        }
        self.rest.drain(..begin);
        if self.rest.len() > MAX_LINE_BYTES || self.data.len() > MAX_LINE_BYTES {
            let error = serde::de::Error::custom("a line of the stream is too long");
            return Err(ClientError::Answer(error));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let text = ": keep-alive\n\nid: 3\r\ndata: {\"number\":3,\r\ndata: \"at\":\"2026-01-02T03:04:05Z\",\"kind\":\"submitted\"}\r\n\r\nid: 4\ndata:{\"number\":4,\"at\":\"2026-01-02T03:04:05Z\",\"kind\":\"of_later\"}\n\n";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let mut ready = VecDeque::new();
            for piece in text.as_bytes().chunks(size) {
                lines.take(piece, &mut ready).unwrap();
            }
            let found: Vec<_> = ready.iter().map(|one| (one.number, one.kind)).collect();
            let expected = [(3, JobEventKind::Submitted), (4, JobEventKind::Other)];
            assert_eq!(found, expected, "{size}");
        }
        let mut lines = Lines::default();
        let long = vec![b'x'; MAX_LINE_BYTES + 1];
        assert!(lines.take(&long, &mut VecDeque::new()).is_err());
    }
}
