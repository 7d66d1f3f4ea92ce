//! A service whose every method is a stream of bytes in and a stream of bytes out, told apart by
//! path, and its client.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::uri::PathAndQuery;
use tokio_stream::Stream;
use tonic::body::Body;
use tonic::server::{NamedService, StreamingService};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};
use tower::Service;

use crate::bytes_codec::BytesCodec;

pub(crate) type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;
type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Handler = Arc<dyn Fn(&str, Streaming<Bytes>) -> Result<Messages, Status> + Send + Sync>;

/// The service; the handler gets the method's name.
#[derive(Clone)]
pub(crate) struct Double(Handler);

impl Double {
    pub(crate) fn new(
        handler: impl Fn(&str, Streaming<Bytes>) -> Result<Messages, Status> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(handler))
    }
}

impl NamedService for Double {
    const NAME: &'static str = "double";
}

impl Service<http::Request<Body>> for Double {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = Method {
            name: request.uri().path().replace("/double/", ""),
            handler: Arc::clone(&self.0),
        };
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(BytesCodec);
            Ok(grpc.streaming(method, request).await)
        })
    }
}

struct Method {
    name: String,
    handler: Handler,
}

impl StreamingService<Bytes> for Method {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = Answer<Result<Response<Messages>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let answer = (self.handler)(&self.name, request.into_inner()).map(Response::new);
        Box::pin(async move { answer })
    }
}

/// Calls a method.
pub(crate) async fn call<S>(
    channel: &Channel,
    method: &str,
    messages: S,
) -> Result<Streaming<Bytes>, Status>
where
    S: Stream<Item = Bytes> + Send + 'static,
{
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::try_from(format!("/double/{method}")).expect("a path");
    let answer = grpc
        .streaming(Request::new(messages), path, BytesCodec)
        .await?;
    Ok(answer.into_inner())
}
