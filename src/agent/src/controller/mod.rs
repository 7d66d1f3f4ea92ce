//! Keeps the agent known to its controllers: one call to each, which is made again whenever it
//! has ended, for as long as the agent lives.
//!
//! `announce` and `tunnel` are the two ways to call, `connection` is how to get there, `link`
//! remembers how it went and tells each change once. Work comes by none of them: a controller
//! calls the agent's service, at its listener or through the tunnel. Whether a controller is
//! there changes nothing about what the agent takes.

mod announce;
mod connection;
mod link;
mod tunnel;

pub(crate) use connection::{ConnectError, Connection, words};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use helix_proto::controller::v1::ControllerInfo;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::service::Routes;
use tonic_types::StatusExt;
use tracing::Instrument;

use crate::config::{Connect, ControllerAddress, ControllerConfig, ControllerTls};
use crate::core::Core;
use link::Link;

/// The first pause after a call that ended.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The last, before the jitter, which at most doubles it.
const LAST_PAUSE: Duration = Duration::from_secs(15);
/// The longest pause that a controller may ask for.
const LONGEST_ASKED_PAUSE: Duration = Duration::from_secs(600);
/// A call that stood for so long was a good one; the next pause is the first again.
const GOOD_CALL: Duration = Duration::from_secs(30);
/// A controller that has not said who it is by then is none.
const GREETS_WITHIN: Duration = Duration::from_secs(20);
/// How long the end of the agent waits for its controllers to be told.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// What the agent serves, and where: what a controller is told of or carried to.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) routes: Routes,
    /// Where the listener is.
    pub(crate) address: SocketAddr,
    /// Whether it wants TLS.
    pub(crate) tls: bool,
}

/// The calls to all controllers.
#[derive(Debug)]
pub(crate) struct Calls {
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// How a call ended. None of it is the agent's last word: it calls again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// There was no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The controller said no, or the connection broke.
    #[error("{}", connection::words(.0))]
    Status(Box<Status>),
    /// It said nothing for too long.
    #[error("it has said nothing for {} s", .0.as_secs())]
    Silent(Duration),
    /// It ended the call without a reason.
    #[error("it ended the call")]
    Ended,
    /// It said what does not belong there.
    #[error("it does not begin with who it is")]
    Stranger,
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl CallError {
    /// How long the controller wants to be left in peace.
    fn asked_pause(&self) -> Option<Duration> {
        let Self::Status(status) = self else {
            return None;
        };
        let pause = status.get_details_retry_info()?.retry_delay?;
        Some(pause.clamp(FIRST_PAUSE, LONGEST_ASKED_PAUSE))
    }
}

impl Calls {
    /// Begins to call every controller of a configuration. The calls end with `stop` as well.
    pub(crate) fn start(
        core: &Arc<Core>,
        served: &Served,
        config: &ControllerConfig,
        stop: &CancellationToken,
    ) -> Self {
        let (stop, tasks) = (stop.child_token(), TaskTracker::new());
        for address in &config.addresses {
            let caller = Caller {
                core: Arc::clone(core),
                served: served.clone(),
                address: address.clone(),
                tls: config.tls.clone().filter(|_| address.is_tls()),
                connect: config.connect.clone(),
            };
            let span = tracing::info_span!("controller", controller.address = %address);
            let stop = stop.clone();
            tasks.spawn(
                async move {
                    let mut link = Link::new(caller.address.to_string());
                    tokio::select! {
                        () = caller.call_for_ever(&mut link) => {}
                        () = stop.cancelled() => {}
                    }
                }
                .instrument(span),
            );
        }
        tasks.close();
        Self { stop, tasks }
    }

    /// Ends the calls: controllers see that the agent is gone, and what they have open through
    /// tunnels breaks off.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        let _ = tokio::time::timeout(ENDS_WITHIN, self.tasks.wait()).await;
    }
}

/// What is needed to call one controller.
struct Caller {
    core: Arc<Core>,
    served: Served,
    address: ControllerAddress,
    tls: Option<ControllerTls>,
    connect: Connect,
}

impl Caller {
    async fn call_for_ever(&self, link: &mut Link) {
        let mut pauses = pauses();
        loop {
            let began = Instant::now();
            let Err(error) = self.call(link).await;
            if link.is_up() && began.elapsed() >= GOOD_CALL {
                pauses = self::pauses();
            }
            // The iterator has no end.
            let pause = pauses.next().unwrap_or(LAST_PAUSE);
            let pause = error.asked_pause().map_or(pause, |asked| asked.max(pause));
            link.down(&error, pause);
            tokio::time::sleep(pause).await;
        }
    }

    /// One call, until it ends.
    async fn call(&self, link: &mut Link) -> Result<std::convert::Infallible, CallError> {
        let connection = Connection::to(&self.address, self.tls.as_ref()).await?;
        let channel = connection.channel.clone();
        let Err(error) = match &self.connect {
            Connect::Tunnel => tunnel::call(self, channel, link).await,
            Connect::Announce { advertise } => {
                let address = match advertise {
                    Some(advertise) => advertise.to_string(),
                    None => self.served.address.to_string(),
                };
                announce::call(self, address, channel, link).await
            }
        };
        Err(connection.distrust().map_or(error, CallError::Connect))
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LAST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Waits for the first message of a controller, in which it says who it is.
async fn greeting<T>(
    first: impl Future<Output = Result<Option<T>, Status>>,
    who: impl FnOnce(T) -> Option<ControllerInfo>,
) -> Result<ControllerInfo, CallError> {
    let first = tokio::time::timeout(GREETS_WITHIN, first)
        .await
        .map_err(|_| CallError::Silent(GREETS_WITHIN))??;
    who(first.ok_or(CallError::Ended)?).ok_or(CallError::Stranger)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_within_bounds_and_are_no_other_agents() {
        let some = || pauses().take(12).collect::<Vec<_>>();
        let (one, other) = (some(), some());
        assert_ne!(one, other);
        for pauses in [&one, &other] {
            assert!(
                pauses.iter().all(|pause| *pause >= FIRST_PAUSE),
                "{pauses:?}"
            );
            assert!(
                pauses.iter().all(|pause| *pause <= 2 * LAST_PAUSE),
                "{pauses:?}"
            );
            assert!(pauses[0] <= 2 * FIRST_PAUSE, "{pauses:?}");
            assert!(pauses[11] >= LAST_PAUSE, "{pauses:?}");
        }
    }

    #[test]
    fn asked_pause_is_heeded_within_bounds() {
        let asked = |seconds: u64| {
            let wait = Duration::from_secs(seconds);
            let details = tonic_types::ErrorDetails::with_retry_info(Some(wait));
            let status = Status::with_error_details(tonic::Code::Aborted, "x", details);
            CallError::from(status).asked_pause()
        };
        assert_eq!(asked(0), Some(FIRST_PAUSE));
        assert_eq!(asked(42), Some(Duration::from_secs(42)));
        assert_eq!(asked(1_000_000), Some(LONGEST_ASKED_PAUSE));
        assert_eq!(CallError::from(Status::aborted("x")).asked_pause(), None);
        assert_eq!(CallError::Ended.asked_pause(), None);
    }
}
