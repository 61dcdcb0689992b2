//! One WebSocket on which a node tells of new blocks.

use std::fmt;
use std::sync::Arc;

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, Uri};
use peaberry_core::{Clock, Instant};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::NewHeadsOptions;
use crate::deadline::within;
use crate::evm::revert::cut;
use crate::http::split_credentials;
use crate::{ChainError, Sent};

const DOING: &str = "eth_subscribe";
const SUBSCRIBE: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}"#;
/// Messages that are taken as one.
const AT_ONCE_MAX: usize = 1024;

/// Where news come from.
#[derive(Clone, Debug)]
pub(super) struct Target {
    uri: Uri,
    headers: HeaderMap,
    is_secure: bool,
    #[cfg(feature = "https")]
    roots: crate::TlsRoots,
}

impl Target {
    pub(super) fn new(url: &str) -> Result<Self, ChainError> {
        let invalid = |reason| ChainError::InvalidUrl { reason };
        let (url, headers) = split_credentials(url)?;
        let uri: Uri = url
            .parse()
            .map_err(|_not_a_uri| invalid("it does not parse"))?;
        let is_secure = uri.scheme_str() == Some("wss");
        let is_known = uri.scheme_str() == Some("ws") || (cfg!(feature = "https") && is_secure);
        if !is_known || uri.host().is_none_or(str::is_empty) {
            return Err(invalid(
                "it does not begin with ws:// or (feature https) wss:// and a host",
            ));
        }
        Ok(Self {
            uri,
            headers,
            is_secure,
            #[cfg(feature = "https")]
            roots: crate::TlsRoots::mozilla(),
        })
    }

    #[cfg(feature = "https")]
    pub(super) fn with_roots(self, roots: &crate::TlsRoots) -> Self {
        Self {
            roots: roots.clone(),
            ..self
        }
    }

    fn host(&self) -> &str {
        let host = self.uri.host().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']')
    }

    fn port(&self) -> u16 {
        let usual = if self.is_secure { 443 } else { 80 };
        self.uri.port_u16().unwrap_or(usual)
    }

    async fn connect(&self) -> Result<Box<dyn Wire>, ChainError> {
        let stream = TcpStream::connect((self.host(), self.port())).await;
        let stream = stream.map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        if self.is_secure {
            return self.secure(stream).await;
        }
        Ok(Box::new(stream))
    }

    #[cfg(feature = "https")]
    async fn secure(&self, stream: TcpStream) -> Result<Box<dyn Wire>, ChainError> {
        let name = rustls::pki_types::ServerName::try_from(self.host().to_owned());
        let connector = tokio_rustls::TlsConnector::from(Arc::new(self.roots.config()));
        let stream = connector
            .connect(name.map_err(broken)?, stream)
            .await
            .map_err(broken)?;
        Ok(Box::new(stream))
    }

    #[cfg(not(feature = "https"))]
    async fn secure(&self, _stream: TcpStream) -> Result<Box<dyn Wire>, ChainError> {
        Err(ChainError::InvalidUrl {
            reason: "wss:// needs the feature https",
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "wss" } else { "ws" };
        write!(f, "{scheme}://{}", self.host())
    }
}

pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

pub(super) struct Connection {
    socket: WebSocketStream<Box<dyn Wire>>,
    subscription: String,
}

/// As much of a message as matters.
#[derive(Deserialize)]
struct Told {
    id: Option<u64>,
    result: Option<String>,
    error: Option<ToldError>,
    method: Option<String>,
    params: Option<ToldParams>,
}

#[derive(Deserialize)]
struct ToldError {
    code: i64,
    message: String,
}

#[derive(Deserialize)]
struct ToldParams {
    subscription: String,
}

impl Connection {
    /// Connects and subscribes.
    pub(super) async fn open(
        target: &Target,
        options: &NewHeadsOptions,
        clock: &dyn Clock,
    ) -> Result<Self, ChainError> {
        let opening = Self::open_for_ever(target, options);
        let opened = within(clock, options.connect_within, opening).await;
        opened.unwrap_or(Err(ChainError::TimedOut {
            doing: DOING,
            after: options.connect_within,
            sent: Sent::No,
        }))
    }

