//! A small cluster on loopback, and an intruder that speaks its wire format by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use peaberry_core::ca::{DevelopmentCa, Issued};
use peaberry_core::frame::{FrameEncoder, HELLO_BYTES, Hello, Session, Side};
use peaberry_core::mesh::{Credentials, Mesh, MeshConfig, MeshEvent};
use peaberry_core::{
    Channel, ClusterId, Envelope, Mailbox, Outgoing, PeerId, Peers, ProtocolId, Transport,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) const PROTOCOL: ProtocolId = ProtocolId(2000);

/// Bounds a wait that only a failing test exhausts.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn peer(id: u64) -> PeerId {
    PeerId::new(id).unwrap()
}

pub(crate) fn cluster(id: u128) -> ClusterId {
    ClusterId::new(id).unwrap()
}

pub(crate) fn authority() -> DevelopmentCa {
    DevelopmentCa::new(cluster(1)).unwrap()
}

pub(crate) fn credentials(issued: &Issued) -> Credentials {
    Credentials::from_pem(
        &issued.certificate_pem,
        &issued.key_pem,
        &issued.authority_pem,
    )
    .unwrap()
}

/// A mesh, what it reports, and a mailbox for [`PROTOCOL`].
pub(crate) struct Member {
    pub(crate) mesh: Mesh,
    pub(crate) mailbox: Arc<Mailbox>,
    events: UnboundedReceiver<MeshEvent>,
}

/// A listening member with an id from `ca`, after `adjust` has had its way.
pub(crate) async fn member_with(
    ca: &DevelopmentCa,
    id: u64,
    adjust: impl FnOnce(&mut MeshConfig),
) -> Member {
    start(&ca.issue(peer(id)).unwrap(), adjust).await
}

pub(crate) async fn member(ca: &DevelopmentCa, id: u64) -> Member {
    member_with(ca, id, |_| {}).await
}

pub(crate) async fn start(issued: &Issued, adjust: impl FnOnce(&mut MeshConfig)) -> Member {
    let (told, events) = unbounded_channel();
    let mut config = MeshConfig::new(credentials(issued), 1).with_report(move |event| {
        // The test may be over.
        let _ = told.send(event);
    });
    config.listen = Some("127.0.0.1:0".parse().unwrap());
    config.times.retry_delay_min = Duration::from_millis(5);
    config.times.retry_delay_max = Duration::from_millis(50);
    adjust(&mut config);
    let mesh = Mesh::start(config).await.unwrap();
    let mailbox = Arc::new(Mailbox::new(Arc::default()));
    mesh.bind(PROTOCOL, Peers::Any, mailbox.clone()).unwrap();
    Member {
        mesh,
        mailbox,
        events,
    }
}

impl Member {
    pub(crate) fn address(&self) -> SocketAddr {
        self.mesh.local_addr().unwrap()
    }

    pub(crate) fn dials(&self, other: &Self) {
        self.mesh
            .set_peer(other.mesh.local(), other.address())
            .unwrap();
    }

    /// The first event from now on that `wanted` accepts. None of those before it may be a `Connected`, unless it is
    /// wanted.
    pub(crate) async fn expect(&mut self, wanted: impl Fn(&MeshEvent) -> bool) -> MeshEvent {
        self.next(wanted, true).await
    }

    /// As [`expect`](Self::expect), whatever happens before.
    pub(crate) async fn eventually(&mut self, wanted: impl Fn(&MeshEvent) -> bool) -> MeshEvent {
        self.next(wanted, false).await
    }

    async fn next(&mut self, wanted: impl Fn(&MeshEvent) -> bool, strict: bool) -> MeshEvent {
        let found = async {
            loop {
                let event = self.events.recv().await.expect("the mesh lives");
                if wanted(&event) {
                    return event;
                }
                let connected = matches!(event, MeshEvent::Connected { .. });
                assert!(!(strict && connected), "connected: {event}");
            }
        };
        tokio::time::timeout(PATIENCE, found)
            .await
            .expect("the event comes")
    }

    pub(crate) async fn connected(&mut self) {
        self.eventually(|event| matches!(event, MeshEvent::Connected { .. }))
            .await;
    }

    /// Sends one message; whether it was taken.
    pub(crate) fn send(&self, to: u64, channel: Channel, payload: impl Into<Bytes>) -> bool {
        let mut batch = vec![Outgoing {
            to: peer(to),
            channel,
            payload: payload.into(),
        }];
        self.mesh.send(&mut batch);
        batch.is_empty()
    }

    /// What arrives until `done` says that it is enough.
    pub(crate) async fn receive(&self, done: impl Fn(&[Envelope]) -> bool) -> Vec<Envelope> {
        let mut arrived = Vec::new();
        let waiting = async {
            while !done(&arrived) {
                tokio::time::sleep(Duration::from_millis(1)).await;
                arrived.extend(self.mailbox.take());
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(outcome.is_ok(), "{} messages, and no more", arrived.len());
        arrived
    }
}

/// Waits until something is so that only polling can tell.
pub(crate) async fn until(mut so: impl FnMut() -> bool) {
    let waiting = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("it becomes so");
}

pub(crate) fn channel(group: u64) -> Channel {
    Channel::new(PROTOCOL, group)
}

/// Somebody with a certificate, who writes what they like.
pub(crate) struct Intruder {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) identity: peaberry_core::PeerIdentity,
}

impl Intruder {
    /// Shows its certificate to whoever listens at `address`, and believes everything.
    pub(crate) async fn dial(address: SocketAddr, issued: &Issued) -> Self {
        let certificate = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes());
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Gullible))
            .with_client_auth_cert(vec![certificate.unwrap()], key.unwrap())
            .unwrap();
        config.alpn_protocols = vec![b"peaberry".to_vec()];
        let socket = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("any.invalid").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        Self {
            stream: connector.connect(name, socket).await.unwrap(),
            identity: issued.identity,
        }
    }

    pub(crate) fn hello(&self, to: u64) -> Hello {
        Hello {
            cluster: self.identity.cluster,
            from: self.identity.peer,
            to: peer(to),
            nonce: [7; 16],
        }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Says hello as it should; returns the encoder for what follows.
    pub(crate) async fn greet(&mut self, to: u64) -> FrameEncoder {
        let ours = self.hello(to);
        self.write(&ours.encode()).await;
        let mut bytes = [0; HELLO_BYTES];
        self.stream.read_exact(&mut bytes).await.unwrap();
        let theirs = Hello::decode(&bytes).unwrap();
        let session = Session::new(Side::Dialler, ours.nonce, theirs.nonce);
        FrameEncoder::new(session.first_sent)
    }
}

pub(crate) fn message(encoder: &mut FrameEncoder, channel: Channel, payload: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    encoder.message(channel, payload, &mut bytes);
    bytes
}

#[derive(Debug)]
struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
