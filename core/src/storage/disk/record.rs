//! A batch as a frame's payload: its operations one behind the other, numbers little-endian.

use super::bytes::{Reader, length32, put_string};
use crate::batch::{Batch, LogId, Operation};
use crate::peer::{Channel, ProtocolId};

const PUT: u8 = 1;
const DELETE: u8 = 2;
const DELETE_RANGE: u8 = 3;
const APPEND: u8 = 4;
const TRUNCATE: u8 = 5;
const DISCARD: u8 = 6;
const MOVE: u8 = 7;

const LOG_BYTES: usize = 14;
/// Sorts before every other log, or is it.
pub(super) const SMALLEST_LOG: LogId = LogId::new(Channel::new(ProtocolId(0), 0), 0);
/// Kind, log, first index, count.
const APPEND_FIXED: usize = 1 + LOG_BYTES + 8 + 4;
/// What lies before every entry: its length and its checksum.
pub(super) const ENTRY_FIXED: usize = 8;

/// One operation read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// A write of keys: `Put`, `Delete` or `DeleteRange`.
    Keys(Operation<'a>),
    Append {
        log: LogId,
        first: u64,
        entries: StoredEntries<'a>,
    },
    Truncate {
        log: LogId,
        from: u64,
    },
    Discard {
        log: LogId,
        to: u64,
    },
    /// Entries that now live here and no longer where they were appended.
    Move {
        log: LogId,
        first: u64,
        entries: StoredEntries<'a>,
    },
}

/// The entries of one append: where in the payload each lies, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoredEntries<'a> {
    /// Checked when decoded: entries lie whole within.
    bytes: &'a [u8],
    /// Of `bytes` in the payload.
    offset: usize,
    pub(super) count: u32,
}

impl Iterator for StoredEntries<'_> {
    /// Offset in the payload and length of an entry's bytes.
    type Item = (usize, u32);

    fn next(&mut self) -> Option<(usize, u32)> {
        let mut reader = Reader::new(self.bytes);
        let (length, _) = (reader.u32()?, reader.u32()?);
        reader.take(length as usize)?;
        let place = (self.offset + ENTRY_FIXED, length);
        let taken = self.bytes.len() - reader.remaining();
        self.bytes = self.bytes.get(taken..)?;
        self.offset += taken;
        Some(place)
    }
}

/// The bytes that `batch` takes as a payload.
pub(super) fn encoded_bytes(batch: &Batch) -> usize {
    let fixed = |operation| match operation {
        Operation::Put { .. } => 9,
        Operation::Delete { .. } => 5,
        Operation::DeleteRange { to, .. } => 6 + if to.is_some() { 4 } else { 0 },
        Operation::Append { entries, .. } => APPEND_FIXED + ENTRY_FIXED * entries.lengths().len(),
        Operation::Truncate { .. } | Operation::Discard { .. } => 1 + LOG_BYTES + 8,
    };
    batch.bytes() + batch.operations().map(fixed).sum::<usize>()
}

/// Writes `batch` as a payload.
pub(super) fn encode(batch: &Batch, into: &mut Vec<u8>) {
    for operation in batch.operations() {
        match operation {
            Operation::Put { key, value } => {
                into.push(PUT);
                put_string(into, key);
                put_string(into, value);
            }
            Operation::Delete { key } => {
                into.push(DELETE);
                put_string(into, key);
            }
            Operation::DeleteRange { from, to } => {
                into.push(DELETE_RANGE);
                put_string(into, from);
                into.push(u8::from(to.is_some()));
                if let Some(to) = to {
                    put_string(into, to);
                }
            }
            Operation::Append {
                log,
                first,
                entries,
            } => encode_entries(into, APPEND, log, first, entries),
            Operation::Truncate { log, from } => encode_cut(into, TRUNCATE, log, from),
            Operation::Discard { log, to } => encode_cut(into, DISCARD, log, to),
        }
    }
}

/// Writes a record that gives entries a new place.
pub(super) fn encode_move<'a>(
    into: &mut Vec<u8>,
    log: LogId,
    first: u64,
    entries: impl ExactSizeIterator<Item = &'a [u8]>,
) {
    encode_entries(into, MOVE, log, first, entries);
}

fn encode_entries<'a>(
    into: &mut Vec<u8>,
    kind: u8,
    log: LogId,
    first: u64,
    entries: impl ExactSizeIterator<Item = &'a [u8]>,
) {
    encode_cut(into, kind, log, first);
    into.extend_from_slice(&length32(entries.len()).to_le_bytes());
    for entry in entries {
        into.extend_from_slice(&length32(entry.len()).to_le_bytes());
        into.extend_from_slice(&crc32fast::hash(entry).to_le_bytes());
        into.extend_from_slice(entry);
    }
}

