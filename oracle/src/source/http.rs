use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use peaberry_core::Clock;
use reqwest::header::LOCATION;
use reqwest::{Client, Response, Url, redirect};
use rustls::{ClientConfig, RootCertStore};

use super::json::text_at;
use super::names::{Names, SystemNames};
use super::{Quote, Source, SourceError};
use crate::fixed_point::parse_price;

/// How a price is got from a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a form to fill in; a new field is a decision"
)]
pub struct HttpSourceForm {
    /// What people call it.
    pub name: String,
    /// What it quotes in.
    pub unit: String,
    /// Where it answers: `https://…` or `http://…`.
    pub url: String,
    /// Where in its JSON the price stands, as a number or as a string (RFC 6901): `/result/XXBTZUSD/c/0`.
    pub pointer: String,
    /// Where it says of when the price is. With `None` a price is of the moment in which it was fetched: then a source that
    /// has stopped moving, and says the same for ever, is never found stale.
    pub observed_at: Option<TimePointer>,
    /// How long one answer may take, redirects included.
    pub within: Duration,
    /// The largest answer that is read, in bytes.
    pub body_bytes_max: usize,
    /// How many redirects are followed.
    pub redirects_max: u32,
    /// Whether a redirect may lead to a private address. The URL itself may: that is the operator's word.
    pub private_redirects: bool,
    /// Certificate authorities beside Mozilla's, in DER: for a source within your own network.
    pub extra_roots: Vec<Vec<u8>>,
}

impl HttpSourceForm {
    /// 5 s, 64 KiB, three redirects to public addresses; prices are of the moment in which they are fetched.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        unit: impl Into<String>,
        url: impl Into<String>,
        pointer: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            unit: unit.into(),
            url: url.into(),
            pointer: pointer.into(),
            observed_at: None,
            within: Duration::from_secs(5),
            body_bytes_max: 64 << 10,
            redirects_max: 3,
            private_redirects: false,
            extra_roots: Vec::new(),
        }
    }
}

/// Where in a source's JSON the time of its price stands, as a number or as a string.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a form to fill in; a new field is a decision"
)]
pub struct TimePointer {
    /// RFC 6901: `/timestamp`.
    pub pointer: String,
    /// What it counts, since 1970-01-01 UTC.
    pub unit: TimeUnit,
}

/// What a time counts. Fractions are taken to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "what sources are known to count")]
pub enum TimeUnit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// Why a source cannot be made of a form.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpSourceError {
    /// Not a URL of a source.
    #[error(
        "{url:?} is no URL of a source: it must begin with https:// or http:// and name a host"
    )]
    Url {
        /// What was given.
        url: String,
    },
    /// A pointer begins with a slash or is empty.
    #[error("{pointer:?} is no JSON pointer: begin with a slash")]
    Pointer {
        /// What was given.
        pointer: String,
    },
    /// An authority's certificate that is none.
    #[error("an extra certificate authority cannot be read")]
    Root(#[source] rustls::Error),
    /// The client could not be made.
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
}

/// A price from a URL that answers with JSON. Needs a tokio runtime.
///
/// TLS is rustls with Mozilla's roots, no proxy is used, and redirects are followed by hand: the address that has been
/// found public is the one that is connected to, so that a name that resolves otherwise the second time gains nothing.
/// A redirect from HTTPS to HTTP is not followed.
///
/// # Example
///
/// ```
/// use std::io::{Read as _, Write as _};
/// use std::sync::Arc;
/// use peaberry_core::SystemClock;
/// use peaberry_oracle::source::{HttpJsonSource, HttpSourceForm, Source};
///
/// # let market = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
/// # let address = market.local_addr().unwrap();
/// # std::thread::spawn(move || {
/// #     let (mut stream, _) = market.accept().unwrap();
/// #     stream.read(&mut [0; 1024]).unwrap();
/// #     let body = r#"{"result":{"XXBTZUSD":{"c":["21712.51","0.01"]}}}"#;
/// #     write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
/// # });
/// // Answers {"result":{"XXBTZUSD":{"c":["21712.51","0.01"]}}}.
/// let url = format!("http://{address}/0/public/Ticker?pair=XBTUSD");
/// let form = HttpSourceForm::new("kraken", "USD", url, "/result/XXBTZUSD/c/0");
/// let source = HttpJsonSource::new(form, Arc::new(SystemClock::new())).unwrap();
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
/// let quote = runtime.block_on(source.quote(2)).unwrap();
/// assert_eq!(quote.value, 2_171_251);
/// ```
pub struct HttpJsonSource {
    form: HttpSourceForm,
    url: Url,
    tls: ClientConfig,
    client: Client,
    clock: Arc<dyn Clock>,
    names: Arc<dyn Names>,
}

