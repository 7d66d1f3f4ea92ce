//! Reading a log, wherever it is cut off.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::{Response, StatusCode};

use super::connection::Ask;
use super::{Client, ClientError};
use crate::Method;

/// A line that says nothing for this long is looked after: the attempt may be silent, or the line cut.
const LOOK_AFTER: Duration = Duration::from_secs(60);

/// Where to stop reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Where the log ends now.
    Now,
    /// When the attempt has ended.
    End,
}

/// A log on its way. Comes back where it was cut off.
#[derive(Debug)]
pub struct LogReader {
    client: Client,
    path: String,
    offset: u64,
    until: Until,
    state: State,
    /// Since when nothing has come although the line broke.
    broken: Option<Instant>,
}

#[derive(Debug)]
enum State {
    Closed,
    Open(Response),
    Done,
}

impl LogReader {
    pub(super) fn new(client: Client, path: String, offset: u64, until: Until) -> Self {
        Self {
            client,
            path,
            offset,
            until,
            state: State::Closed,
            broken: None,
        }
    }

    /// How far it has been read.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next bytes; none at the end.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]; a line that breaks is one only when it stays broken.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            match &mut self.state {
                State::Done => return Ok(None),
                State::Closed => self.open().await?,
                State::Open(response) => {
                    let chunk = tokio::time::timeout(LOOK_AFTER, response.chunk()).await;
                    match chunk {
                        Ok(Ok(Some(bytes))) if bytes.is_empty() => {}
                        Ok(Ok(Some(bytes))) => {
                            self.offset += bytes.len() as u64;
                            self.broken = None;
                            return Ok(Some(bytes));
                        }
                        Ok(Ok(None)) => self.state = State::Done,
                        // Nothing printed for a while is no fault; asking again finds out.
                        Err(_) => self.state = State::Closed,
                        Ok(Err(error)) => self.lost(error)?,
                    }
                }
            }
        }
    }

    fn lost(&mut self, error: reqwest::Error) -> Result<(), ClientError> {
        self.state = State::Closed;
        let since = *self.broken.get_or_insert_with(Instant::now);
        if since.elapsed() > self.client.patience() {
            return Err(self.client.broken(error));
        }
        Ok(())
    }

    async fn open(&mut self) -> Result<(), ClientError> {
        let mut ask =
            Ask::to(Method::Get, self.path.clone()).header("accept", "application/octet-stream");
        if self.until == Until::End {
            ask = ask.query(&crate::LogQuery {
                follow: Some("true".to_owned()),
            });
        }
        if self.offset > 0 {
            ask = ask.header("range", format!("bytes={}-", self.offset));
        }
        self.state = match self.client.open(&ask).await {
            Ok(response) if self.offset > 0 && response.status() != StatusCode::PARTIAL_CONTENT => {
                return Err(ClientError::Foreign {
                    url: self.client.url().to_owned(),
                    status: response.status().as_u16(),
                });
            }
            Ok(response) => State::Open(response),
            // Nothing lies behind the offset: that is where the log ends.
            Err(ClientError::Problem(problem)) if problem.status == 416 => State::Done,
            Err(error) => return Err(error),
        };
        Ok(())
    }
}
