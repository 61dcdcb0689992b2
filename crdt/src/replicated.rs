//! What replicas exchange, whatever they replicate.

use alloc::vec::Vec;

use crate::wire::{DecodeError, Message, StoreCodec};
use crate::{ApplyError, Causal, Changed, Delta, DotStore, Limits, VersionVector};

/// A document that replicas exchange by vectors and deltas. The sync needs no more of it.
///
/// # Contract
///
/// 1. Equal vectors mean equal states.
/// 2. `y.apply(x.delta_since(y.vector()))` leaves `y` with all that either knew.
/// 3. A delta that starts beyond what is known is refused with [`ApplyError::Gap`], and nothing changes; one that is
///    late or repeated changes nothing.
/// 4. The parts of a split delta, applied in order, do what the delta does. After each the state is the one that the
///    events it knows make, and with each of them it knows all that its writer knew, if that is so of both states.
pub trait Replicated: Sized {
    /// What one state has over another.
    type Delta: Message;

    /// Whether events take dots from the writer's reservation. Without, as in a counter of totals, the state itself says how
    /// far a replica has written, and one that finds its store as it left it goes on under its id also after a crash.
    const MINTS: bool = true;

    /// The events known.
    fn vector(&self) -> &VersionVector;

    /// What this state has over one that knows `known`.
    fn delta_since(&self, known: &VersionVector) -> Self::Delta;

    /// What the receiver of the delta must know.
    fn needs(delta: &Self::Delta) -> &VersionVector;

    /// What the receiver of the delta knows afterwards, beside what it knew.
    fn gives(delta: &Self::Delta) -> &VersionVector;

    /// Joins a delta that keeps within `limits`.
    ///
    /// # Errors
    ///
    /// [`ApplyError`]; the state did not change.
    fn apply_within(&mut self, delta: &Self::Delta, limits: &Limits)
    -> Result<Changed, ApplyError>;

    /// Cuts a delta into parts of about `bytes_max` bytes, standing alone, to be applied in order. What cannot be told
    /// apart stays together, so a part may be larger.
    fn split(delta: Self::Delta, bytes_max: usize) -> Vec<Self::Delta>;

    /// A first such part of what this state has over one that knows `known`; `None` if it has nothing. A peer that refuses
    /// something is sent one after the other, so a type whose deltas may be long makes it without what lies behind.
    fn first_part_since(&self, known: &VersionVector, bytes_max: usize) -> Option<Self::Delta> {
        let parts = Self::split(self.delta_since(known), bytes_max);
        parts.into_iter().next()
    }

    /// The state as bytes that are equal for equal states, whatever way they came about and whatever history is kept.
    fn canonical_bytes(&self) -> Vec<u8>;

    /// Forgets history that every replica knows.
    fn collect(&mut self, stable: &VersionVector) -> Changed;

    /// In which order the events became known, as bytes, if that is no part of the state's own: what is kept beside them, so
    /// that the state is still cut into parts after it was read again.
    fn order_bytes(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Takes up again what [`order_bytes`](Self::order_bytes) told of this state. Of another state it is ignored.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]; nothing changed.
    fn restore_order(&mut self, _bytes: &[u8]) -> Result<(), DecodeError> {
        Ok(())
    }
}

impl<S: DotStore + StoreCodec> Replicated for Causal<S> {
    type Delta = Delta<S>;

    fn vector(&self) -> &VersionVector {
        self.vector()
    }

    fn delta_since(&self, known: &VersionVector) -> Delta<S> {
        self.delta_since(known)
    }

    fn needs(delta: &Delta<S>) -> &VersionVector {
        delta.from()
    }

    fn gives(delta: &Delta<S>) -> &VersionVector {
        delta.to()
    }

    fn apply_within(&mut self, delta: &Delta<S>, limits: &Limits) -> Result<Changed, ApplyError> {
        self.apply_within(delta, limits)
    }

    fn split(delta: Delta<S>, bytes_max: usize) -> Vec<Delta<S>> {
        delta.split(bytes_max)
    }

    fn first_part_since(&self, known: &VersionVector, bytes_max: usize) -> Option<Delta<S>> {
        Some(self.first_part_since(known, bytes_max))
    }

    fn canonical_bytes(&self) -> Vec<u8> {
        self.canonical_bytes()
    }

    fn collect(&mut self, stable: &VersionVector) -> Changed {
        self.collect(stable)
    }

    fn order_bytes(&self) -> Vec<u8> {
        self.order_bytes()
    }

    fn restore_order(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        self.restore_order(bytes)
    }
}
