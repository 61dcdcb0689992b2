//! Commits: one frame, one write, one sync.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::DiskOptions;
use super::bytes::length32;
use super::error::failed;
use super::frame::{FrameBuffer, Head, PAYLOAD_BYTES_MAX, Shape};
use super::manifest::Manifest;
use super::record;
use super::segment::{HEADER_BYTES, Header, Segment, Spare};
use super::tables::Tables;
use crate::batch::Batch;
use crate::mutant::is_planted;
use crate::storage::files::{Files, FolderLock};
use crate::storage::memory::check_appends;
use crate::storage::{Durability, StorageError};

/// Freed or prepared files kept for the next segments. The last is not given up for a batch: opening again needs one,
/// and a store must open on a full disk.
pub(super) const SPARES_MAX: usize = 2;

/// Where the store stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    pub(super) next_sequence: u64,
    /// Every batch up to this sequence is on the disk.
    pub(super) synced: u64,
    /// The last batch in the checkpoint.
    pub(super) base: u64,
    /// Bytes of the active segment in use.
    pub(super) used: u64,
}

/// Everything that writing needs; one caller at a time.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) files: Arc<dyn Files>,
    pub(super) options: DiskOptions,
    pub(super) manifest: Manifest,
    pub(super) active: Arc<Segment>,
    /// The last sequence of every live segment but the active one.
    pub(super) ends: BTreeMap<u32, u64>,
    pub(super) at: Position,
    /// At most [`SPARES_MAX`].
    pub(super) spares: Vec<(u64, Spare)>,
    /// Bytes written since the checkpoint.
    pub(super) since_checkpoint: u64,
    /// By how many bytes the next checkpoint is put off, because the last had no room.
    pub(super) checkpoint_delay: u64,
    pub(super) frame: FrameBuffer,
    pub(super) poisoned: bool,
    pub(super) _lock: FolderLock,
}

impl Writer {
    pub(super) fn commit(
        &mut self,
        tables: &RwLock<Tables>,
        batch: &Batch,
        durability: Durability,
    ) -> Result<(), StorageError> {
        if self.poisoned {
            return Err(StorageError::Poisoned);
        }
        let outcome = self.try_commit(tables, batch, durability);
        match &outcome {
            Ok(()) => self.maintain_or_poison(tables),
            Err(StorageError::InvalidBatch { .. } | StorageError::Full { .. }) => {}
            Err(_) => self.poisoned = true,
        }
        outcome
    }

    /// What is put off until after a commit. That commit stands, whatever becomes of this.
    pub(super) fn maintain_or_poison(&mut self, tables: &RwLock<Tables>) {
        if self.maintain(tables).is_err() {
            self.poisoned = true;
        }
    }

    fn try_commit(
        &mut self,
        tables: &RwLock<Tables>,
        batch: &Batch,
        durability: Durability,
    ) -> Result<(), StorageError> {
        check_appends(batch, |log| tables.read().index.bounds(log))?;
        let payload_bytes = record::encoded_bytes(batch);
        if payload_bytes > PAYLOAD_BYTES_MAX {
            let reason = format!("it takes {payload_bytes} bytes of at most {PAYLOAD_BYTES_MAX}");
            return Err(StorageError::InvalidBatch { reason });
        }
        if batch.is_empty() {
            return self.sync_if(durability);
        }
        self.frame
            .fill(payload_bytes, |bytes| record::encode(batch, bytes));
        let payload_offset = self.write_frame(tables, payload_bytes)?;
        self.sync_if(durability)?;
        self.apply(tables, payload_bytes, payload_offset);
        Ok(())
    }

    fn sync_if(&mut self, durability: Durability) -> Result<(), StorageError> {
        match durability {
            Durability::Buffered => Ok(()),
            Durability::Synced => self.sync(),
        }
    }

