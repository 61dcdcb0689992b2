//! A counter under dots, which can be reset and nested in a map.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::store::renamed_store;
use crate::wire::{DecodeError, Decoder, Element, Encoder};
use crate::{
    ApplyError, CounterJump, Dot, DotFun, Edit, Limits, Mint, ReplicaId, VersionVector, WriteError,
};

/// A counter that can be reset, and removed with the key of a map that holds it.
///
/// A reset undoes the changes it has seen; a change concurrent with it counts in full, and alone.
///
/// Each replica has one running total, under the dot of its latest change. A reset leaves the totals and puts beside
/// them how far it has seen each: what counts is what lies beyond. So the counter takes one entry for each replica that
/// has ever changed it.
///
/// Removing the key of a map is coarser. It removes the totals it has seen with their dots, and a change concurrent
/// with it comes with its replica's whole running total: to tell the parts of a total apart, the map would have to
/// keep something of every counter removed.
///
/// # Example
///
/// ```
/// use peaberry_crdt::{Causal, Lattice, ReplicaId, ResettableCounter, Writer};
///
/// let mut here: Causal<ResettableCounter> = Causal::bottom();
/// let mut mine = Writer::new(ReplicaId::new(1).unwrap(), 0, 100);
/// let mut theirs = Writer::new(ReplicaId::new(2).unwrap(), 0, 100);
/// here.write(&mut mine, |count, mint| count.add(mint, 5)).unwrap();
/// let mut there = here.clone();
///
/// // One resets what it has seen, while the other counts on.
/// here.write(&mut mine, |count, mint| Ok(count.reset(mint))).unwrap();
/// there.write(&mut theirs, |count, mint| count.add(mint, 2)).unwrap();
/// here.join(&there);
/// assert_eq!(here.value().value(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResettableCounter {
    store: DotFun<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Total(Total),
    /// How far a reset has seen the total of each replica, in ascending order.
    Seen(Vec<(ReplicaId, Total)>),
}

/// What a replica has added and taken away.
///
/// When the total was removed with a map's key, the replica starts another. `start` is the counter of its first change,
/// so that what a reset has seen of one is not taken off the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Total {
    start: u64,
    up: u64,
    down: u64,
}

impl ResettableCounter {
    pub(crate) const NONE: Self = Self {
        store: DotFun::new(),
    };

    /// Adds `amount`, which may be negative.
    ///
    /// # Errors
    ///
    /// [`WriteError::CounterOverflow`] if the replica's running total does not fit.
    pub fn add(&self, mint: Mint, amount: i64) -> Result<Edit<Self>, WriteError> {
        let replica = mint.dot().replica();
        let held = self.total(replica);
        let first = || Total {
            start: mint.dot().counter(),
            up: 0,
            down: 0,
        };
        let mut total = held.map_or_else(first, |(_, total)| total);
        let changed = if amount < 0 {
            &mut total.down
        } else {
            &mut total.up
        };
        *changed = changed
            .checked_add(amount.unsigned_abs())
            .ok_or(WriteError::CounterOverflow { replica })?;
        let edit = Edit::put(Self {
            store: DotFun::one(mint.dot(), Entry::Total(total)),
        });
        Ok(match held {
            Some((dot, _)) => edit.removing_dot(dot),
            None => edit,
        })
    }

    /// Undoes the changes known here; nothing if they are undone already.
    pub fn reset(&self, mint: Mint) -> Edit<Self> {
        if self
            .totals()
            .all(|(dot, total)| self.undone(dot.replica(), total) == total)
        {
            return Edit::nothing();
        }
        let seen = self.seen();
        // One that has seen a total which does not go by the replica's own is left: nothing takes its place.
        let is_superseded = |(replica, total): &(ReplicaId, Total)| {
            seen.get(replica).is_some_and(|by| by.start >= total.start)
        };
        let mut superseded = Vec::new();
        for (dot, entry) in self.store.iter() {
            if let Entry::Seen(earlier) = entry
                && earlier.iter().all(is_superseded)
            {
                superseded.push(dot);
            }
        }
        let entry = Entry::Seen(seen.into_iter().collect());
        let edit = Edit::put(Self {
            store: DotFun::one(mint.dot(), entry),
        });
        superseded.into_iter().fold(edit, Edit::removing_dot)
    }

