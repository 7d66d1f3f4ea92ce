//! Where agents announce themselves and open tunnels: `helix.controller.v1.ControllerService`.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::{Stream, StreamExt};
use helix_proto::controller::v1::controller_service_server::{
    ControllerService, ControllerServiceServer,
};
use helix_proto::controller::v1::{
    AnnounceRequest, AnnounceResponse, ControllerInfo, FILE_DESCRIPTOR_SET, KeepAlive,
    TunnelRequest, TunnelResponse, announce_response, tunnel_request, tunnel_response,
};
use helix_store::{AgentName, AgentOrigin};
use helix_tunnel::{Tunnel, TunnelHandle};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

use super::{Way, follow_named};
use crate::config::{AgentAddress, TlsConfig};
use crate::controller::StartError;
use crate::core::Core;
use crate::link::grpc::GrpcLink;
use crate::link::{AgentLink, CallError, Dialer};

/// The domain of every `google.rpc.ErrorInfo` of the controller.
const DOMAIN: &str = "controller.helix";

/// How often an open announcement is told that the controller lives.
const INTERVAL: Duration = Duration::from_secs(10);

/// Enough for output to run at full speed over a long line.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The longest name of a machine and the longest address, in bytes.
const MAX_NAME_BYTES: usize = 253;
const MAX_ADDRESS_BYTES: usize = 262;

/// The most agents that report to one controller.
const MAX_AGENTS: usize = 50_000;

/// Listens, and serves in the background until `stop`. Returns the address.
pub(crate) async fn serve(
    core: &Arc<Core>,
    stop: CancellationToken,
) -> Result<SocketAddr, StartError> {
    let wanted = core.config().agents.listen;
    let at = |source| StartError::Listen {
        address: wanted,
        source,
    };
    let listener = TcpListener::bind(wanted).await.map_err(at)?;
    let address = listener.local_addr().map_err(at)?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let (reporter, health_service) = tonic_health::server::health_reporter();
    reporter
        .set_serving::<ControllerServiceServer<Service>>()
        .await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| at(io::Error::other(error)))?;
    let mut server = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT));
    if let Some(tls) = &core.config().agents.tls {
        server = server
            .tls_config(tls_config(tls)?)
            .map_err(|error| StartError::Tls {
                section: "agents.tls",
                source: Box::new(error),
            })?;
    }
    let service = Service {
        core: Arc::clone(core),
        stop: stop.clone(),
    };
    let router = server
        .add_service(ControllerServiceServer::new(service))
        .add_service(health_service)
        .add_service(reflection);
    core.tasks().spawn(async move {
        tokio::select! {
            served = router.serve_with_incoming(incoming) => {
                if let Err(error) = served {
                    tracing::error!(error = crate::error_chain(&error), "server for agents ended");
                }
            }
            () = stop.cancelled() => {}
        }
    });
    Ok(address)
}

fn tls_config(tls: &TlsConfig) -> Result<ServerTlsConfig, StartError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| StartError::File {
            operation: "read",
            path: path.to_owned(),
            source,
        })
    };
    let identity = Identity::from_pem(read(&tls.identity.certificate)?, read(&tls.identity.key)?);
    let authorities = Certificate::from_pem(read(&tls.client_ca)?);
    Ok(ServerTlsConfig::new()
        .identity(identity)
        .client_ca_root(authorities))
}

/// The agents that report here.
#[derive(Debug, Default)]
pub(crate) struct Reporters {
    /// Where those that announced themselves are called.
    announced: Mutex<BTreeMap<AgentName, watch::Sender<String>>>,
    /// Where the tunnels of the others are put.
    tunnelled: Mutex<BTreeMap<AgentName, Arc<TunnelSlot>>>,
}

