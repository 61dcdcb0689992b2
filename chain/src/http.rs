//! One POST over HTTP, with bounds on time, size and rate.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::rt::Timer as _;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use peaberry_core::{Clock, Instant, Sleep, SystemClock, Timestamp};

use crate::batching::Batching;
use crate::{ChainError, RpcTransport, TransportFailure};

#[cfg(feature = "https")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "https"))]
type Connector = HttpConnector;

// What a node may ask us to wait; and what we wait when it does not say.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
pub(crate) const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// Bounds on what an RPC endpoint may take of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpOptions {
    /// How long a connection may take. 5 s by default.
    pub connect_within: Duration,
    /// The largest answer that is read. 16 MiB by default.
    pub answer_bytes_max: usize,
    /// How many idle connections are kept. 64 by default.
    pub idle_connections_max: usize,
    /// The most requests that go as one JSON-RPC batch. 1 by default: each goes by itself, as not every provider takes batches,
    /// and none takes them of any size.
    ///
    /// With more, what is asked at the same time goes together, without waiting for anything else: questions that are answered
    /// shortly in one batch, signed EVM transactions in another. Calls, estimates, logs, Solana's requests and whatever else
    /// may take its time go by themselves. Questions to which a batch brings no result are asked again one by one, unless the
    /// node cannot be reached or wants to be left alone; transactions are where the node says that it has looked at none, and
    /// otherwise may have been sent. Batches get smaller after one that went wrong, down to none, and larger when much has
    /// gone well.
    ///
    /// ```
    /// use peaberry_chain::evm::JsonRpc;
    /// use peaberry_chain::{HttpEndpoint, HttpOptions};
    ///
    /// let options = HttpOptions { batch_requests_max: 16, ..HttpOptions::default() };
    /// let rpc = JsonRpc::endpoint(HttpEndpoint::new("http://localhost:8545", options)?);
    /// # Ok::<(), peaberry_chain::ChainError>(())
    /// ```
    pub batch_requests_max: usize,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connect_within: Duration::from_secs(5),
            answer_bytes_max: 16 << 20,
            idle_connections_max: 64,
            batch_requests_max: 1,
        }
    }
}

/// An HTTP endpoint that takes JSON by POST. Cheap to clone; clones share connections.
///
/// Honours `Retry-After`: while the endpoint wants to be left alone nothing is sent to it. Needs a tokio runtime.
#[derive(Clone)]
pub struct HttpEndpoint {
    inner: Arc<Inner>,
    batching: Option<Batching>,
}

struct Inner {
    uri: Uri,
    headers: HeaderMap,
    client: Client<Connector, Full<Bytes>>,
    options: HttpOptions,
    clock: Arc<dyn Clock>,
    not_before: Mutex<Instant>,
}

impl HttpEndpoint {
    /// The endpoint at `url`: `http://…`, and with feature `https` also `https://…`. Does not connect yet.
    ///
    /// User and password in the URL become an `Authorization` header; signs in them that mean something to a URL are written
    /// as its `%40` for `@`.
    ///
    /// # Errors
    ///
    /// [`ChainError::InvalidUrl`]: not such a URL.
    pub fn new(url: &str, options: HttpOptions) -> Result<Self, ChainError> {
        #[cfg(feature = "https")]
        {
            Self::with_roots(url, options, &crate::TlsRoots::mozilla())
        }
        #[cfg(not(feature = "https"))]
        {
            Self::over(url, options, connector(&options))
        }
    }

    /// The same, believing only servers whose certificates come from `roots`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    #[cfg(feature = "https")]
    pub fn with_roots(
        url: &str,
        options: HttpOptions,
        roots: &crate::TlsRoots,
    ) -> Result<Self, ChainError> {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(roots.config())
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector(&options));
        Self::over(url, options, connector)
    }

    fn over(url: &str, options: HttpOptions, connector: Connector) -> Result<Self, ChainError> {
        let invalid = |reason| ChainError::InvalidUrl { reason };
        let (url, headers) = split_credentials(url)?;
        let uri: Uri = url
            .parse()
            .map_err(|_not_a_uri| invalid("it does not parse"))?;
        let scheme = uri.scheme_str();
        let is_known =
            scheme == Some("http") || (cfg!(feature = "https") && scheme == Some("https"));
        if !is_known || uri.authority().is_none() {
            return Err(invalid(
                "it does not begin with http:// or (feature https) https:// and a host",
            ));
        }
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_max_idle_per_host(options.idle_connections_max)
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60));
        let inner = Inner {
            uri,
            headers,
            client: builder.build(connector),
            options,
            clock: Arc::new(SystemClock::new()),
            not_before: Mutex::new(Instant::default()),
        };
        let inner = Arc::new(inner);
        let requests_max = options.batch_requests_max;
        let batching = (requests_max > 1).then(|| Batching::new(inner.clone(), requests_max));
        Ok(Self { inner, batching })
    }
}

