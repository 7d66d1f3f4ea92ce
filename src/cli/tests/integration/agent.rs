//! An agent that plays a part: it refuses, takes, breaks off and remembers what
//! it was asked. Attaching is answered as the contract says.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use helix_proto::agent::v1::agent_service_server::{AgentService, AgentServiceServer};
use helix_proto::agent::v1::{
    AcknowledgeRequest, AcknowledgeResponse, AttachRequest, AttachResponse, AttemptEvent,
    AttemptSummary, CancelRequest, CancelResponse, Capacity, DrainRequest, DrainResponse,
    GetCapacityRequest, GetCapacityResponse, ListAttemptsRequest, ListAttemptsResponse,
    ResumeRequest, ResumeResponse, RunRequest, RunResponse, WatchCapacityRequest,
    WatchCapacityResponse, WorkItem, attempt_event::Kind,
};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status};

use crate::events::refusal;

/// What the agent does with the next work item it is offered.
pub(crate) enum Part {
    /// Says no.
    Refuse(Status),
    /// Takes it.
    Take(Vec<Move>),
    /// Takes it, but the answer is lost on the way.
    TakeUnheard(Vec<Move>),
}

/// One step of an attempt.
#[derive(Debug, Clone)]
pub(crate) enum Move {
    /// Goes on in the history.
    Send(Box<AttemptEvent>),
    /// Breaks the stream that is played.
    Break(Code),
    /// Ends the stream in order, too early.
    End,
    /// Waits until that many cancels came.
    AwaitCancel(usize),
    /// Waits until the test says so.
    AwaitSignal,
}

/// All of `events`, one after the other.
pub(crate) fn send(events: Vec<AttemptEvent>) -> Vec<Move> {
    events
        .into_iter()
        .map(|event| Move::Send(Box::new(event)))
        .collect()
}

/// How well it keeps the promise of Attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    /// Sends nothing twice.
    Good,
    /// Begins at the beginning, whatever it is asked.
    Sloppy,
}

/// A running agent of this kind.
pub(crate) struct FakeAgent {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<State>,
}

pub(crate) struct State {
    parts: Mutex<VecDeque<Part>>,
    manners: Manners,
    attempts: Mutex<HashMap<String, Arc<Mutex<Attempt>>>>,
    /// Every work item offered, in order.
    pub(crate) offers: Mutex<Vec<WorkItem>>,
    /// Every attach, in order.
    pub(crate) attaches: Mutex<Vec<AttachRequest>>,
    /// Every cancel, in order.
    pub(crate) cancels: watch::Sender<Vec<CancelRequest>>,
    /// Set by the test for `AwaitSignal`.
    pub(crate) signal: watch::Sender<bool>,
    pub(crate) summaries: Mutex<Vec<AttemptSummary>>,
    pub(crate) capacity: watch::Sender<Capacity>,
    pub(crate) drains: Mutex<Vec<String>>,
    /// Called with each work item while the client waits for the answer.
    pub(crate) on_offer: Mutex<Option<OnOffer>>,
}

/// What a test does while the client waits for the answer to its offer.
pub(crate) type OnOffer = Box<dyn FnMut(&WorkItem) + Send>;

#[derive(Debug, Default)]
struct Attempt {
    played: Vec<AttemptEvent>,
    rest: VecDeque<Move>,
}

impl FakeAgent {
    pub(crate) async fn start(parts: impl IntoIterator<Item = Part>) -> Self {
        Self::start_with(parts, Manners::Good, None).await
    }

    pub(crate) async fn start_with(
        parts: impl IntoIterator<Item = Part>,
        manners: Manners,
        tls: Option<ServerTlsConfig>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            parts: Mutex::new(parts.into_iter().collect()),
            manners,
            attempts: Mutex::default(),
            offers: Mutex::default(),
            attaches: Mutex::default(),
            cancels: watch::Sender::default(),
            signal: watch::Sender::default(),
            summaries: Mutex::default(),
            capacity: watch::Sender::default(),
            drains: Mutex::default(),
            on_offer: Mutex::default(),
        });
        let mut server = Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).unwrap();
        }
        let service = AgentServiceServer::new(Service(Arc::clone(&state)));
        tokio::spawn(
            server
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        Self { address, state }
    }

    /// An attempt that somebody else started.
    pub(crate) fn add_attempt(&self, id: &str, moves: Vec<Move>) {
        self.state.add_attempt(id, moves);
    }

    pub(crate) fn offers(&self) -> Vec<WorkItem> {
        self.state.offers.lock().unwrap().clone()
    }

    pub(crate) fn attaches(&self) -> Vec<AttachRequest> {
        self.state.attaches.lock().unwrap().clone()
    }

    pub(crate) fn cancels(&self) -> Vec<CancelRequest> {
        self.state.cancels.borrow().clone()
    }
}

