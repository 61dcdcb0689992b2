//! A store under each key.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::fmt::Debug;
use core::mem;

use super::run::Runs;
use crate::mutant;
use crate::wire::{DecodeError, Decoder, Element, Encoder, StoreCodec};
use crate::{ApplyError, Dot, DotStore, Interval, Limits, Stamp, VersionVector};

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
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&S>
    where
        K: Borrow<Q>,
    {
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
    /// The map with one key: what an edit puts. Empty if the store is.
    #[must_use]
    pub fn one(key: K, store: S) -> Self {
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

impl<K: Clone + Ord, S: DotStore> DotMap<K, S> {
    /// The map of entries that a stranger has sent; `None` if it is not one.
    fn from_entries(entries: Vec<(K, S)>) -> Option<Self> {
        if !entries.is_sorted_by(|a, b| a.0 < b.0) {
            return None;
        }
        let mut dots = Vec::with_capacity(entries.len());
        for (key, store) in &entries {
            if store.is_empty() {
                return None;
            }
            store.for_each_after(&VersionVector::new(), &mut |dot| dots.push((dot, key)));
        }
        // In place: what is one too many is found out below.
        dots.sort_unstable_by_key(|entry| entry.0);
        if !dots.is_sorted_by(|a, b| a.0 < b.0) {
            return None;
        }
        let mut runs = Runs::default();
        for (dot, key) in dots {
            runs.insert(dot, key.clone());
        }
        let entries = entries.into_iter().collect();
        Some(Self { entries, runs })
    }
}

impl<K: Clone + Debug + Ord, S: DotStore> DotStore for DotMap<K, S> {
    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn contains_dot(&self, dot: Dot) -> bool {
        self.runs.get(dot).is_some()
    }

    fn dot_count(&self) -> usize {
        self.runs.count()
    }

    fn pieces_at(&self, dot: Dot) -> usize {
        let key = self.runs.get(dot);
        let store = key.and_then(|key| self.entries.get(key));
        store.map_or(0, |store| store.pieces_at(dot))
    }

    fn for_each_after(&self, known: &VersionVector, visit: &mut dyn FnMut(Dot)) {
        self.runs.for_each_after(known, &mut |dot, _| visit(dot));
    }

    fn for_each_between(
        &self,
        after: &VersionVector,
        upto: &VersionVector,
        visit: &mut dyn FnMut(Dot),
    ) {
        self.runs.for_each_between(after, upto, visit);
    }

    fn for_each_named(&self, visit: &mut dyn FnMut(Dot)) {
        for store in self.entries.values() {
            store.for_each_named(visit);
        }
    }

    fn for_each_stamp(&self, visit: &mut dyn FnMut(Dot, Stamp)) {
        for store in self.entries.values() {
            store.for_each_stamp(visit);
        }
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

    fn admit(
        &self,
        delta: &Self,
        known: &VersionVector,
        limits: &Limits,
    ) -> Result<(), ApplyError> {
        for (key, store) in &delta.entries {
            match self.entries.get(key) {
                Some(held) => held.admit(store, known, limits)?,
                None => S::default().admit(store, known, limits)?,
            }
        }
        Ok(())
    }
}

impl<K: Clone + Debug + Ord + Element, S: StoreCodec> StoreCodec for DotMap<K, S> {
    fn describe(out: &mut String) {
        out.push_str("DotMap<");
        K::describe(out);
        out.push(',');
        S::describe(out);
        out.push('>');
    }

    fn encode_column(stores: &[&Self], out: &mut Encoder<'_>) {
        out.sizes(stores.iter().map(|store| store.entries.len()));
        // Keys ascend within a map: each is a column of its own.
        let mut under: Vec<&S> = Vec::new();
        for store in stores {
            let mut keys: Vec<&K> = store.entries.keys().collect();
            let mut values: Vec<&S> = store.entries.values().collect();
            let entropy = mutant::entropy();
            mutant::scramble(&mut keys, entropy);
            mutant::scramble(&mut values, entropy);
            K::encode_column(&keys, out);
            under.append(&mut values);
        }
        S::encode_column(&under, out);
    }

    fn decode_column(count: usize, input: &mut Decoder<'_>) -> Result<Vec<Self>, DecodeError> {
        input.nest(|input| {
            let (sizes, total) = input.sizes_of_entries(count)?;
            let mut keys = Vec::new();
            for size in &sizes {
                keys.extend(K::decode_column(*size, input)?);
            }
            let under = S::decode_column(total, input)?;
            let mut entries = keys.into_iter().zip(under);
            let mut stores = Vec::with_capacity(sizes.len());
            for size in sizes {
                let map = Self::from_entries(entries.by_ref().take(size).collect());
                stores.push(map.ok_or(DecodeError::Malformed("entries of a map"))?);
            }
            Ok(stores)
        })
    }
}
