//! Counters of totals that only rise.

use thiserror::Error;

use crate::{Changed, Lattice, ReplicaId, VersionVector, WriteError, Writer};

/// A peer's counter raises a total by more than allowed: a bug or an attack, which once joined could never be undone.
/// Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("replica {replica} has a total jump from {known} to {given}, by more than {advance_max}")]
pub struct CounterJump {
    /// Whose total; if it is what a reset says that it has seen, whose reset.
    pub replica: ReplicaId,
    /// The total known.
    pub known: u64,
    /// The total given.
    pub given: u64,
    /// The largest rise allowed.
    pub advance_max: u64,
}

/// A counter that only rises.
///
/// It is synced like a document: its vector says how far each replica's total has risen, and is all of its state. A
/// write needs its replica's past writes restored, and nothing else: whoever writes must be the only one under its id.
/// A delta is a counter with one total in it.
///
/// # Example
///
/// ```
/// use peaberry_crdt::{GCounter, Lattice, ReplicaId, Writer};
///
/// let [mut here, mut there] = [GCounter::bottom(), GCounter::bottom()];
/// let [mine, theirs] = [1, 2].map(|id| Writer::new(ReplicaId::new(id).unwrap(), 0, 0));
/// here.add(&mine, 2).unwrap();
/// let delta = there.add(&theirs, 3).unwrap();
/// here.join_limited(&delta, 1_000).unwrap();
/// here.join(&delta); // twice is once
/// assert_eq!(here.value(), 5);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GCounter {
    totals: VersionVector,
}

impl GCounter {
    /// Adds `amount` and returns the delta.
    ///
    /// # Errors
    ///
    /// [`WriteError::CounterOverflow`] and [`WriteError::Outgrown`]; nothing changed.
    pub fn add(&mut self, writer: &Writer, amount: u64) -> Result<Self, WriteError> {
        let is_new = amount > 0 && self.total(writer.replica()) == 0;
        writer
            .bounds()
            .check_ids(self.totals.iter().len(), usize::from(is_new))?;
        self.add_as(writer.replica(), amount)
    }

    pub(super) fn add_as(&mut self, replica: ReplicaId, amount: u64) -> Result<Self, WriteError> {
        let total = self
            .totals
            .get(replica)
            .checked_add(amount)
            .ok_or(WriteError::CounterOverflow { replica })?;
        let mut delta = Self::default();
        delta.totals.raise(replica, total);
        self.totals.raise(replica, total);
        Ok(delta)
    }

    /// The sum of all totals.
    #[must_use]
    pub fn value(&self) -> i128 {
        self.totals.iter().map(|(_, total)| i128::from(total)).sum()
    }

    /// The total of one replica.
    #[must_use]
    pub fn total(&self, replica: ReplicaId) -> u64 {
        self.totals.get(replica)
    }

    /// Joins a peer's counter unless it raises a total by more than `advance_max`.
    ///
    /// # Errors
    ///
    /// [`CounterJump`]; nothing changed.
    pub fn join_limited(&mut self, other: &Self, advance_max: u64) -> Result<Changed, CounterJump> {
        self.check(other, advance_max)?;
        Ok(self.join(other))
    }

    /// The total of each replica, as a vector: equal ones are equal counters.
    #[must_use]
    pub const fn totals(&self) -> &VersionVector {
        &self.totals
    }

    pub(crate) const fn of_totals(totals: VersionVector) -> Self {
        Self { totals }
    }

    pub(super) fn raise(&mut self, replica: ReplicaId, total: u64) {
        self.totals.raise(replica, total);
    }

    pub(super) fn check(&self, other: &Self, advance_max: u64) -> Result<(), CounterJump> {
        for (replica, given) in other.totals.iter() {
            let known = self.totals.get(replica);
            if given.saturating_sub(known) > advance_max {
                return Err(CounterJump {
                    replica,
                    known,
                    given,
                    advance_max,
                });
            }
        }
        Ok(())
    }
}

impl Lattice for GCounter {
    fn bottom() -> Self {
        Self::default()
    }

    fn join(&mut self, other: &Self) -> Changed {
        self.totals.join(&other.totals)
    }

    fn partial_le(&self, other: &Self) -> bool {
        self.totals.partial_le(&other.totals)
    }
}

