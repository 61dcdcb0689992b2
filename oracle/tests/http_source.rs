//! Sources that misbehave, on loopback: whatever they do, the oracle gets a typed error and goes on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use peaberry_core::SystemClock;
use peaberry_oracle::FixedPointError;
use peaberry_oracle::source::{
    HttpJsonSource, HttpSourceError, HttpSourceForm, Source, SourceError, TimePointer, TimeUnit,
};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// What a server does with every request.
#[derive(Clone)]
enum Answer {
    Bytes(Vec<u8>),
    /// Accepts and says nothing.
    Silence,
    /// Sends a body without an end.
    Endless,
}

fn ok(body: &str) -> Answer {
    Answer::Bytes(
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into(),
    )
}

fn redirect(to: &str) -> Answer {
    Answer::Bytes(
        format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n").into(),
    )
}

async fn respond(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: Answer) {
    let mut request = [0; 2048];
    // A client that hangs up is no failure of the server's.
    let _ = stream.read(&mut request).await;
    match answer {
        Answer::Bytes(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Answer::Silence => std::future::pending().await,
        Answer::Endless => {
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"price\":1")
                .await;
            while stream.write_all(&[b'1'; 4096]).await.is_ok() {}
        }
    }
}

async fn serve(answer: Answer) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(respond(stream, answer.clone()));
        }
    });
    address
}

fn form(url: String) -> HttpSourceForm {
    let mut form = HttpSourceForm::new("market", "USD", url, "/price");
    form.within = Duration::from_secs(20);
    form.body_bytes_max = 4096;
    form
}

fn source(form: HttpSourceForm) -> HttpJsonSource {
    HttpJsonSource::new(form, Arc::new(SystemClock::new())).unwrap()
}

async fn ask(answer: Answer) -> Result<i128, SourceError> {
    let address = serve(answer).await;
    source(form(format!("http://{address}/")))
        .quote(8)
        .await
        .map(|quote| quote.value)
}

