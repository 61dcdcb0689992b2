//! What a courier makes durable, and what it does where there is no room.

use std::collections::BTreeSet;
use std::task::{Context, Poll};
use std::time::Duration;

use peaberry_core::{Batch, Durability, Instant, Operation, Storage, StorageError};

use super::syncer::Syncer;
use super::{Courier, LET_GO_DELAY};
use crate::error::EdgeError;
use crate::spool::Spool;
use crate::uplink::Uplink;

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Committed {
    /// Everything is durable.
    All,
    /// The disk was full. All but the records that were staged is durable; so many are lost.
    WithoutRecords { lost_records: u64 },
    /// The disk is full, and nothing is durable.
    Nothing { lost_records: u64 },
}

impl Committed {
    pub(crate) const fn lost_records(self) -> u64 {
        match self {
            Self::All => 0,
            Self::WithoutRecords { lost_records } | Self::Nothing { lost_records } => lost_records,
        }
    }
}

/// How long old records are kept after giving some up was of no use; it doubles.
const RELIEF_PAUSE: Duration = Duration::from_secs(1);
const RELIEF_PAUSE_MAX: Duration = Duration::from_secs(60);

/// When old records may give way. Room that a disk does not give back at once is not bought with all the history there is.
#[derive(Debug, Default)]
pub(super) struct Relief {
    /// Not before; `None`: it was of use the last time.
    not_before: Option<Instant>,
    pause: Duration,
}

impl Relief {
    fn is_due(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| at <= now)
    }

    /// What became of the commit before which records gave way, if it was time for that.
    fn brought(&mut self, now: Instant, committed: Committed) {
        match committed {
            Committed::Nothing { .. } if self.is_due(now) => {
                self.pause = (self.pause * 2).clamp(RELIEF_PAUSE, RELIEF_PAUSE_MAX);
                self.not_before = Some(now + self.pause);
            }
            Committed::Nothing { .. } => {}
            Committed::All | Committed::WithoutRecords { .. } => *self = Self::default(),
        }
    }
}

/// A batch of more is not kept for the next: ten thousand devices may all have something to say, once.
const BATCH_BYTES_KEPT: usize = 16 << 10;

impl<U: Uplink> Courier<U> {
    /// Whether spools have anything to commit now.
    pub(crate) fn has_to_commit(&self, now: Instant) -> bool {
        !self.staged.is_empty() || self.let_go_at.is_some_and(|at| at <= now)
    }

    /// Makes durable what is staged, and with it the puts and deletions of `state`. Where the disk is full, what spools have
    /// staged is given up. Then what sinks and brokers have makes room, and if that is not enough, old records.
    pub(crate) fn commit(
        &mut self,
        now: Instant,
        storage: &dyn Storage,
        state: &Batch,
    ) -> Result<Committed, EdgeError> {
        self.let_go(now, storage)?;
        if self.staged.is_empty() && state.is_empty() {
            return Ok(Committed::All);
        }
        match self.try_commit(storage, state) {
            Ok(()) => return Ok(Committed::All),
            Err(StorageError::Full { .. }) => {}
            Err(error) => return Err(not_committed(error)),
        }
        let losers = self.staged.clone();
        let lost_records = self.give_up(now);
        self.let_go(now, storage)?;
        // Alone: it takes next to no room, and what `state` takes may be much.
        let has_room_again =
            !self.staged.is_empty() && self.commit_if_it_fits(now, storage, &Batch::new())?;
        if has_room_again {
            // Nothing else is given up before it is known whether that was enough.
            return self.commit_state(now, storage, state, lost_records);
        }
        self.let_go(now, storage)?;
        if self.relief.is_due(now) {
            self.relieve(losers, storage)?;
        }
        // Alone, for the same reason.
        if !self.staged.is_empty() {
            self.commit_if_it_fits(now, storage, &Batch::new())?;
        }
        let committed = self.commit_state(now, storage, state, lost_records)?;
        self.relief.brought(now, committed);
        Ok(committed)
    }

    /// Makes `state` durable, once what makes room for it is written.
    fn commit_state(
        &mut self,
        now: Instant,
        storage: &dyn Storage,
        state: &Batch,
        lost_records: u64,
    ) -> Result<Committed, EdgeError> {
        // One sync at a time: else it goes with the next.
        let may_try = state.is_empty() || !self.is_syncing();
        Ok(
            match may_try && self.commit_if_it_fits(now, storage, state)? {
                true => Committed::WithoutRecords { lost_records },
                false => Committed::Nothing { lost_records },
            },
        )
    }

    /// Whether there was room; else nothing that was staged is kept.
    fn commit_if_it_fits(
        &mut self,
        now: Instant,
        storage: &dyn Storage,
        state: &Batch,
    ) -> Result<bool, EdgeError> {
        match self.try_commit(storage, state) {
            Ok(()) => Ok(true),
            Err(StorageError::Full { .. }) => {
                self.give_up(now);
                Ok(false)
            }
            Err(error) => Err(not_committed(error)),
        }
    }

