//! Frames as bytes: kind, body, checksum.

use alloc::vec::Vec;

use super::anti_entropy::TABLE_IDS_MAX;
use super::membership::Membership;
use crate::ReplicaId;
use crate::wire::{Bound, Budget, DecodeError, Decoder, Encoder, IdTable, Message, VERSION, over};

const CHECKSUM_BYTES: usize = 4;

/// What a frame has around its body: kind and checksum.
pub(super) const AROUND_BYTES: usize = 1 + CHECKSUM_BYTES;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Hello,
    Digest,
    /// A vector whose sender wants ours.
    VectorAsking,
    Vector,
    /// A vector that replaces what we believed.
    VectorReset,
    Delta,
    Ack,
    /// Some bytes of a delta that is too long for one frame.
    Piece,
    /// How far such a delta has come.
    PieceAck,
    /// What was sent is not taken, and will not be if it is sent again.
    Refusal,
    /// The beginning of a vector that replaces what we believed. The rest of it follows, and a `Vector` as the last.
    VectorResetBegun,
}

const KINDS: [(u8, Kind); 11] = [
    (1, Kind::Hello),
    (2, Kind::Digest),
    (3, Kind::VectorAsking),
    (4, Kind::Vector),
    (5, Kind::VectorReset),
    (6, Kind::Delta),
    (7, Kind::Ack),
    (8, Kind::Piece),
    (9, Kind::PieceAck),
    (10, Kind::Refusal),
    (11, Kind::VectorResetBegun),
];

impl Kind {
    fn number(self) -> u8 {
        KINDS
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or(0, |(number, _)| *number)
    }
}

/// One life's way of writing frames: its number seals them, its table shortens ids.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) number: u64,
    pub(super) table: IdTable,
}

/// From which life to which: what a frame says is meant for a peer whose knowledge has not shrunk since. One that lost
/// its store or went back to a backup is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passage {
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Passage {
    /// What hellos are written in, which everybody may read.
    pub(super) const OPEN: Self = Self { from: 0, to: 0 };
}

/// A frame of the passage, the body written by `body`.
pub(super) fn write(passage: Passage, kind: Kind, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    seal(passage, kind, body)
}

/// A frame that needs no session to be read.
pub(super) fn write_hello(hello: &Hello) -> Vec<u8> {
    seal(Passage::OPEN, Kind::Hello, |out| hello.encode(out))
}

fn seal(passage: Passage, kind: Kind, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::from([kind.number()]);
    body(&mut out);
    let checksum = checksum(passage, &out);
    out.extend_from_slice(&checksum.to_be_bytes());
    out
}

/// The kind of a frame and the rest of it; nothing is checked yet.
pub(super) fn split(frame: &[u8]) -> Result<(Kind, &[u8]), DecodeError> {
    let Some((&number, _)) = frame.split_first() else {
        return Err(DecodeError::Truncated);
    };
    let known = KINDS.iter().find(|(known, _)| *known == number);
    let (_, kind) = known.ok_or(DecodeError::Malformed("kind of frame"))?;
    Ok((*kind, frame))
}

/// The checksum that a frame ends with: by it a refusal says what is refused.
pub(super) fn checksum_of(frame: &[u8]) -> [u8; CHECKSUM_BYTES] {
    frame.last_chunk().copied().unwrap_or([0; CHECKSUM_BYTES])
}

/// The body of a frame, if it was written for this passage.
pub(super) fn open(passage: Passage, frame: &[u8]) -> Result<&[u8], DecodeError> {
    let Some((content, found)) = frame.split_last_chunk::<CHECKSUM_BYTES>() else {
        return Err(DecodeError::Truncated);
    };
    let (found, expected) = (u32::from_be_bytes(*found), checksum(passage, content));
    if found != expected {
        return Err(DecodeError::Checksum { found, expected });
    }
    content.get(1..).ok_or(DecodeError::Truncated)
}

/// The sessions' numbers are summed with the frame and not sent.
fn checksum(passage: Passage, content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&passage.from.to_be_bytes());
    hasher.update(&passage.to.to_be_bytes());
    hasher.update(content);
    hasher.finalize()
}

/// Who a sender is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) schema: u32,
    pub(super) document: u64,
    pub(super) membership: Membership,
    /// The epoch in which the sender's state began.
    pub(super) joined: u64,
    pub(super) session: u64,
    /// The receiver's session, as far as the sender knows; 0 for none.
    pub(super) echo: u64,
    /// Whether the receiver has said that it knows the sender's session.
    pub(super) is_heard: bool,
    pub(super) digest: [u8; 16],
    pub(super) ids: Vec<ReplicaId>,
}

impl Hello {
    fn encode(&self, out: &mut Vec<u8>) {
        let table = IdTable::new();
        let mut body = Encoder::new(&table);
        body.u8(VERSION);
        body.raw(&self.schema.to_be_bytes());
        body.raw(&self.document.to_be_bytes());
        body.raw(&self.session.to_be_bytes());
        body.raw(&self.echo.to_be_bytes());
        body.u8(u8::from(self.is_heard));
        body.raw(&self.digest);
        body.varint(self.joined);
        self.membership.encode(&mut body);
        body.varint(self.ids.len() as u64);
        for id in &self.ids {
            body.raw(&id.get().to_be_bytes());
        }
        body.finish(out);
    }

    pub(super) fn decode(body: &[u8], budget: Budget) -> Result<Self, DecodeError> {
        let table = IdTable::new();
        let mut input = Decoder::new(body, &table, budget)?;
        let version = input.u8()?;
        if version != VERSION {
            let (found, known) = (version, VERSION);
            return Err(DecodeError::Version { found, known });
        }
        let schema = u32::from_be_bytes(input.array()?);
        let document = u64::from_be_bytes(input.array()?);
        let session = u64::from_be_bytes(input.array()?);
        let echo = u64::from_be_bytes(input.array()?);
        let is_heard = match input.u8()? {
            0 => false,
            1 => true,
            _ => return Err(DecodeError::Malformed("neither yes nor no")),
        };
        let digest = input.array()?;
        let joined = input.varint()?;
        let membership = Membership::decode(&mut input)?;
        let ids = decode_ids(&mut input)?;
        input.finish()?;
        Ok(Self {
            schema,
            document,
            membership,
            joined,
            session,
            echo,
            is_heard,
            digest,
            ids,
        })
    }
}

fn decode_ids(input: &mut Decoder<'_>) -> Result<Vec<ReplicaId>, DecodeError> {
    let malformed = DecodeError::Malformed("table of replica ids");
    let count = input.count()?;
    over(Bound::Ids, count as u64, TABLE_IDS_MAX as u64)?;
    let mut table = IdTable::new();
    for _ in 0..count {
        let id = ReplicaId::new(u128::from_be_bytes(input.array()?)).ok_or(malformed)?;
        let before = table.len();
        table.push(id);
        if table.len() == before {
            return Err(malformed);
        }
    }
    Ok(table.as_slice().to_vec())
}

/// Any bytes at all as a hello, for fuzzing: what decodes has one form.
#[doc(hidden)]
pub fn decode_any_hello(bytes: &[u8]) {
    let budget = Budget {
        bytes_max: 1 << 16,
        ..Budget::default()
    };
    if let Ok(hello) = Hello::decode(bytes, budget) {
        let mut again = Vec::new();
        hello.encode(&mut again);
        assert_eq!(again, bytes, "one hello, one spelling");
    }
}

/// The body of a message in a session.
pub(super) fn put<M: Message>(message: &M, session: &Session, out: &mut Vec<u8>) {
    message.to_session_bytes(&session.table, out);
}
