//! Snapshots: written chunk by chunk into logs of their own, and sent chunk by chunk to replicas that are far behind.
//!
//! Two areas take turns. The manifest names the area that holds the newest complete snapshot; a new one, taken here or
//! received, goes to the other area, and one batch then switches the manifest and cuts the log.

mod area;
mod receive;
mod send;
mod take;

use std::collections::BTreeMap;

use bytes::Bytes;
use peaberry_core::wire::{self, Reader, WireError};
use peaberry_core::{Batch, Channel, LogId, Storage, StorageError, Subspace};
use raft::eraftpb::ConfState;

pub(super) use self::area::AreaReader;
use self::area::AreaWriter;
pub(super) use self::receive::Received;
use self::receive::Receiving;
use self::send::Sending;
use self::take::Taking;
use super::bounds::NUMBER_MAX;
use super::log_store::Position;
use crate::state_machine::StateMachine;

/// The most members a snapshot may name.
const VOTERS_MAX: usize = 64;

const MANIFEST: &[u8] = b"manifest";

/// What a snapshot is, wherever its chunks are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    /// The last entry whose effects it holds.
    pub(super) at: Position,
    pub(super) voters: Vec<u64>,
    pub(super) chunks: u64,
    /// CRC-32 over all chunks.
    pub(super) crc: u32,
}

impl Manifest {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for field in [
            self.at.index,
            self.at.term,
            self.chunks,
            self.voters.len() as u64,
        ] {
            wire::put_varint(out, field);
        }
        for voter in &self.voters {
            wire::put_varint(out, *voter);
        }
        out.extend_from_slice(&self.crc.to_le_bytes());
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let at = Position {
            index: reader.varint()?,
            term: reader.varint()?,
        };
        let chunks = reader.varint()?;
        let count = reader.length(VOTERS_MAX)?;
        let voters = (0..count)
            .map(|_| reader.varint())
            .collect::<Result<_, _>>()?;
        let crc = u32::from_le_bytes(reader.array()?);
        Ok(Self {
            at,
            voters,
            chunks,
            crc,
        })
    }

    /// Whether a correct replica of a group with these members can have written it, in a term up to `term`.
    pub(super) fn is_plausible(&self, term: u64, voters: &[u64]) -> bool {
        let place = (1..=NUMBER_MAX).contains(&self.at.index) && (1..=term).contains(&self.at.term);
        place && self.chunks > 0 && self.voters == voters
    }

    pub(super) fn conf_state(&self) -> ConfState {
        ConfState {
            voters: self.voters.clone(),
            ..ConfState::default()
        }
    }
}

/// A snapshot on this replica's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) manifest: Manifest,
    area: u8,
    /// Index of the first chunk in the area's log.
    start: u64,
}

impl Stored {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.area];
        wire::put_varint(&mut out, self.start);
        self.manifest.encode(&mut out);
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let stored = Self {
            area: reader.u8()?,
            start: reader.varint()?,
            manifest: Manifest::decode(&mut reader)?,
        };
        reader.finish()?;
        Ok(stored)
    }
}

/// Any bytes at all as what is stored of a snapshot.
pub(super) fn decode_any(bytes: &[u8]) {
    if let Ok(stored) = Stored::decode(bytes) {
        assert_eq!(stored.encode(), bytes, "one snapshot, one spelling");
    }
}

/// The snapshots of one group: the newest one, and those on their way.
#[derive(Debug)]
pub(super) struct Snapshots<S: StateMachine> {
    space: Subspace,
    channel: Channel,
    current: Option<Stored>,
    /// The next index of each area's log.
    ends: [u64; 2],
    taking: Option<Taking<S::Snapshot>>,
    receiving: Option<Receiving<S>>,
    sending: BTreeMap<u64, Sending>,
}

/// Why the newest snapshot cannot be read back.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("malformed manifest")]
    Manifest(#[source] WireError),
}

impl<S: StateMachine> Snapshots<S> {
    /// Finds the newest snapshot in `storage`.
    pub(super) fn open(
        storage: &dyn Storage,
        space: Subspace,
        channel: Channel,
    ) -> Result<Self, LoadError> {
        let manifest = space.get(storage, MANIFEST)?;
        let current = manifest
            .map(|bytes| Stored::decode(&bytes))
            .transpose()
            .map_err(LoadError::Manifest)?;
        let ends = [
            storage.log_bounds(area_log(channel, 0))?.end,
            storage.log_bounds(area_log(channel, 1))?.end,
        ];
        Ok(Self {
            space,
            channel,
            current,
            ends,
            taking: None,
            receiving: None,
            sending: BTreeMap::new(),
        })
    }

    pub(super) const fn current(&self) -> Option<&Stored> {
        self.current.as_ref()
    }

    /// The chunks of the newest snapshot.
    pub(super) fn reader(&self, stored: &Stored) -> AreaReader {
        AreaReader::new(area_log(self.channel, stored.area), stored)
    }

    /// A writer into the area that does not hold the newest snapshot; `None` while a transfer still reads from there.
    fn writer(&mut self, batch: &mut Batch) -> Option<AreaWriter> {
        let area = self.current.as_ref().map_or(0, |current| 1 - current.area);
        if self
            .sending
            .values()
            .any(|sending| sending.reads_area(area))
        {
            return None;
        }
        let log = area_log(self.channel, area);
        let start = self
            .ends
            .get(usize::from(area))
            .copied()
            .unwrap_or_default();
        batch.discard(log, start);
        Some(AreaWriter::new(area, log, start))
    }

    /// Makes a completely written snapshot the newest.
    fn switch(&mut self, writer: &AreaWriter, manifest: Manifest, batch: &mut Batch) {
        let stored = Stored {
            manifest,
            area: writer.area(),
            start: writer.start(),
        };
        self.space.put(batch, MANIFEST, &stored.encode());
        self.current = Some(stored);
    }

    /// Remembers where an area's log ends, whoever stops writing to it.
    fn leave_area(&mut self, writer: &AreaWriter) {
        if let Some(end) = self.ends.get_mut(usize::from(writer.area())) {
            *end = writer.end();
        }
    }
}

const fn area_log(channel: Channel, area: u8) -> LogId {
    LogId::new(channel, 1 + area as u32)
}

/// The CRC-32 that a snapshot's chunks have together.
fn crc_with(crc: u32, chunk: &Bytes) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(crc);
    hasher.update(chunk);
    hasher.finalize()
}
