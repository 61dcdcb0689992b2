//! One of the two logs that snapshots are written to.

use bytes::Bytes;
use peaberry_core::{Batch, LogId, Storage, StorageError};

use super::{Stored, crc_with};
use crate::state_machine::SNAPSHOT_CHUNK_BYTES_MAX;

/// Writes a snapshot's chunks behind whatever the area's log held.
#[derive(Debug)]
pub(super) struct AreaWriter {
    area: u8,
    log: LogId,
    start: u64,
    chunks: u64,
    crc: u32,
}

impl AreaWriter {
    pub(super) const fn new(area: u8, log: LogId, start: u64) -> Self {
        Self {
            area,
            log,
            start,
            chunks: 0,
            crc: 0,
        }
    }

    pub(super) fn push(&mut self, chunk: &Bytes, batch: &mut Batch) {
        batch.append(self.log, self.end(), [chunk.as_ref()]);
        self.chunks += 1;
        self.crc = crc_with(self.crc, chunk);
    }

    pub(super) const fn area(&self) -> u8 {
        self.area
    }

    pub(super) const fn start(&self) -> u64 {
        self.start
    }

    pub(super) const fn end(&self) -> u64 {
        self.start + self.chunks
    }

    pub(super) const fn chunks(&self) -> u64 {
        self.chunks
    }

    pub(super) const fn crc(&self) -> u32 {
        self.crc
    }
}

/// Reads a stored snapshot's chunks while a group is being opened.
#[derive(Debug)]
pub(in crate::raft) struct AreaReader {
    log: LogId,
    next: u64,
    end: u64,
}

impl AreaReader {
    pub(super) const fn new(log: LogId, stored: &Stored) -> Self {
        Self {
            log,
            next: stored.start,
            end: stored.start + stored.manifest.chunks,
        }
    }

    /// The next chunk; `None` behind the last, and when the log ends too early.
    pub(in crate::raft) fn next(
        &mut self,
        storage: &dyn Storage,
    ) -> Result<Option<Bytes>, StorageError> {
        if self.next >= self.end {
            return Ok(None);
        }
        let read =
            storage.log_read(self.log, self.next..self.next + 1, SNAPSHOT_CHUNK_BYTES_MAX)?;
        self.next += 1;
        Ok(read.into_iter().next())
    }
}
