//! How one batch lies in a segment, so that any one damaged sector of it can be mended.
//!
//! ```text
//! body    head: magic, checksum, segment, offset, sequence, synced, payload length, one checksum for each sector
//!         payload, padded with zeros to a whole sector
//! parity  one sector: the XOR of the body's sectors
//! copy    the head again, padded; only when the body has more than one sector
//! ```
//! A body of one sector is its own parity: it lies there twice.

use std::borrow::Cow;

use super::bytes::Reader;
use crate::mutant::is_planted;

/// What disks write as a whole. Frames begin on it, so that no later write touches the sectors of a synced frame.
pub(super) const SECTOR: usize = 512;
const MAGIC: u32 = u32::from_le_bytes(*b"pbf1");
/// The head without its table of sector checksums.
const HEAD_FIXED: usize = 36;
const CHECKSUM_BYTES: usize = 4;
/// What a frame's payload may be at most: sizes and offsets stay within 32 bits.
pub(super) const PAYLOAD_BYTES_MAX: usize = 1 << 30;

/// What a frame says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) segment: u32,
    /// Where in the segment the frame begins; tells a head from its copy and from a misdirected write.
    pub(super) offset: u32,
    pub(super) sequence: u64,
    /// Every frame up to this sequence was synced when this one was written.
    pub(super) synced: u64,
    pub(super) payload_bytes: u32,
}

/// The sizes that follow from a payload's length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    sectors: usize,
    pub(super) head_bytes: usize,
    pub(super) frame_bytes: usize,
}

impl Shape {
    pub(super) fn of(payload_bytes: usize) -> Self {
        let sectors = (HEAD_FIXED + payload_bytes).div_ceil(SECTOR - CHECKSUM_BYTES);
        let head_bytes = HEAD_FIXED + CHECKSUM_BYTES * sectors;
        let copy_bytes = if sectors > 1 {
            head_bytes.next_multiple_of(SECTOR)
        } else {
            0
        };
        Self {
            sectors,
            head_bytes,
            frame_bytes: (sectors + 1) * SECTOR + copy_bytes,
        }
    }

    const fn body_bytes(&self) -> usize {
        self.sectors * SECTOR
    }
}

/// A reusable buffer in which frames are built.
#[derive(Debug, Default)]
pub(super) struct FrameBuffer {
    bytes: Vec<u8>,
    head_bytes: usize,
    head: Vec<u8>,
}

impl FrameBuffer {
    /// Begins a frame; `write` adds exactly `payload_bytes`.
    pub(super) fn fill(&mut self, payload_bytes: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.head_bytes = Shape::of(payload_bytes).head_bytes;
        self.bytes.clear();
        self.bytes.resize(self.head_bytes, 0);
        write(&mut self.bytes);
        assert_eq!(
            self.bytes.len(),
            self.head_bytes + payload_bytes,
            "a payload has its announced length"
        );
    }

    /// Adds everything but the payload. The whole frame.
    pub(super) fn seal(&mut self, head: &Head) -> &[u8] {
        let shape = Shape::of(head.payload_bytes as usize);
        self.bytes.resize(shape.body_bytes(), 0);
        self.head.clear();
        encode_head(head, &self.bytes, &shape, &mut self.head);
        let (front, _) = self.bytes.split_at_mut(shape.head_bytes);
        front.copy_from_slice(&self.head);
        let parity = parity_of(&self.bytes);
        self.bytes.extend_from_slice(&parity);
        if shape.sectors > 1 {
            self.bytes.extend_from_slice(&self.head);
        }
        self.bytes.resize(shape.frame_bytes, 0);
        &self.bytes
    }

    pub(super) fn payload(&self, payload_bytes: usize) -> &[u8] {
        let end = self.head_bytes + payload_bytes;
        self.bytes.get(self.head_bytes..end).unwrap_or_default()
    }
}

