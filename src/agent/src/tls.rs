//! Certificates and keys from their files, for both directions. Whoever needs them reads them anew,
//! so that renewed files need no new process.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::config::{ControllerTls, TlsConfig};

const ALPN: &[u8] = b"h2";

/// Why files are of no use for TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A file cannot be read.
    #[error("read `{path}`", path = path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("find {what} in `{path}`", path = path.display())]
    Content {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    /// An authority is none.
    #[error("trust the authorities in `{path}`", path = path.display())]
    Authority {
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },
    /// No authority is left.
    #[error("trust the authorities in `{path}`", path = path.display())]
    Verifier {
        path: PathBuf,
        #[source]
        source: VerifierBuilderError,
    },
    /// The key is another certificate's.
    #[error(
        "the key `{key}` does not belong to the certificate `{certificate}`",
        key = key.display(),
        certificate = certificate.display()
    )]
    Mismatch { certificate: PathBuf, key: PathBuf },
    /// Certificate and key cannot be used.
    #[error("use the certificate `{certificate}`", certificate = certificate.display())]
    Identity {
        certificate: PathBuf,
        #[source]
        source: rustls::Error,
    },
}

/// What the agent shows to clients, and which it lets in.
pub(crate) fn server_config(tls: &TlsConfig) -> Result<Arc<ServerConfig>, TlsError> {
    let roots = Arc::new(authorities(&tls.client_ca)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|source| TlsError::Verifier {
            path: tls.client_ca.clone(),
            source,
        })?;
    let (chain, key) = (certificates(&tls.certificate)?, key(&tls.key)?);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_client_cert_verifier(verifier)
                .with_single_cert(chain, key)
        })
        .map_err(|source| identity_error(&tls.certificate, &tls.key, source))?;
    config.alpn_protocols.push(ALPN.to_vec());
    Ok(Arc::new(config))
}

/// Whom the agent trusts as a controller, and what it shows to one.
pub(crate) fn client_config(tls: &ControllerTls) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = Arc::new(authorities(&tls.ca)?);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|source| TlsError::Verifier {
            path: tls.ca.clone(),
            source,
        })?;
    let (chain, key) = (certificates(&tls.certificate)?, key(&tls.key)?);
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_webpki_verifier(verifier)
                .with_client_auth_cert(chain, key)
        })
        .map_err(|source| identity_error(&tls.certificate, &tls.key, source))?;
    config.alpn_protocols.push(ALPN.to_vec());
    Ok(Arc::new(config))
}

/// All certificates of a file; at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let what = "a certificate";
    let bytes = read(path)?;
    let certificates: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(content(what, path)(pem::Error::NoItemsFound)),
        Err(error) => Err(content(what, path)(error)),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(content("a private key", path))
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|source| TlsError::Authority {
                path: path.to_owned(),
                source,
            })?;
    }
    Ok(roots)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::File {
        path: path.to_owned(),
        source,
    })
}

fn content(what: &'static str, path: &Path) -> impl FnOnce(pem::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::Content { what, path, source }
}

fn identity_error(certificate: &Path, key: &Path, source: rustls::Error) -> TlsError {
    let certificate = certificate.to_owned();
    match source {
        rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch) => {
            TlsError::Mismatch {
                certificate,
                key: key.to_owned(),
            }
        }
        source => TlsError::Identity {
            certificate,
            source,
        },
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
