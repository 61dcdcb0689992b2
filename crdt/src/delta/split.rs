//! Cutting a delta into parts.
//!
//! A part is a set of events, as its delta is, and must carry what it claims: a dead dot comes with the event that
//! removed it, and that event with the dots it removed. So the events are gathered into the smallest groups that obey
//! this and come after what precedes them, and a part is some successive groups. A run of the log is taken whole: it is a few bytes, whatever it stands for.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::removal_log::RemovalLog;
use crate::wire::{Message, StoreCodec};
use crate::{Changed, Delta, DotStore, ReplicaId, VersionVector};

impl<S: StoreCodec> Delta<S> {
    /// Cuts the delta into parts of at most `bytes_max` bytes each, standing alone, to be applied in order. After each
    /// part the receiver's state is that of the events it knows, so the link may fail between two of them.
    ///
    /// What cannot be told apart stays together, so a part may be larger: the writes to one register, each of which
    /// removed the one before. A delta beyond the log is one part.
    #[must_use]
    pub fn split(self, bytes_max: usize) -> Vec<Self> {
        if self.alive.is_some() || self.to_bytes().len() <= bytes_max {
            return Vec::from([self]);
        }
        let groups = self.groups();
        let mut parts = Vec::new();
        self.cut(self.from.clone(), &groups, bytes_max, &mut parts);
        parts
    }

    /// The parts of these groups, which follow `after`, halved until they fit.
    fn cut(&self, after: VersionVector, groups: &[Group], bytes_max: usize, parts: &mut Vec<Self>) {
        let part = self.between(&after, &raised(&after, groups));
        if groups.len() <= 1 || part.to_bytes().len() <= bytes_max {
            parts.push(part);
            return;
        }
        let (former, latter) = groups.split_at(groups.len() / 2);
        let middle = raised(&after, former);
        self.cut(after, former, bytes_max, parts);
        self.cut(middle, latter, bytes_max, parts);
    }
}

/// Up to which counter each replica's events are taken.
type Group = Vec<(ReplicaId, u64)>;

fn raised(vector: &VersionVector, groups: &[Group]) -> VersionVector {
    let mut raised = vector.clone();
    for (replica, upto) in groups.iter().flatten() {
        raised.raise(*replica, *upto);
    }
    raised
}

impl<S: DotStore> Delta<S> {
    fn between(&self, after: &VersionVector, upto: &VersionVector) -> Self {
        let mut store = S::default();
        self.store.for_each_after(after, &mut |dot| {
            if upto.covers(dot) {
                self.store.copy_dot(dot, &mut store);
            }
        });
        let mut log = RemovalLog::default();
        for (replica, run) in self.log.between(after, Some(upto)) {
            log.push(replica, run);
        }
        Self::of_events(after, upto, store, log)
    }

    /// The smallest groups of events that can be told apart, in an order in which they can be told.
    fn groups(&self) -> Vec<Group> {
        let mut items = Items::of(self);
        let mut groups = Vec::new();
        for events in self.events() {
            while items.reached.get(events.replica()) < events.last() {
                let next = items.next_of(events.replica());
                let next = next.unwrap_or_else(|| events.last());
                groups.push(items.take(events.replica(), next));
            }
        }
        groups
    }
}

/// Ranges of events that must be taken together with others.
struct Items {
    /// Of each replica, in ascending order of their starts.
    items: BTreeMap<ReplicaId, Vec<Item>>,
    /// How many items of each replica have been taken.
    taken: BTreeMap<ReplicaId, usize>,
    reached: VersionVector,
    /// Of each run, what it joins.
    runs: Vec<Vec<(ReplicaId, u64)>>,
}

#[derive(Clone, Copy)]
struct Item {
    first: u64,
    last: u64,
    run: Option<usize>,
}

impl Items {
    fn of<S: DotStore>(delta: &Delta<S>) -> Self {
        let mut items: BTreeMap<ReplicaId, Vec<Item>> = BTreeMap::new();
        let mut add = |replica, first, last, run| {
            let item = Item { first, last, run };
            items.entry(replica).or_default().push(item);
        };
        delta
            .store
            .for_each_after(&VersionVector::new(), &mut |dot| {
                add(dot.replica(), dot.counter(), dot.counter(), None);
            });
        let mut joins = Vec::new();
        for (replica, runs) in delta.log.runs() {
            for run in runs {
                let at = Some(joins.len());
                let mut joined = Vec::from([(replica, run.last())]);
                add(replica, run.first, run.last(), at);
                for dots in run.removed() {
                    let known = delta.from.get(dots.replica());
                    if dots.last() > known {
                        joined.push((dots.replica(), dots.last()));
                        add(dots.replica(), dots.first().max(known + 1), dots.last(), at);
                    }
                }
                joins.push(joined);
            }
        }
        for items in items.values_mut() {
            items.sort_by_key(|item| (item.first, item.last));
        }
        Self {
            items,
            taken: BTreeMap::new(),
            reached: delta.from.clone(),
            runs: joins,
        }
    }

    /// The end of the next item of a replica.
    fn next_of(&self, replica: ReplicaId) -> Option<u64> {
        let taken = self.taken.get(&replica).copied().unwrap_or_default();
        let item = self.items.get(&replica)?.get(taken)?;
        Some(item.last.max(self.reached.get(replica) + 1))
    }

    /// Takes the events of a replica up to a counter, with all that must come with them.
    fn take(&mut self, replica: ReplicaId, upto: u64) -> Group {
        let mut group = Group::new();
        let mut pending = Vec::from([(replica, upto)]);
        while let Some((replica, upto)) = pending.pop() {
            if self.reached.raise(replica, upto) == Changed::Yes {
                group.push((replica, upto));
            }
            let reached = self.reached.get(replica);
            let items = self.items.get(&replica).map_or(&[][..], Vec::as_slice);
            let taken = self.taken.entry(replica).or_default();
            while let Some(item) = items.get(*taken).filter(|item| item.first <= reached) {
                *taken += 1;
                if item.last > reached {
                    pending.push((replica, item.last));
                }
                let joined = item.run.and_then(|run| self.runs.get_mut(run));
                pending.append(joined.unwrap_or(&mut Vec::new()));
            }
        }
        group
    }
}
