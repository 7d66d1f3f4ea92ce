//! The real thing: an agent over gRPC, called at an address.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use helix_model::ids::AttemptId;
use helix_proto::agent::v1;
use helix_proto::agent::v1::agent_service_client::AgentServiceClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use super::{
    AddressBook, AgentLink, CallError, Dialer, Event, EventStream, ReportStream, Reported,
};
use crate::config::{AgentAddress, ClientTlsConfig as TlsFiles};

/// Enough for a stream of output to run at full speed over a long line.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// A chunk of console has at most 1 MiB, an event with failures at most a few.
const MESSAGE_BYTES: usize = 16 << 20;
/// An agent that is gone without a word is noticed within the sum of both.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For calls that are answered at once, and for the first answer of the others.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A line to an agent over gRPC.
#[derive(Clone)]
pub(crate) struct GrpcLink {
    client: AgentServiceClient<Channel>,
}

impl fmt::Debug for GrpcLink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("GrpcLink")
    }
}

impl GrpcLink {
    /// Calls over a connection that is there.
    pub(crate) fn new(channel: Channel) -> Self {
        Self {
            client: AgentServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES),
        }
    }
}

/// Waits for an answer, not for ever.
async fn answer<T>(
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(ANSWER_WITHIN, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(CallError::from_status(&status)),
        Err(_) => Err(CallError::Open(format!(
            "no answer within {} s",
            ANSWER_WITHIN.as_secs()
        ))),
    }
}

fn read(event: Option<v1::AttemptEvent>) -> Option<Result<Event, CallError>> {
    Event::from_wire(event?).map(Ok)
}

#[async_trait]
impl AgentLink for GrpcLink {
    async fn run(&self, work_item: v1::WorkItem) -> Result<EventStream, CallError> {
        let request = v1::RunRequest {
            work_item: Some(work_item),
        };
        let stream = answer(self.client.clone().run(request)).await?;
        let events = stream.filter_map(async |message| match message {
            Ok(response) => read(response.event),
            Err(status) => Some(Err(CallError::from_status(&status))),
        });
        Ok(events.boxed())
    }

    async fn attach(
        &self,
        attempt: &AttemptId,
        after_event: u64,
        console_offset: u64,
    ) -> Result<EventStream, CallError> {
        let request = v1::AttachRequest {
            attempt_id: attempt.to_string(),
            after_event,
            console_offset,
        };
        let stream = answer(self.client.clone().attach(request)).await?;
        let events = stream.filter_map(async |message| match message {
            Ok(response) => read(response.event),
            Err(status) => Some(Err(CallError::from_status(&status))),
        });
        Ok(events.boxed())
    }

    async fn acknowledge(&self, attempt: &AttemptId) -> Result<(), CallError> {
        let request = v1::AcknowledgeRequest {
            attempt_id: attempt.to_string(),
        };
        answer(self.client.clone().acknowledge(request))
            .await
            .map(drop)
    }

    async fn cancel(&self, attempt: &AttemptId, reason: &str) -> Result<(), CallError> {
        /// The longest reason that agents take, in characters.
        const MAX_REASON_CHARS: usize = 1024;
        let request = v1::CancelRequest {
            attempt_id: attempt.to_string(),
            grace: None,
            reason: reason.chars().take(MAX_REASON_CHARS).collect(),
        };
        answer(self.client.clone().cancel(request)).await.map(drop)
    }

    async fn watch(&self, interval: Duration) -> Result<ReportStream, CallError> {
        let request = v1::WatchCapacityRequest {
            interval: interval.try_into().ok(),
        };
        let stream = answer(self.client.clone().watch_capacity(request)).await?;
        let reports = stream.filter_map(async |message| match message {
            Ok(response) => response.capacity.map(|it| Ok(Reported::from_wire(it))),
            Err(status) => Some(Err(CallError::from_status(&status))),
        });
        Ok(reports.boxed())
    }

    async fn drain(&self, reason: &str) -> Result<u32, CallError> {
        let request = v1::DrainRequest {
            reason: reason.to_owned(),
        };
        let drained = answer(self.client.clone().drain(request)).await?;
        Ok(drained.running)
    }

    async fn resume(&self) -> Result<bool, CallError> {
        let request = Request::new(v1::ResumeRequest {});
        let resumed = answer(self.client.clone().resume(request)).await?;
        Ok(resumed.ready)
    }
}

/// Calls agents over the network.
#[derive(Debug)]
pub(crate) struct Network {
    /// For addresses that begin with `https`.
    pub(crate) tls: Option<TlsFiles>,
}

impl AddressBook for Network {
    fn dialer(&self, address: AgentAddress) -> Arc<dyn Dialer> {
        Arc::new(AddressDialer {
            address,
            tls: self.tls.clone(),
        })
    }
}

/// Calls an agent at its address.
#[derive(Debug)]
struct AddressDialer {
    address: AgentAddress,
    tls: Option<TlsFiles>,
}

#[async_trait]
impl Dialer for AddressDialer {
    async fn dial(&self) -> Result<Arc<dyn AgentLink>, CallError> {
        let open = |error: &dyn std::error::Error| CallError::Open(crate::error_chain(error));
        let mut endpoint = Endpoint::from_shared(self.address.0.clone())
            .map_err(|error| open(&error))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        if let Some(tls) = self
            .tls
            .as_ref()
            .filter(|_| self.address.0.starts_with("https:"))
        {
            // Read anew each time, so that renewed certificates are used.
            let read = async |path: &std::path::Path| {
                tokio::fs::read(path)
                    .await
                    .map_err(|error| CallError::Open(format!("read `{}`: {error}", path.display())))
            };
            let identity = Identity::from_pem(
                read(&tls.identity.certificate).await?,
                read(&tls.identity.key).await?,
            );
            let config = ClientTlsConfig::new()
                .ca_certificate(Certificate::from_pem(read(&tls.ca).await?))
                .identity(identity);
            endpoint = endpoint.tls_config(config).map_err(|error| open(&error))?;
        }
        let channel = endpoint.connect().await.map_err(|error| open(&error))?;
        Ok(Arc::new(GrpcLink::new(channel)))
    }
}
