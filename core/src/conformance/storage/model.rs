//! The naive store that others are compared with.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};

use bytes::Bytes;
use fastrand::Rng;

use crate::batch::{Batch, LogId, Operation};
use crate::peer::{Channel, ProtocolId};
use crate::storage::{Order, ScanLimit, Storage};

/// The logs that random batches write to.
pub const LOGS: [LogId; 3] = [
    LogId::new(Channel::new(ProtocolId(2000), 1), 0),
    LogId::new(Channel::new(ProtocolId(2000), 1), 1),
    LogId::new(Channel::new(ProtocolId(2001), u64::MAX), 7),
];

/// What a store should hold, in plain collections. Knows the logs of [`LOGS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    keys: BTreeMap<Bytes, Bytes>,
    logs: BTreeMap<LogId, (u64, Vec<Bytes>)>,
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self {
            keys: BTreeMap::new(),
            logs: LOGS.into_iter().map(|log| (log, (0, Vec::new()))).collect(),
        }
    }

    /// All that `storage` holds, read page by page.
    ///
    /// # Panics
    ///
    /// When a read fails, or a log's entries are not as many as its bounds say.
    #[must_use]
    pub fn read(storage: &dyn Storage) -> Self {
        let mut model = Self::new();
        let mut from: Bound<Bytes> = Bound::Unbounded;
        loop {
            let page = storage.scan(
                from.as_ref().map(Bytes::as_ref),
                Bound::Unbounded,
                Order::Ascending,
                ScanLimit::count(7),
            );
            let page = page.expect("a scan succeeds");
            let Some((last, _)) = page.last() else {
                break;
            };
            from = Bound::Excluded(last.clone());
            model.keys.extend(page);
        }
        for log in LOGS {
            let bounds = storage.log_bounds(log).expect("bounds are read");
            let entries = storage
                .log_read(log, bounds.clone(), usize::MAX)
                .expect("a log is read");
            assert_eq!(
                entries.len() as u64,
                bounds.end - bounds.start,
                "log {log} has an entry for each index of {bounds:?}"
            );
            model.logs.insert(log, (bounds.start, entries));
        }
        model
    }

    /// Applies a valid batch.
    pub fn apply(&mut self, batch: &Batch) {
        for operation in batch.operations() {
            self.step(&operation);
        }
    }

    /// The bounds of `log`.
    #[must_use]
    pub fn log_bounds(&self, log: LogId) -> Range<u64> {
        self.logs.get(&log).map_or(0..0, |(first, entries)| {
            *first..*first + entries.len() as u64
        })
    }

    /// Compares with all that `storage` holds.
    ///
    /// # Panics
    ///
    /// When it differs; `promise` says what was broken.
    pub fn check(&self, storage: &dyn Storage, promise: &str) {
        assert_eq!(Self::read(storage), *self, "{promise}");
    }

    /// Compares random parts: single keys, pages in both orders, ranges of logs.
    pub(super) fn check_parts(&self, storage: &dyn Storage, rng: &mut Rng) {
        let key = random_key(rng);
        assert_eq!(
            storage.get(&key).expect("a get succeeds").as_deref(),
            self.keys.get(key.as_slice()).map(Bytes::as_ref),
            "a get answers as the model"
        );
        let (from, to) = (random_key(rng), random_key(rng));
        let limit = ScanLimit::count(rng.usize(1..6));
        let bounds = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
        let inside = |key: &Bytes| *key >= from[..] && *key < to[..];
        let pairs = || self.keys.iter().filter(|(key, _)| inside(key));
        let owned = |(key, value): (&Bytes, &Bytes)| (key.clone(), value.clone());
        let up: Vec<_> = pairs().take(limit.count).map(owned).collect();
        let down: Vec<_> = pairs().rev().take(limit.count).map(owned).collect();
        for (order, expected) in [(Order::Ascending, up), (Order::Descending, down)] {
            let page = storage.scan(bounds.0, bounds.1, order, limit);
            assert_eq!(
                page.expect("a scan succeeds"),
                expected,
                "a page in {order:?} order"
            );
        }
        for (log, (first, entries)) in &self.logs {
            let start = rng.u64(0..first + entries.len() as u64 + 2);
            let end = start + rng.u64(0..9);
            let read = storage.log_read(*log, start..end, usize::MAX);
            let expected: Vec<_> = (*first..)
                .zip(entries)
                .filter(|(index, _)| (start..end).contains(index))
                .map(|(_, entry)| entry.clone())
                .collect();
            assert_eq!(
                read.expect("a read succeeds"),
                expected,
                "{start}..{end} of log {log}"
            );
        }
    }

    fn step(&mut self, operation: &Operation<'_>) {
        match operation {
            Operation::Put { key, value } => {
                let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
                self.keys.insert(key, value);
            }
            Operation::Delete { key } => {
                self.keys.remove(*key);
            }
            Operation::DeleteRange { from, to } => {
                let inside = |key: &Bytes| key >= from && to.is_none_or(|to| key < to);
                self.keys.retain(|key, _| !inside(key));
            }
            Operation::Append {
                log,
                first,
                entries,
            } => {
                let (start, kept) = self.logs.entry(*log).or_default();
                if kept.is_empty() {
                    *start = *first;
                }
                kept.extend(entries.clone().map(Bytes::copy_from_slice));
            }
            Operation::Truncate { log, from } => {
                let (start, kept) = self.logs.entry(*log).or_default();
                let count = usize::try_from(from.saturating_sub(*start)).unwrap_or(usize::MAX);
                kept.truncate(count);
            }
            Operation::Discard { log, to } => {
                let (start, kept) = self.logs.entry(*log).or_default();
                while *start < *to && !kept.is_empty() {
                    kept.remove(0);
                    *start += 1;
                }
                *start = (*start).max(*to);
            }
        }
    }
}

