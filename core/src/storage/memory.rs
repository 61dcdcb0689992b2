use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, Range};

use bytes::Bytes;
use parking_lot::RwLock;

use crate::batch::{Batch, Entries, LogId, Operation};
use crate::storage::{Durability, Order, ScanLimit, Storage, StorageError};

/// Storage that a crash empties: for tests, benches and nodes that keep nothing.
///
/// ```
/// use peaberry_core::{Batch, Durability, MemoryStorage, Storage};
///
/// let storage = MemoryStorage::new();
/// let mut batch = Batch::new();
/// batch.put(b"key", b"value");
/// storage.commit(&batch, Durability::Buffered).unwrap();
/// assert_eq!(storage.get(b"key").unwrap().unwrap(), "value");
/// ```
#[derive(Debug, Default)]
pub struct MemoryStorage {
    tables: RwLock<Tables>,
}

#[derive(Clone, Debug, Default)]
struct Tables {
    keys: Keyspace,
    logs: BTreeMap<LogId, Log>,
}

impl MemoryStorage {
    /// Empty storage.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A store of its own with the same content.
    #[cfg(feature = "simulation")]
    pub(crate) fn fork(&self) -> Self {
        Self {
            tables: RwLock::new(self.tables.read().clone()),
        }
    }
}

impl Storage for MemoryStorage {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(self.tables.read().keys.get(key))
    }

    fn scan(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        order: Order,
        limit: ScanLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        Ok(self.tables.read().keys.scan(from, to, order, limit))
    }

    fn log_bounds(&self, log: LogId) -> Result<Range<u64>, StorageError> {
        Ok(self.tables.read().logs.get(&log).map_or(0..0, Log::bounds))
    }

    fn log_read(
        &self,
        log: LogId,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, StorageError> {
        Ok(self
            .tables
            .read()
            .logs
            .get(&log)
            .map_or_else(Vec::new, |log| log.read(range, bytes_max)))
    }

    fn commit(&self, batch: &Batch, _durability: Durability) -> Result<(), StorageError> {
        let mut tables = self.tables.write();
        check_appends(batch, |log| tables.logs.get(&log).map_or(0..0, Log::bounds))?;
        for operation in batch.operations() {
            tables.apply(operation);
        }
        Ok(())
    }
}

impl Tables {
    fn apply(&mut self, operation: Operation<'_>) {
        match operation {
            Operation::Append {
                log,
                first,
                entries,
            } => self.logs.entry(log).or_default().append(first, entries),
            Operation::Truncate { log, from } => self.logs.entry(log).or_default().truncate(from),
            Operation::Discard { log, to } => self.logs.entry(log).or_default().discard(to),
            Operation::Put { .. } | Operation::Delete { .. } | Operation::DeleteRange { .. } => {
                self.keys.apply(&operation);
            }
        }
    }
}

/// An ordered keyspace in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keyspace {
    map: BTreeMap<Bytes, Bytes>,
    bytes: usize,
}

#[cfg_attr(
    not(feature = "disk"),
    expect(dead_code, reason = "the durable store writes its checkpoints from it")
)]
impl Keyspace {
    pub(crate) fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.map.get(key).cloned()
    }

    /// Keys and values in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.map.iter()
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// The bytes of all keys and values.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn put(&mut self, key: Bytes, value: Bytes) {
        self.bytes += key.len() + value.len();
        let key_bytes = key.len();
        if let Some(old) = self.map.insert(key, value) {
            self.bytes -= key_bytes + old.len();
        }
    }

    fn delete(&mut self, key: &[u8]) {
        if let Some(old) = self.map.remove(key) {
            self.bytes -= key.len() + old.len();
        }
    }

    fn delete_range(&mut self, from: &[u8], to: Option<&[u8]>) {
        let mut tail = self.map.split_off(from);
        if let Some(to) = to
            && to > from
        {
            let mut kept = tail.split_off(to);
            self.map.append(&mut kept);
        } else if to.is_some() {
            self.map.append(&mut tail);
        }
        self.bytes -= tail
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum::<usize>();
    }

    /// Applies an operation on keys; operations on logs are not for it.
    pub(crate) fn apply(&mut self, operation: &Operation<'_>) {
        match *operation {
            Operation::Put { key, value } => {
                self.put(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value))
            }
            Operation::Delete { key } => self.delete(key),
            Operation::DeleteRange { from, to } => self.delete_range(from, to),
            Operation::Append { .. } | Operation::Truncate { .. } | Operation::Discard { .. } => {}
        }
    }

    pub(crate) fn scan(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        order: Order,
        limit: ScanLimit,
    ) -> Vec<(Bytes, Bytes)> {
        if is_empty(from, to) {
            return Vec::new();
        }
        let range = self.map.range::<[u8], _>((from, to));
        match order {
            Order::Ascending => page(range, limit),
            Order::Descending => page(range.rev(), limit),
        }
    }
}

