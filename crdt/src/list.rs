//! Lists, whose elements keep their order whoever inserts where.
//!
//! A list is a [`DotStore`]: it may be a document by itself, the value of a map, or an array in a document.
//! [`DotList`] holds a store at each place, [`List`] a value.

mod path;
mod position;

use alloc::collections::BTreeSet;
use core::fmt::Debug;

pub use position::{POSITION_DEPTH_MAX, Position};

use crate::store::renamed_store;
use crate::wire::{Element, StoreCodec};
use crate::{
    ApplyError, Dot, DotFun, DotMap, DotStore, Edit, Limits, Mint, Stamp, VersionVector,
    WriteError, dot_store,
};

/// A store at each place of a sequence in Fugue order.
///
/// What is inserted at one place by several stays together and does not interleave. Nothing is kept of what was
/// removed: each element knows its own place, whatever happens to its neighbours. So the delta of one insertion tells a
/// path, which takes four to six bytes for each time that another replica went on, or something was put in between;
/// many elements share what they have in common.
///
/// An update concurrent with a removal survives, at its place, with what it wrote alone.
///
/// Finding an index takes a walk over the elements; iterating is as cheap as it is for a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DotList<S> {
    store: DotMap<Position, S>,
}

impl<S> Default for DotList<S> {
    fn default() -> Self {
        Self {
            store: DotMap::default(),
        }
    }
}

impl<S> DotList<S> {
    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.store.is_empty()
    }

    /// The element at an index, counted from zero.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&S> {
        self.entry(index).map(|entry| entry.1)
    }

    /// The elements in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &S> + ExactSizeIterator {
        self.store.iter().map(|entry| entry.1)
    }

    /// The place of the element at an index: it stays the same while others come and go.
    #[must_use]
    pub fn position(&self, index: usize) -> Option<&Position> {
        self.entry(index).map(|entry| entry.0)
    }

    /// The index of the element at a place; if it is gone, that of the first one behind it, as an error.
    ///
    /// # Errors
    ///
    /// The index at which it would be.
    pub fn index_of(&self, position: &Position) -> Result<usize, usize> {
        let before = self
            .store
            .iter()
            .take_while(|entry| entry.0 < position)
            .count();
        if self.store.get(position).is_some() {
            Ok(before)
        } else {
            Err(before)
        }
    }

    fn entry(&self, index: usize) -> Option<(&Position, &S)> {
        let mut entries = self.store.iter();
        let behind = self.len().checked_sub(index.checked_add(1)?)?;
        if behind < index {
            entries.nth_back(behind)
        } else {
            entries.nth(index)
        }
    }

    fn out_of_bounds(&self, index: usize) -> WriteError {
        WriteError::OutOfBounds {
            index,
            len: self.len(),
        }
    }
}

impl<S: DotStore> DotList<S> {
    /// Inserts an element in front of the one at `index`; at the end if `index` is the length. `element` must put
    /// something under the dot of `mint`, or nothing is inserted.
    ///
    /// # Errors
    ///
    /// [`WriteError::OutOfBounds`]; [`WriteError::TooDeep`].
    pub fn insert(
        &self,
        mint: Mint,
        index: usize,
        element: Edit<S>,
    ) -> Result<Edit<Self>, WriteError> {
        if index > self.len() {
            return Err(self.out_of_bounds(index));
        }
        let left = index.checked_sub(1).and_then(|left| self.position(left));
        let position = Position::between(left, self.position(index), mint.dot());
        if position.depth() > POSITION_DEPTH_MAX {
            return Err(WriteError::TooDeep {
                depth_max: POSITION_DEPTH_MAX,
            });
        }
        Ok(element.within(|store| Self {
            store: DotMap::one(position, store),
        }))
    }

    /// Edits the element at `index`.
    ///
    /// # Errors
    ///
    /// [`WriteError::OutOfBounds`], and those of `edit`.
    pub fn update(
        &self,
        index: usize,
        edit: impl FnOnce(&S) -> Result<Edit<S>, WriteError>,
    ) -> Result<Edit<Self>, WriteError> {
        let (position, held) = self.entry(index).ok_or_else(|| self.out_of_bounds(index))?;
        let position = position.clone();
        Ok(edit(held)?.within(|store| Self {
            store: DotMap::one(position, store),
        }))
    }

    /// Removes the element at `index` with all that is known under it.
    ///
    /// # Errors
    ///
    /// [`WriteError::OutOfBounds`].
    pub fn remove(&self, index: usize) -> Result<Edit<Self>, WriteError> {
        let held = self.get(index).ok_or_else(|| self.out_of_bounds(index))?;
        Ok(Edit::nothing().removing(held))
    }

    /// Removes all elements known here.
    pub fn clear(&self) -> Edit<Self> {
        Edit::nothing().removing(self)
    }
}

