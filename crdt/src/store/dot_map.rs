//! A store under each key.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt::Debug;
use core::mem;

use super::run::Runs;
use crate::{Dot, DotStore, Interval, VersionVector};

/// One insertion by key costs about as much as walking this many entries.
const WALK_COSTS_LESS: usize = 4;

/// A store under each key. A key whose store is empty is not held.
#[derive(Clone, Debug)]
pub struct DotMap<K, S> {
    entries: BTreeMap<K, S>,
    runs: Runs<K>,
}

impl<K, S> Default for DotMap<K, S> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            runs: Runs::default(),
        }
    }
}

impl<K: PartialEq, S: PartialEq> PartialEq for DotMap<K, S> {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl<K: Eq, S: Eq> Eq for DotMap<K, S> {}

impl<K: Ord, S> DotMap<K, S> {
    /// The store under the key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&S> {
        self.entries.get(key)
    }

    /// Each key with its store, in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &S)> + ExactSizeIterator {
        self.entries.iter()
    }

    /// How many keys are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no key is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<K: Clone + Ord, S: DotStore> DotMap<K, S> {
    /// The map with one key.
    pub(crate) fn one(key: K, store: S) -> Self {
        let mut map = Self::default();
        store.for_each_after(&VersionVector::new(), &mut |dot| {
            map.runs.insert(dot, key.clone())
        });
        if !store.is_empty() {
            map.entries.insert(key, store);
        }
        map
    }
}

impl<K: Clone + Ord, S: DotStore> DotMap<K, S> {
    /// `held` with what is new here, in one walk of both.
    fn merge_entries(&self, known: &VersionVector, held: BTreeMap<K, S>) -> BTreeMap<K, S> {
        let mut merged = Vec::with_capacity(self.entries.len() + held.len());
        let mut held = held.into_iter().peekable();
        for (key, store) in &self.entries {
            while let Some(entry) = held.next_if(|entry| entry.0 < *key) {
                merged.push(entry);
            }
            let mut under = held
                .next_if(|entry| entry.0 == *key)
                .map(|entry| entry.1)
                .unwrap_or_default();
            store.copy_after(known, &mut under);
            if !under.is_empty() {
                merged.push((key.clone(), under));
            }
        }
        merged.extend(held);
        merged.into_iter().collect()
    }
}

impl<K: Clone + Debug + Ord, S: DotStore> DotStore for DotMap<K, S> {
    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn contains_dot(&self, dot: Dot) -> bool {
        self.runs.get(dot).is_some()
    }

    fn for_each_after(&self, known: &VersionVector, visit: &mut dyn FnMut(Dot)) {
        self.runs.for_each_after(known, &mut |dot, _| visit(dot));
    }

    fn same_at(&self, other: &Self, dot: Dot) -> bool {
        let Some(key) = self.runs.get(dot) else {
            return false;
        };
        match (
            self.entries.get(key),
            other.runs.get(dot),
            other.entries.get(key),
        ) {
            (Some(mine), Some(their_key), Some(theirs)) => {
                key == their_key && mine.same_at(theirs, dot)
            }
            _ => false,
        }
    }

    fn copy_dot(&self, dot: Dot, into: &mut Self) {
        let Some(key) = self.runs.get(dot) else {
            return;
        };
        let Some(store) = self.entries.get(key) else {
            return;
        };
        into.runs.insert(dot, key.clone());
        store.copy_dot(dot, into.entries.entry(key.clone()).or_default());
    }

    fn copy_after(&self, known: &VersionVector, into: &mut Self) {
        let walked = self.entries.len() + into.entries.len();
        if self.runs.count_after(known).saturating_mul(WALK_COSTS_LESS) < walked {
            self.runs
                .for_each_after(known, &mut |dot, _| self.copy_dot(dot, into));
            return;
        }
        self.runs
            .for_each_after(known, &mut |dot, key| into.runs.insert(dot, key.clone()));
        into.entries = self.merge_entries(known, mem::take(&mut into.entries));
    }

    fn remove(&mut self, interval: Interval) -> bool {
        let taken = self.runs.take(interval);
        for (dot, key) in &taken {
            let Some(store) = self.entries.get_mut(key) else {
                continue;
            };
            store.remove(Interval::from(*dot));
            if store.is_empty() {
                self.entries.remove(key);
            }
        }
        !taken.is_empty()
    }
}
