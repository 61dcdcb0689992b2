//! A protocol's own part of the keyspace.

use std::fmt;
use std::ops::Bound;

use bytes::Bytes;

use crate::batch::Batch;
use crate::peer::Channel;
use crate::storage::{Order, ScanLimit, Storage, StorageError};

/// So many entries are read at a time.
const PAGE: usize = 256;

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

    /// All names and values of this subspace in ascending order, read a page at a time: what a protocol loads when it is
    /// opened. What is committed meanwhile may be among them or not. Behind an error there is nothing more.
    ///
    /// ```
    /// use peaberry_core::{Batch, Channel, Durability, MemoryStorage, ProtocolId, Storage, Subspace};
    ///
    /// let storage = MemoryStorage::new();
    /// let drinks = Subspace::of(Channel::new(ProtocolId(2000), 1)).within(b"drink/");
    /// let mut batch = Batch::new();
    /// drinks.put(&mut batch, b"latte", b"2");
    /// drinks.put(&mut batch, b"cortado", b"1");
    /// storage.commit(&batch, Durability::Synced).unwrap();
    ///
    /// let names: Result<Vec<_>, _> = drinks.entries(&storage).map(|entry| entry.map(|(name, _)| name)).collect();
    /// assert_eq!(names.unwrap(), ["cortado", "latte"]);
    /// ```
    #[must_use]
    pub fn entries<'s>(&self, storage: &'s dyn Storage) -> SubspaceEntries<'s> {
        SubspaceEntries {
            space: self.clone(),
            storage,
            page: Vec::new().into_iter(),
            last: None,
            is_over: false,
        }
    }
}

/// See [`Subspace::entries`].
pub struct SubspaceEntries<'s> {
    space: Subspace,
    storage: &'s dyn Storage,
    page: std::vec::IntoIter<(Bytes, Bytes)>,
    /// The last name of the page, behind which the next one begins.
    last: Option<Bytes>,
    is_over: bool,
}

impl SubspaceEntries<'_> {
    fn turn_page(&mut self) -> Result<(), StorageError> {
        let last = self.last.take();
        let page = self.space.scan(
            self.storage,
            last.as_deref().map_or(Bound::Unbounded, Bound::Excluded),
            Bound::Unbounded,
            Order::Ascending,
            ScanLimit::count(PAGE),
        )?;
        self.last = page.last().map(|(name, _)| name.clone());
        self.is_over = page.is_empty();
        self.page = page.into_iter();
        Ok(())
    }
}

impl Iterator for SubspaceEntries<'_> {
    type Item = Result<(Bytes, Bytes), StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(entry) = self.page.next() {
            return Some(Ok(entry));
        }
        if self.is_over {
            return None;
        }
        if let Err(error) = self.turn_page() {
            self.is_over = true;
            return Some(Err(error));
        }
        self.page.next().map(Ok)
    }
}

impl fmt::Debug for SubspaceEntries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubspaceEntries")
            .field("space", &self.space)
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
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
    use crate::{Durability, MemoryStorage, ProtocolId};

    #[test]
    fn entries_go_on_from_page_to_page_and_keep_to_their_subspace() {
        let storage = MemoryStorage::new();
        let all = Subspace::of(Channel::new(ProtocolId(2000), 1));
        let (mine, next) = (all.within(b"m"), all.within(b"n"));
        let mut batch = Batch::new();
        for number in 0..3 * PAGE {
            mine.put(&mut batch, &number.to_be_bytes(), b"");
            next.put(&mut batch, &number.to_be_bytes(), b"");
        }
        storage.commit(&batch, Durability::Buffered).unwrap();
        let names = mine.entries(&storage).map(|entry| entry.unwrap().0);
        let wanted = (0..3 * PAGE).map(|number| number.to_be_bytes().to_vec());
        assert!(names.eq(wanted));
        assert_eq!(all.within(b"x").entries(&storage).count(), 0);
    }

    #[test]
    fn end_of_a_prefix_skips_trailing_0xff() {
        assert_eq!(after_prefix(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(after_prefix(&[1, 255, 255]), Some(vec![2]));
        assert_eq!(after_prefix(&[255, 255]), None);
    }
}
