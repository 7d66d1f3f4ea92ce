//! Connections: listening, TLS, protocols, and an orderly end.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::router;
use super::sign::{Addresses, KeyError, Signer};
use super::state::{Peer, State};
use crate::config::ServerIdentity;
use crate::core::Core;

/// Connections at one time.
const MAX_CONNECTIONS: usize = 16_384;
/// How long a peer may take to say what it wants.
const HEADER_TIMEOUT: Duration = Duration::from_secs(20);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long what is under way may take when the server stops. What follows something is cut off then,
/// and comes back.
const GRACE: Duration = Duration::from_secs(5);
const MAX_HEADER_BYTES: u32 = 64 << 10;

/// Why the API cannot be served, besides that the address cannot be had.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    /// Others could reach it and nobody would be asked who they are.
    #[error(
        "others can reach `{address}`, and without tokens everybody could do everything: set \
         `[[tokens]]`, or listen on loopback"
    )]
    NoTokens {
        /// Where it was to listen.
        address: SocketAddr,
    },
    /// Certificate or key cannot be read.
    #[error("`{path}` cannot be used: {reason}", path = path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key that signs addresses cannot be had.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl From<ServeError> for io::Error {
    fn from(error: ServeError) -> Self {
        Self::other(error)
    }
}

/// Serves until `stop`. Returns the address it listens on.
///
/// # Errors
///
/// The address cannot be had, or the inner error says in words what is missing.
pub(crate) async fn serve(core: Arc<Core>, stop: CancellationToken) -> io::Result<SocketAddr> {
    let config = core.config().http.clone();
    if core.config().tokens.is_empty() && !config.address.ip().is_loopback() {
        let address = config.address;
        return Err(ServeError::NoTokens { address }.into());
    }
    let acceptor = config.tls.as_ref().map(acceptor).transpose()?;
    let signer = Signer::open(core.storage())
        .await
        .map_err(ServeError::Key)?;
    let listener = TcpListener::bind(config.address).await?;
    let bound = listener.local_addr()?;
    let base = base(&core, bound, acceptor.is_some());
    core.set_payload_addresses(Arc::new(Addresses::new(signer.clone(), base)));
    let router = router(Arc::new(State::new(core, signer)));
    tokio::spawn(accept(listener, router, acceptor, stop));
    Ok(bound)
}

/// Where agents reach the API.
fn base(core: &Core, bound: SocketAddr, tls: bool) -> String {
    if let Some(url) = &core.config().external_url {
        return url.trim_end_matches('/').to_owned();
    }
    if bound.ip().is_unspecified() {
        tracing::warn!(
            address = %bound,
            "without `external_url` agents are told to fetch payloads from an address that is none"
        );
    }
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{bound}")
}

async fn accept(
    listener: TcpListener,
    router: Router,
    acceptor: Option<TlsAcceptor>,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let late = CancellationToken::new();
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let Ok(place) = place else { break };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly: others have to go first.
                tracing::warn!(error = %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (router, acceptor) = (router.clone(), acceptor.clone());
        let (watcher, late) = (graceful.watcher(), late.clone());
        tokio::spawn(async move {
            let _place = place;
            let talk = greet(stream, peer, router, acceptor, watcher);
            let _ = late.run_until_cancelled(talk).await;
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
    late.cancel();
}

async fn greet(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    acceptor: Option<TlsAcceptor>,
    watcher: hyper_util::server::graceful::Watcher,
) {
    // Small answers are not to wait for each other.
    let _ = stream.set_nodelay(true);
    match acceptor {
        None => talk(stream, peer, router, watcher).await,
        Some(acceptor) => {
            let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
            match shaken {
                Ok(Ok(stream)) => talk(stream, peer, router, watcher).await,
                Ok(Err(error)) => {
                    tracing::debug!(peer = %peer, error = %error, "no TLS came about");
                }
                Err(_) => tracing::debug!(peer = %peer, "no TLS came about in time"),
            }
        }
    }
}

async fn talk<S>(
    stream: S,
    peer: SocketAddr,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = Peer(SocketAddr::new(canonical(peer.ip()), peer.port()));
    let service = router.map_request(move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        request.map(axum::body::Body::new)
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(256 << 10);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    let connection = builder
        .serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service));
    if let Err(error) = watcher.watch(connection.into_owned()).await {
        tracing::debug!(peer = %peer.0, error = %error, "a connection broke");
    }
}

/// One address for one peer, however it came.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

fn acceptor(identity: &ServerIdentity) -> Result<TlsAcceptor, ServeError> {
    let wrong = |path: &PathBuf, reason: &dyn std::fmt::Display| ServeError::Identity {
        path: path.clone(),
        reason: reason.to_string(),
    };
    let chain = CertificateDer::pem_file_iter(&identity.certificate)
        .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
        .map_err(|error| wrong(&identity.certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(&identity.key)
        .map_err(|error| wrong(&identity.key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&identity.certificate, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| wrong(&identity.certificate, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
