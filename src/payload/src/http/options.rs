//! How downloads behave: time limits, retries, and whom to trust.

use std::fmt;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// How downloads behave.
#[derive(Clone)]
pub struct HttpOptions {
    /// Longest wait for a connection, name resolution and TLS included. Default 30 s.
    pub connect_timeout: Duration,
    /// Longest silence of a server that owes an answer or more content. Default 60 s.
    pub stall_timeout: Duration,
    /// Longest time for one fetch, all tries and pauses together. Default 10 min.
    pub deadline: Duration,
    /// When a failed try is followed by another.
    pub retry: RetryPolicy,
    /// Whether connections go through a proxy. Default [`Proxy::System`].
    pub proxy: Proxy,
    /// What the server is told about who asks. Default `helix-payload/<version>`.
    pub user_agent: String,
    extra_authorities: Vec<CertificateDer<'static>>,
}

/// Whether connections go through a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// As the system's settings and the usual variables (`HTTPS_PROXY`, `NO_PROXY`, …) say.
    #[default]
    System,
    /// Never.
    None,
}

/// When a failed try is followed by another, and after which pause.
///
/// Only failures that may pass are tried again. The pause doubles from `first_pause` to
/// `longest_pause`, with jitter; a pause that the server asks for counts instead, cut to
/// `longest_requested_pause`. A try that brought the download forward resets the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in a row without progress before the fetch fails; at least 1. Default 6.
    pub tries: usize,
    /// The first pause. Default 500 ms.
    pub first_pause: Duration,
    /// The longest pause of our own choice. Default 20 s.
    pub longest_pause: Duration,
    /// The longest pause at a server's request (`Retry-After`). Default 60 s.
    pub longest_requested_pause: Duration,
}

/// Certificates that cannot be added to the trusted ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read the trusted certificates: {detail}")]
pub struct TrustError {
    detail: String,
}

impl HttpOptions {
    /// Trusts the authorities in `pem` besides those of the system.
    pub fn trust_pem(&mut self, pem: &[u8]) -> Result<(), TrustError> {
        let certificates = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| TrustError {
                detail: error.to_string(),
            })?;
        if certificates.is_empty() {
            return Err(TrustError {
                detail: "there is no certificate in it".to_owned(),
            });
        }
        self.extra_authorities.extend(certificates);
        Ok(())
    }

    pub(crate) fn extra_authorities(&self) -> &[CertificateDer<'static>] {
        &self.extra_authorities
    }
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(60),
            deadline: Duration::from_secs(600),
            retry: RetryPolicy::default(),
            proxy: Proxy::default(),
            user_agent: concat!("helix-payload/", env!("CARGO_PKG_VERSION")).to_owned(),
            extra_authorities: Vec::new(),
        }
    }
}

impl fmt::Debug for HttpOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HttpOptions")
            .field("connect_timeout", &self.connect_timeout)
            .field("stall_timeout", &self.stall_timeout)
            .field("deadline", &self.deadline)
            .field("retry", &self.retry)
            .field("proxy", &self.proxy)
            .field("user_agent", &self.user_agent)
            .field("extra_authorities", &self.extra_authorities.len())
            .finish()
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            tries: 6,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(20),
            longest_requested_pause: Duration::from_secs(60),
        }
    }
}
