//! `/agents`: who there is, what each can take, draining and resuming.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State as Extract;
use axum::http::HeaderMap;
use helix_api::{self as api, DrainRequest};
use helix_model::capability::CapabilityValue;
use helix_model::liveness::Liveness;
use helix_model::matching::{AgentReport, ReportedState};
use helix_model::resources::Resources;
use helix_store::{AgentName, AgentOrigin};

use super::problem::Failure;
use super::request::{self, Place, shown};
use super::state::State;
use super::wire;
use crate::core::AgentStanding;

const MAX_REASON_BYTES: usize = 1024;

type Answer<T> = Result<Json<T>, Failure>;

pub(super) async fn list(Extract(state): Extract<Arc<State>>) -> Answer<api::AgentList> {
    let name = state.core.name();
    let agents = state.core.agents();
    Ok(Json(api::AgentList {
        agents: agents
            .into_iter()
            .map(|standing| agent(name, standing))
            .collect(),
    }))
}

pub(super) async fn show(
    Extract(state): Extract<Arc<State>>,
    Place(name): Place<String>,
) -> Answer<api::Agent> {
    let standing = state.core.agent(&AgentName(name.clone()));
    let standing =
        standing.ok_or_else(|| Failure::not_found(format!("agent `{}`", shown(&name))))?;
    Ok(Json(agent(state.core.name(), standing)))
}

pub(super) async fn drain(
    Extract(state): Extract<Arc<State>>,
    Place(name): Place<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer<api::Drained> {
    let request: DrainRequest = request::json(&headers, body).await?;
    if request.reason.len() > MAX_REASON_BYTES {
        let message = format!("it must have at most {MAX_REASON_BYTES} bytes");
        return Err(Failure::field("$.reason", message));
    }
    let running = state
        .core
        .drain(&AgentName(name.clone()), &request.reason)
        .await?;
    Ok(Json(api::Drained {
        agent: name,
        running,
    }))
}

pub(super) async fn resume(
    Extract(state): Extract<Arc<State>>,
    Place(name): Place<String>,
) -> Answer<api::Resumed> {
    let ready = state.core.resume(&AgentName(name.clone())).await?;
    Ok(Json(api::Resumed { agent: name, ready }))
}

fn agent(controller: &str, standing: AgentStanding) -> api::Agent {
    let capacity = standing
        .report
        .map(|report| capacity(&report, standing.free));
    api::Agent {
        name: standing.name.0,
        origin: match standing.origin {
            AgentOrigin::Configured => api::AgentOrigin::Configured,
            AgentOrigin::Announced => api::AgentOrigin::Announced,
            AgentOrigin::Tunnelled => api::AgentOrigin::Tunnelled,
        },
        address: standing.address,
        controller: controller.to_owned(),
        liveness: match standing.liveness {
            Liveness::Alive => api::AgentLiveness::Alive,
            Liveness::Silent => api::AgentLiveness::Silent,
            Liveness::Lost => api::AgentLiveness::Lost,
        },
        seen: wire::time(standing.seen),
        capacity,
    }
}

fn capacity(report: &AgentReport, free: Resources) -> api::AgentCapacity {
    let state = match &report.state {
        ReportedState::Ready => "ready",
        ReportedState::Full => "full",
        ReportedState::Draining { .. } => "draining",
        ReportedState::Offline => "offline",
        ReportedState::Quarantined { .. } => "quarantined",
        ReportedState::Probation => "probation",
        ReportedState::NotIsolated => "not_isolated",
    };
    api::AgentCapacity {
        state: state.to_owned(),
        reasons: report.reasons.clone(),
        version: report.version.clone(),
        queues: report.queues.iter().map(ToString::to_string).collect(),
        operating_system: report.operating_system.clone(),
        architecture: report.architecture.clone(),
        total: resources(report.total),
        free: resources(free),
        running: report
            .running
            .iter()
            .map(|one| api::RunningAttempt {
                attempt: one.attempt.to_string(),
                item: one.work_item.to_string(),
                job: one.job.to_string(),
                name: one.friendly_name.to_string(),
            })
            .collect(),
        capabilities: report
            .capabilities
            .iter()
            .map(|(name, value)| api::AgentCapability {
                name: name.to_string(),
                values: match value {
                    CapabilityValue::Label => Vec::new(),
                    CapabilityValue::Texts(texts) => texts.iter().cloned().collect(),
                    CapabilityValue::Versions(versions) => {
                        versions.iter().map(ToString::to_string).collect()
                    }
                },
            })
            .collect(),
        degraded: report.degraded.clone(),
    }
}

fn resources(resources: Resources) -> api::MachineResources {
    api::MachineResources {
        slots: resources.slots,
        cpu_millis: resources.cpu_millis,
        memory_bytes: resources.memory_bytes,
        disk_bytes: resources.disk_bytes,
    }
}
