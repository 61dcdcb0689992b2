//! A machine's disk: the shipped store on files that lose, tear and garble, power that fails around commits, and what becomes of
//! it all when the disk is replaced.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use peaberry_core::simulation::files::{FileFaults, SimulatedFiles};
use peaberry_core::simulation::{FaultCounts, FaultKind};
use peaberry_core::{
    Batch, DiskOptions, DiskStorage, Durability, Layer, Layered, Storage, StorageError,
};

use super::ledger::Ledger;
use super::trace::Trace;

/// What is to happen at a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Power fails instead of the n-th synced commit from now, counted from 1.
    DieBefore(u32),
    /// Power fails right behind it.
    DieAfter(u32),
    /// So many commits find no room, whatever they are about.
    Full(u32),
}

/// What stays of a machine when its power is gone, and what its disk is in for.
pub(super) struct Disk {
    files: SimulatedFiles,
    owner: &'static str,
    trace: Trace,
    plan: Arc<Mutex<Plan>>,
    /// What the files once held.
    backup: Option<BTreeMap<String, Vec<u8>>>,
    /// What befell disks that are gone.
    past: FaultCounts,
}

#[derive(Default)]
struct Plan {
    fate: Option<Fate>,
    is_dead: bool,
    faults: FaultCounts,
    /// What was made durable, if anybody wants to know.
    ledger: Option<Ledger>,
}

impl Disk {
    pub(super) fn new(
        owner: &'static str,
        seed: u64,
        ledger: Option<Ledger>,
        trace: &Trace,
    ) -> Self {
        let plan = Plan {
            ledger,
            ..Plan::default()
        };
        Self {
            files: SimulatedFiles::new(seed),
            owner,
            trace: trace.clone(),
            plan: Arc::new(Mutex::new(plan)),
            backup: None,
            past: FaultCounts::default(),
        }
    }

    /// Somebody puts by what the files hold.
    pub(super) fn back_up(&mut self) {
        self.trace.add((self.owner, "is backed up"));
        self.backup = Some(self.files.image());
    }

    /// The disk is gone, and another in its place: with the backup on it, if there is one. Whether there was.
    pub(super) fn replace(&mut self, seed: u64) -> bool {
        self.trace.add((self.owner, "is replaced"));
        self.past.merge(&file_faults(&self.files));
        let backup = self.backup.take();
        self.files = match &backup {
            Some(image) => SimulatedFiles::from_image(seed, image),
            None => SimulatedFiles::new(seed),
        };
        let mut plan = self.plan.lock();
        plan.fate = None;
        if let Some(ledger) = &mut plan.ledger {
            ledger.lose();
        }
        backup.is_some()
    }

    /// Opens the store. Its segments are small, so that they are recycled all the time.
    pub(super) fn open(&self) -> Result<Arc<dyn Storage>, StorageError> {
        self.plan.lock().is_dead = false;
        let options = DiskOptions::owned_by(self.owner)
            .segment_bytes(16 << 10)
            .checkpoint_bytes(8 << 10);
        let inner = DiskStorage::open_on(Arc::new(self.files.clone()), options)?;
        Ok(Arc::new(Layered::new(Watched {
            owner: self.owner,
            inner,
            plan: self.plan.clone(),
            trace: self.trace.clone(),
        })))
    }

    /// Power is lost: what was not synced is up to chance.
    pub(super) fn lose_power(&self) {
        self.trace.add((self.owner, "loses power"));
        if self.files.is_off() {
            let mut plan = self.plan.lock();
            plan.faults.add_many(FaultKind::CrashWithinWrite, 1);
        }
        self.files.crash();
    }

    /// The process ends; its files stay as they are.
    pub(super) fn end_process(&self) {
        if self.files.is_off() {
            self.lose_power();
        } else {
            self.trace.add((self.owner, "ends"));
            self.files.kill();
        }
    }

    pub(super) fn plan(&self, fate: Fate) {
        self.plan.lock().fate = Some(fate);
    }

    /// Power fails within a write, a sync or a renaming, so many of them from now.
    pub(super) fn die_within_write(&self, operations: u64) {
        self.files.crash_after(operations);
    }