renamed_store!(
    [S: DotStore]
    [S: StoreCodec]
    DotList<S> {
        fn for_each_named(&self, visit: &mut dyn FnMut(Dot)) {
            let mut seen = BTreeSet::new();
            for (position, store) in self.store.iter() {
                position.for_each_named(&mut seen, visit);
                store.for_each_named(visit);
            }
        }

        fn for_each_stamp(&self, visit: &mut dyn FnMut(Dot, Stamp)) {
            self.store.for_each_stamp(visit);
        }

        fn copy_dot(&self, dot: Dot, into: &mut Self) {
            self.store.copy_dot(dot, &mut into.store);
        }

        fn copy_after(&self, known: &VersionVector, into: &mut Self) {
            self.store.copy_after(known, &mut into.store);
        }

        fn admit(
            &self,
            delta: &Self,
            known: &VersionVector,
            limits: &Limits,
        ) -> Result<(), ApplyError> {
            self.store.admit(&delta.store, known, limits)
        }
    }
    describe(out) {
        out.push_str("DotList{");
        DotMap::<Position, S>::describe(out);
        out.push_str(";}");
    }
);

/// A list of values in Fugue order: a [`DotList`] in which each element is one value.
///
/// # Example
///
/// ```
/// use peaberry_crdt::{Causal, Lattice, List, ReplicaId, Writer};
///
/// let mut here: Causal<List<&str>> = Causal::bottom();
/// let mut there = here.clone();
/// let mut mine = Writer::new(ReplicaId::new(1).unwrap(), 0, 100);
/// let mut theirs = Writer::new(ReplicaId::new(2).unwrap(), 0, 100);
/// here.write(&mut mine, |list, mint| list.push(mint, "milk")).unwrap();
/// there.apply(&here.delta_since(there.vector())).unwrap();
///
/// // Both insert behind the milk, two each. Neither lands between what the other wrote.
/// for bread in ["rye bread", "and butter"] {
///     here.write(&mut mine, |list, mint| list.push(mint, bread)).unwrap();
/// }
/// for coffee in ["coffee", "filters"] {
///     there.write(&mut theirs, |list, mint| list.push(mint, coffee)).unwrap();
/// }
/// here.join(&there);
/// there.join(&here);
/// assert!(here.value().iter().eq(&["milk", "rye bread", "and butter", "coffee", "filters"]));
/// assert_eq!(here, there);
///
/// here.write(&mut mine, |list, _| list.remove(0)).unwrap();
/// assert_eq!(here.value().get(0), Some(&"rye bread"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T> {
    elements: DotList<DotFun<T>>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self {
            elements: DotList::default(),
        }
    }
}

impl<T> List<T> {
    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// The element at an index, counted from zero.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.elements.get(index).and_then(first)
    }

    /// The elements in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.elements.iter().filter_map(first)
    }

    /// The place of the element at an index: it stays the same while others come and go.
    #[must_use]
    pub fn position(&self, index: usize) -> Option<&Position> {
        self.elements.position(index)
    }

    /// As [`DotList::index_of`].
    ///
    /// # Errors
    ///
    /// The index at which it would be.
    pub fn index_of(&self, position: &Position) -> Result<usize, usize> {
        self.elements.index_of(position)
    }
}

/// An element's place has one event, and one value.
fn first<T>(element: &DotFun<T>) -> Option<&T> {
    element.iter().next().map(|(_, value): (Dot, &T)| value)
}

impl<T: Clone + Debug + Eq> List<T> {
    /// Inserts a value in front of the one at `index`; at the end if `index` is the length.
    ///
    /// # Errors
    ///
    /// [`WriteError::OutOfBounds`]; [`WriteError::TooDeep`].
    pub fn insert(&self, mint: Mint, index: usize, value: T) -> Result<Edit<Self>, WriteError> {
        let element = Edit::put(DotFun::one(mint.dot(), value));
        let edit = self.elements.insert(mint, index, element)?;
        Ok(edit.within(|elements| Self { elements }))
    }

    /// Inserts a value at the end.
    ///
    /// # Errors
    ///
    /// [`WriteError::TooDeep`].
    pub fn push(&self, mint: Mint, value: T) -> Result<Edit<Self>, WriteError> {
        self.insert(mint, self.len(), value)
    }

    /// Removes the element at `index`.
    ///
    /// # Errors
    ///
    /// [`WriteError::OutOfBounds`].
    pub fn remove(&self, index: usize) -> Result<Edit<Self>, WriteError> {
        let edit = self.elements.remove(index)?;
        Ok(edit.within(|elements| Self { elements }))
    }

    /// Removes all elements known here.
    pub fn clear(&self) -> Edit<Self> {
        self.elements.clear().within(|elements| Self { elements })
    }
}

dot_store!(
    [T: Clone + Debug + Eq]
    [T: Clone + Debug + Eq + Element]
    "List", List<T> { elements: DotList<DotFun<T>> }
);
