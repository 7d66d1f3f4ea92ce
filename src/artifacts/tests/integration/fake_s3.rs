//! A server that speaks just enough S3 to misbehave: it fails requests as a script says.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use helix_artifacts::{Destination, Options};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::support::hasty;

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// The connection is closed once this many bytes of the body are read.
    CutAfter(usize),
    /// The request is carried out, and the connection closed instead of an answer.
    AnswerLost,
    /// An answer, without carrying out anything: status, headers, body.
    Answer(u16, &'static str, String),
    /// No answer, ever.
    Silence,
}

/// A request, without its body.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) method: String,
    /// Path and query as sent.
    pub(crate) target: String,
    headers: HashMap<String, String>,
}

type Script = Box<dyn FnMut(&Head) -> Fault + Send>;

/// A bucket and what was asked of it.
pub(crate) struct FakeS3 {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) objects: HashMap<String, Object>,
    pub(crate) uploads: HashMap<String, BTreeMap<u32, Vec<u8>>>,
    pub(crate) requests: Vec<Head>,
    script: Option<Script>,
}

pub(crate) struct Object {
    pub(crate) bytes: Vec<u8>,
    pub(crate) content_type: String,
}

impl FakeS3 {
    pub(crate) async fn start(script: impl FnMut(&Head) -> Fault + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(Mutex::new(State {
            script: Some(Box::new(script)),
            ..State::default()
        }));
        tokio::spawn({
            let state = Arc::clone(&state);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    // A client that closes is no failure of the server's.
                    tokio::spawn(serve(stream, Arc::clone(&state)));
                }
            }
        });
        Self { port, state }
    }

    pub(crate) fn destination(&self) -> Destination {
        let options = Options::new()
            .with("endpoint", format!("http://127.0.0.1:{}", self.port))
            .with("access_key_id", "AKIDEXAMPLE")
            .with("secret_access_key", "a-very-secret-access-key");
        Destination::open("s3://bucket/results", &options)
            .expect("opened")
            .with_tuning(hasty())
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests made so far whose target holds all of these.
    pub(crate) fn count(&self, method: &str, parts: &[&str]) -> usize {
        self.state()
            .requests
            .iter()
            .filter(|head| head.method == method)
            .filter(|head| parts.iter().all(|part| head.target.contains(part)))
            .count()
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let Some(head) = read_head(&mut stream).await? else {
            return Ok(());
        };
        let length: usize = head
            .headers
            .get("content-length")
            .and_then(|length| length.parse().ok())
            .unwrap_or(0);
        let fault = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.requests.push(head.clone());
            state
                .script
                .as_mut()
                .map_or(Fault::None, |script| script(&head))
        };
        if let Fault::CutAfter(bytes) = fault {
            let mut part = vec![0; bytes.min(length)];
            stream.read_exact(&mut part).await?;
            return Ok(());
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let answer = match fault {
            Fault::None => carry_out(&state, &head, body),
            Fault::AnswerLost => {
                carry_out(&state, &head, body);
                return Ok(());
            }
            Fault::Answer(status, headers, body) => answer(status, headers, &body),
            Fault::Silence | Fault::CutAfter(_) => {
                std::future::pending::<()>().await;
                return Ok(());
            }
        };
        stream.get_mut().write_all(answer.as_bytes()).await?;
    }
}

async fn read_head(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Head>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let mut head = Head {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: HashMap::new(),
    };
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            return Ok(Some(head));
        };
        head.headers
            .insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
}

fn carry_out(state: &Mutex<State>, head: &Head, body: Vec<u8>) -> String {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
    let key = path.trim_start_matches("/bucket/").to_owned();
    let parameter = |name: &str| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
            .map(str::to_owned)
    };
    let no_upload = || answer(404, "", "<Error><Code>NoSuchUpload</Code></Error>");
    match (head.method.as_str(), parameter("uploadId")) {
        ("POST", None) => {
            let id = format!("upload-{}", state.requests.len());
            state.uploads.insert(id.clone(), BTreeMap::new());
            let content_type = head
                .headers
                .get("content-type")
                .cloned()
                .unwrap_or_default();
            state.objects.insert(
                format!("{id}-type"),
                Object {
                    bytes: Vec::new(),
                    content_type,
                },
            );
            answer(
                200,
                "",
                &format!(
                    "<InitiateMultipartUploadResult><UploadId>{id}</UploadId>\
                     </InitiateMultipartUploadResult>"
                ),
            )
        }
        ("PUT", Some(id)) => {
            let number = parameter("partNumber")
                .and_then(|number| number.parse().ok())
                .unwrap_or(0);
            match state.uploads.get_mut(&id) {
                Some(parts) => {
                    parts.insert(number, body);
                    answer(200, "etag: \"part\"\r\n", "")
                }
                None => no_upload(),
            }
        }
        ("POST", Some(id)) => match state.uploads.remove(&id) {
            Some(parts) => {
                let bytes = parts.into_values().flatten().collect();
                let content_type = state
                    .objects
                    .remove(&format!("{id}-type"))
                    .map_or_else(String::new, |object| object.content_type);
                state.objects.insert(
                    key,
                    Object {
                        bytes,
                        content_type,
                    },
                );
                answer(
                    200,
                    "",
                    "<CompleteMultipartUploadResult><ETag>\"whole\"</ETag>\
                     </CompleteMultipartUploadResult>",
                )
            }
            None => no_upload(),
        },
        ("DELETE", Some(id)) => {
            state.uploads.remove(&id);
            state.objects.remove(&format!("{id}-type"));
            answer(204, "", "")
        }
        ("PUT", None) => {
            let content_type = head
                .headers
                .get("content-type")
                .cloned()
                .unwrap_or_default();
            state.objects.insert(
                key,
                Object {
                    bytes: body,
                    content_type,
                },
            );
            answer(200, "etag: \"whole\"\r\n", "")
        }
        _ => answer(405, "", ""),
    }
}

fn answer(status: u16, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}
