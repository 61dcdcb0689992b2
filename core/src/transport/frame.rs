//! The bytes that a [`Mesh`](crate::mesh::Mesh) puts on a connection.
//!
//! Pure functions over bytes: no socket, no clock. All numbers are big-endian.
//!
//! # Hello
//!
//! Each side of a new connection sends one, first the dialler, then, once it has checked that one, the acceptor.
//! [`HELLO_BYTES`] bytes:
//!
//! | bytes | field | |
//! |---|---|---|
//! | 0..8 | magic | `peaberry` |
//! | 8..10 | version | [`VERSION`]; in every version at this place |
//! | 10..12 | reserved | zero |
//! | 12..28 | cluster | the sender's [`ClusterId`], not zero |
//! | 28..36 | from | the sender's [`PeerId`], not zero |
//! | 36..44 | to | the peer that the sender believes to speak to, not zero |
//! | 44..60 | nonce | 16 random bytes, new for each connection |
//!
//! # Frame
//!
//! Then frames follow, one directly behind the other. [`HEADER_BYTES`] bytes and the payload:
//!
//! | bytes | field | |
//! |---|---|---|
//! | 0..4 | length | of the payload, at most [`PAYLOAD_BYTES_MAX`] |
//! | 4 | kind | 1 message, 2 ping, 4 pong |
//! | 5..13 | sequence | one more than the frame before; wraps |
//! | 13..15 | protocol | of the message's channel; zero for ping and pong |
//! | 15..23 | group | of the message's channel; zero for a ping, the sequence of the answered ping for a pong |
//! | 23.. | payload | the message; empty for ping and pong |
//!
//! The first frame's sequence comes from both nonces (see [`Session`]), another one in each direction. So a frame is
//! refused that is replayed, left out or put in another place within its connection, that was recorded on another
//! connection, or that is reflected to its sender; and a replayed hello gets no frame accepted behind it.
//!
//! # What is detected where
//!
//! The bytes travel inside TLS, which detects every change to them: there is no checksum. The decoder is for the
//! faults and the malice of a peer that holds a valid certificate. It finds a wrong magic, version, cluster, sender,
//! receiver, kind, sequence, reserved field, or length over the limit. It cannot find a changed protocol, group, payload,
//! or a length that stays within the limit (though the sequence of what then seems to be the next frame will be wrong).

mod codec;
mod hello;

use bytes::Bytes;

pub use self::codec::{FrameDecoder, FrameEncoder, decode_all};
pub use self::hello::{Hello, Session, Side};
use crate::peer::{Channel, PeerId};
use crate::transport::PAYLOAD_BYTES_MAX;
use crate::transport::identity::ClusterId;

/// The version of this layout.
pub const VERSION: u16 = 1;

/// The length of a [`Hello`], in bytes.
pub const HELLO_BYTES: usize = 60;

/// The length of what precedes a frame's payload, in bytes.
pub const HEADER_BYTES: usize = 23;

/// What one frame carries.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a new kind of frame is a new version of the layout"
)]
pub enum Frame {
    /// A message.
    Message {
        /// What it is about.
        channel: Channel,
        /// Its bytes; they share memory with the buffer they were read into.
        payload: Bytes,
    },
    /// Asks for a [`Pong`](Self::Pong).
    Ping {
        /// The ping's own sequence.
        sequence: u64,
    },
    /// Tells that every frame before a ping has been received.
    Pong {
        /// The ping's sequence.
        answers: u64,
    },
}

/// Why bytes are not the next frame, or not the hello. The connection cannot go on: where the next frame starts is
/// unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Another protocol, or noise.
    #[error("not a peaberry hello: it begins with {seen:02x?}")]
    Magic {
        /// The first bytes.
        seen: [u8; 8],
    },
    /// A peer of another version.
    #[error("version {seen} of the frame layout: only {VERSION} is supported")]
    Version {
        /// Its version.
        seen: u16,
    },
    /// A field that must be zero is not.
    #[error("reserved bytes of a {place} hold {seen:#x}")]
    Reserved {
        /// Where.
        place: &'static str,
        /// What it holds.
        seen: u64,
    },
    /// An id that is zero.
    #[error("the {field} of a hello is zero")]
    Zero {
        /// Which one.
        field: &'static str,
    },
    /// A peer of another cluster.
    #[error("hello of cluster {seen}: this is cluster {expected}")]
    Cluster {
        /// Its cluster.
        seen: ClusterId,
        /// Ours.
        expected: ClusterId,
    },
    /// A peer that speaks in another's name.
    #[error("hello from {seen}, but the certificate is of {expected}")]
    Sender {
        /// Whom it claims to be.
        seen: PeerId,
        /// Who it is.
        expected: PeerId,
    },
    /// A peer that wanted to speak to another.
    #[error("hello for {seen}, but this is {expected}: is an address wrong?")]
    Receiver {
        /// To whom.
        seen: PeerId,
        /// Who we are.
        expected: PeerId,
    },
    /// The bytes end too early.
    #[error("the connection ended {have} bytes into {need}")]
    Truncated {
        /// How many there are.
        have: usize,
        /// How many there must be.
        need: usize,
    },
    /// A payload over the limit. Nothing was allocated for it.
    #[error("payload of {bytes} bytes is over the limit of {PAYLOAD_BYTES_MAX}")]
    Oversized {
        /// Its length.
        bytes: usize,
    },
    /// An unknown kind of frame.
    #[error("frame of unknown kind {seen}")]
    Kind {
        /// Its number.
        seen: u8,
    },
    /// A frame that is replayed, missing, overtaken, reflected, or of another connection.
    #[error("frame {seen:#x} where {expected:#x} must come")]
    Sequence {
        /// Its sequence.
        seen: u64,
        /// The one that must come.
        expected: u64,
    },
}
