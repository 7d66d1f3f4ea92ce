//! What each endpoint takes and answers.

use utoipa::openapi::content::{Content, ContentBuilder};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{
    Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{RefOr, Required, Response, ResponseBuilder, ResponsesBuilder, Schema};
use utoipa::{IntoParams, ToSchema};

use super::{Schemas, reference};
use crate::{
    Access, Agent, AgentList, Attempt, AttemptList, CancelRequest, Cancelled, DrainRequest,
    Drained, Endpoint, EventPage, EventQuery, Explanation, FlakyList, FlakyQuery, ItemDetail,
    ItemPage, ItemQuery, Job, JobEvent, JobPage, JobQuery, LogQuery, Problem, Queue, QueueList,
    QueueSettings, Resumed, RetryRequest, StoredPayload, Submitted, submit::JobRequest,
};

/// What the document calls the bearer token.
pub(super) const BEARER: &str = "token";

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
const BYTES: &str = "application/octet-stream";
const EVENTS: &str = "text/event-stream";

/// The operation of an endpoint; schemas that it needs are noted.
pub(super) fn operation(endpoint: Endpoint, schemas: &mut Schemas) -> Operation {
    let mut builder = OperationBuilder::new()
        .operation_id(Some(operation_id(endpoint)))
        .summary(Some(summary(endpoint)))
        .tag(tag(endpoint));
    if let Some(description) = description(endpoint) {
        builder = builder.description(Some(description));
    }
    for parameter in path_parameters(endpoint)
        .into_iter()
        .chain(other_parameters(endpoint))
    {
        builder = builder.parameter(parameter);
    }
    if let Some(body) = request_body(endpoint, schemas) {
        builder = builder.request_body(Some(body));
    }
    let mut responses = ResponsesBuilder::new();
    for (status, response) in responses_of(endpoint, schemas) {
        responses = responses.response(status, response);
    }
    let problem = ContentBuilder::new()
        .schema(Some(reference::<Problem>(schemas)))
        .build();
    responses = responses.response(
        "default",
        ResponseBuilder::new()
            .description("It was not done, and why.")
            .content(PROBLEM, problem)
            .build(),
    );
    builder = builder.responses(responses.build());
    builder = match endpoint.access() {
        Access::Public => builder.security(SecurityRequirement::default()),
        Access::Token(scope) => {
            builder.security(SecurityRequirement::new(BEARER, [scope.as_str()]))
        }
        Access::TokenOrSignature(scope) => builder
            .security(SecurityRequirement::new(BEARER, [scope.as_str()]))
            .security(SecurityRequirement::default()),
    };
    builder.build()
}

/// The name of the variant, as programs that are made from the document will call it.
fn operation_id(endpoint: Endpoint) -> String {
    let name = format!("{endpoint:?}");
    let mut id = String::with_capacity(name.len() + 4);
    for (at, character) in name.char_indices() {
        if character.is_ascii_uppercase() && at > 0 {
            id.push('_');
        }
        id.push(character.to_ascii_lowercase());
    }
    id
}

fn tag(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::SubmitJob
        | Endpoint::ListJobs
        | Endpoint::GetJob
        | Endpoint::CancelJob
        | Endpoint::RetryJob
        | Endpoint::JobEvents => "jobs",
        Endpoint::ListItems | Endpoint::GetItem | Endpoint::CancelItem | Endpoint::ExplainItem => {
            "items"
        }
        Endpoint::ListAttempts
        | Endpoint::GetAttempt
        | Endpoint::AttemptLog
        | Endpoint::AttemptFile => "attempts",
        Endpoint::ListQueues | Endpoint::GetQueue | Endpoint::PutQueue | Endpoint::DeleteQueue => {
            "queues"
        }
        Endpoint::ListAgents
        | Endpoint::GetAgent
        | Endpoint::DrainAgent
        | Endpoint::ResumeAgent => "agents",
        Endpoint::Flaky => "tests",
        Endpoint::PutPayload | Endpoint::HasPayload | Endpoint::GetPayload => "payloads",
        Endpoint::OpenApi => "document",
    }
}