/// A counter that rises and falls: two [`GCounter`]s.
///
/// It is synced like a document. Of each replica its vector has the sum of both totals, which rises with every change: so
/// it tells which of two copies knows more of a replica. A delta has both totals of each replica that it speaks of.
///
/// # Example
///
/// ```
/// use peaberry_crdt::{Lattice, PnCounter, ReplicaId, Writer};
///
/// let mut stock = PnCounter::bottom();
/// let writer = Writer::new(ReplicaId::new(1).unwrap(), 0, 0);
/// stock.add(&writer, 12).unwrap();
/// stock.add(&writer, -15).unwrap();
/// assert_eq!(stock.value(), -3);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PnCounter {
    up: GCounter,
    down: GCounter,
    /// Of each replica both totals together.
    versions: VersionVector,
}

impl PnCounter {
    /// Adds `amount`, which may be negative, and returns the delta.
    ///
    /// # Errors
    ///
    /// [`WriteError::CounterOverflow`] if what the replica has added and taken away would not fit 64 bits together, and
    /// [`WriteError::Outgrown`]; nothing changed.
    pub fn add(&mut self, writer: &Writer, amount: i64) -> Result<Self, WriteError> {
        let replica = writer.replica();
        self.versions
            .get(replica)
            .checked_add(amount.unsigned_abs())
            .ok_or(WriteError::CounterOverflow { replica })?;
        let is_new = amount != 0 && self.versions.get(replica) == 0;
        writer
            .bounds()
            .check_ids(self.versions.iter().len(), usize::from(is_new))?;
        if amount < 0 {
            self.down.add_as(replica, amount.unsigned_abs())?;
        } else {
            self.up.add_as(replica, amount.unsigned_abs())?;
        }
        self.count(replica);
        let mut delta = Self::default();
        delta.put(self, replica);
        Ok(delta)
    }

    /// What was added less what was taken away.
    #[must_use]
    pub fn value(&self) -> i128 {
        self.up.value() - self.down.value()
    }

    /// Joins a peer's counter unless it raises a total, of either sign, by more than `advance_max`.
    ///
    /// # Errors
    ///
    /// [`CounterJump`]; nothing changed.
    pub fn join_limited(&mut self, other: &Self, advance_max: u64) -> Result<Changed, CounterJump> {
        self.up.check(&other.up, advance_max)?;
        self.down.check(&other.down, advance_max)?;
        Ok(self.join(other))
    }

    pub(crate) const fn parts(&self) -> (&GCounter, &GCounter) {
        (&self.up, &self.down)
    }

    /// `None` if what a replica has added and taken away does not fit 64 bits together.
    pub(crate) fn of_parts(up: GCounter, down: GCounter) -> Option<Self> {
        let mut versions = up.totals.clone();
        for (replica, total) in down.totals.iter() {
            versions.raise(replica, up.total(replica).checked_add(total)?);
        }
        Some(Self { up, down, versions })
    }

    pub(super) const fn versions(&self) -> &VersionVector {
        &self.versions
    }

    /// Takes in all that `other` has of a replica.
    pub(super) fn put(&mut self, other: &Self, replica: ReplicaId) {
        self.up.raise(replica, other.up.total(replica));
        self.down.raise(replica, other.down.total(replica));
        self.count(replica);
    }

    /// Whether `other` has both totals of a replica at least as high as here.
    pub(super) fn is_continued_by(&self, other: &Self, replica: ReplicaId) -> bool {
        self.up.total(replica) <= other.up.total(replica)
            && self.down.total(replica) <= other.down.total(replica)
    }

    fn count(&mut self, replica: ReplicaId) {
        let both = self
            .up
            .total(replica)
            .saturating_add(self.down.total(replica));
        self.versions.raise(replica, both);
    }
}

impl Lattice for PnCounter {
    fn bottom() -> Self {
        Self::default()
    }

    fn join(&mut self, other: &Self) -> Changed {
        let up = self.up.join(&other.up);
        let down = self.down.join(&other.down);
        for (replica, _) in other.versions.iter() {
            self.count(replica);
        }
        Changed::when(up == Changed::Yes || down == Changed::Yes)
    }

    fn partial_le(&self, other: &Self) -> bool {
        self.up.partial_le(&other.up) && self.down.partial_le(&other.down)
    }
}
