//! Work that blocks, on a thread where it may.

use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// Runs `work` on a blocking thread and waits for it.
///
/// The token that `work` is given is cancelled with `cancellation`, and also when the caller's
/// future is dropped, since a blocking thread cannot be stopped from outside.
pub(crate) async fn run<T: Send + 'static>(
    operation: &'static str,
    cancellation: &CancellationToken,
    work: impl FnOnce(&CancellationToken) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    if cancellation.is_cancelled() {
        return Err(Error::Cancelled);
    }
    let token = cancellation.child_token();
    let _stop_when_dropped = token.clone().drop_guard();
    match tokio::task::spawn_blocking(move || work(&token)).await {
        Ok(result) => result,
        Err(_) => Err(Error::Aborted { operation }),
    }
}

/// Runs `work` on a blocking thread and waits for it; it goes on when the caller's future is
/// dropped.
pub(crate) async fn run_to_the_end<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(Error::Aborted { operation }),
    }
}
