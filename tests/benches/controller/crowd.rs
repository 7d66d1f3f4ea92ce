//! Simulated agents: one server that answers for all of them. Whom a call is for is told by the
//! address that was called, one of 127.0.0.0/8 for each agent.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use helix_proto::agent::v1::agent_service_server::{AgentService, AgentServiceServer};
use helix_proto::agent::v1::attempt_event::Kind;
use helix_proto::agent::v1::{
    Accepted, AcknowledgeRequest, AcknowledgeResponse, AgentInfo, AgentState, AttachRequest,
    AttachResponse, AttemptEvent, CancelRequest, CancelResponse, Capacity, DrainRequest,
    DrainResponse, Ending, EndingKind, Exited, Finished, GetCapacityRequest, GetCapacityResponse,
    ListAttemptsRequest, ListAttemptsResponse, Resources, ResumeRequest, ResumeResponse,
    RunRequest, RunResponse, Verdict, VerdictKind, WatchCapacityRequest, WatchCapacityResponse,
};
use helix_proto::controller::v1::AnnounceRequest;
use helix_proto::controller::v1::controller_service_client::ControllerServiceClient;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::server::TcpConnectInfo;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};

/// Announcements that share a connection.
const ANNOUNCEMENTS: u32 = 100;

/// Many agents.
pub(crate) struct Crowd {
    port: u16,
    ran: Arc<AtomicU64>,
    watched: Arc<AtomicU64>,
}

impl Crowd {
    /// Starts the server; nobody knows of the agents yet.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))
            .await
            .expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (ran, watched) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let service = Service {
            ran: Arc::clone(&ran),
            watched: Arc::clone(&watched),
        };
        let incoming = TcpListenerStream::new(listener).map(|stream| {
            stream.and_then(|stream| {
                stream.set_nodelay(true)?;
                Ok(stream)
            })
        });
        tokio::spawn(
            Server::builder()
                .add_service(AgentServiceServer::new(service))
                .serve_with_incoming(incoming),
        );
        Self { port, ran, watched }
    }

    /// Items that were run.
    pub(crate) fn ran(&self) -> u64 {
        self.ran.load(Ordering::Relaxed)
    }

    /// Agents whose capacity is being watched.
    pub(crate) fn watched(&self) -> u64 {
        self.watched.load(Ordering::Relaxed)
    }

    /// Announces so many agents to a controller, and stays announced.
    pub(crate) async fn announce(&self, controller: SocketAddr, agents: u32) {
        for first in (0..agents).step_by(ANNOUNCEMENTS as usize) {
            let channel = Endpoint::from_shared(format!("http://{controller}"))
                .expect("an address")
                .connect()
                .await
                .expect("the controller listens");
            for number in first..(first + ANNOUNCEMENTS).min(agents) {
                let mut client = ControllerServiceClient::new(channel.clone());
                let address = address_of(number);
                let request = AnnounceRequest {
                    agent: Some(info(address)),
                    address: format!("{address}:{}", self.port),
                    tls: false,
                };
                tokio::spawn(async move {
                    let answer = client.announce(request).await.expect("it is heard");
                    let mut signs = answer.into_inner();
                    while let Ok(Some(_)) = signs.message().await {}
                });
            }
        }
    }
}

fn address_of(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + number)
}

fn info(address: Ipv4Addr) -> AgentInfo {
    AgentInfo {
        machine: format!("agent-{address}"),
        version: "0.1.0".to_owned(),
        queues: vec!["test".to_owned()],
        operating_system: "Linux".to_owned(),
        architecture: "x86_64".to_owned(),
        boot_id: format!("boot-{address}"),
        started: Some(SystemTime::now().into()),
    }
}

#[derive(Clone)]
struct Service {
    ran: Arc<AtomicU64>,
    watched: Arc<AtomicU64>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn capacity<T>(request: &Request<T>) -> Capacity {
    let address = match request.extensions().get::<TcpConnectInfo>() {
        Some(TcpConnectInfo {
            local_addr: Some(SocketAddr::V4(address)),
            ..
        }) => *address.ip(),
        _ => Ipv4Addr::UNSPECIFIED,
    };
    let resources = Resources {
        slots: 2,
        cpu_millis: 2000,
        memory_bytes: 8 << 30,
        disk_bytes: 64 << 30,
        processes: 0,
    };
    Capacity {
        time: Some(SystemTime::now().into()),
        agent: Some(info(address)),
        state: AgentState::Ready.into(),
        total: Some(resources),
        free: Some(resources),
        ..Capacity::default()
    }
}

#[tonic::async_trait]
impl AgentService for Service {
    type RunStream = Answers<RunResponse>;
    type AttachStream = Answers<AttachResponse>;
    type WatchCapacityStream = Answers<WatchCapacityResponse>;

