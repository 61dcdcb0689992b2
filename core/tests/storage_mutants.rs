//! Stores that break one promise of `Storage` each, all of which its conformance suite must catch: a suite that catches
//! nothing proves nothing.

use std::ops::{Bound, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use peaberry_core::conformance::storage::{Subject, check};
use peaberry_core::{
    Batch, Durability, Layer, Layered, LogId, MemoryStorage, Operation, Order, ScanLimit, Storage,
    StorageError,
};

#[derive(Clone, Copy, Debug)]
enum Bug {
    ForgetsDeletes,
    ForgetsTruncations,
    DeletesTheEndOfARange,
    PutsBehindAllElse,
    ScansPastTheEnd,
    ScansOneWayOnly,
    ScansBeyondTheCount,
    ReadsNothingWithoutBytes,
    ReadsOneEntryLess,
    TakesHalfOfARefusedBatch,
    SaysThatRefusedBatchesAreTaken,
    LosesTheBoundsOfAnEmptyLog,
}

const BUGS: [Bug; 12] = [
    Bug::ForgetsDeletes,
    Bug::ForgetsTruncations,
    Bug::DeletesTheEndOfARange,
    Bug::PutsBehindAllElse,
    Bug::ScansPastTheEnd,
    Bug::ScansOneWayOnly,
    Bug::ScansBeyondTheCount,
    Bug::ReadsNothingWithoutBytes,
    Bug::ReadsOneEntryLess,
    Bug::TakesHalfOfARefusedBatch,
    Bug::SaysThatRefusedBatchesAreTaken,
    Bug::LosesTheBoundsOfAnEmptyLog,
];

/// A store in memory with one bug, or with none.
struct Broken {
    inner: MemoryStorage,
    bug: Option<Bug>,
}

impl Broken {
    /// The batch as the bug has it.
    fn distort(&self, batch: &Batch) -> Batch {
        let mut other = Batch::new();
        let is_put = |operation: &Operation<'_>| matches!(operation, Operation::Put { .. });
        let (puts, rest): (Vec<_>, Vec<_>) = match self.bug {
            Some(Bug::PutsBehindAllElse) => batch.operations().partition(is_put),
            _ => (Vec::new(), batch.operations().collect()),
        };
        for operation in rest.into_iter().chain(puts) {
            match (operation, self.bug) {
                (Operation::Delete { .. }, Some(Bug::ForgetsDeletes))
                | (Operation::Truncate { .. }, Some(Bug::ForgetsTruncations)) => {}
                (Operation::Put { key, value }, _) => other.put(key, value),
                (Operation::Delete { key }, _) => other.delete(key),
                (Operation::DeleteRange { from, to }, bug) => {
                    other.delete_range(from, to);
                    if let (Some(to), Some(Bug::DeletesTheEndOfARange)) = (to, bug) {
                        other.delete(to);
                    }
                }
                (
                    Operation::Append {
                        log,
                        first,
                        entries,
                    },
                    _,
                ) => other.append(log, first, entries),
                (Operation::Truncate { log, from }, _) => other.truncate(log, from),
                (Operation::Discard { log, to }, _) => other.discard(log, to),
            }
        }
        other
    }
}

impl Layer for Broken {
    fn inner(&self) -> &dyn Storage {
        &self.inner
    }

    fn scan(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        order: Order,
        mut limit: ScanLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        let (mut to, mut order) = (to, order);
        match (self.bug, to) {
            (Some(Bug::ScansPastTheEnd), Bound::Excluded(end)) => to = Bound::Included(end),
            (Some(Bug::ScansOneWayOnly), _) => order = Order::Ascending,
            (Some(Bug::ScansBeyondTheCount), _) => limit.count = limit.count.saturating_add(1),
            _ => {}
        }
        self.inner.scan(from, to, order, limit)
    }

    fn log_bounds(&self, log: LogId) -> Result<Range<u64>, StorageError> {
        let bounds = self.inner.log_bounds(log)?;
        let is_lost = matches!(self.bug, Some(Bug::LosesTheBoundsOfAnEmptyLog));
        Ok(if is_lost && bounds.is_empty() {
            0..0
        } else {
            bounds
        })
    }

    fn log_read(
        &self,
        log: LogId,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, StorageError> {
        let mut entries = self.inner.log_read(log, range, bytes_max)?;
        match self.bug {
            Some(Bug::ReadsNothingWithoutBytes) if bytes_max == 0 => entries.clear(),
            Some(Bug::ReadsOneEntryLess) if entries.len() > 1 => drop(entries.pop()),
            _ => {}
        }
        Ok(entries)
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError> {
        let outcome = self.inner.commit(&self.distort(batch), durability);
        if matches!(outcome, Err(StorageError::InvalidBatch { .. })) {
            match self.bug {
                Some(Bug::SaysThatRefusedBatchesAreTaken) => return Ok(()),
                Some(Bug::TakesHalfOfARefusedBatch) => {
                    let mut half = Batch::new();
                    for operation in batch.operations() {
                        if let Operation::Put { key, value } = operation {
                            half.put(key, value);
                        }
                    }
                    // A store that fails has taken a part nevertheless.
                    let _ = self.inner.commit(&half, durability);
                }
                _ => {}
            }
        }
        outcome
    }
}

struct Subjects(Option<Bug>);

impl Subject for Subjects {
    fn create(&mut self) -> Box<dyn Storage> {
        let (inner, bug) = (MemoryStorage::new(), self.0);
        Box::new(Layered::new(Broken { inner, bug }))
    }
}

#[test]
fn the_suite_catches_every_store_that_breaks_a_promise() {
    check(&mut Subjects(None), 0..20);
    let survives = |bug: &Bug| {
        let mut subjects = Subjects(Some(*bug));
        catch_unwind(AssertUnwindSafe(|| check(&mut subjects, 0..20))).is_ok()
    };
    let survivors: Vec<_> = BUGS.into_iter().filter(survives).collect();
    assert!(survivors.is_empty(), "{survivors:?}");
}