    pub(super) fn fail_next_sync(&self) {
        self.files.fail_next_sync();
    }

    /// So many bytes are left from now on.
    pub(super) fn leave_room(&self, bytes: u64) {
        self.files.limit_bytes(Some(self.files.bytes() + bytes));
    }

    /// There is room again.
    pub(super) fn make_room(&self) {
        self.files.limit_bytes(None);
    }

    /// Nothing goes wrong any more that has not gone wrong yet.
    pub(super) fn heal(&self) {
        self.make_room();
        self.files.crash_after(u64::MAX >> 1);
        self.plan.lock().fate = None;
    }

    /// What came to pass.
    pub(super) fn faults(&self) -> FaultCounts {
        let mut faults = self.plan.lock().faults.clone();
        faults.merge(&self.past);
        faults.merge(&file_faults(&self.files));
        faults
    }

    pub(super) fn ledger(&self) -> Ledger {
        self.plan.lock().ledger.clone().unwrap_or_default()
    }
}

fn file_faults(files: &SimulatedFiles) -> FaultCounts {
    let FileFaults {
        sectors_dropped,
        sectors_torn,
        sectors_garbled,
        syncs_failed,
        ..
    } = files.faults();
    let mut faults = FaultCounts::default();
    faults.add_many(FaultKind::LostWrites, sectors_dropped);
    faults.add_many(FaultKind::TornWrites, sectors_torn);
    faults.add_many(FaultKind::GarbledWrites, sectors_garbled);
    faults.add_many(FaultKind::FailedSync, syncs_failed);
    faults
}

/// The store in one life of its machine.
struct Watched {
    owner: &'static str,
    inner: DiskStorage,
    plan: Arc<Mutex<Plan>>,
    trace: Trace,
}

impl Layer for Watched {
    fn inner(&self) -> &dyn Storage {
        &self.inner
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError> {
        let outcome = self.try_commit(batch, durability);
        let is_done = outcome.is_ok();
        self.trace.committed(self.owner, batch, durability, is_done);
        outcome
    }
}

impl Watched {
    fn try_commit(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError> {
        let mut plan = self.plan.lock();
        let is_synced = durability == Durability::Synced;
        if plan.is_dead || plan.dies_before(is_synced) {
            plan.is_dead = true;
            return Err(StorageError::Poisoned);
        }
        let outcome = if plan.is_full() {
            let path = "simulated".into();
            Err(StorageError::Full { path })
        } else {
            self.inner.commit(batch, durability)
        };
        match &outcome {
            Err(StorageError::Full { .. }) => plan.faults.add_many(FaultKind::DiskFull, 1),
            Err(_) => plan.is_dead = true,
            Ok(()) => {
                if let Some(ledger) = &mut plan.ledger {
                    ledger.enter(batch, is_synced);
                }
                if plan.dies_after(is_synced) {
                    plan.is_dead = true;
                    return Err(StorageError::Poisoned);
                }
            }
        }
        outcome
    }
}

impl Plan {
    fn dies_before(&mut self, is_synced: bool) -> bool {
        let Some(Fate::DieBefore(left)) = self.fate.filter(|_| is_synced) else {
            return false;
        };
        self.fate = (left > 1).then(|| Fate::DieBefore(left - 1));
        if left <= 1 {
            self.faults.add_many(FaultKind::CrashBeforeCommit, 1);
        }
        left <= 1
    }

    fn dies_after(&mut self, is_synced: bool) -> bool {
        let Some(Fate::DieAfter(left)) = self.fate.filter(|_| is_synced) else {
            return false;
        };
        self.fate = (left > 1).then(|| Fate::DieAfter(left - 1));
        if left <= 1 {
            self.faults.add_many(FaultKind::CrashAfterCommit, 1);
        }
        left <= 1
    }

    fn is_full(&mut self) -> bool {
        let Some(Fate::Full(left)) = self.fate else {
            return false;
        };
        self.fate = (left > 1).then(|| Fate::Full(left - 1));
        true
    }
}
