//! A document that counts what is made of it.

use std::cell::Cell;

use peaberry_crdt::{ApplyError, Changed, Limits, Replicated, VersionVector};

/// Counts how often a delta is made of it, and how often of all that a peer lacks.
pub(crate) struct Counted<D> {
    pub(crate) state: D,
    pub(crate) made: Cell<u64>,
    pub(crate) wholes: Cell<u64>,
}

impl<D> Counted<D> {
    pub(crate) const fn new(state: D) -> Self {
        let (made, wholes) = (Cell::new(0), Cell::new(0));
        Self {
            state,
            made,
            wholes,
        }
    }
}

impl<D: Replicated> Replicated for Counted<D> {
    type Delta = D::Delta;

    fn vector(&self) -> &VersionVector {
        self.state.vector()
    }

    fn delta_since(&self, known: &VersionVector) -> Self::Delta {
        self.made.set(self.made.get() + 1);
        self.wholes.set(self.wholes.get() + 1);
        self.state.delta_since(known)
    }

    fn needs(delta: &Self::Delta) -> &VersionVector {
        D::needs(delta)
    }

    fn gives(delta: &Self::Delta) -> &VersionVector {
        D::gives(delta)
    }

    fn apply_within(
        &mut self,
        delta: &Self::Delta,
        limits: &Limits,
    ) -> Result<Changed, ApplyError> {
        self.state.apply_within(delta, limits)
    }

    fn split(delta: Self::Delta, bytes_max: usize) -> Vec<Self::Delta> {
        D::split(delta, bytes_max)
    }

    fn first_part_since(&self, known: &VersionVector, bytes_max: usize) -> Option<Self::Delta> {
        self.made.set(self.made.get() + 1);
        self.state.first_part_since(known, bytes_max)
    }

    fn canonical_bytes(&self) -> Vec<u8> {
        self.state.canonical_bytes()
    }

    fn collect(&mut self, stable: &VersionVector) -> Changed {
        self.state.collect(stable)
    }
}
