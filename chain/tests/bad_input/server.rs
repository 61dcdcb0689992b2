//! An HTTP server before a node, that spoils the answers to one method.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use peaberry_chain::{HttpEndpoint, HttpOptions, RpcTransport};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the clients of these tests read at most.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long they wait.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_millis(400);

/// How an answer is spoiled. The node gets the request all the same, except where its rate is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoiled {
    /// It is a web page.
    NotJson,
    /// It is JSON-RPC, and something else than the method answers.
    OtherType,
    /// It is null.
    Null,
    /// It says that it is a terabyte long.
    Enormous,
    /// It does not say how long it is, and does not end.
    Endless,
    /// It never comes.
    Hangs,
    /// The connection ends in its place.
    Cut,
    /// It is the status 502.
    ServerError,
    /// It is the status 429, for seven seconds.
    RateLimited,
}

/// A server on loopback; it ends when it is dropped.
pub(crate) struct Server {
    address: std::net::SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    node: Arc<dyn RpcTransport>,
    spoil: Mutex<Option<(&'static str, Spoiled)>>,
    requests: AtomicUsize,
}

impl Server {
    pub(crate) async fn start(node: Arc<dyn RpcTransport>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            node,
            spoil: Mutex::new(None),
            requests: AtomicUsize::new(0),
        });
        let served = state.clone();
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = served.clone();
                open.spawn(async move {
                    let mut stream = stream;
                    while state.answer(&mut stream).await.is_some() {}
                });
            }
        });
        Self {
            address,
            state,
            task,
        }
    }

    /// A bounded endpoint of its own: one that was told to wait does not hold back the next.
    pub(crate) fn endpoint(&self) -> HttpEndpoint {
        let options = HttpOptions {
            answer_bytes_max: ANSWER_BYTES_MAX,
            ..HttpOptions::default()
        };
        HttpEndpoint::new(&format!("http://{}", self.address), options).unwrap()
    }

    /// From now on the answers to `method` are spoiled.
    pub(crate) fn spoil(&self, method: &'static str, way: Spoiled) {
        *self.state.spoil.lock() = Some((method, way));
    }

    /// From now on all answers are the node's.
    pub(crate) fn relent(&self) {
        *self.state.spoil.lock() = None;
    }

    /// How many requests have come.
    pub(crate) fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    /// Answers one request; `None` where the connection is over.
    async fn answer(&self, stream: &mut TcpStream) -> Option<()> {
        let request = read_request(stream).await?;
        self.requests.fetch_add(1, Ordering::SeqCst);
        let body: serde_json::Value = serde_json::from_slice(&request).unwrap();
        let method = body["method"].as_str().unwrap();
        let spoil = *self.spoil.lock();
        let way = spoil.filter(|(spoiled, _)| *spoiled == method);
        let way = way.map(|(_, way)| way);
        let answer = if way == Some(Spoiled::RateLimited) {
            Vec::new()
        } else {
            self.node.exchange(request.into()).await.unwrap().to_vec()
        };
        match way {
            None => write(stream, "200 OK", &answer).await,
            Some(way) => spoiled(stream, way, &body["id"]).await,
        }
    }
}

async fn spoiled(stream: &mut TcpStream, way: Spoiled, id: &serde_json::Value) -> Option<()> {
    match way {
        Spoiled::NotJson => write(stream, "200 OK", b"<html>It works!</html>").await,
        Spoiled::OtherType => {
            let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"oops":[1.5]}}}}"#);
            write(stream, "200 OK", answer.as_bytes()).await
        }
        Spoiled::Null => {
            let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":null}}"#);
            write(stream, "200 OK", answer.as_bytes()).await
        }
        Spoiled::Enormous => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1_u64 << 40);
            stream.write_all(head.as_bytes()).await.ok()?;
            flood(stream, &[b' '; 4096]).await
        }
        Spoiled::Endless => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.ok()?;
            let chunk = [&b"1000\r\n"[..], &[b' '; 4096], b"\r\n"].concat();
            flood(stream, &chunk).await
        }
        Spoiled::Hangs => std::future::pending().await,
        Spoiled::Cut => None,
        Spoiled::ServerError => write(stream, "502 Bad Gateway", b"no upstream").await,
        Spoiled::RateLimited => {
            let answer =
                "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.ok()
        }
    }
}

/// Writes until the client has had enough.
async fn flood(stream: &mut TcpStream, bytes: &[u8]) -> Option<()> {
    while stream.write_all(bytes).await.is_ok() {}
    None
}

async fn write(stream: &mut TcpStream, status: &str, body: &[u8]) -> Option<()> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n");
    let answer = [head.as_bytes(), body].concat();
    stream.write_all(&answer).await.ok()
}

/// The body of the next request.
async fn read_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    loop {
        if let Some(body) = whole_body(&read) {
            return Some(body);
        }
        let count = stream.read_buf(&mut read).await.ok()?;
        if count == 0 {
            return None;
        }
    }
}

fn whole_body(read: &[u8]) -> Option<Vec<u8>> {
    let head_end = read.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&read[..head_end]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))?;
    let length: usize = length.trim().parse().unwrap();
    let body = read.get(head_end..head_end + length)?;
    Some(body.to_vec())
}
