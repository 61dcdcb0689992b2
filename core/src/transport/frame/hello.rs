use bytes::BufMut;

use super::{FrameError, HELLO_BYTES, VERSION};
use crate::peer::PeerId;
use crate::transport::identity::{ClusterId, PeerIdentity};

const MAGIC: [u8; 8] = *b"peaberry";

/// The first bytes that each side of a connection sends; see the [module](super) for their layout.
///
/// ```
/// use peaberry_core::frame::Hello;
/// use peaberry_core::{ClusterId, PeerId};
///
/// let [one, two] = [1, 2].map(|id| PeerId::new(id).unwrap());
/// let hello = Hello { cluster: ClusterId::new(7).unwrap(), from: one, to: two, nonce: [0xa5; 16] };
/// assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "another field is a new version of the layout"
)]
pub struct Hello {
    /// The sender's cluster.
    pub cluster: ClusterId,
    /// The sender.
    pub from: PeerId,
    /// Whom the sender believes to speak to.
    pub to: PeerId,
    /// Random, new for each connection.
    pub nonce: [u8; 16],
}

impl Hello {
    /// The hello's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        let mut rest = bytes.as_mut_slice();
        rest.put_slice(&MAGIC);
        rest.put_u16(VERSION);
        rest.put_u16(0);
        rest.put_u128(self.cluster.get());
        rest.put_u64(self.from.get());
        rest.put_u64(self.to.get());
        rest.put_slice(&self.nonce);
        bytes
    }

    /// Reads a hello from the start of `bytes`.
    ///
    /// # Errors
    ///
    /// What is wrong first, in the order of the layout; [`Truncated`](FrameError::Truncated) where the bytes are right
    /// as far as they go.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let mut rest = Reader {
            bytes,
            have: bytes.len(),
        };
        let magic = rest.take()?;
        if magic != MAGIC {
            return Err(FrameError::Magic { seen: magic });
        }
        let version = u16::from_be_bytes(rest.take()?);
        if version != VERSION {
            return Err(FrameError::Version { seen: version });
        }
        let reserved = u16::from_be_bytes(rest.take()?);
        if reserved != 0 {
            return Err(FrameError::Reserved {
                place: "hello",
                seen: reserved.into(),
            });
        }
        Ok(Self {
            cluster: ClusterId::new(u128::from_be_bytes(rest.take()?))
                .ok_or(FrameError::Zero { field: "cluster" })?,
            from: rest.peer("sender")?,
            to: rest.peer("receiver")?,
            nonce: rest.take()?,
        })
    }

    /// Checks that the hello was sent by `remote` to `local`, both of `remote`'s cluster.
    ///
    /// # Errors
    ///
    /// [`Cluster`](FrameError::Cluster), [`Sender`](FrameError::Sender) or [`Receiver`](FrameError::Receiver), in that
    /// order.
    pub fn verify(&self, remote: PeerIdentity, local: PeerId) -> Result<(), FrameError> {
        if self.cluster != remote.cluster {
            return Err(FrameError::Cluster {
                seen: self.cluster,
                expected: remote.cluster,
            });
        }
        if self.from != remote.peer {
            return Err(FrameError::Sender {
                seen: self.from,
                expected: remote.peer,
            });
        }
        if self.to != local {
            return Err(FrameError::Receiver {
                seen: self.to,
                expected: local,
            });
        }
        Ok(())
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    /// How many there were at the start.
    have: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (&field, rest) = self
            .bytes
            .split_first_chunk()
            .ok_or(FrameError::Truncated {
                have: self.have,
                need: HELLO_BYTES,
            })?;
        self.bytes = rest;
        Ok(field)
    }

    fn peer(&mut self, field: &'static str) -> Result<PeerId, FrameError> {
        PeerId::new(u64::from_be_bytes(self.take()?)).ok_or(FrameError::Zero { field })
    }
}

/// Which end of a connection one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a connection has two ends")]
pub enum Side {
    /// Opened the connection.
    Dialler,
    /// Was called.
    Acceptor,
}

/// Where the counters of a connection start: at one half, for each direction, of the two nonces' exclusive or.
///
/// Neither side alone decides it, unless it wants to: who picks its nonce after seeing the other's can bring about a
/// counter it has used before, and fools only itself.
///
/// ```
/// use peaberry_core::frame::{Session, Side};
///
/// let (dialler, acceptor) = ([1; 16], [3; 16]);
/// let ours = Session::new(Side::Dialler, dialler, acceptor);
/// let theirs = Session::new(Side::Acceptor, dialler, acceptor);
/// assert_eq!(ours.first_sent, theirs.first_received);
/// assert_eq!(ours.first_received, theirs.first_sent);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session {
    /// The sequence of the first frame that we send.
    pub first_sent: u64,
    /// The sequence of the first frame that we receive.
    pub first_received: u64,
}