fn summary(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::SubmitJob => "Submit a job",
        Endpoint::ListJobs => "List jobs, newest first",
        Endpoint::GetJob => "Show a job",
        Endpoint::CancelJob => "Cancel a job",
        Endpoint::RetryJob => "Make a new job of what did not pass",
        Endpoint::JobEvents => "What happened in a job, as a page or as a stream",
        Endpoint::ListItems => "List work items in the order of submission",
        Endpoint::GetItem => "Show a work item with all its attempts",
        Endpoint::CancelItem => "Cancel a work item",
        Endpoint::ExplainItem => "Why a work item does not run",
        Endpoint::ListAttempts => "List the attempts of a work item",
        Endpoint::GetAttempt => "Show an attempt",
        Endpoint::AttemptLog => "Read the log of an attempt, while it runs too",
        Endpoint::AttemptFile => "Read a file that an attempt left",
        Endpoint::ListQueues => "List queues",
        Endpoint::GetQueue => "Show a queue",
        Endpoint::PutQueue => "Make a queue, or give it new settings",
        Endpoint::DeleteQueue => "Remove a queue that has no open work",
        Endpoint::ListAgents => "List agents with capacity and liveness",
        Endpoint::GetAgent => "Show an agent",
        Endpoint::DrainAgent => "Let an agent finish what runs and take nothing new",
        Endpoint::ResumeAgent => "Let a drained agent take work again",
        Endpoint::Flaky => "List tests that passed only on a retry",
        Endpoint::PutPayload => "Store a payload under its digest",
        Endpoint::HasPayload => "Whether a payload is stored",
        Endpoint::GetPayload => "Read a payload",
        Endpoint::OpenApi => "This document",
    }
}

fn description(endpoint: Endpoint) -> Option<&'static str> {
    match endpoint {
        Endpoint::SubmitJob => Some(
            "All or nothing. With an `id`, the same submission may be repeated: it is recognised \
             and changes nothing more. Queues that are internal need the scope `submit-internal`.",
        ),
        Endpoint::CancelJob | Endpoint::CancelItem => Some(
            "What waits ends at once; what runs is asked to end. Of another creator's job it needs \
             the scope `operate`. The second time changes nothing more.",
        ),
        Endpoint::RetryJob => Some(
            "The old job stays as it is; the new one names it in `retry_of`. Of another creator's \
             job it needs the scope `operate`.",
        ),
        Endpoint::JobEvents => Some(
            "With `Accept: text/event-stream` the events come as they happen, each with its number \
             as id, so that `Last-Event-ID` continues where a connection broke; the stream ends \
             after `job_ended`. Otherwise a page.",
        ),
        Endpoint::AttemptLog => Some(
            "Bytes, as they were written. `Range` with one range is obeyed. Of a running attempt \
             one gets what there is so far, with `follow` the rest too, until it ends. With \
             `Accept: text/event-stream` each event is one piece in base64, and its id is the \
             offset behind it, so that `Last-Event-ID` continues where a connection broke; the \
             last event is called `end`.",
        ),
        Endpoint::AttemptFile => {
            Some("From where the controller stores files, or a redirection to where it is.")
        }
        Endpoint::PutPayload => Some(
            "The content is stored only if its SHA-256 is that of the path. What is stored already \
             is not stored again.",
        ),
        Endpoint::GetPayload => Some(
            "Agents come with an address that the controller has signed for a time and need no \
             token.",
        ),
        Endpoint::ListJobs
        | Endpoint::GetJob
        | Endpoint::ListItems
        | Endpoint::GetItem
        | Endpoint::ExplainItem
        | Endpoint::ListAttempts
        | Endpoint::GetAttempt
        | Endpoint::ListQueues
        | Endpoint::GetQueue
        | Endpoint::PutQueue
        | Endpoint::DeleteQueue
        | Endpoint::ListAgents
        | Endpoint::GetAgent
        | Endpoint::DrainAgent
        | Endpoint::ResumeAgent
        | Endpoint::Flaky
        | Endpoint::HasPayload
        | Endpoint::OpenApi => None,
    }
}

