//! Which records a gateway's disk has ever held durably, read off its commits.

use std::collections::BTreeMap;

use peaberry_core::wire::Reader;
use peaberry_core::{Batch, Operation};
use peaberry_edge::RecordId;
use peaberry_edge::payload::{Record, Wire};
use peaberry_edge::topic::Stream;

/// Every record that a synced commit has held.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    records: BTreeMap<RecordId, Stream>,
}

impl Ledger {
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
