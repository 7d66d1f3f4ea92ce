//! The gRPC surface: what `proto/helix/agent/v1/agent_service.proto` promises,
//! over [`Core`].
//!
//! Nothing is decided here: requests are checked and converted, answers are
//! converted back.

mod page;
pub(crate) mod problem;

use std::sync::Arc;
use std::time::Duration;

use helix_model::admission::Refusal;
use helix_model::ids::AttemptId;
use helix_model::outcome::CancelledBy;
use helix_model::work_item::MAX_KILL_GRACE;
use helix_proto::agent::v1::agent_service_server::AgentService;
use helix_proto::agent::v1::{
    AcknowledgeRequest, AcknowledgeResponse, AttachRequest, AttachResponse, CancelRequest,
    CancelResponse, DrainRequest, DrainResponse, GetCapacityRequest, GetCapacityResponse,
    ListAttemptsRequest, ListAttemptsResponse, ResumeRequest, ResumeResponse, RunRequest,
    RunResponse, WatchCapacityRequest, WatchCapacityResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use crate::attempt::{Order, follow};
use crate::core::{AdmitError, Core};

const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1000;
const MAX_REASON_CHARS: usize = 1024;
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
const INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(600);
/// Changes closer together than this are told in one answer.
const QUICKEST_CHANGE: Duration = Duration::from_millis(100);

/// The service of one agent.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    core: Arc<Core>,
}

impl Service {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}

