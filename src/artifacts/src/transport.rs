//! The HTTP client beneath the remote stores: one place that knows how requests are repeated.
//!
//! Every request that this room makes may be made twice (files overwrite, parts have their own
//! ids), so a request is repeated on every failure that can pass: no connection, a broken one, a
//! time limit, too many requests, a failing server. The wait grows and is jittered; a server that
//! says when to come back is heard. The upload that a request belongs to sets the deadline, and
//! learns what failed last.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBuilder, Retryable};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService,
};
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use tokio::time::Instant;

/// Longest time that one signed request is repeated: services refuse old signatures (S3 after 15
/// minutes), so after this a new one has to be made.
const SIGNATURE_LIFETIME: Duration = Duration::from_secs(240);

/// Time limit of one request with its answer. The largest part in it must pass: 8 MiB then take
/// 70 KB/s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// Longest wait that a server may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

tokio::task_local! {
    static EFFORT: Effort;
}

/// How long an upload may take, and what went wrong in it last. Clones share their state.
#[derive(Debug, Clone)]
pub(crate) struct Effort {
    deadline: Instant,
    backoff: ExponentialBuilder,
    last: Arc<Mutex<Last>>,
}

/// The last failure of an upload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Last {
    /// Nothing has failed since the last success.
    #[default]
    None,
    /// It may go better next time.
    Passing(String),
    /// The server has refused; its answer says why.
    Refused,
    /// No answer, and there will be none.
    Hopeless(String),
}

impl Effort {
    pub(crate) fn new(deadline: Instant, first_delay: Duration) -> Self {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(first_delay)
            .with_max_delay(Duration::from_secs(20).max(first_delay))
            .with_factor(2.0)
            .with_jitter()
            .without_max_times();
        Self {
            deadline,
            backoff,
            last: Arc::default(),
        }
    }

    /// Runs `upload`; all its requests keep to this effort.
    pub(crate) fn run<F: Future>(&self, upload: F) -> impl Future<Output = F::Output> + use<F> {
        EFFORT.scope(self.clone(), upload)
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(crate) fn delays(&self) -> impl Iterator<Item = Duration> + use<> {
        self.backoff.build()
    }

    pub(crate) fn last(&self) -> Last {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note(&self, last: Last) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
    }

    /// The effort of the upload that this task works for; for requests outside of one, a short
    /// one.
    fn current() -> Self {
        EFFORT.try_with(Clone::clone).unwrap_or_else(|_| {
            Self::new(
                Instant::now() + Duration::from_secs(30),
                Duration::from_millis(200),
            )
        })
    }
}

/// Hands the same client to every part of a store: requests, token fetches.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    client: HttpClient,
}

impl Connector {
    pub(crate) fn new() -> Result<Self, reqwest::Error> {
        // The client takes the process's cryptography. When another part of the program has
        // installed one, that one stays, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .user_agent(concat!("helix-artifacts/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .timeout(REQUEST_TIMEOUT)
            // A signature is for one address; whoever redirects would be sent the credentials.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            client: HttpClient::new(Repeating {
                once: HttpClient::new(client),
            }),
        })
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.client.clone())
    }
}

/// Sends requests, and again when that may help.
struct Repeating {
    once: HttpClient,
}

/// An attempt that can be repeated, or the reason why not.
enum Failure {
    /// No whole answer.
    Broken(HttpError),
    /// An answer that says to try again.
    Busy {
        response: Box<HttpResponse>,
        retry_after: Option<Duration>,
    },
}

#[async_trait]
impl HttpService for Repeating {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let effort = Effort::current();
        let until = effort.deadline.min(Instant::now() + SIGNATURE_LIFETIME);
        let outcome = (|| self.attempt(request.clone()))
            .retry(effort.backoff)
            .when(Failure::may_pass)
            .adjust(|failure, delay| {
                let delay = delay.map(|delay| delay.max(failure.retry_after()))?;
                (Instant::now() + delay < until).then_some(delay)
            })
            .notify(|failure, delay| {
                effort.note(failure.describe());
                tracing::debug!(
                    reason = failure.describe().text(),
                    delay_ms = delay.as_millis(),
                    "repeating a request to the object store"
                );
            })
            .await;
        match outcome {
            Ok(response) => {
                let refused = response.status().is_client_error();
                effort.note(if refused { Last::Refused } else { Last::None });
                Ok(response)
            }
            Err(failure) => {
                effort.note(failure.describe());
                match failure {
                    Failure::Broken(error) => Err(error),
                    Failure::Busy { response, .. } => Ok(*response),
                }
            }
        }
    }
}

impl Repeating {
    async fn attempt(&self, request: HttpRequest) -> Result<HttpResponse, Failure> {
        let response = self.once.execute(request).await.map_err(Failure::Broken)?;
        if !is_busy(response.status()) {
            return Ok(response);
        }
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.trim().parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER));
        Err(Failure::Busy {
            response: Box::new(response),
            retry_after,
        })
    }
}

impl Failure {
    fn may_pass(&self) -> bool {
        match self {
            Self::Busy { .. } => true,
            Self::Broken(error) => is_passing(error),
        }
    }

    fn retry_after(&self) -> Duration {
        match self {
            Self::Busy { retry_after, .. } => retry_after.unwrap_or_default(),
            Self::Broken(_) => Duration::ZERO,
        }
    }

    fn describe(&self) -> Last {
        match self {
            Self::Busy { response, .. } => Last::Passing(response.status().to_string()),
            Self::Broken(error) if is_passing(error) => Last::Passing(innermost(error)),
            Self::Broken(error) => Last::Hopeless(innermost(error)),
        }
    }
}

impl Last {
    fn text(&self) -> &str {
        match self {
            Self::Passing(text) | Self::Hopeless(text) => text,
            Self::None | Self::Refused => "",
        }
    }
}

/// Whether a status asks for another try.
pub(crate) fn is_busy(status: StatusCode) -> bool {
    // 501 and 505 say what the server will never do.
    (status.is_server_error()
        && status != StatusCode::NOT_IMPLEMENTED
        && status != StatusCode::HTTP_VERSION_NOT_SUPPORTED)
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

/// Whether a broken exchange may go better next time. What cannot be told apart from a cut
/// connection is taken for one; a peer whose certificate is not accepted stays a stranger.
fn is_passing(error: &HttpError) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(rustls::Error::InvalidCertificate(_)) = tls_error(cause) {
            return false;
        }
        source = cause.source();
    }
    true
}

/// The error of the TLS layer that this is. I/O errors hide what they wrap from their own chain,
/// and wrap each other.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    match error.downcast_ref::<std::io::Error>() {
        Some(io) => tls_error(io.get_ref()?),
        None => error.downcast_ref(),
    }
}

/// The innermost cause, which is what a person can act on ("connection refused").
fn innermost(error: &HttpError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = error.to_string();
        source = error.source();
    }
    text
}

impl fmt::Debug for Repeating {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Repeating")
    }
}
