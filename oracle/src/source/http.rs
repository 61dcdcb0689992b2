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
use super::private_address::is_private_address;
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
    /// 5 s, 64 KiB, three redirects to public addresses.
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
            within: Duration::from_secs(5),
            body_bytes_max: 64 << 10,
            redirects_max: 3,
            private_redirects: false,
            extra_roots: Vec::new(),
        }
    }
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
pub struct HttpJsonSource {
    form: HttpSourceForm,
    url: Url,
    tls: ClientConfig,
    client: Client,
    clock: Arc<dyn Clock>,
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
        if !form.pointer.is_empty() && !form.pointer.starts_with('/') {
            return Err(HttpSourceError::Pointer {
                pointer: form.pointer,
            });
        }
        let tls = tls(&form.extra_roots)?;
        let client = client(&tls, None).map_err(HttpSourceError::Client)?;
        Ok(Self {
            form,
            url,
            tls,
            client,
            clock,
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
        let addresses = resolve(url, host).await?;
        if !self.form.private_redirects && addresses.iter().any(|it| is_private_address(it.ip())) {
            return Err(SourceError::PrivateAddress {
                host: host.to_owned(),
            });
        }
        client(&self.tls, Some((host, &addresses))).map_err(unreachable)
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
            observed_at_ms: self.clock.timestamp().as_unix_nanos() / 1_000_000,
        })
    }
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

async fn resolve(url: &Url, host: &str) -> Result<Vec<SocketAddr>, SourceError> {
    let port = url.port_or_known_default().unwrap_or(443);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = tokio::net::lookup_host((host, port)).await;
    let found: Vec<_> = found
        .map_err(|error| SourceError::Unreachable(error.to_string()))?
        .collect();
    if found.is_empty() {
        return Err(SourceError::Unreachable(format!("{host} has no address")));
    }
    Ok(found)
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
