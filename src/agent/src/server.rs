//! The gRPC server: sockets, TLS, health, reflection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use helix_proto::agent::v1::FILE_DESCRIPTOR_SET;
use helix_proto::agent::v1::agent_service_server::{AgentServiceServer, SERVICE_NAME};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::{Router, TcpIncoming};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::agent::StartError;
use crate::core::Core;
use crate::listener::{Door, tls_incoming};
use crate::service::Service;
use crate::tls;

/// Enough for a stream of output to run at full speed over a long line.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// A client that is gone without a word is noticed within the sum of both.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// One client may follow many attempts, but not exhaust the agent.
const MAX_STREAMS_OF_A_CONNECTION: u32 = 1024;

/// What came of starting to listen.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    pub(crate) health: HealthSwitch,
    /// All that is served.
    pub(crate) routes: Routes,
    /// Where it wants TLS.
    pub(crate) door: Option<Door>,
}

/// What the health service answers.
#[derive(Debug, Clone)]
pub(crate) struct HealthSwitch {
    reporter: HealthReporter,
}

impl HealthSwitch {
    pub(crate) async fn not_serving(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    async fn set(&self, status: ServingStatus) {
        for service in [SERVICE_NAME, ""] {
            self.reporter.set_service_status(service, status).await;
        }
    }

    /// Has it answer what the agent is, for ever.
    async fn follow(&self, core: &Core) {
        let mut changes = core.changes();
        let mut told = true;
        // As long as the agent lives there is somebody to change something.
        while changes.changed().await.is_ok() {
            let is_serving = core.is_serving();
            if is_serving != told {
                self.set(match is_serving {
                    true => ServingStatus::Serving,
                    false => ServingStatus::NotServing,
                })
                .await;
                told = is_serving;
            }
        }
    }
}

/// Listens, and serves in the background until `stop`.
pub(crate) async fn start(
    core: &Arc<Core>,
    stop: CancellationToken,
) -> Result<Listening, StartError> {
    let wanted = core.settings().config.listen.address;
    let at = |source| StartError::Listen {
        address: wanted,
        source,
    };
    let listener = TcpListener::bind(wanted).await.map_err(at)?;
    let address = listener.local_addr().map_err(at)?;
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let health = HealthSwitch { reporter };
    health.set(ServingStatus::Serving).await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let reflect = |error: tonic_reflection::server::Error| at(io::Error::other(error));
    let door = match &core.settings().config.listen.tls {
        Some(tls) => {
            let config = tls::server_config(tls);
            Some(Door::new(
                config.map_err(|error| StartError::Tls(Box::new(error)))?,
            ))
        }
        None => None,
    };
    let routes = Routes::new(AgentServiceServer::new(Service::new(Arc::clone(core))))
        .add_service(health_service)
        .add_service(reflection().build_v1().map_err(reflect)?)
        .add_service(reflection().build_v1alpha().map_err(reflect)?)
        .prepare();
    let router = settings().add_routes(routes.clone());
    let serving = serve(router, listener, door.clone());
    let (followed, following) = (Arc::clone(core), health.clone());
    tokio::spawn(async move {
        tokio::select! {
            served = serving => {
                if let Err(error) = served {
                    tracing::error!(error = crate::error_chain(&error), "server ended");
                }
            }
            () = following.follow(&followed) => {}
            () = stop.cancelled() => {}
        }
    });
    Ok(Listening {
        address,
        health,
        routes,
        door,
    })
}

async fn serve(
    router: Router,
    listener: TcpListener,
    door: Option<Door>,
) -> Result<(), tonic::transport::Error> {
    match door {
        Some(door) => {
            router
                .serve_with_incoming(tls_incoming(listener, door))
                .await
        }
        None => {
            // Without it small events wait for the acknowledgement of earlier ones.
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            router.serve_with_incoming(incoming).await
        }
    }
}

/// The same service for a connection that comes through a tunnel. No TLS: what carries the tunnel
/// has its own.
pub(crate) fn tunnelled(routes: &Routes) -> Router {
    settings()
        .max_frame_size(helix_tunnel::FRAME_BYTES)
        .add_routes(routes.clone())
}

fn settings() -> Server {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(MAX_STREAMS_OF_A_CONNECTION)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}
