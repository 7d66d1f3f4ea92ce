//! One question to a server, and what its answer means.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE, RETRY_AFTER,
};
use reqwest::{Response, StatusCode, redirect};
use rustls::ClientConfig;
use rustls_platform_verifier::Verifier;
use tokio::time::timeout;

use crate::error::{Error, HttpProblem, chain_of};
use crate::source::HttpUrl;

use super::options::{HttpOptions, Proxy};

/// Redirects that are followed for one question.
const MAX_REDIRECTS: usize = 10;

/// An HTTP client that trusts what the system trusts.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    client: reqwest::Client,
    stall_timeout: Duration,
}

/// What is wanted from a server.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// All of it.
    Whole,
    /// What is behind the first `offset` bytes, if it is still the same content.
    Rest { offset: u64, validators: Validators },
    /// All of it, unless it is still the same content.
    IfChanged { validators: Validators },
}

/// What a server says content can be recognised by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Validators {
    pub(crate) etag: Option<String>,
    pub(crate) last_modified: Option<String>,
}

/// What a server answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It is still the same content.
    NotModified,
    /// Content from the beginning.
    Whole {
        validators: Validators,
        total: Option<u64>,
        body: Body,
    },
    /// Content from where the question said.
    Rest { total: Option<u64>, body: Body },
    /// The server cannot go on there; it has to be asked for all of it.
    NoSuchRange,
}

/// Content on its way.
#[derive(Debug)]
pub(crate) struct Body {
    response: Response,
    stall_timeout: Duration,
}

impl Client {
    pub(crate) fn new(options: &HttpOptions) -> Result<Self, Error> {
        let failed = |error: &dyn StdError| Error::HttpSetup {
            detail: chain_of(error),
        };
        let tls = tls_config(options).map_err(|error| failed(&error))?;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(&options.user_agent)
            .connect_timeout(options.connect_timeout)
            .tcp_keepalive(Duration::from_secs(30))
            // A referrer would carry the secrets of a signed address to wherever it redirects.
            .referer(false)
            // The tries are counted in one place, and that is not the client.
            .retry(reqwest::retry::never())
            .redirect(redirect::Policy::custom(follow));
        builder = match options.proxy {
            Proxy::System => builder,
            Proxy::None => builder.no_proxy(),
        };
        let client = builder
            .build()
            .map_err(|error| failed(&error.without_url()))?;
        Ok(Self {
            client,
            stall_timeout: options.stall_timeout,
        })
    }

    /// Asks `url` once.
    pub(crate) async fn ask(&self, url: &HttpUrl, ask: &Ask) -> Result<Answer, HttpProblem> {
        let mut request = self
            .client
            .get(url.expose().clone())
            // What is stored is what is hashed: nothing is to be decoded on the way.
            .header(ACCEPT_ENCODING, "identity");
        match ask {
            Ask::Whole => {}
            Ask::Rest { offset, validators } => {
                request = request.header(RANGE, format!("bytes={offset}-"));
                if let Some(validator) = validators.for_range() {
                    request = request.header(IF_RANGE, validator);
                }
            }
            Ask::IfChanged { validators } => {
                if let Some(etag) = &validators.etag {
                    request = request.header(IF_NONE_MATCH, etag);
                } else if let Some(last_modified) = &validators.last_modified {
                    request = request.header(IF_MODIFIED_SINCE, last_modified);
                }
            }
        }
        let response = match timeout(self.stall_timeout, request.send()).await {
            Ok(response) => response.map_err(|error| problem_of(error, 0))?,
            Err(_) => {
                return Err(HttpProblem::Stalled {
                    after: self.stall_timeout,
                });
            }
        };
        self.judge(response, ask)
    }

    fn judge(&self, response: Response, ask: &Ask) -> Result<Answer, HttpProblem> {
        let headers = response.headers();
        let length = number(headers, CONTENT_LENGTH);
        match (response.status(), ask) {
            // An answer of all of it is right to every question.
            (StatusCode::OK | StatusCode::NON_AUTHORITATIVE_INFORMATION, _) => Ok(Answer::Whole {
                validators: Validators::of(headers),
                total: length,
                body: self.body(response),
            }),
            (StatusCode::PARTIAL_CONTENT, Ask::Rest { offset, .. }) => {
                match content_range(headers) {
                    Some((start, total)) if start == *offset => Ok(Answer::Rest {
                        total,
                        body: self.body(response),
                    }),
                    _ => Ok(Answer::NoSuchRange),
                }
            }
            (StatusCode::PARTIAL_CONTENT, Ask::Whole | Ask::IfChanged { .. }) => {
                Err(HttpProblem::Nonsense {
                    reason: "it is a part of what was asked for whole",
                })
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, Ask::Rest { .. }) => Ok(Answer::NoSuchRange),
            (StatusCode::NOT_MODIFIED, Ask::IfChanged { .. }) => Ok(Answer::NotModified),
            (StatusCode::NOT_MODIFIED, Ask::Whole | Ask::Rest { .. }) => {
                Err(HttpProblem::Nonsense {
                    reason: "it is unchanged, says the server, unasked",
                })
            }
            (status, _) => Err(HttpProblem::Status {
                code: status.as_u16(),
                retry_after: retry_after(headers, SystemTime::now()),
            }),
        }
    }

    fn body(&self, response: Response) -> Body {
        Body {
            response,
            stall_timeout: self.stall_timeout,
        }
    }
}

