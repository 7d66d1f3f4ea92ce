//! One download for all who want the same: it goes on as long as one of them waits.

use std::sync::{Arc, Weak};

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::progress::{Progress, ProgressSender};
use crate::source::ArchiveSource;

use super::layout::Key;
use super::lease::Lease;
use super::state::Shared;
use super::{download, local};

/// A download under way.
#[derive(Debug)]
pub(super) struct Flight {
    source: ArchiveSource,
    interest: Weak<Interest>,
    landing: watch::Receiver<Option<Result<Lease, Error>>>,
    progress: watch::Receiver<Progress>,
}

/// What a flight is for.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) key: Key,
    pub(super) source: ArchiveSource,
    /// When whoever orders has waited long enough.
    pub(super) deadline: Instant,
}

/// Held by everybody who waits for a flight; when the last one goes, so does the flight.
#[derive(Debug)]
struct Interest {
    cancellation: CancellationToken,
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.cancellation.cancel();
    }
}

/// How a flight ended, for one who waited.
#[derive(Debug)]
pub(super) enum Landing {
    /// The archive is here.
    Arrived(Lease),
    /// It will not come.
    Failed(Error),
    /// That flight failed, but one of this caller's own might not: it came from somewhere else, had
    /// less time left, or had been given up before this caller came.
    NotOurs,
}

/// How one comes to a flight.
enum Boarding {
    /// It began for this caller.
    Begun(Arc<Interest>),
    /// It was under way.
    Joined(Arc<Interest>),
    /// It was given up and is about to end; it must not be disturbed, but waited for.
    TooLate,
}

/// Waits for the flight of `order`, begun unless it is under way already.
///
/// Dropping the future gives the flight up, unless others wait for it too.
pub(super) async fn join(
    shared: &Arc<Shared>,
    order: &Order,
    progress: Option<&ProgressSender>,
) -> Landing {
    let (flight, boarding) = board(shared, order);
    let (_interest, deadline) = match &boarding {
        // Its own deadline is this caller's, and it knows best what went wrong.
        Boarding::Begun(interest) => (interest, None),
        Boarding::Joined(interest) => (interest, Some(order.deadline)),
        Boarding::TooLate => {
            let mut landing = flight.landing.clone();
            let _ended = landing.wait_for(Option::is_some).await;
            return Landing::NotOurs;
        }
    };
    let mut landing = flight.landing.clone();
    let mut news = flight.progress.clone();
    let forward = async {
        let Some(progress) = progress else {
            return std::future::pending().await;
        };
        loop {
            let now = *news.borrow_and_update();
            progress.send_if_modified(|shown| std::mem::replace(shown, now) != now);
            if news.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    };
    let too_long = async {
        match deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    let landed = tokio::select! {
        biased;
        landed = landing.wait_for(Option::is_some) => landed.ok().and_then(|landed| landed.clone()),
        () = too_long => {
            let origin = order.source.to_string();
            let allowed = shared.options.http.deadline;
            return Landing::Failed(Error::Deadline { origin, allowed, last: None });
        }
        () = forward => None,
    };
    match (landed, &boarding) {
        (Some(Ok(lease)), _) => Landing::Arrived(lease),
        (Some(Err(Error::Deadline { .. })), Boarding::Joined(_)) => Landing::NotOurs,
        (Some(Err(error)), _) if flight.source == order.source => Landing::Failed(error),
        (Some(Err(_)), _) => Landing::NotOurs,
        (None, _) => Landing::Failed(Error::Aborted {
            operation: "fetch the archive",
        }),
    }
}

/// The flight of `order`, begun unless there is one.
fn board(shared: &Arc<Shared>, order: &Order) -> (Arc<Flight>, Boarding) {
    let mut state = shared.lock();
    if let Some(flight) = state.flights.get(&order.key) {
        let boarding = flight
            .interest
            .upgrade()
            .map_or(Boarding::TooLate, Boarding::Joined);
        return (flight.clone(), boarding);
    }
    let cancellation = CancellationToken::new();
    let interest = Arc::new(Interest {
        cancellation: cancellation.clone(),
    });
    let (land, landing) = watch::channel(None);
    let (report, progress) = watch::channel(Progress::Waiting);
    let flight = Arc::new(Flight {
        source: order.source.clone(),
        interest: Arc::downgrade(&interest),
        landing,
        progress,
    });
    state.flights.insert(order.key, flight.clone());
    drop(state);
    let off_the_board = OffTheBoard {
        shared: shared.clone(),
        key: order.key,
    };
    tokio::spawn(fly(
        off_the_board,
        order.clone(),
        report,
        cancellation,
        land,
    ));
    (flight, Boarding::Begun(interest))
}

async fn fly(
    off_the_board: OffTheBoard,
    order: Order,
    report: ProgressSender,
    cancellation: CancellationToken,
    land: watch::Sender<Option<Result<Lease, Error>>>,
) {
    let shared = &off_the_board.shared;
    let result = match &order.source {
        ArchiveSource::Http(url) => {
            download::fetch(shared, &order, url, &report, &cancellation).await
        }
        ArchiveSource::File(path) => {
            local::fetch(shared, order.key, path, &report, &cancellation).await
        }
    };
    if let Err(error) = &result {
        tracing::debug!(source = %order.source, error = %error.chain(), "payload not fetched");
    }
    // In this order, so that whoever is told of the end and asks again begins anew.
    drop(off_the_board);
    land.send_replace(Some(result));
}

/// Takes a flight off the board when it ends, in whichever way.
struct OffTheBoard {
    shared: Arc<Shared>,
    key: Key,
}

impl Drop for OffTheBoard {
    fn drop(&mut self) {
        self.shared.lock().flights.remove(&self.key);
    }
}
