//! The least of HTTP/1.1 that tests need: a client for one request, and a server
//! that can be told to misbehave.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Asks for `path`. Gives the status code, the head in lower case and the body.
///
/// # Panics
///
/// If nobody answers in HTTP.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.expect("somebody listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("read");
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let code = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .expect("a code");
    (code, head.to_lowercase(), body.to_owned())
}

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// With the query.
    pub path: String,
    /// From which byte on content is wanted.
    pub range_start: Option<usize>,
}

/// What the server does with one request.
#[derive(Debug, Clone)]
pub struct Reply {
    bytes: Vec<u8>,
    /// Nothing is sent before this file is there.
    gate: Option<PathBuf>,
    after: After,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Close,
    /// Say nothing more until the client goes away.
    Hold,
}

impl Reply {
    /// All of `content`, or what is asked of it by range.
    #[must_use]
    pub fn content(asked: &Asked, content: &[u8]) -> Self {
        let bytes = match asked.range_start {
            Some(start) if start < content.len() => {
                let range = format!("bytes {start}-{}/{}", content.len() - 1, content.len());
                let head = format!("content-range: {range}\r\n");
                message("206 Partial Content", &head, &content[start..])
            }
            Some(_) | None => message("200 OK", "accept-ranges: bytes\r\n", content),
        };
        Self {
            bytes,
            gate: None,
            after: After::Close,
        }
    }

    /// A status without content; `head` is whole lines.
    #[must_use]
    pub fn status(status: &str, head: &str) -> Self {
        Self {
            bytes: message(status, head, b""),
            gate: None,
            after: After::Close,
        }
    }

    /// The same, but not before the file `gate` is there.
    #[must_use]
    pub fn once_there_is(mut self, gate: PathBuf) -> Self {
        self.gate = Some(gate);
        self
    }

    /// The same, but the connection breaks when `missing` bytes are left.
    #[must_use]
    pub fn cut(mut self, missing: usize) -> Self {
        let kept = self.bytes.len().saturating_sub(missing);
        self.bytes.truncate(kept);
        self
    }

    /// The same, and then silence on an open connection.
    #[must_use]
    pub fn hold(mut self) -> Self {
        self.after = After::Hold;
        self
    }
}

fn message(status: &str, head: &str, content: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\netag: \"one\"\r\nconnection: close\r\n{head}\r\n",
        content.len()
    );
    [head.as_bytes(), content].concat()
}

/// A server on loopback that answers by a function of the request and of how
/// many came before it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    pub async fn start(answer: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&asked);
        let answer = Arc::new(answer);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (all, answer) = (Arc::clone(&all), Arc::clone(&answer));
                tokio::spawn(async move {
                    // A client that goes away is part of the tests.
                    let _ = serve(stream, &all, answer.as_ref()).await;
                });
            }
        });
        Self {
            address,
            asked,
            task,
        }
    }

    /// The address of something on it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    all: &Mutex<Vec<Asked>>,
    answer: &(impl Fn(&Asked, usize) -> Reply + Sync),
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let asked = Asked {
        path: head.split(' ').nth(1).unwrap_or_default().to_owned(),
        range_start: head
            .to_lowercase()
            .split_once("range: bytes=")
            .and_then(|(_, range)| range.split('-').next()?.parse().ok()),
    };
    let before = {
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(asked.clone());
        all.len() - 1
    };
    let reply = answer(&asked, before);
    while reply.gate.as_ref().is_some_and(|gate| !gate.exists()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stream.write_all(&reply.bytes).await?;
    stream.flush().await?;
    if reply.after == After::Hold {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await?;
    }
    Ok(())
}
