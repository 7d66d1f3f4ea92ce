//! An agent that follows a script: what becomes of an item is in its name.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt};
use helix_model::admission::{Installation, Phase, Refusal};
use helix_model::capability::{CapabilityName, Missing, Wanted};
use helix_proto::agent::v1;
use helix_proto::agent::v1::agent_service_server::{AgentService, AgentServiceServer};
use helix_proto::agent::v1::attempt_event::Kind;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::server::{Router, Server, TcpIncoming};
use tonic::{Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// What an item that prints much prints, over and over.
pub(super) const MUCH: &str = "a line of output that is as long as most of them are\n";
pub(super) const TIMES: usize = 4000;

/// What differs between scripted agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    /// It takes everything.
    Willing,
    /// It refuses the first offer.
    RefuseFirst,
}

/// An agent of four slots. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct ScriptedAgent {
    name: &'static str,
    script: Script,
    state: Arc<Mutex<State>>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    offers: u32,
    attempts: BTreeMap<String, v1::WorkItem>,
    acknowledged: usize,
    cancelled: bool,
    released: bool,
}

type EventsOf<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl ScriptedAgent {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            script: Script::Willing,
            state: Arc::default(),
            changes: watch::Sender::new(0),
        }
    }

    pub(super) fn with(self, script: Script) -> Self {
        Self { script, ..self }
    }

    pub(super) fn info(&self) -> v1::AgentInfo {
        v1::AgentInfo {
            machine: self.name.to_owned(),
            version: "1.0".to_owned(),
            boot_id: "boot".to_owned(),
            ..v1::AgentInfo::default()
        }
    }

    pub(super) fn router(&self) -> Router {
        Server::builder().add_service(AgentServiceServer::new(self.clone()))
    }

    /// Serves on loopback for as long as the test runs.
    pub(super) async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = self.router();
        tokio::spawn(router.serve_with_incoming(TcpIncoming::from(listener)));
        address
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changes.send_modify(|count| *count += 1);
    }

    /// Lets what hangs come to its end.
    pub(super) fn release(&self) {
        self.change(|state| state.released = true);
    }

    /// How many attempts it took.
    pub(super) fn runs(&self) -> usize {
        self.lock().attempts.len()
    }

    pub(super) async fn wait_for_runs(&self, count: usize) {
        self.wait(|state| state.attempts.len() >= count).await;
    }

    pub(super) async fn wait_for_acknowledged(&self, count: usize) {
        self.wait(|state| state.acknowledged >= count).await;
    }

    async fn wait(&self, is_so: impl Fn(&State) -> bool) {
        let mut changes = self.changes.subscribe();
        let waiting = async {
            while !is_so(&self.lock()) {
                changes.changed().await.expect("it lives");
            }
        };
        let limit = super::LIMIT;
        tokio::time::timeout(limit, waiting).await.expect("in time");
    }

    fn capacity(&self) -> v1::Capacity {
        let amounts = v1::Resources {
            slots: 4,
            ..v1::Resources::default()
        };
        v1::Capacity {
            agent: Some(self.info()),
            state: v1::AgentState::Ready.into(),
            total: Some(amounts),
            free: Some(amounts),
            ..v1::Capacity::default()
        }
    }

    /// All that happens to an attempt.
    fn history(&self, item: &v1::WorkItem) -> EventsOf<v1::AttemptEvent> {
        let event = |number, console_offset, kind| v1::AttemptEvent {
            number,
            time: None,
            console_offset,
            kind: Some(kind),
        };
        let text = match item.friendly_name.as_str() {
            "prints-much" => MUCH.repeat(TIMES),
            name => format!("hello from {name}\n"),
        };
        let length = text.len() as u64;
        let chunk = |offset: usize, data: &str| {
            let chunk = v1::ConsoleChunk {
                stream: v1::ConsoleStream::Stdout.into(),
                data: data.to_owned().into(),
            };
            event(0, offset as u64, Kind::Console(chunk))
        };
        let mut events = vec![
            event(1, 0, Kind::Accepted(v1::Accepted::default())),
            event(2, 0, Kind::Started(v1::Started::default())),
        ];
        let size = 1 << 14;
        for offset in (0..text.len()).step_by(size) {
            let end = text.len().min(offset + size);
            events.push(chunk(offset, &text[offset..end]));
        }
        let delivery = item.delivery.unwrap_or_default();
        let verdict = |kind: v1::VerdictKind, reason: &str| v1::Verdict {
            kind: kind.into(),
            reason: reason.to_owned(),
            ..v1::Verdict::default()
        };
        let passed = event(
            3,
            length,
            Kind::Finished(v1::Finished {
                verdict: Some(verdict(v1::VerdictKind::Passed, "")),
                ..v1::Finished::default()
            }),
        );
        let cancelled = event(
            3,
            length,
            Kind::Finished(v1::Finished {
                verdict: Some(verdict(v1::VerdictKind::Cancelled, "REQUESTED")),
                helix_exit_code: -2,
                ..v1::Finished::default()
            }),
        );
        match item.friendly_name.as_str() {
            "fails-first" if delivery.number == 1 => {
                let requeued = v1::Requeued {
                    verdict: Some(verdict(v1::VerdictKind::Failed, "EXIT_CODE")),
                    next_delivery_number: 2,
                    next_retries_used: 1,
                    ..v1::Requeued::default()
                };
                events.push(event(3, length, Kind::Requeued(requeued)));
                futures::stream::iter(events.into_iter().map(Ok)).boxed()
            }
            "hangs" => {
                let agent = self.clone();
                let end = async move {
                    agent.wait(|state| state.cancelled || state.released).await;
                    let is_cancelled = agent.lock().cancelled;
                    Ok(if is_cancelled { cancelled } else { passed })
                };
                let events = futures::stream::iter(events.into_iter().map(Ok));
                events.chain(futures::stream::once(end)).boxed()
            }
            _ => {
                events.push(passed);
                futures::stream::iter(events.into_iter().map(Ok)).boxed()
            }
        }
    }
}

