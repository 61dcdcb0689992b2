//! Sets of events as ranges, never expanded.

use alloc::vec::Vec;

use crate::{Changed, Dot, Lattice, ReplicaId, VersionVector};

/// The events `first..=last` of one replica; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    replica: ReplicaId,
    first: u64,
    last: u64,
}

impl Interval {
    /// The interval, or `None` if `first` is zero or past `last`.
    #[must_use]
    pub const fn new(replica: ReplicaId, first: u64, last: u64) -> Option<Self> {
        if first == 0 || first > last {
            None
        } else {
            Some(Self {
                replica,
                first,
                last,
            })
        }
    }

    /// Whose events they are.
    #[must_use]
    pub const fn replica(self) -> ReplicaId {
        self.replica
    }

    /// The lowest counter.
    #[must_use]
    pub const fn first(self) -> u64 {
        self.first
    }

    /// The highest counter.
    #[must_use]
    pub const fn last(self) -> u64 {
        self.last
    }

    /// Whether the event lies within.
    #[must_use]
    pub fn contains(self, dot: Dot) -> bool {
        self.replica == dot.replica() && (self.first..=self.last).contains(&dot.counter())
    }

    /// How many events there are.
    pub(crate) const fn len(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    fn touches(self, next: Self) -> bool {
        self.replica == next.replica && next.first <= self.last.saturating_add(1)
    }
}

impl From<Dot> for Interval {
    fn from(dot: Dot) -> Self {
        Self {
            replica: dot.replica(),
            first: dot.counter(),
            last: dot.counter(),
        }
    }
}

/// A set of events as sorted, disjoint, non-adjacent intervals.
///
/// Its size is the number of intervals, whatever their span. Equal sets are equal representations.
///
/// A [`VersionVector`] says of each replica how far all is known; this says it of any set, gaps and all.
///
/// # Example
///
/// ```
/// use peaberry_crdt::{Dot, Interval, IntervalVersionVector, ReplicaId};
///
/// let replica = ReplicaId::new(1).unwrap();
/// let mut seen = IntervalVersionVector::new();
/// seen.insert(Interval::new(replica, 1, 1_000_000).unwrap());
/// seen.insert(Interval::new(replica, 1_000_005, 1_000_009).unwrap());
/// assert_eq!(seen.iter().len(), 2);
/// assert!(!seen.contains(Dot::new(replica, 1_000_001).unwrap()));
/// seen.insert(Interval::new(replica, 1_000_001, 1_000_004).unwrap());
/// assert_eq!(seen.iter().len(), 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct IntervalVersionVector {
    intervals: Vec<Interval>,
}

impl IntervalVersionVector {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            intervals: Vec::new(),
        }
    }

    /// Adds the interval. Appending in ascending order costs amortised constant time.
    pub fn insert(&mut self, interval: Interval) -> Changed {
        let start = self
            .intervals
            .partition_point(|held| *held < interval && !held.touches(interval));
        let end = self
            .intervals
            .partition_point(|held| *held < interval || interval.touches(*held));
        let mut merged = interval;
        for held in self.intervals.get(start..end).unwrap_or_default() {
            if held.first <= interval.first && interval.last <= held.last {
                return Changed::No;
            }
            merged.first = merged.first.min(held.first);
            merged.last = merged.last.max(held.last);
        }
        self.intervals.splice(start..end, [merged]);
        Changed::Yes
    }

    /// Whether the event is in the set.
    #[must_use]
    pub fn contains(&self, dot: Dot) -> bool {
        let after = self
            .intervals
            .partition_point(|held| (held.replica, held.first) <= (dot.replica(), dot.counter()));
        after
            .checked_sub(1)
            .and_then(|at| self.intervals.get(at))
            .is_some_and(|held| held.contains(dot))
    }

    /// The intervals in ascending order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Interval> + '_ {
        self.intervals.iter().copied()
    }

    /// Whether the set has no event.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// The union of intervals in any order.
    pub(crate) fn of(mut intervals: Vec<Interval>) -> Self {
        intervals.sort_unstable();
        let mut set = Self {
            intervals: Vec::with_capacity(intervals.len()),
        };
        for interval in intervals {
            set.append(interval);
        }
        set
    }

    /// Adds an interval that starts at or after the start of the last.
    fn append(&mut self, interval: Interval) {
        match self.intervals.last_mut() {
            Some(held) if held.touches(interval) => held.last = held.last.max(interval.last),
            _ => self.intervals.push(interval),
        }
    }

    /// Takes an interval out.
    pub(crate) fn cut(&mut self, cut: Interval) {
        let start = self
            .intervals
            .partition_point(|held| (held.replica, held.last) < (cut.replica, cut.first));
        let end = self
            .intervals
            .partition_point(|held| (held.replica, held.first) <= (cut.replica, cut.last));
        let mut left = Vec::new();
        for held in self.intervals.get(start..end).unwrap_or_default() {
            left.extend(Interval::new(held.replica, held.first, cut.first - 1));
            if let Some(after) = cut.last.checked_add(1) {
                left.extend(Interval::new(held.replica, after, held.last));
            }
        }
        self.intervals.splice(start..end, left);
    }

    /// The first event of `wanted` that is not in the set.
    pub(crate) fn first_missing(&self, wanted: Interval) -> Option<Dot> {
        let after = self
            .intervals
            .partition_point(|held| (held.replica, held.first) <= (wanted.replica, wanted.first));
        let before = after.checked_sub(1).and_then(|at| self.intervals.get(at));
        match before.filter(|held| held.replica == wanted.replica && held.last >= wanted.first) {
            Some(held) if held.last >= wanted.last => None,
            Some(held) => Dot::new(wanted.replica, held.last + 1),
            None => Dot::new(wanted.replica, wanted.first),
        }
    }

    /// Moves what continues `vector` without a gap into it, and drops what it covers already.
    pub(crate) fn drain_contiguous(&mut self, vector: &mut VersionVector) {
        self.intervals.retain_mut(|held| {
            let known = vector.get(held.replica);
            if held.first <= known.saturating_add(1) {
                vector.raise(held.replica, held.last);
                return false;
            }
            true
        });
    }
}

impl FromIterator<Dot> for IntervalVersionVector {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut set = Self::new();
        for dot in dots {
            set.insert(dot.into());
        }
        set
    }
}

impl Lattice for IntervalVersionVector {
    fn bottom() -> Self {
        Self::new()
    }

    fn join(&mut self, other: &Self) -> Changed {
        let joined = Self::of(self.iter().chain(other.iter()).collect());
        let changed = Changed::when(joined != *self);
        *self = joined;
        changed
    }

    fn partial_le(&self, other: &Self) -> bool {
        let mut joined = other.clone();
        joined.join(self) == Changed::No
    }
}
