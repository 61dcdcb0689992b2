//! What a peer's delta may ask of us.

use thiserror::Error;

use crate::wire::Bound;

/// How large a state may become: what is larger no peer with the same [`Budget`](crate::wire::Budget) could be told
/// whole.
///
/// One that is larger already, as when its bounds were lowered, may become smaller and not grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of how many replicas events are known. They are never forgotten.
    pub ids_max: usize,
    /// How many dots the stores hold; of a text, how many runs of edits there have been and what they had seen; of a
    /// [`BoundedCounter`](crate::BoundedCounter) how many grants, and nothing of another counter.
    pub dots_max: usize,
}

impl Bounds {
    /// Lets every state pass.
    pub const NONE: Self = Self {
        ids_max: usize::MAX,
        dots_max: usize::MAX,
    };

    /// What is within both.
    #[must_use]
    pub fn meet(self, other: Self) -> Self {
        Self {
            ids_max: self.ids_max.min(other.ids_max),
            dots_max: self.dots_max.min(other.dots_max),
        }
    }

    pub(crate) const fn check_ids(&self, held: usize, new: usize) -> Result<(), Outgrown> {
        check(Bound::Ids, held, held.saturating_add(new), self.ids_max)
    }

    pub(crate) const fn check_dots(&self, held: usize, then: usize) -> Result<(), Outgrown> {
        check(Bound::Dots, held, then, self.dots_max)
    }
}

const fn check(bound: Bound, held: usize, then: usize, max: usize) -> Result<(), Outgrown> {
    if then > max && then > held {
        let (given, max) = (then as u64, max as u64);
        return Err(Outgrown { bound, given, max });
    }
    Ok(())
}

/// A state would become larger than its [`Bounds`]. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the state would have {given} {bound}, over its limit of {max}; raise it at all replicas")]
pub struct Outgrown {
    /// Which bound.
    pub bound: Bound,
    /// How many it would have.
    pub given: u64,
    /// The limit.
    pub max: u64,
}

/// Limits on a delta, checked by [`Causal::apply_within`](crate::Causal::apply_within) before anything
/// changes. They hold for what is new in the delta, at any depth of nesting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Our wall clock, in milliseconds since the Unix epoch: make it anew for each delta, see [`Tolerance::at`].
    pub wall_ms: u64,
    /// How far a stamp may lead it, in milliseconds. A stamp from the far future would win until clocks catch up.
    pub drift_ms_max: u64,
    /// By how much one delta may raise a replica's running total. A corrupt total would win for ever.
    pub advance_max: u64,
    /// How large the state may become.
    pub bounds: Bounds,
}

impl Limits {
    /// Lets everything pass.
    pub const NONE: Self = Self {
        wall_ms: 0,
        drift_ms_max: u64::MAX,
        advance_max: u64::MAX,
        bounds: Bounds::NONE,
    };

    /// Whether any value could be refused.
    pub(crate) const fn are_of_values(&self) -> bool {
        self.drift_ms_max < u64::MAX || self.advance_max < u64::MAX
    }
}

/// How much is tolerated of peers: [`Limits`], but for the time at which they are applied.
///
/// # Example
///
/// ```
/// use peaberry_crdt::{Limits, Tolerance};
///
/// let tolerance = Tolerance { advance_max: 1_000, ..Tolerance::default() };
/// let Limits { wall_ms, drift_ms_max, advance_max, .. } = tolerance.at(1_767_225_600_000);
/// assert_eq!((wall_ms, drift_ms_max, advance_max), (1_767_225_600_000, 300_000, 1_000));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// How far a stamp may lead our wall clock, in milliseconds; `u64::MAX` for any.
    pub drift_ms_max: u64,
    /// By how much one delta may raise a replica's running total, or a reset claim to have seen more of it than is known;
    /// `u64::MAX` for any. What a peer missed for a month comes in one delta too, and is measured from what is held: a
    /// total of which nothing is held from zero, unless its beginning is known and it was removed with the key of a map.
    /// So for a state that knows nothing yet let any total pass: a `Replica` does, from when it is opened empty, through
    /// restarts, until it has had all that its peers told of, and more than half of them have. Who was away for longer than
    /// this allows for tolerates more until it has caught up.
    pub advance_max: u64,
}

impl Tolerance {
    /// Clocks may differ by five minutes; totals may rise as they like.
    pub const USUAL: Self = Self {
        drift_ms_max: 300_000,
        advance_max: u64::MAX,
    };

    /// Tolerates everything.
    pub const ANYTHING: Self = Self {
        drift_ms_max: u64::MAX,
        advance_max: u64::MAX,
    };

    /// What that means when our wall clock shows `wall_ms`.
    #[must_use]
    pub const fn at(self, wall_ms: u64) -> Limits {
        Limits {
            wall_ms,
            drift_ms_max: self.drift_ms_max,
            advance_max: self.advance_max,
            bounds: Bounds::NONE,
        }
    }
}

impl Default for Tolerance {
    /// [`USUAL`](Self::USUAL).
    fn default() -> Self {
        Self::USUAL
    }
}
