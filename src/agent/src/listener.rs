//! Connections of clients: accepted, and where TLS is configured, shaken hands with. The files of
//! TLS can be exchanged while connections go on; new ones get the new files.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

/// A client that has not shown who it is by then has gone astray.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Handshakes at a time; who comes later waits.
const MAX_HANDSHAKES: usize = 256;
/// Between two tries where the system has no descriptor to spare.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What the next client is shown.
#[derive(Debug, Clone)]
pub(crate) struct Door(Arc<Mutex<Arc<ServerConfig>>>);

impl Door {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Self {
        Self(Arc::new(Mutex::new(config)))
    }

    /// Shows something else from now on. Connections that there are stay as they are.
    pub(crate) fn exchange(&self, config: Arc<ServerConfig>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    fn acceptor(&self) -> TlsAcceptor {
        let config = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&config))
    }
}

/// The clients that come through a door, in the order in which they have shown who they are. Ends
/// never; dropping it closes the listener.
pub(crate) fn tls_incoming(
    listener: TcpListener,
    door: Door,
) -> ReceiverStream<io::Result<TlsStream<TcpStream>>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        tokio::select! {
            () = accept(listener, door, sender.clone()) => {}
            () = sender.closed() => {}
        }
    });
    ReceiverStream::new(receiver)
}

async fn accept(
    listener: TcpListener,
    door: Door,
    sender: mpsc::Sender<io::Result<TlsStream<TcpStream>>>,
) {
    let permits = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    loop {
        // It is never closed.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(error = %error, "client could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                continue;
            }
        };
        // Without it small events wait for the acknowledgement of earlier ones.
        let _ = stream.set_nodelay(true);
        let (acceptor, sender) = (door.acceptor(), sender.clone());
        tokio::spawn(async move {
            let shaken = tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await;
            drop(permit);
            match shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => drop(sender.send(Ok(stream)).await),
                Err(error) => {
                    tracing::debug!(peer = %peer, error = %error, "client was not let in");
                }
            }
        });
    }
}