    async fn run(&self, _: Request<RunRequest>) -> Result<Response<Self::RunStream>, Status> {
        self.ran.fetch_add(1, Ordering::Relaxed);
        let ending = Ending {
            kind: EndingKind::Exited.into(),
            exit_code: Some(0),
            ..Ending::default()
        };
        let kinds = [
            Kind::Accepted(Accepted::default()),
            Kind::Exited(Exited {
                ending: Some(ending.clone()),
                ..Exited::default()
            }),
            Kind::Finished(Finished {
                verdict: Some(Verdict {
                    kind: VerdictKind::Passed.into(),
                    ending: Some(ending),
                    ..Verdict::default()
                }),
                ..Finished::default()
            }),
        ];
        let events = (1..).zip(kinds).map(|(number, kind)| {
            let event = AttemptEvent {
                number,
                time: Some(SystemTime::now().into()),
                console_offset: 0,
                kind: Some(kind),
            };
            Ok(RunResponse { event: Some(event) })
        });
        let events: Vec<_> = events.collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(events))))
    }

    async fn attach(
        &self,
        _: Request<AttachRequest>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        Err(Status::not_found("everything has ended"))
    }

    async fn acknowledge(
        &self,
        _: Request<AcknowledgeRequest>,
    ) -> Result<Response<AcknowledgeResponse>, Status> {
        Ok(Response::new(AcknowledgeResponse {}))
    }

    async fn cancel(&self, _: Request<CancelRequest>) -> Result<Response<CancelResponse>, Status> {
        Ok(Response::new(CancelResponse {
            already_ended: true,
        }))
    }

    async fn get_capacity(
        &self,
        request: Request<GetCapacityRequest>,
    ) -> Result<Response<GetCapacityResponse>, Status> {
        let capacity = Some(capacity(&request));
        Ok(Response::new(GetCapacityResponse { capacity }))
    }

    async fn watch_capacity(
        &self,
        request: Request<WatchCapacityRequest>,
    ) -> Result<Response<Self::WatchCapacityStream>, Status> {
        let capacity = capacity(&request);
        let interval = request
            .into_inner()
            .interval
            .and_then(|interval| Duration::try_from(interval).ok())
            .unwrap_or(Duration::from_secs(10));
        self.watched.fetch_add(1, Ordering::Relaxed);
        let watched = Arc::clone(&self.watched);
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let answer = WatchCapacityResponse {
                    capacity: Some(capacity.clone()),
                };
                if sender.send(Ok(answer)).await.is_err() {
                    break;
                }
                tokio::select! {
                    () = tokio::time::sleep(interval) => {}
                    () = sender.closed() => break,
                }
            }
            watched.fetch_sub(1, Ordering::Relaxed);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn list_attempts(
        &self,
        _: Request<ListAttemptsRequest>,
    ) -> Result<Response<ListAttemptsResponse>, Status> {
        Ok(Response::new(ListAttemptsResponse::default()))
    }

    async fn drain(&self, _: Request<DrainRequest>) -> Result<Response<DrainResponse>, Status> {
        Ok(Response::new(DrainResponse::default()))
    }

    async fn resume(&self, _: Request<ResumeRequest>) -> Result<Response<ResumeResponse>, Status> {
        Ok(Response::new(ResumeResponse { ready: true }))
    }
}

/// What is known of a process: resident memory in MiB, and CPU seconds.
pub(crate) fn use_of(pid: u32) -> (f64, f64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let fields: HashMap<&str, &str> = status
        .lines()
        .filter_map(|line| line.split_once(':'))
        .collect();
    let kib: f64 = fields
        .get("VmRSS")
        .and_then(|value| value.split_whitespace().next())
        .and_then(|value| value.parse().ok())
        .unwrap_or_default();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum();
    (kib / 1024.0, ticks / 100.0)
}
