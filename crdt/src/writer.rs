//! The only thing that mints dots.

use crate::{Bounds, Dot, Limits, ReplicaId, VersionVector, WriteError};

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
    /// The latest stamp of another replica that it has looked for and found, in milliseconds.
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
    /// writes fail with [`WriteError::FarFuture`] if a stamp leads both that time and all stamps of other replicas in the
    /// state by more than `drift_ms_max`. A document with such a stamp would reach nobody until clocks catch up.
    ///
    /// That is so where a clock that was ahead has been set right and what it stamped is still there, and not yet where a
    /// clock that nobody contradicts is ahead.
    pub const fn tolerate(&mut self, wall_ms: u64, drift_ms_max: u64) {
        self.limits.wall_ms = wall_ms;
        self.limits.drift_ms_max = drift_ms_max;
    }

    pub(crate) const fn bounds(&self) -> Bounds {
        self.limits.bounds
    }

    /// What it may write.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            wall_ms: self.limits.wall_ms.max(self.shown_ms),
            ..self.limits
        }
    }

    /// Another replica has stamped something so late.
    pub(crate) fn is_shown(&mut self, wall_ms: u64) {
        self.shown_ms = self.shown_ms.max(wall_ms);
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