    fn try_commit(&mut self, storage: &dyn Storage, state: &Batch) -> Result<(), StorageError> {
        let must_sync = |device: &usize| self.spools.get(*device).is_some_and(Spool::must_sync);
        let durability = if !state.is_empty() || self.staged.iter().any(must_sync) {
            Durability::Synced
        } else {
            Durability::Buffered
        };
        for operation in state.operations() {
            match operation {
                Operation::Put { key, value } => self.batch.put(key, value),
                Operation::Delete { key } => self.batch.delete(key),
                other => unreachable!("what goes with records puts and deletes, not {other:?}"),
            }
        }
        let is_synced_beside = self.syncer.is_some() && durability == Durability::Synced;
        let outcome = match is_synced_beside {
            true => storage.commit(&self.batch, Durability::Buffered),
            false => storage.commit(&self.batch, durability),
        };
        if self.batch.bytes() > BATCH_BYTES_KEPT {
            self.batch = Batch::new();
        } else {
            self.batch.clear();
        }
        outcome?;
        for device in std::mem::take(&mut self.staged) {
            if let Some(spool) = self.spools.get_mut(device) {
                if is_synced_beside {
                    spool.hold_back();
                    self.syncing.insert(device);
                }
                spool.committed();
            }
            self.touched(device);
        }
        if is_synced_beside && let Some(syncer) = &mut self.syncer {
            syncer.begin();
        }
        self.owe_rejected();
        Ok(())
    }

    /// Nothing is staged now: what was rejected meanwhile is told with what is staged next.
    fn owe_rejected(&mut self) {
        for ((device, _), gap) in std::mem::take(&mut self.rejected) {
            if let Some(spool) = self.spools.get_mut(device) {
                spool.owe(gap);
            }
            self.schedule(device);
        }
    }

    /// Nothing that spools have staged is kept. Answers how many records that were.
    fn give_up(&mut self, now: Instant) -> u64 {
        let mut lost = 0;
        for device in std::mem::take(&mut self.staged) {
            if let Some(spool) = self.spools.get_mut(device) {
                lost += spool.aborted();
                if spool.may_let_go() {
                    self.letting_go.insert(device);
                    self.let_go_at.get_or_insert(now + LET_GO_DELAY);
                }
            }
            self.schedule(device);
        }
        self.owe_rejected();
        lost
    }

    /// Spools give up old records: those that have just lost new ones or, where these have none, the fullest.
    fn relieve(&mut self, losers: BTreeSet<usize>, storage: &dyn Storage) -> Result<(), EdgeError> {
        for device in losers {
            if let Some(spool) = self.spools.get_mut(device)
                && spool.relieve(storage, &mut self.batch)?
            {
                self.staged.insert(device);
            }
        }
        if self.staged.is_empty() {
            let spools = self.spools.iter_mut().enumerate();
            let fullest = spools
                .filter(|(_, spool)| spool.can_give_up())
                .max_by_key(|(_, spool)| spool.status().bytes);
            if let Some((device, spool)) = fullest {
                spool.relieve(storage, &mut self.batch)?;
                self.staged.insert(device);
            }
        }
        Ok(())
    }

    /// Spools forget what the broker has: once for all that it has acknowledged since the last time.
    fn let_go(&mut self, now: Instant, storage: &dyn Storage) -> Result<(), EdgeError> {
        self.let_go_at = None;
        for device in std::mem::take(&mut self.letting_go) {
            if let Some(spool) = self.spools.get_mut(device) {
                spool.let_go(now, storage, &mut self.batch)?;
            }
            self.touched(device);
        }
        Ok(())
    }

    /// Whether a sync lasts: nothing is committed meanwhile.
    pub(crate) fn is_syncing(&self) -> bool {
        self.syncer.as_ref().is_some_and(Syncer::is_busy)
    }

    /// What was written may leave if it has been synced. Whether a sync has ended; else the waker of `cx` is woken when it has.
    pub(crate) fn take_synced(&mut self, cx: &Context<'_>) -> Result<bool, EdgeError> {
        let Some(syncer) = &mut self.syncer else {
            return Ok(false);
        };
        let Poll::Ready(outcome) = syncer.poll(cx) else {
            return Ok(false);
        };
        outcome.map_err(not_committed)?;
        for device in std::mem::take(&mut self.syncing) {
            if let Some(spool) = self.spools.get_mut(device) {
                spool.synced();
            }
            self.touched(device);
        }
        let heard = std::mem::take(&mut self.heard_syncing);
        self.acknowledge_each(heard);
        Ok(true)
    }

    /// What was heard is dealt with once the sync under way has ended.
    pub(crate) fn hold_heard(&mut self) {
        self.heard_syncing = std::mem::take(&mut self.heard);
    }
}

/// Makes the boot epochs in `batch` durable. A device must start also where its disk is full: old records make room.
pub(super) fn begin(
    spools: &mut [Spool],
    batch: &Batch,
    storage: &dyn Storage,
) -> Result<(), EdgeError> {
    match storage.commit(batch, Durability::Synced) {
        Err(StorageError::Full { .. }) => {}
        outcome => return outcome.map_err(not_committed),
    }
    let mut batch = batch.clone();
    for spool in spools {
        spool.relieve(storage, &mut batch)?;
    }
    let outcome = storage.commit(&batch, Durability::Synced);
    outcome.map_err(not_committed)
}

const fn not_committed(source: StorageError) -> EdgeError {
    EdgeError::Storage {
        doing: "make spooled records durable",
        source,
    }
}
