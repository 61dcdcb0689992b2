//! The log as raft-rs reads it: the tail in memory, what is older in storage.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;

use peaberry_core::{Batch, LogId};
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata};
use raft::{Error, GetEntriesContext, RaftState, Result, StorageError};

use super::entry;

/// How many peers may wait for old entries at once; others ask again with their next heartbeat.
const FETCHES_MAX: usize = 16;

/// A place in the log: an index and the term of the entry there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) index: u64,
    pub(super) term: u64,
}

/// raft-rs's view of the log. Writes go to memory and to the turn's batch at once, so raft-rs may read its own unsynced
/// entries; it counts them only once they are durable.
#[derive(Debug)]
pub(super) struct LogStore {
    log: LogId,
    hard_state: HardState,
    conf_state: ConfState,
    /// The entry before the log's first.
    compacted: Position,
    /// The newest snapshot on disk, for peers behind `compacted`.
    snapshot: Position,
    terms: TermRuns,
    tail: VecDeque<Entry>,
    tail_bytes: usize,
    /// Index of the first entry in `tail`; the next one to append when it is empty.
    tail_first: u64,
    fetches: RefCell<Fetches>,
}

/// Old entries on their way from storage.
#[derive(Debug, Default)]
struct Fetches {
    wanted: VecDeque<Fetch>,
    /// What the last read brought.
    window: Vec<Entry>,
}

#[derive(Debug)]
struct Fetch {
    range: Range<u64>,
    bytes_max: usize,
    context: GetEntriesContext,
}

impl LogStore {
    /// An empty log behind `compacted`.
    pub(super) fn new(
        log: LogId,
        hard_state: HardState,
        conf_state: ConfState,
        compacted: Position,
    ) -> Self {
        Self {
            log,
            hard_state,
            conf_state,
            compacted,
            snapshot: compacted,
            terms: TermRuns::default(),
            tail: VecDeque::new(),
            tail_bytes: 0,
            tail_first: compacted.index + 1,
            fetches: RefCell::default(),
        }
    }

    pub(super) const fn log(&self) -> LogId {
        self.log
    }

    pub(super) fn next_index(&self) -> u64 {
        self.tail_first + self.tail.len() as u64
    }

    /// What the entries in memory take, about.
    pub(super) const fn cached_bytes(&self) -> usize {
        self.tail_bytes
    }

    /// Takes entries that storage holds already.
    pub(super) fn load(&mut self, entry: Entry) {
        self.push(entry);
    }

    /// Appends `entries`, replacing what is at their indices and behind.
    pub(super) fn append(&mut self, entries: Vec<Entry>, batch: &mut Batch) {
        let Some(first) = entries.first().map(|entry| entry.index) else {
            return;
        };
        if first < self.next_index() {
            self.truncate(first);
            batch.truncate(self.log, first);
        }
        for entry in entries {
            batch.append_with(self.log, entry.index, |out| entry::encode(&entry, out));
            self.push(entry);
        }
    }

    fn push(&mut self, entry: Entry) {
        debug_assert_eq!(entry.index, self.next_index(), "a log has no gaps");
        self.terms.push(entry.index, entry.term);
        self.tail_bytes += entry::cost(&entry);
        self.tail.push_back(entry);
    }

    /// Drops the entries at `from` and behind.
    fn truncate(&mut self, from: u64) {
        self.terms.truncate(from);
        while self.next_index() > from.max(self.tail_first) {
            if let Some(gone) = self.tail.pop_back() {
                self.tail_bytes -= entry::cost(&gone);
            }
        }
        // Entries below the tail are applied, so nothing truncates them; were it otherwise the tail would restart here.
        self.tail_first = self.tail_first.min(from);
    }

    /// Writes `hard_state` to memory; its bytes are the caller's to store.
    pub(super) fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    /// Drops the entries that `snapshot` holds and that are not in memory, keeping the term of the one before the first
    /// that stays: a replica a little behind needs no snapshot.
    pub(super) fn compact(&mut self, snapshot: Position, batch: &mut Batch) {
        self.snapshot = snapshot;
        let first = self.tail_first.min(snapshot.index + 1);
        let Some(before) = first
            .checked_sub(1)
            .filter(|&index| index > self.compacted.index)
        else {
            return;
        };
        let term = self
            .term_of(before)
            .expect("a compacted entry was in the log");
        self.compacted = Position {
            index: before,
            term,
        };
        self.terms.discard(first);
        self.evict_before(first);
        batch.discard(self.log, first);
    }

    /// Starts again behind a snapshot that another replica sent.
    pub(super) fn reset(&mut self, snapshot: Position, conf_state: ConfState, batch: &mut Batch) {
        batch.truncate(self.log, 0);
        batch.discard(self.log, snapshot.index + 1);
        let hard_state = std::mem::take(&mut self.hard_state);
        *self = Self::new(self.log, hard_state, conf_state, snapshot);
    }

    /// Forgets entries up to `applied` while the tail is over `bytes_max`; storage keeps them.
    pub(super) fn evict(&mut self, applied: u64, bytes_max: usize) {
        while self.tail_bytes > bytes_max && self.tail_first <= applied {
            self.evict_before(self.tail_first + 1);
        }
    }

    fn evict_before(&mut self, first: u64) {
        while self.tail_first < first {
            if let Some(gone) = self.tail.pop_front() {
                self.tail_bytes -= entry::cost(&gone);
                self.tail_first += 1;
            } else {
                self.tail_first = first;
            }
        }
    }

