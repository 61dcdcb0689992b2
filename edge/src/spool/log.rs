//! One numbered log of a stream, and finding things in it.

use std::ops::Range;

use bytes::Bytes;
use peaberry_core::{Batch, LogId, Storage, StorageError};

use super::entry::{self, Entry, Head};
use crate::error::EdgeError;
use crate::identity::Position;

/// The bounds of one log. Its entries lie in the store, ascending by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) first: u64,
    pub(super) end: u64,
    /// [`Head::before`] of the entry at `first`, and of the next.
    pub(super) before_first: u64,
    pub(super) before_end: u64,
    /// The entry that was appended last, whether it is still there or not.
    pub(super) last: Option<Position>,
}

impl Log {
    pub(super) const EMPTY: Self = Self {
        first: 0,
        end: 0,
        before_first: 0,
        before_end: 0,
        last: None,
    };

    /// What the store holds of `id`: two entries are read, however many there are.
    pub(super) fn open(storage: &dyn Storage, id: LogId) -> Result<Self, EdgeError> {
        let Range { start, end } = storage.log_bounds(id).map_err(unreadable)?;
        let mut log = Self {
            first: start,
            end,
            ..Self::EMPTY
        };
        if start < end {
            log.before_first = read_one(storage, id, start)?.head.before;
            let last = read_one(storage, id, end - 1)?;
            log.before_end = last.behind();
            log.last = Some(last.head.at);
        }
        Ok(log)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.first >= self.end
    }

    pub(super) const fn count(&self) -> u64 {
        self.end.saturating_sub(self.first)
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.before_end.wrapping_sub(self.before_first)
    }

    pub(super) fn append(&mut self, batch: &mut Batch, id: LogId, at: Position, record: &[u8]) {
        let head = Head {
            before: self.before_end,
            at,
        };
        batch.append_with(id, self.end, |out| entry::put(out, head, record));
        self.end += 1;
        self.before_end = self.before_end.wrapping_add(entry::cost(record.len()));
        self.last = Some(at);
    }

    /// Lets go of the entries before `to`, the first of which to stay has so many bytes before it.
    pub(super) fn discard(&mut self, batch: &mut Batch, id: LogId, to: u64, before: u64) {
        batch.discard(id, to);
        self.first = to;
        self.before_first = before;
    }

    /// The first index of `range` whose entry comes behind `position`; the range's end if there is none.
    ///
    /// Sequences ascend by at least one from entry to entry, so within one start an entry is no further from the front than
    /// its sequence is: where a stream has the device to itself, the first guess is right.
    pub(super) fn index_behind(
        storage: &dyn Storage,
        id: LogId,
        range: Range<u64>,
        position: Position,
    ) -> Result<u64, EdgeError> {
        let Range { start, end } = range;
        if start >= end {
            return Ok(end);
        }
        let first = read_one(storage, id, start)?.head.at;
        if first > position {
            return Ok(start);
        }
        let (mut low, mut high) = (start + 1, end);
        if first.boot == position.boot {
            let reach = position.sequence - first.sequence;
            high = high.min(start.saturating_add(reach).saturating_add(1));
        }
        // Below `low` nothing is behind, from `high` on all is.
        let mut probe = high.saturating_sub(1);
        while low < high {
            if read_one(storage, id, probe)?.head.at > position {
                high = probe;
            } else {
                low = probe + 1;
            }
            probe = low + (high - low) / 2;
        }
        Ok(low)
    }

    /// The first index of `range` with at least `bytes` before it, and how many that are; the range's end if there is none.
    pub(super) fn index_at_bytes(
        &self,
        storage: &dyn Storage,
        id: LogId,
        range: Range<u64>,
        bytes: u64,
    ) -> Result<u64, EdgeError> {
        let Range { start, end } = range;
        let (mut low, mut high) = (start, end);
        while low < high {
            let middle = low + (high - low) / 2;
            let before = read_one(storage, id, middle)?.head.before;
            if before.wrapping_sub(self.before_first) >= bytes {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }
}

/// The entries of `range` that fit into `bytes_max`, at least one.
pub(super) fn read_some(
    storage: &dyn Storage,
    id: LogId,
    range: Range<u64>,
    bytes_max: usize,
) -> Result<Vec<Entry>, EdgeError> {
    let entries = storage.log_read(id, range, bytes_max).map_err(unreadable)?;
    entries.iter().map(read).collect()
}

pub(super) fn read_one(storage: &dyn Storage, id: LogId, index: u64) -> Result<Entry, EdgeError> {
    let entries = storage
        .log_read(id, index..index + 1, 0)
        .map_err(unreadable)?;
    read(entries.first().unwrap_or(&Bytes::new()))
}

fn read(bytes: &Bytes) -> Result<Entry, EdgeError> {
    entry::read(bytes).map_err(|source| EdgeError::Stored {
        what: "a spooled record",
        source,
    })
}

pub(super) const fn unreadable(source: StorageError) -> EdgeError {
    EdgeError::Storage {
        doing: "read the spool",
        source,
    }
}
