//! What operators and their tools read over HTTP: metrics in the Prometheus
//! text format, liveness and readiness.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | metrics, text format 0.0.4 |
//! | `/healthz` | 200 while the process answers |
//! | `/readyz` | 200 while it takes work, else 503 and why, one reason a line |
//! | `/checks` | what its own checks found last, as `helix-agent doctor --json` writes it; 503 where one failed |

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::core::Core;
use crate::doctor::{self, Finding};

const TEXT_FORMAT: &str = "text/plain; version=0.0.4";
/// Seconds; from the quickest launch to the longest test suite.
const DURATION_BUCKETS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0,
];

/// The recorder of this process. Several agents in one process share it.
pub(crate) fn recorder() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new();
        let builder = builder.set_buckets(DURATION_BUCKETS).unwrap_or_default();
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another recorder of metrics is installed; `/metrics` stays empty");
        }
        describe();
        handle
    })
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!("helix_agent_accepted_total", "Work items taken.");
    describe_counter!(
        "helix_agent_refused_total",
        "Work items refused, by reason."
    );
    describe_counter!(
        "helix_agent_ended_total",
        "Attempts ended, by terminal event and verdict."
    );
    describe_counter!(
        "helix_agent_artifact_bytes_total",
        "Bytes of artifacts stored."
    );
    describe_gauge!("helix_agent_slots", "Slots configured.");
    describe_gauge!("helix_agent_slots_used", "Slots reserved.");
    describe_gauge!("helix_agent_ready", "1 while the agent takes work.");
    describe_gauge!(
        "helix_agent_isolation",
        "1 while a measure of isolation is in force, by measure."
    );
    describe_gauge!(
        "helix_agent_check",
        "0 while a check is well, 1 where it warns, 2 where it failed, -1 where it does not apply, by name."
    );
    describe_gauge!(
        "helix_agent_controller_connected",
        "1 while a controller knows of the agent, by controller."
    );
    describe_histogram!(
        "helix_agent_prepare_seconds",
        "From acceptance to the command's start."
    );
    describe_histogram!(
        "helix_agent_command_seconds",
        "From the command's start to its end."
    );
    describe_histogram!(
        "helix_agent_collect_seconds",
        "From the command's end to the verdict."
    );
}

/// Serves until `stop`. Returns the address it listens on.
pub(crate) async fn serve(
    core: Arc<Core>,
    address: SocketAddr,
    stop: CancellationToken,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let (gauged, checked) = (Arc::clone(&core), Arc::clone(&core));
    let metrics = get(|| async move {
        // Gauges are set by whoever looks at the capacity, and nobody else may
        // have looked for long.
        drop(gauged.capacity());
        ([(CONTENT_TYPE, TEXT_FORMAT)], recorder().render())
    });
    let router = Router::new()
        .route("/metrics", metrics)
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/checks", get(move || checks(checked)))
        .route("/readyz", get(move || readiness(core)));
    tokio::spawn(async move {
        let served = axum::serve(listener, router)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await;
        if let Err(error) = served {
            tracing::error!(error = %error, "monitoring ended");
        }
    });
    Ok(bound)
}

async fn checks(core: Arc<Core>) -> impl IntoResponse {
    let findings = core.findings();
    let status = if findings.iter().any(Finding::has_failed) {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    (
        status,
        [(CONTENT_TYPE, "application/json")],
        doctor::json(&findings),
    )
}

async fn readiness(core: Arc<Core>) -> impl IntoResponse {
    let reasons = core.reasons_not_ready();
    if reasons.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
    }
}
