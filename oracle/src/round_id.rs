//! Which round.

use std::fmt;

/// A round of an epoch. Ordered by epoch, then round: an oracle, and the contract, only ever go up.
///
/// Epochs and rounds count from one; zero is invalid by construction.
///
/// ```
/// use peaberry_oracle::RoundId;
///
/// let round = RoundId::new(2, 7).unwrap();
/// assert!(round > RoundId::new(1, 900).unwrap());
/// assert_eq!(RoundId::from_sequence(round.sequence()), Some(round));
/// assert!(RoundId::new(0, 1).is_none() && RoundId::new(1, 0).is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoundId {
    epoch: u32,
    round: u32,
}

impl RoundId {
    /// Round `round` of `epoch`; `None` if either is zero.
    #[must_use]
    pub const fn new(epoch: u32, round: u32) -> Option<Self> {
        if epoch == 0 || round == 0 {
            return None;
        }
        Some(Self { epoch, round })
    }

    /// The epoch: who leads.
    #[must_use]
    pub const fn epoch(self) -> u32 {
        self.epoch
    }

    /// The round within its epoch.
    #[must_use]
    pub const fn round(self) -> u32 {
        self.round
    }

    /// Epoch and round as one number that grows as rounds do: the round's id on chain.
    #[must_use]
    pub const fn sequence(self) -> u64 {
        ((self.epoch as u64) << 32) | self.round as u64
    }

    /// The round of this [`sequence`](Self::sequence); `None` if its epoch or its round is zero.
    #[must_use]
    pub const fn from_sequence(sequence: u64) -> Option<Self> {
        let round = (sequence & 0xffff_ffff) as u32;
        Self::new((sequence >> 32) as u32, round)
    }
}

impl fmt::Display for RoundId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.round)
    }
}

impl fmt::Debug for RoundId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
