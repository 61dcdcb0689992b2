//! Keeps the folder from growing: checkpoints, entries moved forward, segments freed and used again.
//!
//! A bounded piece follows each commit. Nothing here is needed for that commit to stand, so a full disk only puts it
//! off.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use super::checkpoint;
use super::error::failed;
use super::manifest::Manifest;
use super::record;
use super::segment::{Segment, Spare};
use super::tables::{Run, Tables};
use super::writer::{SPARES_MAX, Writer};
use crate::batch::LogId;
use crate::mutant::is_planted;
use crate::storage::StorageError;

/// What one commit at most moves forward, one entry aside.
const MOVE_BYTES_MAX: u64 = 256 << 10;
/// A folder of this many segments is not worth cleaning.
const SEGMENTS_FREE_OF_CARE: u64 = 4;

impl Writer {
    /// The piece of work due after a commit.
    pub(super) fn maintain(&mut self, tables: &RwLock<Tables>) -> Result<(), StorageError> {
        let due = self.options.checkpoint_bytes.max(keys_bytes(tables)) + self.checkpoint_delay;
        if self.since_checkpoint >= due {
            unless_full(self.checkpoint(tables))?;
        }
        if self.is_wasteful(tables) {
            unless_full(self.clean(tables))?;
        }
        unless_full(self.free(tables))?;
        unless_full(self.fill_spare())
    }

