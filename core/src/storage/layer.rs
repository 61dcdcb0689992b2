use std::ops::{Bound, Range};

use bytes::Bytes;

use super::{Durability, Order, ScanLimit, Storage, StorageError};
use crate::batch::{Batch, LogId};

/// What stands between a protocol and a store: counters, limits, faults. Whatever it does not override goes through.
///
/// [`Layered`] makes a [`Storage`] of it. A layer keeps the promises of [`Storage`], or breaks them on purpose in a test.
///
/// # Example
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use peaberry_core::{Batch, Durability, Layer, Layered, MemoryStorage, Storage, StorageError};
///
/// #[derive(Default)]
/// struct CountSyncs { inner: MemoryStorage, syncs: AtomicU64 }
///
/// impl Layer for CountSyncs {
///     fn inner(&self) -> &dyn Storage {
///         &self.inner
///     }
///
///     fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError> {
///         self.syncs.fetch_add(u64::from(durability == Durability::Synced), Ordering::Relaxed);
///         self.inner.commit(batch, durability)
///     }
/// }
///
/// let storage = Layered::new(CountSyncs::default());
/// storage.commit(&Batch::new(), Durability::Synced).unwrap();
/// assert_eq!(storage.layer().syncs.load(Ordering::Relaxed), 1);
/// ```
pub trait Layer: Send + Sync {
    /// The store beneath.
    fn inner(&self) -> &dyn Storage;

    /// As [`Storage::get`].
    ///
    /// # Errors
    ///
    /// Those of the store beneath.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.inner().get(key)
    }

    /// As [`Storage::scan`].
    ///
    /// # Errors
    ///
    /// Those of the store beneath.
    fn scan(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        order: Order,
        limit: ScanLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        self.inner().scan(from, to, order, limit)
    }

    /// As [`Storage::log_bounds`].
    ///
    /// # Errors
    ///
    /// Those of the store beneath.
    fn log_bounds(&self, log: LogId) -> Result<Range<u64>, StorageError> {
        self.inner().log_bounds(log)
    }

    /// As [`Storage::log_read`].
    ///
    /// # Errors
    ///
    /// Those of the store beneath.
    fn log_read(
        &self,
        log: LogId,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, StorageError> {
        self.inner().log_read(log, range, bytes_max)
    }

    /// As [`Storage::commit`].
    ///
    /// # Errors
    ///
    /// Those of the store beneath.
    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError> {
        self.inner().commit(batch, durability)
    }
}

/// A store behind a [`Layer`].
#[derive(Debug, Default)]
pub struct Layered<L>(L);

impl<L> Layered<L> {
    /// The store that `layer` makes of the one beneath it.
    pub const fn new(layer: L) -> Self {
        Self(layer)
    }

    /// The layer.
    pub const fn layer(&self) -> &L {
        &self.0
    }
}

impl<L: Layer> Storage for Layered<L> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.0.get(key)
    }

    fn scan(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        order: Order,
        limit: ScanLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        self.0.scan(from, to, order, limit)
    }

    fn log_bounds(&self, log: LogId) -> Result<Range<u64>, StorageError> {
        self.0.log_bounds(log)
    }

    fn log_read(
        &self,
        log: LogId,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, StorageError> {
        self.0.log_read(log, range, bytes_max)
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError> {
        self.0.commit(batch, durability)
    }
}
