//! Metrics of the controller, in the Prometheus text format.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// Content type of [`PrometheusHandle::render`].
pub(crate) const TEXT_FORMAT: &str = "text/plain; version=0.0.4";

/// Seconds; from one commit to the longest wait for a machine.
const DURATION_BUCKETS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0,
];

/// The recorder of this process. Whoever in the process came first made it, so that `/metrics` of a
/// controller beside an agent in one process may stay empty.
pub(crate) fn recorder() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new();
        let builder = builder.set_buckets(DURATION_BUCKETS).unwrap_or_default();
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        if ::metrics::set_global_recorder(recorder).is_err() {
            tracing::info!("another recorder of metrics is installed; `/metrics` stays empty");
        }
        describe();
        handle
    })
}

fn describe() {
    use ::metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!("helix_controller_jobs_total", "Jobs stored.");
    describe_counter!("helix_controller_items_total", "Work items stored.");
    describe_counter!(
        "helix_controller_retries_cut_total",
        "Work items that were granted fewer retries than asked for."
    );
    describe_counter!(
        "helix_controller_offers_total",
        "Attempts offered to agents, by answer."
    );
    describe_counter!(
        "helix_controller_refusals_total",
        "Refusals by agents, by reason."
    );
    describe_counter!(
        "helix_controller_attempts_ended_total",
        "Attempts that ended, by what became of the work item."
    );
    describe_counter!(
        "helix_controller_disagreements_total",
        "Terminal events whose numbers were not the controller's own."
    );
    describe_counter!(
        "helix_controller_fenced_total",
        "Attempts that another controller had taken over."
    );
    describe_counter!(
        "helix_controller_store_errors_total",
        "Calls of the store that failed."
    );
    describe_counter!(
        "helix_controller_log_bytes_total",
        "Console bytes received."
    );
    describe_gauge!("helix_controller_agents", "Agents, by liveness.");
    describe_gauge!("helix_controller_attempts", "Attempts looked after.");
    describe_gauge!("helix_controller_waiting", "Work items that wait.");
    describe_gauge!(
        "helix_controller_hopeless_wants",
        "Kinds of work that wait and that nobody who is there could ever run."
    );
    describe_histogram!(
        "helix_controller_take_seconds",
        "One call that takes work items from the store."
    );
    describe_histogram!(
        "helix_controller_offer_seconds",
        "From the commit of an attempt to the agent's answer."
    );
    describe_histogram!(
        "helix_controller_settle_seconds",
        "From a terminal event to its commit."
    );
}
