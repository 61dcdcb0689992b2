//! Dot stores: state in which every piece is there because of one event.
//!
//! # Layout
//!
//! A store must find what a dot put there without looking at the rest, or a delta of one removal would cost a scan.
//! [`DotSet`] and [`DotFun`] are sorted vectors (a `DotSet` of one dot, the usual case, has no allocation), searched by
//! dot. [`DotMap`] holds its entries in a `BTreeMap` by key, and beside it, for each replica, a run of
//! `(counter, key)`. Events of a replica arrive in order, so a run grows at its end, and is a full vector where a
//! tree's nodes would be half empty; a removed slot is blanked and the run is packed when half its slots are blank.
//! What is new to a peer is the tail of each run. A removal of dot `d` costs one binary search in a run and one
//! descent by key for each level of nesting. When much is new, both maps are walked once in the order of their keys and the
//! tree is built anew from sorted entries, which is several times cheaper than as many insertions.

mod dot_fun;
mod dot_map;
mod dot_set;
mod run;

use core::fmt::Debug;

pub use dot_fun::DotFun;
pub use dot_map::DotMap;
pub use dot_set::DotSet;

use crate::{Dot, Interval, VersionVector};

/// State in which every piece is there because of one event, and goes when that event's dot is removed.
///
/// A dot put into a store never changes its meaning: two stores that hold one dot hold the same under it.
pub trait DotStore: Clone + Debug + Default + Eq {
    /// Whether no dot is held.
    fn is_empty(&self) -> bool;

    /// Whether the dot is held.
    fn contains_dot(&self, dot: Dot) -> bool;

    /// Calls `visit` with each held dot that `known` does not cover; those of one replica in ascending order.
    fn for_each_after(&self, known: &VersionVector, visit: &mut dyn FnMut(Dot));

    /// Whether both hold the dot, and the same under it.
    fn same_at(&self, other: &Self, dot: Dot) -> bool;

    /// Puts into `into` what is held under the dot; nothing if it is not held.
    fn copy_dot(&self, dot: Dot, into: &mut Self);

    /// Copies each held dot that `known` does not cover; `into` holds none of them.
    fn copy_after(&self, known: &VersionVector, into: &mut Self) {
        self.for_each_after(known, &mut |dot| self.copy_dot(dot, into));
    }

    /// Removes the dots of the interval with all under them; whether any was held. Costs by the dots held, never by
    /// the span of the interval.
    fn remove(&mut self, interval: Interval) -> bool;
}

/// Implements [`DotStore`] for a type with one field that is one.
macro_rules! dot_store_by_field {
    ([$($generics:tt)*] $name:ty) => {
        impl<$($generics)*> $crate::DotStore for $name {
            fn is_empty(&self) -> bool {
                $crate::DotStore::is_empty(&self.store)
            }
            fn contains_dot(&self, dot: $crate::Dot) -> bool {
                self.store.contains_dot(dot)
            }
            fn for_each_after(&self, known: &$crate::VersionVector, visit: &mut dyn FnMut($crate::Dot)) {
                self.store.for_each_after(known, visit);
            }
            fn same_at(&self, other: &Self, dot: $crate::Dot) -> bool {
                self.store.same_at(&other.store, dot)
            }
            fn copy_dot(&self, dot: $crate::Dot, into: &mut Self) {
                self.store.copy_dot(dot, &mut into.store);
            }
            fn copy_after(&self, known: &$crate::VersionVector, into: &mut Self) {
                self.store.copy_after(known, &mut into.store);
            }
            fn remove(&mut self, interval: $crate::Interval) -> bool {
                self.store.remove(interval)
            }
        }
    };
}
pub(crate) use dot_store_by_field;