    async fn open_for_ever(target: &Target, options: &NewHeadsOptions) -> Result<Self, ChainError> {
        let stream = target.connect().await?;
        let failed = |error| explain(error, options);
        let mut request = target.uri.clone().into_client_request().map_err(failed)?;
        if let Some(value) = target.headers.get(AUTHORIZATION) {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        let connecting = client_async_with_config(request, stream, Some(bounds(options))).await;
        let (socket, _) = connecting.map_err(failed)?;
        Self::subscribe(socket, options).await
    }

    /// Subscribes on a socket that is open.
    pub(super) async fn subscribe(
        mut socket: WebSocketStream<Box<dyn Wire>>,
        options: &NewHeadsOptions,
    ) -> Result<Self, ChainError> {
        let failed = |error| explain(error, options);
        let ask = Message::Text(Utf8Bytes::from_static(SUBSCRIBE));
        socket.send(ask).await.map_err(failed)?;
        loop {
            let text = match socket.next().await {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(_))) | None => return Err(closed()),
                Some(Ok(_)) => continue,
                Some(Err(error)) => return Err(failed(error)),
            };
            let told = read(&text)?;
            if told.id != Some(1) {
                continue;
            }
            return match (told.result, told.error) {
                (Some(subscription), _) => Ok(Self {
                    socket,
                    subscription,
                }),
                (None, Some(error)) => Err(ChainError::Refused {
                    doing: DOING,
                    code: error.code,
                    message: cut(&error.message),
                    sent: Sent::No,
                }),
                (None, None) => Err(malformed("neither a result nor an error")),
            };
        }
    }

    /// Waits for news of a block, and takes all that lie there already as one.
    pub(super) async fn news(
        &mut self,
        options: &NewHeadsOptions,
        clock: &dyn Clock,
    ) -> Result<(), ChainError> {
        while !self.hears_news(options, clock).await? {}
        // What else has come says no more than this.
        for _ in 0..AT_ONCE_MAX {
            let Some(next) = self.socket.next().now_or_never() else {
                break;
            };
            self.is_news(next, options)?;
        }
        Ok(())
    }

    /// Waits for a message and says whether it was news of a block.
    async fn hears_news(
        &mut self,
        options: &NewHeadsOptions,
        clock: &dyn Clock,
    ) -> Result<bool, ChainError> {
        let half = options.silence_max / 2;
        let heard = self.hear(clock, clock.now() + half).await;
        let heard = match heard {
            Some(heard) => Some(heard),
            None => {
                let ping = self.socket.send(Message::Ping(Default::default()));
                let sent = within(clock, half, ping).await;
                sent.ok_or_else(|| silent(options))?
                    .map_err(|error| explain(error, options))?;
                self.hear(clock, clock.now() + half).await
            }
        };
        match heard {
            Some(heard) => self.is_news(heard, options),
            None => Err(silent(options)),
        }
    }

    async fn hear(
        &mut self,
        clock: &dyn Clock,
        until: Instant,
    ) -> Option<Option<Result<Message, Error>>> {
        let patience = until.since(clock.now());
        within(clock, patience, self.socket.next()).await
    }

    fn is_news(
        &self,
        heard: Option<Result<Message, Error>>,
        options: &NewHeadsOptions,
    ) -> Result<bool, ChainError> {
        let text = match heard {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Close(_))) | None => return Err(closed()),
            Some(Ok(_)) => return Ok(false),
            Some(Err(error)) => return Err(explain(error, options)),
        };
        let told = read(&text)?;
        let is_ours = told
            .params
            .is_some_and(|params| params.subscription == self.subscription);
        Ok(is_ours && told.method.as_deref() == Some("eth_subscription"))
    }
}

/// What a node may take of us on one socket.
pub(super) fn bounds(options: &NewHeadsOptions) -> WebSocketConfig {
    let bytes_max = Some(options.message_bytes_max);
    WebSocketConfig::default()
        .read_buffer_size(4 << 10)
        .max_message_size(bytes_max)
        .max_frame_size(bytes_max)
}

fn read(text: &str) -> Result<Told, ChainError> {
    serde_json::from_str(text).map_err(|error| malformed(&error.to_string()))
}

fn malformed(reason: &str) -> ChainError {
    ChainError::Malformed {
        doing: DOING,
        reason: cut(reason),
        sent: Sent::No,
    }
}

fn silent(options: &NewHeadsOptions) -> ChainError {
    ChainError::TimedOut {
        doing: DOING,
        after: options.silence_max,
        sent: Sent::No,
    }
}

fn closed() -> ChainError {
    broken(Error::ConnectionClosed)
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> ChainError {
    ChainError::Connection {
        doing: DOING,
        sent: Sent::No,
        source: Arc::new(error),
    }
}

fn explain(error: Error, options: &NewHeadsOptions) -> ChainError {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => ChainError::TooLarge {
            doing: DOING,
            bytes_max: options.message_bytes_max,
            sent: Sent::No,
        },
        Error::Http(response) if response.status().as_u16() == 429 => ChainError::RateLimited {
            retry_after: options.retry_delay_max,
        },
        error => broken(error),
    }
}