fn encode_head(head: &Head, body: &[u8], shape: &Shape, into: &mut Vec<u8>) {
    into.extend_from_slice(&MAGIC.to_le_bytes());
    into.extend_from_slice(&[0; CHECKSUM_BYTES]);
    into.extend_from_slice(&head.segment.to_le_bytes());
    into.extend_from_slice(&head.offset.to_le_bytes());
    into.extend_from_slice(&head.sequence.to_le_bytes());
    into.extend_from_slice(&head.synced.to_le_bytes());
    into.extend_from_slice(&head.payload_bytes.to_le_bytes());
    for index in 0..shape.sectors {
        into.extend_from_slice(&sector_checksum(body, index, shape.head_bytes).to_le_bytes());
    }
    let checksum = head_checksum(into);
    if let Some(place) = into.get_mut(4..8) {
        place.copy_from_slice(&checksum.to_le_bytes());
    }
}

fn head_checksum(head: &[u8]) -> u32 {
    crc32fast::hash(head.get(8..).unwrap_or_default())
}

/// Of the part of the body's sector behind the head, which has a checksum of its own.
fn sector_checksum(body: &[u8], index: usize, head_bytes: usize) -> u32 {
    let from = (index * SECTOR).max(head_bytes);
    crc32fast::hash(body.get(from..(index + 1) * SECTOR).unwrap_or_default())
}

fn parity_of(body: &[u8]) -> [u8; SECTOR] {
    let (sectors, _) = body.as_chunks::<SECTOR>();
    let mut parity = [0; SECTOR];
    for sector in sectors {
        for (sum, byte) in parity.iter_mut().zip(sector) {
            *sum ^= byte;
        }
    }
    parity
}

/// A frame found whole, or made whole again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) head: Head,
    pub(super) payload: Cow<'a, [u8]>,
    /// The frame's bytes in the segment.
    pub(super) frame_bytes: usize,
    /// The frame's body as it should be, if some of it was not.
    pub(super) mended: Option<Vec<u8>>,
}

/// The frame at `offset` of segment `number`, whose first bytes are `segment`; `None` if it is not there or beyond
/// mending. Total: any bytes may be given.
pub(super) fn find(segment: &[u8], number: u32, offset: usize) -> Option<Frame<'_>> {
    let head_of = |at: usize| {
        let (head, table) = decode_head(segment.get(at..)?, number)?;
        (head.offset as usize == offset).then_some((head, table))
    };
    let (found_at, (head, table)) = (offset..segment.len())
        .step_by(SECTOR)
        .find_map(|at| head_of(at).map(|found| (at, found)))?;
    let shape = Shape::of(head.payload_bytes as usize);
    let body = segment.get(offset..offset.checked_add(shape.body_bytes())?)?;
    let mut damaged = (0..shape.sectors).zip(table).filter_map(|(index, sum)| {
        (sector_checksum(body, index, shape.head_bytes) != u32::from_le_bytes(*sum))
            .then_some(index)
    });
    let encoded = segment.get(found_at..found_at + shape.head_bytes)?;
    let mended = match (damaged.next(), damaged.next()) {
        (None, _) if found_at == offset => None,
        (None, _) => Some(with_head(body, encoded)?),
        (Some(index), None) => {
            let parity = segment.get(offset + shape.body_bytes()..)?.get(..SECTOR)?;
            Some(mend(
                with_head(body, encoded)?,
                parity,
                &shape,
                index,
                table,
            )?)
        }
        (Some(_), Some(_)) if is_planted("storage_accept_torn_frame") => None,
        (Some(_), Some(_)) => return None,
    };
    let payload_range = shape.head_bytes..shape.head_bytes + head.payload_bytes as usize;
    let payload = match &mended {
        None => Cow::Borrowed(body.get(payload_range)?),
        Some(mended) => Cow::Owned(mended.get(payload_range)?.to_vec()),
    };
    Some(Frame {
        head,
        payload,
        frame_bytes: shape.frame_bytes,
        mended,
    })
}

/// The body with the head that was found whole, there or in the copy.
fn with_head(body: &[u8], head: &[u8]) -> Option<Vec<u8>> {
    let mut body = body.to_vec();
    body.get_mut(..head.len())?.copy_from_slice(head);
    Some(body)
}

