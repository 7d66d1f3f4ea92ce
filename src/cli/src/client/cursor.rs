//! How far a stream was read, so that a second stream continues where the first
//! broke. A pure rule: no connection in here.

use bytes::Buf;
use helix_proto::agent::v1::{AttemptEvent, attempt_event::Kind};

/// The place in an attempt's history up to which everything was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Number of the last event seen; 0 for none.
    pub(crate) after_event: u64,
    /// First console byte not seen.
    pub(crate) console_offset: u64,
}

impl Cursor {
    /// Moves on over `event` and gives back what of it is new.
    ///
    /// An agent that keeps its promise sends nothing twice. This makes sure of
    /// it, since a byte shown twice could not be told from one written twice.
    pub(crate) fn advance(&mut self, mut event: AttemptEvent) -> Option<AttemptEvent> {
        match &mut event.kind {
            Some(Kind::Console(chunk)) => {
                let length = chunk.data.len() as u64;
                let seen = self.pass(event.console_offset, length)?;
                // Not more than the chunk's length, which fits.
                chunk
                    .data
                    .advance(usize::try_from(seen).unwrap_or(usize::MAX));
                event.console_offset += seen;
            }
            Some(Kind::ConsoleGap(gap)) => {
                let seen = self.pass(event.console_offset, gap.dropped_bytes)?;
                gap.dropped_bytes -= seen;
                event.console_offset += seen;
            }
            Some(_) | None => {
                if event.number <= self.after_event {
                    return None;
                }
                self.after_event = event.number;
            }
        }
        Some(event)
    }

    /// Moves over `length` bytes at `offset`: how many of them were seen
    /// before, or nothing if all of them were.
    fn pass(&mut self, offset: u64, length: u64) -> Option<u64> {
        let end = offset.saturating_add(length);
        if end <= self.console_offset {
            return None;
        }
        let seen = self.console_offset.saturating_sub(offset);
        self.console_offset = end;
        Some(seen)
    }
}

/// Whether `kind` is the last event of an attempt.
pub(crate) fn is_terminal(kind: &Kind) -> bool {
    match kind {
        Kind::Finished(_) | Kind::Requeued(_) | Kind::Returned(_) => true,
        Kind::Console(_)
        | Kind::ConsoleGap(_)
        | Kind::Accepted(_)
        | Kind::Preparing(_)
        | Kind::Started(_)
        | Kind::Exited(_)
        | Kind::ResultsRead(_)
        | Kind::ArtifactStored(_)
        | Kind::Warning(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use helix_proto::agent::v1::{ConsoleChunk, ConsoleGap, Warning};

    use super::*;

    fn chunk(offset: u64, data: &'static str) -> AttemptEvent {
        let chunk = ConsoleChunk {
            stream: 2,
            data: data.as_bytes().into(),
        };
        AttemptEvent {
            console_offset: offset,
            kind: Some(Kind::Console(chunk)),
            ..AttemptEvent::default()
        }
    }

    fn gap(offset: u64, dropped_bytes: u64) -> AttemptEvent {
        AttemptEvent {
            console_offset: offset,
            kind: Some(Kind::ConsoleGap(ConsoleGap { dropped_bytes })),
            ..AttemptEvent::default()
        }
    }

    fn warning(number: u64) -> AttemptEvent {
        let kind = Some(Kind::Warning(Warning {
            message: number.to_string(),
        }));
        AttemptEvent {
            number,
            kind,
            ..AttemptEvent::default()
        }
    }

    fn text(event: Option<AttemptEvent>) -> Option<String> {
        match event?.kind? {
            Kind::Console(chunk) => Some(String::from_utf8(chunk.data.to_vec()).unwrap()),
            other => panic!("{other:?} is no console chunk"),
        }
    }

    #[test]
    fn a_chunk_is_shown_once_and_a_part_of_it_only_as_far_as_it_is_new() {
        let mut cursor = Cursor::default();
        assert_eq!(
            text(cursor.advance(chunk(0, "hello "))),
            Some("hello ".to_owned())
        );
        assert_eq!(text(cursor.advance(chunk(0, "hello "))), None);
        assert_eq!(
            text(cursor.advance(chunk(2, "llo world"))),
            Some("world".to_owned())
        );
        assert_eq!(cursor.console_offset, 11);
    }

    #[test]
    fn a_gap_that_was_half_seen_shrinks() {
        let mut cursor = Cursor {
            after_event: 0,
            console_offset: 10,
        };
        let event = cursor.advance(gap(4, 16)).unwrap();
        assert_eq!(event.console_offset, 10);
        assert_eq!(
            event.kind,
            Some(Kind::ConsoleGap(ConsoleGap { dropped_bytes: 10 }))
        );
        assert_eq!(cursor.console_offset, 20);
        assert_eq!(cursor.advance(gap(4, 16)), None);
    }

    #[test]
    fn events_come_once_whatever_the_console_does() {
        let mut cursor = Cursor::default();
        assert!(cursor.advance(warning(1)).is_some());
        assert!(cursor.advance(chunk(0, "x")).is_some());
        assert!(cursor.advance(warning(1)).is_none());
        assert!(cursor.advance(warning(2)).is_some());
        assert_eq!(
            cursor,
            Cursor {
                after_event: 2,
                console_offset: 1
            }
        );
    }

    #[test]
    fn an_absurd_offset_does_not_overflow() {
        let mut cursor = Cursor::default();
        assert!(cursor.advance(gap(u64::MAX - 1, u64::MAX)).is_some());
        assert_eq!(cursor.console_offset, u64::MAX);
        assert_eq!(cursor.advance(chunk(5, "x")), None);
    }
}