    /// Makes every frame written so far durable. Older segments were synced when they were left.
    pub(super) fn sync(&mut self) -> Result<(), StorageError> {
        let last = self.at.next_sequence - 1;
        if self.at.synced < last {
            let mut outcome = self.active.file.sync_data();
            if outcome.is_err() && is_planted("storage_retry_failed_sync") {
                outcome = self.active.file.sync_data();
            }
            outcome.map_err(failed(self.files.as_ref(), &self.active.name(), "sync"))?;
            self.at.synced = last;
        }
        Ok(())
    }

    /// Writes the payload in the frame buffer behind the last frame. Where in the segment the payload begins.
    pub(super) fn write_frame(
        &mut self,
        tables: &RwLock<Tables>,
        payload_bytes: usize,
    ) -> Result<u32, StorageError> {
        let shape = Shape::of(payload_bytes);
        let frame_bytes = shape.frame_bytes as u64;
        if self.at.used + frame_bytes > self.active.bytes {
            self.rotate(tables, frame_bytes)?;
        }
        let offset = u32::try_from(self.at.used).expect("segments are below 4 GiB");
        let head = Head {
            segment: self.active.number,
            offset,
            sequence: self.at.next_sequence,
            synced: self.at.synced,
            payload_bytes: length32(payload_bytes),
        };
        let frame = self.frame.seal(&head);
        self.active
            .file
            .write_all_at(frame, self.at.used)
            .map_err(failed(self.files.as_ref(), &self.active.name(), "write"))?;
        self.at.used += frame_bytes;
        self.at.next_sequence += 1;
        self.since_checkpoint += frame_bytes;
        Ok(offset + length32(shape.head_bytes))
    }

    /// Makes the frame just written visible.
    pub(super) fn apply(&self, tables: &RwLock<Tables>, payload_bytes: usize, payload_offset: u32) {
        let payload = self.frame.payload(payload_bytes);
        tables
            .write()
            .apply(payload, self.active.number, payload_offset);
    }

    /// Goes on in the next segment, with room for a frame of `frame_bytes`.
    ///
    /// What may run out of room comes first; [`StorageError::Full`] has changed nothing.
    fn rotate(&mut self, tables: &RwLock<Tables>, frame_bytes: u64) -> Result<(), StorageError> {
        self.sync()?;
        let files = self.files.clone();
        let bytes = self
            .options
            .segment_bytes
            .max(HEADER_BYTES as u64 + frame_bytes);
        let manifest = Manifest {
            last: self.manifest.last + 1,
            ..self.manifest.clone()
        };
        self.ensure_spares(SPARES_MAX)?;
        for ((_, spare), bytes) in self
            .spares
            .iter_mut()
            .zip([bytes, self.options.segment_bytes])
        {
            spare.fill_all(files.as_ref(), bytes)?;
        }
        manifest.prepare(files.as_ref())?;

        let (_, spare) = self.spares.remove(0);
        let header = Header {
            number: manifest.last,
            first_sequence: self.at.next_sequence,
            bytes: spare.bytes(),
        };
        spare.write_front(files.as_ref(), &header.encode())?;
        let segment = Arc::new(spare.publish(files.as_ref(), manifest.last)?);
        Manifest::publish(files.as_ref())?;

        self.ends
            .insert(self.active.number, self.at.next_sequence - 1);
        self.manifest = manifest;
        self.active = segment.clone();
        self.at.used = HEADER_BYTES as u64;
        tables.write().segments.insert(segment.number, segment);
        Ok(())
    }

    /// Makes spares up to `count`.
    pub(super) fn ensure_spares(&mut self, count: usize) -> Result<(), StorageError> {
        while self.spares.len() < count
            && let Some(serial) = self.free_serial()
        {
            let spare = Spare::create(self.files.as_ref(), serial)?;
            self.spares.push((serial, spare));
        }
        Ok(())
    }

    pub(super) fn free_serial(&self) -> Option<u64> {
        (0..SPARES_MAX as u64).find(|serial| self.spares.iter().all(|(taken, _)| taken != serial))
    }
}
