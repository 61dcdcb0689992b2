//! Replica ids that both ends of a session know by number.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::{ReplicaId, VersionVector};

/// Replica ids, each known by its index. The sender of a session announces its table, in order, before its first
/// message; sixteen bytes become one. An id that joins later is told inside each message until a new table is agreed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdTable {
    ids: Vec<ReplicaId>,
    index: BTreeMap<ReplicaId, u64>,
}

impl IdTable {
    /// Knows no id: every message tells its own.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            ids: Vec::new(),
            index: BTreeMap::new(),
        }
    }

    /// Adds an id at the end; its index, also if it was there.
    pub fn push(&mut self, id: ReplicaId) -> u64 {
        let next = self.ids.len() as u64;
        let index = *self.index.entry(id).or_insert(next);
        if index == next {
            self.ids.push(id);
        }
        index
    }

    /// The ids in the order of their indices.
    #[must_use]
    pub fn as_slice(&self) -> &[ReplicaId] {
        &self.ids
    }

    /// The index of an id.
    #[must_use]
    pub fn index(&self, id: ReplicaId) -> Option<u64> {
        self.index.get(&id).copied()
    }

    /// The id at an index.
    #[must_use]
    pub fn get(&self, index: u64) -> Option<ReplicaId> {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.ids.get(index))
            .copied()
    }

    /// How many ids there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

impl FromIterator<ReplicaId> for IdTable {
    fn from_iter<I: IntoIterator<Item = ReplicaId>>(ids: I) -> Self {
        let mut table = Self::new();
        for id in ids {
            table.push(id);
        }
        table
    }
}

impl From<&VersionVector> for IdTable {
    /// The replicas of the vector, in ascending order.
    fn from(vector: &VersionVector) -> Self {
        vector.iter().map(|(replica, _)| replica).collect()
    }
}
