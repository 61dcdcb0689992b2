//! Counters of totals that only rise.

use thiserror::Error;

use crate::{Changed, Lattice, ReplicaId, VersionVector, WriteError, Writer};

/// A peer's counter raises a total by more than allowed: a bug or an attack, which once joined could never be undone.
/// Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("total of replica {replica} jumps from {known} to {given}, by more than {advance_max}")]
pub struct CounterJump {
    /// Whose total.
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
/// A write needs its replica's past writes restored, and nothing else: whoever writes must be the only one under its id.
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
    /// [`WriteError::CounterOverflow`]; nothing changed.
    pub fn add(&mut self, writer: &Writer, amount: u64) -> Result<Self, WriteError> {
        let replica = writer.replica();
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

    pub(crate) const fn totals(&self) -> &VersionVector {
        &self.totals
    }

    pub(crate) const fn of_totals(totals: VersionVector) -> Self {
        Self { totals }
    }

    fn check(&self, other: &Self, advance_max: u64) -> Result<(), CounterJump> {
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
}

impl PnCounter {
    /// Adds `amount`, which may be negative, and returns the delta.
    ///
    /// # Errors
    ///
    /// [`WriteError::CounterOverflow`]; nothing changed.
    pub fn add(&mut self, writer: &Writer, amount: i64) -> Result<Self, WriteError> {
        let mut delta = Self::default();
        if amount < 0 {
            delta.down = self.down.add(writer, amount.unsigned_abs())?;
        } else {
            delta.up = self.up.add(writer, amount.unsigned_abs())?;
        }
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

    pub(crate) const fn of_parts(up: GCounter, down: GCounter) -> Self {
        Self { up, down }
    }
}

impl Lattice for PnCounter {
    fn bottom() -> Self {
        Self::default()
    }

    fn join(&mut self, other: &Self) -> Changed {
        let up = self.up.join(&other.up);
        let down = self.down.join(&other.down);
        Changed::when(up == Changed::Yes || down == Changed::Yes)
    }

    fn partial_le(&self, other: &Self) -> bool {
        self.up.partial_le(&other.up) && self.down.partial_le(&other.down)
    }
}
