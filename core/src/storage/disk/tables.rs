//! What reads are answered from.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::bytes::Reader;
use super::error::{corrupt, failed};
use super::log_index::{LogIndex, Place};
use super::record::{ENTRY_FIXED, Record, Records};
use super::segment::Segment;
use crate::batch::LogId;
use crate::storage::StorageError;
use crate::storage::files::Files;
use crate::storage::memory::Keyspace;

#[derive(Debug)]
pub(super) struct Tables {
    pub(super) keys: Keyspace,
    pub(super) index: LogIndex,
    pub(super) segments: BTreeMap<u32, Arc<Segment>>,
}

/// Entries that lie behind one another in one segment.
#[derive(Debug)]
pub(super) struct Run {
    segment: Arc<Segment>,
    pub(super) first: u64,
    places: Vec<Place>,
}

impl Tables {
    /// Applies a batch that was checked, from its payload.
    pub(super) fn apply(&mut self, payload: &[u8], segment: u32, payload_offset: u32) {
        for record in Records::new(payload) {
            let record = record.expect("a payload decodes that was encoded or checked before");
            if let Record::Keys(operation) = &record {
                self.keys.apply(operation);
            } else {
                self.index.apply(&record, segment, payload_offset);
            }
        }
    }

    /// Where the entries of `log` in `range` lie: all that fit into `bytes_max`, at least one if there is any.
    pub(super) fn runs(&self, log: LogId, range: Range<u64>, bytes_max: usize) -> Vec<Run> {
        let mut runs = Vec::new();
        let mut bytes = 0;
        for (index, place) in self.index.places(log, range) {
            bytes += place.length as usize;
            if bytes > bytes_max && !runs.is_empty() {
                break;
            }
            self.extend(&mut runs, index, place);
        }
        runs
    }

    pub(super) fn extend(&self, runs: &mut Vec<Run>, index: u64, place: Place) {
        if let Some(run) = runs.last_mut()
            && run.first + run.places.len() as u64 == index
            && run
                .places
                .last()
                .is_some_and(|last| last.is_followed_by(&place))
        {
            run.places.push(place);
            return;
        }
        let segment = self.segments.get(&place.segment);
        runs.push(Run {
            segment: segment
                .expect("a segment with live entries is live")
                .clone(),
            first: index,
            places: vec![place],
        });
    }
}

impl Run {
    /// Reads the entries and checks each. Needs no lock: whoever holds the segment keeps it from being used again.
    pub(super) fn read(&self, files: &dyn Files) -> Result<Vec<Bytes>, StorageError> {
        let Some(first) = self.places.first() else {
            return Ok(Vec::new());
        };
        let start = u64::from(first.offset) - ENTRY_FIXED as u64;
        let bytes: u64 = self.places.iter().map(Place::bytes).sum();
        let mut buffer = vec![0; usize::try_from(bytes).expect("a run fits its segment")];
        let name = self.segment.name();
        self.segment
            .file
            .read_at(&mut buffer, start)
            .map_err(failed(files, &name, "read"))?;
        let mut reader = Reader::new(&buffer);
        self.places
            .iter()
            .map(|place| {
                take_entry(&mut reader, place.length).ok_or_else(|| {
                    let reason = "a log entry has another checksum";
                    corrupt(files, &name, u64::from(place.offset), reason)
                })
            })
            .collect()
    }
}

/// A copy of the next entry: a slice would keep the whole run's buffer alive.
fn take_entry(reader: &mut Reader<'_>, length: u32) -> Option<Bytes> {
    let (stored, checksum) = (reader.u32()?, reader.u32()?);
    let entry = reader.take(length as usize)?;
    (stored == length && crc32fast::hash(entry) == checksum).then(|| Bytes::copy_from_slice(entry))
}
