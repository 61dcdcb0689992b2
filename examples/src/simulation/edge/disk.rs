//! A store whose machine dies around a commit.

use std::ops::{Bound, Range};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use peaberry_core::{
    Batch, Durability, LogId, MemoryStorage, Order, ScanLimit, Storage, StorageError,
};

/// What is to happen at the next commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Nothing,
    DieBefore,
    DieAfter,
    Full(u32),
}

/// A store that keeps what was committed, whatever becomes of its machine.
pub(super) struct Disk {
    inner: MemoryStorage,
    fate: Mutex<Fate>,
}

impl Disk {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryStorage::new(),
            fate: Mutex::new(Fate::Nothing),
        })
    }

    pub(super) fn plan(&self, fate: Fate) {
        *self.fate.lock() = fate;
    }

    /// The machine is started again.
    pub(super) fn reopen(&self) {
        self.plan(Fate::Nothing);
    }
}

fn dead() -> StorageError {
    StorageError::Poisoned
}

impl Storage for Disk {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.inner.get(key)
    }

    fn scan(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        order: Order,
        limit: ScanLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        self.inner.scan(from, to, order, limit)
    }

    fn log_bounds(&self, log: LogId) -> Result<Range<u64>, StorageError> {
        self.inner.log_bounds(log)
    }

    fn log_read(
        &self,
        log: LogId,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, StorageError> {
        self.inner.log_read(log, range, bytes_max)
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError> {
        let mut fate = self.fate.lock();
        match *fate {
            Fate::Nothing => self.inner.commit(batch, durability),
            Fate::DieBefore => Err(dead()),
            Fate::DieAfter => {
                *fate = Fate::DieBefore;
                self.inner.commit(batch, durability)?;
                Err(dead())
            }
            Fate::Full(commits) => {
                *fate = match commits {
                    0 | 1 => Fate::Nothing,
                    more => Fate::Full(more - 1),
                };
                let path = "simulated".into();
                Err(StorageError::Full { path })
            }
        }
    }
}
