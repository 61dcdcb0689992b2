//! Storage in a folder: a segmented write-ahead log of whole batches.
//!
//! # How it works
//!
//! A commit is one frame at the end of the active [segment](segment): one write into blocks given out before, one sync.
//! Log entries are served from the segments; memory holds twelve bytes for each. Keys and values are held in memory,
//! **all of them: they must fit; logs need not**. From time to time all keys are written to a
//! [checkpoint](checkpoint); a segment whose batches it covers and in which no live entry is left is used again.
//! Entries of a log that nobody discards are [moved forward](reclaim), so that they do not keep segments for ever.
//! A [manifest](manifest) names the files that count. [Opening](recovery) reads and checks all segments: its time
//! grows with the live bytes.
//!
//! # Torn or damaged
//!
//! A batch at the end of the log that does not decode is either a commit that never finished, to be cut, or one that
//! was acknowledged, to be reported. A commit mark cannot tell: the sectors of an unsynced write reach the disk in any
//! order and any number, mark included. Recording "synced up to here" can tell, but for the last batch it would cost a
//! second sync. So:
//!
//! - Each frame says up to which sequence everything was synced when it was written; so do segment headers and
//!   checkpoints. Damage below the highest such claim is damage to synced bytes.
//! - For the last frames, above every claim, damage and tearing look the same; so each frame carries parity, from which
//!   any *one* of its sectors can be computed ([frame]). One damaged sector is mended, whoever damaged it: keeping an
//!   unacknowledged batch is allowed. A frame with more sectors gone is cut.
//!
//! Thus any number of flipped bytes within one sector of a frame is repaired; damage to two sectors of a frame is
//! reported, except in batches behind the last claim, where it is taken for a torn write. Whatever opened the store
//! has also claimed it: only what was written since the last open, and of that only the last synced commit (with the
//! buffered ones right before it), is above the claims. Not covered: a folder put back as it was earlier.
//!
//! The alternatives cost more: two copies of each batch double its bytes, a synced mark doubles its syncs. Parity and
//! checksums add one to three sectors to a frame, and 0.8 % of its bytes.
//!
//! What is assumed of the disk: a power loss harms no sector of 512 bytes that was not being written. Frames begin on
//! sectors, and live segments are written only behind their last frame.

mod bytes;
mod checkpoint;
mod error;
mod frame;
mod log_index;
mod manifest;
mod reclaim;
mod record;
mod recovery;
mod replay;
mod segment;
mod tables;
mod writer;

use std::ops::{Bound, Range};
use std::path::PathBuf;
use std::sync::Arc;

use ::bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use self::tables::Tables;
use self::writer::Writer;
use crate::batch::{Batch, LogId};
use crate::peer::PeerId;
use crate::storage::files::{Files, SystemFiles};
use crate::storage::{Durability, Order, ScanLimit, Storage, StorageError};

/// Whose a [`DiskStorage`] is, and its sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    owner: String,
    segment_bytes: u64,
    checkpoint_bytes: u64,
}

impl DiskOptions {
    /// The longest owner's name, in bytes.
    pub const OWNER_BYTES_MAX: usize = 1 << 10;
    /// The smallest segment, in bytes.
    pub const SEGMENT_BYTES_MIN: u64 = 16 << 10;
    /// The largest segment, in bytes. A batch larger than a segment gets one of its own.
    pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

    /// The store of `peer` in `cluster`. Another peer's folder is refused.
    ///
    /// # Panics
    ///
    /// When the names together are longer than [`OWNER_BYTES_MAX`](Self::OWNER_BYTES_MAX).
    #[must_use]
    pub fn new(cluster: &str, peer: PeerId) -> Self {
        Self::owned_by(format!("{cluster} {peer}"))
    }

    /// A store that belongs to whatever calls itself `owner`.
    ///
    /// # Panics
    ///
    /// When `owner` is longer than [`OWNER_BYTES_MAX`](Self::OWNER_BYTES_MAX).
    #[must_use]
    pub fn owned_by(owner: impl Into<String>) -> Self {
        let owner = owner.into();
        assert!(
            owner.len() <= Self::OWNER_BYTES_MAX,
            "an owner's name takes at most {} bytes",
            Self::OWNER_BYTES_MAX
        );
        Self {
            owner,
            segment_bytes: 16 << 20,
            checkpoint_bytes: 64 << 20,
        }
    }

