//! Any set of known events: a contiguous prefix of each replica, and islands beyond.

use crate::{Changed, Dot, Interval, IntervalVersionVector, Lattice, VersionVector};

/// A set of events: a [`VersionVector`] and, apart from it, intervals that do not yet touch it.
///
/// Kept compact: an interval that continues the vector moves into it. A [`Causal`](crate::Causal) never has islands,
/// since it refuses gaps; a context is for telling of sets that are not prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CausalContext {
    vector: VersionVector,
    islands: IntervalVersionVector,
}

impl CausalContext {
    /// Knows nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            vector: VersionVector::new(),
            islands: IntervalVersionVector::new(),
        }
    }

    /// Whether the event is known.
    #[must_use]
    pub fn contains(&self, dot: Dot) -> bool {
        self.vector.covers(dot) || self.islands.contains(dot)
    }

    /// Adds events.
    pub fn insert(&mut self, interval: Interval) -> Changed {
        if interval.last() <= self.vector.get(interval.replica()) {
            return Changed::No;
        }
        let changed = self.islands.insert(interval);
        self.islands.drain_contiguous(&mut self.vector);
        changed
    }

    /// The contiguous part.
    #[must_use]
    pub const fn vector(&self) -> &VersionVector {
        &self.vector
    }

    /// What lies beyond a gap.
    #[must_use]
    pub const fn islands(&self) -> &IntervalVersionVector {
        &self.islands
    }
}

impl From<VersionVector> for CausalContext {
    fn from(vector: VersionVector) -> Self {
        Self {
            vector,
            islands: IntervalVersionVector::new(),
        }
    }
}

impl Lattice for CausalContext {
    fn bottom() -> Self {
        Self::new()
    }

    fn join(&mut self, other: &Self) -> Changed {
        let before = self.clone();
        self.vector.join(&other.vector);
        self.islands.join(&other.islands);
        self.islands.drain_contiguous(&mut self.vector);
        Changed::when(*self != before)
    }

    fn partial_le(&self, other: &Self) -> bool {
        let mut joined = other.clone();
        joined.join(self) == Changed::No
    }
}