    /// The sum of the changes that no reset has undone.
    #[must_use]
    pub fn value(&self) -> i128 {
        self.totals()
            .map(|(dot, total)| {
                let undone = self.undone(dot.replica(), total);
                i128::from(total.up)
                    - i128::from(undone.up)
                    - (i128::from(total.down) - i128::from(undone.down))
            })
            .sum()
    }

    /// All totals known, of which earlier resets may have known more. Which of a replica's totals is the running one only
    /// the replica says, if its total is held: a reset that names a later one would else have every other go by it.
    fn seen(&self) -> BTreeMap<ReplicaId, Total> {
        let mut joined: BTreeMap<ReplicaId, Total> = BTreeMap::new();
        let mut add = |replica, total: Total| {
            let held = joined.entry(replica).or_insert(total);
            *held = held.join(total);
        };
        self.totals()
            .for_each(|(dot, total)| add(dot.replica(), total));
        let running = joined.clone();
        for (_, entry) in self.store.iter() {
            let Entry::Seen(seen) = entry else { continue };
            for (replica, total) in seen {
                let running = running.get(replica);
                if running.is_none_or(|running| total.start <= running.start) {
                    let held = joined.entry(*replica).or_insert(*total);
                    *held = held.join(*total);
                }
            }
        }
        joined
    }

    fn totals(&self) -> impl Iterator<Item = (Dot, Total)> + '_ {
        self.store.iter().filter_map(|(dot, entry)| match entry {
            Entry::Total(total) => Some((dot, *total)),
            Entry::Seen(_) => None,
        })
    }

    fn total(&self, replica: ReplicaId) -> Option<(Dot, Total)> {
        self.totals().find(|(dot, _)| dot.replica() == replica)
    }

    /// The part of a replica's total that resets have seen. They may have seen more than is known here.
    fn undone(&self, replica: ReplicaId, total: Total) -> Total {
        let mut undone = Total {
            up: 0,
            down: 0,
            ..total
        };
        for (_, entry) in self.store.iter() {
            let Entry::Seen(seen) = entry else { continue };
            let Ok(at) = seen.binary_search_by_key(&replica, |entry| entry.0) else {
                continue;
            };
            if let Some((_, seen)) = seen.get(at)
                && seen.start == total.start
            {
                undone.up = undone.up.max(seen.up.min(total.up));
                undone.down = undone.down.max(seen.down.min(total.down));
            }
        }
        undone
    }
}

impl Total {
    /// The later of two, or the larger of one.
    fn join(self, other: Self) -> Self {
        if self.start == other.start {
            Self {
                start: self.start,
                up: self.up.max(other.up),
                down: self.down.max(other.down),
            }
        } else {
            self.max(other)
        }
    }
}

renamed_store!(
    [] [] ResettableCounter {
        fn copy_dot(&self, dot: Dot, into: &mut Self) {
            self.store.copy_dot(dot, &mut into.store);
        }

        /// Of each replica that a reset has seen, its first event.
        fn for_each_named(&self, visit: &mut dyn FnMut(Dot)) {
            for (_, entry) in self.store.iter() {
                if let Entry::Seen(seen) = entry {
                    seen.iter()
                        .filter_map(|(replica, _)| Dot::new(*replica, 1))
                        .for_each(&mut *visit);
                }
            }
        }

        /// A total may rise by `advance_max` over the one known, in either direction, and a reset may claim to have seen so
        /// much more than is known. Of a total that was removed here with the key of a map nothing is known any more, and
        /// it is not measured: its replica may have counted on for long. But a replica has one total after the other, so
        /// of one whose total is held no other is let pass for that.
        fn admit(
            &self,
            delta: &Self,
            known: &VersionVector,
            limits: &Limits,
        ) -> Result<(), ApplyError> {
            let advance_max = limits.advance_max;
            if advance_max == u64::MAX {
                return Ok(());
            }
            let mut held = Largest::default();
            held.add_all(self);
            let is_new = |entry: &(Dot, &Entry)| !known.covers(entry.0);
            for (dot, entry) in delta.store.iter().filter(is_new) {
                if let Entry::Total(total) = entry {
                    held.check(dot.replica(), dot.replica(), *total, known, advance_max)?;
                }
            }
            held.add_all(delta);
            for (dot, entry) in delta.store.iter().filter(is_new) {
                let Entry::Seen(seen) = entry else { continue };
                for (replica, total) in seen {
                    held.check(dot.replica(), *replica, *total, known, advance_max)?;
                }
            }
            Ok(())
        }
    }
    describe(out) {
        out.push_str("ResettableCounter");
    }
);