impl fmt::Debug for HttpJsonSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a key.
        f.debug_struct("HttpJsonSource")
            .field("name", &self.form.name)
            .field("host", &self.url.host_str())
            .finish_non_exhaustive()
    }
}

impl HttpJsonSource {
    /// Checks the form. Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`HttpSourceError`].
    pub fn new(form: HttpSourceForm, clock: Arc<dyn Clock>) -> Result<Self, HttpSourceError> {
        let url = Url::parse(&form.url)
            .ok()
            .filter(|url| is_http(url) && url.has_host());
        let url = url.ok_or_else(|| HttpSourceError::Url {
            url: form.url.clone(),
        })?;
        let time = form.observed_at.as_ref().map(|it| &it.pointer);
        for pointer in [&form.pointer].into_iter().chain(time) {
            if !pointer.is_empty() && !pointer.starts_with('/') {
                return Err(HttpSourceError::Pointer {
                    pointer: pointer.clone(),
                });
            }
        }
        let tls = tls(&form.extra_roots)?;
        let client = client(&tls, None).map_err(HttpSourceError::Client)?;
        Ok(Self {
            form,
            url,
            tls,
            client,
            clock,
            names: Arc::new(SystemNames),
        })
    }

    /// Asks, follows redirects, and reads what fits.
    async fn fetch(&self) -> Result<Vec<u8>, SourceError> {
        let (mut url, mut client) = (self.url.clone(), self.client.clone());
        for _ in 0..=self.form.redirects_max {
            let response = client.get(url.clone()).send().await.map_err(unreachable)?;
            let status = response.status();
            if status.is_success() {
                return self.body(response).await;
            }
            if !status.is_redirection() {
                return Err(SourceError::Status(status.as_u16()));
            }
            url = next(&url, &response)?;
            client = self.client_for(&url).await?;
        }
        Err(SourceError::Redirect("it sends us on and on"))
    }

    /// A client that connects to the addresses that were looked at, and to no others.
    async fn client_for(&self, url: &Url) -> Result<Client, SourceError> {
        let host = url
            .host_str()
            .ok_or(SourceError::Redirect("it names no host"))?;
        let addresses = self.addresses(url, host).await?;
        // One private address among public ones is enough: which one is connected to is not ours to choose.
        let is_private = addresses.iter().any(|it| self.names.is_private(it.ip()));
        if is_private && !self.form.private_redirects {
            return Err(SourceError::PrivateAddress {
                host: host.to_owned(),
            });
        }
        client(&self.tls, Some((host, &addresses))).map_err(unreachable)
    }

