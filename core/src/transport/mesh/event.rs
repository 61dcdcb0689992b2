use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::credentials::CertificateError;
use crate::peer::{PeerId, ProtocolId};
use crate::transport::frame::FrameError;
use crate::transport::identity::ClusterId;

pub use crate::transport::frame::Side;

/// What a mesh tells its operator. None of it needs an answer: the mesh goes on by itself.
#[derive(Debug)]
#[non_exhaustive]
pub enum MeshEvent {
    /// A connection stands, and both sides have proven who they are.
    Connected {
        /// The other side.
        peer: PeerId,
        /// Who dialled: `Dialler` when we did.
        side: Side,
    },
    /// A connection ended.
    Disconnected {
        /// The other side.
        peer: PeerId,
        /// Who had dialled: `Dialler` when we had.
        side: Side,
        /// Why.
        reason: DisconnectReason,
    },
    /// Nobody answers at a peer's address. The next attempt follows.
    Unreachable {
        /// Whom we dialled.
        peer: PeerId,
        /// Where.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// A connection was turned away before it stood, by us or by the other side.
    Rejected {
        /// The other end's address.
        remote: SocketAddr,
        /// Who had dialled: `Dialler` when we had.
        side: Side,
        /// Why.
        reason: RejectReason,
    },
    /// More connections were turned away than are told one by one.
    RejectedMore {
        /// How many, since the last event of this kind.
        count: u64,
    },
    /// A peer with a valid certificate broke the rules of the connection, which is closed. A bug, or an intruder.
    Misbehaved {
        /// The peer.
        peer: PeerId,
        /// What it did.
        reason: FrameError,
    },
    /// Messages were dropped. Told at most once a ping interval for each peer, protocol and reason.
    Dropped {
        /// Who sent them, or to whom they were to go.
        peer: PeerId,
        /// What they were about. `None`: of more protocols than are counted apart.
        protocol: Option<ProtocolId>,
        /// Why.
        reason: DropReason,
        /// How many, since the last time.
        count: u64,
    },
    /// The listening socket gave an error. It is tried again a little later.
    ListenerFailed {
        /// What the system says.
        error: io::Error,
    },
}

impl fmt::Display for MeshEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { peer, side } => write!(f, "connected to {peer} ({})", verb(*side)),
            Self::Disconnected { peer, side, reason } => {
                write!(f, "disconnected from {peer} ({}): {reason}", verb(*side))
            }
            Self::Unreachable {
                peer,
                address,
                error,
            } => write!(f, "{peer} does not answer at {address}: {error}"),
            Self::Rejected {
                remote,
                side,
                reason,
            } => write!(f, "no connection with {remote} ({}): {reason}", verb(*side)),
            Self::RejectedMore { count } => write!(f, "{count} more connections turned away"),
            Self::Misbehaved { peer, reason } => write!(f, "{peer} broke the rules: {reason}"),
            Self::Dropped {
                peer,
                protocol,
                reason,
                count,
            } => {
                write!(f, "dropped {count} messages with {peer} of ")?;
                match protocol {
                    Some(protocol) => write!(f, "protocol {}", protocol.0)?,
                    None => f.write_str("several protocols")?,
                }
                write!(f, ": {reason}")
            }
            Self::ListenerFailed { error } => write!(f, "could not accept a connection: {error}"),
        }
    }
}

const fn verb(side: Side) -> &'static str {
    match side {
        Side::Dialler => "we dialled",
        Side::Acceptor => "it dialled",
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The other side closed it.
    #[error("the peer closed the connection")]
    Closed,
    /// The network broke it, or the other side's mesh, process or machine ended.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// Nothing came for the idle time-out: the peer is dead, stopped, or cut off.
    #[error("nothing came from the peer for too long")]
    Silent,
    /// Nothing could be sent for the idle time-out: the peer takes nothing any more.
    #[error("the peer took nothing for too long")]
    Stalled,
    /// The peer broke the rules; see [`MeshEvent::Misbehaved`].
    #[error("the peer broke the rules")]
    Misbehaved,
    /// The same peer connected anew.
    #[error("the peer connected anew")]
    Replaced,
    /// The peer got another address.
    #[error("the peer's address changed")]
    AddressChanged,
    /// The peer was removed.
    #[error("the peer was removed")]
    Removed,
    /// The mesh is stopping.
    #[error("the mesh is stopping")]
    Stopped,
}

/// Why a connection did not come to stand.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RejectReason {
    /// TLS failed: another authority's certificate, none at all, an expired one, or bytes that are not TLS.
    #[error("TLS failed: {0}")]
    Tls(io::Error),
    /// The certificate is valid and names no peer.
    #[error("{0}")]
    Certificate(CertificateError),
    /// The certificate is valid and of another cluster.
    #[error("a certificate of cluster {seen}: this is cluster {expected}")]
    Cluster {
        /// Its cluster.
        seen: ClusterId,
        /// Ours.
        expected: ClusterId,
    },
    /// Another peer answered than the one we dialled.
    #[error("{seen} answered where {expected} was dialled")]
    OtherPeer {
        /// Who answered.
        seen: PeerId,
        /// Whom we dialled.
        expected: PeerId,
    },
    /// The other side has a certificate of our own id. Two machines must never share one.
    #[error("the other side calls itself {local}, as we do")]
    OwnId {
        /// We.
        local: PeerId,
    },
    /// The hello is wrong.
    #[error("{0}")]
    Hello(FrameError),
    /// The connection ended during the handshake: on the dialling side, because the other turned us away.
    #[error("the connection ended before it stood: {0}")]
    Broken(io::Error),
    /// The handshake took too long.
    #[error("the handshake took too long")]
    TimedOut,
    /// As many connections as allowed are in their handshake.
    #[error("too many handshakes at once")]
    HandshakesFull,
    /// As many peers as allowed have dialled us.
    #[error("too many incoming peers")]
    IncomingFull,
}

/// Why messages were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DropReason {
    /// They came for a protocol that nobody has bound.
    NotBound,
    /// They came from a peer that the protocol does not accept.
    NotAccepted,
    /// They came for a mailbox that stayed full.
    MailboxFull,
    /// They waited for a peer that was removed, or that had only dialled us and is gone.
    PeerGone,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotBound => "nobody listens to the protocol here",
            Self::NotAccepted => "the protocol does not accept this peer",
            Self::MailboxFull => "the mailbox stayed full",
            Self::PeerGone => "the peer is gone",
        })
    }
}