impl Session {
    /// The session of the end `side`, from the nonces of the dialler's and the acceptor's hello.
    #[must_use]
    pub fn new(side: Side, dialler: [u8; 16], acceptor: [u8; 16]) -> Self {
        let mixed = u128::from_be_bytes(dialler) ^ u128::from_be_bytes(acceptor);
        let [from_dialler, from_acceptor] = halves(mixed);
        match side {
            Side::Dialler => Self {
                first_sent: from_dialler,
                first_received: from_acceptor,
            },
            Side::Acceptor => Self {
                first_sent: from_acceptor,
                first_received: from_dialler,
            },
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "each half of the bits is meant"
)]
const fn halves(bits: u128) -> [u64; 2] {
    [(bits >> 64) as u64, bits as u64]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> Hello {
        Hello {
            cluster: ClusterId::new(0xc0ffee).unwrap(),
            from: PeerId::new(1).unwrap(),
            to: PeerId::new(2).unwrap(),
            nonce: *b"0123456789abcdef",
        }
    }

    fn changed(at: usize, byte: u8) -> Result<Hello, FrameError> {
        let mut bytes = hello().encode();
        bytes[at] = byte;
        Hello::decode(&bytes)
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let bytes = hello().encode();
        assert_eq!(&bytes[..8], b"peaberry");
        assert_eq!(bytes[8..12], [0, 1, 0, 0]);
        assert_eq!(bytes[12..28], 0xc0ffee_u128.to_be_bytes());
        assert_eq!(bytes[28..36], 1_u64.to_be_bytes());
        assert_eq!(bytes[36..44], 2_u64.to_be_bytes());
        assert_eq!(&bytes[44..], b"0123456789abcdef");
    }

    #[test]
    fn a_wrong_hello_is_named() {
        let Err(FrameError::Magic { seen }) = changed(0, b'P') else {
            panic!("the magic was not checked");
        };
        assert_eq!(&seen, b"Peaberry");
        assert_eq!(changed(9, 2), Err(FrameError::Version { seen: 2 }));
        assert!(matches!(changed(11, 1), Err(FrameError::Reserved { .. })));
        assert_eq!(changed(35, 0), Err(FrameError::Zero { field: "sender" }));
        assert_eq!(changed(43, 0), Err(FrameError::Zero { field: "receiver" }));
    }

    #[test]
    fn a_hello_must_be_of_the_certified_peer_and_for_us() {
        let good = hello();
        let remote = PeerIdentity {
            cluster: good.cluster,
            peer: good.from,
        };
        assert_eq!(good.verify(remote, good.to), Ok(()));
        let elsewhere = PeerIdentity {
            cluster: ClusterId::new(9).unwrap(),
            ..remote
        };
        let outcome = good.verify(elsewhere, good.to);
        assert!(matches!(outcome, Err(FrameError::Cluster { .. })));
        let other = PeerId::new(3).unwrap();
        let impostor = PeerIdentity {
            peer: other,
            ..remote
        };
        let outcome = good.verify(impostor, good.to);
        assert!(matches!(outcome, Err(FrameError::Sender { .. })));
        let outcome = good.verify(remote, other);
        assert!(matches!(outcome, Err(FrameError::Receiver { .. })));
    }

    proptest! {
        #[test]
        fn every_prefix_is_truncated_and_any_bytes_are_survived(
            cut in 0..HELLO_BYTES,
            noise in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let need = HELLO_BYTES;
            prop_assert_eq!(Hello::decode(&hello().encode()[..cut]), Err(FrameError::Truncated { have: cut, need }));
            if let Ok(decoded) = Hello::decode(&noise) {
                let encoded = decoded.encode();
                prop_assert_eq!(encoded.as_slice(), &noise[..HELLO_BYTES]);
            }
        }

        /// A flipped bit is either found or changes an id or the nonce, which `verify` and the counters check.
        #[test]
        fn a_flipped_bit_never_passes_for_the_same_hello(at in 0..HELLO_BYTES, bit in 0..8_u8) {
            let good = hello();
            if let Ok(decoded) = changed(at, good.encode()[at] ^ (1 << bit)) {
                prop_assert_ne!(decoded, good);
                prop_assert!(at >= 12);
            }
        }
    }
}
