//! Requests and answers: addresses, headers, repeating, and reading no more than is sensible.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Client, ClientError, Options, SetupError};
use crate::{Endpoint, Method, Problem};

/// The largest answer that is read whole.
const MAX_ANSWER_BYTES: usize = 256 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A controller that takes longer over an answer is not going to give one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const MIN_DELAY: Duration = Duration::from_millis(200);
const MAX_DELAY: Duration = Duration::from_secs(10);

/// Whether a request may be sent again when it is not known what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// The second time changes nothing more.
    Harmless,
    /// It might be done twice.
    Never,
}

/// A request, to be sent as often as need be.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(&'static str, String)>,
    body: Option<Bytes>,
}

impl Ask {
    pub(super) fn new(endpoint: Endpoint, values: &[&str]) -> Self {
        Self::to(endpoint.method(), endpoint.fill(values))
    }

    pub(super) fn to(method: Method, path: String) -> Self {
        Self {
            method,
            path,
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
        }
    }

    /// The fields of an object as parameters; those that are null are left out.
    pub(super) fn query(mut self, query: &impl Serialize) -> Self {
        if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(query) {
            for (name, value) in fields {
                match value {
                    serde_json::Value::Null => {}
                    serde_json::Value::String(text) => self.query.push((name, text)),
                    other => self.query.push((name, other.to_string())),
                }
            }
        }
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn json(mut self, body: &impl Serialize) -> Result<Self, ClientError> {
        let bytes = serde_json::to_vec(body).map_err(ClientError::Request)?;
        self.body = Some(bytes.into());
        Ok(self)
    }
}

impl Client {
    /// Sends a request and reads the answer.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        ask: &Ask,
        repeat: Repeat,
    ) -> Result<T, ClientError> {
        let body = self.answer(ask, repeat).await?;
        serde_json::from_slice(&body).map_err(ClientError::Answer)
    }

    /// The content of the answer, once it is a good one.
    pub(super) async fn answer(&self, ask: &Ask, repeat: Repeat) -> Result<Bytes, ClientError> {
        self.repeat(repeat, async || {
            let request = self.request(ask)?.timeout(ANSWER_TIMEOUT);
            let response = self.once(request).await?;
            self.content(response).await.map_err(Failure::from)
        })
        .await
    }

    /// The answer, once it is a good one, its content still to come.
    pub(super) async fn open(&self, ask: &Ask) -> Result<Response, ClientError> {
        self.repeat(Repeat::Harmless, async || {
            let sent = self.once(self.request(ask)?);
            match tokio::time::timeout(ANSWER_TIMEOUT, sent).await {
                Ok(response) => response,
                Err(_) => Err(Failure::from(self.silent(ANSWER_TIMEOUT))),
            }
        })
        .await
    }

