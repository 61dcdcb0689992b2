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
        let seen = self.seen().into_iter().collect();
        let mut edit = Edit::put(Self {
            store: DotFun::one(mint.dot(), Entry::Seen(seen)),
        });
        for (dot, entry) in self.store.iter() {
            if let Entry::Seen(_) = entry {
                edit = edit.removing_dot(dot);
            }
        }
        edit
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

    /// All totals known, of which earlier resets may have known more.
    fn seen(&self) -> BTreeMap<ReplicaId, Total> {
        let mut joined: BTreeMap<ReplicaId, Total> = BTreeMap::new();
        let mut add = |replica, total: Total| {
            let held = joined.entry(replica).or_insert(total);
            *held = held.join(total);
        };
        for (dot, entry) in self.store.iter() {
            match entry {
                Entry::Total(total) => add(dot.replica(), *total),
                Entry::Seen(seen) => seen
                    .iter()
                    .for_each(|(replica, total)| add(*replica, *total)),
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
        /// it is not measured: its replica may have counted on for long.
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
        if held.is_none() && known.get(replica) >= given.start {
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
        Ok(Self {
            start: input.varint()?,
            up: input.varint()?,
            down: input.varint()?,
        })
    }
}
