//! A server that does what a test tells it: cuts, stalls, lies, and remembers what it was asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// What a client asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub headers: HashMap<String, String>,
    pub at: Instant,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Where the range begins that was asked for.
    pub fn range_start(&self) -> Option<usize> {
        self.header("range")?
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    }
}

/// One thing the server does on a connection.
#[derive(Clone, Debug)]
pub enum Step {
    Send(Vec<u8>),
    /// Nothing, until the gate gives a permit.
    Gate(Arc<Semaphore>),
    /// Nothing, with the connection open.
    Stall,
}

/// What the server does for a request, before it closes the connection.
pub type Reply = Vec<Step>;

type Handler = dyn Fn(&Asked, usize) -> Reply + Send + Sync;

pub struct Server {
    port: u16,
    scheme: &'static str,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Begins to serve: `handler` is given each request and how many came before it.
    pub async fn start(handler: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(None, handler).await
    }

    /// The same over TLS.
    pub async fn start_tls(
        tls: rustls::ServerConfig,
        handler: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(
            Some(tokio_rustls::TlsAcceptor::from(Arc::new(tls))),
            handler,
        )
        .await
    }

    async fn start_with(
        tls: Option<tokio_rustls::TlsAcceptor>,
        handler: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let asked = Arc::new(Mutex::new(Vec::new()));
        let handler: Arc<Handler> = Arc::new(handler);
        let log = asked.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (handler, log, tls) = (handler.clone(), log.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &*handler, &log).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &*handler, &log).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            port,
            scheme,
            asked,
            task,
        }
    }

    /// An address on this server, with secrets in it that must never be seen again.
    pub fn url(&self, path: &str) -> String {
        let Self { scheme, port, .. } = self;
        format!("{scheme}://user:{SECRET}@localhost:{port}/{path}?sig={SECRET}")
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What must never be seen in an error, a log or a debug output.
pub const SECRET: &str = "hunter2hunter2";

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    handler: &Handler,
    log: &Mutex<Vec<Asked>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let asked = Asked {
        path,
        headers,
        at: Instant::now(),
    };
    let steps = {
        let mut log = log.lock().unwrap();
        log.push(asked.clone());
        handler(&asked, log.len() - 1)
    };
    for step in steps {
        match step {
            Step::Send(bytes) => {
                if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
            }
            Step::Gate(gate) => gate.acquire().await.unwrap().forget(),
            Step::Stall => tokio::time::sleep(Duration::from_secs(600)).await,
        }
    }
    drop(stream.shutdown().await);
}

pub fn head(status: &str, headers: &[(&str, &str)]) -> Step {
    let mut text = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    Step::Send(format!("{text}\r\n").into_bytes())
}

/// Content with its length, and a tag if there is one.
pub fn whole(content: &[u8], etag: Option<&str>) -> Reply {
    let length = content.len().to_string();
    let mut headers = vec![("Content-Length", length.as_str())];
    headers.extend(etag.map(|etag| ("ETag", etag)));
    vec![head("200 OK", &headers), Step::Send(content.to_vec())]
}

/// Only the first `sent` bytes of what was announced.
pub fn cut(content: &[u8], etag: Option<&str>, sent: usize) -> Reply {
    let length = content.len().to_string();
    let mut headers = vec![("Content-Length", length.as_str())];
    headers.extend(etag.map(|etag| ("ETag", etag)));
    vec![
        head("200 OK", &headers),
        Step::Send(content[..sent].to_vec()),
    ]
}

/// What a server that knows ranges answers to `asked`, whose content is `content` under `etag`.
pub fn by_range(asked: &Asked, content: &[u8], etag: &str) -> Reply {
    match asked.range_start() {
        Some(start) if asked.header("if-range") == Some(etag) && start < content.len() => {
            let range = format!("bytes {start}-{}/{}", content.len() - 1, content.len());
            let length = (content.len() - start).to_string();
            let headers = [
                ("Content-Range", range.as_str()),
                ("Content-Length", length.as_str()),
                ("ETag", etag),
            ];
            vec![
                head("206 Partial Content", &headers),
                Step::Send(content[start..].to_vec()),
            ]
        }
        _ => whole(content, Some(etag)),
    }
}

/// Content whose length is not told beforehand.
pub fn chunked(content: &[u8]) -> Reply {
    let mut body = Vec::new();
    for piece in content.chunks(16 << 10) {
        body.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        body.extend(piece);
        body.extend(b"\r\n");
    }
    body.extend(b"0\r\n\r\n");
    vec![
        head("200 OK", &[("Transfer-Encoding", "chunked")]),
        Step::Send(body),
    ]
}

pub fn status(status: &str, headers: &[(&str, &str)]) -> Reply {
    let mut headers = headers.to_vec();
    headers.push(("Content-Length", "0"));
    vec![head(status, &headers)]
}
