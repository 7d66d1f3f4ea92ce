//! Stores many files, some at a time, and says of each what became of it as soon as it is known.

use futures::{Stream, StreamExt, stream};
use tokio::time::Instant;

use crate::destination::Destination;
use crate::name::ArtifactName;
use crate::select::{Kind, Selected};
use crate::store::{StoreError, Stored};

/// What became of one selected file.
#[derive(Debug)]
pub struct Outcome {
    /// Its name.
    pub name: ArtifactName,
    /// Why it was selected.
    pub kind: Kind,
    /// Where it is now, or why it is not there.
    pub result: Result<Stored, StoreError>,
}

impl Destination {
    /// Stores files, [`Tuning::files_at_once`](crate::Tuning::files_at_once) at one time, and
    /// yields an [`Outcome`] for each as it completes. All of them share
    /// [`Tuning::within`](crate::Tuning::within), counted from the first poll.
    ///
    /// Work goes on while the stream is polled. Dropping it cancels what is not complete.
    pub fn store_all(&self, files: Vec<Selected>) -> impl Stream<Item = Outcome> + Send + use<> {
        let destination = self.clone();
        stream::once(async move {
            let deadline = Instant::now() + destination.tuning.within;
            let at_once = destination.tuning.files_at_once.max(1);
            stream::iter(files)
                .map(move |selected| {
                    let destination = destination.clone();
                    async move { destination.store_selected(selected, deadline).await }
                })
                .buffer_unordered(at_once)
        })
        .flatten()
    }

    async fn store_selected(&self, selected: Selected, deadline: Instant) -> Outcome {
        let (name, kind) = (selected.name.clone(), selected.kind);
        let opening = tokio::task::spawn_blocking(move || selected.open());
        let result = match opening.await {
            Ok(Ok(file)) => self.store_until(file, &name, deadline).await,
            Ok(Err(error)) => Err(error.into()),
            Err(error) => Err(StoreError::Read {
                name: name.clone(),
                source: std::io::Error::other(error),
            }),
        };
        Outcome { name, kind, result }
    }
}