/// Whether no key can lie between the bounds; `BTreeMap::range` panics on some of these.
fn is_empty(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from), Bound::Excluded(to))
        | (Bound::Excluded(from), Bound::Excluded(to)) => from >= to,
        (Bound::Excluded(from), Bound::Included(to)) => from >= to,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}

fn page<'a>(
    range: impl Iterator<Item = (&'a Bytes, &'a Bytes)>,
    limit: ScanLimit,
) -> Vec<(Bytes, Bytes)> {
    let mut bytes = 0;
    let mut page = Vec::new();
    for (key, value) in range.take(limit.count) {
        bytes += key.len() + value.len();
        if bytes > limit.bytes && !page.is_empty() {
            break;
        }
        page.push((key.clone(), value.clone()));
    }
    page
}

#[derive(Clone, Debug, Default)]
struct Log {
    first: u64,
    entries: VecDeque<Bytes>,
}

impl Log {
    fn bounds(&self) -> Range<u64> {
        crate::batch::indices(self.first, self.entries.len())
    }

    fn append(&mut self, first: u64, entries: Entries<'_>) {
        if self.entries.is_empty() {
            self.first = first;
        }
        // All in one allocation: entries of one append are discarded together, or nearly so.
        let bytes = Bytes::copy_from_slice(entries.bytes());
        let mut end = 0;
        self.entries.extend(entries.map(|entry| {
            let start = end;
            end += entry.len();
            bytes.slice(start..end)
        }));
    }

    fn position(&self, index: u64) -> usize {
        usize::try_from(index.saturating_sub(self.first)).unwrap_or(usize::MAX)
    }

    fn truncate(&mut self, from: u64) {
        self.entries.truncate(self.position(from));
    }

    fn discard(&mut self, to: u64) {
        if to <= self.first {
            return;
        }
        let gone = self.position(to).min(self.entries.len());
        self.entries.drain(..gone);
        self.first = to;
        if self.entries.is_empty() {
            // Nothing is kept for a log that waits: there may be many.
            self.entries = VecDeque::new();
        }
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> Vec<Bytes> {
        let from = self.position(range.start).min(self.entries.len());
        let to = self.position(range.end).min(self.entries.len());
        let mut bytes = 0;
        let mut read: Vec<Bytes> = Vec::new();
        for entry in self.entries.range(from..to.max(from)) {
            bytes += entry.len();
            if bytes > bytes_max && !read.is_empty() {
                break;
            }
            read.push(entry.clone());
        }
        read
    }
}

/// Checks that every append of `batch` continues its log, given the bounds before the batch.
///
/// # Errors
///
/// [`StorageError::InvalidBatch`] naming the first append that leaves a gap or overlaps.
pub(crate) fn check_appends(
    batch: &Batch,
    mut bounds_before: impl FnMut(LogId) -> Range<u64>,
) -> Result<(), StorageError> {
    // Nearly every batch touches one or two logs: a vector beats a map.
    let mut touched: Vec<(LogId, Range<u64>)> = Vec::new();
    for operation in batch.operations() {
        let (Operation::Append { log, .. }
        | Operation::Truncate { log, .. }
        | Operation::Discard { log, .. }) = operation
        else {
            continue;
        };
        let at = touched
            .iter()
            .rposition(|(seen, _)| *seen == log)
            .unwrap_or_else(|| {
                touched.push((log, bounds_before(log)));
                touched.len() - 1
            });
        let Some((_, bounds)) = touched.get_mut(at) else {
            continue;
        };
        apply_to_bounds(bounds, &operation)?;
    }
    Ok(())
}

/// What `operation` makes of its log's bounds.
pub(crate) fn apply_to_bounds(
    bounds: &mut Range<u64>,
    operation: &Operation<'_>,
) -> Result<(), StorageError> {
    match operation {
        Operation::Append {
            log,
            first,
            entries,
        } => {
            let jumps_ahead = bounds.is_empty() && *first >= bounds.end;
            if *first != bounds.end && !jumps_ahead {
                let reason = format!(
                    "append to log {log} at {first}, whose next index is {}",
                    bounds.end
                );
                return Err(StorageError::InvalidBatch { reason });
            }
            if bounds.is_empty() {
                bounds.start = *first;
            }
            let count = entries.lengths().len() as u64;
            bounds.end = first.checked_add(count).ok_or_else(|| {
                let reason = format!("append to log {log} at {first} passes the last index");
                StorageError::InvalidBatch { reason }
            })?;
        }
        Operation::Truncate { from, .. } => bounds.end = bounds.end.min((*from).max(bounds.start)),
        Operation::Discard { to, .. } => {
            bounds.start = bounds.start.max(*to);
            bounds.end = bounds.end.max(bounds.start);
        }
        Operation::Put { .. } | Operation::Delete { .. } | Operation::DeleteRange { .. } => {}
    }
    Ok(())
}
