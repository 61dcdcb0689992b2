//! All keys, and the bounds of all logs, as they were after one batch.
//!
//! A file of blocks, each with its length and a checksum over its number and bytes, so that a lost, doubled or swapped
//! block is seen. Replaying the segments from the checkpoint's batch on gives the present.

use std::ops::Range;

use bytes::Bytes;

use super::bytes::{Reader, put_string};
use super::error::{corrupt, failed, full_or_failed};
use super::record::{put_log, take_log};
use crate::batch::LogId;
use crate::storage::StorageError;
use crate::storage::files::{File, Files};
use crate::storage::memory::Keyspace;

const PREFIX: &str = "checkpoint-";
const NEW_NAME: &str = "checkpoint.new";
const MAGIC: &[u8; 8] = b"peabchk1";
/// A block is closed once it holds this much.
const BLOCK_BYTES: usize = 64 << 10;
/// Length and checksum.
const BLOCK_FIXED: usize = 8;
const KEY: u8 = 1;
const LOG: u8 = 2;

pub(super) fn name_of(number: u64) -> String {
    format!("{PREFIX}{number:010}")
}

pub(super) fn is_checkpoint(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// What a checkpoint restores.
#[derive(Debug, Default)]
pub(super) struct Checkpoint {
    /// The sequence of the last batch in it; 0 without a checkpoint.
    pub(super) base: u64,
    pub(super) keys: Keyspace,
    pub(super) bounds: Vec<(LogId, Range<u64>)>,
}

/// Writes checkpoint `number` and syncs it, under a name that does not count yet.
pub(super) fn prepare(
    files: &dyn Files,
    number: u64,
    base: u64,
    keys: &Keyspace,
    bounds: impl ExactSizeIterator<Item = (LogId, Range<u64>)>,
) -> Result<(), StorageError> {
    let outcome = files
        .create(NEW_NAME)
        .and_then(|file| {
            let mut blocks = Blocks::new(file.as_ref(), number);
            blocks.write_all(base, keys, bounds)?;
            file.sync_data()
        })
        .map_err(full_or_failed(files, NEW_NAME, "write"));
    if let Err(StorageError::Full { .. }) = outcome {
        // Give back what it took; the leftover does not count, so that failing here changes nothing.
        let _ = files.remove(NEW_NAME);
    }
    outcome
}

/// Gives the prepared checkpoint its name, durably.
pub(super) fn publish(files: &dyn Files, number: u64) -> Result<(), StorageError> {
    let name = name_of(number);
    files
        .rename(NEW_NAME, &name)
        .and_then(|()| files.sync())
        .map_err(failed(files, &name, "rename"))
}

struct Blocks<'a> {
    file: &'a dyn File,
    number: u64,
    index: u32,
    offset: u64,
    block: Vec<u8>,
}

impl<'a> Blocks<'a> {
    fn new(file: &'a dyn File, number: u64) -> Self {
        Self {
            file,
            number,
            index: 0,
            offset: 0,
            block: vec![0; BLOCK_FIXED],
        }
    }

    fn write_all(
        &mut self,
        base: u64,
        keys: &Keyspace,
        bounds: impl ExactSizeIterator<Item = (LogId, Range<u64>)>,
    ) -> std::io::Result<()> {
        self.block.extend_from_slice(MAGIC);
        self.block.extend_from_slice(&base.to_le_bytes());
        let records = keys.len() as u64 + bounds.len() as u64;
        self.block.extend_from_slice(&records.to_le_bytes());
        for (key, value) in keys.iter() {
            self.block.push(KEY);
            put_string(&mut self.block, key);
            put_string(&mut self.block, value);
            self.close_if_large()?;
        }
        for (log, bounds) in bounds {
            self.block.push(LOG);
            put_log(&mut self.block, log);
            self.block.extend_from_slice(&bounds.start.to_le_bytes());
            self.block.extend_from_slice(&bounds.end.to_le_bytes());
            self.close_if_large()?;
        }
        self.close()
    }

    fn close_if_large(&mut self) -> std::io::Result<()> {
        if self.block.len() < BLOCK_BYTES {
            return Ok(());
        }
        self.close()
    }

