//! Who writes: the identity of one incarnation of a replica.

use core::fmt;

/// The 128-bit identity of one incarnation of a replica, never zero.
///
/// Draw a fresh random one whenever continuity cannot be proved: after a restored backup, after a crash that may have
/// lost the reservation of dots, after an eviction. Two writers with one id break every type in this crate.
///
/// Held as two words, so that a [`Dot`](crate::Dot) takes 24 bytes and not 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId {
    high: u64,
    low: u64,
}

impl ReplicaId {
    /// The id with this value, or `None` for zero.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low word is what is wanted"
    )]
    pub const fn new(value: u128) -> Option<Self> {
        if value == 0 {
            return None;
        }
        let high = (value >> 64) as u64;
        let low = value as u64;
        Some(Self { high, low })
    }

    /// The id as a number.
    #[must_use]
    pub const fn get(self) -> u128 {
        ((self.high as u128) << 64) | self.low as u128
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.get())
    }
}

impl fmt::Debug for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{:x}", self.get())
    }
}

#[cfg(test)]
mod tests {
    use super::ReplicaId;

    #[test]
    fn zero_is_no_replica_and_values_survive() {
        assert_eq!(ReplicaId::new(0), None);
        for value in [1, u128::from(u64::MAX), 1 << 64, u128::MAX] {
            assert_eq!(ReplicaId::new(value).unwrap().get(), value);
        }
        assert!(ReplicaId::new(u128::from(u64::MAX)) < ReplicaId::new(1 << 64));
    }
}
