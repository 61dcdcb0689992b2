//! The chain over a WebSocket: JSON-RPC, and news of blocks to those who subscribe.

use std::collections::VecDeque;

use alloy_primitives::{B256, U64};
use bytes::Bytes;
use futures_channel::mpsc;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::super::DevChain;
use super::super::json_rpc::{REQUEST_BYTES_MAX, shapes};

// Of one connection.
const SUBSCRIPTIONS_MAX: usize = 16;
// So deep a reorganisation is told from its fork on; of a deeper one the blocks above its depth.
const TOLD_MAX: usize = 256;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// What becomes of a connection whose client wants to go on by WebSocket.
pub(super) struct Upgrade {
    chain: DevChain,
    under_way: Mutex<Option<OnUpgrade>>,
}

impl Upgrade {
    pub(super) const fn new(chain: DevChain) -> Self {
        Self {
            chain,
            under_way: Mutex::new(None),
        }
    }

    /// Says yes to a request for a WebSocket; has nothing to say to any other.
    pub(super) fn answer(&self, request: &mut Request<Incoming>) -> Option<Response<Full<Bytes>>> {
        let accept = accept_key(request)?;
        *self.under_way.lock() = Some(hyper::upgrade::on(request));
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        Some(response)
    }

    /// Serves the socket until its client goes, once the answer is out; nothing where nobody has asked for one.
    pub(super) async fn serve(self) {
        let Some(under_way) = self.under_way.into_inner() else {
            return;
        };
        let Ok(upgraded) = under_way.await else {
            return;
        };
        let bytes_max = Some(REQUEST_BYTES_MAX);
        let config = WebSocketConfig::default()
            .read_buffer_size(8 << 10)
            .max_message_size(bytes_max)
            .max_frame_size(bytes_max);
        let stream = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
        // A client that breaks off has nobody to be told.
        drop(Served::new(self.chain).serve(socket).await);
    }
}

/// What is answered to the client's key, if the request asks for a WebSocket (RFC 6455, 4.2).
fn accept_key(request: &Request<Incoming>) -> Option<HeaderValue> {
    let says = |name: HeaderName, word: &str| {
        let value = request.headers().get(name)?.to_str().ok()?;
        let mut words = value.split(',').map(str::trim);
        words
            .any(|one| one.eq_ignore_ascii_case(word))
            .then_some(())
    };
    says(UPGRADE, "websocket")?;
    says(CONNECTION, "upgrade")?;
    let key = request.headers().get(SEC_WEBSOCKET_KEY)?;
    HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok()
}

/// What one client was told.
struct Served {
    chain: DevChain,
    signals: mpsc::Receiver<()>,
    subscriptions: Vec<U64>,
    next_subscription: u64,
    /// The newest blocks that the client knows, oldest first.
    told: VecDeque<(u64, B256)>,
}

impl Served {
    fn new(chain: DevChain) -> Self {
        let signals = chain.ledger().watch();
        let head = chain.head();
        Self {
            chain,
            signals,
            subscriptions: Vec::new(),
            next_subscription: 1,
            told: VecDeque::from([(head.number, head.hash)]),
        }
    }

    async fn serve(mut self, mut socket: Socket) -> Result<(), Error> {
        loop {
            tokio::select! {
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        let answer = self.answer(text.as_bytes());
                        if !answer.is_empty() {
                            socket.send(Message::text(answer)).await?;
                        }
                    }
                    // Pings are answered by the socket itself.
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    _ => return Ok(()),
                },
                signal = self.signals.next() => match signal {
                    Some(()) => {
                        for notification in self.notifications() {
                            socket.send(Message::text(notification)).await?;
                        }
                    }
                    None => return Ok(()),
                },
            }
        }
    }

    fn answer(&mut self, request: &[u8]) -> String {
        let parsed: Value = serde_json::from_slice(request).unwrap_or_default();
        let method = parsed.get("method").and_then(Value::as_str);
        let first = parsed.pointer("/params/0").and_then(Value::as_str);
        let answered = match method {
            Some("eth_subscribe") => self.subscribe(first),
            Some("eth_unsubscribe") => Ok(json!(self.unsubscribe(first))),
            _ => {
                let answer = self.chain.answer(request);
                return String::from_utf8(answer).unwrap_or_default();
            }
        };
        let id = parsed.get("id").cloned().unwrap_or_default();
        match answered {
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string(),
            Err(words) => {
                let error = json!({"code": -32602, "message": words});
                json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string()
            }
        }
    }

    fn subscribe(&mut self, kind: Option<&str>) -> Result<Value, &'static str> {
        if kind != Some("newHeads") {
            return Err("only newHeads can be subscribed to");
        }
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return Err("too many subscriptions");
        }
        let number = U64::from(self.next_subscription);
        self.next_subscription += 1;
        self.subscriptions.push(number);
        Ok(json!(number))
    }

    fn unsubscribe(&mut self, number: Option<&str>) -> bool {
        let before = self.subscriptions.len();
        let number: Option<U64> = number.and_then(|text| text.parse().ok());
        self.subscriptions.retain(|held| Some(*held) != number);
        self.subscriptions.len() < before
    }

    /// A message for each block since the last that was told, and each subscription. Blocks that took the place of
    /// others are told again from where the chain forked.
    fn notifications(&mut self) -> Vec<String> {
        let ledger = self.chain.ledger();
        let is_there = |(number, hash): &(u64, B256)| {
            ledger
                .numbered(*number)
                .is_some_and(|block| block.hash == *hash)
        };
        let mut next = 0;
        while let Some(newest) = self.told.back() {
            next = newest.0;
            if is_there(newest) {
                next += 1;
                break;
            }
            self.told.pop_back();
        }
        let mut notifications = Vec::new();
        for block in (next..=ledger.height()).filter_map(|number| ledger.numbered(number)) {
            self.told.push_back((block.header.number, block.hash));
            if self.told.len() > TOLD_MAX {
                self.told.pop_front();
            }
            let header = shapes::header(block);
            notifications.extend(self.subscriptions.iter().map(|number| {
                let params = json!({"subscription": number, "result": header});
                json!({"jsonrpc": "2.0", "method": "eth_subscription", "params": params})
                    .to_string()
            }));
        }
        notifications
    }
}