/// The most that is known of each total, by its replica and start.
#[derive(Default)]
struct Largest {
    totals: BTreeMap<(ReplicaId, u64), Total>,
}

impl Largest {
    /// Only totals themselves count: what a reset says that it has seen would vouch for itself.
    fn add_all(&mut self, counter: &ResettableCounter) {
        for (dot, total) in counter.totals() {
            let held = self.totals.entry((dot.replica(), total.start));
            let held = held.or_insert(total);
            *held = held.join(total);
        }
    }

    /// `claimant` says that the total of `replica` is as high as `given`.
    fn check(
        &self,
        claimant: ReplicaId,
        replica: ReplicaId,
        given: Total,
        known: &VersionVector,
        advance_max: u64,
    ) -> Result<(), CounterJump> {
        let held = self.totals.get(&(replica, given.start));
        let was_removed = (1..=known.get(replica)).contains(&given.start);
        if held.is_none() && was_removed && !self.has_running(claimant, replica, given) {
            return Ok(());
        }
        let (up, down) = held.map_or((0, 0), |held| (held.up, held.down));
        for (known, given) in [(up, given.up), (down, given.down)] {
            if given.saturating_sub(known) > advance_max {
                return Err(CounterJump {
                    replica: claimant,
                    known,
                    given,
                    advance_max,
                });
            }
        }
        Ok(())
    }

    /// Whether a total of the replica is held after which `given` cannot come: any, for the replica itself; for a reset by
    /// another, which may have seen one long gone, an earlier one.
    fn has_running(&self, claimant: ReplicaId, replica: ReplicaId, given: Total) -> bool {
        let below = if claimant == replica {
            u64::MAX
        } else {
            given.start
        };
        let mut running = self.totals.range((replica, 0)..(replica, below));
        running.next().is_some()
    }
}

impl Element for Entry {
    fn describe(out: &mut String) {
        out.push_str("ResettableEntry");
    }

    /// The number of replicas seen plus one, or zero for a total.
    fn encode(&self, out: &mut Encoder<'_>) {
        match self {
            Self::Total(total) => {
                out.varint(0);
                total.encode(out);
            }
            Self::Seen(seen) => {
                out.varint(seen.len() as u64 + 1);
                for (replica, total) in seen {
                    out.id(*replica);
                    total.encode(out);
                }
            }
        }
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let Some(count) = input.varint()?.checked_sub(1) else {
            return Ok(Self::Total(Total::decode(input)?));
        };
        let mut seen: Vec<(ReplicaId, Total)> = Vec::new();
        for _ in 0..count {
            let replica = input.id()?;
            if seen.last().is_some_and(|last| last.0 >= replica) {
                return Err(DecodeError::Malformed(
                    "totals seen by a reset do not ascend",
                ));
            }
            seen.push((replica, Total::decode(input)?));
        }
        Ok(Self::Seen(seen))
    }
}

impl Element for Total {
    fn describe(out: &mut String) {
        out.push_str("Total");
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        out.varint(self.start);
        out.varint(self.up);
        out.varint(self.down);
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let total = Self {
            start: input.varint()?,
            up: input.varint()?,
            down: input.varint()?,
        };
        if total.start == 0 {
            return Err(DecodeError::Malformed("a total that starts with no event"));
        }
        Ok(total)
    }
}

#[cfg(test)]
mod tests {
    use super::{DotFun, Entry, ResettableCounter, Total};
    use crate::wire::{Budget, Message as _};
    use crate::{
        ApplyError, Causal, Delta, Edit, Lattice as _, Limits, ReplicaId, Tolerance, Writer,
    };

    type Count = Causal<ResettableCounter>;

    fn id(number: u128) -> ReplicaId {
        ReplicaId::new(number).unwrap()
    }

    fn within(advance_max: u64) -> Limits {
        Tolerance {
            advance_max,
            ..Tolerance::ANYTHING
        }
        .at(0)
    }

    const fn huge(start: u64) -> Total {
        Total {
            start,
            up: 1 << 60,
            down: 0,
        }
    }