#[tokio::test]
async fn a_price_is_read_digit_by_digit() {
    assert_eq!(
        ask(ok(r#"{"price":"21712.51"}"#)).await.unwrap(),
        2_171_251_000_000
    );
    assert_eq!(
        ask(ok(r#"{"price":90071992547.40993}"#)).await.unwrap(),
        9_007_199_254_740_993_000
    );
}

/// A source that has stopped moving is found out by the time that it gives itself.
#[tokio::test]
async fn a_price_is_of_the_time_that_its_source_gives() {
    let quote = async |body: &str, unit| {
        let mut form = form(format!("http://{}/", serve(ok(body)).await));
        form.observed_at = Some(TimePointer {
            pointer: "/at".to_owned(),
            unit,
        });
        source(form).quote(0).await
    };
    for (body, unit) in [
        (r#"{"price":7,"at":1678492800.5}"#, TimeUnit::Seconds),
        (r#"{"price":7,"at":"1678492800.5001"}"#, TimeUnit::Seconds),
        (r#"{"price":7,"at":1678492800500}"#, TimeUnit::Milliseconds),
    ] {
        let observed_at_ms = quote(body, unit).await.unwrap().observed_at_ms;
        assert_eq!(observed_at_ms, 1_678_492_800_500);
    }
    let beyond = quote(
        r#"{"price":7,"at":99999999999999999999}"#,
        TimeUnit::Seconds,
    )
    .await;
    assert_eq!(
        beyond.unwrap().observed_at_ms,
        u64::MAX,
        "not of now at any rate"
    );
    for body in [r#"{"price":7,"at":"yesterday"}"#, r#"{"price":7,"at":-1}"#] {
        let answer = quote(body, TimeUnit::Seconds).await;
        assert!(
            matches!(answer, Err(SourceError::NotATime(_))),
            "{answer:?}"
        );
    }
    let answer = quote(r#"{"price":7}"#, TimeUnit::Seconds).await;
    assert!(matches!(answer, Err(SourceError::NothingThere { .. })));
}

#[tokio::test]
async fn what_is_no_price_is_an_error_that_says_so() {
    let not_a_price = |error| match error {
        Err(SourceError::NotAPrice(why)) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        not_a_price(ask(ok(r#"{"price":"NaN"}"#)).await),
        FixedPointError::NotANumber
    );
    assert_eq!(
        not_a_price(ask(ok(r#"{"price":-4}"#)).await),
        FixedPointError::Negative
    );
    assert_eq!(
        not_a_price(ask(ok(r#"{"price":0}"#)).await),
        FixedPointError::Zero
    );
    assert_eq!(
        not_a_price(ask(ok(r#"{"price":1e300}"#)).await),
        FixedPointError::TooLarge
    );

    let html = ask(ok("<html><body>We will be back</body></html>")).await;
    assert!(matches!(html, Err(SourceError::NotJson { .. })), "{html:?}");
    let bare_nan = ask(ok(r#"{"price":NaN}"#)).await;
    assert!(
        matches!(bare_nan, Err(SourceError::NotJson { .. })),
        "{bare_nan:?}"
    );
    let moved = ask(ok(r#"{"prices":{"btc":1}}"#)).await;
    assert!(
        matches!(moved, Err(SourceError::NothingThere { .. })),
        "{moved:?}"
    );
    let down = ask(Answer::Bytes(
        b"HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n".to_vec(),
    ))
    .await;
    assert!(matches!(down, Err(SourceError::Status(503))), "{down:?}");
    let noise = ask(Answer::Bytes(vec![0xff; 100])).await;
    assert!(
        matches!(noise, Err(SourceError::Unreachable(_))),
        "{noise:?}"
    );
}

#[tokio::test]
async fn a_gigantic_answer_is_not_read_to_its_end() {
    let claimed =
        Answer::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n{".to_vec());
    for answer in [claimed, Answer::Endless] {
        let answer = ask(answer).await;
        assert!(
            matches!(answer, Err(SourceError::TooLarge { limit: 4096 })),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn what_hangs_is_given_up() {
    let address = serve(Answer::Silence).await;
    let mut form = form(format!("http://{address}/"));
    form.within = Duration::from_millis(50);
    let answer = source(form).quote(8).await;
    assert!(
        matches!(answer, Err(SourceError::TimedOut { .. })),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_redirect_to_a_private_address_is_refused_unless_allowed() {
    let inside = serve(ok(r#"{"price":5}"#)).await;
    for target in [
        format!("http://{inside}/"),
        format!("http://localhost:{}/", inside.port()),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        format!("http://[::ffff:127.0.0.1]:{}/", inside.port()),
        format!("http://2130706433:{}/", inside.port()),
    ] {
        let outside = serve(redirect(&target)).await;
        let answer = source(form(format!("http://{outside}/"))).quote(8).await;
        assert!(
            matches!(answer, Err(SourceError::PrivateAddress { .. })),
            "{target}: {answer:?}"
        );
    }
    let outside = serve(redirect(&format!("http://{inside}/"))).await;
    let mut allowed = form(format!("http://{outside}/"));
    allowed.private_redirects = true;
    assert_eq!(source(allowed).quote(0).await.unwrap().value, 5);
}

#[tokio::test]
async fn redirects_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let again = redirect(&format!("http://{address}/"));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(respond(stream, again.clone()));
        }
    });
    let mut allowed = form(format!("http://{address}/"));
    allowed.private_redirects = true;
    let answer = source(allowed).quote(8).await;
    assert!(
        matches!(answer, Err(SourceError::Redirect(_))),
        "{answer:?}"
    );
    for target in ["file:///etc/hostname", "ftp://example.org/", "http://"] {
        let outside = serve(redirect(target)).await;
        let answer = source(form(format!("http://{outside}/"))).quote(8).await;
        assert!(
            matches!(answer, Err(SourceError::Redirect(_))),
            "{target}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn tls_is_checked_against_the_roots_that_are_known() {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &authority).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    respond(stream, ok(r#"{"price":7}"#)).await;
                }
            });
        }
    });
    let stranger = source(form(format!("https://{address}/"))).quote(0).await;
    assert!(
        matches!(stranger, Err(SourceError::Unreachable(_))),
        "{stranger:?}"
    );
    let mut known = form(format!("https://{address}/"));
    known.extra_roots = vec![authority.der().to_vec()];
    assert_eq!(source(known).quote(0).await.unwrap().value, 7);
}

#[test]
fn what_is_no_source_is_refused_before_anything_is_asked() {
    let refuse = |change: &dyn Fn(&mut HttpSourceForm)| {
        let mut form = form("http://127.0.0.1/".into());
        change(&mut form);
        HttpJsonSource::new(form, Arc::new(SystemClock::new())).unwrap_err()
    };
    for url in ["", "market", "ftp://example.org/", "file:///etc/hostname"] {
        assert!(
            matches!(
                refuse(&|it| it.url = url.into()),
                HttpSourceError::Url { .. }
            ),
            "{url}"
        );
    }
    assert!(matches!(
        refuse(&|it| it.pointer = "price".into()),
        HttpSourceError::Pointer { .. }
    ));
    assert!(matches!(
        refuse(&|it| it.extra_roots = vec![vec![1]]),
        HttpSourceError::Root(_)
    ));
}
