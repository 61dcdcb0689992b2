//! The files that batches are written to, one behind the other.
//!
//! A segment is made under a spare's name, filled to its whole length and synced, so that commits overwrite blocks that
//! the file system has already given out: no room can run out under them, and their sync needs no journal. It gets its
//! header and its number when it is put to use. What a recycled file held before carries another segment's number and
//! is no frame of this one.

use std::io;
use std::sync::Arc;

use super::bytes::Reader;
use super::error::{corrupt, failed, full_or_failed};
use super::frame::SECTOR;
use super::manifest::FORMAT;
use crate::mutant::is_planted;
use crate::storage::StorageError;
use crate::storage::files::{File, Files};

const MAGIC: &[u8; 8] = b"peabseg1";
/// The header's sector and its copy.
pub(super) const HEADER_BYTES: usize = 2 * SECTOR;
/// What one commit at most fills of the next segment.
const FILL_BYTES: usize = 1 << 20;
const PREFIX: &str = "segment-";
const SPARE_PREFIX: &str = "spare-";

/// The number of a spare's name.
pub(super) fn serial_of(name: &str) -> Option<u64> {
    name.strip_prefix(SPARE_PREFIX)?.parse().ok()
}

fn spare_name(serial: u64) -> String {
    format!("{SPARE_PREFIX}{serial:010}")
}

pub(super) fn name_of(number: u32) -> String {
    format!("{PREFIX}{number:010}")
}

pub(super) fn number_of(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) number: u32,
    /// The sequence of its first frame. All before were synced; frames of earlier segments from it on do not count.
    pub(super) first_sequence: u64,
    /// The length of the file.
    pub(super) bytes: u64,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut sector = Vec::with_capacity(SECTOR);
        sector.extend_from_slice(MAGIC);
        sector.extend_from_slice(&FORMAT.to_le_bytes());
        sector.extend_from_slice(&self.number.to_le_bytes());
        sector.extend_from_slice(&self.first_sequence.to_le_bytes());
        sector.extend_from_slice(&self.bytes.to_le_bytes());
        sector.extend_from_slice(&crc32fast::hash(&sector).to_le_bytes());
        sector.resize(SECTOR, 0);
        let mut bytes = [0; HEADER_BYTES];
        for (to, from) in bytes.iter_mut().zip(sector.iter().cycle()) {
            *to = *from;
        }
        bytes
    }

    /// Reads the header or its copy. Total.
    pub(super) fn decode(segment: &[u8]) -> Option<Self> {
        Self::decode_one(segment).or_else(|| Self::decode_one(segment.get(SECTOR..)?))
    }

    fn decode_one(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let stamped = bytes.get(..MAGIC.len() + 24)?;
        if reader.take(MAGIC.len())? != MAGIC || reader.u32()? != FORMAT {
            return None;
        }
        let header = Self {
            number: reader.u32()?,
            first_sequence: reader.u64()?,
            bytes: reader.u64()?,
        };
        (reader.u32()? == crc32fast::hash(stamped)).then_some(header)
    }
}

/// An open segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u32,
    pub(super) bytes: u64,
    pub(super) file: Arc<dyn File>,
}

impl Segment {
    pub(super) fn name(&self) -> String {
        name_of(self.number)
    }

    /// Opens a live segment and reads all of it.
    pub(super) fn read(
        files: &dyn Files,
        number: u32,
    ) -> Result<(Self, Vec<u8>, Header), StorageError> {
        let name = name_of(number);
        let file = match files.open(&name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(corrupt(files, &name, 0, "the file is missing"));
            }
            Err(error) => return Err(failed(files, &name, "open")(error)),
        };
        let bytes =
            read_file(file.as_ref(), u64::from(u32::MAX)).map_err(failed(files, &name, "read"))?;
        let header = Header::decode(&bytes)
            .filter(|header| header.number == number)
            .ok_or_else(|| corrupt(files, &name, 0, "its header does not decode"))?;
        if header.bytes != bytes.len() as u64 {
            let reason = format!("it was {} bytes long", header.bytes);
            return Err(corrupt(files, &name, bytes.len() as u64, reason));
        }
        let segment = Self {
            number,
            bytes: header.bytes,
            file,
        };
        Ok((segment, bytes, header))
    }

    /// Writes those sectors of `body`, which belongs at `offset`, that differ from what was read: only damaged ones are
    /// at risk meanwhile.
    pub(super) fn mend(&self, read: &[u8], offset: usize, body: &[u8]) -> io::Result<()> {
        let found = read.get(offset..).unwrap_or_default();
        for (index, (right, found)) in body.chunks(SECTOR).zip(found.chunks(SECTOR)).enumerate() {
            if right != found {
                self.file
                    .write_all_at(right, (offset + index * SECTOR) as u64)?;
            }
        }
        self.file.sync_data()
    }
}

