//! The real router over the store in memory: every route, right and wrong, by friend and stranger.

mod access;
mod answers;
mod hostile;
mod line;
mod reading;
mod submitting;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::{HeaderMap, HeaderName, Method, Request, StatusCode};
use helix_model::ids::{AttemptId, QueueName};
use helix_store::{
    AgentName, ControllerId, Counts, Fence, File, FileKind, ItemEnd, ItemEndKind, Judgement,
    LogPlace, MemoryStore, Next, Progress, Queue, Settlement, Store, Taken, TestFailure,
    VerdictKind, Visibility,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use super::rate::Rate;
use super::router;
use super::sign::Signer;
use super::state::State;
use crate::config::{Config, Scope, TokenConfig};
use crate::core::{Core, Parts};
use crate::link::grpc::Network;
use crate::log::LogDirectory;
use crate::storage::Storage;
use crate::world::ThisWorld;

const ENDLESS: Rate = Rate {
    per_second: 1e9,
    burst: 1e9,
};

/// A controller's API without a line, an agent or a clock of its own.
pub(super) struct Api {
    router: Router,
    pub(super) state: Arc<State>,
    pub(super) store: MemoryStore,
    pub(super) directory: tempfile::TempDir,
}

/// What was answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).expect("text")
    }

    pub(super) fn header(&self, name: &str) -> &str {
        let value = self
            .headers
            .get(name)
            .map(|value| value.to_str().expect("text"));
        value.unwrap_or_default()
    }

    /// The problem's kind, after checking that it is one by all signs.
    pub(super) fn problem(&self) -> String {
        let json = self.json();
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(json["status"], self.status.as_u16());
        let kind = json["type"].as_str().expect("a type");
        kind.trim_start_matches("urn:helix:problem:").to_owned()
    }
}

/// A request under construction.
pub(super) struct Call<'a> {
    api: &'a Api,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Body,
}

impl Call<'_> {
    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        let name = HeaderName::from_static(name);
        self.headers.append(name, value.parse().expect("a header"));
        self
    }

    pub(super) fn token(mut self, token: &str) -> Self {
        let value = format!("Bearer {token}").parse().expect("a header");
        self.headers.insert(AUTHORIZATION, value);
        self
    }

    pub(super) fn json(self, body: &Value) -> Self {
        self.body(body.to_string())
            .header("content-type", "application/json")
    }

    pub(super) fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// The answer, its content still to come.
    pub(super) async fn open(self) -> axum::response::Response {
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.path.parse().expect("an address");
        *request.headers_mut() = self.headers;
        let host = "localhost".parse().expect("a header");
        request.headers_mut().entry(HOST).or_insert(host);
        self.api
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("an answer")
    }

    pub(super) async fn send(self) -> Answer {
        let response = self.open().await;
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await;
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.expect("a whole answer"),
        }
    }
}

impl Api {
    /// One without tokens.
    pub(super) async fn open() -> Self {
        Self::with(&[], ENDLESS, ENDLESS).await
    }

