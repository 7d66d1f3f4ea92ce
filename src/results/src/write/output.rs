//! Where a writer writes: remembers the first error, since a sink has no way to return one.

use std::fmt;
use std::io;
use std::ops::ControlFlow;

pub(crate) struct Output<W> {
    inner: W,
    error: Option<io::Error>,
}

impl<W> fmt::Debug for Output<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<W: io::Write> Output<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self { inner, error: None }
    }

    /// Writes, unless that has failed before.
    pub(crate) fn put(&mut self, text: fmt::Arguments<'_>) {
        if self.error.is_none()
            && let Err(error) = self.inner.write_fmt(text)
        {
            self.error = Some(error);
        }
    }

    /// Writes `value` as JSON.
    pub(crate) fn put_json(&mut self, value: &impl serde::Serialize) {
        if self.error.is_none()
            && let Err(error) = serde_json::to_writer(&mut self.inner, value)
        {
            self.error = Some(error.into());
        }
    }

    /// Whether to go on.
    pub(crate) fn flow(&self) -> ControlFlow<()> {
        match self.error {
            None => ControlFlow::Continue(()),
            Some(_) => ControlFlow::Break(()),
        }
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        match self.error {
            Some(error) => Err(error),
            None => {
                self.inner.flush()?;
                Ok(self.inner)
            }
        }
    }
}
