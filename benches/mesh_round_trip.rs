//! How many messages of 128 bytes go to another peer and back over mutual TLS on loopback, one by one and many at once?
//!
//! Unit: round trips per second. Ours: two meshes, each with a node that hosts one protocol, on one runtime of two
//! threads; a message passes the node's turn, the mesh's queue, TLS 1.3, the other node's turn, and the same way back.
//! The peer: one tokio-rustls connection with the same ciphers and the same kind of certificates, on the same runtime;
//! each end is a task that reads what is there, takes it apart at its length prefixes, and writes the answers with one
//! call. It has no queues, no channels, no bounds and no hand-off between tasks: it is what TLS on tokio costs at least.

#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures the machine's own time"
)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant as Stopwatch};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use peaberry_benches::versus::{Better, Effort, Measure, interleave, report, write};
use peaberry_core::ca::DevelopmentCa;
use peaberry_core::mesh::{Credentials, Mesh, MeshConfig};
use peaberry_core::{
    Channel, ClusterId, Effects, Handle, Input, Instant, MemoryStorage, Node, PeerId, Protocol,
    ProtocolId, SystemClock, Transport,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, TlsConnector};

const PAYLOAD_BYTES: usize = 128;
const INCLUDES: &str = "mutual TLS 1.3 on loopback, framing, both directions; ours also two nodes' turns, bounded fair queues and back-pressure";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let effort = Effort::from_environment();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let ca = DevelopmentCa::new(ClusterId::new(1).ok_or("zero")?)?;
    let mut ours = runtime.block_on(Ours::start(&ca))?;
    let mut peer = runtime.block_on(RawTls::start())?;

    let loads = [
        (1, "round trips/s of 128 B, one by one"),
        (64, "round trips/s of 128 B, 64 under way"),
        (1024, "round trips/s of 128 B, 1024 under way"),
    ];
    let mut measures = Vec::new();
    for (window, words) in loads {
        let time = effort.run_time();
        let comparison = interleave(
            effort.pairs(),
            Better::More,
            || rate(time, window, |load| runtime.block_on(ours.run(load))),
            || rate(time, window, |load| runtime.block_on(peer.run(load))),
        );
        let measure = Measure::new(
            words,
            "round trips/s",
            "tokio-rustls",
            INCLUDES,
            &comparison,
        );
        report(&measure, &comparison);
        measures.push(measure);
    }
    write("mesh_round_trip", effort, &measures)?;
    Ok(())
}

/// So many round trips, so many of them under way at any time.
#[derive(Clone, Copy, Debug)]
struct Load {
    window: u64,
    count: u64,
}

/// Round trips per second, over loads that together last `time`.
fn rate(time: Duration, window: u64, mut run: impl FnMut(Load)) -> f64 {
    let load = Load {
        window,
        count: window * 64,
    };
    run(load);
    let mut done = 0;
    let start = Stopwatch::now();
    while start.elapsed() < time {
        run(load);
        done += load.count;
    }
    done as f64 / start.elapsed().as_secs_f64()
}

/// Two meshes with a node each.
struct Ours {
    driver: Handle<Load>,
    done: mpsc::UnboundedReceiver<()>,
}

impl Ours {
    async fn start(ca: &DevelopmentCa) -> Result<Self, Box<dyn std::error::Error>> {
        let [one, two] = [1, 2].map(|id| PeerId::new(id).expect("not zero"));
        let (one, two) = (mesh(ca, one).await?, mesh(ca, two).await?);
        one.set_peer(two.local(), two.local_addr().ok_or("no listener")?)?;
        two.set_peer(one.local(), one.local_addr().ok_or("no listener")?)?;
        while one.connected().is_empty() || two.connected().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (told, done) = mpsc::unbounded_channel();
        let driver = Driver {
            peer: two.local(),
            payload: Bytes::from(vec![7; PAYLOAD_BYTES]),
            to_send: 0,
            to_receive: 0,
        };
        let driver = host(one, driver, move |()| {
            // Nobody waits any more once the bench is over.
            let _ = told.send(());
        })?;
        host(two, Echo, |()| {})?;
        Ok(Self { driver, done })
    }

    async fn run(&mut self, load: Load) {
        self.driver.submit(load).expect("one load at a time");
        self.done.recv().await.expect("the node lives");
    }
}

async fn mesh(ca: &DevelopmentCa, id: PeerId) -> Result<Mesh, Box<dyn std::error::Error>> {
    let issued = ca.issue(id)?;
    let credentials = Credentials::from_pem(
        &issued.certificate_pem,
        &issued.key_pem,
        &issued.authority_pem,
    )?;
    let mut config = MeshConfig::new(credentials, id.get());
    config.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    Ok(Mesh::start(config).await?)
}

/// Hosts `protocol` on a task.
fn host<P: Protocol>(
    mesh: Mesh,
    protocol: P,
    mut tell: impl FnMut(P::Event) + Send + 'static,
) -> Result<Handle<P::Command>, Box<dyn std::error::Error>> {
    let storage = Arc::new(MemoryStorage::new());
    let mut node = Node::new(Arc::new(mesh), storage, Arc::new(SystemClock::new()));
    let channel = Channel::new(ProtocolId(2000), 0);
    let sink = move |events: &mut Vec<P::Event>| events.drain(..).for_each(&mut tell);
    let handle = node.add(channel, protocol, sink)?;
    tokio::spawn(node.into_task());
    Ok(handle)
}

/// Keeps a window of messages under way.
struct Driver {
    peer: PeerId,
    payload: Bytes,
    to_send: u64,
    to_receive: u64,
}