    /// Cleans what earlier crashes have left: each opening adds a segment, and no commit may ever follow.
    pub(super) fn tidy(&mut self, tables: &RwLock<Tables>) -> Result<(), StorageError> {
        let last_before = self.manifest.last;
        let mut done = None;
        while self.is_wasteful(tables)
            && self.manifest.first < last_before
            && done != self.progress()
        {
            done = self.progress();
            unless_full(self.clean(tables))?;
            unless_full(self.free(tables))?;
        }
        self.sync()
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "compared with none before the first round"
    )]
    const fn progress(&self) -> Option<(u32, u64)> {
        Some((self.manifest.first, self.at.next_sequence))
    }

    /// Whether the segments take more than three times what lives in the store.
    fn is_wasteful(&self, tables: &RwLock<Tables>) -> bool {
        let tables = tables.read();
        let taken: u64 = tables.segments.values().map(|segment| segment.bytes).sum();
        let live = tables.index.live_bytes() + tables.keys.bytes() as u64;
        taken > 3 * live + SEGMENTS_FREE_OF_CARE * self.options.segment_bytes
    }

    /// Works towards freeing the oldest segment.
    fn clean(&mut self, tables: &RwLock<Tables>) -> Result<(), StorageError> {
        let oldest = self.manifest.first;
        let Some(&end) = self.ends.get(&oldest) else {
            return Ok(());
        };
        if end > self.at.base && self.checkpoint_delay == 0 {
            self.checkpoint(tables)?;
        }
        if tables.read().index.is_pinned(oldest) {
            self.move_forward(tables, oldest)?;
        }
        Ok(())
    }

    /// Writes all keys. The caller waits meanwhile: at most once for every so many bytes written as keys take.
    fn checkpoint(&mut self, tables: &RwLock<Tables>) -> Result<(), StorageError> {
        // Else the checkpoint could outlive batches whose entries it counts on.
        self.sync()?;
        let files = self.files.clone();
        let manifest = Manifest {
            checkpoint: self.manifest.checkpoint + 1,
            ..self.manifest.clone()
        };
        let base = self.at.synced;
        let prepared = {
            let tables = tables.read();
            let bounds = tables.index.all_bounds();
            checkpoint::prepare(
                files.as_ref(),
                manifest.checkpoint,
                base,
                &tables.keys,
                bounds,
            )
        }
        .and_then(|()| manifest.prepare(files.as_ref()));
        if prepared.is_err() {
            self.checkpoint_delay = self.since_checkpoint + self.options.checkpoint_bytes / 4;
        }
        prepared?;
        checkpoint::publish(files.as_ref(), manifest.checkpoint)?;
        Manifest::publish(files.as_ref())?;
        if self.manifest.checkpoint > 0 {
            let old = checkpoint::name_of(self.manifest.checkpoint);
            files
                .remove(&old)
                .map_err(failed(files.as_ref(), &old, "remove"))?;
        }
        self.manifest = manifest;
        self.at.base = base;
        self.since_checkpoint = 0;
        self.checkpoint_delay = 0;
        Ok(())
    }

    /// Writes some of the entries that live in `segment` again, at the end.
    fn move_forward(&mut self, tables: &RwLock<Tables>, segment: u32) -> Result<(), StorageError> {
        let moves = self.read_some(tables, segment)?;
        let mut payload = Vec::new();
        for (log, first, entries) in &moves {
            record::encode_move(
                &mut payload,
                *log,
                *first,
                entries.iter().map(Bytes::as_ref),
            );
        }
        self.frame
            .fill(payload.len(), |bytes| bytes.extend_from_slice(&payload));
        let payload_offset = self.write_frame(tables, payload.len())?;
        self.apply(tables, payload.len(), payload_offset);
        Ok(())
    }

    fn read_some(
        &self,
        tables: &RwLock<Tables>,
        segment: u32,
    ) -> Result<Vec<(LogId, u64, Vec<Bytes>)>, StorageError> {
        let budget = MOVE_BYTES_MAX.min(self.options.segment_bytes / 4);
        let mut bytes = 0;
        let mut found: Vec<(LogId, Vec<Run>)> = Vec::new();
        {
            let tables = tables.read();
            for (log, from) in tables.index.pins_of(segment) {
                let mut runs = Vec::new();
                let pinned = tables.index.places(log, from..u64::MAX);
                for (index, place) in pinned.filter(|(_, place)| place.segment == segment) {
                    if bytes >= budget {
                        break;
                    }
                    bytes += place.bytes();
                    tables.extend(&mut runs, index, place);
                }
                found.push((log, runs));
                if bytes >= budget {
                    break;
                }
            }
        }
        let mut moves = Vec::new();
        for (log, runs) in found {
            for run in runs {
                moves.push((log, run.first, run.read(self.files.as_ref())?));
            }
        }
        Ok(moves)
    }

    /// Frees the oldest segments that neither recovery nor a reader needs.
    fn free(&mut self, tables: &RwLock<Tables>) -> Result<(), StorageError> {
        let first = {
            let tables = tables.read();
            let is_needed = |(number, end): &(&u32, &u64)| {
                **end > self.at.base || tables.index.is_pinned(**number)
            };
            let needed = self.ends.iter().find(is_needed);
            needed.map_or(self.manifest.last, |(&number, _)| number)
        };
        if first == self.manifest.first {
            return Ok(());
        }
        // The discards and moves that freed them must not be lost after the segments are.
        if !is_planted("storage_free_before_sync") {
            self.sync()?;
        }
        let manifest = Manifest {
            first,
            ..self.manifest.clone()
        };
        manifest.prepare(self.files.as_ref())?;
        Manifest::publish(self.files.as_ref())?;
        for number in self.manifest.first..first {
            self.ends.remove(&number);
            let segment = tables.write().segments.remove(&number);
            if let Some(segment) = segment {
                self.reuse(segment)?;
            }
        }
        self.manifest = manifest;
        Ok(())
    }

    fn reuse(&mut self, segment: Arc<Segment>) -> Result<(), StorageError> {
        let files = self.files.clone();
        let name = segment.name();
        // A reader that still holds it keeps its bytes: then the file only loses its name.
        if let Some(serial) = self.free_serial()
            && let Some(segment) = Arc::into_inner(segment)
            && segment.bytes == self.options.segment_bytes
        {
            let spare = Spare::recycle(files.as_ref(), serial, &segment)?;
            self.spares.push((serial, spare));
            return Ok(());
        }
        files
            .remove(&name)
            .map_err(failed(files.as_ref(), &name, "remove"))
    }

    /// Prepares the next segments slice by slice: the one in reserve at once, one to go on in when half of the active
    /// one is used.
    fn fill_spare(&mut self) -> Result<(), StorageError> {
        let half_used = self.at.used * 2 >= self.active.bytes;
        self.ensure_spares(if half_used { SPARES_MAX } else { 1 })?;
        let (files, bytes) = (self.files.clone(), self.options.segment_bytes);
        let unfilled = self
            .spares
            .iter_mut()
            .find(|(_, spare)| spare.bytes() < bytes);
        unfilled.map_or(Ok(()), |(_, spare)| spare.fill(files.as_ref(), bytes))
    }
}

fn keys_bytes(tables: &RwLock<Tables>) -> u64 {
    tables.read().keys.bytes() as u64
}

fn unless_full(outcome: Result<(), StorageError>) -> Result<(), StorageError> {
    match outcome {
        Err(StorageError::Full { .. }) => Ok(()),
        outcome => outcome,
    }
}