impl Inner {
    /// Sends `body` once and reads the answer, within bounds.
    async fn post(&self, body: Bytes) -> Result<Bytes, TransportFailure> {
        self.expect_welcome()?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let response = self.client.request(request).await;
        let response = response.map_err(|error| {
            if error.is_connect() {
                TransportFailure::Connect(Arc::new(error))
            } else {
                TransportFailure::Broken(Arc::new(error))
            }
        })?;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(self.back_off(response.headers()));
        }
        let answer = self.read(response.into_body()).await?;
        if status.is_success() {
            return Ok(answer);
        }
        Err(TransportFailure::Status {
            status: status.as_u16(),
            body: answer.into(),
        })
    }

    async fn read(&self, mut body: hyper::body::Incoming) -> Result<Bytes, TransportFailure> {
        let bytes_max = self.options.answer_bytes_max;
        let mut first: Option<Bytes> = None;
        let mut all = Vec::new();
        let mut length = 0_usize;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| TransportFailure::Broken(Arc::new(error)))?;
            let Ok(chunk) = frame.into_data() else {
                continue;
            };
            length = length.saturating_add(chunk.len());
            if length > bytes_max {
                return Err(TransportFailure::TooLarge(bytes_max));
            }
            match first.take() {
                None if all.is_empty() => first = Some(chunk),
                Some(head) => {
                    all.extend_from_slice(&head);
                    all.extend_from_slice(&chunk);
                }
                None => all.extend_from_slice(&chunk),
            }
        }
        Ok(first.unwrap_or_else(|| all.into()))
    }

    fn expect_welcome(&self) -> Result<(), TransportFailure> {
        let not_before = *self.not_before.lock();
        match not_before.since(self.clock.now()) {
            Duration::ZERO => Ok(()),
            remaining => Err(TransportFailure::RateLimited(remaining)),
        }
    }

    fn back_off(&self, headers: &HeaderMap) -> TransportFailure {
        let after = headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| read_retry_after(text.trim(), self.clock.timestamp()))
            .unwrap_or(RETRY_AFTER_DEFAULT)
            .min(RETRY_AFTER_MAX);
        let mut not_before = self.not_before.lock();
        *not_before = (*not_before).max(self.clock.now() + after);
        TransportFailure::RateLimited(after)
    }
}

#[async_trait]
impl RpcTransport for HttpEndpoint {
    async fn exchange(
        &self,
        request: alloy_primitives::Bytes,
    ) -> Result<alloy_primitives::Bytes, TransportFailure> {
        match &self.batching {
            // Before it is gathered: what is refused here has not left.
            Some(batching) => {
                self.inner.expect_welcome()?;
                batching.exchange(request).await
            }
            None => self.inner.exchange(request).await,
        }
    }
}

#[async_trait]
impl RpcTransport for Inner {
    async fn exchange(
        &self,
        request: alloy_primitives::Bytes,
    ) -> Result<alloy_primitives::Bytes, TransportFailure> {
        self.post(request.0).await.map(Into::into)
    }
}

/// Seconds, or the time at which to come again (RFC 9110, section 10.2.3). A time that has passed is no wait at all.
fn read_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    let at = at.duration_since(UNIX_EPOCH).ok()?;
    Some(at.saturating_sub(Duration::from_nanos(now.as_unix_nanos())))
}

/// The machine's clock, with the timers of the tokio runtime that the endpoint needs anyway: a timer for each question costs
/// no other thread's waking.
#[derive(Debug)]
pub(crate) struct RuntimeClock(SystemClock);

/// How long a sleep trusts a timer that does not count the time while the machine is suspended.
const SLEEP_STEP_MAX: Duration = Duration::from_secs(1);

