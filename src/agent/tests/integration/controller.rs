//! A controller that only listens to agents.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use helix_proto::agent::v1::AgentInfo;
use helix_proto::agent::v1::agent_service_client::AgentServiceClient;
use helix_proto::controller::v1::controller_service_server::{
    ControllerService, ControllerServiceServer,
};
use helix_proto::controller::v1::{
    AnnounceRequest, AnnounceResponse, ControllerInfo, KeepAlive, TunnelRequest, TunnelResponse,
    announce_response, tunnel_request, tunnel_response,
};
use helix_tunnel::{Tunnel, TunnelHandle, dial, endpoint, outgoing};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

use crate::agent::LONG;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What a controller does with an agent that calls.
#[derive(Debug, Clone)]
pub(crate) enum Manners {
    /// It greets it and stays on the line.
    Good,
    /// It refuses it.
    Refuses(Status),
    /// It greets it, and then says nothing any more; it had promised signs of life every second.
    FallsSilent,
}

/// An agent that called.
#[derive(Debug)]
pub(crate) enum Call {
    Announced(AnnounceRequest),
    Tunnelled {
        agent: AgentInfo,
        channel: Channel,
        handle: TunnelHandle,
    },
}

/// A controller; gone when dropped.
pub(crate) struct Controller {
    pub(crate) address: SocketAddr,
    calls: mpsc::Receiver<Call>,
    manners: Arc<Mutex<Manners>>,
    server: JoinHandle<()>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

#[derive(Clone)]
struct Service {
    manners: Arc<Mutex<Manners>>,
    calls: mpsc::Sender<Call>,
}

impl Controller {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), None).await
    }

    pub(crate) async fn start_at(address: SocketAddr, tls: Option<ServerTlsConfig>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, calls) = mpsc::channel(100);
        let manners = Arc::new(Mutex::new(Manners::Good));
        let service = Service {
            manners: Arc::clone(&manners),
            calls: sender,
        };
        let mut server = Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).unwrap();
        }
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let router = server.add_service(ControllerServiceServer::new(service));
        // Whoever is on the line keeps it from ending; it is given up then.
        let server = tokio::spawn(async move {
            let runtime = tokio::task::spawn_blocking(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async move {
                    let listener = TcpListener::from_std(listener.into_std().unwrap()).unwrap();
                    tokio::select! {
                        served = router.serve_with_incoming(TcpIncoming::from(listener)) => served.unwrap(),
                        _ = stopped => {}
                    }
                });
                // All connections break at once.
                runtime.shutdown_background();
            });
            runtime.await.unwrap();
        });
        Self {
            address,
            calls,
            manners,
            server,
            stop: Some(stop),
        }
    }

    /// The lines of the configuration that name it.
    pub(crate) fn config(&self, more: &str) -> String {
        format!(
            "[controller]\naddress = \"http://{}\"\n{more}\n",
            self.address
        )
    }

    pub(crate) fn behaves(&self, manners: Manners) {
        *self.manners.lock().unwrap() = manners;
    }

    /// The next agent that calls.
    pub(crate) async fn call(&mut self) -> Call {
        tokio::time::timeout(LONG, self.calls.recv())
            .await
            .expect("an agent calls")
            .unwrap()
    }

    /// The next agent that opens a tunnel, and a client through it.
    pub(crate) async fn tunnel(&mut self) -> (AgentInfo, Channel, TunnelHandle) {
        match self.call().await {
            Call::Tunnelled {
                agent,
                channel,
                handle,
            } => (agent, channel, handle),
            Call::Announced(request) => panic!("announced: {request:?}"),
        }
    }

    /// Ends it, with all connections.
    pub(crate) async fn end(mut self) {
        drop(self.stop.take());
        (&mut self.server).await.unwrap();
    }
}

pub(crate) fn agent_client(channel: &Channel) -> AgentServiceClient<Channel> {
    AgentServiceClient::new(channel.clone())
}

fn info() -> ControllerInfo {
    ControllerInfo {
        name: "double".to_owned(),
        version: "1.2.3".to_owned(),
        interval: Duration::from_secs(1).try_into().ok(),
    }
}

#[tonic::async_trait]
impl ControllerService for Service {
    type AnnounceStream = Answers<AnnounceResponse>;
    type TunnelStream = Answers<TunnelResponse>;

    async fn announce(
        &self,
        request: Request<AnnounceRequest>,
    ) -> Result<Response<Self::AnnounceStream>, Status> {
        use announce_response::Kind;
        let manners = self.manners.lock().unwrap().clone();
        let _ = self.calls.try_send(Call::Announced(request.into_inner()));
        if let Manners::Refuses(status) = manners {
            return Err(status);
        }
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut kind = Kind::Controller(info());
            loop {
                let answer = AnnounceResponse { kind: Some(kind) };
                if sender.send(Ok(answer)).await.is_err() {
                    return;
                }
                if matches!(manners, Manners::FallsSilent) {
                    return sender.closed().await;
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
                kind = Kind::KeepAlive(KeepAlive {});
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn tunnel(
        &self,
        request: Request<Streaming<TunnelRequest>>,
    ) -> Result<Response<Self::TunnelStream>, Status> {
        use tunnel_request::Kind;
        use tunnel_response::Kind as Answer;
        if let Manners::Refuses(status) = self.manners.lock().unwrap().clone() {
            return Err(status);
        }
        let mut requests = request.into_inner();
        let Some(Kind::Hello(hello)) = requests.message().await?.and_then(|first| first.kind)
        else {
            return Err(Status::invalid_argument("no hello"));
        };
        let inbound = requests.map(|message| match message?.kind {
            Some(Kind::Data(data)) => Ok(data),
            _ => Err(Status::invalid_argument("no data")),
        });
        let (sender, chunks) = outgoing();
        let tunnel = Tunnel::new(inbound, sender);
        let handle = tunnel.handle();
        let calls = self.calls.clone();
        tokio::spawn(async move {
            let channel = dial(tunnel, &endpoint()).await.unwrap();
            let call = Call::Tunnelled {
                agent: hello.agent.expect("required"),
                channel,
                handle,
            };
            let _ = calls.try_send(call);
        });
        let answers = tokio_stream::once(Answer::Controller(info()))
            .chain(chunks.map(Answer::Data))
            .map(|kind| Ok(TunnelResponse { kind: Some(kind) }));
        Ok(Response::new(Box::pin(answers)))
    }
}
