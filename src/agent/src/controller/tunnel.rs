//! Carrying a controller to the agent: a connection in which the agent is the server, inside a
//! call in which it is the client.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use helix_proto::controller::v1::controller_service_client::ControllerServiceClient;
use helix_proto::controller::v1::tunnel_request::Kind as Sent;
use helix_proto::controller::v1::tunnel_response::Kind as Heard;
use helix_proto::controller::v1::{TunnelHello, TunnelRequest, TunnelResponse};
use helix_tunnel::{MAX_CHUNK_BYTES, Tunnel, TunnelHandle, outgoing};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::{CallError, Caller, GREETS_WITHIN, Link, greeting};
use crate::server;

/// A chunk with what a message has around it.
const MAX_MESSAGE_BYTES: usize = MAX_CHUNK_BYTES + 1024;

/// Opens a tunnel and serves through it until it breaks.
pub(super) async fn call(
    caller: &Caller,
    channel: Channel,
    link: &mut Link,
) -> Result<Infallible, CallError> {
    let (sender, chunks) = outgoing();
    let hello = Sent::Hello(TunnelHello {
        agent: Some(caller.core.info()),
    });
    let requests = tokio_stream::once(hello)
        .chain(chunks.map(Sent::Data))
        .map(|kind| TunnelRequest { kind: Some(kind) });
    let mut client =
        ControllerServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let answered = tokio::time::timeout(GREETS_WITHIN, client.tunnel(requests)).await;
    let mut answers = answered
        .map_err(|_| CallError::Silent(GREETS_WITHIN))??
        .into_inner();
    let controller = greeting(answers.message(), |first| match first.kind {
        Some(Heard::Controller(controller)) => Some(controller),
        Some(Heard::Data(_)) | None => None,
    })
    .await?;
    let last_word = LastWord::default();
    let tunnel = Tunnel::new(chunks_of(answers, last_word.clone()), sender);
    let _closes = CloseOnDrop(tunnel.handle());
    link.up(&controller);
    let served = helix_tunnel::serve(tunnel, server::tunnelled(&caller.served.routes)).await;
    match (last_word.take(), served) {
        (Some(status), _) => Err(status.into()),
        (None, Err(error)) => Err(Status::from_error(Box::new(error)).into()),
        (None, Ok(())) => Err(CallError::Ended),
    }
}

/// The bytes that come from a controller.
fn chunks_of(
    answers: Streaming<TunnelResponse>,
    last_word: LastWord,
) -> impl Stream<Item = Result<Bytes, Status>> + Send + 'static {
    answers.map(move |answer| {
        let chunk = answer.and_then(|answer| match answer.kind {
            Some(Heard::Data(chunk)) => Ok(chunk),
            Some(Heard::Controller(_)) | None => Err(Status::internal(
                "it sends something else than bytes through the tunnel",
            )),
        });
        chunk.inspect_err(|status| last_word.put(status))
    })
}

/// The status that a call ended with. The server at the end of the tunnel only hears that there
/// are no more bytes.
#[derive(Debug, Clone, Default)]
struct LastWord(Arc<Mutex<Option<Status>>>);

impl LastWord {
    fn put(&self, status: &Status) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(status.clone());
    }

    fn take(&self) -> Option<Status> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Ends what is served through a tunnel when the call is given up.
#[derive(Debug)]
struct CloseOnDrop(TunnelHandle);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}