impl State {
    fn add_attempt(&self, id: &str, moves: Vec<Move>) {
        let attempt = Attempt {
            played: Vec::new(),
            rest: moves.into(),
        };
        self.attempts
            .lock()
            .unwrap()
            .insert(id.to_owned(), Arc::new(Mutex::new(attempt)));
    }

    fn attempt(&self, id: &str) -> Result<Arc<Mutex<Attempt>>, Status> {
        self.attempts
            .lock()
            .unwrap()
            .get(id)
            .cloned()
            .ok_or_else(|| {
                refusal(
                    Code::NotFound,
                    "UNKNOWN_ATTEMPT",
                    "No such attempt is known.",
                    None,
                )
            })
    }

    /// Plays `id` from a place on, into a channel that ends with the stream.
    fn play(
        self: &Arc<Self>,
        id: &str,
        after_event: u64,
        console_offset: u64,
    ) -> Result<ReceiverStream<Result<AttemptEvent, Status>>, Status> {
        let attempt = self.attempt(id)?;
        let (sender, receiver) = mpsc::channel(1);
        let state = Arc::clone(self);
        tokio::spawn(async move {
            let played = attempt.lock().unwrap().played.clone();
            for event in played {
                if let Some(event) = unseen(event, after_event, console_offset)
                    && sender.send(Ok(event)).await.is_err()
                {
                    return;
                }
            }
            loop {
                let next = attempt.lock().unwrap().rest.pop_front();
                match next {
                    Some(Move::Send(event)) => {
                        attempt.lock().unwrap().played.push(event.as_ref().clone());
                        let Some(event) = unseen(*event, after_event, console_offset) else {
                            continue;
                        };
                        if sender.send(Ok(event)).await.is_err() {
                            return;
                        }
                    }
                    Some(Move::Break(code)) => {
                        let _ = sender
                            .send(Err(Status::new(code, "broken on purpose")))
                            .await;
                        return;
                    }
                    Some(Move::AwaitCancel(number)) => {
                        let mut cancels = state.cancels.subscribe();
                        let _ = cancels.wait_for(|cancels| cancels.len() >= number).await;
                    }
                    Some(Move::AwaitSignal) => {
                        let mut signal = state.signal.subscribe();
                        let _ = signal.wait_for(|set| *set).await;
                    }
                    Some(Move::End) | None => return,
                }
            }
        });
        Ok(ReceiverStream::new(receiver))
    }
}

/// What of `event` is to be sent to somebody who has seen so much.
fn unseen(mut event: AttemptEvent, after_event: u64, offset: u64) -> Option<AttemptEvent> {
    match &mut event.kind {
        Some(Kind::Console(chunk)) => {
            let end = event.console_offset + chunk.data.len() as u64;
            let seen = offset.clamp(event.console_offset, end) - event.console_offset;
            chunk.data = chunk.data.slice(usize::try_from(seen).unwrap()..);
            event.console_offset += seen;
            (!chunk.data.is_empty()).then_some(event)
        }
        _ => (event.number > after_event).then_some(event),
    }
}

struct Service(Arc<State>);

type EventStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AgentService for Service {
    type RunStream = EventStream<RunResponse>;
    type AttachStream = EventStream<AttachResponse>;
    type WatchCapacityStream = EventStream<WatchCapacityResponse>;

    async fn run(&self, request: Request<RunRequest>) -> Result<Response<Self::RunStream>, Status> {
        let item = request.into_inner().work_item.expect("a work item");
        let id = item.attempt_id.clone();
        if let Some(on_offer) = self.0.on_offer.lock().unwrap().as_mut() {
            on_offer(&item);
        }
        self.0.offers.lock().unwrap().push(item);
        if self.0.attempts.lock().unwrap().contains_key(&id) {
            let message = "The attempt is known already.";
            return Err(refusal(
                Code::AlreadyExists,
                "DUPLICATE_ATTEMPT",
                message,
                None,
            ));
        }
        let part = self.0.parts.lock().unwrap().pop_front();
        match part.expect("one offer more than there are parts") {
            Part::Refuse(status) => Err(status),
            Part::Take(moves) => {
                self.0.add_attempt(&id, moves);
                let stream = self.0.play(&id, 0, 0)?;
                Ok(Response::new(Box::pin(stream.map(|event| {
                    event.map(|event| RunResponse { event: Some(event) })
                }))))
            }
            Part::TakeUnheard(moves) => {
                self.0.add_attempt(&id, moves);
                Err(Status::unavailable("lost on the way"))
            }
        }
    }

    async fn attach(
        &self,
        request: Request<AttachRequest>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let request = request.into_inner();
        self.0.attaches.lock().unwrap().push(request.clone());
        let (after_event, offset) = match self.0.manners {
            Manners::Good => (request.after_event, request.console_offset),
            Manners::Sloppy => (0, 0),
        };
        let stream = self.0.play(&request.attempt_id, after_event, offset)?;
        Ok(Response::new(Box::pin(stream.map(|event| {
            event.map(|event| AttachResponse { event: Some(event) })
        }))))
    }

    async fn acknowledge(
        &self,
        _request: Request<AcknowledgeRequest>,
    ) -> Result<Response<AcknowledgeResponse>, Status> {
        Err(Status::unimplemented("nobody acknowledges here"))
    }

    async fn cancel(
        &self,
        request: Request<CancelRequest>,
    ) -> Result<Response<CancelResponse>, Status> {
        let request = request.into_inner();
        self.0.attempt(&request.attempt_id)?;
        self.0.cancels.send_modify(|cancels| cancels.push(request));
        Ok(Response::new(CancelResponse {
            already_ended: false,
        }))
    }

    async fn get_capacity(
        &self,
        _request: Request<GetCapacityRequest>,
    ) -> Result<Response<GetCapacityResponse>, Status> {
        let capacity = self.0.capacity.borrow().clone();
        Ok(Response::new(GetCapacityResponse {
            capacity: Some(capacity),
        }))
    }

    async fn watch_capacity(
        &self,
        _request: Request<WatchCapacityRequest>,
    ) -> Result<Response<Self::WatchCapacityStream>, Status> {
        let stream = tokio_stream::wrappers::WatchStream::new(self.0.capacity.subscribe());
        Ok(Response::new(Box::pin(stream.map(|capacity| {
            Ok(WatchCapacityResponse {
                capacity: Some(capacity),
            })
        }))))
    }

    async fn list_attempts(
        &self,
        request: Request<ListAttemptsRequest>,
    ) -> Result<Response<ListAttemptsResponse>, Status> {
        // One row a page, so that every list of two has to turn pages.
        let request = request.into_inner();
        let all = self.0.summaries.lock().unwrap();
        let rows: Vec<_> = all
            .iter()
            .filter(|row| !request.running_only || row.ended.is_none())
            .cloned()
            .collect();
        let at: usize = request.page_token.parse().unwrap_or(0);
        let next_page_token = if at + 1 < rows.len() {
            (at + 1).to_string()
        } else {
            String::new()
        };
        let attempts = rows.into_iter().skip(at).take(1).collect();
        Ok(Response::new(ListAttemptsResponse {
            attempts,
            next_page_token,
        }))
    }

    async fn drain(
        &self,
        request: Request<DrainRequest>,
    ) -> Result<Response<DrainResponse>, Status> {
        self.0
            .drains
            .lock()
            .unwrap()
            .push(request.into_inner().reason);
        Ok(Response::new(DrainResponse { running: 3 }))
    }

    async fn resume(
        &self,
        _request: Request<ResumeRequest>,
    ) -> Result<Response<ResumeResponse>, Status> {
        Ok(Response::new(ResumeResponse { ready: false }))
    }
}
