//! Batches of messages POSTed to a collector, whose answer brings acknowledgements and commands back: for networks that let
//! nothing else through.
//!
//! A body is an [`Exchange`] in CBOR, both ways. An answer of 200 says that what was taken of the batch is durable, so the
//! batch is [accepted](UplinkEvent::Accepted); what the answer carries comes as [inbound](UplinkEvent::Inbound),
//! acknowledgements of the [sink](crate::spool::AckLevel::Sink) among it: keep records until then, since a collector that
//! has no room accepts and does not acknowledge. On the other side,
//! [`Collector::exchange`](crate::collector::Collector::exchange) makes the answer for whatever HTTP server hosts it.
//!
//! - One batch is on its way at a time. A batch whose answer does not come, or is no answer, goes again from the spool: the
//!   collector knows each record by (device, boot epoch, sequence), so nothing is lost and nothing is kept twice.
//! - The link is up from the first answer on, and down from the first failure. Between attempts it waits ever longer, with
//!   jitter from a seed that differs from device to device.
//! - An answer over [`MESSAGE_BYTES_MAX`] is not read to its end; one that takes longer than the
//!   [time-out](HttpSettings::time_out) is not waited for.
//! - While what has come in is not looked at, and is much, nothing more is asked for.
//! - Where nothing is to be sent it asks now and then, with an empty batch, whether there is something for it.
//! - HTTP/1.1 without TLS: put a proxy before it.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::memory::router::is_match;
use super::{AckToken, HELD_BYTES_MAX, Message, SubmitError, Uplink, UplinkEvent};
use crate::error::EdgeError;
use crate::payload::{EXCHANGE_MESSAGES_MAX, EXCHANGE_OVERHEAD, Exchange, MESSAGE_BYTES_MAX, Wire};

/// How an [`HttpUplink`] reaches its collector.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// Where batches are POSTed to: `http://host:port/path`.
    pub url: String,
    /// Sent as a bearer token, if there is one.
    pub token: Option<String>,
    /// So many messages may wait or be on their way; at least 1.
    pub window: usize,
    /// How long an answer may take.
    pub time_out: Duration,
    /// How often an idle uplink asks whether there is something for it.
    pub poll_every: Duration,
    /// The first wait after a failure; it doubles each time.
    pub backoff_min: Duration,
    /// The longest.
    pub backoff_max: Duration,
    /// Where jitter comes from. Give each client another, such as its number.
    pub seed: u64,
}

impl HttpSettings {
    /// A window of 1024, answers within 10 s, a question every 30 s, waits from 100 ms to 30 s.
    #[must_use]
    pub fn new(url: &str, seed: u64) -> Self {
        Self {
            url: url.to_owned(),
            token: None,
            window: 1_024,
            time_out: Duration::from_secs(10),
            poll_every: Duration::from_secs(30),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(30),
            seed,
        }
    }
}

impl fmt::Debug for HttpSettings {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSettings")
            .field("url", &self.url)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

/// An uplink over HTTP. It lives on the tokio runtime it was made on, as one task, and ends when it is dropped. See
/// [the module](self).
pub struct HttpUplink {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl HttpUplink {
    /// Begins to talk to a collector, and goes on whenever that fails.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Malformed`] for a URL that is none of plain HTTP.
    pub fn spawn(runtime: &Handle, settings: HttpSettings) -> Result<Self, EdgeError> {
        let refuse = |reason: String| EdgeError::malformed("URL of a collector", reason);
        let url: Uri = settings
            .url
            .parse()
            .map_err(|error: hyper::http::uri::InvalidUri| refuse(error.to_string()))?;
        if url.scheme_str() != Some("http") || url.host().is_none() {
            let reason = format!("{url} does not begin with http:// and a host");
            return Err(refuse(reason));
        }
        let shared = Arc::new(Shared {
            window: settings.window.max(1),
            state: Mutex::default(),
            has_work: Notify::new(),
            has_looked: Notify::new(),
        });
        let client = Client::builder(TokioExecutor::new()).build_http();
        let talk = Talk {
            shared: shared.clone(),
            client,
            url,
            settings,
        };
        let task = runtime.spawn(talk.run());
        Ok(Self { shared, task })
    }

