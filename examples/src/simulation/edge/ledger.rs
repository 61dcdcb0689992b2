//! Which records a gateway's disk has ever held durably, and which it has let go of, read off its commits.

use std::collections::{BTreeMap, BTreeSet};

use peaberry_core::wire::Reader;
use peaberry_core::{Batch, LogId, Operation, Subspace};
use peaberry_edge::payload::{Payload, Record, Wire};
use peaberry_edge::topic::Stream;
use peaberry_edge::{BootEpoch, DeviceId, Name, RecordId};

/// Every record that a synced commit has held.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    records: BTreeMap<RecordId, Held>,
    /// Where they are.
    places: BTreeMap<LogId, BTreeMap<u64, RecordId>>,
    /// What the present disk has let go of, and not for want of room.
    cut: BTreeSet<RecordId>,
    /// What disks that are gone had let go of.
    acknowledged: BTreeSet<RecordId>,
    /// The last starts on disks that are gone.
    lost: BTreeMap<DeviceId, BootEpoch>,
}

/// What is known of a record.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) stream: Stream,
    /// The order whose end it tells.
    pub(super) end_of: Option<Name>,
}

impl Ledger {
    /// The disk is gone, and whatever it held and nobody else has.
    pub(super) fn lose(&mut self) {
        for id in std::mem::take(&mut self.records).into_keys() {
            let last = self.lost.entry(id.device).or_insert(id.boot);
            *last = id.boot.max(*last);
        }
        self.places.clear();
        self.acknowledged.append(&mut self.cut);
    }

    /// Whether any disk was lost.
    pub(super) fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    /// Whether a start is not above all those on disks that are gone: the sink may know a later one.
    pub(super) fn is_overtaken(&self, device: &DeviceId, boot: BootEpoch) -> bool {
        self.lost.get(device).is_some_and(|last| boot <= *last)
    }

    /// A batch is committed. One that is not synced only lets go of what was acknowledged.
    pub(super) fn enter(&mut self, batch: &Batch, is_synced: bool) {
        let mut gone = Vec::new();
        for operation in batch.operations() {
            match operation {
                Operation::Append {
                    log,
                    first,
                    entries,
                } if is_synced => {
                    let places = self.places.entry(log).or_default();
                    for (index, entry) in (first..).zip(entries) {
                        let Some(record) = spooled(entry) else {
                            continue;
                        };
                        places.insert(index, record.id.clone());
                        self.records.insert(record.id.clone(), Held::of(&record));
                    }
                }
                Operation::Discard { log, to } => {
                    let places = self.places.entry(log).or_default();
                    let kept = places.split_off(&to);
                    let ids = std::mem::replace(places, kept).into_values();
                    gone.extend(ids.map(|id| (log, id)));
                }
                _ => {}
            }
        }
        // What gives way for want of room is told in a gap of the same commit, or moves to another log.
        gone.retain(|(log, _)| !tells_of_a_gap(batch, *log));
        if gone.is_empty() {
            return;
        }
        let held: BTreeSet<_> = self.held().collect();
        let cut = gone.into_iter().map(|(_, id)| id);
        let cut: Vec<_> = cut.filter(|id| !held.contains(id)).collect();
        self.cut.extend(cut);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&RecordId, &Held)> {
        self.records.iter()
    }

    /// What the present disk holds and has not let go of.
    pub(super) fn held(&self) -> impl Iterator<Item = &RecordId> {
        self.places.values().flat_map(BTreeMap::values)
    }

    /// What disks that are gone had let go of as acknowledged.
    pub(super) fn acknowledged(&self) -> impl Iterator<Item = &RecordId> {
        self.acknowledged.iter()
    }
}

impl Held {
    fn of(record: &Record) -> Self {
        let end_of = match &record.payload {
            Payload::Order(update) if update.phase.is_final() => Some(update.key.clone()),
            _ => None,
        };
        let stream = record.payload.stream();
        Self { stream, end_of }
    }
}

/// Whether a batch writes down that something of the spool is gone whose log this is.
fn tells_of_a_gap(batch: &Batch, log: LogId) -> bool {
    let gaps = Subspace::of(log.owner).within(b"gap").key(b"");
    let mut operations = batch.operations();
    operations.any(|one| matches!(one, Operation::Put { key, .. } if key.starts_with(&gaps)))
}

/// The record behind an entry's head of three numbers.
fn spooled(entry: &[u8]) -> Option<Record> {
    let mut reader = Reader::new(entry);
    for _ in 0..3 {
        reader.varint().ok()?;
    }
    Record::decode(reader.rest()).ok()
}