type Answers<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AgentService for Service {
    type RunStream = Answers<RunResponse>;
    type AttachStream = Answers<AttachResponse>;
    type WatchCapacityStream = Answers<WatchCapacityResponse>;

    async fn run(&self, request: Request<RunRequest>) -> Result<Response<Self::RunStream>, Status> {
        let message = request.into_inner().work_item;
        let default_queue = &self.core.settings().default_queue;
        let work_item = helix_proto::work_item::work_item(message, default_queue)
            .map_err(|problems| self.refused(&Refusal::BadRequest { problems }))?;
        let attempt = self.core.admit(work_item).map_err(|error| match error {
            AdmitError::Refused(refusal) => problem::refused(&refusal),
            AdmitError::StateUnwritable(error) => {
                tracing::error!(error = %error, "work item refused: state cannot be written");
                problem::state_unwritable(&error)
            }
        })?;
        let events = ReceiverStream::new(follow(attempt, 0, 0));
        Ok(Response::new(Box::pin(events.map(|event| {
            event.map(|event| RunResponse { event: Some(event) })
        }))))
    }

    async fn attach(
        &self,
        request: Request<AttachRequest>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let AttachRequest {
            attempt_id,
            after_event,
            console_offset,
        } = request.into_inner();
        let attempt = self.core.open(&known_id(&attempt_id)?).await?;
        let (events, bytes) = (attempt.journal.len(), attempt.console_bytes());
        if after_event > events || console_offset > bytes {
            return Err(problem::out_of_range(
                after_event,
                events,
                console_offset,
                bytes,
            ));
        }
        let events = ReceiverStream::new(follow(attempt, after_event, console_offset));
        Ok(Response::new(Box::pin(events.map(|event| {
            event.map(|event| AttachResponse { event: Some(event) })
        }))))
    }

    async fn acknowledge(
        &self,
        request: Request<AcknowledgeRequest>,
    ) -> Result<Response<AcknowledgeResponse>, Status> {
        self.core
            .acknowledge(&known_id(&request.into_inner().attempt_id)?)?;
        Ok(Response::new(AcknowledgeResponse {}))
    }

    async fn cancel(
        &self,
        request: Request<CancelRequest>,
    ) -> Result<Response<CancelResponse>, Status> {
        let CancelRequest {
            attempt_id,
            grace,
            reason,
        } = request.into_inner();
        let reason = short_text("reason", reason)?;
        let grace = grace.map(|grace| duration("grace", grace)).transpose()?;
        if grace.is_some_and(|grace| grace > MAX_KILL_GRACE) {
            let message = format!("it is longer than {} s", MAX_KILL_GRACE.as_secs());
            return Err(problem::bad_field("grace", &message));
        }
        let order = Order::Cancel {
            by: CancelledBy::Client { reason },
            grace,
        };
        let already_ended = self.core.order(&known_id(&attempt_id)?, order)?;
        Ok(Response::new(CancelResponse { already_ended }))
    }

    async fn get_capacity(
        &self,
        _request: Request<GetCapacityRequest>,
    ) -> Result<Response<GetCapacityResponse>, Status> {
        let capacity = Some(self.core.capacity());
        Ok(Response::new(GetCapacityResponse { capacity }))
    }

    async fn watch_capacity(
        &self,
        request: Request<WatchCapacityRequest>,
    ) -> Result<Response<Self::WatchCapacityStream>, Status> {
        let interval = match request.into_inner().interval {
            None => DEFAULT_INTERVAL,
            Some(interval) => duration("interval", interval)?,
        };
        if !INTERVALS.contains(&interval) {
            return Err(problem::bad_field(
                "interval",
                "it is not within 1 s and 600 s",
            ));
        }
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(watch_capacity(Arc::clone(&self.core), interval, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn list_attempts(
        &self,
        request: Request<ListAttemptsRequest>,
    ) -> Result<Response<ListAttemptsResponse>, Status> {
        let ListAttemptsRequest {
            running_only,
            page_size,
            page_token,
        } = request.into_inner();
        let most = match usize::try_from(page_size).unwrap_or(MAX_PAGE) {
            0 => DEFAULT_PAGE,
            size => size.min(MAX_PAGE),
        };
        let after = match page_token.as_str() {
            "" => None,
            token => Some(page::place(token).ok_or_else(|| {
                problem::bad_field("page_token", "it is not from an answer of this agent")
            })?),
        };
        // One more than is asked for shows whether there is a next page.
        let mut attempts = self.core.rows(after.as_ref(), running_only, most + 1);
        let has_more = attempts.len() > most;
        attempts.truncate(most);
        let next_page_token = match attempts.last() {
            Some(last) if has_more => page::token(last),
            Some(_) | None => String::new(),
        };
        Ok(Response::new(ListAttemptsResponse {
            attempts,
            next_page_token,
        }))
    }

    async fn drain(
        &self,
        request: Request<DrainRequest>,
    ) -> Result<Response<DrainResponse>, Status> {
        let reason = short_text("reason", request.into_inner().reason)?;
        let running = self
            .core
            .drain(&reason)
            .map_err(|error| problem::state_unwritable(&error))?;
        Ok(Response::new(DrainResponse {
            running: u32::try_from(running).unwrap_or(u32::MAX),
        }))
    }

    async fn resume(
        &self,
        _request: Request<ResumeRequest>,
    ) -> Result<Response<ResumeResponse>, Status> {
        self.core
            .resume()
            .map_err(|error| problem::state_unwritable(&error))?;
        let ready = self.core.reasons_not_ready().is_empty();
        Ok(Response::new(ResumeResponse { ready }))
    }
}

impl Service {
    fn refused(&self, refusal: &Refusal) -> Status {
        self.core.count_refusal(refusal);
        problem::refused(refusal)
    }
}

async fn watch_capacity(
    core: Arc<Core>,
    interval: Duration,
    sender: mpsc::Sender<Result<WatchCapacityResponse, Status>>,
) {
    let mut changes = core.changes();
    loop {
        changes.borrow_and_update();
        let answer = WatchCapacityResponse {
            capacity: Some(core.capacity()),
        };
        if sender.send(Ok(answer)).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = sender.closed() => return,
            // What changes during the pause is in the next answer.
            _ = changes.changed() => tokio::time::sleep(QUICKEST_CHANGE).await,
        }
    }
}

fn known_id(text: &str) -> Result<AttemptId, Status> {
    AttemptId::new(text).map_err(|error| problem::bad_field("attempt_id", &error.to_string()))
}

fn duration(field: &str, value: prost_types::Duration) -> Result<Duration, Status> {
    helix_proto::time::duration(value)
        .map_err(|error| problem::bad_field(field, &error.to_string()))
}

fn short_text(field: &str, text: String) -> Result<String, Status> {
    if text.chars().count() > MAX_REASON_CHARS {
        let message = format!("it is longer than {MAX_REASON_CHARS} characters");
        return Err(problem::bad_field(field, &message));
    }
    Ok(text
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect())
}
