//! Sets: add-wins, remove-wins, grow-only.

use core::fmt::Debug;

use crate::wire::Element;
use crate::{DotFun, DotMap, DotSet, DotStore, Edit, Mint, dot_store};

/// A set in which an add wins over a concurrent removal. A removed element leaves nothing behind in the set.
///
/// Also known as observed-remove set without tombstones (Bieniusa and others, 2012).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddWinsSet<K: Ord> {
    store: DotMap<K, DotSet>,
}

/// A set in which a removal wins over a concurrent add. A removed element keeps one dot, so that adds that have not
/// seen the removal lose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoveWinsSet<K: Ord> {
    /// `true` under the dot of an add, `false` under the dot of a removal.
    store: DotMap<K, DotFun<bool>>,
}

/// A set that only grows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrowOnlySet<K: Ord> {
    store: DotMap<K, DotSet>,
}

impl<K: Clone + Debug + Ord> AddWinsSet<K> {
    /// Adds the element. Adding it again renews it, so that it survives concurrent removals.
    pub fn add(&self, mint: Mint, element: K) -> Edit<Self> {
        let held = self.store.get(&element).cloned().unwrap_or_default();
        Edit::put(Self {
            store: DotMap::one(element, DotSet::one(mint.dot())),
        })
        .removing(&held)
    }

    /// Removes the element as it is known here.
    pub fn remove(&self, element: &K) -> Edit<Self> {
        self.store
            .get(element)
            .map_or_else(Edit::nothing, |held| Edit::nothing().removing(held))
    }

    /// Removes all elements known here.
    pub fn clear(&self) -> Edit<Self> {
        Edit::nothing().removing(&self.store)
    }

    /// Whether the element is in the set.
    #[must_use]
    pub fn contains(&self, element: &K) -> bool {
        self.store.get(element).is_some()
    }

    /// The elements in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &K> + ExactSizeIterator {
        self.store.iter().map(|(element, _)| element)
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.store.is_empty()
    }
}

impl<K: Clone + Debug + Ord> RemoveWinsSet<K> {
    /// Adds the element, undoing the removals known here.
    pub fn add(&self, mint: Mint, element: K) -> Edit<Self> {
        self.mark(mint, element, true)
    }

    /// Removes the element; also one that is not known here, since a concurrent add may be on its way.
    pub fn remove(&self, mint: Mint, element: K) -> Edit<Self> {
        self.mark(mint, element, false)
    }

    /// Whether the element is in the set.
    #[must_use]
    pub fn contains(&self, element: &K) -> bool {
        self.store.get(element).is_some_and(all_true)
    }

    /// The elements in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.store
            .iter()
            .filter(|(_, marks)| all_true(marks))
            .map(|(element, _)| element)
    }

    /// How many elements there are. Costs a walk, over those that were removed too.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    fn mark(&self, mint: Mint, element: K, present: bool) -> Edit<Self> {
        let held = self.store.get(&element).cloned().unwrap_or_default();
        let store = DotMap::one(element, DotFun::one(mint.dot(), present));
        Edit::put(Self { store }).removing(&held)
    }
}

impl<K: Clone + Debug + Ord> GrowOnlySet<K> {
    /// Adds the element; nothing if it is there.
    pub fn add(&self, mint: Mint, element: K) -> Edit<Self> {
        if self.contains(&element) {
            return Edit::nothing();
        }
        Edit::put(Self {
            store: DotMap::one(element, DotSet::one(mint.dot())),
        })
    }

    /// Whether the element is in the set.
    #[must_use]
    pub fn contains(&self, element: &K) -> bool {
        self.store.get(element).is_some()
    }

    /// The elements in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &K> + ExactSizeIterator {
        self.store.iter().map(|(element, _)| element)
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.store.is_empty()
    }
}

fn all_true(marks: &DotFun<bool>) -> bool {
    !marks.is_empty() && marks.iter().all(|(_, present)| *present)
}

impl<K: Ord> Default for AddWinsSet<K> {
    fn default() -> Self {
        Self {
            store: DotMap::default(),
        }
    }
}

impl<K: Ord> Default for RemoveWinsSet<K> {
    fn default() -> Self {
        Self {
            store: DotMap::default(),
        }
    }
}

impl<K: Ord> Default for GrowOnlySet<K> {
    fn default() -> Self {
        Self {
            store: DotMap::default(),
        }
    }
}

dot_store!(
    [K: Clone + Debug + Ord]
    [K: Clone + Debug + Ord + Element]
    "AddWinsSet", AddWinsSet<K> { store: DotMap<K, DotSet> }
);
dot_store!(
    [K: Clone + Debug + Ord]
    [K: Clone + Debug + Ord + Element]
    "RemoveWinsSet", RemoveWinsSet<K> { store: DotMap<K, DotFun<bool>> }
);
dot_store!(
    [K: Clone + Debug + Ord]
    [K: Clone + Debug + Ord + Element]
    "GrowOnlySet", GrowOnlySet<K> { store: DotMap<K, DotSet> }
);