    /// The length of a segment, 16 MiB by default; brought within its limits. Two are made at opening and kept filled.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes
            .clamp(Self::SEGMENT_BYTES_MIN, Self::SEGMENT_BYTES_MAX)
            .next_multiple_of(frame::SECTOR as u64);
        self
    }

    /// After how many bytes of batches all keys are written to a new checkpoint, 64 MiB by default; the keys' own
    /// bytes where they are more. Smaller: less to replay at opening, fewer segments kept, more bytes written.
    #[must_use]
    pub const fn checkpoint_bytes(mut self, bytes: u64) -> Self {
        self.checkpoint_bytes = bytes;
        self
    }
}

/// What opening a [`DiskStorage`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Batches of which one sector was damaged and has been computed from the rest. Above zero where no power was lost:
    /// the disk is failing.
    pub mended_batches: u64,
    /// Batches at the end that were not known to be on the disk, and have been written again.
    pub copied_batches: u64,
}

/// Durable storage in a folder of its own.
///
/// Keys and values are held in memory and must fit; log entries are read from the disk. A commit is one write and one
/// sync; from time to time one also writes a checkpoint of all keys, which takes as long as writing them does. The
/// folder takes at most about three times what lives in the store, four segments, two spares and the bytes between two
/// checkpoints. A batch's keys, values and entries take at most 1 GiB.
///
/// ```
/// use peaberry_core::{Batch, DiskOptions, DiskStorage, Durability, PeerId, Storage};
///
/// let folder = tempfile::tempdir().unwrap();
/// let options = DiskOptions::new("coffee", PeerId::new(1).unwrap());
/// let storage = DiskStorage::open(folder.path(), options.clone()).unwrap();
/// let mut batch = Batch::new();
/// batch.put(b"key", b"value");
/// storage.commit(&batch, Durability::Synced).unwrap();
/// drop(storage);
///
/// let storage = DiskStorage::open(folder.path(), options).unwrap();
/// assert_eq!(storage.get(b"key").unwrap().unwrap(), "value");
/// ```
#[derive(Debug)]
pub struct DiskStorage {
    files: Arc<dyn Files>,
    writer: Mutex<Writer>,
    tables: RwLock<Tables>,
    recovery: Recovery,
}

impl DiskStorage {
    /// Opens the folder at `path`, made where missing.
    ///
    /// # Errors
    ///
    /// Any of [`StorageError`] but `InvalidBatch` and `Poisoned`. Nothing that was synced is lost; opening again after
    /// the cause is gone finds it.
    pub fn open(path: impl Into<PathBuf>, options: DiskOptions) -> Result<Self, StorageError> {
        let path = path.into();
        let files = SystemFiles::open(&path).map_err(|source| StorageError::Io {
            doing: "make",
            path,
            source: Arc::new(source),
        })?;
        Self::open_on(Arc::new(files), options)
    }

    /// Opens a store on `files`, such as simulated ones.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_on(files: Arc<dyn Files>, options: DiskOptions) -> Result<Self, StorageError> {
        let (mut writer, tables, recovery) = recovery::open(files.clone(), options)?;
        let tables = RwLock::new(tables);
        writer.tidy(&tables)?;
        Ok(Self {
            files,
            writer: Mutex::new(writer),
            tables,
            recovery,
        })
    }

    /// What opening found.
    #[must_use]
    pub const fn recovery(&self) -> Recovery {
        self.recovery
    }
}

impl Storage for DiskStorage {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(self.tables.read().keys.get(key))
    }

    fn scan(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        order: Order,
        limit: ScanLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        Ok(self.tables.read().keys.scan(from, to, order, limit))
    }

    fn log_bounds(&self, log: LogId) -> Result<Range<u64>, StorageError> {
        Ok(self.tables.read().index.bounds(log))
    }

    fn log_read(
        &self,
        log: LogId,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, StorageError> {
        let runs = self.tables.read().runs(log, range, bytes_max);
        let mut entries = Vec::new();
        for run in runs {
            entries.extend(run.read(self.files.as_ref())?);
        }
        Ok(entries)
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError> {
        self.writer.lock().commit(&self.tables, batch, durability)
    }
}

/// Runs every decoder of bytes from the disk on `bytes`: for fuzzing.
#[doc(hidden)]
pub fn decode_any(bytes: &[u8]) {
    for record in record::Records::new(bytes) {
        if let Ok(record::Record::Append { entries, .. } | record::Record::Move { entries, .. }) =
            record
        {
            for (at, length) in entries {
                assert!(at + length as usize <= bytes.len());
            }
        }
    }
    let _ = segment::Header::decode(bytes);
    checkpoint::decode_any(bytes);
    manifest::decode_any(bytes);
    let _ = frame::find(bytes, 1, 0);
    let _ = frame::synced_according_to(bytes, 1, 0);
}
