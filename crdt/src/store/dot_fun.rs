//! A value under each dot.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Debug;

use crate::wire::{DecodeError, Decoder, Element, Encoder, StoreCodec};
use crate::{Dot, DotStore, Interval, VersionVector};

/// A value under each dot, in a vector sorted by dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DotFun<V> {
    entries: Vec<(Dot, V)>,
}

impl<V> Default for DotFun<V> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
        }
    }
}

impl<V> DotFun<V> {
    /// Holds nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
        }
    }

    /// Each dot with its value, in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Dot, &V)> + ExactSizeIterator {
        self.entries.iter().map(|(dot, value)| (*dot, value))
    }

    /// The value under the dot.
    #[must_use]
    pub fn get(&self, dot: Dot) -> Option<&V> {
        self.position(dot)
            .ok()
            .and_then(|at| self.entries.get(at))
            .map(|entry| &entry.1)
    }

    /// One value under one dot: what an edit puts.
    #[must_use]
    pub fn one(dot: Dot, value: V) -> Self {
        Self {
            entries: Vec::from([(dot, value)]),
        }
    }

    fn position(&self, dot: Dot) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&dot, |entry| entry.0)
    }
}

impl<V: Clone + Debug + Eq> DotStore for DotFun<V> {
    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn contains_dot(&self, dot: Dot) -> bool {
        self.position(dot).is_ok()
    }

    fn dot_count(&self) -> usize {
        self.entries.len()
    }

    fn for_each_named(&self, _visit: &mut dyn FnMut(Dot)) {}

    fn for_each_after(&self, known: &VersionVector, visit: &mut dyn FnMut(Dot)) {
        self.iter()
            .map(|(dot, _)| dot)
            .filter(|dot| !known.covers(*dot))
            .for_each(visit);
    }

    fn same_at(&self, other: &Self, dot: Dot) -> bool {
        self.get(dot)
            .is_some_and(|value| other.get(dot) == Some(value))
    }

    fn copy_dot(&self, dot: Dot, into: &mut Self) {
        if let (Some(value), Err(at)) = (self.get(dot), into.position(dot)) {
            into.entries.insert(at, (dot, value.clone()));
        }
    }

    fn remove(&mut self, interval: Interval) -> bool {
        let start = self.entries.partition_point(|(dot, _)| {
            (dot.replica(), dot.counter()) < (interval.replica(), interval.first())
        });
        let end = self.entries.partition_point(|(dot, _)| {
            (dot.replica(), dot.counter()) <= (interval.replica(), interval.last())
        });
        self.entries.drain(start..end);
        start < end
    }
}

impl<V: Clone + Debug + Eq + Element> StoreCodec for DotFun<V> {
    fn describe(out: &mut String) {
        out.push_str("DotFun<");
        V::describe(out);
        out.push('>');
    }

    fn encode_column(stores: &[&Self], out: &mut Encoder<'_>) {
        out.sizes(stores.iter().map(|store| store.entries.len()));
        let entries = stores.iter().flat_map(|store| &store.entries);
        out.dots(entries.clone().map(|entry| entry.0));
        let values: Vec<&V> = entries.map(|entry| &entry.1).collect();
        V::encode_column(&values, out);
    }

    fn decode_column(count: usize, input: &mut Decoder<'_>) -> Result<Vec<Self>, DecodeError> {
        let (sizes, total) = input.sizes_of_entries(count)?;
        let dots = input.dots(total)?;
        let values = V::decode_column(total, input)?;
        let mut entries = dots.into_iter().zip(values);
        let mut stores = Vec::with_capacity(sizes.len());
        for size in sizes {
            let entries: Vec<_> = entries.by_ref().take(size).collect();
            if !entries.is_sorted_by(|a, b| a.0 < b.0) {
                return Err(DecodeError::Malformed("dots do not ascend"));
            }
            stores.push(Self { entries });
        }
        Ok(stores)
    }
}