    fn close(&mut self) -> std::io::Result<()> {
        let Some((front, records)) = self.block.split_first_chunk_mut::<BLOCK_FIXED>() else {
            return Ok(());
        };
        let length = super::bytes::length32(records.len());
        let sum = checksum(self.number, self.index, length, records);
        let (length_place, sum_place) = front.split_at_mut(4);
        length_place.copy_from_slice(&length.to_le_bytes());
        sum_place.copy_from_slice(&sum.to_le_bytes());
        self.file.write_all_at(&self.block, self.offset)?;
        self.offset += self.block.len() as u64;
        self.index += 1;
        self.block.truncate(BLOCK_FIXED);
        Ok(())
    }
}

fn checksum(number: u64, index: u32, length: u32, records: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(&index.to_le_bytes());
    hasher.update(&length.to_le_bytes());
    hasher.update(records);
    hasher.finalize()
}

/// Reads checkpoint `number`.
pub(super) fn read(files: &dyn Files, number: u64) -> Result<Checkpoint, StorageError> {
    let name = name_of(number);
    let file = match files.open(&name) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(corrupt(files, &name, 0, "the file is missing"));
        }
        Err(error) => return Err(failed(files, &name, "open")(error)),
    };
    let length = file.length().map_err(failed(files, &name, "read"))?;
    let (mut offset, mut index) = (0, 0);
    let mut loaded = Loaded::default();
    while offset < length || index == 0 {
        let block = read_block(file.as_ref(), number, index, offset, length)
            .map_err(failed(files, &name, "read"))?;
        let taken = block.and_then(|block| {
            loaded.take(&block, index)?;
            Some((BLOCK_FIXED + block.len()) as u64)
        });
        let Some(taken) = taken else {
            return Err(corrupt(files, &name, offset, "a block does not decode"));
        };
        offset += taken;
        index += 1;
    }
    if loaded.records_left != 0 {
        return Err(corrupt(files, &name, length, "its last blocks are missing"));
    }
    Ok(loaded.checkpoint)
}

fn read_block(
    file: &dyn File,
    number: u64,
    index: u32,
    offset: u64,
    length: u64,
) -> std::io::Result<Option<Vec<u8>>> {
    let mut front = [0; BLOCK_FIXED];
    if file.read_at(&mut front, offset)? != BLOCK_FIXED {
        return Ok(None);
    }
    let mut reader = Reader::new(&front);
    let (Some(bytes), Some(sum)) = (reader.u32(), reader.u32()) else {
        return Ok(None);
    };
    if u64::from(bytes) > length - offset {
        return Ok(None);
    }
    let mut records = vec![0; bytes as usize];
    let read = file.read_at(&mut records, offset + BLOCK_FIXED as u64)?;
    let whole = read == records.len() && checksum(number, index, bytes, &records) == sum;
    Ok(whole.then_some(records))
}

#[derive(Default)]
struct Loaded {
    checkpoint: Checkpoint,
    records_left: u64,
}

impl Loaded {
    fn take(&mut self, block: &[u8], index: u32) -> Option<()> {
        let mut reader = Reader::new(block);
        if index == 0 {
            if reader.take(MAGIC.len())? != MAGIC {
                return None;
            }
            self.checkpoint.base = reader.u64()?;
            self.records_left = reader.u64()?;
        }
        while !reader.is_empty() {
            self.records_left = self.records_left.checked_sub(1)?;
            match reader.u8()? {
                KEY => {
                    let key = Bytes::copy_from_slice(reader.string()?);
                    let value = Bytes::copy_from_slice(reader.string()?);
                    self.checkpoint.keys.put(key, value);
                }
                LOG => {
                    let log = take_log(&mut reader)?;
                    let (start, end) = (reader.u64()?, reader.u64()?);
                    if start > end {
                        return None;
                    }
                    self.checkpoint.bounds.push((log, start..end));
                }
                _ => return None,
            }
        }
        Some(())
    }
}

/// Any bytes as the first block of a checkpoint, and as a later one.
pub(super) fn decode_any(block: &[u8]) {
    let mut loaded = Loaded::default();
    let _ = loaded.take(block, 0);
    loaded.records_left = u64::MAX;
    let _ = loaded.take(block, 1);
}