/// A file on its way to become a segment.
#[derive(Debug)]
pub(super) struct Spare {
    name: String,
    file: Arc<dyn File>,
    filled: u64,
}

impl Spare {
    /// A spare to be filled. One left over by an earlier process is filled anew: frames in it may carry the number
    /// that this one is going to have. The room it takes is kept, so that a full disk can be opened.
    pub(super) fn create(files: &dyn Files, serial: u64) -> Result<Self, StorageError> {
        let name = spare_name(serial);
        let file = match files.open(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => files.create(&name),
            opened => opened,
        }
        .map_err(full_or_failed(files, &name, "create"))?;
        let filled = if is_planted("storage_trust_old_spare") {
            file.length().unwrap_or(0)
        } else {
            0
        };
        Ok(Self { name, file, filled })
    }

    /// A freed segment to be used again: its blocks are given out already.
    pub(super) fn recycle(
        files: &dyn Files,
        serial: u64,
        segment: &Segment,
    ) -> Result<Self, StorageError> {
        let name = spare_name(serial);
        files
            .rename(&segment.name(), &name)
            .map_err(failed(files, &name, "rename"))?;
        Ok(Self {
            name,
            file: segment.file.clone(),
            filled: segment.bytes,
        })
    }

    /// How long the segment is going to be.
    pub(super) const fn bytes(&self) -> u64 {
        self.filled
    }

    /// Fills on towards `bytes`, one slice. Without room nothing is lost: the next call goes on.
    pub(super) fn fill(&mut self, files: &dyn Files, bytes: u64) -> Result<(), StorageError> {
        if self.filled >= bytes {
            return Ok(());
        }
        let slice =
            usize::try_from(bytes - self.filled).map_or(FILL_BYTES, |left| left.min(FILL_BYTES));
        let zeros = vec![0; slice];
        self.file
            .write_all_at(&zeros, self.filled)
            .and_then(|()| self.file.sync_data())
            .map_err(full_or_failed(files, &self.name, "fill"))?;
        self.filled += slice as u64;
        Ok(())
    }

    pub(super) fn fill_all(&mut self, files: &dyn Files, bytes: u64) -> Result<(), StorageError> {
        while self.filled < bytes {
            self.fill(files, bytes)?;
        }
        Ok(())
    }

    /// Gives up half of the room of a spare not filled yet.
    pub(super) fn halve(&self, files: &dyn Files) -> Result<(), StorageError> {
        let halve = || self.file.set_length(self.file.length()? / 2);
        halve().map_err(failed(files, &self.name, "cut"))
    }

    /// Gives up all of its room.
    pub(super) fn remove(self, files: &dyn Files) -> Result<(), StorageError> {
        files
            .remove(&self.name)
            .map_err(failed(files, &self.name, "remove"))
    }

    /// Writes `front` (a header, and frames in recovery) and syncs it. Still a spare.
    pub(super) fn write_front(&self, files: &dyn Files, front: &[u8]) -> Result<(), StorageError> {
        // A longer file of an earlier process may hold frames with this segment's number behind the zeros.
        let cut = || match self.file.length()? {
            length if length > self.filled => self.file.set_length(self.filled),
            _ => Ok(()),
        };
        cut()
            .and_then(|()| self.file.write_all_at(front, 0))
            .and_then(|()| self.file.sync_data())
            .map_err(failed(files, &self.name, "write"))
    }

    /// Gives the file its segment's name, durably.
    pub(super) fn publish(self, files: &dyn Files, number: u32) -> Result<Segment, StorageError> {
        let name = name_of(number);
        files
            .rename(&self.name, &name)
            .and_then(|()| match () {
                () if is_planted("storage_skip_folder_sync") => Ok(()),
                () => files.sync(),
            })
            .map_err(failed(files, &name, "rename"))?;
        Ok(Segment {
            number,
            bytes: self.filled,
            file: self.file,
        })
    }
}

/// All of a file that is at most `bytes_max` long.
pub(super) fn read_file(file: &dyn File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let length = file.length()?;
    let length = usize::try_from(length.min(bytes_max)).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_loss_of_either_sector() {
        let header = Header {
            number: 7,
            first_sequence: 99,
            bytes: 4096,
        };
        let whole = header.encode();
        for sector in 0..2 {
            let mut damaged = whole;
            damaged[sector * SECTOR..(sector + 1) * SECTOR].fill(0xff);
            assert_eq!(Header::decode(&damaged), Some(header));
        }
        assert_eq!(Header::decode(&[0; HEADER_BYTES]), None);
        assert_eq!(number_of(&name_of(7)), Some(7));
    }
}