    /// The oldest wish for entries that are not in memory.
    pub(super) fn wanted(&self) -> Option<(Range<u64>, usize)> {
        self.fetches
            .borrow()
            .wanted
            .front()
            .map(|fetch| (fetch.range.clone(), fetch.bytes_max))
    }

    /// Takes entries that were read for the oldest wish; hand the context to raft-rs, which asks again at once.
    pub(super) fn fetched(&mut self, entries: Vec<Entry>) -> Option<GetEntriesContext> {
        let fetches = self.fetches.get_mut();
        fetches.window = entries;
        fetches.wanted.pop_front().map(|fetch| fetch.context)
    }

    /// Forgets what was read, once raft-rs has looked at it.
    pub(super) fn forget_fetched(&mut self) {
        self.fetches.get_mut().window = Vec::new();
    }

    fn term_of(&self, index: u64) -> Option<u64> {
        if index == self.compacted.index {
            Some(self.compacted.term)
        } else {
            self.terms.at(index)
        }
    }

    fn tail_range(&self, range: Range<u64>, bytes_max: u64) -> Vec<Entry> {
        let from = usize::try_from(range.start - self.tail_first)
            .unwrap_or(usize::MAX)
            .min(self.tail.len());
        let to = usize::try_from(range.end.saturating_sub(self.tail_first))
            .unwrap_or(usize::MAX)
            .min(self.tail.len());
        limited(self.tail.range(from..to.max(from)), bytes_max)
    }
}

/// As many entries as fit into `bytes_max`, but always one.
fn limited<'a>(entries: impl Iterator<Item = &'a Entry> + Clone, bytes_max: u64) -> Vec<Entry> {
    let mut bytes = 0;
    let fits = |entry: &&Entry| {
        let is_first = bytes == 0;
        bytes += entry::cost(entry) as u64;
        is_first || bytes <= bytes_max
    };
    // Counted before they are cloned, so that the vector grows once.
    let count = entries.clone().take_while(fits).count();
    let mut taken = Vec::with_capacity(count);
    taken.extend(entries.take(count).cloned());
    taken
}

impl raft::Storage for LogStore {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(RaftState {
            hard_state: self.hard_state.clone(),
            conf_state: self.conf_state.clone(),
        })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        if low <= self.compacted.index {
            return Err(Error::Store(StorageError::Compacted));
        }
        if low >= self.tail_first {
            return Ok(self.tail_range(low..high, bytes_max));
        }
        let mut fetches = self.fetches.borrow_mut();
        if let Some(first) = fetches.window.first().map(|entry| entry.index)
            && (first..first + fetches.window.len() as u64).contains(&low)
        {
            let skip = usize::try_from(low - first).unwrap_or(usize::MAX);
            let wanted = fetches
                .window
                .iter()
                .skip(skip)
                .take_while(|entry| entry.index < high);
            return Ok(limited(wanted, bytes_max));
        }
        // Only appends to a peer far behind read below the tail: everything unapplied is in memory.
        if context.can_async() && fetches.wanted.len() < FETCHES_MAX {
            let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
            fetches.wanted.push_back(Fetch {
                range: low..high,
                bytes_max,
                context,
            });
        }
        Err(Error::Store(StorageError::LogTemporarilyUnavailable))
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index < self.compacted.index {
            return Err(Error::Store(StorageError::Compacted));
        }
        self.term_of(index)
            .ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.compacted.index + 1)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.next_index() - 1)
    }

    /// The newest snapshot's place and members; its bytes travel by themselves.
    fn snapshot(&self, request_index: u64, _to: u64) -> Result<Snapshot> {
        if self.snapshot.index == 0 || self.snapshot.index < request_index {
            return Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        Ok(snapshot_at(self.snapshot, self.conf_state.clone()))
    }
}

/// A snapshot of nothing but its place and its members.
pub(super) fn snapshot_at(position: Position, conf_state: ConfState) -> Snapshot {
    let mut metadata = SnapshotMetadata {
        index: position.index,
        term: position.term,
        ..SnapshotMetadata::default()
    };
    metadata.set_conf_state(conf_state);
    let mut snapshot = Snapshot::default();
    snapshot.set_metadata(metadata);
    snapshot
}

/// The terms of a log's entries: one run for each leader instead of one number for each entry.
#[derive(Debug, Default)]
struct TermRuns {
    /// (first index, term) of each run, in order.
    runs: VecDeque<Position>,
    next: u64,
}

impl TermRuns {
    fn push(&mut self, index: u64, term: u64) {
        if self.runs.back().is_none_or(|run| run.term != term) {
            self.runs.push_back(Position { index, term });
        }
        self.next = index + 1;
    }

    fn at(&self, index: u64) -> Option<u64> {
        if index >= self.next {
            return None;
        }
        let behind = self.runs.partition_point(|run| run.index <= index);
        behind
            .checked_sub(1)
            .and_then(|at| self.runs.get(at))
            .map(|run| run.term)
    }

    fn truncate(&mut self, from: u64) {
        while self.runs.back().is_some_and(|run| run.index >= from) {
            self.runs.pop_back();
        }
        self.next = self.next.min(from);
    }

    fn discard(&mut self, first: u64) {
        while self.runs.get(1).is_some_and(|second| second.index <= first) {
            self.runs.pop_front();
        }
        if first >= self.next {
            self.runs.clear();
        } else if let Some(run) = self.runs.front_mut() {
            run.index = run.index.max(first);
        }
    }
}
