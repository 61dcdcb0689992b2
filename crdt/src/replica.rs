//! Who writes: the identity of one incarnation of a replica.

use core::fmt;
use core::str::FromStr;

use thiserror::Error;

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

/// From the digits that [`Display`](fmt::Display) writes: 32 of base sixteen.
impl FromStr for ReplicaId {
    type Err = ParseReplicaIdError;

    fn from_str(digits: &str) -> Result<Self, ParseReplicaIdError> {
        if digits.len() != 32 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(ParseReplicaIdError);
        }
        let value = u128::from_str_radix(digits, 16).ok();
        value.and_then(Self::new).ok_or(ParseReplicaIdError)
    }
}

/// What was read is no [`ReplicaId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a replica id is 32 digits of base sixteen that are not all zero")]
pub struct ParseReplicaIdError;

impl fmt::Debug for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{:x}", self.get())
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::ReplicaId;

    #[test]
    fn zero_is_no_replica_and_values_survive() {
        assert_eq!(ReplicaId::new(0), None);
        for value in [1, u128::from(u64::MAX), 1 << 64, u128::MAX] {
            let id = ReplicaId::new(value).unwrap();
            assert_eq!(id.get(), value);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        let zero = "0".repeat(32);
        for digits in ["", "1", "+0000000000000000000000000000001", &zero] {
            assert!(digits.parse::<ReplicaId>().is_err());
        }
        assert!(ReplicaId::new(u128::from(u64::MAX)) < ReplicaId::new(1 << 64));
    }
}
