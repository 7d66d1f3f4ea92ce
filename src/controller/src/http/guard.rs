//! What every request passes before its handler: rates, who calls, what the caller may, and time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use helix_api::{Access, Endpoint, ProblemKind};

use super::caller::{Caller, Stranger};
use super::problem::Failure;
use super::state::{Peer, State};

/// How long a handler may take until its answer begins.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The same where the request carries much.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(4 * 60 * 60);
const SUBMIT_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Lets a request through to the handler of `endpoint`, or answers it.
pub(super) async fn guard(
    state: Arc<State>,
    endpoint: Endpoint,
    mut request: Request,
    next: Next,
) -> Response {
    match admit(&state, endpoint, &request) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
        }
        Err(failure) => return failure.into_response(),
    }
    let limit = match endpoint {
        Endpoint::PutPayload => UPLOAD_TIMEOUT,
        Endpoint::SubmitJob | Endpoint::RetryJob => SUBMIT_TIMEOUT,
        _ => ANSWER_TIMEOUT,
    };
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!("there was no answer within {} s", limit.as_secs());
            Failure::new(ProblemKind::Timeout, detail).into_response()
        }
    }
}

/// Who calls, if the caller may.
fn admit(state: &State, endpoint: Endpoint, request: &Request) -> Result<Caller, Failure> {
    let now = Instant::now();
    let peer = request
        .extensions()
        .get::<Peer>()
        .copied()
        .unwrap_or_default();
    let address = peer.0.ip();
    if state.tokens.are_absent() {
        expect_local(request.headers(), request.uri())?;
    }
    let rate = |key: String| {
        let taken = state.calls.take(key, now);
        taken.map_err(|wait| Failure::too_many(wait.as_secs() + 1))
    };
    let scope = match endpoint.access() {
        Access::Public => {
            rate(address.to_string())?;
            return Ok(Caller::bearer_of_address());
        }
        Access::Token(scope) => scope,
        Access::TokenOrSignature(scope) => {
            if let Some(query) = request.uri().query() {
                let digest = request.uri().path().rsplit('/').next().unwrap_or_default();
                if state.signer.check(digest, query, state.core.now()) {
                    rate(address.to_string())?;
                    return Ok(Caller::bearer_of_address());
                }
            }
            scope
        }
    };
    // Whoever guesses tokens is slowed down, even if the next guess is right.
    if let Err(wait) = state.failures.look(&address, now) {
        return Err(Failure::too_many(wait.as_secs() + 1));
    }
    let caller = match state.tokens.caller(request.headers()) {
        Ok(caller) => caller,
        Err(stranger) => {
            let _ = state.failures.take(address, now);
            return Err(unauthenticated(stranger));
        }
    };
    let key = match state.tokens.are_absent() {
        true => address.to_string(),
        // No address has a blank.
        false => format!("token {}", caller.name),
    };
    rate(key)?;
    if !caller.may(scope) {
        let detail = format!("`{}` lacks the scope `{scope}`", caller.name);
        return Err(Failure::new(ProblemKind::Forbidden, detail));
    }
    Ok(caller)
}

fn unauthenticated(stranger: Stranger) -> Failure {
    let detail = match stranger {
        Stranger::Silent => "send `Authorization: Bearer TOKEN`",
        Stranger::Unreadable => "the authorisation is not one bearer token",
        Stranger::Unknown => "nobody has this token",
    };
    Failure::new(ProblemKind::Unauthenticated, detail)
}

/// Without tokens every program of this machine may call, but not every web page that somebody looks
/// at here: its requests say where the page is from, or, where its author has pointed a name at this
/// machine, carry that name.
fn expect_local(headers: &HeaderMap, uri: &Uri) -> Result<(), Failure> {
    let host = headers
        .get(HOST)
        .map(|host| host.to_str().unwrap_or_default())
        .or_else(|| uri.authority().map(|authority| authority.as_str()));
    if host.is_some_and(|host| !is_local(host)) {
        let detail = "without tokens the controller is called by an address of this machine only";
        return Err(Failure::new(ProblemKind::Forbidden, detail));
    }
    let origin = headers
        .get(ORIGIN)
        .map(|origin| origin.to_str().unwrap_or_default());
    let foreign = origin.is_some_and(|origin| {
        let place = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        !place.is_some_and(is_local)
    });
    if foreign {
        let detail = "without tokens the controller does nothing for pages from elsewhere";
        return Err(Failure::new(ProblemKind::Forbidden, detail));
    }
    Ok(())
}

/// Whether `host`, with or without a port, is this machine.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, origin: Option<&str>, good: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        let found = expect_local(&headers, &Uri::from_static("/")).is_ok();
        assert_eq!(found, good, "{host} {origin:?}");
    }

    #[test]
    fn pages_from_elsewhere_cannot_use_a_controller_without_tokens() {
        check("127.0.0.1:7410", None, true);
        check("localhost", None, true);
        check("[::1]:7410", None, true);
        check("127.0.0.1:7410", Some("http://localhost:3000"), true);
        check("evil.example:7410", None, false);
        check("127.0.0.1.evil.example", None, false);
        check("localhost:7410", Some("https://evil.example"), false);
        check("localhost:7410", Some("null"), false);
        check(
            "localhost:7410",
            Some("http://localhost.evil.example"),
            false,
        );
        check("", None, false);
    }
}
