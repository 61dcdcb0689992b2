//! Whose folder it is, and which of its files count.
//!
//! The manifest is replaced as a whole (written beside, synced, renamed, folder synced) whenever a segment is added or
//! freed or a checkpoint is made. A file it does not name is left over from a crash; a file it names and that is not
//! there was lost.

use super::bytes::{Reader, put_string};
use super::error::{corrupt, failed, full_or_failed};
use crate::storage::StorageError;
use crate::storage::files::Files;

pub(super) const NAME: &str = "manifest";
const NEW_NAME: &str = "manifest.new";
const MAGIC: &[u8; 8] = b"peaberry";
/// The newest format of the folder that this build reads and the one it writes.
pub(super) const FORMAT: u32 = 1;
/// Magic, format and their checksum: the part that never changes its shape.
const FRONT_BYTES: usize = 16;
const BYTES_MAX: u64 = 1 << 17;

/// What the manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) owner: String,
    /// The live segments: all from `first` to `last`; none when `last` is below.
    pub(super) first: u32,
    pub(super) last: u32,
    /// The checkpoint that counts; 0 for none.
    pub(super) checkpoint: u64,
}

impl Manifest {
    pub(super) const fn new(owner: String) -> Self {
        Self {
            owner,
            first: 1,
            last: 0,
            checkpoint: 0,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        let mut body = Vec::new();
        put_string(&mut body, self.owner.as_bytes());
        body.extend_from_slice(&self.first.to_le_bytes());
        body.extend_from_slice(&self.last.to_le_bytes());
        body.extend_from_slice(&self.checkpoint.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Reads the folder's manifest; `None` without one.
    pub(super) fn read(files: &dyn Files) -> Result<Option<Self>, StorageError> {
        let file = match files.open(NAME) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(files, NAME, "open")(error)),
        };
        let read = failed(files, NAME, "read");
        let bytes = super::segment::read_file(file.as_ref(), BYTES_MAX).map_err(read)?;
        decode(&bytes)
            .map(Some)
            .map_err(|refused| refused.into_error(files))
    }

    /// Writes `self` beside the manifest that counts, for [`publish`](Self::publish). Nothing changes.
    pub(super) fn prepare(&self, files: &dyn Files) -> Result<(), StorageError> {
        let write = || {
            let file = files.create(NEW_NAME)?;
            file.write_all_at(&self.encode(), 0)?;
            file.sync_data()
        };
        write().map_err(full_or_failed(files, NEW_NAME, "write"))
    }

    /// Makes the prepared manifest the one that counts.
    pub(super) fn publish(files: &dyn Files) -> Result<(), StorageError> {
        files
            .rename(NEW_NAME, NAME)
            .and_then(|()| files.sync())
            .map_err(failed(files, NAME, "replace"))
    }
}

enum Refused {
    Newer(u32),
    Corrupt(&'static str),
}

impl Refused {
    fn into_error(self, files: &dyn Files) -> StorageError {
        match self {
            Self::Newer(found) => StorageError::NewerFormat {
                path: files.path().to_path_buf(),
                found,
                supported: FORMAT,
            },
            Self::Corrupt(reason) => corrupt(files, NAME, 0, reason),
        }
    }
}

fn decode(bytes: &[u8]) -> Result<Manifest, Refused> {
    let (front, rest) = bytes
        .split_at_checked(FRONT_BYTES)
        .ok_or(Refused::Corrupt("too short"))?;
    let (stamped, checksum) = front.split_at(FRONT_BYTES - 4);
    if checksum != crc32fast::hash(stamped).to_le_bytes() || !stamped.starts_with(MAGIC) {
        return Err(Refused::Corrupt("its front has another checksum"));
    }
    let format = Reader::new(stamped.get(MAGIC.len()..).unwrap_or_default()).u32();
    if let Some(format) = format
        && format > FORMAT
    {
        return Err(Refused::Newer(format));
    }
    let (checksum, body) = rest
        .split_at_checked(4)
        .ok_or(Refused::Corrupt("too short"))?;
    if checksum != crc32fast::hash(body).to_le_bytes() {
        return Err(Refused::Corrupt("its body has another checksum"));
    }
    decode_body(body).ok_or(Refused::Corrupt("its body does not decode"))
}

/// Any bytes as a manifest, and as what lies behind its checksums.
pub(super) fn decode_any(bytes: &[u8]) {
    let _ = decode(bytes);
    let _ = decode_body(bytes);
}

fn decode_body(body: &[u8]) -> Option<Manifest> {
    let mut reader = Reader::new(body);
    let manifest = Manifest {
        owner: String::from_utf8(reader.string()?.to_vec()).ok()?,
        first: reader.u32()?,
        last: reader.u32()?,
        checkpoint: reader.u64()?,
    };
    reader.is_empty().then_some(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_format_is_named_whatever_follows_it() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&(FORMAT + 6).to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes.extend_from_slice(b"of another shape");
        let files = crate::simulation::files::SimulatedFiles::new(1);
        files.create(NAME).unwrap().write_all_at(&bytes, 0).unwrap();
        let outcome = Manifest::read(&files);
        let Err(StorageError::NewerFormat {
            found, supported, ..
        }) = outcome
        else {
            panic!("{outcome:?}");
        };
        assert_eq!((found, supported), (FORMAT + 6, FORMAT));
    }

    #[test]
    fn every_flipped_byte_is_refused() {
        let manifest = Manifest {
            owner: "cluster-a peer-3".into(),
            first: 4,
            last: 9,
            checkpoint: 2,
        };
        let bytes = manifest.encode();
        assert_eq!(decode(&bytes).ok(), Some(manifest));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert!(matches!(decode(&flipped), Err(Refused::Corrupt(_))));
            assert!(decode(&bytes[..at]).is_err());
        }
    }
}
