//! Reads logs, wherever they are.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange};
use tokio::sync::watch;

use super::LogError;
use super::live::{LiveLog, LiveState};
use crate::storage::Storage;

/// A log and how much of it there is.
#[derive(Debug)]
pub(crate) struct Log {
    /// Bytes so far, or in all where it has ended.
    pub(crate) length: u64,
    /// Whether its attempt may still write.
    pub(crate) is_live: bool,
    /// Reads what was asked for.
    pub(crate) reader: LogReader,
}

/// Gives a log piece by piece.
pub(crate) struct LogReader(Kind);

enum Kind {
    /// What an attempt prints, as it prints it.
    Live {
        log: Arc<LiveLog>,
        state: watch::Receiver<LiveState>,
        offset: u64,
        end: Option<u64>,
    },
    /// All that is asked for, at hand.
    Bytes(Bytes),
    /// An object.
    Object(BoxStream<'static, object_store::Result<Bytes>>),
}

impl fmt::Debug for LogReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match &self.0 {
            Kind::Live { .. } => "LogReader(live)",
            Kind::Bytes(_) => "LogReader(bytes)",
            Kind::Object(_) => "LogReader(object)",
        })
    }
}

impl LogReader {
    /// Follows a live log from an offset, up to another or to its end.
    pub(crate) fn live(log: Arc<LiveLog>, offset: u64, end: Option<u64>) -> Self {
        let state = log.state();
        Self(Kind::Live {
            log,
            state,
            offset,
            end,
        })
    }

    /// Gives a part of what is at hand.
    pub(crate) fn bytes(bytes: impl Into<Bytes>, range: &Range<u64>) -> Self {
        let bytes: Bytes = bytes.into();
        let at = |offset: u64| {
            usize::try_from(offset)
                .unwrap_or(usize::MAX)
                .min(bytes.len())
        };
        let (start, end) = (at(range.start), at(range.end));
        Self(Kind::Bytes(bytes.slice(start.min(end)..end)))
    }

    /// Gives a part of an object.
    pub(crate) async fn object(
        storage: &Storage,
        key: &str,
        range: Range<u64>,
    ) -> Result<Self, LogError> {
        if range.is_empty() {
            return Ok(Self(Kind::Bytes(Bytes::new())));
        }
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        let key = Key::from(key);
        let object = storage.objects().get_opts(&key, options).await?;
        Ok(Self(Kind::Object(object.into_stream())))
    }

    /// The next piece, never empty; none at the end. Of a live log it waits for one. Dropping the
    /// future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, LogError> {
        match &mut self.0 {
            Kind::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                Ok((!bytes.is_empty()).then_some(bytes))
            }
            Kind::Object(stream) => loop {
                match stream.next().await.transpose()? {
                    Some(bytes) if bytes.is_empty() => {}
                    piece => return Ok(piece),
                }
            },
            Kind::Live {
                log,
                state,
                offset,
                end,
            } => loop {
                let LiveState { length, has_ended } = *state.borrow_and_update();
                let most = end.unwrap_or(u64::MAX).min(length);
                if *offset < most {
                    let mut bytes = log.read(*offset).await?;
                    let room = usize::try_from(most - *offset).unwrap_or(usize::MAX);
                    bytes.truncate(room);
                    if bytes.is_empty() {
                        // It was begun anew meanwhile.
                        return Ok(None);
                    }
                    *offset = offset.saturating_add(bytes.len() as u64);
                    return Ok(Some(bytes));
                }
                if has_ended || end.is_some_and(|end| *offset >= end) {
                    return Ok(None);
                }
                if state.changed().await.is_err() {
                    return Ok(None);
                }
            },
        }
    }
}