/// A valid batch for a store that holds what `model` does: one to five operations of every kind.
#[must_use]
pub fn random_batch(rng: &mut Rng, model: &Model) -> Batch {
    let mut batch = Batch::new();
    let mut ends: Vec<_> = LOGS
        .into_iter()
        .map(|log| (log, model.log_bounds(log)))
        .collect();
    for _ in 0..rng.usize(1..=5) {
        let at = rng.usize(..ends.len());
        match (rng.u8(..12), ends.get_mut(at)) {
            (0..4, _) => batch.put(&random_key(rng), &random_bytes(rng, 300)),
            (4, _) => batch.delete(&random_key(rng)),
            (5, _) => {
                let to = rng.bool().then(|| random_key(rng));
                let from = [b"k".as_slice(), &random_key(rng)].concat();
                batch.delete_range(&from, to.as_deref());
            }
            (kind, Some((log, bounds))) => random_log_write(rng, &mut batch, *log, bounds, kind),
            (_, None) => {}
        }
    }
    batch
}

fn random_log_write(
    rng: &mut Rng,
    batch: &mut Batch,
    log: LogId,
    bounds: &mut Range<u64>,
    kind: u8,
) {
    match kind {
        6 => {
            let from = rng.u64(bounds.start.saturating_sub(1)..=bounds.end + 1);
            batch.truncate(log, from);
            bounds.end = bounds.end.min(from.max(bounds.start));
        }
        7 => {
            let past_end = if rng.u8(..8) == 0 { 3 } else { 0 };
            let to = rng.u64(bounds.start..=bounds.end + past_end);
            batch.discard(log, to);
            bounds.start = bounds.start.max(to);
            bounds.end = bounds.end.max(bounds.start);
        }
        _ => {
            let jump = if bounds.is_empty() { rng.u64(..3) } else { 0 };
            let first = bounds.end + jump;
            let entries: Vec<_> = (0..rng.usize(1..=4))
                .map(|_| random_bytes(rng, 600))
                .collect();
            batch.append(log, first, entries.iter().map(Vec::as_slice));
            if bounds.is_empty() {
                bounds.start = first;
            }
            bounds.end = first + entries.len() as u64;
        }
    }
}

fn random_key(rng: &mut Rng) -> Vec<u8> {
    let mut key = vec![b'a' + rng.u8(..4)];
    if rng.bool() {
        key.push(rng.u8(..8));
    }
    key
}

fn random_bytes(rng: &mut Rng, bytes_max: usize) -> Vec<u8> {
    let count = rng.usize(..=bytes_max);
    std::iter::repeat_with(|| rng.u8(..)).take(count).collect()
}
