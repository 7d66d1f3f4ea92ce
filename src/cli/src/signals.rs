//! Ctrl-C and SIGTERM, counted.
//!
//! Once a signal is caught, the system does not end the program by it any more,
//! even while the program hangs in a write to a terminal that was stopped. So
//! the counting is done by a task of its own, which leaves for good when the
//! person insists.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::Error;
use crate::exit::Exit;

/// How often the person, or the system, asked the program to stop.
#[derive(Debug, Clone)]
pub(crate) struct Interrupts {
    count: watch::Receiver<u32>,
}

impl Interrupts {
    /// Begins to count. The signal number `patience` ends the program at once.
    pub(crate) fn listen(patience: u32) -> Result<Self, Error> {
        let catch = |kind| signal(kind).map_err(|source| Error::Signals { source });
        let mut interrupt = catch(SignalKind::interrupt())?;
        let mut terminate = catch(SignalKind::terminate())?;
        let (sender, count) = watch::channel(0);
        tokio::spawn(async move {
            for number in 1_u32.. {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if number >= patience {
                    leave();
                }
                // Nobody waits for it only when the program is ending anyhow.
                let _ = sender.send(number);
            }
        });
        Ok(Self { count })
    }

    /// Waits for the next one and says how many there were.
    pub(crate) async fn next(&mut self) -> u32 {
        if self.count.changed().await.is_err() {
            // The counting task ends with the runtime.
            std::future::pending::<()>().await;
        }
        *self.count.borrow_and_update()
    }
}

#[expect(
    clippy::exit,
    reason = "the main task may hang in a write and cannot be asked"
)]
fn leave() -> ! {
    std::process::exit(Exit::Cancelled.code().into())
}
