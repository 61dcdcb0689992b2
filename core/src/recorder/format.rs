//! The bytes of a recording; see the module above for the layout.

use std::sync::Arc;

use bytes::Bytes;

use crate::peer::{Channel, PeerId, ProtocolId};
use crate::protocol::{Input, ReadId, Turn};
use crate::storage::StorageError;
use crate::transport::Envelope;

const MAGIC: &[u8; 8] = b"PBFLIGHT";
const VERSION: u16 = 1;
pub(super) const HEADER_BYTES: usize = 40;
const FRAME_BYTES: usize = 8;

const IMAGE: u8 = 1;
const CHECKPOINT: u8 = 2;
const CONTINUES: u8 = 3;
const TURN: u8 = 4;
const EFFECTS: u8 = 5;
const FAILED: u8 = 6;
const INPUT: u8 = 7;

const COMMITTED: u8 = 1;
const READ: u8 = 2;
const READ_FAILED: u8 = 3;
const UNREACHABLE: u8 = 4;
const MESSAGE: u8 = 5;
const COMMAND: u8 = 6;
const TIMEOUT: u8 = 7;

/// One record of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// The protocol's part of the store.
    Image(&'a [u8]),
    /// The protocol's own account of its state.
    Checkpoint(&'a [u8]),
    /// The half goes on where the other ended.
    Continues,
    /// A turn begins.
    Turn { now: u64, turn: u64 },
    /// An input of the turn.
    Input(&'a [u8]),
    /// The turn has ended well.
    Effects {
        digest: u64,
        events: u64,
        events_after_commit: u64,
    },
    /// The turn has ended with the protocol's error.
    Failed(&'a [u8]),
}

impl<'a> Record<'a> {
    pub(super) fn encode(&self, to: &mut Vec<u8>) {
        let mut put = |kind: u8, numbers: &[u64], bytes: &[u8]| {
            to.push(kind);
            for number in numbers {
                to.extend_from_slice(&number.to_le_bytes());
            }
            to.extend_from_slice(bytes);
        };
        match *self {
            Self::Image(image) => put(IMAGE, &[], image),
            Self::Checkpoint(checkpoint) => put(CHECKPOINT, &[], checkpoint),
            Self::Continues => put(CONTINUES, &[], &[]),
            Self::Turn { now, turn } => put(TURN, &[now, turn], &[]),
            Self::Input(input) => put(INPUT, &[], input),
            Self::Effects {
                digest,
                events,
                events_after_commit,
            } => put(EFFECTS, &[digest, events, events_after_commit], &[]),
            Self::Failed(error) => put(FAILED, &[], error),
        }
    }

    pub(super) fn decode(mut body: &'a [u8]) -> Option<Self> {
        let from = &mut body;
        let record = match u8_from(from)? {
            IMAGE => Self::Image(std::mem::take(from)),
            CHECKPOINT => Self::Checkpoint(std::mem::take(from)),
            CONTINUES => Self::Continues,
            TURN => Self::Turn {
                now: u64_from(from)?,
                turn: u64_from(from)?,
            },
            INPUT => Self::Input(std::mem::take(from)),
            EFFECTS => Self::Effects {
                digest: u64_from(from)?,
                events: u64_from(from)?,
                events_after_commit: u64_from(from)?,
            },
            FAILED => Self::Failed(std::mem::take(from)),
            _ => return None,
        };
        from.is_empty().then_some(record)
    }
}

/// Adds an input record's body.
pub(super) fn encode_input<C>(
    input: &Input<C>,
    encode_command: impl FnOnce(&C, &mut Vec<u8>),
    to: &mut Vec<u8>,
) {
    to.push(INPUT);
    match input {
        Input::Committed(turn) => {
            to.push(COMMITTED);
            to.extend_from_slice(&turn.get().to_le_bytes());
        }
        Input::Read(id, Ok(entries)) => {
            to.push(READ);
            to.extend_from_slice(&id.0.to_le_bytes());
            for entry in entries {
                put_bytes(entry, to);
            }
        }
        Input::Read(id, Err(error)) => {
            to.push(READ_FAILED);
            to.extend_from_slice(&id.0.to_le_bytes());
            to.push(u8::from(matches!(error, StorageError::Poisoned)));
            to.extend_from_slice(error.to_string().as_bytes());
        }
        Input::Unreachable(peer) => {
            to.push(UNREACHABLE);
            to.extend_from_slice(&peer.get().to_le_bytes());
        }
        Input::Message(message) => {
            to.push(MESSAGE);
            to.extend_from_slice(&message.from.get().to_le_bytes());
            to.extend_from_slice(&message.payload);
        }
        Input::Command(command) => {
            to.push(COMMAND);
            encode_command(command, to);
        }
        Input::Timeout => to.push(TIMEOUT),
    }
}

/// The input of an input record. A read's error comes back as what it said, not as the variant it was.
pub(super) fn decode_input<C>(
    channel: Channel,
    mut body: &[u8],
    decode_command: impl FnOnce(&[u8]) -> Option<C>,
) -> Option<Input<C>> {
    let from = &mut body;
    let input = match u8_from(from)? {
        COMMITTED => Input::Committed(Turn(u64_from(from)?)),
        READ => {
            let id = ReadId(u64_from(from)?);
            let mut entries = Vec::new();
            while !from.is_empty() {
                entries.push(Bytes::copy_from_slice(bytes_from(from)?));
            }
            Input::Read(id, Ok(entries))
        }
        READ_FAILED => {
            let id = ReadId(u64_from(from)?);
            let is_poisoned = u8_from(from)? == 1;
            let words = String::from_utf8_lossy(std::mem::take(from)).into_owned();
            Input::Read(id, Err(read_error(is_poisoned, words)))
        }
        UNREACHABLE => Input::Unreachable(PeerId::new(u64_from(from)?)?),
        MESSAGE => Input::Message(Envelope {
            from: PeerId::new(u64_from(from)?)?,
            channel,
            payload: Bytes::copy_from_slice(std::mem::take(from)),
        }),
        COMMAND => Input::Command(decode_command(std::mem::take(from))?),
        TIMEOUT => Input::Timeout,
        _ => return None,
    };
    from.is_empty().then_some(input)
}

fn read_error(is_poisoned: bool, words: String) -> StorageError {
    if is_poisoned {
        return StorageError::Poisoned;
    }
    StorageError::Io {
        doing: "read, as recorded,",
        path: "recording".into(),
        source: Arc::new(std::io::Error::other(words)),
    }
}

pub(super) fn encode_header(channel: Channel, segment: u64, half_bytes: u64, to: &mut Vec<u8>) {
    let start = to.len();
    to.extend_from_slice(MAGIC);
    to.extend_from_slice(&VERSION.to_le_bytes());
    to.extend_from_slice(&channel.to_bytes());
    to.extend_from_slice(&segment.to_le_bytes());
    to.extend_from_slice(&half_bytes.to_le_bytes());
    let checksum = crc32fast::hash(to.get(start..).unwrap_or_default());
    to.extend_from_slice(&checksum.to_le_bytes());
}

/// What a half says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) channel: Channel,
    pub(super) segment: u64,
    pub(super) half_bytes: u64,
}

/// Why a half has no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoHeader {
    /// Nothing was recorded here, or it is damaged.
    Absent,
    /// Another version wrote it.
    Version(u16),
}

pub(super) fn decode_header(half: &[u8]) -> Result<Header, NoHeader> {
    let header = half.get(..HEADER_BYTES).ok_or(NoHeader::Absent)?;
    let (mut fields, checksum) = header.split_last_chunk::<4>().ok_or(NoHeader::Absent)?;
    if crc32fast::hash(fields) != u32::from_le_bytes(*checksum) {
        return Err(NoHeader::Absent);
    }
    decode_fields(&mut fields).ok_or(NoHeader::Absent)?
}

fn decode_fields(from: &mut &[u8]) -> Option<Result<Header, NoHeader>> {
    if array_from::<8>(from)? != *MAGIC {
        return None;
    }
    let version = u16::from_le_bytes(array_from(from)?);
    if version != VERSION {
        return Some(Err(NoHeader::Version(version)));
    }
    let protocol = ProtocolId(u16::from_be_bytes(array_from(from)?));
    let group = u64::from_be_bytes(array_from(from)?);
    Some(Ok(Header {
        channel: Channel::new(protocol, group),
        segment: u64_from(from)?,
        half_bytes: u64_from(from)?,
    }))
}

/// Adds `body` as a record that belongs to `offset` of `segment`.
///
/// # Panics
///
/// When the body is longer than 4 GiB.
pub(super) fn frame(segment: u64, offset: u64, body: &[u8], to: &mut Vec<u8>) {
    let length = u32::try_from(body.len()).expect("a record is shorter than 4 GiB");
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(&checksum(segment, offset, body).to_le_bytes());
    to.extend_from_slice(body);
}

fn checksum(segment: u64, offset: u64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&segment.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// The records of a half, up to the first that is not whole.
pub(super) fn records(segment: u64, half: &[u8]) -> Vec<Record<'_>> {
    let mut records = Vec::new();
    let mut offset = HEADER_BYTES;
    while let Some((body, behind)) = record_at(segment, offset, half)
        && let Some(record) = Record::decode(body)
    {
        records.push(record);
        offset = behind;
    }
    records
}

fn record_at(segment: u64, offset: usize, half: &[u8]) -> Option<(&[u8], usize)> {
    let mut rest = half.get(offset..)?;
    let length = u32_from(&mut rest)? as usize;
    let expected = u32_from(&mut rest)?;
    let body = rest.get(..length)?;
    let behind = offset + FRAME_BYTES + length;
    (checksum(segment, offset as u64, body) == expected).then_some((body, behind))
}

pub(super) fn put_bytes(bytes: &[u8], to: &mut Vec<u8>) {
    let length = u32::try_from(bytes.len()).expect("what a store gives is shorter than 4 GiB");
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(bytes);
}

pub(super) fn bytes_from<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32_from(from)? as usize;
    let (bytes, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(bytes)
}

fn array_from<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (array, rest) = from.split_first_chunk::<N>()?;
    *from = rest;
    Some(*array)
}

pub(super) fn u8_from(from: &mut &[u8]) -> Option<u8> {
    array_from::<1>(from).map(|[byte]| byte)
}

pub(super) fn u32_from(from: &mut &[u8]) -> Option<u32> {
    array_from(from).map(u32::from_le_bytes)
}

pub(super) fn u64_from(from: &mut &[u8]) -> Option<u64> {
    array_from(from).map(u64::from_le_bytes)
}