fn unknown() -> Status {
    let mut details = ErrorDetails::new();
    let metadata = std::collections::HashMap::<String, String>::new();
    details.set_error_info("UNKNOWN_ATTEMPT", helix_proto::refusal::DOMAIN, metadata);
    Status::with_error_details(tonic::Code::NotFound, "no such attempt", details)
}

#[tonic::async_trait]
impl AgentService for ScriptedAgent {
    type RunStream = EventsOf<v1::RunResponse>;
    type AttachStream = EventsOf<v1::AttachResponse>;
    type WatchCapacityStream = EventsOf<v1::WatchCapacityResponse>;

    async fn run(
        &self,
        request: Request<v1::RunRequest>,
    ) -> Result<Response<Self::RunStream>, Status> {
        let item = request.into_inner().work_item.unwrap_or_default();
        let mut offers = 0;
        self.change(|state| {
            state.offers += 1;
            offers = state.offers;
        });
        if self.script == Script::RefuseFirst && offers == 1 {
            let missing = Missing {
                name: CapabilityName::new("gpu").expect("a good name"),
                wanted: Wanted::Present,
                present: None,
                asked_by: None,
            };
            let refusal = Refusal::Provisioning {
                installations: vec![Installation {
                    provisioner: "installer".to_owned(),
                    missing,
                    phase: Phase::ToStart {
                        expected_end: Some(std::time::SystemTime::now()),
                    },
                }],
            };
            let now = std::time::SystemTime::now();
            return Err(helix_proto::refusal::status(&refusal, now));
        }
        self.change(|state| {
            state.attempts.insert(item.attempt_id.clone(), item.clone());
        });
        let events = self.history(&item);
        let responses = events.map(|event| {
            Ok(v1::RunResponse {
                event: Some(event?),
            })
        });
        Ok(Response::new(responses.boxed()))
    }

    async fn attach(
        &self,
        request: Request<v1::AttachRequest>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let request = request.into_inner();
        let item = self.lock().attempts.get(&request.attempt_id).cloned();
        let item = item.ok_or_else(unknown)?;
        let events = self.history(&item).filter(move |event| {
            let is_new = event.as_ref().is_ok_and(|event| {
                let is_console =
                    event.number == 0 && event.console_offset >= request.console_offset;
                event.number > request.after_event || is_console
            });
            std::future::ready(is_new)
        });
        let responses = events.map(|event| {
            Ok(v1::AttachResponse {
                event: Some(event?),
            })
        });
        Ok(Response::new(responses.boxed()))
    }

    async fn acknowledge(
        &self,
        _: Request<v1::AcknowledgeRequest>,
    ) -> Result<Response<v1::AcknowledgeResponse>, Status> {
        self.change(|state| state.acknowledged += 1);
        Ok(Response::new(v1::AcknowledgeResponse {}))
    }

    async fn cancel(
        &self,
        _: Request<v1::CancelRequest>,
    ) -> Result<Response<v1::CancelResponse>, Status> {
        self.change(|state| state.cancelled = true);
        Ok(Response::new(v1::CancelResponse::default()))
    }

    async fn get_capacity(
        &self,
        _: Request<v1::GetCapacityRequest>,
    ) -> Result<Response<v1::GetCapacityResponse>, Status> {
        Ok(Response::new(v1::GetCapacityResponse {
            capacity: Some(self.capacity()),
        }))
    }

    async fn watch_capacity(
        &self,
        _: Request<v1::WatchCapacityRequest>,
    ) -> Result<Response<Self::WatchCapacityStream>, Status> {
        let agent = self.clone();
        let reports = futures::stream::unfold((agent, true), async |(agent, is_first)| {
            if !is_first {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            let response = v1::WatchCapacityResponse {
                capacity: Some(agent.capacity()),
            };
            Some((Ok(response), (agent, false)))
        });
        Ok(Response::new(reports.boxed()))
    }

    async fn list_attempts(
        &self,
        _: Request<v1::ListAttemptsRequest>,
    ) -> Result<Response<v1::ListAttemptsResponse>, Status> {
        Ok(Response::new(v1::ListAttemptsResponse::default()))
    }

    async fn drain(
        &self,
        _: Request<v1::DrainRequest>,
    ) -> Result<Response<v1::DrainResponse>, Status> {
        Ok(Response::new(v1::DrainResponse::default()))
    }

    async fn resume(
        &self,
        _: Request<v1::ResumeRequest>,
    ) -> Result<Response<v1::ResumeResponse>, Status> {
        Ok(Response::new(v1::ResumeResponse { ready: true }))
    }
}
