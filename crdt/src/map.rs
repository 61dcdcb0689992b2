//! A map whose values are replicated types.

use core::fmt::Debug;

use crate::wire::{Element, StoreCodec};
use crate::{DotMap, DotStore, Edit, WriteError, dot_store};

/// An observed-remove map: removing a key removes what is known under it; a concurrent update of the key survives,
/// with what it wrote alone.
///
/// # Example
///
/// ```
/// use peaberry_crdt::{Causal, Lattice, MvRegister, ObservedRemoveMap, ReplicaId, Writer};
///
/// let mut map: Causal<ObservedRemoveMap<&str, MvRegister<u32>>> = Causal::bottom();
/// let mut writer = Writer::new(ReplicaId::new(7).unwrap(), 0, 100);
/// map.write(&mut writer, |map, mint| map.update("price", |price| Ok(price.write(mint, 12)))).unwrap();
/// assert_eq!(map.value().get(&"price").unwrap().values().next(), Some(&12));
/// map.write(&mut writer, |map, _| Ok(map.remove(&"price"))).unwrap();
/// assert!(map.value().get(&"price").is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedRemoveMap<K: Ord, S> {
    store: DotMap<K, S>,
}

impl<K: Clone + Debug + Ord, S: DotStore> ObservedRemoveMap<K, S> {
    /// Edits the value under the key; an empty one if there is none.
    ///
    /// # Errors
    ///
    /// Those of `edit`.
    pub fn update(
        &self,
        key: K,
        edit: impl FnOnce(&S) -> Result<Edit<S>, WriteError>,
    ) -> Result<Edit<Self>, WriteError> {
        let edited = match self.store.get(&key) {
            Some(held) => edit(held),
            None => edit(&S::default()),
        };
        Ok(edited?.within(|store| Self {
            store: DotMap::one(key, store),
        }))
    }

    /// Removes the key with all that is known under it.
    pub fn remove(&self, key: &K) -> Edit<Self> {
        self.store
            .get(key)
            .map_or_else(Edit::nothing, |held| Edit::nothing().removing(held))
    }

    /// Removes all keys, with all that is known under them.
    pub fn clear(&self) -> Edit<Self> {
        Edit::nothing().removing(&self.store)
    }

    /// The value under the key; `None` if nothing is under it.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&S> {
        self.store.get(key)
    }

    /// Each key with its value, in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &S)> + ExactSizeIterator {
        self.store.iter()
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.store.is_empty()
    }
}

impl<K: Ord, S> Default for ObservedRemoveMap<K, S> {
    fn default() -> Self {
        Self {
            store: DotMap::default(),
        }
    }
}

dot_store!(
    [K: Clone + Debug + Ord, S: DotStore]
    [K: Clone + Debug + Ord + Element, S: StoreCodec]
    "ObservedRemoveMap", ObservedRemoveMap<K, S> { store: DotMap<K, S> }
);
