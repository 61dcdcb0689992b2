//! What a peer's delta may ask of us.

/// Bounds on the values of a delta, checked by [`Causal::apply_within`](crate::Causal::apply_within) before anything
/// changes. They hold for what is new in the delta, at any depth of nesting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Our wall clock, in milliseconds since the Unix epoch.
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
