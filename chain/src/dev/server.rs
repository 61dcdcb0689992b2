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
// Whoever sends headers more slowly than this is cut off.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);

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
            tokio::spawn(accept(listener, chain)),
        ];
        Ok(Self { address, tasks })
    }

    /// Also makes a block of what waits every `interval`, at the time of `clock`; see [`DevChain::mine_every`].
    #[must_use]
    pub fn with_interval(
        mut self,
        chain: DevChain,
        clock: Arc<dyn Clock>,
        interval: Duration,
    ) -> Self {
        self.tasks
            .push(tokio::spawn(chain.mine_every(clock, interval)));
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

async fn accept(listener: TcpListener, chain: DevChain) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Connections end with the server.
    let mut open = tokio::task::JoinSet::new();
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else {
            return;
        };
        // A connection that was gone before it was accepted is no reason to stop.
        let Ok((stream, _)) = listener.accept().await else {
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
                        None => answer(chain, request).await,
                    }
                }
            });
            #[cfg(not(feature = "dev-ws"))]
            let answer = service_fn(|request| answer(chain.clone(), request));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS_WITHIN)
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
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    // A browser asks before it posts JSON.
    if request.method() == Method::OPTIONS {
        return Ok(plain(StatusCode::NO_CONTENT));
    }
    if request.method() != Method::POST {
        return Ok(plain(StatusCode::METHOD_NOT_ALLOWED));
    }
    let Ok(body) = Limited::new(request.into_body(), REQUEST_BYTES_MAX)
        .collect()
        .await
    else {
        return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE));
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
