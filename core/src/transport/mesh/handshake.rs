use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::credentials::{CertificateError, identity_of};
use super::event::{RejectReason, Side};
use super::shared::Shared;
use crate::peer::PeerId;
use crate::transport::frame::{HELLO_BYTES, Hello, Session};

/// A connection whose both sides have proven who they are.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) peer: PeerId,
    pub(super) side: Side,
    pub(super) session: Session,
    pub(super) stream: TlsStream<TcpStream>,
}

/// The name that TLS asks for and nobody checks; see [`tls`](super::tls).
const NAME: &str = "peer.peaberry.invalid";

/// Proves to `peer`, at the other end of `stream`, who we are, and has it prove that it is `peer`.
pub(super) async fn dial(
    shared: &Shared,
    stream: TcpStream,
    peer: PeerId,
) -> Result<Connection, RejectReason> {
    let handshake = async {
        let config = shared.tls.read().client.clone();
        let name = ServerName::try_from(NAME).expect("a host name");
        let stream = TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(RejectReason::Tls)?;
        let mut stream = TlsStream::from(stream);
        let seen = certified_peer(shared, &stream)?;
        if seen != peer {
            return Err(RejectReason::OtherPeer {
                seen,
                expected: peer,
            });
        }
        let ours = hello(shared, peer)?;
        send_hello(&mut stream, &ours).await?;
        let theirs = receive_hello(shared, &mut stream, peer).await?;
        Ok(Connection {
            peer,
            side: Side::Dialler,
            session: Session::new(Side::Dialler, ours.nonce, theirs.nonce),
            stream,
        })
    };
    timeout(shared.times.handshake_timeout, handshake)
        .await
        .unwrap_or(Err(RejectReason::TimedOut))
}

/// Finds out who has dialled us, and proves who we are.
pub(super) async fn accept(shared: &Shared, stream: TcpStream) -> Result<Connection, RejectReason> {
    let handshake = async {
        let config = shared.tls.read().server.clone();
        let stream = TlsAcceptor::from(config)
            .accept(stream)
            .await
            .map_err(RejectReason::Tls)?;
        let mut stream = TlsStream::from(stream);
        let peer = certified_peer(shared, &stream)?;
        let theirs = receive_hello(shared, &mut stream, peer).await?;
        let ours = hello(shared, peer)?;
        send_hello(&mut stream, &ours).await?;
        Ok(Connection {
            peer,
            side: Side::Acceptor,
            session: Session::new(Side::Acceptor, theirs.nonce, ours.nonce),
            stream,
        })
    };
    timeout(shared.times.handshake_timeout, handshake)
        .await
        .unwrap_or(Err(RejectReason::TimedOut))
}

/// Opens a TCP connection that does not wait to fill its segments: we batch by ourselves.
pub(super) async fn connect(shared: &Shared, address: SocketAddr) -> io::Result<TcpStream> {
    let stream = timeout(shared.times.handshake_timeout, TcpStream::connect(address))
        .await
        .unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whom the certificate of the other side names. TLS has checked that one of the cluster's authorities vouches for it.
fn certified_peer(shared: &Shared, stream: &TlsStream<TcpStream>) -> Result<PeerId, RejectReason> {
    let certificate = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(<[_]>::first)
        .ok_or(RejectReason::Certificate(CertificateError::Absent))?;
    let seen = identity_of(certificate).map_err(RejectReason::Certificate)?;
    if seen.cluster != shared.local.cluster {
        return Err(RejectReason::Cluster {
            seen: seen.cluster,
            expected: shared.local.cluster,
        });
    }
    if seen.peer == shared.local.peer {
        return Err(RejectReason::OwnId {
            local: shared.local.peer,
        });
    }
    Ok(seen.peer)
}

fn hello(shared: &Shared, to: PeerId) -> Result<Hello, RejectReason> {
    let mut nonce = [0; 16];
    let provider: Arc<_> = shared.tls.read().provider.clone();
    provider
        .secure_random
        .fill(&mut nonce)
        .map_err(|_failed| RejectReason::Tls(io::Error::other("the system gives no randomness")))?;
    Ok(Hello {
        cluster: shared.local.cluster,
        from: shared.local.peer,
        to,
        nonce,
    })
}

async fn send_hello(stream: &mut TlsStream<TcpStream>, hello: &Hello) -> Result<(), RejectReason> {
    stream
        .write_all(&hello.encode())
        .await
        .map_err(RejectReason::Broken)?;
    stream.flush().await.map_err(RejectReason::Broken)
}

async fn receive_hello(
    shared: &Shared,
    stream: &mut TlsStream<TcpStream>,
    from: PeerId,
) -> Result<Hello, RejectReason> {
    let mut bytes = [0; HELLO_BYTES];
    stream
        .read_exact(&mut bytes)
        .await
        .map_err(RejectReason::Broken)?;
    let hello = Hello::decode(&bytes).map_err(RejectReason::Hello)?;
    let remote = crate::transport::identity::PeerIdentity {
        cluster: shared.local.cluster,
        peer: from,
    };
    hello
        .verify(remote, shared.local.peer)
        .map_err(RejectReason::Hello)?;
    Ok(hello)
}
