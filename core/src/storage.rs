//! What outlives a process.

#[cfg(feature = "disk")]
pub(crate) mod disk;
#[cfg(feature = "disk")]
pub mod files;
pub(crate) mod layer;
pub(crate) mod memory;

use std::ops::{Bound, Range};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::{Batch, LogId};

/// One ordered keyspace and numbered logs, committed together. Callable from any thread.
///
/// An implementer promises, and `conformance::storage` checks:
/// - a batch is visible and durable as a whole or not at all, and its operations take effect in their order;
/// - after `commit(_, Synced)` returned `Ok`, this batch and every one before it survive a crash and a power loss;
///   after `Buffered`, any suffix of the buffered batches may be lost in a crash, but never one from the middle;
/// - `commit` with an empty batch and `Synced` makes everything before it durable;
/// - a commit that failed with [`StorageError::InvalidBatch`] or [`StorageError::Full`] changed nothing and the store
///   goes on; after any other failure every later commit answers [`StorageError::Poisoned`], because the kernel may
///   have dropped the very pages whose sync failed: syncing again would lie;
/// - reads see every committed batch, buffered ones too, and are consistent with one another between two commits.
pub trait Storage: Send + Sync {
    /// The value of `key`, if it has one.
    ///
    /// # Errors
    ///
    /// The disk could not be read, or what it holds is corrupt. Nothing changed.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError>;

    /// A page of the keys between `from` and `to` with their values: at most `limit`, at least one if there is any.
    ///
    /// For the next page, go on from behind the last key (`Bound::Excluded`). `to` below `from` is an empty page.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    fn scan(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        order: Order,
        limit: ScanLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError>;

    /// The indices of `log`: its first entry's, and the one that the next append takes. `0..0` for a log never written.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    fn log_bounds(&self, log: LogId) -> Result<Range<u64>, StorageError>;

    /// The entries of `log` in `range`, in order: all that fit into `bytes_max`, at least one if there is any.
    /// Indices outside the log's bounds are passed over.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    fn log_read(
        &self,
        log: LogId,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, StorageError>;

    /// Applies `batch`, all or nothing. One caller at a time makes progress; others wait.
    ///
    /// # Errors
    ///
    /// [`InvalidBatch`](StorageError::InvalidBatch) and [`Full`](StorageError::Full): nothing changed, the store goes
    /// on. Anything else: the store is poisoned, and whether the batch survives a restart is unknown.
    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError>;
}

/// What [`Storage::commit`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Visible; lost by a power failure.
    Buffered,
    /// On the disk, with everything committed before.
    Synced,
}

/// The direction of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Smallest key first.
    Ascending,
    /// Largest key first.
    Descending,
}

/// How much one page of a scan may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanLimit {
    /// At most this many keys.
    pub count: usize,
    /// Keys and values of at most this many bytes together, but always one.
    pub bytes: usize,
}

impl ScanLimit {
    /// At most `count` keys, 1 MiB.
    #[must_use]
    pub const fn count(count: usize) -> Self {
        Self {
            count,
            bytes: 1 << 20,
        }
    }
}

/// Why storage could not do as told. Each variant says whether anything changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The batch contradicts the store: an append that leaves a gap, a key or an entry over its limit.
    /// Nothing changed. A mistake of the caller, not of the disk.
    #[error("batch refused: {reason}")]
    InvalidBatch {
        /// What is wrong with it.
        reason: String,
    },
    /// The disk has no room. Nothing changed; free some space and commit again.
    #[error("no space left in {}: free some and commit again", path.display())]
    Full {
        /// The store's folder.
        path: PathBuf,
    },
    /// The operating system failed. The store is poisoned, except when this comes from a read or from opening.
    #[error("could not {doing} {}", path.display())]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// An earlier commit failed, so nothing can be promised any more. Nothing changed. Restart the process: opening
    /// the store again finds what really is on the disk.
    #[error(
        "the store failed earlier and takes no more writes: restart to recover what was synced"
    )]
    Poisoned,
    /// Synced bytes are not what was written. Nothing changed. Restore the machine as a new peer.
    #[error("{} is corrupt at byte {offset}: {reason}", path.display())]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What was seen there.
        reason: String,
    },
    /// The folder belongs to another peer or cluster. Nothing changed.
    #[error("{} belongs to {found}, not to {expected}: point this node at its own folder", path.display())]
    ForeignFolder {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Who tried to open it.
        expected: String,
    },
    /// The folder was written by a newer version. Nothing changed.
    #[error("{} has format {found}, this build reads up to {supported}: use the newer build", path.display())]
    NewerFormat {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest this build knows.
        supported: u32,
    },
    /// Another process has the folder open. Nothing changed.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
}