fn path_parameters(endpoint: Endpoint) -> Vec<Parameter> {
    endpoint
        .path()
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            let name = name.trim_start_matches('*');
            let description = match name {
                "job" => "The job's id.",
                "item" => "The work item, by its id or its name.",
                "attempt" => "The attempt: its place among those of the item, from 1, or its id.",
                "file" => "The file's name, slashes included.",
                "queue" => "The queue's name, without regard to case.",
                "agent" => "The agent's name.",
                _ => "SHA-256 of the content, 64 hexadecimal digits.",
            };
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .description(Some(description))
                .schema(Some(text()))
                .build()
        })
        .collect()
}

fn other_parameters(endpoint: Endpoint) -> Vec<Parameter> {
    match endpoint {
        Endpoint::ListJobs => JobQuery::into_params(|| None),
        Endpoint::ListItems => ItemQuery::into_params(|| None),
        Endpoint::JobEvents => {
            let mut parameters = EventQuery::into_params(|| None);
            parameters.push(header(
                "Last-Event-ID",
                "Only what comes after; for streams.",
            ));
            parameters
        }
        Endpoint::AttemptLog => {
            let mut parameters = LogQuery::into_params(|| None);
            parameters.push(header("Range", "One range of bytes."));
            parameters.push(header("Last-Event-ID", "Where to go on; for streams."));
            parameters
        }
        Endpoint::AttemptFile | Endpoint::GetPayload => {
            vec![header("Range", "One range of bytes.")]
        }
        Endpoint::Flaky => FlakyQuery::into_params(|| None),
        Endpoint::SubmitJob
        | Endpoint::GetJob
        | Endpoint::CancelJob
        | Endpoint::RetryJob
        | Endpoint::GetItem
        | Endpoint::CancelItem
        | Endpoint::ExplainItem
        | Endpoint::ListAttempts
        | Endpoint::GetAttempt
        | Endpoint::ListQueues
        | Endpoint::GetQueue
        | Endpoint::PutQueue
        | Endpoint::DeleteQueue
        | Endpoint::ListAgents
        | Endpoint::GetAgent
        | Endpoint::DrainAgent
        | Endpoint::ResumeAgent
        | Endpoint::PutPayload
        | Endpoint::HasPayload
        | Endpoint::OpenApi => Vec::new(),
    }
}

fn header(name: &str, description: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(text()))
        .build()
}

fn request_body(endpoint: Endpoint, schemas: &mut Schemas) -> Option<RequestBody> {
    let (content_type, content, required) = match endpoint {
        Endpoint::SubmitJob => (JSON, json::<JobRequest>(schemas), Required::True),
        Endpoint::RetryJob => (JSON, json::<RetryRequest>(schemas), Required::False),
        Endpoint::CancelJob | Endpoint::CancelItem => {
            (JSON, json::<CancelRequest>(schemas), Required::False)
        }
        Endpoint::DrainAgent => (JSON, json::<DrainRequest>(schemas), Required::False),
        Endpoint::PutQueue => (JSON, json::<QueueSettings>(schemas), Required::True),
        Endpoint::PutPayload => (BYTES, Content::new(Some(text())), Required::True),
        _ => return None,
    };
    Some(
        RequestBodyBuilder::new()
            .content(content_type, content)
            .required(Some(required))
            .build(),
    )
}

