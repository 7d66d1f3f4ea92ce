//! The REST API over the core: thin handlers, and what stands around them.
//!
//! [`router`] makes a route of every [`Endpoint`] there is; the compiler sees to it that none is
//! without a handler. `guard` is what each request passes first: rates, who calls, scopes, time.
//! `wire` turns what the store knows into what the API says, `submit` a submission into items,
//! `stream` keeps answers going that follow something. `server` owns connections and TLS.
//!
//! What is asked of the core is in the core's words; nothing below this module knows the API.

mod agents;
mod caller;
mod events;
mod files;
mod guard;
mod items;
mod jobs;
mod logs;
mod objects;
mod payloads;
mod problem;
mod queues;
mod range;
mod rate;
mod request;
mod server;
mod sign;
mod state;
mod stream;
mod submit;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, get, on};
use axum::{Json, Router};
use helix_api::{Endpoint, Method, PREFIX, ProblemKind};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::Predicate;
use tower_http::decompression::RequestDecompressionLayer;

use self::guard::guard;
use self::problem::Failure;
use self::state::State;
use crate::core::Core;
use crate::metrics::{TEXT_FORMAT, recorder};

pub(crate) use self::server::serve;

/// All routes.
fn router(state: Arc<State>) -> Router {
    let metrics = get(|| async { ([(CONTENT_TYPE, TEXT_FORMAT)], recorder().render()) });
    let core = Arc::clone(&state.core);
    let mut router = Router::new();
    for endpoint in Endpoint::ALL {
        router = router.route(
            &format!("{PREFIX}{}", endpoint.path()),
            route(endpoint, &state),
        );
    }
    router
        .with_state(state)
        .route("/metrics", metrics)
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move || readiness(core)))
        .fallback(|| async { Failure::new(ProblemKind::NotFound, "there is no such path") })
        .method_not_allowed_fallback(|| async {
            Failure::new(
                ProblemKind::MethodNotAllowed,
                "the path is there, the method is not",
            )
        })
        // Every handler reads its body itself, within bounds of its own.
        .layer(DefaultBodyLimit::disable())
        .layer(RequestDecompressionLayer::new().pass_through_unaccepted(false))
        .layer(CompressionLayer::new().compress_when(Texts))
}

/// The handler of an endpoint behind its guard.
fn route(endpoint: Endpoint, state: &Arc<State>) -> MethodRouter<Arc<State>> {
    let filter = match endpoint.method() {
        Method::Get => MethodFilter::GET,
        Method::Head => MethodFilter::HEAD,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
        Method::Delete => MethodFilter::DELETE,
    };
    let route = match endpoint {
        Endpoint::SubmitJob => on(filter, jobs::submit),
        Endpoint::ListJobs => on(filter, jobs::list),
        Endpoint::GetJob => on(filter, jobs::show),
        Endpoint::CancelJob => on(filter, jobs::cancel),
        Endpoint::RetryJob => on(filter, jobs::retry),
        Endpoint::JobEvents => on(filter, events::events),
        Endpoint::ListItems => on(filter, items::list),
        Endpoint::GetItem => on(filter, items::show),
        Endpoint::CancelItem => on(filter, items::cancel),
        Endpoint::ExplainItem => on(filter, items::explain),
        Endpoint::ListAttempts => on(filter, items::list_attempts),
        Endpoint::GetAttempt => on(filter, items::show_attempt),
        Endpoint::AttemptLog => on(filter, logs::read),
        Endpoint::AttemptFile => on(filter, files::read),
        Endpoint::ListQueues => on(filter, queues::list),
        Endpoint::GetQueue => on(filter, queues::show),
        Endpoint::PutQueue => on(filter, queues::put),
        Endpoint::DeleteQueue => on(filter, queues::delete),
        Endpoint::ListAgents => on(filter, agents::list),
        Endpoint::GetAgent => on(filter, agents::show),
        Endpoint::DrainAgent => on(filter, agents::drain),
        Endpoint::ResumeAgent => on(filter, agents::resume),
        Endpoint::Flaky => on(filter, queues::flaky),
        Endpoint::PutPayload => on(filter, payloads::put),
        Endpoint::HasPayload => on(filter, payloads::has),
        Endpoint::GetPayload => on(filter, payloads::get),
        Endpoint::OpenApi => on(filter, open_api),
    };
    let state = Arc::clone(state);
    route.route_layer(from_fn(move |request: Request, next: Next| {
        guard(Arc::clone(&state), endpoint, request, next)
    }))
}

async fn open_api() -> Response {
    Json(helix_api::document::document(helix_telemetry::VERSION)).into_response()
}

async fn readiness(core: Arc<Core>) -> (StatusCode, &'static str) {
    match core.store().ping().await {
        Ok(()) => (StatusCode::OK, "ready\n"),
        Err(error) => {
            // Whoever asks here has no token, and what the database says may name hosts and paths.
            tracing::warn!(error = %error, "not ready");
            let text = "the database cannot be reached\n";
            (StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }
}

/// Compresses texts that come whole: what streams must not wait for more, and what a test left may
/// be large and is often compressed already.
#[derive(Debug, Clone, Copy)]
struct Texts;

impl Predicate for Texts {
    fn should_compress<B: axum::body::HttpBody>(&self, response: &axum::http::Response<B>) -> bool {
        const TYPES: [&str; 2] = ["application/json", "application/problem+json"];
        let kind = response
            .headers()
            .get(CONTENT_TYPE)
            .map(HeaderValue::as_bytes);
        let is_text = TYPES.iter().any(|text| kind == Some(text.as_bytes()));
        is_text && response.body().size_hint().lower() >= 1024
    }
}
