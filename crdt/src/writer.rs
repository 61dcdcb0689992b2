//! The only thing that mints dots.

use crate::{Bounds, Dot, Lattice as _, Limits, ReplicaId, VersionVector, WriteError};

/// The right to write as one replica to one document, within a reserved range of dots.
///
/// Persist the reservation *before* making the writer: after a crash, continue past it or take a new id, so that no
/// dot is ever used twice. A writer is deliberately not `Clone`.
#[derive(Debug)]
pub struct Writer {
    replica: ReplicaId,
    minted: u64,
    reserved: u64,
    limits: Limits,
    /// What others are known to have.
    shown: VersionVector,
    /// The latest stamp among that which it has looked for and found, in milliseconds.
    shown_ms: u64,
}

impl Writer {
    /// Continues `replica` after its `minted` events, and may mint up to counter `reserved`.
    #[must_use]
    pub const fn new(replica: ReplicaId, minted: u64, reserved: u64) -> Self {
        Self {
            replica,
            minted,
            reserved,
            limits: Limits::NONE,
            shown: VersionVector::new(),
            shown_ms: 0,
        }
    }

    /// The same writer, who refuses to make a state larger than `bounds`: its writes fail with
    /// [`WriteError::Outgrown`] then. What it joins of others has [`Limits`](crate::Limits) of its own.
    #[must_use]
    pub const fn within(mut self, bounds: Bounds) -> Self {
        self.limits.bounds = bounds;
        self
    }

    /// From now on, while our wall clock shows `wall_ms`, refuses to write stamps further ahead than others let pass: its
    /// writes fail with [`WriteError::FarFuture`] if a stamp leads that time by more than `drift_ms_max`, and is later than
    /// any in the state that others are known to have ([`others_know`](Self::others_know)). A document with such a stamp
    /// would reach nobody until clocks catch up.
    ///
    /// That is so where a clock that was ahead has been set right and what it stamped is still there, and not yet where a
    /// clock that nobody contradicts is ahead.
    pub const fn tolerate(&mut self, wall_ms: u64, drift_ms_max: u64) {
        self.limits.wall_ms = wall_ms;
        self.limits.drift_ms_max = drift_ms_max;
    }

    /// Others have told that they know these events: as late as the stamps of those may be what is written here. Whose event
    /// it was does not matter: an own one that nobody has taken yet shows nothing, also when its id was another.
    pub fn others_know(&mut self, vector: &VersionVector) {
        self.shown.join(vector);
    }

    pub(crate) const fn bounds(&self) -> Bounds {
        self.limits.bounds
    }

    /// What it may write. Others measure from their own clocks: as late as what they have is well, later is not.
    pub(crate) fn limits(&self) -> Limits {
        let shown_ms = self.shown_ms.saturating_sub(self.limits.drift_ms_max);
        Limits {
            wall_ms: self.limits.wall_ms.max(shown_ms),
            ..self.limits
        }
    }

    /// The state holds an event that was stamped so late.
    pub(crate) fn finds(&mut self, dot: Dot, wall_ms: u64) {
        if self.shown.covers(dot) {
            self.shown_ms = self.shown_ms.max(wall_ms);
        }
    }

    /// Whose events it mints.
    #[must_use]
    pub const fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// How many more dots may be minted.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.reserved.saturating_sub(self.minted)
    }

    /// Extends the reservation to counter `reserved`, which must have been persisted; a lower one changes nothing.
    pub fn reserve(&mut self, reserved: u64) {
        self.reserved = self.reserved.max(reserved);
    }

    /// The next dot, not yet used up.
    pub(crate) fn next(&self, context: &VersionVector) -> Result<Mint, WriteError> {
        self.next_run(context, 1).map(|dot| Mint { dot })
    }

    /// The first of the next `count` dots, not yet used up.
    pub(crate) fn next_run(&self, context: &VersionVector, count: u64) -> Result<Dot, WriteError> {
        let known = context.get(self.replica);
        if known != self.minted {
            return Err(WriteError::NotContinuous {
                replica: self.replica,
                known,
                minted: self.minted,
            });
        }
        let exhausted = WriteError::ReservationExhausted {
            replica: self.replica,
            reserved: self.reserved,
        };
        if count > self.remaining() {
            return Err(exhausted);
        }
        let first = self.minted.checked_add(1);
        first
            .and_then(|counter| Dot::new(self.replica, counter))
            .ok_or(exhausted)
    }

    pub(crate) fn advance(&mut self) {
        self.advance_by(1);
    }

    pub(crate) fn advance_by(&mut self, count: u64) {
        self.minted += count;
    }
}

/// The dot of the event being written; handed to edits by [`Causal::write`](crate::Causal::write).
#[derive(Clone, Copy, Debug)]
pub struct Mint {
    dot: Dot,
}

impl Mint {
    /// The dot of the event.
    #[must_use]
    pub const fn dot(self) -> Dot {
        self.dot
    }
}