/// The newest tunnel of an agent, until it is dialled through.
#[derive(Debug, Default)]
struct TunnelSlot {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Default)]
struct Waiting {
    tunnel: Option<Tunnel>,
    /// Of the one before, which ends when a new one comes.
    handle: Option<TunnelHandle>,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Waiting")
            .field("tunnel", &self.tunnel.is_some())
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TunnelSlot {
    /// Puts a tunnel in place of the one before.
    fn put(&self, tunnel: Tunnel) {
        let mut waiting = lock(&self.waiting);
        let handle = tunnel.handle();
        waiting.tunnel = Some(tunnel);
        if let Some(before) = waiting.handle.replace(handle) {
            before.close();
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    async fn take(&self) -> Tunnel {
        loop {
            if let Some(tunnel) = lock(&self.waiting).tunnel.take() {
                return tunnel;
            }
            self.arrived.notified().await;
        }
    }
}

#[async_trait]
impl Dialer for TunnelSlot {
    async fn dial(&self) -> Result<Arc<dyn AgentLink>, CallError> {
        let tunnel = self.take().await;
        let channel = helix_tunnel::dial(tunnel, &helix_tunnel::endpoint())
            .await
            .map_err(|error| CallError::Open(crate::error_chain(&error)))?;
        Ok(Arc::new(GrpcLink::new(channel)))
    }
}

/// Calls an agent where it announced itself last.
#[derive(Debug)]
struct AnnouncedDialer {
    core: std::sync::Weak<Core>,
    address: watch::Receiver<String>,
}

#[async_trait]
impl Dialer for AnnouncedDialer {
    async fn dial(&self) -> Result<Arc<dyn AgentLink>, CallError> {
        let address = AgentAddress(self.address.borrow().clone());
        let core = self.core.upgrade();
        let core = core.ok_or_else(|| CallError::Open("the controller has ended".to_owned()))?;
        let dialer = core.dialer(address);
        drop(core);
        dialer.dial().await
    }
}

/// Keeps a line to an agent that announced itself, at its newest address.
pub(crate) fn follow_announced(core: &Arc<Core>, name: &AgentName, address: &str) {
    let receiver = {
        let mut announced = lock(&core.reporters().announced);
        if let Some(known) = announced.get(name) {
            known.send_replace(address.to_owned());
            return;
        }
        let (sender, receiver) = watch::channel(address.to_owned());
        announced.insert(name.clone(), sender);
        receiver
    };
    let way = Way {
        origin: AgentOrigin::Announced,
        address: address.to_owned(),
        dialer: Arc::new(AnnouncedDialer {
            core: Arc::downgrade(core),
            address: receiver,
        }),
    };
    follow_named(core, name, way);
}

fn follow_tunnel(core: &Arc<Core>, name: &AgentName, tunnel: Tunnel) {
    let slot = {
        let mut tunnelled = lock(&core.reporters().tunnelled);
        if let Some(slot) = tunnelled.get(name) {
            slot.put(tunnel);
            return;
        }
        let slot = Arc::new(TunnelSlot::default());
        tunnelled.insert(name.clone(), Arc::clone(&slot));
        slot
    };
    slot.put(tunnel);
    let way = Way {
        origin: AgentOrigin::Tunnelled,
        address: String::new(),
        dialer: slot,
    };
    follow_named(core, name, way);
}

struct Service {
    core: Arc<Core>,
    stop: CancellationToken,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[async_trait]
impl ControllerService for Service {
    type AnnounceStream = Responses<AnnounceResponse>;
    type TunnelStream = Responses<TunnelResponse>;

    async fn announce(
        &self,
        request: Request<AnnounceRequest>,
    ) -> Result<Response<Self::AnnounceStream>, Status> {
        let request = request.into_inner();
        let name = agent_name(request.agent.as_ref(), "agent")?;
        let address = self.address(&request)?;
        self.admit(&name)?;
        tracing::info!(agent = %name, address, "agent announces itself");
        follow_announced(&self.core, &name, &address);
        let first = AnnounceResponse {
            kind: Some(announce_response::Kind::Controller(self.info())),
        };
        let stop = self.stop.clone();
        let alive = futures::stream::unfold(stop, async |stop| {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {
                    let alive = AnnounceResponse {
                        kind: Some(announce_response::Kind::KeepAlive(KeepAlive {})),
                    };
                    Some((Ok(alive), stop))
                }
                () = stop.cancelled() => None,
            }
        });
        let responses = futures::stream::iter([Ok(first)]).chain(alive);
        Ok(Response::new(Box::pin(responses)))
    }

    async fn tunnel(
        &self,
        request: Request<Streaming<TunnelRequest>>,
    ) -> Result<Response<Self::TunnelStream>, Status> {
        let mut requests = request.into_inner();
        let hello = match requests.message().await?.and_then(|first| first.kind) {
            Some(tunnel_request::Kind::Hello(hello)) => hello,
            Some(tunnel_request::Kind::Data(_)) | None => {
                return Err(bad("hello", "the first message must be one"));
            }
        };
        let name = agent_name(hello.agent.as_ref(), "hello.agent")?;
        self.admit(&name)?;
        tracing::info!(agent = %name, "agent opens a tunnel");
        let chunks = requests.map(|message| match message?.kind {
            Some(tunnel_request::Kind::Data(data)) => Ok(data),
            Some(tunnel_request::Kind::Hello(_)) | None => {
                Err(bad("data", "all but the first message must have it"))
            }
        });
        let (outbound, outgoing) = helix_tunnel::outgoing();
        let tunnel = Tunnel::new(chunks, outbound);
        follow_tunnel(&self.core, &name, tunnel);
        let first = TunnelResponse {
            kind: Some(tunnel_response::Kind::Controller(self.info())),
        };
        let data = outgoing.map(|data| {
            Ok(TunnelResponse {
                kind: Some(tunnel_response::Kind::Data(data)),
            })
        });
        let responses = futures::stream::iter([Ok(first)])
            .chain(data)
            .take_until(self.stop.clone().cancelled_owned());
        Ok(Response::new(Box::pin(responses)))
    }
}

impl Service {
    fn info(&self) -> ControllerInfo {
        ControllerInfo {
            name: self.core.name().to_owned(),
            version: helix_telemetry::VERSION.to_owned(),
            interval: INTERVAL.try_into().ok(),
        }
    }

    fn admit(&self, name: &AgentName) -> Result<(), Status> {
        if self.stop.is_cancelled() {
            return Err(status(
                Code::Unavailable,
                "SHUTTING_DOWN",
                "this controller ends",
            ));
        }
        let known = self.core.handles();
        if known.len() >= MAX_AGENTS && !known.contains_key(name) {
            return Err(status(
                Code::ResourceExhausted,
                "TOO_MANY_AGENTS",
                "this controller has as many agents as it can look after",
            ));
        }
        Ok(())
    }

    /// Where an agent is to be called, as a URL.
    fn address(&self, request: &AnnounceRequest) -> Result<String, Status> {
        let address = request.address.as_str();
        let is_plain =
            |character: char| character.is_ascii_alphanumeric() || ".-_:[]".contains(character);
        let (host, port) = address
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty() && address.chars().all(is_plain))
            .filter(|_| address.len() <= MAX_ADDRESS_BYTES)
            .ok_or_else(|| bad("address", "it must be `host:port`"))?;
        if port.parse::<u16>().ok().is_none_or(|port| port == 0) {
            return Err(bad("address", "its port must be 1 to 65535"));
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return Err(bad("address", "an IPv6 address must stand in brackets"));
        }
        let agents = &self.core.config().agents;
        if request.tls {
            if agents.client_tls.is_none() {
                return Err(status(
                    Code::PermissionDenied,
                    "NOT_ADMITTED",
                    "this controller has no certificate to show to an agent that wants TLS",
                ));
            }
            return Ok(format!("https://{address}"));
        }
        let is_loopback = bare == "localhost"
            || bare
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        if !is_loopback && !agents.allow_plain {
            return Err(status(
                Code::PermissionDenied,
                "NOT_ADMITTED",
                "this controller does not call other machines without TLS; serve with TLS, or open \
                 a tunnel",
            ));
        }
        Ok(format!("http://{address}"))
    }
}

fn agent_name(
    agent: Option<&helix_proto::agent::v1::AgentInfo>,
    field: &str,
) -> Result<AgentName, Status> {
    let agent = agent.ok_or_else(|| bad(field, "it is missing"))?;
    let field = format!("{field}.machine");
    let machine = agent.machine.as_str();
    if machine.is_empty() {
        return Err(bad(&field, "it is empty"));
    }
    if machine.len() > MAX_NAME_BYTES || machine.contains(char::is_control) {
        return Err(bad(
            &field,
            "it must have at most 253 bytes and no control characters",
        ));
    }
    Ok(AgentName(machine.to_owned()))
}

fn bad(field: &str, message: &str) -> Status {
    let mut details = details("BAD_REQUEST");
    details.add_bad_request_violation(field, message);
    let message = format!("`{field}`: {message}");
    Status::with_error_details(Code::InvalidArgument, message, details)
}

fn status(code: Code, reason: &str, message: &str) -> Status {
    Status::with_error_details(code, message, details(reason))
}

fn details(reason: &str) -> ErrorDetails {
    let mut details = ErrorDetails::new();
    let metadata = std::collections::HashMap::<String, String>::new();
    details.set_error_info(reason, DOMAIN, metadata);
    details
}
