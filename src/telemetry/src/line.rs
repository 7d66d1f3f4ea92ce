//! Keeps each event on one line, so that text from outside cannot forge an event.

use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

/// Makes writers to stderr that keep each event on one line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OneLineStderr;

impl MakeWriter<'_> for OneLineStderr {
    type Writer = OneLine<io::Stderr>;

    fn make_writer(&self) -> Self::Writer {
        OneLine(io::stderr())
    }
}

/// A writer that takes each call for one whole event, which ends with a line feed, and escapes
/// every other line feed and carriage return in it.
///
/// The names of work items, paths and texts of errors appear in fields. One with a line feed in it
/// could otherwise pass off what follows as an event of ours.
#[derive(Debug)]
pub(crate) struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let body = event.strip_suffix(b"\n").unwrap_or(event);
        if body.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            let mut line = Vec::with_capacity(event.len() + 16);
            for byte in body {
                match byte {
                    b'\n' => line.extend_from_slice(br"\n"),
                    b'\r' => line.extend_from_slice(br"\r"),
                    _ => line.push(*byte),
                }
            }
            line.extend_from_slice(&event[body.len()..]);
            self.0.write_all(&line)?;
        } else {
            self.0.write_all(event)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::OneLine;

    fn written(event: &[u8]) -> Vec<u8> {
        let mut writer = OneLine(Vec::new());
        writer.write_all(event).expect("a vector takes everything");
        writer.0
    }

    #[test]
    fn event_of_one_line_is_left_alone() {
        assert_eq!(written(b"started attempt=1\n"), b"started attempt=1\n");
        assert_eq!(written(b""), b"");
        assert_eq!(written(b"\n"), b"\n");
    }

    #[test]
    fn line_feed_inside_an_event_is_escaped() {
        assert_eq!(
            written(b"refused name=a\n2026-01-01 INFO accepted\r\n"),
            b"refused name=a\\n2026-01-01 INFO accepted\\r\n",
        );
        assert_eq!(written(b"ends twice\n\n"), b"ends twice\\n\n");
    }

    proptest! {
        #[test]
        fn an_event_is_never_more_than_one_line(event: Vec<u8>) {
            let written = written(&event);
            let body = written.strip_suffix(b"\n").unwrap_or(&written);
            prop_assert!(!body.contains(&b'\n') && !body.contains(&b'\r'));
            prop_assert_eq!(written.ends_with(b"\n"), event.ends_with(b"\n"));
        }
    }
}
