//! What a client keeps of an attempt's stream, and what must hold for every
//! stream.

use helix_proto::agent::v1::attempt_event::Kind;
use helix_proto::agent::v1::{
    AttemptEvent, ConsoleStream, Finished, Requeued, Returned, Verdict, returned,
};

/// A stream as a client saw it.
#[derive(Debug, Default)]
pub struct Seen {
    /// The numbered events.
    pub events: Vec<AttemptEvent>,
    /// What the agent itself wrote to the console.
    pub notes: Vec<u8>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// Bytes said to be dropped.
    pub dropped: u64,
    /// Bytes of console seen or said to be dropped, from the first asked for.
    pub console_end: u64,
}

impl Seen {
    /// A stream that begins after the event `after` and at the console `offset`.
    #[must_use]
    pub fn from(offset: u64) -> Self {
        Self {
            console_end: offset,
            ..Self::default()
        }
    }

    /// Takes the next message, and checks the order that the contract promises.
    ///
    /// # Panics
    ///
    /// When the order is not kept.
    pub fn take(&mut self, event: AttemptEvent) {
        assert!(
            self.terminal().is_none(),
            "an event after the terminal one: {event:?}"
        );
        match &event.kind {
            Some(Kind::Console(chunk)) => {
                assert_eq!(
                    event.console_offset, self.console_end,
                    "a hole in the console"
                );
                assert!(!chunk.data.is_empty() && chunk.data.len() <= 1 << 20);
                let into = match chunk.stream() {
                    ConsoleStream::Agent => &mut self.notes,
                    ConsoleStream::Stdout => &mut self.stdout,
                    ConsoleStream::Stderr => &mut self.stderr,
                    ConsoleStream::Unspecified => panic!("a chunk without a stream"),
                };
                into.extend_from_slice(&chunk.data);
                self.console_end += chunk.data.len() as u64;
            }
            Some(Kind::ConsoleGap(gap)) => {
                assert_eq!(
                    event.console_offset, self.console_end,
                    "a hole in the console"
                );
                assert!(gap.dropped_bytes > 0);
                self.dropped += gap.dropped_bytes;
                self.console_end += gap.dropped_bytes;
            }
            Some(_) => {
                if let Some(last) = self.events.last() {
                    assert_eq!(event.number, last.number + 1, "events out of order");
                }
                assert!(
                    event.console_offset <= self.console_end,
                    "an event before its output"
                );
                self.events.push(event);
            }
            None => panic!("an event without a kind"),
        }
    }

    /// The terminal event.
    #[must_use]
    pub fn terminal(&self) -> Option<&Kind> {
        self.events
            .last()
            .and_then(|event| event.kind.as_ref())
            .filter(|kind| {
                matches!(
                    kind,
                    Kind::Finished(_) | Kind::Requeued(_) | Kind::Returned(_)
                )
            })
    }

    /// The terminal event, which must be `finished`.
    ///
    /// # Panics
    ///
    /// When it is not.
    #[must_use]
    pub fn finished(&self) -> &Finished {
        match self.terminal() {
            Some(Kind::Finished(finished)) => finished,
            other => panic!("not finished: {other:?}\n{}", self.text()),
        }
    }

    /// The terminal event, which must be `requeued`.
    ///
    /// # Panics
    ///
    /// When it is not.
    #[must_use]
    pub fn requeued(&self) -> &Requeued {
        match self.terminal() {
            Some(Kind::Requeued(requeued)) => requeued,
            other => panic!("not requeued: {other:?}\n{}", self.text()),
        }
    }

    /// The terminal event, which must be `returned`.
    ///
    /// # Panics
    ///
    /// When it is not.
    #[must_use]
    pub fn returned(&self) -> &Returned {
        match self.terminal() {
            Some(Kind::Returned(returned)) => returned,
            other => panic!("not returned: {other:?}\n{}", self.text()),
        }
    }

    /// The verdict, whatever the terminal event.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn verdict(&self) -> &Verdict {
        let verdict = match self.terminal() {
            Some(Kind::Finished(finished)) => finished.verdict.as_ref(),
            Some(Kind::Requeued(requeued)) => requeued.verdict.as_ref(),
            Some(Kind::Returned(Returned {
                cause: Some(returned::Cause::Verdict(verdict)),
                ..
            })) => Some(verdict),
            _ => None,
        };
        verdict.unwrap_or_else(|| panic!("no verdict: {:?}\n{}", self.terminal(), self.text()))
    }

    /// The first event that `pick` takes.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn find<'seen, T>(&'seen self, pick: impl Fn(&'seen Kind) -> Option<T>) -> T {
        self.events
            .iter()
            .find_map(|event| event.kind.as_ref().and_then(&pick))
            .unwrap_or_else(|| panic!("no such event among {:#?}", self.events))
    }

    /// All of the console as text, for messages.
    #[must_use]
    pub fn text(&self) -> String {
        [&self.notes, &self.stdout, &self.stderr]
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .join("--\n")
    }
}
