//! Which event removed which dots.

use alloc::collections::{BTreeMap, VecDeque};

use crate::{Changed, Dot, IntervalVersionVector, Lattice, ReplicaId, VersionVector};

/// What the log of a new [`Causal`](crate::Causal) may take, in bytes.
pub const REMOVAL_LOG_BYTES_MAX: usize = 1 << 20;

const EVENT_BYTES: usize = 48;
const INTERVAL_BYTES: usize = 32;

/// Event → dots that it removed, for each replica in the order of its events.
///
/// The floor is a vector up to which events may be missing. A peer that knows the floor is served from the log; any
/// other needs to be told which of its dots are still alive.
#[derive(Clone, Debug, Default)]
pub(crate) struct RemovalLog {
    events: BTreeMap<ReplicaId, VecDeque<(u64, IntervalVersionVector)>>,
    floor: VersionVector,
    bytes: usize,
}

fn size(removed: &IntervalVersionVector) -> usize {
    EVENT_BYTES + INTERVAL_BYTES * removed.iter().len()
}

impl RemovalLog {
    /// Events of one replica come in ascending order; an event that removed nothing is not kept.
    pub(crate) fn push(&mut self, event: Dot, removed: IntervalVersionVector) {
        if removed.is_empty() || self.floor.covers(event) {
            return;
        }
        self.bytes += size(&removed);
        self.events
            .entry(event.replica())
            .or_default()
            .push_back((event.counter(), removed));
    }

    pub(crate) fn after<'a>(
        &'a self,
        known: &'a VersionVector,
    ) -> impl Iterator<Item = (Dot, &'a IntervalVersionVector)> + 'a {
        self.events.iter().flat_map(move |(replica, events)| {
            let start = events.partition_point(|event| event.0 <= known.get(*replica));
            events
                .range(start..)
                .filter_map(|(counter, removed)| Some((Dot::new(*replica, *counter)?, removed)))
        })
    }

    pub(crate) const fn floor(&self) -> &VersionVector {
        &self.floor
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops the events up to `floor`.
    pub(crate) fn cut(&mut self, floor: &VersionVector) -> Changed {
        let changed = self.floor.join(floor);
        if changed == Changed::Yes {
            let (floor, bytes) = (&self.floor, &mut self.bytes);
            self.events.retain(|replica, events| {
                let end = events.partition_point(|event| event.0 <= floor.get(*replica));
                *bytes -= events
                    .drain(..end)
                    .map(|event| size(&event.1))
                    .sum::<usize>();
                !events.is_empty()
            });
        }
        changed
    }

    /// If over the budget, drops the older half of each replica's events until within it.
    pub(crate) fn limit(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max {
            let mut floor = VersionVector::new();
            for (replica, events) in &self.events {
                if let Some((counter, _)) = events.get(events.len() / 2) {
                    floor.raise(*replica, *counter);
                }
            }
            self.cut(&floor);
        }
    }
}
