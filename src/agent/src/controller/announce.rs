//! Telling a controller where it can call the agent.

use std::convert::Infallible;
use std::time::Duration;

use helix_proto::controller::v1::announce_response::Kind;
use helix_proto::controller::v1::controller_service_client::ControllerServiceClient;
use helix_proto::controller::v1::{AnnounceRequest, ControllerInfo};
use tonic::transport::Channel;

use super::{CallError, Caller, GREETS_WITHIN, Link, greeting};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
const LONGEST_INTERVAL: Duration = Duration::from_secs(600);
/// A controller that is silent for so many intervals is gone.
const MISSED_SIGNS: u32 = 3;

/// Announces `address`, and stays on the line until it breaks.
pub(super) async fn call(
    caller: &Caller,
    address: String,
    channel: Channel,
    link: &mut Link,
) -> Result<Infallible, CallError> {
    let request = AnnounceRequest {
        agent: Some(caller.core.info()),
        address,
        tls: caller.served.tls,
    };
    let mut client = ControllerServiceClient::new(channel);
    let answered = tokio::time::timeout(GREETS_WITHIN, client.announce(request)).await;
    let mut answers = answered
        .map_err(|_| CallError::Silent(GREETS_WITHIN))??
        .into_inner();
    let controller = greeting(answers.message(), |first| match first.kind {
        Some(Kind::Controller(controller)) => Some(controller),
        Some(Kind::KeepAlive(_)) | None => None,
    })
    .await?;
    let patience = interval(&controller) * MISSED_SIGNS;
    link.up(&controller);
    loop {
        match tokio::time::timeout(patience, answers.message()).await {
            Ok(Ok(Some(_))) => {}
            Ok(Ok(None)) => return Err(CallError::Ended),
            Ok(Err(status)) => return Err(status.into()),
            Err(_) => return Err(CallError::Silent(patience)),
        }
    }
}

fn interval(controller: &ControllerInfo) -> Duration {
    let told = controller.interval.map(helix_proto::time::duration);
    let told = told.and_then(Result::ok).unwrap_or(DEFAULT_INTERVAL);
    told.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL)
}
