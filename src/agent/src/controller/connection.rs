//! The way to a controller: TLS with the files as they are now, and words for what goes wrong.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::config::{ControllerAddress, ControllerTls};
use crate::tls::{self, TlsError};

const CONNECTS_WITHIN: Duration = Duration::from_secs(10);
/// A controller that is gone without a word is noticed within the sum of both.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// For what controllers send, which is little. What the agent sends goes by the controller's window.
const WINDOW_BYTES: u32 = 1 << 20;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The agent's own files are of no use.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It cannot be reached, or is no controller.
    #[error("{}", words_of_chain(.0))]
    Transport(tonic::transport::Error),
    /// The two do not trust each other.
    #[error("{0}")]
    Distrust(String),
}

/// A connection to a controller.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) channel: Channel,
    trust: Trust,
}

/// What went wrong with the trust between the two. With TLS 1.3 a client believes itself connected
/// when the server has not looked at its certificate yet; what that then says is lost on the way
/// through the layers above. So it is kept here.
#[derive(Debug, Clone, Default)]
struct Trust(Arc<OnceLock<String>>);

impl Trust {
    fn note(&self, error: &io::Error) {
        let error = error.get_ref().and_then(|inner| inner.downcast_ref());
        if let Some(words) = error.and_then(about_certificates) {
            let _ = self.0.set(words);
        }
    }

    fn lost(&self) -> Option<ConnectError> {
        self.0.get().cloned().map(ConnectError::Distrust)
    }
}

impl Connection {
    /// Connects. Certificates are read anew each time, so that renewed ones are taken.
    pub(crate) async fn to(
        address: &ControllerAddress,
        tls: Option<&ControllerTls>,
    ) -> Result<Self, ConnectError> {
        let endpoint = Endpoint::from(address.plain_uri())
            .origin(address.uri())
            .connect_timeout(CONNECTS_WITHIN)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        let trust = Trust::default();
        let connected = match tls {
            None => endpoint.connect().await,
            Some(files) => {
                let config = tls::client_config(files)?;
                let way = Way {
                    host: address.host().to_owned(),
                    port: address.port(),
                    config,
                    trust: trust.clone(),
                };
                let connector = tower::service_fn(move |_| way.clone().connect());
                endpoint.connect_with_connector(connector).await
            }
        };
        match connected {
            Ok(channel) => Ok(Self { channel, trust }),
            Err(error) => Err(trust.lost().unwrap_or(ConnectError::Transport(error))),
        }
    }

    /// The want of trust that a call failed for, if that was it.
    pub(crate) fn distrust(&self) -> Option<ConnectError> {
        self.trust.lost()
    }
}

/// What is needed to make a connection with TLS.
#[derive(Debug, Clone)]
struct Way {
    host: String,
    port: u16,
    config: Arc<ClientConfig>,
    trust: Trust,
}

impl Way {
    async fn connect(self) -> io::Result<TokioIo<Trusted>> {
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let shaken = TlsConnector::from(self.config).connect(name, stream).await;
        let stream = shaken.inspect_err(|error| self.trust.note(error))?;
        Ok(TokioIo::new(Trusted {
            stream,
            trust: self.trust,
            broken: None,
        }))
    }
}

/// A stream that remembers why it was broken off, if that was for want of trust.
#[derive(Debug)]
struct Trusted {
    stream: TlsStream<TcpStream>,
    trust: Trust,
    /// Why it cannot be written to any more.
    broken: Option<io::Error>,
}

impl Trusted {
    /// Passes on what came of writing. Whoever hangs up on a client says why, and is not there any
    /// more when the client writes on: then what it said is still to be read, as soon as the
    /// runtime hears of it. Nothing else that waits there is of use any more.
    fn after_last_word<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(Err(error)) if is_hang_up(&error) => self.broken = Some(error),
            written => return written,
        }
        self.poll_end(context).map(Err)
    }

    /// Reads to the end of a connection that cannot be written to, and gives the error of that.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let mut bytes = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
                Ok(()) if buffer.filled().is_empty() => break,
                Ok(()) => {}
                Err(error) => {
                    self.trust.note(&error);
                    break;
                }
            }
        }
        let error = self.broken.take();
        Poll::Ready(error.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()))
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

impl AsyncRead for Trusted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(Err(error)) = &read {
            self.trust.note(error);
        }
        read
    }
}

impl AsyncWrite for Trusted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.broken.is_some() {
            return self.poll_end(context).map(Err);
        }
        let written = Pin::new(&mut self.stream).poll_write(context, buffer);
        self.after_last_word(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.broken.is_some() {
            return self.poll_end(context).map(Err);
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.after_last_word(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken.is_some() {
            return self.poll_end(context).map(Err);
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.after_last_word(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A status in words.
pub(crate) fn words(status: &Status) -> String {
    if let Some(source) = status.source() {
        // It comes from the connection, and says less than its cause.
        return words_of_chain(source);
    }
    let text: String = status.message().chars().take(1024).collect();
    format!(
        "{} ({:?})",
        text.replace(char::is_control, " "),
        status.code()
    )
}

/// An error with its causes, each said once.
fn words_of_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let words = error.to_string();
        // Layers of the client repeat what is below them.
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = error.source();
    }
    text
}

/// What is wrong with the certificates, or with TLS as such.
fn about_certificates(error: &rustls::Error) -> Option<String> {
    let words = match error {
        rustls::Error::InvalidCertificate(problem) => match problem {
            // The latter where one in `ca` has the name of its issuer, but another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate does not come from an authority in `ca`".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("its certificate is for another name: {problem}")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("its certificate has expired: {problem}")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                format!("its certificate is not valid yet: {problem}")
            }
            other => format!("its certificate cannot be trusted: {other}"),
        },
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied),
        ) => format!("it does not take the agent's certificate ({alert:?})"),
        rustls::Error::InvalidMessage(_) => "it does not speak TLS".to_owned(),
        _ => return None,
    };
    Some(words)
}
