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

use alloc::vec::Vec;
use core::fmt::Debug;

pub use dot_fun::DotFun;
pub use dot_map::DotMap;
pub use dot_set::DotSet;

use crate::{ApplyError, Dot, Interval, Limits, Stamp, VersionVector};

/// State in which every piece is there because of one event, and goes when that event's dot is removed.
///
/// A dot put into a store never changes its meaning: two stores that hold one dot hold the same under it.
pub trait DotStore: Clone + Debug + Default + Eq {
    /// Whether no dot is held.
    fn is_empty(&self) -> bool;

    /// Whether the dot is held.
    fn contains_dot(&self, dot: Dot) -> bool;

    /// How many dots are held. This one visits each of them.
    fn dot_count(&self) -> usize {
        let mut count = 0;
        self.for_each_after(&VersionVector::new(), &mut |_| count += 1);
        count
    }

    /// How many pieces are held under the dot: none, or one, since a dot has one meaning. More are a mistake of whoever made
    /// the store, which a write and a decoder refuse. A store of stores adds up theirs.
    fn pieces_at(&self, dot: Dot) -> usize {
        usize::from(self.contains_dot(dot))
    }

    /// Calls `visit` with each held dot that `known` does not cover, once.
    fn for_each_after(&self, known: &VersionVector, visit: &mut dyn FnMut(Dot));

    /// Calls `visit` with each held dot that `upto` covers and `after` does not, once.
    fn for_each_between(
        &self,
        after: &VersionVector,
        upto: &VersionVector,
        visit: &mut dyn FnMut(Dot),
    ) {
        self.for_each_after(after, &mut |dot| {
            if upto.covers(dot) {
                visit(dot);
            }
        });
    }

    /// Calls `visit` with the dots that what is held speaks of beside its own, such as those on the way to an element of a
    /// list; some perhaps more than once. Whoever wrote it had seen them, so a delta asks for them. A store of stores passes
    /// this on to each of them: else a state could speak of replicas that its vector does not tell.
    fn for_each_named(&self, visit: &mut dyn FnMut(Dot));

    /// Calls `visit` with each [`Stamp`] that is held, and its dot. A store that holds none, nor stores that do, has nothing
    /// to do; where one is passed over, a write beside it may be refused that others would take.
    fn for_each_stamp(&self, visit: &mut dyn FnMut(Dot, Stamp)) {
        let _ = visit;
    }

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

    /// Whether what `delta` holds beyond `known` keeps within `limits`, against what is held here. A store of stores
    /// asks each of them.
    ///
    /// # Errors
    ///
    /// The first that does not, as [`ApplyError::FarFuture`] or [`ApplyError::Jump`].
    fn admit(
        &self,
        delta: &Self,
        known: &VersionVector,
        limits: &Limits,
    ) -> Result<(), ApplyError> {
        let _ = (delta, known, limits);
        Ok(())
    }
}

/// A dot that a store holds in two places, if there is one. What a stranger has sent may.
pub(crate) fn held_twice(store: &impl DotStore) -> Option<Dot> {
    let mut dots = Vec::new();
    store.for_each_after(&VersionVector::new(), &mut |dot| dots.push(dot));
    // Those of one map or vector do.
    if !dots.is_sorted_by(|a, b| a < b) {
        dots.sort_unstable();
    }
    let twice = dots.windows(2).find(|pair| pair.first() == pair.last());
    twice.and_then(|pair| pair.first().copied())
}

