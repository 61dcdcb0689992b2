//! Which records a gateway's disk has ever held durably, read off its commits.

use std::collections::BTreeMap;

use peaberry_core::wire::Reader;
use peaberry_core::{Batch, Operation};
use peaberry_edge::payload::{Record, Wire};
use peaberry_edge::topic::Stream;
use peaberry_edge::{BootEpoch, DeviceId, RecordId};

/// Every record that a synced commit has held.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    records: BTreeMap<RecordId, Stream>,
    /// The last starts on disks that are gone.
    lost: BTreeMap<DeviceId, BootEpoch>,
}

impl Ledger {
    /// The disk is gone, and whatever it held and nobody else has.
    pub(super) fn lose(&mut self) {
        for id in std::mem::take(&mut self.records).into_keys() {
            let last = self.lost.entry(id.device).or_insert(id.boot);
            *last = id.boot.max(*last);
        }
    }

    /// Whether any disk was lost.
    pub(super) fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    /// Whether a start is not above all those on disks that are gone: the sink may know a later one.
    pub(super) fn is_overtaken(&self, device: &DeviceId, boot: BootEpoch) -> bool {
        self.lost.get(device).is_some_and(|last| boot <= *last)
    }

    pub(super) fn enter(&mut self, batch: &Batch) {
        for operation in batch.operations() {
            if let Operation::Append { entries, .. } = operation {
                let records = entries.filter_map(spooled);
                self.records
                    .extend(records.map(|record| (record.id, record.payload.stream())));
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&RecordId, Stream)> {
        self.records.iter().map(|(id, stream)| (id, *stream))
    }
}

/// The record behind an entry's head of three numbers.
fn spooled(entry: &[u8]) -> Option<Record> {
    let mut reader = Reader::new(entry);
    for _ in 0..3 {
        reader.varint().ok()?;
    }
    Record::decode(reader.rest()).ok()
}
