//! Counters of totals as what a sync exchanges.
//!
//! A replica's part of such a counter is written by that replica alone and only rises, so it has a version, and the
//! versions of all are the counter's vector: equal vectors, equal counters. A delta is a counter with the parts of some
//! replicas, whole as of now; it needs nothing that came before, so there is no gap for it to be refused by, nothing
//! to forget, and nothing gained by splitting it.

use alloc::vec::Vec;

use super::{BoundedCounter, GCounter, PnCounter};
use crate::wire::{Encoder, IdTable, Message};
use crate::{
    ApplyError, Bounds, Changed, CounterJump, Lattice, Limits, Outgrown, ReplicaId, Replicated,
    VersionVector,
};

static NOTHING: VersionVector = VersionVector::new();

/// A counter of parts, each written by one replica.
trait OfParts: Lattice + Message {
    fn versions(&self) -> &VersionVector;

    /// Takes in all that `other` has of a replica.
    fn put(&mut self, other: &Self, replica: ReplicaId);

    /// Whether `other`, which is not older, can have come from what is held of a replica.
    fn is_continued_by(&self, other: &Self, replica: ReplicaId) -> bool;

    fn check(&self, other: &Self, advance_max: u64) -> Result<(), CounterJump>;

    /// Whether there is room for all that both name.
    fn check_room(&self, other: &Self, bounds: Bounds) -> Result<(), Outgrown> {
        let (known, others) = (self.versions(), other.versions());
        bounds.check_ids(known.iter().len(), known.count_new(others))
    }

    fn since(&self, known: &VersionVector) -> Self {
        let mut newer = Self::bottom();
        for (replica, version) in self.versions().iter() {
            if version > known.get(replica) {
                newer.put(self, replica);
            }
        }
        newer
    }

    /// The first replica of whose part the two differ though they have one version, or of whose part the newer has
    /// less: two writers have used its id.
    fn conflict(&self, other: &Self) -> Option<(ReplicaId, u64)> {
        other.versions().iter().find(|(replica, version)| {
            let known = self.versions().get(*replica);
            let mut is_one_history = true;
            if *version >= known {
                is_one_history &= self.is_continued_by(other, *replica);
            }
            if *version <= known {
                is_one_history &= other.is_continued_by(self, *replica);
            }
            !is_one_history
        })
    }

    fn join_within(&mut self, delta: &Self, limits: &Limits) -> Result<Changed, ApplyError> {
        if let Some((replica, counter)) = self.conflict(delta) {
            return Err(ApplyError::Conflict { replica, counter });
        }
        self.check(delta, limits.advance_max)?;
        if limits.bounds != Bounds::NONE {
            self.check_room(delta, limits.bounds)?;
        }
        Ok(self.join(delta))
    }

    fn bytes(&self) -> Vec<u8> {
        let table = IdTable::new();
        let mut encoder = Encoder::new(&table);
        self.encode(&mut encoder);
        let mut bytes = Vec::new();
        encoder.finish(&mut bytes);
        bytes
    }
}

impl OfParts for GCounter {
    fn versions(&self) -> &VersionVector {
        self.totals()
    }

    fn put(&mut self, other: &Self, replica: ReplicaId) {
        self.raise(replica, other.total(replica));
    }

    fn is_continued_by(&self, other: &Self, replica: ReplicaId) -> bool {
        self.total(replica) <= other.total(replica)
    }

    fn check(&self, other: &Self, advance_max: u64) -> Result<(), CounterJump> {
        self.check(other, advance_max)
    }
}

impl OfParts for PnCounter {
    fn versions(&self) -> &VersionVector {
        self.versions()
    }

    fn put(&mut self, other: &Self, replica: ReplicaId) {
        self.put(other, replica);
    }

    fn is_continued_by(&self, other: &Self, replica: ReplicaId) -> bool {
        self.is_continued_by(other, replica)
    }

    fn check(&self, other: &Self, advance_max: u64) -> Result<(), CounterJump> {
        let ((up, down), (others_up, others_down)) = (self.parts(), other.parts());
        up.check(others_up, advance_max)?;
        down.check(others_down, advance_max)
    }
}

impl OfParts for BoundedCounter {
    fn versions(&self) -> &VersionVector {
        self.versions()
    }

    fn put(&mut self, other: &Self, replica: ReplicaId) {
        self.put(other, replica);
    }

    fn is_continued_by(&self, other: &Self, replica: ReplicaId) -> bool {
        self.is_continued_by(other, replica)
    }

    fn check(&self, other: &Self, advance_max: u64) -> Result<(), CounterJump> {
        self.check(other, advance_max)
    }

    /// The ids are counted only where there may be too many: they lie scattered among the grants.
    fn check_room(&self, other: &Self, bounds: Bounds) -> Result<(), Outgrown> {
        self.check_grants(other, bounds)?;
        let named = self.named_max().saturating_add(other.named_max());
        if named <= bounds.ids_max {
            return Ok(());
        }
        let (mine, theirs) = (self.ids(), other.ids());
        bounds.check_ids(mine.len(), theirs.difference(&mine).count())
    }
}

macro_rules! replicated {
    ($($counter:ty)*) => {$(
        /// A delta is a counter of the replicas that have changed theirs.
        impl Replicated for $counter {
            type Delta = Self;
            const MINTS: bool = false;

            fn vector(&self) -> &VersionVector {
                OfParts::versions(self)
            }

            fn delta_since(&self, known: &VersionVector) -> Self {
                self.since(known)
            }

            fn needs(_: &Self) -> &VersionVector {
                &NOTHING
            }

            fn gives(delta: &Self) -> &VersionVector {
                OfParts::versions(delta)
            }

            fn apply_within(&mut self, delta: &Self, limits: &Limits) -> Result<Changed, ApplyError> {
                self.join_within(delta, limits)
            }

            fn split(delta: Self, _: usize) -> Vec<Self> {
                Vec::from([delta])
            }

            fn canonical_bytes(&self) -> Vec<u8> {
                self.bytes()
            }

            /// Nothing is kept that all know.
            fn collect(&mut self, _: &VersionVector) -> Changed {
                Changed::No
            }
        }
    )*};
}

replicated! { GCounter PnCounter BoundedCounter }
