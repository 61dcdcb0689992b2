//! A protocol's own part of the keyspace.

use std::ops::Bound;

use bytes::Bytes;

use crate::batch::Batch;
use crate::peer::Channel;
use crate::storage::{Order, ScanLimit, Storage, StorageError};

/// A view of the keys that share a prefix, named without it.
///
/// ```
/// use peaberry_core::{Batch, Channel, Durability, MemoryStorage, ProtocolId, Storage, Subspace};
///
/// let storage = MemoryStorage::new();
/// let orders = Subspace::of(Channel::new(ProtocolId(2000), 1));
/// let mut batch = Batch::new();
/// orders.put(&mut batch, b"latte", b"2");
/// storage.commit(&batch, Durability::Synced).unwrap();
/// assert_eq!(orders.get(&storage, b"latte").unwrap().unwrap(), "2");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subspace {
    prefix: Vec<u8>,
}

impl Subspace {
    /// The keys of `channel`'s protocol; no other channel's subspace shares any of them.
    #[must_use]
    pub fn of(channel: Channel) -> Self {
        Self {
            prefix: channel.to_bytes().to_vec(),
        }
    }

    /// The part of this subspace whose keys begin with `name`. Give siblings names of one length,
    /// or names none of which begins another.
    #[must_use]
    pub fn within(&self, name: &[u8]) -> Self {
        Self {
            prefix: self.key(name),
        }
    }

    /// `name` as the store spells it.
    #[must_use]
    pub fn key(&self, name: &[u8]) -> Vec<u8> {
        [self.prefix.as_slice(), name].concat()
    }

    /// The value of `name`.
    ///
    /// # Errors
    ///
    /// As [`Storage::get`].
    pub fn get(&self, storage: &dyn Storage, name: &[u8]) -> Result<Option<Bytes>, StorageError> {
        storage.get(&self.key(name))
    }

    /// Sets `name` to `value`.
    pub fn put(&self, batch: &mut Batch, name: &[u8], value: &[u8]) {
        batch.put(&self.key(name), value);
    }

    /// Removes `name`.
    pub fn delete(&self, batch: &mut Batch, name: &[u8]) {
        batch.delete(&self.key(name));
    }

    /// Removes every key of this subspace.
    pub fn clear(&self, batch: &mut Batch) {
        batch.delete_range(&self.prefix, after_prefix(&self.prefix).as_deref());
    }

    /// A page of this subspace's names and values between `from` and `to`; see [`Storage::scan`].
    ///
    /// # Errors
    ///
    /// As [`Storage::scan`].
    pub fn scan(
        &self,
        storage: &dyn Storage,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        order: Order,
        limit: ScanLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        let first = match from {
            Bound::Unbounded => Bound::Included(self.prefix.clone()),
            bound => bound.map(|name| self.key(name)),
        };
        let last = match (to, after_prefix(&self.prefix)) {
            (Bound::Unbounded, Some(end)) => Bound::Excluded(end),
            (Bound::Unbounded, None) => Bound::Unbounded,
            (bound, _) => bound.map(|name| self.key(name)),
        };
        let page = storage.scan(
            first.as_ref().map(Vec::as_slice),
            last.as_ref().map(Vec::as_slice),
            order,
            limit,
        )?;
        Ok(page
            .into_iter()
            .map(|(key, value)| (key.slice(self.prefix.len()..), value))
            .collect())
    }
}

/// The smallest key above every key that begins with `prefix`; `None` when there is none.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut end: Vec<u8> = prefix.iter().copied().take(last + 1).collect();
    if let Some(byte) = end.last_mut() {
        *byte += 1;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_of_a_prefix_skips_trailing_0xff() {
        assert_eq!(after_prefix(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(after_prefix(&[1, 255, 255]), Some(vec![2]));
        assert_eq!(after_prefix(&[255, 255]), None);
    }
}