fn responses_of(endpoint: Endpoint, schemas: &mut Schemas) -> Vec<(&'static str, Response)> {
    match endpoint {
        Endpoint::SubmitJob | Endpoint::RetryJob => vec![
            ("201", answer::<Submitted>(schemas, "It is stored.")),
            ("200", answer::<Submitted>(schemas, "It was stored before.")),
        ],
        Endpoint::ListJobs => vec![("200", answer::<JobPage>(schemas, "A page."))],
        Endpoint::GetJob => vec![("200", answer::<Job>(schemas, "The job."))],
        Endpoint::CancelJob | Endpoint::CancelItem => {
            vec![("200", answer::<Cancelled>(schemas, "What it did."))]
        }
        Endpoint::JobEvents => {
            let stream = ContentBuilder::new()
                .schema(Some(reference::<JobEvent>(schemas)))
                .build();
            let response = ResponseBuilder::new()
                .description("A page, or the events as they happen.")
                .content(JSON, json::<EventPage>(schemas))
                .content(EVENTS, stream)
                .build();
            vec![("200", response)]
        }
        Endpoint::ListItems => vec![("200", answer::<ItemPage>(schemas, "A page."))],
        Endpoint::GetItem => vec![("200", answer::<ItemDetail>(schemas, "The work item."))],
        Endpoint::ExplainItem => vec![("200", answer::<Explanation>(schemas, "Why not."))],
        Endpoint::ListAttempts => vec![("200", answer::<AttemptList>(schemas, "All of them."))],
        Endpoint::GetAttempt => vec![("200", answer::<Attempt>(schemas, "The attempt."))],
        Endpoint::AttemptLog => {
            let all = ResponseBuilder::new()
                .description("The log.")
                .content(BYTES, Content::new(Some(text())))
                .content(EVENTS, Content::new(Some(text())))
                .build();
            vec![("200", all), ("206", bytes("The range."))]
        }
        Endpoint::AttemptFile => {
            let elsewhere = ResponseBuilder::new()
                .description("It is elsewhere.")
                .header(
                    "Location",
                    HeaderBuilder::new().schema(Some(text())).build(),
                )
                .build();
            vec![
                ("200", bytes("The file.")),
                ("206", bytes("The range.")),
                ("307", elsewhere),
            ]
        }
        Endpoint::ListQueues => vec![("200", answer::<QueueList>(schemas, "All of them."))],
        Endpoint::GetQueue => vec![("200", answer::<Queue>(schemas, "The queue."))],
        Endpoint::PutQueue => vec![
            ("201", answer::<Queue>(schemas, "It was made.")),
            ("200", answer::<Queue>(schemas, "It has new settings.")),
        ],
        Endpoint::DeleteQueue => vec![("204", Response::new("It is gone."))],
        Endpoint::ListAgents => vec![("200", answer::<AgentList>(schemas, "All of them."))],
        Endpoint::GetAgent => vec![("200", answer::<Agent>(schemas, "The agent."))],
        Endpoint::DrainAgent => {
            vec![("200", answer::<Drained>(schemas, "The agent has agreed."))]
        }
        Endpoint::ResumeAgent => {
            vec![("200", answer::<Resumed>(schemas, "The agent has agreed."))]
        }
        Endpoint::Flaky => vec![("200", answer::<FlakyList>(schemas, "The tests."))],
        Endpoint::PutPayload => vec![
            ("201", answer::<StoredPayload>(schemas, "It is stored.")),
            (
                "200",
                answer::<StoredPayload>(schemas, "It was stored before."),
            ),
        ],
        Endpoint::HasPayload => vec![("200", Response::new("It is stored."))],
        Endpoint::GetPayload => {
            vec![("200", bytes("The payload.")), ("206", bytes("The range."))]
        }
        Endpoint::OpenApi => {
            let any = ObjectBuilder::new().build();
            let content = ContentBuilder::new()
                .schema(Some(Schema::from(any)))
                .build();
            let response = ResponseBuilder::new()
                .description("The document.")
                .content(JSON, content)
                .build();
            vec![("200", response)]
        }
    }
}

fn answer<T: ToSchema>(schemas: &mut Schemas, description: &str) -> Response {
    ResponseBuilder::new()
        .description(description)
        .content(JSON, json::<T>(schemas))
        .build()
}

fn bytes(description: &str) -> Response {
    ResponseBuilder::new()
        .description(description)
        .content(BYTES, Content::new(Some(text())))
        .build()
}

fn json<T: ToSchema>(schemas: &mut Schemas) -> Content {
    Content::new(Some(reference::<T>(schemas)))
}

fn text() -> RefOr<Schema> {
    let text = ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .build();
    RefOr::T(Schema::Object(text))
}
