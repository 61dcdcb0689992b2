//! From the files of a folder to a store that goes on.
//!
//! Opening writes nothing into live segments but damaged sectors made right again. Batches known to be synced are used where they lie; the rest of the last
//! segment, which may be only in the system's cache, is copied to a new segment and synced there, and the new
//! segment's header ends the old one. So a power loss while opening damages nothing, nothing torn is ever appended
//! to, and pages whose sync failed in an earlier process (and which the system now calls clean) are written again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::checkpoint::{self, Checkpoint};
use super::error::{corrupt, failed};
use super::frame::{self, FrameBuffer, Head, Shape};
use super::manifest::{self, Manifest};
use super::replay::{Misfit, Replay};
use super::segment::{self, HEADER_BYTES, Header, Segment, Spare};
use super::tables::Tables;
use super::writer::{Position, SPARES_MAX, Writer};
use super::{DiskOptions, Recovery};
use crate::mutant::is_planted;
use crate::storage::StorageError;
use crate::storage::files::{Files, FolderLock};

/// Room for new batches in the segment made at opening, when the disk has none for a whole one.
const ROOM_BYTES_MIN: u64 = 4 << 10;

/// Opens the folder.
pub(super) fn open(
    files: Arc<dyn Files>,
    options: DiskOptions,
) -> Result<(Writer, Tables, Recovery), StorageError> {
    let lock = lock(files.as_ref())?;
    let manifest = identify(files.as_ref(), &options)?;
    let serials = remove_leftovers(files.as_ref(), &manifest)?;
    let mut spares = Vec::new();
    for serial in serials {
        spares.push((serial, Spare::create(files.as_ref(), serial)?));
    }
    if spares.is_empty() {
        spares.push((0, Spare::create(files.as_ref(), 0)?));
    }
    let mut scan = Scan::new(files.as_ref(), &manifest)?;
    scan.run(&manifest)?;
    let Scan {
        mut replay,
        segments,
        ends,
        tail,
        next_sequence,
        base,
        proven,
        recovery,
        ..
    } = scan;

    let manifest = Manifest {
        last: manifest.last + 1,
        ..manifest
    };
    let (active, used) = copy_tail(
        files.as_ref(),
        &options,
        &manifest,
        &mut spares,
        &tail,
        proven,
        |copied| {
            replay.apply(
                copied.sequence,
                copied.payload,
                manifest.last,
                copied.offset,
            )
        },
    )?;
    let active = Arc::new(active);
    let (keys, index) = replay
        .finish()
        .map_err(|reason| corrupt(files.as_ref(), manifest::NAME, 0, reason))?;
    let mut tables = Tables {
        keys,
        index,
        segments,
    };
    tables.segments.insert(active.number, active.clone());
    let at = Position {
        next_sequence,
        synced: next_sequence - 1,
        base,
        used,
    };
    let writer = Writer {
        files,
        options,
        manifest,
        active,
        ends,
        at,
        spares,
        since_checkpoint: 0,
        checkpoint_delay: 0,
        frame: FrameBuffer::default(),
        poisoned: false,
        _lock: lock,
    };
    Ok((writer, tables, recovery))
}

fn lock(files: &dyn Files) -> Result<FolderLock, StorageError> {
    files
        .lock()
        .map_err(failed(files, "", "lock"))?
        .ok_or_else(|| StorageError::InUse {
            path: files.path().to_path_buf(),
        })
}

/// The manifest, if the folder is ours; a new one in an empty folder.
fn identify(files: &dyn Files, options: &DiskOptions) -> Result<Manifest, StorageError> {
    match Manifest::read(files)? {
        Some(manifest) if manifest.owner == options.owner => Ok(manifest),
        Some(manifest) => Err(StorageError::ForeignFolder {
            path: files.path().to_path_buf(),
            found: manifest.owner,
            expected: options.owner.clone(),
        }),
        None => {
            let names = files.list().map_err(failed(files, "", "list"))?;
            let counts = |name: &String| {
                segment::number_of(name).is_some() || checkpoint::is_checkpoint(name)
            };
            if let Some(name) = names.iter().find(|name| counts(name)) {
                let reason = format!("the file is missing, but {name} is there");
                return Err(corrupt(files, manifest::NAME, 0, reason));
            }
            let manifest = Manifest::new(options.owner.clone());
            manifest.prepare(files)?;
            Manifest::publish(files)?;
            Ok(manifest)
        }
    }
}

