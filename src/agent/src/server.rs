//! The gRPC server: sockets, TLS, health, reflection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use helix_proto::agent::v1::FILE_DESCRIPTOR_SET;
use helix_proto::agent::v1::agent_service_server::AgentServiceServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic_health::server::HealthReporter;

use crate::agent::StartError;
use crate::config::TlsConfig;
use crate::core::Core;
use crate::service::Service;

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
}

/// Turns the health service to not serving.
#[derive(Debug, Clone)]
pub(crate) struct HealthSwitch {
    reporter: HealthReporter,
}

impl HealthSwitch {
    pub(crate) async fn not_serving(&self) {
        self.reporter
            .set_not_serving::<AgentServiceServer<Service>>()
            .await;
        let status = tonic_health::ServingStatus::NotServing;
        self.reporter.set_service_status("", status).await;
    }
}

/// Listens, and serves in the background until `stop`.
pub(crate) async fn start(
    core: &Arc<Core>,
    stop: CancellationToken,
) -> Result<Listening, StartError> {
    let wanted = core.config.listen.address;
    let at = |source| StartError::Listen {
        address: wanted,
        source,
    };
    let listener = TcpListener::bind(wanted).await.map_err(at)?;
    let address = listener.local_addr().map_err(at)?;
    // Without it small events wait for the acknowledgement of earlier ones.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));

    let (reporter, health_service) = tonic_health::server::health_reporter();
    reporter.set_serving::<AgentServiceServer<Service>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let reflect = |error: tonic_reflection::server::Error| at(io::Error::other(error));
    let mut server = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(MAX_STREAMS_OF_A_CONNECTION)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT));
    if let Some(tls) = &core.config.listen.tls {
        server = server
            .tls_config(tls_config(tls)?)
            .map_err(|error| StartError::Tls(Box::new(error)))?;
    }
    let router = server
        .add_service(AgentServiceServer::new(Service::new(Arc::clone(core))))
        .add_service(health_service)
        .add_service(reflection().build_v1().map_err(reflect)?)
        .add_service(reflection().build_v1alpha().map_err(reflect)?);
    tokio::spawn(async move {
        tokio::select! {
            served = router.serve_with_incoming(incoming) => {
                if let Err(error) = served {
                    tracing::error!(error = crate::error_chain(&error), "server ended");
                }
            }
            () = stop.cancelled() => {}
        }
    });
    Ok(Listening {
        address,
        health: HealthSwitch { reporter },
    })
}

fn tls_config(tls: &TlsConfig) -> Result<ServerTlsConfig, StartError> {
    let read = |path: &std::path::Path| {
        std::fs::read(path).map_err(|source| StartError::File {
            operation: "read",
            path: path.to_owned(),
            source,
        })
    };
    let identity = Identity::from_pem(read(&tls.certificate)?, read(&tls.key)?);
    let authorities = Certificate::from_pem(read(&tls.client_ca)?);
    Ok(ServerTlsConfig::new()
        .identity(identity)
        .client_ca_root(authorities))
}
