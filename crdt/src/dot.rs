//! One event of one replica.

use core::fmt;
use core::num::NonZeroU64;

use crate::ReplicaId;

/// The name of one event: the `counter`-th event of `replica`, counted from one.
///
/// Ordered by replica, then counter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    replica: ReplicaId,
    counter: NonZeroU64,
}

impl Dot {
    /// The dot with this counter, or `None` for counter zero.
    #[must_use]
    pub const fn new(replica: ReplicaId, counter: u64) -> Option<Self> {
        match NonZeroU64::new(counter) {
            Some(counter) => Some(Self { replica, counter }),
            None => None,
        }
    }

    /// Whose event it is.
    #[must_use]
    pub const fn replica(self) -> ReplicaId {
        self.replica
    }

    /// Which of the replica's events it is; the first is one.
    #[must_use]
    pub const fn counter(self) -> u64 {
        self.counter.get()
    }
}

impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}.{}", self.replica, self.counter)
    }
}
