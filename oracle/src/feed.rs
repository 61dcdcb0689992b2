//! What is priced.

use crate::fixed_point::{DECIMALS_MAX, VALUE_MAX};

/// The longest name of a feed, in bytes.
pub const FEED_NAME_BYTES_MAX: usize = 64;

/// A price that the oracles agree on, and when a new answer is worth a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a form to fill in; a new field is a decision"
)]
pub struct Feed {
    /// What for what: `BTC/USD`. 1 to [`FEED_NAME_BYTES_MAX`] bytes, unique in its configuration.
    pub name: String,
    /// Answers are integers in units of `10^-decimals`; at most [`DECIMALS_MAX`].
    pub decimals: u8,
    /// The least believable answer, in units; above zero. Observations below it are refused.
    pub min: i128,
    /// The greatest believable answer, in units; at most [`VALUE_MAX`].
    pub max: i128,
    /// A new answer that differs from the last by so many hundredths of a percent is reported.
    pub deviation_bps: u32,
    /// A new answer is reported anyway when it is observed so many milliseconds after the last.
    pub heartbeat_ms: u64,
    /// An answer that differs from the last by more than so many hundredths of a percent trips the circuit breaker:
    /// nothing is signed for the feed until it is reset. `None`: no breaker.
    pub breaker_bps: Option<u32>,
}

/// What is wrong with a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// The name is empty or too long.
    #[error("its name has {0} bytes: give it 1 to {FEED_NAME_BYTES_MAX}")]
    Name(usize),
    /// Too many decimals.
    #[error("it has {0} decimals: at most {DECIMALS_MAX} fit")]
    Decimals(u8),
    /// Not `0 < min <= max <= VALUE_MAX`.
    #[error("its bounds are {min} to {max}: they must lie in order between 1 and 10^30")]
    Bounds {
        /// The lower bound.
        min: i128,
        /// The upper bound.
        max: i128,
    },
    /// A deviation, heartbeat or breaker of zero.
    #[error("its {0} is zero: that would never or always act; give it a value above zero")]
    Zero(&'static str),
    /// A breaker that trips before an answer is worth reporting.
    #[error(
        "its breaker of {breaker_bps} bps is not above its deviation of {deviation_bps} bps: every report would trip it"
    )]
    Breaker {
        /// The breaker.
        breaker_bps: u32,
        /// The deviation.
        deviation_bps: u32,
    },
}

impl Feed {
    /// Checks the form.
    ///
    /// # Errors
    ///
    /// [`FeedError`] names the first field that cannot be.
    pub const fn check(&self) -> Result<(), FeedError> {
        let name_bytes = self.name.len();
        if name_bytes == 0 || name_bytes > FEED_NAME_BYTES_MAX {
            return Err(FeedError::Name(name_bytes));
        }
        if self.decimals > DECIMALS_MAX {
            return Err(FeedError::Decimals(self.decimals));
        }
        if self.min < 1 || self.min > self.max || self.max > VALUE_MAX {
            return Err(FeedError::Bounds {
                min: self.min,
                max: self.max,
            });
        }
        if self.deviation_bps == 0 {
            return Err(FeedError::Zero("deviation"));
        }
        if self.heartbeat_ms == 0 {
            return Err(FeedError::Zero("heartbeat"));
        }
        match self.breaker_bps {
            Some(0) => Err(FeedError::Zero("breaker")),
            Some(breaker_bps) if breaker_bps <= self.deviation_bps => Err(FeedError::Breaker {
                breaker_bps,
                deviation_bps: self.deviation_bps,
            }),
            _ => Ok(()),
        }
    }

    /// Whether `value` is believable.
    #[must_use]
    pub const fn admits(&self, value: i128) -> bool {
        self.min <= value && value <= self.max
    }

    /// Whether `new` is so far from `last` that it is worth a report.
    #[must_use]
    pub const fn deviates(&self, last: i128, new: i128) -> bool {
        is_apart(last, new, self.deviation_bps, Edge::Counts)
    }

    /// Whether the step from `last` to `new` is too far to be believed without a person.
    #[must_use]
    pub const fn trips(&self, last: i128, new: i128) -> bool {
        match self.breaker_bps {
            Some(bps) => is_apart(last, new, bps, Edge::DoesNotCount),
            None => false,
        }
    }
}

/// Whether a distance that is exactly the limit is one over it.
#[derive(Clone, Copy)]
pub(crate) enum Edge {
    Counts,
    DoesNotCount,
}

/// Whether `other` is more than `bps` hundredths of a percent of `base` away from it. Both are within [`VALUE_MAX`].
pub(crate) const fn is_apart(base: i128, other: i128, bps: u32, edge: Edge) -> bool {
    let apart = base.abs_diff(other) * 10_000;
    // 10^30 times 3.4 * 10^8 or more is beyond 128 bits; nothing within the bounds is that far apart.
    let limit = base.unsigned_abs().saturating_mul(bps as u128);
    match edge {
        Edge::Counts => apart >= limit,
        Edge::DoesNotCount => apart > limit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every limit that fits its 32 bits is exact, at the greatest values as well.
    #[test]
    fn a_limit_never_wraps() {
        // 2^128 over 10^30 is 340,282,366.9: one more would come out as next to nothing.
        for bps in [340_282_366, 340_282_367, u32::MAX] {
            let is_apart = |base, other| is_apart(base, other, bps, Edge::Counts);
            assert!(!is_apart(VALUE_MAX, 1), "{bps}");
            assert!(!is_apart(VALUE_MAX, VALUE_MAX - 1), "{bps}");
            assert!(is_apart(1, VALUE_MAX), "{bps}");
        }
    }
}