    async fn addresses(&self, url: &Url, host: &str) -> Result<Vec<SocketAddr>, SourceError> {
        let port = url.port_or_known_default().unwrap_or(443);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let found = self.names.addresses(host, port).await;
        let found = found.map_err(|error| SourceError::Unreachable(error.to_string()))?;
        if found.is_empty() {
            return Err(SourceError::Unreachable(format!("{host} has no address")));
        }
        Ok(found)
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, SourceError> {
        let limit = self.form.body_bytes_max;
        let too_large = SourceError::TooLarge { limit };
        if response
            .content_length()
            .is_some_and(|length| length > limit as u64)
        {
            return Err(too_large);
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > limit {
                return Err(too_large);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

#[async_trait]
impl Source for HttpJsonSource {
    fn name(&self) -> &str {
        &self.form.name
    }

    fn unit(&self) -> &str {
        &self.form.unit
    }

    async fn quote(&self, decimals: u8) -> Result<Quote, SourceError> {
        let within = self.form.within;
        let body = tokio::time::timeout(within, self.fetch()).await;
        let body = body.map_err(|_elapsed| SourceError::TimedOut { within })??;
        let text = text_at(&body, &self.form.pointer)?;
        Ok(Quote {
            value: parse_price(&text, decimals)?,
            observed_at_ms: match &self.form.observed_at {
                Some(at) => time_at(&body, at)?,
                None => self.clock.timestamp().as_unix_nanos() / 1_000_000,
            },
        })
    }
}

/// In milliseconds.
fn time_at(body: &[u8], at: &TimePointer) -> Result<u64, SourceError> {
    let text = text_at(body, &at.pointer)?;
    let fraction_digits = match at.unit {
        TimeUnit::Seconds => 3,
        TimeUnit::Milliseconds => 0,
    };
    let time = parse_price(&text, fraction_digits).map_err(SourceError::NotATime)?;
    Ok(u64::try_from(time).unwrap_or(u64::MAX))
}

fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

fn tls(extra_roots: &[Vec<u8>]) -> Result<ClientConfig, HttpSourceError> {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for root in extra_roots {
        roots
            .add(root.as_slice().into())
            .map_err(HttpSourceError::Root)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(HttpSourceError::Root)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn client(
    tls: &ClientConfig,
    only: Option<(&str, &[SocketAddr])>,
) -> Result<Client, reqwest::Error> {
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy();
    if let Some((host, addresses)) = only {
        builder = builder.resolve_to_addrs(host, addresses);
    }
    builder.build()
}

/// Where a redirect leads.
fn next(from: &Url, response: &Response) -> Result<Url, SourceError> {
    let location = response
        .headers()
        .get(LOCATION)
        .and_then(|it| it.to_str().ok());
    let location = location.ok_or(SourceError::Redirect("it says not where to"))?;
    let to = from.join(location).ok().filter(is_http);
    let to = to.ok_or(SourceError::Redirect("not to a URL of HTTP"))?;
    if from.scheme() == "https" && to.scheme() == "http" {
        return Err(SourceError::Redirect("from HTTPS to HTTP"));
    }
    Ok(to)
}

/// The URL may hold a key: it is left out.
fn unreachable(error: reqwest::Error) -> SourceError {
    let error = error.without_url();
    let cause =
        std::iter::successors(std::error::Error::source(&error), |cause| cause.source()).last();
    SourceError::Unreachable(
        cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")),
    )
}

#[cfg(test)]
mod tests {
    use std::io;

    use peaberry_core::SystemClock;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A world in which 127.0.0.2 is on the internet and 127.0.0.1 is not.
    struct World(Vec<SocketAddr>);

    #[async_trait]
    impl Names for World {
        async fn addresses(&self, _host: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
            Ok(self.0.clone())
        }

        fn is_private(&self, address: IpAddr) -> bool {
            address == IpAddr::from([127, 0, 0, 1])
        }
    }

    /// Answers every request with a redirect, or with a price.
    async fn serve(host: [u8; 4], location: Option<String>) -> SocketAddr {
        let listener = TcpListener::bind(SocketAddr::from((host, 0)))
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let answer = location.map_or_else(
            || "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n7".to_owned(),
            |to| format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"),
        );
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // A client that hangs up is no failure of the server's.
                let _ = stream.read(&mut [0; 2048]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        address
    }

    async fn ask(first: SocketAddr, names: Vec<SocketAddr>) -> Result<i128, SourceError> {
        let form = HttpSourceForm::new("market", "USD", format!("http://{first}/"), "");
        let mut source = HttpJsonSource::new(form, Arc::new(SystemClock::new())).unwrap();
        source.names = Arc::new(World(names));
        source.quote(0).await.map(|quote| quote.value)
    }

    /// Each step of a chain is looked at, not the first alone.
    #[tokio::test]
    async fn a_chain_is_followed_up_to_its_first_private_step() {
        let url = |address: SocketAddr| Some(format!("http://{address}/"));
        let outside = serve([127, 0, 0, 2], None).await;
        let inside = serve([127, 0, 0, 1], None).await;
        for (end, is_followed) in [(outside, true), (inside, false)] {
            let second = serve([127, 0, 0, 2], url(end)).await;
            let first = serve([127, 0, 0, 2], url(second)).await;
            match ask(first, Vec::new()).await {
                Ok(value) => assert!(is_followed && value == 7),
                Err(SourceError::PrivateAddress { host }) => {
                    assert!(!is_followed && host == "127.0.0.1");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_name_with_one_private_address_among_public_ones_is_private() {
        let outside = serve([127, 0, 0, 2], None).await;
        let inside = SocketAddr::from(([127, 0, 0, 1], outside.port()));
        let name = format!("http://market.example:{}/", outside.port());
        let first = serve([127, 0, 0, 2], Some(name)).await;
        assert_eq!(ask(first, vec![outside]).await.unwrap(), 7);
        for addresses in [vec![outside, inside], vec![inside, outside]] {
            let answer = ask(first, addresses).await;
            assert!(
                matches!(answer, Err(SourceError::PrivateAddress { .. })),
                "{answer:?}"
            );
        }
    }
}
