//! What a peer's delta may ask of us.

/// Limits on the values of a delta, checked by [`Causal::apply_within`](crate::Causal::apply_within) before anything
/// changes. They hold for what is new in the delta, at any depth of nesting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Our wall clock, in milliseconds since the Unix epoch: make it anew for each delta, see [`Tolerance::at`].
    pub wall_ms: u64,
    /// How far a stamp may lead it, in milliseconds. A stamp from the far future would win until clocks catch up.
    pub drift_ms_max: u64,
    /// By how much one delta may raise a replica's running total. A corrupt total would win for ever.
    pub advance_max: u64,
}

impl Limits {
    /// Lets everything pass.
    pub const NONE: Self = Self {
        wall_ms: 0,
        drift_ms_max: u64::MAX,
        advance_max: u64::MAX,
    };
}

/// How much is tolerated of peers: [`Limits`], but for the time at which they are applied.
///
/// # Example
///
/// ```
/// use peaberry_crdt::{Limits, Tolerance};
///
/// let tolerance = Tolerance { advance_max: 1_000, ..Tolerance::default() };
/// let Limits { wall_ms, drift_ms_max, advance_max } = tolerance.at(1_767_225_600_000);
/// assert_eq!((wall_ms, drift_ms_max, advance_max), (1_767_225_600_000, 300_000, 1_000));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// How far a stamp may lead our wall clock, in milliseconds; `u64::MAX` for any.
    pub drift_ms_max: u64,
    /// By how much one delta may raise a replica's running total; `u64::MAX` for any. What a peer missed for a month
    /// comes in one delta too.
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
        }
    }
}

impl Default for Tolerance {
    /// [`USUAL`](Self::USUAL).
    fn default() -> Self {
        Self::USUAL
    }
}
