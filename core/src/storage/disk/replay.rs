//! Batches applied again, in order, to what the checkpoint holds.
//!
//! Segments reach back before the checkpoint for entries that still live there, and older ones may be gone. So up to
//! the checkpoint's batch only places are gathered; there the checkpoint says which logs there are and which indices
//! they have; behind it every batch must fit. Whether each live entry has a place is seen at the end: an entry
//! discarded later may have lost its segment already.

use std::collections::BTreeMap;
use std::ops::Range;

use super::checkpoint::Checkpoint;
use super::log_index::{LogIndex, Place, places};
use super::record::{Record, Records};
use crate::batch::LogId;
use crate::storage::memory::Keyspace;

#[derive(Debug)]
pub(super) struct Replay {
    base: u64,
    keys: Keyspace,
    logs: BTreeMap<LogId, Log>,
}

/// What recovery knows of a log so far.
#[derive(Debug, Default)]
struct Log {
    /// At the checkpoint's batch, and from then on at the present one.
    bounds: Range<u64>,
    places: BTreeMap<u64, Place>,
}

/// Why batches and checkpoint do not fit together.
pub(super) type Misfit = String;

impl Replay {
    pub(super) fn new(checkpoint: Checkpoint) -> Self {
        let logs = checkpoint.bounds.into_iter().map(|(id, bounds)| {
            let log = Log {
                bounds,
                places: BTreeMap::new(),
            };
            (id, log)
        });
        Self {
            base: checkpoint.base,
            keys: checkpoint.keys,
            logs: logs.collect(),
        }
    }

    /// Applies batch `sequence`, whose payload begins at `offset` of `segment`.
    pub(super) fn apply(
        &mut self,
        sequence: u64,
        payload: &[u8],
        segment: u32,
        offset: u32,
    ) -> Result<(), Misfit> {
        for record in Records::new(payload) {
            let record =
                record.map_err(|_malformed| format!("batch {sequence} does not decode"))?;
            if sequence <= self.base {
                self.gather(&record, segment, offset);
            } else {
                self.step(&record, segment, offset)
                    .map_err(|reason| format!("batch {sequence} does not fit: {reason}"))?;
            }
        }
        if sequence == self.base {
            self.drop_outside_bounds();
        }
        Ok(())
    }

    fn gather(&mut self, record: &Record<'_>, segment: u32, offset: u32) {
        match *record {
            Record::Keys(_) => {}
            Record::Append {
                log,
                first,
                entries,
            }
            | Record::Move {
                log,
                first,
                entries,
            } => {
                let found = (first..).zip(places(entries, segment, offset));
                self.logs.entry(log).or_default().places.extend(found);
            }
            Record::Truncate { log, from } => self.logs.entry(log).or_default().truncate(from),
            Record::Discard { log, to } => self.logs.entry(log).or_default().discard(to),
        }
    }

    fn step(&mut self, record: &Record<'_>, segment: u32, offset: u32) -> Result<(), Misfit> {
        match *record {
            Record::Keys(ref operation) => self.keys.apply(operation),
            Record::Append {
                log: id,
                first,
                entries,
            } => {
                let log = self.logs.entry(id).or_default();
                let count = u64::from(entries.count);
                log.append(first, count)
                    .ok_or_else(|| format!("append to log {id} at {first}"))?;
                log.places
                    .extend((first..).zip(places(entries, segment, offset)));
            }
            Record::Truncate { log, from } => {
                let log = self.logs.entry(log).or_default();
                log.bounds.end = log.bounds.end.min(from.max(log.bounds.start));
                log.truncate(log.bounds.end);
            }
            Record::Discard { log, to } => {
                let log = self.logs.entry(log).or_default();
                log.bounds.start = log.bounds.start.max(to);
                log.bounds.end = log.bounds.end.max(log.bounds.start);
                log.discard(log.bounds.start);
            }
            Record::Move {
                log,
                first,
                entries,
            } => {
                let log = self.logs.entry(log).or_default();
                let bounds = log.bounds.clone();
                let moved = (first..).zip(places(entries, segment, offset));
                log.places
                    .extend(moved.filter(|(index, _)| bounds.contains(index)));
            }
        }
        Ok(())
    }

    fn drop_outside_bounds(&mut self) {
        for log in self.logs.values_mut() {
            log.truncate(log.bounds.end);
            log.discard(log.bounds.start);
        }
    }

    /// The keys and the places of all entries.
    pub(super) fn finish(self) -> Result<(Keyspace, LogIndex), Misfit> {
        let mut index = LogIndex::default();
        for (id, log) in self.logs {
            let Range { start, end } = log.bounds;
            let first = log
                .places
                .first_key_value()
                .map_or(end, |(&first, _)| first);
            // Indices are distinct and within the bounds: as many as the bounds span leave no gap.
            if log.places.len() as u64 != end - start || first != start {
                return Err(format!(
                    "entries of log {id} are missing from {start}..{end}"
                ));
            }
            index.restore(id, start, log.places.into_values());
        }
        Ok((self.keys, index))
    }
}

impl Log {
    fn append(&mut self, first: u64, count: u64) -> Option<()> {
        let empty = self.bounds.is_empty();
        if first != self.bounds.end && !(empty && first >= self.bounds.end) {
            return None;
        }
        if empty {
            self.bounds.start = first;
        }
        self.bounds.end = first.checked_add(count)?;
        Some(())
    }

    fn truncate(&mut self, from: u64) {
        self.places.split_off(&from);
    }

    fn discard(&mut self, to: u64) {
        self.places = self.places.split_off(&to);
    }
}