/// Makes a store of a type whose fields are stores, with [`DotStore`], [`StoreCodec`](crate::wire::StoreCodec) and
/// what they need: pass the type's name and all of its fields.
///
/// One event puts something under one of the fields: edit a field and wrap the edit with
/// [`Edit::within`](crate::Edit::within). An edit that puts its dot under two is refused with
/// [`WriteError::DotTwice`](crate::WriteError::DotTwice): keep what changes together in one field.
///
/// # Example
///
/// ```
/// use peaberry_crdt::{AddWinsSet, Causal, Edit, Lattice, Mint, MvRegister, ReplicaId, Writer, dot_store};
///
/// #[derive(Clone, Debug, Default, PartialEq, Eq)]
/// struct Product { name: MvRegister<String>, tags: AddWinsSet<String> }
///
/// dot_store!(Product { name: MvRegister<String>, tags: AddWinsSet<String> });
///
/// impl Product {
///     fn tag(&self, mint: Mint, tag: &str) -> Edit<Self> {
///         self.tags.add(mint, tag.into()).within(|tags| Self { tags, ..Self::default() })
///     }
/// }
///
/// let mut product: Causal<Product> = Causal::bottom();
/// let mut writer = Writer::new(ReplicaId::new(1).unwrap(), 0, 10);
/// product.write(&mut writer, |product, mint| Ok(product.tag(mint, "decaf"))).unwrap();
/// assert!(product.value().tags.contains(&"decaf".to_string()));
/// ```
#[macro_export]
macro_rules! dot_store {
    ($name:ident { $($field:ident: $store:ty),+ $(,)? }) => {
        $crate::dot_store!([] [] stringify!($name), $name { $($field: $store),+ });
    };
    ([$($generics:tt)*] [$($codec:tt)*] $label:expr, $name:ty { $($field:ident: $store:ty),+ }) => {
        impl<$($generics)*> $crate::DotStore for $name {
            fn is_empty(&self) -> bool {
                true $(&& $crate::DotStore::is_empty(&self.$field))+
            }
            fn contains_dot(&self, dot: $crate::Dot) -> bool {
                false $(|| $crate::DotStore::contains_dot(&self.$field, dot))+
            }
            fn dot_count(&self) -> usize {
                0 $(+ $crate::DotStore::dot_count(&self.$field))+
            }
            fn pieces_at(&self, dot: $crate::Dot) -> usize {
                0 $(+ $crate::DotStore::pieces_at(&self.$field, dot))+
            }
            fn for_each_after(
                &self,
                known: &$crate::VersionVector,
                visit: &mut dyn ::core::ops::FnMut($crate::Dot),
            ) {
                $($crate::DotStore::for_each_after(&self.$field, known, visit);)+
            }
            fn for_each_between(
                &self,
                after: &$crate::VersionVector,
                upto: &$crate::VersionVector,
                visit: &mut dyn ::core::ops::FnMut($crate::Dot),
            ) {
                $($crate::DotStore::for_each_between(&self.$field, after, upto, visit);)+
            }
            fn for_each_named(&self, visit: &mut dyn ::core::ops::FnMut($crate::Dot)) {
                $($crate::DotStore::for_each_named(&self.$field, visit);)+
            }
            fn for_each_stamp(
                &self,
                visit: &mut dyn ::core::ops::FnMut($crate::Dot, $crate::Stamp),
            ) {
                $($crate::DotStore::for_each_stamp(&self.$field, visit);)+
            }
            fn same_at(&self, other: &Self, dot: $crate::Dot) -> bool {
                false $(|| $crate::DotStore::same_at(&self.$field, &other.$field, dot))+
            }
            fn copy_dot(&self, dot: $crate::Dot, into: &mut Self) {
                $($crate::DotStore::copy_dot(&self.$field, dot, &mut into.$field);)+
            }
            fn copy_after(&self, known: &$crate::VersionVector, into: &mut Self) {
                $($crate::DotStore::copy_after(&self.$field, known, &mut into.$field);)+
            }
            fn remove(&mut self, interval: $crate::Interval) -> bool {
                false $(| $crate::DotStore::remove(&mut self.$field, interval))+
            }
            fn admit(
                &self,
                delta: &Self,
                known: &$crate::VersionVector,
                limits: &$crate::Limits,
            ) -> ::core::result::Result<(), $crate::ApplyError> {
                $($crate::DotStore::admit(&self.$field, &delta.$field, known, limits)?;)+
                ::core::result::Result::Ok(())
            }
        }

        impl<$($codec)*> $crate::wire::StoreCodec for $name {
            fn describe(out: &mut $crate::__private::String) {
                out.push_str($label);
                out.push('{');
                $(<$store as $crate::wire::StoreCodec>::describe(out); out.push(';');)+
                out.push('}');
            }
            fn encode_column(stores: &[&Self], out: &mut $crate::wire::Encoder<'_>) {
                $(
                    let fields: $crate::__private::Vec<&$store> =
                        stores.iter().map(|store| &store.$field).collect();
                    <$store as $crate::wire::StoreCodec>::encode_column(&fields, out);
                )+
            }
            fn decode_column(
                count: usize,
                input: &mut $crate::wire::Decoder<'_>,
            ) -> ::core::result::Result<$crate::__private::Vec<Self>, $crate::wire::DecodeError> {
                $(
                    let mut $field =
                        <$store as $crate::wire::StoreCodec>::decode_column(count, input)?.into_iter();
                )+
                let mut stores = $crate::__private::Vec::new();
                while let ($(::core::option::Option::Some($field),)+) = ($($field.next(),)+) {
                    stores.push(Self { $($field),+ });
                }
                ::core::result::Result::Ok(stores)
            }
        }
    };
}

/// Makes a store of a type that is another store by a new name, in its field `store`. What it does in its own way, and how
/// it is called in bytes, is said here; the rest is the other store's.
macro_rules! renamed_store {
    (
        [$($generics:tt)*] [$($codec:tt)*] $name:ty { $($own:tt)* }
        describe($out:ident) $describe:block
    ) => {
        impl<$($generics)*> $crate::DotStore for $name {
            fn is_empty(&self) -> bool {
                self.store.is_empty()
            }

            fn contains_dot(&self, dot: $crate::Dot) -> bool {
                self.store.contains_dot(dot)
            }

            fn dot_count(&self) -> usize {
                self.store.dot_count()
            }

            fn pieces_at(&self, dot: $crate::Dot) -> usize {
                self.store.pieces_at(dot)
            }

            fn for_each_after(
                &self,
                known: &$crate::VersionVector,
                visit: &mut dyn FnMut($crate::Dot),
            ) {
                self.store.for_each_after(known, visit);
            }

            fn for_each_between(
                &self,
                after: &$crate::VersionVector,
                upto: &$crate::VersionVector,
                visit: &mut dyn FnMut($crate::Dot),
            ) {
                self.store.for_each_between(after, upto, visit);
            }

            fn same_at(&self, other: &Self, dot: $crate::Dot) -> bool {
                self.store.same_at(&other.store, dot)
            }

            fn remove(&mut self, interval: $crate::Interval) -> bool {
                self.store.remove(interval)
            }

            $($own)*
        }

        impl<$($codec)*> $crate::wire::StoreCodec for $name {
            fn describe($out: &mut alloc::string::String) $describe

            fn encode_column(stores: &[&Self], out: &mut $crate::wire::Encoder<'_>) {
                let stores: alloc::vec::Vec<_> = stores.iter().map(|named| &named.store).collect();
                $crate::wire::StoreCodec::encode_column(&stores, out);
            }

            fn decode_column(
                count: usize,
                input: &mut $crate::wire::Decoder<'_>,
            ) -> Result<alloc::vec::Vec<Self>, $crate::wire::DecodeError> {
                let stores: alloc::vec::Vec<_> =
                    $crate::wire::StoreCodec::decode_column(count, input)?;
                Ok(stores.into_iter().map(|store| Self { store }).collect())
            }
        }
    };
}
pub(crate) use renamed_store;
