//! Where each dot of a map is: for each replica, its counters in order with their keys.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::{Dot, Interval, ReplicaId, VersionVector};

/// From dot to key. Derived from a map's entries, so no part of its equality.
#[derive(Clone, Debug)]
pub(super) struct Runs<K> {
    runs: BTreeMap<ReplicaId, Run<K>>,
    /// Of all runs.
    live: usize,
}

#[derive(Clone, Debug)]
struct Run<K> {
    slots: Vec<(u64, Option<K>)>,
    live: usize,
}

impl<K> Default for Runs<K> {
    fn default() -> Self {
        Self {
            runs: BTreeMap::new(),
            live: 0,
        }
    }
}

impl<K> Runs<K> {
    /// How many dots there are.
    pub(super) const fn count(&self) -> usize {
        self.live
    }

    pub(super) fn get(&self, dot: Dot) -> Option<&K> {
        let run = self.runs.get(&dot.replica())?;
        let at = run
            .slots
            .binary_search_by_key(&dot.counter(), |slot| slot.0)
            .ok()?;
        run.slots.get(at)?.1.as_ref()
    }

    pub(super) fn insert(&mut self, dot: Dot, key: K) {
        let run = self.runs.entry(dot.replica()).or_insert_with(|| Run {
            slots: Vec::new(),
            live: 0,
        });
        let slot = (dot.counter(), Some(key));
        if run.slots.last().is_none_or(|last| last.0 < slot.0) {
            run.slots.push(slot);
            run.live += 1;
            self.live += 1;
            return;
        }
        match run.slots.binary_search_by_key(&slot.0, |held| held.0) {
            Ok(at) => {
                let blank = run
                    .slots
                    .get_mut(at)
                    .expect("a found position is within the run");
                let is_new = usize::from(blank.1.is_none());
                run.live += is_new;
                self.live += is_new;
                *blank = slot;
            }
            Err(at) => {
                run.slots.insert(at, slot);
                run.live += 1;
                self.live += 1;
            }
        }
    }

    pub(super) fn for_each_after(&self, known: &VersionVector, visit: &mut dyn FnMut(Dot, &K)) {
        for (replica, run) in &self.runs {
            for (counter, key) in run.after(known.get(*replica)) {
                if let (Some(key), Some(dot)) = (key, Dot::new(*replica, *counter)) {
                    visit(dot, key);
                }
            }
        }
    }

    /// Looks only at the runs' parts between the two.
    pub(super) fn for_each_between(
        &self,
        after: &VersionVector,
        upto: &VersionVector,
        visit: &mut dyn FnMut(Dot),
    ) {
        for (replica, run) in &self.runs {
            let last = upto.get(*replica);
            let slots = run.after(after.get(*replica)).iter();
            for (counter, key) in slots.take_while(|slot| slot.0 <= last) {
                if let (Some(_), Some(dot)) = (key, Dot::new(*replica, *counter)) {
                    visit(dot);
                }
            }
        }
    }

    /// How many slots `known` does not cover: no fewer than there are dots, and at most about twice as many.
    pub(super) fn count_after(&self, known: &VersionVector) -> usize {
        self.runs
            .iter()
            .map(|(replica, run)| run.after(known.get(*replica)).len())
            .sum()
    }

    /// Takes out the dots of the interval.
    pub(super) fn take(&mut self, interval: Interval) -> Vec<(Dot, K)> {
        let mut taken = Vec::new();
        let Some(run) = self.runs.get_mut(&interval.replica()) else {
            return taken;
        };
        let start = run.slots.partition_point(|slot| slot.0 < interval.first());
        let end = run.slots.partition_point(|slot| slot.0 <= interval.last());
        for (counter, key) in run.slots.get_mut(start..end).unwrap_or_default() {
            if let (Some(key), Some(dot)) = (key.take(), Dot::new(interval.replica(), *counter)) {
                taken.push((dot, key));
            }
        }
        run.live -= taken.len();
        self.live -= taken.len();
        if run.live == 0 {
            self.runs.remove(&interval.replica());
        } else if run.live < run.slots.len() / 2 {
            run.slots.retain(|slot| slot.1.is_some());
            run.slots.shrink_to(run.live.saturating_mul(2));
        }
        taken
    }
}

impl<K> Run<K> {
    fn after(&self, known: u64) -> &[(u64, Option<K>)] {
        let start = self.slots.partition_point(|slot| slot.0 <= known);
        self.slots.get(start..).unwrap_or_default()
    }
}