/// Removes what a crash left half done or freed. The serials of the spares, which stay: their room is used again.
fn remove_leftovers(files: &dyn Files, manifest: &Manifest) -> Result<Vec<u64>, StorageError> {
    let mut spares = Vec::new();
    let names = files.list().map_err(failed(files, "", "list"))?;
    for name in names {
        let leftover = if let Some(number) = segment::number_of(&name) {
            !(manifest.first..=manifest.last).contains(&number)
        } else if let Some(serial) = segment::serial_of(&name) {
            let kept = serial < SPARES_MAX as u64;
            spares.extend(kept.then_some(serial));
            !kept
        } else {
            checkpoint::is_checkpoint(&name)
                && (manifest.checkpoint == 0 || name != checkpoint::name_of(manifest.checkpoint))
        };
        if leftover {
            files
                .remove(&name)
                .map_err(failed(files, &name, "remove"))?;
        }
    }
    Ok(spares)
}

/// A batch that may not be durable where it was found.
#[derive(Debug)]
struct Unproven {
    sequence: u64,
    payload: Vec<u8>,
}

struct Scan<'f> {
    files: &'f dyn Files,
    replay: Replay,
    segments: BTreeMap<u32, Arc<Segment>>,
    /// The last sequence of each segment.
    ends: BTreeMap<u32, u64>,
    tail: Vec<Unproven>,
    next_sequence: u64,
    base: u64,
    /// Every batch up to here was synced, by the word of a checkpoint, a header or a later frame.
    proven: u64,
    recovery: Recovery,
}

impl<'f> Scan<'f> {
    fn new(files: &'f dyn Files, manifest: &Manifest) -> Result<Self, StorageError> {
        let checkpoint = match manifest.checkpoint {
            0 => Checkpoint::default(),
            number => checkpoint::read(files, number)?,
        };
        let base = checkpoint.base;
        Ok(Self {
            files,
            replay: Replay::new(checkpoint),
            segments: BTreeMap::new(),
            ends: BTreeMap::new(),
            tail: Vec::new(),
            next_sequence: base + 1,
            base,
            proven: base,
            recovery: Recovery::default(),
        })
    }

    fn run(&mut self, manifest: &Manifest) -> Result<(), StorageError> {
        let mut following: Option<(Segment, Vec<u8>, Header)> = None;
        for number in manifest.first..=manifest.last {
            let (segment, bytes, header) = match following.take() {
                Some(read) => read,
                None => Segment::read(self.files, number)?,
            };
            if number == manifest.first {
                self.begin(&header)?;
            }
            self.proven = self.proven.max(header.first_sequence - 1);
            let limit = if number == manifest.last {
                let said = frame::synced_according_to(&bytes, number, HEADER_BYTES);
                self.proven = self.proven.max(said);
                None
            } else {
                let next = Segment::read(self.files, number + 1)?;
                let limit = next.2.first_sequence;
                following = Some(next);
                Some(limit)
            };
            self.segment(&segment, &bytes, limit)?;
            self.ends.insert(number, self.end_of_proven(limit));
            self.segments.insert(number, Arc::new(segment));
        }
        if self.next_sequence <= self.proven {
            let reason = format!("batch {} was synced and is missing", self.next_sequence);
            return Err(corrupt(self.files, manifest::NAME, 0, reason));
        }
        Ok(())
    }

    fn end_of_proven(&self, limit: Option<u64>) -> u64 {
        limit.map_or(self.proven, |limit| limit - 1)
    }

    fn begin(&mut self, header: &Header) -> Result<(), StorageError> {
        if header.first_sequence == 0 || header.first_sequence > self.base + 1 {
            let reason = format!(
                "its first batch is {}, the one after the checkpoint is {}",
                header.first_sequence,
                self.base + 1
            );
            return Err(corrupt(
                self.files,
                &segment::name_of(header.number),
                0,
                reason,
            ));
        }
        self.next_sequence = header.first_sequence;
        Ok(())
    }

    /// Takes the frames of one segment; those from `limit` on were copied to the next one.
    fn segment(
        &mut self,
        segment: &Segment,
        bytes: &[u8],
        limit: Option<u64>,
    ) -> Result<(), StorageError> {
        let mut offset = HEADER_BYTES;
        while limit.is_none_or(|limit| self.next_sequence < limit) {
            let must_be_there = limit.is_some() || self.next_sequence <= self.proven;
            let trusted = must_be_there || is_planted("storage_trust_page_cache");
            let found = frame::find(bytes, segment.number, offset)
                .filter(|frame| frame.head.sequence == self.next_sequence);
            let Some(frame) = found else {
                if must_be_there {
                    let reason = format!("synced batch {} does not decode", self.next_sequence);
                    return Err(corrupt(self.files, &segment.name(), offset as u64, reason));
                }
                break;
            };
            self.take(segment, bytes, offset, &frame, trusted)?;
            offset += frame.frame_bytes;
            self.next_sequence += 1;
        }
        Ok(())
    }