impl RuntimeClock {
    pub(crate) fn new() -> Self {
        Self(SystemClock::new())
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn timestamp(&self) -> Timestamp {
        self.0.timestamp()
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        let clock = self.0.clone();
        Sleep::new(async move {
            loop {
                let left = deadline.since(clock.now());
                if left.is_zero() {
                    return;
                }
                TokioTimer::new().sleep(left.min(SLEEP_STEP_MAX)).await;
            }
        })
    }
}

/// Credentials in a URL belong into a header: URLs end up in logs.
pub(crate) fn split_credentials(url: &str) -> Result<(String, HeaderMap), ChainError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let Some((scheme, rest)) = url.split_once("://") else {
        return Ok((url.to_owned(), headers));
    };
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    let Some((credentials, host)) = authority.rsplit_once('@') else {
        return Ok((url.to_owned(), headers));
    };
    let invalid = |reason| ChainError::InvalidUrl { reason };
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let [user, password] = [user, password].map(percent_decoded);
    let (user, password) = user
        .zip(password)
        .ok_or_else(|| invalid("its credentials are not percent-encoded UTF-8"))?;
    let value = alloy_transport::Authorization::basic(&user, &password).to_string();
    let mut value = HeaderValue::try_from(value)
        .map_err(|_not_a_header| invalid("its credentials do not fit a header"))?;
    value.set_sensitive(true);
    headers.insert(hyper::header::AUTHORIZATION, value);
    Ok((format!("{scheme}://{host}{path}"), headers))
}

/// What a part of a URL says (RFC 3986, section 2.1). A `%` without two digits behind it stands for itself.
fn percent_decoded(text: &str) -> Option<String> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let escaped = digit(behind.first()).zip(digit(behind.get(1)));
        match escaped.filter(|_| *first == b'%') {
            Some((high, low)) => {
                decoded.push(u8::try_from(high * 16 + low).ok()?);
                rest = behind.get(2..)?;
            }
            None => {
                decoded.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8(decoded).ok()
}

fn connector(options: &HttpOptions) -> HttpConnector {
    let mut http = HttpConnector::new();
    http.set_connect_timeout(Some(options.connect_within));
    http.set_nodelay(true);
    http.enforce_http(!cfg!(feature = "https"));
    http
}

impl fmt::Debug for HttpEndpoint {
    /// Without the path: providers put their customers' keys there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uri = &self.inner.uri;
        let host = uri.host().unwrap_or_default();
        write!(
            f,
            "HttpEndpoint({}://{host})",
            uri.scheme_str().unwrap_or_default()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_as_a_url_writes_them() {
        for (url, user, password) in [
            ("http://ann:secret@host/path", "ann", "secret"),
            ("http://ann%40farm:a%3ab%2Fc@host/path", "ann@farm", "a:b/c"),
            ("http://ann:100%@host/path", "ann", "100%"),
            ("http://ann:%zz%4@host/path", "ann", "%zz%4"),
            ("http://caf%C3%A9@host/path", "café", ""),
        ] {
            let (plain, headers) = split_credentials(url).unwrap();
            assert_eq!(plain, "http://host/path");
            let wanted = alloy_transport::Authorization::basic(user, password).to_string();
            assert_eq!(headers[hyper::header::AUTHORIZATION], wanted, "{url}");
        }
        assert!(split_credentials("http://ann:%ff@host/").is_err());
    }

    /// What is refused before it leaves says so of batches, too: none of them may have been sent.
    #[test]
    fn a_wait_holds_back_what_would_go_together() {
        let options = HttpOptions {
            batch_requests_max: 8,
            ..HttpOptions::default()
        };
        let endpoint = HttpEndpoint::new("http://127.0.0.1:9", options).unwrap();
        let wait = Duration::from_secs(60);
        *endpoint.inner.not_before.lock() = endpoint.inner.clock.now() + wait;
        let sending = [1, 2].map(|id| {
            let request = format!(r#"{{"id":{id},"method":"eth_sendRawTransaction","params":[]}}"#);
            endpoint.exchange(request.into_bytes().into())
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let sent = runtime
            .unwrap()
            .block_on(futures_util::future::join_all(sending));
        for answer in sent {
            let failure = answer.unwrap_err();
            assert!(
                matches!(failure, TransportFailure::RateLimited(_)),
                "{failure:?}"
            );
        }
    }

    #[test]
    fn a_wait_is_read_in_seconds_and_as_a_date() {
        // RFC 9110's own example is of this second.
        let at_s = 784_111_777;
        let now = Timestamp::from_unix_nanos((at_s - 30) * 1_000_000_000);
        for (text, seconds) in [
            ("7", Some(7)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(0)),
            ("Sun, 06 Nov 1899 08:49:37 GMT", None),
            ("-1", None),
            ("soon", None),
        ] {
            let read = read_retry_after(text, now);
            assert_eq!(read, seconds.map(Duration::from_secs), "{text}");
        }
    }
}
