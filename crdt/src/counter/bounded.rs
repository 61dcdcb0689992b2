//! A counter that never falls below zero, whoever takes from it.
//!
//! After Balegas and others, *Extending Eventually Consistent Cloud Databases for Enforcing Numeric Invariants* (2015):
//! the right to take is owned, and handed over before it is used.

use alloc::collections::BTreeMap;

use thiserror::Error;

use crate::{Changed, GCounter, Lattice, ReplicaId, WriteError, Writer};

/// A counter that never falls below zero. Adding gives the adder the right to take as much; rights can be passed on.
///
/// A replica must not write before its own past writes are restored, or it may use a right twice: after a backup was
/// restored, take a new id. The rights of the old one are lost then, until somebody who holds its state passes them on
/// under its id. Nobody is asked: a take that the rights do not cover fails even where the value would cover it.
///
/// # Example
///
/// ```
/// use peaberry_crdt::{BoundedCounter, Lattice, ReplicaId, Writer};
///
/// let [mut here, mut there] = [BoundedCounter::bottom(), BoundedCounter::bottom()];
/// let [mine, theirs] = [1, 2].map(|id| Writer::new(ReplicaId::new(id).unwrap(), 0, 0));
/// here.add(&mine, 10).unwrap();
/// here.pass(&mine, theirs.replica(), 4).unwrap();
/// there.join(&here);
/// assert!(there.take(&theirs, 5).is_err());
/// there.take(&theirs, 4).unwrap();
/// here.take(&mine, 6).unwrap();
/// here.join(&there);
/// assert_eq!(here.value(), 0);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BoundedCounter {
    /// Rights made by a replica (to itself) or passed on, as totals.
    granted: BTreeMap<(ReplicaId, ReplicaId), u64>,
    taken: GCounter,
}

/// A write to a [`BoundedCounter`] was refused; nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BoundedError {
    /// Ask another replica to pass on rights.
    #[error("replica {replica} holds rights to {held} and needs {needed}; have rights passed on")]
    TooFewRights {
        /// Who lacks rights.
        replica: ReplicaId,
        /// How much it may take.
        held: u64,
        /// How much it needs.
        needed: u64,
    },
    /// A total would not fit.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl BoundedCounter {
    /// Adds `amount` with the right to take it, and returns the delta.
    ///
    /// # Errors
    ///
    /// [`WriteError::CounterOverflow`]; nothing changed.
    pub fn add(&mut self, writer: &Writer, amount: u64) -> Result<Self, BoundedError> {
        self.grant(writer.replica(), writer.replica(), amount)
    }

    /// Takes `amount` and returns the delta.
    ///
    /// # Errors
    ///
    /// [`BoundedError::TooFewRights`]; nothing changed.
    pub fn take(&mut self, writer: &Writer, amount: u64) -> Result<Self, BoundedError> {
        self.require(writer.replica(), amount)?;
        Ok(Self {
            granted: BTreeMap::new(),
            taken: self.taken.add(writer, amount)?,
        })
    }

    /// Passes the right to take `amount` to `heir`, and returns the delta.
    ///
    /// # Errors
    ///
    /// [`BoundedError`]; nothing changed.
    pub fn pass(
        &mut self,
        writer: &Writer,
        heir: ReplicaId,
        amount: u64,
    ) -> Result<Self, BoundedError> {
        self.require(writer.replica(), amount)?;
        if heir == writer.replica() {
            return Ok(Self::default());
        }
        self.grant(writer.replica(), heir, amount)
    }

    /// How much the replica may take, as known here.
    #[must_use]
    pub fn rights(&self, replica: ReplicaId) -> u64 {
        let mut rights = -i128::from(self.taken.total(replica));
        for ((from, to), total) in &self.granted {
            if *to == replica {
                rights += i128::from(*total);
            } else if *from == replica {
                rights -= i128::from(*total);
            }
        }
        // Below zero only while deltas of others, which explain it, are on their way.
        u64::try_from(rights.max(0)).unwrap_or(u64::MAX)
    }

    /// What was added less what was taken, as known here. Below zero only while a delta that explains it is on its way.
    #[must_use]
    pub fn value(&self) -> i128 {
        let made = self.granted.iter().filter(|((from, to), _)| from == to);
        made.map(|(_, total)| i128::from(*total)).sum::<i128>() - self.taken.value()
    }

    pub(crate) const fn grants(&self) -> &BTreeMap<(ReplicaId, ReplicaId), u64> {
        &self.granted
    }

    pub(crate) const fn taken(&self) -> &GCounter {
        &self.taken
    }

    pub(crate) const fn of_parts(
        granted: BTreeMap<(ReplicaId, ReplicaId), u64>,
        taken: GCounter,
    ) -> Self {
        Self { granted, taken }
    }

    fn require(&self, replica: ReplicaId, needed: u64) -> Result<(), BoundedError> {
        let held = self.rights(replica);
        if held < needed {
            Err(BoundedError::TooFewRights {
                replica,
                held,
                needed,
            })
        } else {
            Ok(())
        }
    }

    fn grant(&mut self, from: ReplicaId, to: ReplicaId, amount: u64) -> Result<Self, BoundedError> {
        let known = self.granted.get(&(from, to)).copied().unwrap_or_default();
        let total = known
            .checked_add(amount)
            .ok_or(WriteError::CounterOverflow { replica: from })?;
        let mut delta = Self::default();
        if total > 0 {
            delta.granted.insert((from, to), total);
        }
        self.join(&delta);
        Ok(delta)
    }
}

impl Lattice for BoundedCounter {
    fn bottom() -> Self {
        Self::default()
    }

    fn join(&mut self, other: &Self) -> Changed {
        let mut changed = self.taken.join(&other.taken);
        for (pair, total) in &other.granted {
            let known = self.granted.entry(*pair).or_default();
            if *known < *total {
                *known = *total;
                changed = Changed::Yes;
            }
        }
        changed
    }

    fn partial_le(&self, other: &Self) -> bool {
        let granted = self
            .granted
            .iter()
            .all(|(pair, total)| other.granted.get(pair).is_some_and(|held| held >= total));
        granted && self.taken.partial_le(&other.taken)
    }
}
