//! The chain behind HTTP, for tools in other processes.

#[cfg(feature = "dev-ws")]
mod socket;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    CONTENT_TYPE, HeaderValue,
};
use hyper::rt::Timer as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use peaberry_core::Clock;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::DevChain;
use super::json_rpc::REQUEST_BYTES_MAX;
use crate::http::RuntimeClock;

// More connections wait in the system's queue.
const CONNECTIONS_MAX: usize = 256;
// Whoever takes longer than this to send a request's headers, or then its body, is cut off.
const SENT_WITHIN: Duration = Duration::from_secs(10);
// While the process has no descriptors left, or the system no memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A [`DevChain`] that answers JSON-RPC over HTTP on loopback, until it is dropped.
///
/// ```no_run
/// # async fn serve() -> std::io::Result<()> {
/// use peaberry_chain::dev::{DevChain, DevOptions, DevServer};
///
/// let server = DevServer::start(DevChain::new(DevOptions::default()), 8545).await?;
/// println!("cast block-number --rpc-url {}", server.url());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DevServer {
    address: SocketAddr,
    chain: DevChain,
    tasks: Vec<JoinHandle<()>>,
}

impl DevServer {
    /// Listens on loopback; on a free port where `port` is zero. Blocks come by the machine's clock once
    /// `evm_setIntervalMining` asks for that. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// The port is taken.
    pub async fn start(chain: DevChain, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let interval = chain.mine_by_interval(Arc::new(RuntimeClock::new()));
        let tasks = vec![
            tokio::spawn(interval),
            tokio::spawn(accept(listener, chain.clone(), SENT_WITHIN)),
        ];
        Ok(Self {
            address,
            chain,
            tasks,
        })
    }

    /// Also makes a block of what waits every `interval`, at the time of `clock`; see [`DevChain::mine_every`].
    #[must_use]
    pub fn with_interval(mut self, clock: Arc<dyn Clock>, interval: Duration) -> Self {
        let mining = self.chain.mine_every(clock, interval);
        self.tasks.push(tokio::spawn(mining));
        self
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens for WebSockets: on these it also tells of new blocks (`eth_subscribe`, `newHeads`).
    #[cfg(feature = "dev-ws")]
    #[must_use]
    pub fn ws_url(&self) -> String {
        format!("ws://{}", self.address)
    }
}

impl Drop for DevServer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn accept(listener: TcpListener, chain: DevChain, sent_within: Duration) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Connections end with the server.
    let mut open = tokio::task::JoinSet::new();
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else {
            return;
        };
        // A connection that was gone before it was accepted is no reason to stop, and neither is one that cannot be taken now.
        let Ok((stream, _)) = listener.accept().await else {
            TokioTimer::new().sleep(ACCEPT_PAUSE).await;
            continue;
        };
        while open.try_join_next().is_some() {}
        let chain = chain.clone();
        open.spawn(async move {
            #[cfg(feature = "dev-ws")]
            let upgrade = socket::Upgrade::new(chain.clone());
            #[cfg(feature = "dev-ws")]
            let answer = service_fn(|mut request| {
                let switching = upgrade.answer(&mut request);
                let chain = chain.clone();
                async move {
                    match switching {
                        Some(response) => Ok(response),
                        None => answer(chain, request, sent_within).await,
                    }
                }
            });
            #[cfg(not(feature = "dev-ws"))]
            let answer = service_fn(|request| answer(chain.clone(), request, sent_within));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(sent_within)
                .serve_connection(TokioIo::new(stream), answer)
                .with_upgrades();
            // A client that breaks off has nobody to be told.
            drop(connection.await);
            #[cfg(feature = "dev-ws")]
            upgrade.serve().await;
            drop(permit);
        });
    }
}

async fn answer(
    chain: DevChain,
    request: Request<Incoming>,
    sent_within: Duration,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    // A browser asks before it posts JSON.
    if request.method() == Method::OPTIONS {
        return Ok(plain(StatusCode::NO_CONTENT));
    }
    if request.method() != Method::POST {
        return Ok(plain(StatusCode::METHOD_NOT_ALLOWED));
    }
    let body = Limited::new(request.into_body(), REQUEST_BYTES_MAX).collect();
    let body = match tokio::time::timeout(sent_within, body).await {
        Ok(Ok(body)) => body,
        Ok(Err(_too_large)) => return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE)),
        Err(_late) => return Ok(plain(StatusCode::REQUEST_TIMEOUT)),
    };
    let mut response = Response::new(Full::new(chain.answer(&body.to_bytes()).into()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(open_to_pages(response))
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    open_to_pages(response)
}

/// Lets pages of any origin ask, as other development nodes do: wallets in browsers are such.
fn open_to_pages(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "*"),
    ] {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;
    use crate::dev::DevOptions;

    /// Who announces a body and does not send it holds no connection for ever.
    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let chain = DevChain::new(DevOptions::default());
        let server = tokio::spawn(accept(listener, chain, Duration::from_millis(50)));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = b"POST / HTTP/1.1\r\nHost: chain\r\nContent-Length: 9\r\n\r\n{";
        stream.write_all(head).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 408");
        server.abort();
    }
}