    pub(super) fn request(&self, ask: &Ask) -> Result<RequestBuilder, ClientError> {
        let mut url = self.base.clone();
        let before = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{before}{}", ask.path));
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&ask.query);
        }
        let method = match ask.method {
            Method::Get => reqwest::Method::GET,
            Method::Head => reqwest::Method::HEAD,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
            Method::Delete => reqwest::Method::DELETE,
        };
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            // Whether a header can carry it was checked when the client was set up.
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if !ask.headers.iter().any(|(name, _)| *name == "accept") {
            request = request.header(ACCEPT, "application/json");
        }
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = &ask.body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        Ok(request)
    }

    /// Sends it once; every answer that is not a good one is an error.
    pub(super) async fn once(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|error| self.broken(error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = retry_after(&response);
        let error = match self.content(response).await {
            Ok(body) => match serde_json::from_slice::<Problem>(&body) {
                Ok(problem) => ClientError::Problem(Box::new(problem)),
                Err(_) => ClientError::Foreign {
                    url: self.url().to_owned(),
                    status: status.as_u16(),
                },
            },
            Err(error) => error,
        };
        let passing = matches!(
            status,
            StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        Err(Failure {
            error,
            passing,
            retry_after,
        })
    }

    /// Does it again while it fails in a way that passes, until patience is spent.
    pub(super) async fn repeat<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        repeat: Repeat,
        mut once: impl FnMut() -> F,
    ) -> Result<T, ClientError> {
        let begin = Instant::now();
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(MIN_DELAY)
            .with_max_delay(MAX_DELAY)
            .with_jitter()
            .without_max_times()
            .build();
        loop {
            let failure = match once().await {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            let own = delays.next().unwrap_or(MAX_DELAY);
            let delay = match failure.retry_after {
                // Whoever says when is believed, within reason.
                Some(asked) => asked.clamp(MIN_DELAY, Duration::from_secs(60)),
                None => own,
            };
            let late = begin.elapsed() + delay > self.patience;
            // 429 says that nothing was done.
            let harmless = repeat == Repeat::Harmless || failure.retry_after.is_some();
            if !failure.passing || !harmless || late {
                return Err(failure.error);
            }
            tokio::time::sleep(delay).await;
        }
    }

    /// The whole content of an answer.
    async fn content(&self, mut response: Response) -> Result<Bytes, ClientError> {
        let mut content = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(error))? {
            if content.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(ClientError::Foreign {
                    url: self.url().to_owned(),
                    status: response.status().as_u16(),
                });
            }
            content.extend_from_slice(&chunk);
        }
        Ok(content.into())
    }

    pub(super) fn broken(&self, error: reqwest::Error) -> ClientError {
        ClientError::Unreachable {
            url: self.url().to_owned(),
            source: error.without_url(),
        }
    }

    pub(super) fn silent(&self, after: Duration) -> ClientError {
        ClientError::Silent {
            url: self.url().to_owned(),
            after,
        }
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }
}

/// A call that failed once.
#[derive(Debug)]
pub(super) struct Failure {
    error: ClientError,
    passing: bool,
    retry_after: Option<Duration>,
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let passing = match &error {
            // A certificate or an address that is wrong stays wrong, but which of the many causes it
            // is the library does not tell; patience bounds both.
            ClientError::Unreachable { source, .. } => !source.is_builder(),
            ClientError::Silent { .. } => true,
            ClientError::Problem(_)
            | ClientError::Foreign { .. }
            | ClientError::Answer(_)
            | ClientError::Request(_)
            | ClientError::Content(_) => false,
        };
        Self {
            error,
            passing,
            retry_after: None,
        }
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

/// The address without what comes after the path.
pub(super) fn base(text: &str) -> Result<Url, SetupError> {
    let wrong = |reason: &str| SetupError::Address {
        // What stands before an `@` may be a password.
        url: text.rsplit('@').next().unwrap_or_default().to_owned(),
        reason: reason.to_owned(),
    };
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it begins with neither `http://` nor `https://`"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it has a user or a password; tokens are given apart"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it has a query or a fragment"));
    }
    Ok(url)
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

pub(super) fn http(options: &Options) -> Result<reqwest::Client, SetupError> {
    if let Some(token) = &options.token
        && (token.is_empty() || HeaderValue::from_str(token).is_err() || token.contains(' '))
    {
        return Err(SetupError::Token);
    }
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls(options)?)
        .user_agent(&options.user_agent)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(Duration::from_secs(30))
        .referer(false)
        // Repeating is done here, where it is known what may be repeated.
        .retry(reqwest::retry::never())
        .build()
        .map_err(SetupError::Library)
}

fn tls(options: &Options) -> Result<rustls::ClientConfig, SetupError> {
    use rustls_platform_verifier::BuilderVerifierExt as _;
    let failed = |reason: String| SetupError::Certificates { reason };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?;
    let mut config = match &options.authorities {
        None => builder
            .with_platform_verifier()
            .map_err(|error| failed(error.to_string()))?
            .with_no_client_auth(),
        Some(pem) => {
            let mut roots = rustls::RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| failed(error.to_string()))?;
                roots
                    .add(certificate)
                    .map_err(|error| failed(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(failed("there is no certificate in the file".to_owned()));
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