    fn take(
        &mut self,
        segment: &Segment,
        bytes: &[u8],
        offset: usize,
        frame: &frame::Frame<'_>,
        synced: bool,
    ) -> Result<(), StorageError> {
        self.recovery.mended_batches += u64::from(frame.mended.is_some());
        if !synced {
            self.recovery.copied_batches += 1;
            self.tail.push(Unproven {
                sequence: frame.head.sequence,
                payload: frame.payload.to_vec(),
            });
            return Ok(());
        }
        if let Some(body) = &frame.mended {
            segment.mend(bytes, offset, body).map_err(failed(
                self.files,
                &segment.name(),
                "mend",
            ))?;
        }
        let head_bytes = Shape::of(frame.payload.len()).head_bytes;
        let payload_offset = super::bytes::length32(offset + head_bytes);
        self.replay
            .apply(
                frame.head.sequence,
                &frame.payload,
                segment.number,
                payload_offset,
            )
            .map_err(|reason| corrupt(self.files, &segment.name(), offset as u64, reason))
    }
}

/// A batch at its new place.
struct Copied<'a> {
    sequence: u64,
    payload: &'a [u8],
    /// Of the payload.
    offset: u32,
}

/// Makes the segment that the store goes on in, with the unproven batches at its front. It, and where it ends.
fn copy_tail(
    files: &dyn Files,
    options: &DiskOptions,
    manifest: &Manifest,
    spares: &mut Vec<(u64, Spare)>,
    tail: &[Unproven],
    proven: u64,
    mut apply: impl FnMut(Copied<'_>) -> Result<(), Misfit>,
) -> Result<(Segment, u64), StorageError> {
    let mut front = vec![0; HEADER_BYTES];
    let mut buffer = FrameBuffer::default();
    for batch in tail {
        let head = Head {
            segment: manifest.last,
            offset: super::bytes::length32(front.len()),
            sequence: batch.sequence,
            synced: proven,
            payload_bytes: super::bytes::length32(batch.payload.len()),
        };
        buffer.fill(batch.payload.len(), |bytes| {
            bytes.extend_from_slice(&batch.payload)
        });
        let head_bytes = Shape::of(batch.payload.len()).head_bytes;
        let copied = Copied {
            sequence: batch.sequence,
            payload: &batch.payload,
            offset: head.offset + super::bytes::length32(head_bytes),
        };
        apply(copied)
            .map_err(|reason| corrupt(files, &segment::name_of(manifest.last), 0, reason))?;
        front.extend_from_slice(buffer.seal(&head));
    }
    let mut spare = prepare(files, manifest, spares)?;
    make_room(files, options, &mut spare, front.len() as u64)?;
    let header = Header {
        number: manifest.last,
        first_sequence: proven + 1,
        bytes: spare.bytes(),
    };
    if let Some(place) = front.first_chunk_mut() {
        *place = header.encode();
    }
    spare.write_front(files, &front)?;
    let segment = spare.publish(files, manifest.last)?;
    Manifest::publish(files)?;
    Ok((segment, front.len() as u64))
}

/// Prepares the manifest, on a full disk in room that a spare gives up. The spare to go on in.
fn prepare(
    files: &dyn Files,
    manifest: &Manifest,
    spares: &mut Vec<(u64, Spare)>,
) -> Result<Spare, StorageError> {
    let (_, spare) = spares.remove(0);
    match manifest.prepare(files) {
        Err(StorageError::Full { .. }) => {
            match spares.pop() {
                Some((_, reserve)) => reserve.remove(files)?,
                None => spare.halve(files)?,
            }
            manifest.prepare(files)?;
        }
        prepared => prepared?,
    }
    Ok(spare)
}

/// Fills `spare` to a whole segment with room for `bytes`, or to as much as the disk still has.
fn make_room(
    files: &dyn Files,
    options: &DiskOptions,
    spare: &mut Spare,
    bytes: u64,
) -> Result<(), StorageError> {
    let wanted = options.segment_bytes.max(bytes);
    match spare.fill_all(files, wanted) {
        Err(StorageError::Full { .. }) => {
            let least = (bytes + ROOM_BYTES_MIN).min(wanted);
            spare.fill_all(files, least)
        }
        filled => filled,
    }
}
