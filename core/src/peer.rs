//! Who talks to whom, about what.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU64;

/// A machine of the cluster, for its whole life.
///
/// A machine whose disk was wiped is a new peer and needs a new id: its promises are gone.
/// Zero is invalid by construction.
///
/// ```
/// use peaberry_core::PeerId;
///
/// assert!(PeerId::new(0).is_none());
/// assert_eq!(PeerId::new(7).unwrap().to_string(), "peer-7");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(NonZeroU64);

impl PeerId {
    /// The peer numbered 1.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// The peer numbered `id`; `None` for zero.
    #[must_use]
    pub const fn new(id: u64) -> Option<Self> {
        match NonZeroU64::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number, never zero.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer-{}", self.0)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A kind of protocol. Numbers below 1024 belong to the peaberry family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProtocolId(pub u16);

/// One conversation: a protocol, and which of its groups.
///
/// ```
/// use peaberry_core::{Channel, ProtocolId};
///
/// let orders = Channel::new(ProtocolId(2000), 7);
/// assert_eq!(orders.to_string(), "2000/7");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel {
    /// The kind of protocol; a [`Transport`](crate::Transport) delivers by it.
    pub protocol: ProtocolId,
    /// The group within the protocol; a [`Node`](crate::Node) delivers by it.
    pub group: u64,
}

impl Channel {
    /// The channel of `group` within `protocol`.
    #[must_use]
    pub const fn new(protocol: ProtocolId, group: u64) -> Self {
        Self { protocol, group }
    }

    /// Protocol and group, big-endian: sorts as the channel does.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 10] {
        let mut bytes = [0; 10];
        let (protocol, group) = bytes.split_at_mut(2);
        protocol.copy_from_slice(&self.protocol.0.to_be_bytes());
        group.copy_from_slice(&self.group.to_be_bytes());
        bytes
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.protocol.0, self.group)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which authenticated peers a protocol listens to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Everyone the transport has authenticated.
    Any,
    /// These and nobody else.
    Only(BTreeSet<PeerId>),
}

impl Peers {
    /// Whether `peer` is one of them.
    #[must_use]
    pub fn contains(&self, peer: PeerId) -> bool {
        match self {
            Self::Any => true,
            Self::Only(peers) => peers.contains(&peer),
        }
    }
}

impl FromIterator<PeerId> for Peers {
    fn from_iter<I: IntoIterator<Item = PeerId>>(peers: I) -> Self {
        Self::Only(peers.into_iter().collect())
    }
}
