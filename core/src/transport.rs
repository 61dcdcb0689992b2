//! Messages between peers.

#[cfg(feature = "ca")]
pub mod ca;
#[cfg(feature = "mesh")]
pub mod frame;
#[cfg(any(feature = "ca", feature = "mesh"))]
pub(crate) mod identity;
pub(crate) mod memory;
#[cfg(feature = "mesh")]
pub mod mesh;
pub(crate) mod tapped;

use std::sync::Arc;

use bytes::Bytes;

use crate::mailbox::Mailbox;
use crate::peer::{Channel, PeerId, Peers, ProtocolId};

/// The longest payload that every transport carries, in bytes. Protocols chunk what is larger.
pub const PAYLOAD_BYTES_MAX: usize = 8 << 20;

/// A message as it arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Who sent it, as the transport has proven.
    pub from: PeerId,
    /// What it is about.
    pub channel: Channel,
    /// Its bytes, as they were sent. They may share memory with other messages: copy what is kept for long.
    pub payload: Bytes,
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// To whom.
    pub to: PeerId,
    /// What it is about.
    pub channel: Channel,
    /// Its bytes, at most [`PAYLOAD_BYTES_MAX`].
    pub payload: Bytes,
}

/// Carries messages between peers. Callable from any thread.
///
/// Best effort: a message may be lost, repeated or overtaken. An implementer promises, and
/// `conformance::transport` checks:
/// - a payload arrives with the bytes that were sent, under the channel it was sent on;
/// - `from` is who sent it: nobody can speak in another's name;
/// - a mailbox bound for a protocol gets that protocol's messages from peers in `accept` and no others;
/// - `send` never waits; queues are bounded, one for each (peer, channel), and drained fairly, so that a long transfer on
///   one channel does not hold up another.
pub trait Transport: Send + Sync {
    /// Who we are.
    fn local(&self) -> PeerId;

    /// Delivers the protocol's messages from peers in `accept` to `mailbox`, from now on.
    ///
    /// # Errors
    ///
    /// [`AlreadyBound`](TransportError::AlreadyBound): nothing changed. A binding ends when every other owner of its
    /// mailbox has dropped it.
    fn bind(
        &self,
        protocol: ProtocolId,
        accept: Peers,
        mailbox: Arc<Mailbox>,
    ) -> Result<(), TransportError>;

    /// Queues every message it can and takes it out of `batch`. What stays in `batch` was refused: an unknown peer,
    /// oneself, a payload over [`PAYLOAD_BYTES_MAX`], a full queue.
    fn send(&self, batch: &mut Vec<Outgoing>);
}

/// Why a transport refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// Another live mailbox receives this protocol. Nothing changed.
    #[error("protocol {} already has a mailbox on {local}", protocol.0)]
    AlreadyBound {
        /// The protocol.
        protocol: ProtocolId,
        /// On which peer.
        local: PeerId,
    },
}
