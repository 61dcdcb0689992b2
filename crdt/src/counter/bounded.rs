//! A counter that never falls below zero, whoever takes from it.
//!
//! After Balegas and others, *Extending Eventually Consistent Cloud Databases for Enforcing Numeric Invariants* (2015):
//! the right to take is owned, and handed over before it is used.

use alloc::collections::{BTreeMap, BTreeSet};
use core::ops::Bound;

use thiserror::Error;

use crate::{
    Bounds, Changed, CounterJump, GCounter, Lattice, Outgrown, ReplicaId, VersionVector,
    WriteError, Writer,
};

/// A counter that never falls below zero. It is synced like a document: of each replica its vector has all that it has
/// granted and taken, and a delta has all of it for each replica that it speaks of. Adding gives the adder the right to take as much; rights can be passed on.
///
/// A replica must not write before its own past writes are restored, or it may use a right twice: after a backup was
/// restored, take a new id. A crash alone costs no rights where the store is vouched for
/// (`Continuity::Vouched`; see [`Replicated::MINTS`](crate::Replicated::MINTS)); else the next life has none, though
/// [`value`](Self::value) still counts those of the old id. They can be passed on under the old id, with a
/// [`Writer`](crate::Writer) of it, by exactly one who holds all that it wrote, once, by the operator's choice: if two do
/// so apart, each has written another history of that id, and their states conflict for ever. Nobody is asked: a take
/// that the rights do not cover fails even where the value would cover it.
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
    /// Of each replica all that it has granted and taken together: it rises with every change.
    versions: VersionVector,
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
    /// [`WriteError::CounterOverflow`] if all that the replica has granted and taken would not fit 64 bits together, and
    /// [`WriteError::Outgrown`]; nothing changed.
    pub fn add(&mut self, writer: &Writer, amount: u64) -> Result<Self, BoundedError> {
        self.require_room(writer, writer.replica())?;
        self.require_grant(writer, writer.replica())?;
        self.grant(writer.replica(), writer.replica(), amount)
    }

    /// Takes `amount` and returns the delta.
    ///
    /// # Errors
    ///
    /// [`BoundedError::TooFewRights`]; nothing changed.
    pub fn take(&mut self, writer: &Writer, amount: u64) -> Result<Self, BoundedError> {
        let replica = writer.replica();
        self.require(replica, amount)?;
        self.require_room(writer, replica)?;
        self.count_on(replica, amount)?;
        self.taken.add_as(replica, amount)?;
        Ok(self.written_by(replica))
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
        self.require_room(writer, heir)?;
        self.require_grant(writer, heir)?;
        self.grant(writer.replica(), heir, amount)
    }

    /// Joins a peer's counter unless it raises a total, of what a replica has granted another or taken, by more than
    /// `advance_max`.
    ///
    /// # Errors
    ///
    /// [`CounterJump`]; nothing changed.
    pub fn join_limited(&mut self, other: &Self, advance_max: u64) -> Result<Changed, CounterJump> {
        self.check(other, advance_max)?;
        Ok(self.join(other))
    }

    pub(super) fn check(&self, other: &Self, advance_max: u64) -> Result<(), CounterJump> {
        self.taken.check(&other.taken, advance_max)?;
        for (pair, given) in &other.granted {
            let known = self.granted.get(pair).copied().unwrap_or_default();
            if given.saturating_sub(known) > advance_max {
                return Err(CounterJump {
                    replica: pair.0,
                    known,
                    given: *given,
                    advance_max,
                });
            }
        }
        Ok(())
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

    /// `None` if what a replica has granted and taken does not fit 64 bits together.
    pub(crate) fn of_parts(
        granted: BTreeMap<(ReplicaId, ReplicaId), u64>,
        taken: GCounter,
    ) -> Option<Self> {
        let mut counter = Self {
            granted,
            taken,
            versions: VersionVector::new(),
        };
        let givers = counter.granted.keys().map(|(giver, _)| *giver);
        let takers = counter.taken.totals().iter().map(|(taker, _)| taker);
        let replicas: BTreeSet<ReplicaId> = givers.chain(takers).collect();
        for replica in replicas {
            let version = counter.version_of(replica)?;
            counter.versions.raise(replica, version);
        }
        Some(counter)
    }

    /// Whether there is room for a writer and its heir.
    fn require_room(&self, writer: &Writer, heir: ReplicaId) -> Result<(), WriteError> {
        if writer.bounds() == Bounds::NONE {
            return Ok(());
        }
        let ids = self.ids();
        let named = BTreeSet::from([writer.replica(), heir]);
        let new = named.difference(&ids).count();
        Ok(writer.bounds().check_ids(ids.len(), new)?)
    }

    /// Whether there is room for one grant more, if this is one more.
    fn require_grant(&self, writer: &Writer, heir: ReplicaId) -> Result<(), WriteError> {
        let (held, pair) = (self.granted.len(), (writer.replica(), heir));
        let new = usize::from(!self.granted.contains_key(&pair));
        Ok(writer.bounds().check_dots(held, held + new)?)
    }

    /// Whether there is room for the grants of both.
    pub(super) fn check_grants(&self, other: &Self, bounds: Bounds) -> Result<(), Outgrown> {
        let is_new = |pair: &&_| !self.granted.contains_key(*pair);
        let new = other.granted.keys().filter(is_new).count();
        let held = self.granted.len();
        bounds.check_dots(held, held.saturating_add(new))
    }

    /// No fewer than the replicas that it names, without a look at each.
    pub(super) fn named_max(&self) -> usize {
        let granted = self.granted.len().saturating_mul(2);
        self.taken.totals().iter().len().saturating_add(granted)
    }

    /// All replicas that it names, also those that were only granted something.
    pub(super) fn ids(&self) -> BTreeSet<ReplicaId> {
        let takers = self.taken.totals().iter().map(|(taker, _)| taker);
        let granted = self.granted.keys().flat_map(|(from, to)| [*from, *to]);
        takers.chain(granted).collect()
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
        self.count_on(from, amount)?;
        if amount > 0 {
            *self.granted.entry((from, to)).or_default() += amount;
        }
        Ok(self.written_by(from))
    }

    /// The replica's version rises; no total of it is higher, so none overflows where this does not.
    fn count_on(&mut self, replica: ReplicaId, amount: u64) -> Result<(), WriteError> {
        let version = self.versions.get(replica).checked_add(amount);
        let version = version.ok_or(WriteError::CounterOverflow { replica })?;
        self.versions.raise(replica, version);
        Ok(())
    }

    /// All that a replica has granted and taken.
    fn written_by(&self, replica: ReplicaId) -> Self {
        let mut of_it = Self::default();
        of_it.put(self, replica);
        of_it
    }

    /// Takes in all that `other` has of a replica.
    pub(super) fn put(&mut self, other: &Self, replica: ReplicaId) {
        for (pair, total) in other.granted_by(replica) {
            let known = self.granted.entry(pair).or_default();
            *known = total.max(*known);
        }
        self.taken.raise(replica, other.taken.total(replica));
        self.count(replica);
    }

    pub(super) const fn versions(&self) -> &VersionVector {
        &self.versions
    }

    /// Whether `other` has all of a replica's totals at least as high as here.
    pub(super) fn is_continued_by(&self, other: &Self, replica: ReplicaId) -> bool {
        let is_reached = |(pair, total)| {
            other
                .granted
                .get(&pair)
                .is_some_and(|given| *given >= total)
        };
        self.taken.total(replica) <= other.taken.total(replica)
            && self.granted_by(replica).all(is_reached)
    }

    fn granted_by(
        &self,
        from: ReplicaId,
    ) -> impl Iterator<Item = ((ReplicaId, ReplicaId), u64)> + '_ {
        let first = ReplicaId::new(1).map(|least| (from, least));
        let start = first.map_or(Bound::Unbounded, Bound::Included);
        self.granted
            .range((start, Bound::Unbounded))
            .take_while(move |((giver, _), _)| *giver == from)
            .map(|(pair, total)| (*pair, *total))
    }

    fn version_of(&self, replica: ReplicaId) -> Option<u64> {
        self.granted_by(replica)
            .try_fold(self.taken.total(replica), |sum, (_, total)| {
                sum.checked_add(total)
            })
    }

    fn count(&mut self, replica: ReplicaId) {
        let version = self.version_of(replica).unwrap_or(u64::MAX);
        self.versions.raise(replica, version);
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
        if changed == Changed::Yes {
            for (replica, _) in other.versions.iter() {
                self.count(replica);
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
