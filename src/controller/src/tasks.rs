//! The tasks of a controller, all of which end with it.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Starts tasks, and ends them at one blow.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    end: CancellationToken,
    tracker: TaskTracker,
}

impl Tasks {
    /// Starts a task, which is dropped where it waits when [`Tasks::end`] is called.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let end = self.end.clone();
        let task = async move {
            tokio::select! {
                biased;
                () = end.cancelled_owned() => {}
                () = task => {}
            }
        };
        self.tracker.spawn(task.in_current_span());
    }

    /// Drops every task where it waits, and those that are started later at once.
    pub(crate) fn end(&self) {
        self.end.cancel();
    }

    /// Waits until no task is left. Only after [`Tasks::end`].
    pub(crate) async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