/// The body with its sector `index` recomputed from the others, if that is what it was.
fn mend(
    mut body: Vec<u8>,
    parity: &[u8],
    shape: &Shape,
    index: usize,
    table: &[[u8; CHECKSUM_BYTES]],
) -> Option<Vec<u8>> {
    let at = index * SECTOR;
    body.get_mut(at..at + SECTOR)?.fill(0);
    let others = parity_of(&body);
    let sector = body.get_mut(at..at + SECTOR)?;
    for ((byte, parity), other) in sector.iter_mut().zip(parity).zip(others) {
        *byte = parity ^ other;
    }
    let right = u32::from_le_bytes(*table.get(index)?);
    (sector_checksum(&body, index, shape.head_bytes) == right).then_some(body)
}

/// The highest sequence that any head at `offset` or behind says was synced; 0 without one.
pub(super) fn synced_according_to(segment: &[u8], number: u32, offset: usize) -> u64 {
    (offset..segment.len())
        .step_by(SECTOR)
        .filter_map(|at| decode_head(segment.get(at..)?, number))
        .map(|(head, _)| head.synced)
        .filter(|_| !is_planted("storage_ignore_claims"))
        .max()
        .unwrap_or(0)
}

fn decode_head(bytes: &[u8], number: u32) -> Option<(Head, &[[u8; CHECKSUM_BYTES]])> {
    let mut reader = Reader::new(bytes);
    if reader.u32()? != MAGIC {
        return None;
    }
    let checksum = reader.u32()?;
    let head = Head {
        segment: reader.u32()?,
        offset: reader.u32()?,
        sequence: reader.u64()?,
        synced: reader.u64()?,
        payload_bytes: reader.u32()?,
    };
    if head.segment != number || head.payload_bytes as usize > PAYLOAD_BYTES_MAX {
        return None;
    }
    let shape = Shape::of(head.payload_bytes as usize);
    let encoded = bytes.get(..shape.head_bytes)?;
    let (table, _) = encoded.get(HEAD_FIXED..)?.as_chunks();
    (head_checksum(encoded) == checksum).then_some((head, table))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8], offset: u32) -> Vec<u8> {
        let mut buffer = FrameBuffer::default();
        buffer.fill(payload.len(), |bytes| bytes.extend_from_slice(payload));
        let head = Head {
            segment: 3,
            offset,
            sequence: 8,
            synced: 7,
            payload_bytes: u32::try_from(payload.len()).unwrap(),
        };
        buffer.seal(&head).to_vec()
    }

    fn payload(bytes: usize) -> Vec<u8> {
        let mut rng = fastrand::Rng::with_seed(7);
        std::iter::repeat_with(|| rng.u8(..)).take(bytes).collect()
    }

    // Any one sector of a frame may be lost, whatever the frame's size.
    #[test]
    fn any_one_damaged_sector_is_mended() {
        for bytes in [0, 1, 471, 472, 473, 4096, 66_000] {
            let payload = payload(bytes);
            let whole = frame(&payload, 0);
            assert_eq!(whole.len() % SECTOR, 0);
            for sector in 0..whole.len() / SECTOR {
                for fill in [0, 0x5a] {
                    let mut damaged = whole.clone();
                    damaged[sector * SECTOR..(sector + 1) * SECTOR].fill(fill);
                    let found = find(&damaged, 3, 0).expect("mended");
                    assert_eq!(found.payload, payload, "{bytes} bytes, sector {sector}");
                }
            }
        }
    }

    #[test]
    fn two_damaged_payload_sectors_are_not_a_frame() {
        let mut damaged = frame(&payload(4096), 0);
        damaged[700] ^= 1;
        damaged[1400] ^= 1;
        assert_eq!(find(&damaged, 3, 0), None);
        assert_eq!(synced_according_to(&damaged, 3, 0), 7);
    }

    #[test]
    fn a_frame_of_another_place_or_segment_is_not_found() {
        let bytes = frame(b"payload", 512);
        assert_eq!(find(&bytes, 3, 0), None);
        let bytes = frame(b"payload", 0);
        assert_eq!(find(&bytes, 4, 0), None);
        assert!(find(&bytes, 3, 0).is_some());
    }
}