    /// Why the link is down; `None` while it is up, and until the first attempt has failed.
    #[must_use]
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.shared.state.lock().trouble.clone()
    }
}

impl Drop for HttpUplink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for HttpUplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpUplink").finish_non_exhaustive()
    }
}

/// What the uplink and its task share.
struct Shared {
    window: usize,
    state: Mutex<State>,
    has_work: Notify,
    /// Somebody has taken what came in.
    has_looked: Notify,
}

#[derive(Default)]
struct State {
    is_up: bool,
    has_been_up: bool,
    wanted: BTreeSet<Box<str>>,
    waiting: VecDeque<(u64, Message)>,
    /// How many are on their way.
    sent: usize,
    events: Vec<UplinkEvent>,
    /// Of the messages among them.
    events_bytes: usize,
    waker: Option<Waker>,
    trouble: Option<Arc<str>>,
}

impl State {
    fn push(&mut self, event: UplinkEvent) {
        self.events_bytes += event.bytes();
        self.events.push(event);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn up(&mut self) {
        self.is_up = true;
        self.trouble = None;
        let is_resumed = std::mem::replace(&mut self.has_been_up, true);
        self.push(UplinkEvent::Up { is_resumed });
    }

    /// Whether it had been up.
    fn down(&mut self, reason: Arc<str>) -> bool {
        let was_up = std::mem::take(&mut self.is_up);
        self.waiting.clear();
        self.sent = 0;
        self.trouble = Some(reason.clone());
        if was_up {
            self.push(UplinkEvent::Down { reason });
        }
        was_up
    }

    /// As many of those that wait as fit into one body.
    fn take_batch(&mut self) -> (Vec<u64>, Exchange) {
        let (mut seqs, mut batch, mut bytes) = (Vec::new(), Exchange::default(), EXCHANGE_OVERHEAD);
        while let Some((_, message)) = self.waiting.front()
            && seqs.len() < EXCHANGE_MESSAGES_MAX
        {
            bytes += message.topic.len() + message.payload.len() + EXCHANGE_OVERHEAD;
            if bytes > MESSAGE_BYTES_MAX && !seqs.is_empty() {
                break;
            }
            if let Some((seq, message)) = self.waiting.pop_front() {
                seqs.push(seq);
                batch.messages.push((message.topic, message.payload));
            }
        }
        self.sent = seqs.len();
        (seqs, batch)
    }

    /// Whether so much has come in that is not looked at that no more is asked for.
    fn is_full(&self, window: usize) -> bool {
        self.events.len() >= window + EXCHANGE_MESSAGES_MAX || self.events_bytes >= HELD_BYTES_MAX
    }

    fn inbound(&mut self, answer: Exchange) {
        for (topic, payload) in answer.messages {
            if self.wanted.iter().any(|filter| is_match(filter, &topic)) {
                let message = Message::new(topic, payload);
                self.push(UplinkEvent::Inbound {
                    message,
                    token: None,
                });
            }
        }
    }
}

struct Talk {
    shared: Arc<Shared>,
    client: Client<HttpConnector, Full<Bytes>>,
    url: Uri,
    settings: HttpSettings,
}

/// Why there is no answer.
enum Failed {
    /// The batch is not taken, and would not be another time.
    Refused(String),
    /// Whether the batch was taken is unknown.
    Unknown(String),
}

impl Talk {
    async fn run(self) {
        let HttpSettings {
            seed,
            backoff_min,
            backoff_max,
            ..
        } = self.settings;
        let mut backoff = Backoff::new(seed, backoff_min, backoff_max);
        loop {
            let begun = Instant::now();
            let reason = self.talk().await;
            let was_up = self.shared.state.lock().down(reason.into());
            backoff.wait(was_up, begun.elapsed()).await;
        }
    }

