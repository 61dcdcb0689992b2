//! A protocol's part of a store as bytes: its keys, then its logs.

use super::RecordingError;
use super::format::{bytes_from, put_bytes, u32_from, u64_from};
use crate::batch::{Batch, LogId};
use crate::peer::Channel;
use crate::storage::memory::MemoryStorage;
use crate::storage::{Durability, Storage};
use crate::subspace::Subspace;

/// How many bytes of a log are read at a time.
const PAGE_BYTES: usize = 1 << 16;

/// Reads `channel`'s keys and `logs`.
pub(super) fn capture(
    storage: &dyn Storage,
    channel: Channel,
    logs: &[LogId],
    room: usize,
) -> Result<Vec<u8>, RecordingError> {
    let mut image = Vec::new();
    let keys = keys(storage, channel, room)?;
    image.extend_from_slice(&(keys.len() as u64).to_le_bytes());
    for (key, value) in &keys {
        put_bytes(key, &mut image);
        put_bytes(value, &mut image);
    }
    check(image.len(), room)?;
    for &log in logs {
        capture_log(storage, log, room, &mut image)?;
    }
    Ok(image)
}

type Pairs = Vec<(bytes::Bytes, bytes::Bytes)>;

fn keys(storage: &dyn Storage, channel: Channel, room: usize) -> Result<Pairs, RecordingError> {
    let own = Subspace::of(channel);
    let mut keys: Pairs = Vec::new();
    let mut bytes = 0;
    for entry in own.entries(storage) {
        let (key, value) = entry?;
        bytes += key.len() + value.len();
        check(bytes, room)?;
        keys.push((key, value));
    }
    Ok(keys)
}

fn capture_log(
    storage: &dyn Storage,
    log: LogId,
    room: usize,
    image: &mut Vec<u8>,
) -> Result<(), RecordingError> {
    let bounds = storage.log_bounds(log)?;
    image.extend_from_slice(&log.number.to_le_bytes());
    image.extend_from_slice(&bounds.start.to_le_bytes());
    image.extend_from_slice(&bounds.end.to_le_bytes());
    let mut next = bounds.start;
    while next < bounds.end {
        let entries = storage.log_read(log, next..bounds.end, PAGE_BYTES)?;
        if entries.is_empty() {
            break;
        }
        next += entries.len() as u64;
        for entry in &entries {
            put_bytes(entry, image);
        }
        check(image.len(), room)?;
    }
    Ok(())
}

const fn check(bytes: usize, room: usize) -> Result<(), RecordingError> {
    if bytes <= room {
        return Ok(());
    }
    Err(RecordingError::TooShort {
        what: "the protocol's part of the store",
        bytes: bytes as u64,
        room: room as u64,
    })
}

/// A store that holds what `image` says; `None` when it says nothing sensible.
pub(super) fn restore(channel: Channel, mut image: &[u8]) -> Option<MemoryStorage> {
    let from = &mut image;
    let own = Subspace::of(channel);
    let storage = MemoryStorage::new();
    let mut batch = Batch::new();
    for _ in 0..u64_from(from)? {
        let key = bytes_from(from)?;
        own.put(&mut batch, key, bytes_from(from)?);
    }
    while !from.is_empty() {
        restore_log(channel, from, &mut batch)?;
    }
    storage.commit(&batch, Durability::Synced).ok()?;
    Some(storage)
}

fn restore_log(channel: Channel, from: &mut &[u8], batch: &mut Batch) -> Option<()> {
    let log = LogId::new(channel, u32_from(from)?);
    let (start, end) = (u64_from(from)?, u64_from(from)?);
    batch.discard(log, start);
    for index in start..end {
        let entry = bytes_from(from)?;
        batch.append_with(log, index, |to| to.extend_from_slice(entry));
    }
    Some(())
}
