//! One record as the spool's logs hold it: where it stands, how much lies before it, its bytes.

use bytes::Bytes;
use peaberry_core::wire::{self, Reader, WireError};

use crate::identity::{BootEpoch, Position};

/// What a record costs beside its encoded bytes, as the byte cap counts: its place in the log's index and frames.
pub const RECORD_OVERHEAD: u64 = 32;

/// The head of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The bytes of all entries that were ever before it in its log, as the cap counts: the difference of two is what lies
    /// between them, so a million need not be read to know their size.
    pub(super) before: u64,
    pub(super) at: Position,
}

/// A head with the record's bytes.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) head: Head,
    pub(super) record: Bytes,
}

impl Entry {
    /// `before` of the entry behind it.
    pub(super) const fn behind(&self) -> u64 {
        self.head.before.wrapping_add(cost(self.record.len()))
    }
}

/// What a record of so many encoded bytes costs.
pub(super) const fn cost(record_bytes: usize) -> u64 {
    record_bytes as u64 + RECORD_OVERHEAD
}

pub(super) fn put(out: &mut Vec<u8>, head: Head, record: &[u8]) {
    wire::put_varint(out, head.before);
    wire::put_varint(out, head.at.boot.get());
    wire::put_varint(out, head.at.sequence);
    out.extend_from_slice(record);
}

pub(super) fn read(bytes: &Bytes) -> Result<Entry, WireError> {
    let mut reader = Reader::new(bytes);
    let before = reader.varint()?;
    let boot = BootEpoch::new(reader.varint()?).ok_or(WireError::Varint)?;
    let sequence = reader.varint()?;
    let record = bytes.slice(bytes.len() - reader.rest().len()..);
    let at = Position { boot, sequence };
    Ok(Entry {
        head: Head { before, at },
        record,
    })
}