fn encode_cut(into: &mut Vec<u8>, kind: u8, log: LogId, index: u64) {
    into.push(kind);
    put_log(into, log);
    into.extend_from_slice(&index.to_le_bytes());
}

pub(super) fn put_log(into: &mut Vec<u8>, log: LogId) {
    into.extend_from_slice(&log.owner.protocol.0.to_le_bytes());
    into.extend_from_slice(&log.owner.group.to_le_bytes());
    into.extend_from_slice(&log.number.to_le_bytes());
}

pub(super) fn take_log(reader: &mut Reader<'_>) -> Option<LogId> {
    let protocol = ProtocolId(reader.u16()?);
    let group = reader.u64()?;
    Some(LogId::new(Channel::new(protocol, group), reader.u32()?))
}

/// Reads a payload back. Total: any bytes may be given.
#[derive(Debug)]
pub(super) struct Records<'a> {
    reader: Reader<'a>,
    payload_bytes: usize,
}

/// A payload that no batch encodes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl<'a> Records<'a> {
    pub(super) const fn new(payload: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(payload),
            payload_bytes: payload.len(),
        }
    }

    fn record(&mut self) -> Option<Record<'a>> {
        let reader = &mut self.reader;
        Some(match reader.u8()? {
            PUT => Record::Keys(Operation::Put {
                key: reader.string()?,
                value: reader.string()?,
            }),
            DELETE => Record::Keys(Operation::Delete {
                key: reader.string()?,
            }),
            DELETE_RANGE => Record::Keys(Operation::DeleteRange {
                from: reader.string()?,
                to: match reader.u8()? {
                    0 => None,
                    1 => Some(reader.string()?),
                    _ => return None,
                },
            }),
            kind @ (APPEND | MOVE) => {
                let (log, first) = (take_log(reader)?, reader.u64()?);
                let entries = self.entries()?;
                first.checked_add(u64::from(entries.count))?;
                match kind {
                    APPEND => Record::Append {
                        log,
                        first,
                        entries,
                    },
                    _ => Record::Move {
                        log,
                        first,
                        entries,
                    },
                }
            }
            TRUNCATE => Record::Truncate {
                log: take_log(reader)?,
                from: reader.u64()?,
            },
            DISCARD => Record::Discard {
                log: take_log(reader)?,
                to: reader.u64()?,
            },
            _ => return None,
        })
    }

    fn entries(&mut self) -> Option<StoredEntries<'a>> {
        let count = self.reader.u32()?;
        let mut whole = self.reader;
        let offset = self.payload_bytes - whole.remaining();
        for _ in 0..count {
            let (length, _) = (self.reader.u32()?, self.reader.u32()?);
            self.reader.take(length as usize)?;
        }
        let bytes = whole.take(whole.remaining() - self.reader.remaining())?;
        Some(StoredEntries {
            bytes,
            offset,
            count,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let record = self.record().ok_or(Malformed);
        if record.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_operation_is_read_back() {
        let log = LogId::new(Channel::new(ProtocolId(2000), 9), 4);
        let mut batch = Batch::new();
        batch.put(b"key", b"value");
        batch.delete(b"");
        batch.delete_range(b"a", Some(b"b"));
        batch.delete_range(b"c", None);
        batch.append(log, 5, [b"one".as_slice(), b""]);
        batch.truncate(log, 6);
        batch.discard(log, 7);
        let mut payload = Vec::new();
        encode(&batch, &mut payload);
        assert_eq!(payload.len(), encoded_bytes(&batch));

        let records: Vec<_> = Records::new(&payload).map(Result::unwrap).collect();
        assert_eq!(records.len(), 7);
        let Some(Record::Append { first, entries, .. }) = records.get(4) else {
            panic!("an append");
        };
        let read: Vec<_> = entries
            .map(|(at, length)| &payload[at..at + length as usize])
            .collect();
        assert_eq!((*first, read), (5, vec![b"one".as_slice(), b""]));
        assert!(records.contains(&Record::Keys(Operation::DeleteRange {
            from: b"c",
            to: None
        })));
        assert!(records.contains(&Record::Discard { log, to: 7 }));
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for record in Records::new(&bytes) {
                if let Ok(Record::Append { entries, .. }) = record {
                    for (at, length) in entries {
                        prop_assert!(at + length as usize <= bytes.len());
                    }
                }
            }
        }
    }
}
