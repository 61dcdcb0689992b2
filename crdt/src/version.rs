//! Which prefix of each replica's events is known.

use alloc::vec::Vec;
use core::cmp::Ordering;
use core::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

use crate::{Changed, Dot, Interval, Lattice, ReplicaId};

/// So many new entries at most are put in one by one: each moves all those behind it.
const INSERTIONS_MAX: usize = 16;

/// For each replica, the highest counter such that every event up to it is known.
///
/// A sorted vector: a join is one linear merge, a lookup a binary search. A replica of which nothing is known has no
/// entry, so equal knowledge is equal representation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct VersionVector {
    entries: Vec<(ReplicaId, u64)>,
}

impl FromIterator<(ReplicaId, u64)> for VersionVector {
    /// The highest of each replica's counters; see [`raise`](Self::raise) for what that claims.
    fn from_iter<I: IntoIterator<Item = (ReplicaId, u64)>>(entries: I) -> Self {
        let mut vector = Self::new();
        for (replica, counter) in entries {
            vector.raise(replica, counter);
        }
        vector
    }
}

impl VersionVector {
    /// Knows nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
        }
    }

    /// The highest known counter of `replica`; zero if none is known.
    #[must_use]
    pub fn get(&self, replica: ReplicaId) -> u64 {
        self.position(replica)
            .ok()
            .and_then(|at| self.entries.get(at))
            .map_or(0, |entry| entry.1)
    }

    /// Whether the event is known.
    #[must_use]
    pub fn covers(&self, dot: Dot) -> bool {
        dot.counter() <= self.get(dot.replica())
    }

    /// Raises `replica` to `counter`; a lower counter changes nothing.
    ///
    /// This claims every event up to `counter`. Vectors that come from [`Causal`](crate::Causal) are right already;
    /// raise one only to describe what a peer has acknowledged.
    pub fn raise(&mut self, replica: ReplicaId, counter: u64) -> Changed {
        match self.position(replica) {
            Ok(at) => match self.entries.get_mut(at) {
                Some(entry) if entry.1 < counter => {
                    entry.1 = counter;
                    Changed::Yes
                }
                _ => Changed::No,
            },
            Err(_) if counter == 0 => Changed::No,
            Err(at) => {
                self.entries.insert(at, (replica, counter));
                Changed::Yes
            }
        }
    }

    /// What both know: the minimum of each replica.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        if self.is_much_smaller_than(other) {
            let entries = self.iter().filter_map(|(replica, mine)| {
                let counter = mine.min(other.get(replica));
                (counter > 0).then_some((replica, counter))
            });
            return Self {
                entries: entries.collect(),
            };
        }
        let entries = self.pairs(other).filter_map(|(replica, left, right)| {
            let counter = left.min(right);
            (counter > 0).then_some((replica, counter))
        });
        Self {
            entries: entries.collect(),
        }
    }

    /// The events that `self` knows and `other` does not, one interval for each replica, in ascending order.
    pub fn since<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Interval> + 'a {
        self.pairs(other).filter_map(|(replica, mine, theirs)| {
            Interval::new(replica, theirs.saturating_add(1), mine)
        })
    }

    /// The first replica, in ascending order, of which `other` knows more.
    #[must_use]
    pub fn first_behind(&self, other: &Self) -> Option<ReplicaId> {
        if other.is_much_smaller_than(self) {
            return other
                .iter()
                .find(|(replica, counter)| self.get(*replica) < *counter)
                .map(|(replica, _)| replica);
        }
        self.pairs(other)
            .find(|(_, mine, theirs)| mine < theirs)
            .map(|(replica, ..)| replica)
    }

    /// How many replicas `other` knows something of, and `self` nothing.
    pub(crate) fn count_new(&self, other: &Self) -> usize {
        let is_new = |(replica, _): &_| self.get(*replica) == 0;
        other.iter().filter(is_new).count()
    }

    /// Each replica of which something is known with its highest counter, in ascending order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ReplicaId, u64)> + '_ {
        self.entries.iter().copied()
    }

    /// A digest of 16 bytes. Equal vectors have equal ones, and mean equal states: to compare replicas, compare these.
    ///
    /// SipHash-2-4 of 128 bits with a key of zeros, over each entry in ascending order: the id, 16 bytes, highest
    /// first, and the counter, 8 bytes, highest first. It guards against chance, not against a forger.
    #[must_use]
    pub fn digest(&self) -> [u8; 16] {
        let mut hasher = SipHasher24::new();
        for (replica, counter) in &self.entries {
            let mut entry = [0; 24];
            let (id, count) = entry.split_at_mut(16);
            id.copy_from_slice(&replica.get().to_be_bytes());
            count.copy_from_slice(&counter.to_be_bytes());
            hasher.write(&entry);
        }
        hasher.finish128().as_bytes()
    }

    /// Whether nothing is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether searching for each of its entries is cheaper than walking both.
    fn is_much_smaller_than(&self, other: &Self) -> bool {
        self.entries.len().saturating_mul(16) < other.entries.len()
    }

    fn position(&self, replica: ReplicaId) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&replica, |entry| entry.0)
    }

    fn pairs<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (ReplicaId, u64, u64)> + 'a {
        let mut left = self.entries.iter().copied().peekable();
        let mut right = other.entries.iter().copied().peekable();
        core::iter::from_fn(move || {
            let order = match (left.peek(), right.peek()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.0.cmp(&b.0),
            };
            match order {
                Ordering::Less => left.next().map(|(replica, mine)| (replica, mine, 0)),
                Ordering::Greater => right.next().map(|(replica, theirs)| (replica, 0, theirs)),
                Ordering::Equal => left.next().zip(right.next()).map(|(a, b)| (a.0, a.1, b.1)),
            }
        })
    }
}

impl Lattice for VersionVector {
    fn bottom() -> Self {
        Self::new()
    }

    fn join(&mut self, other: &Self) -> Changed {
        let mut changed = Changed::No;
        if other.is_much_smaller_than(self) && self.count_new(other) <= INSERTIONS_MAX {
            for (replica, counter) in other.iter() {
                if self.raise(replica, counter) == Changed::Yes {
                    changed = Changed::Yes;
                }
            }
            return changed;
        }
        let mut missing = Vec::new();
        let mut mine = self.entries.iter_mut().peekable();
        for theirs in &other.entries {
            while mine.next_if(|entry| entry.0 < theirs.0).is_some() {}
            match mine.next_if(|entry| entry.0 == theirs.0) {
                None => missing.push(*theirs),
                Some(entry) if entry.1 < theirs.1 => {
                    entry.1 = theirs.1;
                    changed = Changed::Yes;
                }
                Some(_) => {}
            }
        }
        if missing.is_empty() {
            return changed;
        }
        self.entries.append(&mut missing);
        // Two ascending runs: the stable sort merges them in linear time.
        self.entries.sort();
        Changed::Yes
    }

    fn partial_le(&self, other: &Self) -> bool {
        other.first_behind(self).is_none()
    }
}

impl PartialOrd for VersionVector {
    /// The causal order; `None` for concurrent vectors.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self.partial_le(other), other.partial_le(self)) {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Less),
            (false, true) => Some(Ordering::Greater),
            (false, false) => None,
        }
    }
}