    /// One with a token for each name and its scopes; the token is the name and `-secret`.
    pub(super) async fn with(tokens: &[(&str, &[Scope])], calls: Rate, failures: Rate) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = Config::for_loopback(directory.path());
        config.tokens = tokens
            .iter()
            .map(|(name, scopes)| TokenConfig {
                name: (*name).to_owned(),
                sha256: Sha256::digest(format!("{name}-secret")).into(),
                scopes: scopes.to_vec(),
            })
            .collect();
        let store = MemoryStore::new();
        for (name, visibility) in [
            ("linux", Visibility::Open),
            ("inside", Visibility::Internal),
        ] {
            store
                .put_queue(queue(name, visibility))
                .await
                .expect("a queue");
        }
        let storage = Storage::folder(&directory.path().join("objects")).expect("a folder");
        let core = Core::new(Parts {
            name: "here".to_owned(),
            store: Arc::new(store.clone()),
            logs: LogDirectory::new(&directory.path().join("logs")),
            storage,
            world: Arc::new(ThisWorld),
            addresses: Arc::new(Network { tls: None }),
            config,
        });
        let signer = Signer::new(&[7; 32]);
        let state = State::with_rates(Arc::new(core), signer, calls, failures);
        let state = Arc::new(state);
        Self {
            router: router(Arc::clone(&state)),
            state,
            store,
            directory,
        }
    }

    pub(super) fn call(&self, method: &str, path: &str) -> Call<'_> {
        Call {
            api: self,
            method: method.parse().expect("a method"),
            path: match path.starts_with('/') {
                true => path.to_owned(),
                false => format!("/api/v1/{path}"),
            },
            headers: HeaderMap::new(),
            body: Body::empty(),
        }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path).send().await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path).json(body).send().await
    }

    /// Submits a job of items with these names.
    pub(super) async fn submit(&self, id: &str, names: &[&str]) {
        let items: Vec<Value> = names
            .iter()
            .map(|name| serde_json::json!({"name": name, "command": {"shell": "true"}}))
            .collect();
        let body = serde_json::json!({"queue": "linux", "id": id, "retries": 1, "items": items});
        let answer = self.post("jobs", &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    }

    /// Has an agent take the next item, as a scheduler would.
    pub(super) async fn take(&self, attempt: &str) -> Taken {
        let lanes = self.store.lanes().await.expect("lanes");
        let lane = lanes.first().expect("something waits").id;
        let attempts = [AttemptId::new(attempt).expect("an id")];
        let agent = AgentName("build-7".to_owned());
        let now = SystemTime::now();
        let taken = self
            .store
            .take(&controller(), lane, &agent, &attempts, now)
            .await;
        let taken = taken.expect("taken").pop().expect("one");
        let accepted = Progress {
            accepted: Some(now),
            started: Some(now),
            last_event: 2,
            ..Progress::default()
        };
        self.store
            .record(&taken.fence, accepted)
            .await
            .expect("recorded");
        taken
    }

    /// Ends an attempt as failed or passed, with this log.
    pub(super) async fn settle(&self, taken: &Taken, kind: VerdictKind, next: Next, log: &[u8]) {
        let settled =
            self.store
                .settle(&taken.fence, settlement(kind, next, log), SystemTime::now());
        settled.await.expect("settled");
    }

    /// A job with an item that failed and then passed, and one that waits.
    pub(super) async fn eventful(&self) -> Fence {
        self.submit("j", &["a", "b/ü"]).await;
        let first = self.take("x1").await;
        let next = Next::Wait {
            delivery: first.delivery.after_failure().expect("a retry"),
            not_before: None,
            avoid: None,
            retry: true,
            reason: "exit code 1".to_owned(),
        };
        self.settle(&first, VerdictKind::Failed, next, b"0123456789")
            .await;
        let second = self.take("x2").await;
        self.settle(
            &second,
            VerdictKind::Passed,
            end(ItemEndKind::Passed),
            b"log of b",
        )
        .await;
        let third = self.take("x3").await;
        self.settle(
            &third,
            VerdictKind::Passed,
            end(ItemEndKind::PassedOnRetry),
            b"",
        )
        .await;
        first.fence
    }
}

pub(super) fn controller() -> ControllerId {
    ControllerId("here".to_owned())
}

fn queue(name: &str, visibility: Visibility) -> Queue {
    Queue {
        name: QueueName::new(name).expect("a name"),
        description: String::new(),
        operating_system_group: "linux".to_owned(),
        architecture: String::new(),
        max_delivery_count: std::num::NonZeroU32::new(2).expect("two"),
        visibility,
        estimated_removal: None,
        priority: 0,
    }
}

pub(super) fn end(kind: ItemEndKind) -> Next {
    let passed = matches!(kind, ItemEndKind::Passed | ItemEndKind::PassedOnRetry);
    Next::End(ItemEnd {
        kind,
        helix_exit_code: i32::from(!passed),
        reason: if passed { "" } else { "EXIT_CODE" }.to_owned(),
        message: if passed { "" } else { "exit code 1" }.to_owned(),
    })
}

fn settlement(kind: VerdictKind, next: Next, log: &[u8]) -> Settlement {
    let failed = kind == VerdictKind::Failed;
    Settlement {
        state: helix_store::AttemptState::Judged(Judgement {
            kind,
            reason: if failed { "EXIT_CODE" } else { "" }.to_owned(),
            message: if failed { "exit code 1" } else { "" }.to_owned(),
            helix_exit_code: i32::from(failed),
            elapsed: Some(Duration::from_millis(1500)),
            cpu_time: None,
            peak_memory_bytes: Some(1 << 20),
        }),
        progress: Progress {
            last_event: 9,
            results: Some((
                Counts {
                    total: 3,
                    passed: 2,
                    failed: u64::from(failed),
                    ..Counts::default()
                },
                failed
                    .then(|| TestFailure {
                        name: "T.One".to_owned(),
                        message: "no".to_owned(),
                        stack: String::new(),
                        file: "r.trx".to_owned(),
                    })
                    .into_iter()
                    .collect(),
            )),
            files: vec![File {
                name: "out/r 1.trx".to_owned(),
                kind: FileKind::TestResult,
                size: 4,
                sha256: vec![1; 32],
                url: "https://files.example/r".to_owned(),
            }],
            warnings: vec!["odd".to_owned()],
            ..Progress::default()
        },
        log: Some(LogPlace::Here),
        short_log: log.to_vec(),
        log_bytes: log.len() as u64,
        next,
    }
}