    /// From the first answer to the reason why there is none.
    async fn talk(&self) -> String {
        match self.post(&Exchange::default()).await {
            Ok(answer) => {
                let mut state = self.shared.state.lock();
                state.up();
                state.inbound(answer);
            }
            Err(Failed::Refused(reason) | Failed::Unknown(reason)) => return reason,
        }
        loop {
            self.be_heard().await;
            let work = self.shared.has_work.notified();
            let (seqs, batch) = self.shared.state.lock().take_batch();
            if seqs.is_empty()
                && tokio::time::timeout(self.settings.poll_every, work)
                    .await
                    .is_ok()
            {
                continue;
            }
            let outcome = self.post(&batch).await;
            let mut state = self.shared.state.lock();
            state.sent = 0;
            match outcome {
                Ok(answer) => {
                    for seq in seqs {
                        state.push(UplinkEvent::Accepted(seq));
                    }
                    state.inbound(answer);
                }
                Err(Failed::Refused(reason)) => {
                    let reason: Arc<str> = reason.into();
                    for seq in seqs {
                        let reason = reason.clone();
                        state.push(UplinkEvent::Refused { seq, reason });
                    }
                }
                Err(Failed::Unknown(reason)) => return reason,
            }
        }
    }

    /// Until somebody has looked at what came in, where that is much.
    async fn be_heard(&self) {
        loop {
            let looked = self.shared.has_looked.notified();
            if !self.shared.state.lock().is_full(self.shared.window) {
                return;
            }
            looked.await;
        }
    }

    async fn post(&self, batch: &Exchange) -> Result<Exchange, Failed> {
        match tokio::time::timeout(self.settings.time_out, self.ask(batch)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(Failed::Unknown(format!(
                "{} did not answer within {:?}",
                self.url, self.settings.time_out
            ))),
        }
    }

    async fn ask(&self, batch: &Exchange) -> Result<Exchange, Failed> {
        let unknown = |error: &dyn fmt::Display| Failed::Unknown(format!("{}: {error}", self.url));
        let mut request = Request::post(self.url.clone()).header(CONTENT_TYPE, "application/cbor");
        if let Some(token) = &self.settings.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .body(Full::new(Bytes::from(batch.encode())))
            .map_err(|error| unknown(&error))?;
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| unknown(&error))?;
        match answer.status() {
            StatusCode::OK => {}
            status @ (StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY) => {
                return Err(Failed::Refused(format!("the collector says {status}")));
            }
            status => return Err(unknown(&format!("it says {status}"))),
        }
        let body = Limited::new(answer.into_body(), MESSAGE_BYTES_MAX);
        let body = body.collect().await.map_err(|error| unknown(&error))?;
        Exchange::decode(&body.to_bytes()).map_err(|error| unknown(&error))
    }
}

impl Uplink for HttpUplink {
    fn subscribe(&mut self, filter: &str) {
        self.shared.state.lock().wanted.insert(filter.into());
    }

    fn room(&self) -> usize {
        let state = self.shared.state.lock();
        if !state.is_up {
            return 0;
        }
        let taken = state.waiting.len() + state.sent;
        self.shared.window.saturating_sub(taken)
    }

    fn submit(&mut self, seq: u64, message: Message) -> Result<(), SubmitError> {
        let bytes = message.topic.len() + message.payload.len();
        let bytes_max = MESSAGE_BYTES_MAX - 2 * EXCHANGE_OVERHEAD;
        if bytes > bytes_max {
            return Err(SubmitError::TooLong { bytes, bytes_max });
        }
        let mut state = self.shared.state.lock();
        if !state.is_up {
            return Err(SubmitError::Down);
        }
        if state.waiting.len() + state.sent >= self.shared.window {
            return Err(SubmitError::Busy);
        }
        state.waiting.push_back((seq, message));
        self.shared.has_work.notify_one();
        Ok(())
    }

    /// There are no tokens: what an answer brings is gone from the collector.
    fn acknowledge(&mut self, _: AckToken) {}

    fn poll_events(&mut self, cx: &mut Context<'_>, events: &mut Vec<UplinkEvent>) -> Poll<()> {
        let mut state = self.shared.state.lock();
        if state.events.is_empty() {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        events.append(&mut state.events);
        state.events_bytes = 0;
        self.shared.has_looked.notify_one();
        Poll::Ready(())
    }
}
