//! The block of details behind a TAP point: YAML by name, and in practice whatever the writer made of it.

use std::time::Duration;

use crate::formats::tap_line::{self, Line};
use crate::session::Session;
use crate::text::{Capture, Text, prefix};
use crate::time::{Comma, milliseconds, seconds};

/// Bytes kept of a message.
const MESSAGE_BYTES: usize = 4 << 10;

/// What a block tells.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) message: Text,
    pub(crate) duration: Option<Duration>,
    pub(crate) text: Text,
}

/// The block that is being read.
#[derive(Default)]
pub(crate) struct Details {
    state: State,
    text: Capture,
    message: Message,
    duration: Option<Duration>,
}

/// The message, where the block names one.
#[derive(Debug, Default)]
enum Message {
    #[default]
    None,
    /// It begins on the next line.
    Below,
    Found(String),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    None,
    /// In a block that is indented by so much.
    Inside(usize),
    Complete,
}

impl Details {
    pub(crate) fn begin(&mut self, indent: usize, session: &Session<'_>) {
        session.start_text(&mut self.text, session.limits().stack_bytes);
        self.message = Message::None;
        self.duration = None;
        self.state = State::Inside(indent);
    }

    /// Takes a line if it belongs to the block. A line that can stand only outside ends a block that was not ended.
    pub(crate) fn takes(&mut self, indent: usize, text: &str) -> bool {
        let State::Inside(own) = self.state else {
            return false;
        };
        let outside = indent < own && indent.is_multiple_of(4);
        let ends = match tap_line::parse(text) {
            Line::Point(_) | Line::Plan { .. } | Line::Version => outside,
            _ => false,
        };
        if ends {
            self.state = State::Complete;
            return false;
        }
        if indent == own && text.trim_end() == "..." {
            self.state = State::Complete;
            return true;
        }
        let shown = indent.saturating_sub(own);
        self.text.push(&b"                "[..shown.min(16)]);
        self.text.push(text.as_bytes());
        self.text.push(b"\n");
        self.note(text);
        true
    }

    fn note(&mut self, text: &str) {
        if let Message::Below = self.message {
            self.message = Message::Found(prefix(text.trim(), MESSAGE_BYTES).to_owned());
            return;
        }
        let Some((key, value)) = text.split_once(':') else {
            return;
        };
        let value = unquoted(value.trim());
        match (key.trim(), &self.message) {
            ("message" | "error", Message::None) => {
                self.message = match value {
                    "" => Message::None,
                    value if value.starts_with(['|', '>']) => Message::Below,
                    value => Message::Found(prefix(value, MESSAGE_BYTES).to_owned()),
                };
            }
            ("duration_ms", _) if self.duration.is_none() => {
                self.duration = milliseconds(value.as_bytes());
            }
            ("time", _) if self.duration.is_none() => {
                self.duration = seconds(value.as_bytes(), Comma::Decimal);
            }
            _ => {}
        }
    }

    /// What the last block told, once.
    pub(crate) fn finish(&mut self, session: &mut Session<'_>) -> Option<Found> {
        if self.state == State::None {
            return None;
        }
        self.state = State::None;
        Some(Found {
            message: match std::mem::take(&mut self.message) {
                Message::Found(message) => Text::from(message),
                Message::None | Message::Below => Text::default(),
            },
            duration: self.duration.take(),
            text: session.finish_text(&mut self.text),
        })
    }
}

/// A YAML scalar without its quotes.
fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = value
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
        {
            return inner;
        }
    }
    value
}