impl Driver {
    fn send(&mut self, fx: &mut Effects<'_, ()>) {
        if self.to_send > 0 {
            self.to_send -= 1;
            fx.send(self.peer, self.payload.clone());
        }
    }
}

impl Protocol for Driver {
    type Command = Load;
    type Event = ();
    type Error = Infallible;

    fn step(
        &mut self,
        _: Instant,
        input: Input<Load>,
        fx: &mut Effects<'_, ()>,
    ) -> Result<(), Infallible> {
        match input {
            Input::Command(load) => {
                (self.to_send, self.to_receive) = (load.count, load.count);
                for _ in 0..load.window {
                    self.send(fx);
                }
            }
            Input::Message(message) => {
                assert_eq!(message.payload.len(), PAYLOAD_BYTES);
                self.send(fx);
                self.to_receive -= 1;
                if self.to_receive == 0 {
                    fx.emit(());
                }
            }
            other => panic!("a connection on loopback failed: {other:?}"),
        }
        Ok(())
    }
}

/// Sends everything back.
struct Echo;

impl Protocol for Echo {
    type Command = ();
    type Event = ();
    type Error = Infallible;

    fn step(
        &mut self,
        _: Instant,
        input: Input<()>,
        fx: &mut Effects<'_, ()>,
    ) -> Result<(), Infallible> {
        if let Input::Message(message) = input {
            fx.send(message.from, message.payload);
        }
        Ok(())
    }
}

/// One connection of tokio-rustls with a task at each end.
struct RawTls {
    loads: mpsc::UnboundedSender<Load>,
    done: mpsc::UnboundedReceiver<()>,
}

impl RawTls {
    async fn start() -> Result<Self, Box<dyn std::error::Error>> {
        let authority = authority()?;
        let (acceptor, connector) = (acceptor(&authority)?, connector(&authority)?);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            let (socket, _) = listener.accept().await.expect("a connection");
            socket.set_nodelay(true).expect("a TCP socket");
            let stream = acceptor.accept(socket).await.expect("a handshake");
            echo(stream).await
        });
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let stream = connector
            .connect(ServerName::try_from("localhost")?, socket)
            .await?;
        let (loads, asked) = mpsc::unbounded_channel();
        let (told, done) = mpsc::unbounded_channel();
        tokio::spawn(drive(stream, asked, told));
        Ok(Self { loads, done })
    }

    async fn run(&mut self, load: Load) {
        self.loads.send(load).expect("the driver lives");
        self.done.recv().await.expect("the driver lives");
    }
}

/// Takes the complete messages out of `buffer`, giving each to `take`.
fn messages(buffer: &mut BytesMut, mut take: impl FnMut(&[u8])) {
    while let Some((length, rest)) = buffer.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some(payload) = rest.get(..length) else {
            return;
        };
        take(payload);
        buffer.advance(4 + length);
    }
}

fn put_message(payload: &[u8], out: &mut BytesMut) {
    out.put_u32(u32::try_from(payload.len()).expect("a short payload"));
    out.put_slice(payload);
}

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let (mut buffer, mut out) = (BytesMut::with_capacity(64 << 10), BytesMut::new());
    while stream.read_buf(&mut buffer).await? > 0 {
        messages(&mut buffer, |payload| put_message(payload, &mut out));
        stream.write_all(&out).await?;
        stream.flush().await?;
        out.clear();
        buffer.reserve(64 << 10);
    }
    Ok(())
}

async fn drive(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    mut loads: mpsc::UnboundedReceiver<Load>,
    done: mpsc::UnboundedSender<()>,
) -> std::io::Result<()> {
    let payload = [7; PAYLOAD_BYTES];
    let (mut buffer, mut out) = (BytesMut::with_capacity(64 << 10), BytesMut::new());
    while let Some(Load { window, count }) = loads.recv().await {
        let (mut to_send, mut to_receive) = (count - window, count);
        (0..window).for_each(|_| put_message(&payload, &mut out));
        while to_receive > 0 {
            stream.write_all(&out).await?;
            stream.flush().await?;
            out.clear();
            buffer.reserve(64 << 10);
            stream.read_buf(&mut buffer).await?;
            messages(&mut buffer, |answer| {
                assert_eq!(answer.len(), PAYLOAD_BYTES);
                to_receive -= 1;
                if to_send > 0 {
                    to_send -= 1;
                    put_message(&payload, &mut out);
                }
            });
        }
        // Nobody waits any more once the bench is over.
        let _ = done.send(());
    }
    Ok(())
}

type Authority = CertifiedIssuer<'static, KeyPair>;

type Proof = (
    Vec<CertificateDer<'static>>,
    PrivateKeyDer<'static>,
    Arc<RootCertStore>,
);

fn authority() -> Result<Authority, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

/// A certificate and a key of the kind that the development authority gives to meshes.
fn proof(authority: &Authority) -> Result<Proof, Box<dyn std::error::Error>> {
    let key = KeyPair::generate()?;
    let params = CertificateParams::new(vec!["localhost".to_owned()])?;
    let certificate = params.signed_by(&key, authority)?;
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone())?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    Ok((vec![certificate.der().clone()], key, Arc::new(roots)))
}

fn acceptor(authority: &Authority) -> Result<TlsAcceptor, Box<dyn std::error::Error>> {
    let (chain, key, roots) = proof(authority)?;
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build()?;
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn connector(authority: &Authority) -> Result<TlsConnector, Box<dyn std::error::Error>> {
    let (chain, key, roots) = proof(authority)?;
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    Ok(TlsConnector::from(Arc::new(config)))
}
