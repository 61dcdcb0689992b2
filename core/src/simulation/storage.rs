use std::fmt;
use std::ops::{Bound, Range};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::substrate::Substrate;
use super::trace::TraceKind;
use crate::batch::{Batch, LogId};
use crate::storage::layer::Layer;
use crate::storage::memory::MemoryStorage;
use crate::storage::{Durability, Order, ScanLimit, Storage, StorageError};

/// Storage that does just what [`Storage`] promises and no more: a crash takes the buffered batches, from some point on.
///
/// It outlives the machine's lives and needs no files, so it is the fast store for simulating protocols. Where the store
/// itself is in question, open one on the machine's simulated files.
#[derive(Debug)]
pub struct SimulatedStorage {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    visible: MemoryStorage,
    durable: MemoryStorage,
    /// Visible and not durable, in order.
    unsynced: Vec<Batch>,
    is_poisoned: bool,
    fails_next_sync: bool,
    full_commits: u32,
    counts: StorageCounts,
}

/// What has befallen a [`SimulatedStorage`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StorageCounts {
    pub(super) lost: u64,
    pub(super) failed_syncs: u64,
    pub(super) full: u64,
}

impl SimulatedStorage {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
        }
    }

    /// The next synced commit fails: its batch may or may not be there after a restart.
    pub fn fail_next_sync(&self) {
        self.state.lock().fails_next_sync = true;
    }

    /// The next `commits` commits find no room.
    pub fn fill_for(&self, commits: u32) {
        self.state.lock().full_commits = commits;
    }

    /// No more trouble than there was.
    pub(super) fn heal(&self) {
        let mut state = self.state.lock();
        state.fails_next_sync = false;
        state.full_commits = 0;
    }

    /// Opened again after a loss of power or a failed sync: some of the batches that were not synced are gone, from one
    /// on.
    pub(super) fn crash(&self, rng: &mut fastrand::Rng) {
        let mut state = self.state.lock();
        let kept = rng.usize(..=state.unsynced.len());
        state.reopen(kept);
    }

    /// Opened again after the process ended: nothing is gone.
    pub(super) fn reopen(&self) {
        let mut state = self.state.lock();
        let kept = state.unsynced.len();
        state.reopen(kept);
    }

    pub(super) fn counts(&self) -> StorageCounts {
        self.state.lock().counts
    }
}

impl State {
    fn reopen(&mut self, kept: usize) {
        self.counts.lost += u64::from(kept < self.unsynced.len());
        for batch in self.unsynced.drain(..).take(kept) {
            commit_checked(&self.durable, &batch);
        }
        self.unsynced.clear();
        self.visible = self.durable.fork();
        self.is_poisoned = false;
    }

    fn commit(&mut self, batch: &Batch, durability: Durability) -> Result<(), StorageError> {
        if self.is_poisoned {
            return Err(StorageError::Poisoned);
        }
        if self.full_commits > 0 {
            self.full_commits -= 1;
            self.counts.full += 1;
            let path = "simulated".into();
            return Err(StorageError::Full { path });
        }
        self.visible.commit(batch, durability)?;
        if durability == Durability::Buffered {
            self.unsynced.push(batch.clone());
            return Ok(());
        }
        if std::mem::take(&mut self.fails_next_sync) {
            self.unsynced.push(batch.clone());
            self.is_poisoned = true;
            self.counts.failed_syncs += 1;
            return Err(failed("sync"));
        }
        for earlier in self.unsynced.drain(..) {
            commit_checked(&self.durable, &earlier);
        }
        commit_checked(&self.durable, batch);
        Ok(())
    }
}

/// Commits a batch that the visible store has taken.
fn commit_checked(durable: &MemoryStorage, batch: &Batch) {
    durable
        .commit(batch, Durability::Synced)
        .expect("the durable store lags behind the visible one and takes the same batches");
}

fn failed(doing: &'static str) -> StorageError {
    StorageError::Io {
        doing,
        path: "simulated".into(),
        source: Arc::new(std::io::Error::other("simulated failure")),
    }
}

impl Storage for SimulatedStorage {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.state.lock().visible.get(key)
    }

    fn scan(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        order: Order,
        limit: ScanLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        self.state.lock().visible.scan(from, to, order, limit)
    }

    fn log_bounds(&self, log: LogId) -> Result<Range<u64>, StorageError> {
        self.state.lock().visible.log_bounds(log)
    }

    fn log_read(
        &self,
        log: LogId,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, StorageError> {
        self.state.lock().visible.log_read(log, range, bytes_max)
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError> {
        self.state.lock().commit(batch, durability)
    }
}

/// How long a simulated disk takes, in nanoseconds.
const BUFFERED_NANOS: u64 = 5_000;
const SYNC_NANOS_MIN: u64 = 100_000;
const SYNC_NANOS_MAX: u64 = 1_000_000;
/// One sync in this many stalls.
const STALL_ONE_IN: u32 = 200;
const STALL_NANOS_MAX: u64 = 40_000_000;

/// A machine's store as the world watches it: it traces commits, takes time, and dies at crash points.
pub(super) struct WatchedStorage {
    pub(super) inner: Arc<dyn Storage>,
    pub(super) machine: usize,
    pub(super) incarnation: u64,
    pub(super) substrate: Arc<Mutex<Substrate>>,
}

impl fmt::Debug for WatchedStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedStorage")
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}

impl WatchedStorage {
    /// Whether the machine is alive to begin the commit.
    fn begin(&self, durability: Durability) -> bool {
        let mut substrate = self.substrate.lock();
        let is_alive = substrate.port(self.machine).is_alive(self.incarnation);
        let is_synced = durability == Durability::Synced;
        is_alive && !(is_synced && substrate.dies_before_commit(self.machine))
    }

    /// Whether the machine is alive behind the commit.
    fn finish(&self, bytes: usize, durability: Durability) -> bool {
        let mut substrate = self.substrate.lock();
        let latency = latency(&mut substrate.rng, durability);
        let port = substrate.port(self.machine);
        port.elapsed += latency;
        let peer = port.peer;
        substrate.record(TraceKind::Committed {
            peer,
            durability,
            bytes,
        });
        durability == Durability::Buffered || !substrate.dies_after_commit(self.machine)
    }
}

fn latency(rng: &mut fastrand::Rng, durability: Durability) -> u64 {
    match durability {
        Durability::Buffered => BUFFERED_NANOS,
        Durability::Synced if rng.u32(..STALL_ONE_IN) == 0 => {
            rng.u64(SYNC_NANOS_MIN..=STALL_NANOS_MAX)
        }
        Durability::Synced => rng.u64(SYNC_NANOS_MIN..=SYNC_NANOS_MAX),
    }
}

impl Layer for WatchedStorage {
    fn inner(&self) -> &dyn Storage {
        self.inner.as_ref()
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError> {
        if !self.begin(durability) {
            return Err(failed("commit to"));
        }
        if let Err(error) = self.inner.commit(batch, durability) {
            let mut substrate = self.substrate.lock();
            let peer = substrate.port(self.machine).peer;
            substrate.record(TraceKind::CommitFailed { peer });
            return Err(error);
        }
        if self.finish(batch.bytes(), durability) {
            Ok(())
        } else {
            Err(failed("live behind the commit to"))
        }
    }
}