    /// Puts an entry that no honest replica would.
    fn forge(state: &mut Count, writer: &mut Writer, entry: Entry) -> Delta<ResettableCounter> {
        let put = |_: &ResettableCounter, mint: crate::Mint| {
            Ok(Edit::put(ResettableCounter {
                store: DotFun::one(mint.dot(), entry),
            }))
        };
        state.write(writer, put).unwrap()
    }

    /// One replica has counted to 5 with two changes; another is about to forge.
    fn counted() -> (Count, Writer) {
        let mut state = Count::bottom();
        let mut writer = Writer::new(id(1), 0, 100);
        for amount in [2, 3] {
            let add = |count: &ResettableCounter, mint| count.add(mint, amount);
            state.write(&mut writer, add).unwrap();
        }
        (state, writer)
    }

    #[test]
    fn a_total_that_starts_with_no_event_is_refused_whoever_sends_it() {
        let mut writer = Writer::new(id(2), 0, 100);
        let none = || {
            forge(
                &mut Count::bottom(),
                &mut Writer::new(id(2), 0, 1),
                Entry::Total(huge(0)),
            )
        };
        let decoded = Delta::<ResettableCounter>::from_bytes(&none().to_bytes(), Budget::default());
        assert!(decoded.is_err());
        let refused = Count::bottom().apply_within(&none(), &within(100));
        assert!(matches!(refused, Err(ApplyError::Jump(_))), "{refused:?}");
        let delta = forge(&mut Count::bottom(), &mut writer, Entry::Total(huge(1)));
        assert!(
            Delta::<ResettableCounter>::from_bytes(&delta.to_bytes(), Budget::default()).is_ok()
        );
    }

    /// Whatever start it names: its own earlier event, none, or one to come.
    #[test]
    fn a_total_beside_the_one_held_is_measured_from_zero() {
        for start in [0, 1, 2, 3, 9] {
            let (mut here, mut writer) = counted();
            let delta = forge(&mut here.clone(), &mut writer, Entry::Total(huge(start)));
            let refused = here.apply_within(&delta, &within(100));
            assert!(matches!(refused, Err(ApplyError::Jump(_))), "{start}");
            assert_eq!(here.value().value(), 5);
        }
    }

    #[test]
    fn a_reset_that_names_another_total_than_the_one_held_keeps_no_later_reset_from_undoing_it() {
        for (start, is_refused) in [(2, true), (9, true), (2, false), (9, false)] {
            let (mut here, _) = counted();
            let named = if is_refused {
                huge(start)
            } else {
                Total {
                    start,
                    up: 1,
                    down: 0,
                }
            };
            let forged = Entry::Seen([(id(1), named)].into());
            let mut there = here.clone();
            let delta = forge(&mut there, &mut Writer::new(id(2), 0, 100), forged);
            let taken = here.apply_within(&delta, &within(100));
            assert_eq!(
                matches!(taken, Err(ApplyError::Jump(_))),
                is_refused,
                "{start}"
            );
            let mut honest = Writer::new(id(3), 0, 100);
            for state in [&mut here, &mut there] {
                let reset = |count: &ResettableCounter, mint| Ok(count.reset(mint));
                assert_eq!(state.value().value(), 5);
                state.write(&mut honest, reset).unwrap();
                assert_eq!(state.value().value(), 0);
                honest = Writer::new(id(4), 0, 100);
            }
        }
    }

    /// A reset of a total that was removed with its key since, and begun anew, is honest.
    #[test]
    fn a_late_reset_of_a_total_long_gone_is_taken() {
        let (mut here, _) = counted();
        let mut writer = Writer::new(id(1), 2, 100);
        let mut there = here.clone();
        let reset = |count: &ResettableCounter, mint| Ok(count.reset(mint));
        let late = there.write(&mut Writer::new(id(2), 0, 100), reset).unwrap();
        let clear = |count: &ResettableCounter, _| Ok(Edit::nothing().removing(count));
        here.write(&mut writer, clear).unwrap();
        let add = |count: &ResettableCounter, mint| count.add(mint, 1);
        here.write(&mut writer, add).unwrap();
        here.apply_within(&late, &within(1)).unwrap();
        assert_eq!(here.value().value(), 1);
    }
}