impl Body {
    /// The next piece; `None` at the end. `bytes` are here already, for the message.
    pub(crate) async fn next(&mut self, bytes: u64) -> Result<Option<Bytes>, HttpProblem> {
        match timeout(self.stall_timeout, self.response.chunk()).await {
            Ok(piece) => piece.map_err(|error| problem_of(error, bytes)),
            Err(_) => Err(HttpProblem::Stalled {
                after: self.stall_timeout,
            }),
        }
    }
}

impl Validators {
    fn of(headers: &HeaderMap) -> Self {
        Self {
            etag: text(headers, ETAG),
            last_modified: text(headers, LAST_MODIFIED),
        }
    }

    /// What can go with `If-Range`, which takes no weak tag.
    fn for_range(&self) -> Option<&str> {
        match &self.etag {
            Some(etag) if !etag.starts_with("W/") => Some(etag),
            _ => self.last_modified.as_deref(),
        }
    }

    /// Whether two parts of a download are surely of the same content when these hold. A time is
    /// not enough for that, having whole seconds only.
    pub(crate) fn are_strong(&self) -> bool {
        self.etag
            .as_deref()
            .is_some_and(|etag| !etag.starts_with("W/"))
    }

    /// Whether a download can be taken up again at all.
    pub(crate) fn allow_range(&self) -> bool {
        self.for_range().is_some()
    }

    /// Whether the server can be asked if content is still the same.
    pub(crate) fn allow_question(&self) -> bool {
        self.etag.is_some() || self.last_modified.is_some()
    }
}

fn tls_config(options: &HttpOptions) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let extra = options.extra_authorities();
    // The system's trust store holds the authorities of a company; where there is no store at all,
    // as in a bare container image, Mozilla's list stands in.
    let verifier = match Verifier::new_with_extra_roots([], provider.clone()) {
        Ok(_) => Verifier::new_with_extra_roots(extra.iter().cloned(), provider.clone()),
        Err(error) => {
            tracing::warn!(%error, "no certificates on this system, using the built-in list");
            let built_in = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned();
            Verifier::new_with_extra_roots(built_in.chain(extra.iter().cloned()), provider.clone())
        }
    }?;
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// A redirect that is not followed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{0}")]
struct RedirectRefused(&'static str);

fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let from = attempt.previous().last().map(|url| url.scheme());
    let refused = match (from, attempt.url().scheme()) {
        _ if attempt.previous().len() > MAX_REDIRECTS => "there are more than 10 of them",
        (Some("https"), "https") | (Some("http"), "http" | "https") => return attempt.follow(),
        (Some("https"), "http") => "it leads from HTTPS to HTTP",
        _ => "it leads to something else than HTTP",
    };
    attempt.error(RedirectRefused(refused))
}

/// What an error of the client means. Its address is taken out before anything is made text.
fn problem_of(error: reqwest::Error, bytes: u64) -> HttpProblem {
    let error = error.without_url();
    let detail = chain_of(&error);
    if error.is_redirect() {
        let reason = find::<RedirectRefused>(&error).map_or("it is malformed", |refused| refused.0);
        HttpProblem::Redirect { reason }
    } else if matches!(
        find::<rustls::Error>(&error),
        Some(rustls::Error::InvalidCertificate(_))
    ) {
        HttpProblem::Certificate { detail }
    } else if error.is_connect() {
        HttpProblem::Connect { detail }
    } else if error.is_builder() {
        HttpProblem::Request { detail }
    } else {
        HttpProblem::Interrupted { bytes, detail }
    }
}

/// The cause of this type, looked for behind I/O errors as well, which hide theirs.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?.trim();
    // It is sent back, and written to a file, so it had better be short.
    (!value.is_empty() && value.len() <= 1024).then(|| value.to_owned())
}

fn number(headers: &HeaderMap, name: HeaderName) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

/// Start and whole length in `Content-Range: bytes 10-19/20`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let value = text(headers, CONTENT_RANGE)?;
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}

/// The pause in `Retry-After`, which is given in seconds or as the time when it ends.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = text(headers, RETRY_AFTER)?;
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let until = httpdate::parse_http_date(&value).ok()?;
            Some(until.duration_since(now).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_700);
        for (value, expected) in [
            ("120", Some(120)),
            ("0", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(77)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            let found = retry_after(&headers(&[(RETRY_AFTER, value)]), now);
            assert_eq!(found, expected.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn content_range_is_read_or_ignored() {
        for (value, expected) in [
            ("bytes 10-19/20", Some((10, Some(20)))),
            ("bytes 10-19/*", Some((10, None))),
            ("bytes */20", None),
            ("items 1-2/3", None),
            ("bytes x-2/3", None),
        ] {
            assert_eq!(
                content_range(&headers(&[(CONTENT_RANGE, value)])),
                expected,
                "{value}"
            );
        }
    }

    #[test]
    fn weak_tags_and_times_do_not_join_two_halves() {
        let validators = |etag: Option<&str>, last_modified: Option<&str>| Validators {
            etag: etag.map(str::to_owned),
            last_modified: last_modified.map(str::to_owned),
        };
        for (validators, strong, range, question) in [
            (validators(Some("\"a\""), None), true, true, true),
            (validators(Some("W/\"a\""), None), false, false, true),
            (validators(Some("W/\"a\""), Some("then")), false, true, true),
            (validators(None, Some("then")), false, true, true),
            (validators(None, None), false, false, false),
        ] {
            assert_eq!(validators.are_strong(), strong, "{validators:?}");
            assert_eq!(validators.allow_range(), range, "{validators:?}");
            assert_eq!(validators.allow_question(), question, "{validators:?}");
        }
    }
}
