//! `https://` and `wss://` against servers on loopback: the right authority is believed, and nobody else.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as loudly as the test"
)]

mod node;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use peaberry_chain::dev::DevOptions;
use peaberry_chain::evm::{EvmClient, JsonRpc, NewHeads, NewHeadsOptions};
use peaberry_chain::{
    ChainClient as _, ChainError, Finality, HttpEndpoint, HttpOptions, Sent, TlsRoots,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use node::{Node, NodeKind, on_both};

/// Whoever waits longer than this for a server on loopback waits for ever.
const PATIENCE: Duration = Duration::from_secs(20);

on_both! {
    std::future::ready =>
    an_authority_of_ones_own_is_believed_over_https
    an_authority_of_ones_own_is_believed_over_wss
    nobody_else_is_believed
}

/// A node, and TLS in front of it.
struct Ground {
    node: Node,
    port: u16,
    authority: String,
    front: JoinHandle<()>,
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.front.abort();
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// What a server shows that says it is `name`.
fn identity(name: &str, authority: &CertifiedIssuer<'static, KeyPair>) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

impl Ground {
    async fn on(kind: NodeKind, name: &str) -> Self {
        let node = Node::of(kind, DevOptions::default()).await;
        let behind = node.url().await.trim_start_matches("http://").to_owned();
        let authority = authority();
        let acceptor = identity(name, &authority);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let front = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                tokio::spawn(async move {
                    // Who does not believe us goes away.
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let mut server = TcpStream::connect(behind).await.unwrap();
                    drop(tokio::io::copy_bidirectional(&mut stream, &mut server).await);
                });
            }
        });
        Self {
            node,
            port,
            authority: authority.pem(),
            front,
        }
    }

    fn roots(&self) -> TlsRoots {
        TlsRoots::from_pem(self.authority.as_bytes()).unwrap()
    }

    async fn client(&self, roots: &TlsRoots) -> Result<EvmClient, ChainError> {
        let url = format!("https://localhost:{}", self.port);
        let endpoint = HttpEndpoint::with_roots(&url, HttpOptions::default(), roots).unwrap();
        let rpc = Arc::new(JsonRpc::endpoint(endpoint));
        EvmClient::connect(rpc, self.node.network()).await
    }

    async fn news(&self, roots: &TlsRoots) -> (NewHeads, Result<(), ChainError>) {
        let url = format!("wss://localhost:{}", self.port);
        let heads = NewHeads::with_roots(&url, NewHeadsOptions::default(), roots);
        let mut heads = heads.unwrap();
        let news = next(&mut heads).await;
        (heads, news)
    }
}

async fn next(heads: &mut NewHeads) -> Result<(), ChainError> {
    let news = tokio::time::timeout(PATIENCE, heads.next()).await;
    news.unwrap().unwrap()
}

fn expect_no_connection(error: &ChainError) {
    let is_it = matches!(
        error,
        ChainError::Connection { sent: Sent::No, source, .. }
            if format!("{source:?}").contains("InvalidCertificate")
    );
    assert!(is_it, "{error:?}");
}

async fn an_authority_of_ones_own_is_believed_over_https(kind: NodeKind) {
    let ground = Ground::on(kind, "localhost").await;
    let client = ground.client(&ground.roots()).await.unwrap();
    ground.node.mine_many(3).await;
    assert_eq!(client.head(Finality::Latest).await.unwrap().number, 3);
}

async fn an_authority_of_ones_own_is_believed_over_wss(kind: NodeKind) {
    let ground = Ground::on(kind, "localhost").await;
    let (mut heads, connected) = ground.news(&ground.roots()).await;
    connected.unwrap();
    ground.node.mine().await;
    next(&mut heads).await.unwrap();
}

/// Mozilla's list, another authority, another name: nothing is sent to such a server.
async fn nobody_else_is_believed(kind: NodeKind) {
    let ground = Ground::on(kind, "localhost").await;
    let elsewhere = Ground::on(kind, "node.example").await;
    let other = TlsRoots::from_pem(authority().pem().as_bytes()).unwrap();
    let strangers = [
        (&ground, TlsRoots::mozilla()),
        (&ground, other),
        (&elsewhere, elsewhere.roots()),
    ];
    for (ground, roots) in strangers {
        expect_no_connection(&ground.client(&roots).await.unwrap_err());
        expect_no_connection(&ground.news(&roots).await.1.unwrap_err());
    }
}

#[test]
fn what_is_no_authority_is_refused() {
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for text in ["", "no certificate", broken] {
        let error = TlsRoots::from_pem(text.as_bytes()).unwrap_err();
        assert!(matches!(error, ChainError::InvalidRoots { .. }), "{error}");
    }
}
