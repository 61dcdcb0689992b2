//! What replicas say to each other.
//!
//! One byte of version, one of kind, then the fields in order as varints. The sender is not written: the transport has
//! proven it. Decoding is total: lengths are checked against what is there before anything is allocated, and of raft's
//! own messages only the kinds listed here exist. Proposals and configuration changes are not among them, so bytes of a
//! peer never reach raft's protobuf decoder.

use bytes::Bytes;
use peaberry_core::PeerId;
use peaberry_core::wire::{self, Reader, WireError};
use raft::eraftpb::{Entry, Message, MessageType};

use super::entry;
use super::event::Misbehaviour;
use super::snapshot::Manifest;
use crate::state_machine::SNAPSHOT_CHUNK_BYTES_MAX;

const VERSION: u8 = 1;

const SNAPSHOT_CHUNK: u8 = 32;
const SNAPSHOT_ACK: u8 = 33;

/// The longest context of a message: the name of a read.
const CONTEXT_BYTES_MAX: usize = 64;

const KINDS: [(u8, MessageType); 11] = [
    (1, MessageType::MsgAppend),
    (2, MessageType::MsgAppendResponse),
    (3, MessageType::MsgRequestVote),
    (4, MessageType::MsgRequestVoteResponse),
    (5, MessageType::MsgRequestPreVote),
    (6, MessageType::MsgRequestPreVoteResponse),
    (7, MessageType::MsgHeartbeat),
    (8, MessageType::MsgHeartbeatResponse),
    (9, MessageType::MsgTimeoutNow),
    (10, MessageType::MsgReadIndex),
    (11, MessageType::MsgReadIndexResp),
];

/// What kind of message `payload` is, in the words of raft-rs, for logs and pictures; `None` if it is none of ours.
///
/// ```
/// assert_eq!(peaberry_consensus::raft_message_kind(&[1, 4, 0]), Some("MsgRequestVoteResponse"));
/// ```
#[must_use]
pub fn raft_message_kind(payload: &[u8]) -> Option<&'static str> {
    let &[VERSION, kind, ..] = payload else {
        return None;
    };
    Some(match kind {
        1 => "MsgAppend",
        2 => "MsgAppendResponse",
        3 => "MsgRequestVote",
        4 => "MsgRequestVoteResponse",
        5 => "MsgRequestPreVote",
        6 => "MsgRequestPreVoteResponse",
        7 => "MsgHeartbeat",
        8 => "MsgHeartbeatResponse",
        9 => "MsgTimeoutNow",
        10 => "MsgReadIndex",
        11 => "MsgReadIndexResp",
        SNAPSHOT_CHUNK => "SnapshotChunk",
        SNAPSHOT_ACK => "SnapshotAck",
        _ => return None,
    })
}

/// A message between replicas.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum RaftMessage {
    /// One of raft's own.
    Raft(Message),
    /// A piece of a snapshot.
    SnapshotChunk(SnapshotChunk),
    /// How far a snapshot has arrived.
    SnapshotAck(SnapshotAck),
}

/// A piece of a snapshot, from the leader of `term`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SnapshotChunk {
    pub(super) term: u64,
    pub(super) manifest: Manifest,
    /// Which chunk, from 0.
    pub(super) number: u64,
    pub(super) bytes: Bytes,
}

/// How far a snapshot has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SnapshotAck {
    pub(super) term: u64,
    /// Which snapshot: the index of its last entry.
    pub(super) index: u64,
    /// The chunk that is wanted next; all before it have arrived.
    pub(super) next: u64,
}

impl RaftMessage {
    /// Reads what `from` sent to `to`.
    ///
    /// # Errors
    ///
    /// [`Misbehaviour::Malformed`] says what no correct replica writes.
    pub(super) fn decode(from: PeerId, to: PeerId, payload: &[u8]) -> Result<Self, Misbehaviour> {
        let mut reader = Reader::new(payload);
        if reader.u8() != Ok(VERSION) {
            return Err(Misbehaviour::Malformed("unknown version"));
        }
        let kind = reader.u8().map_err(cut_short)?;
        let message = match kind {
            SNAPSHOT_CHUNK => Self::SnapshotChunk(decode_chunk(&mut reader)?),
            SNAPSHOT_ACK => Self::SnapshotAck(decode_ack(&mut reader)?),
            kind => Self::Raft(decode_raft(kind, from, to, &mut reader)?),
        };
        reader.finish().map_err(cut_short)?;
        Ok(message)
    }
}

const fn cut_short(error: WireError) -> Misbehaviour {
    Misbehaviour::Malformed(match error {
        WireError::Truncated => "truncated",
        WireError::Varint => "malformed integer",
        WireError::TooLong { .. } => "a length is over its limit",
        _ => "bytes are left over",
    })
}

/// The bytes of one of raft's messages; `None` for a kind that never leaves a replica.
pub(super) fn encode_raft(message: &Message) -> Option<Bytes> {
    let kind = KINDS
        .iter()
        .find(|(_, kind)| *kind == message.get_msg_type())?
        .0;
    let entries: usize = message
        .entries
        .iter()
        .map(|entry| entry.data.len() + 16)
        .sum();
    let mut out = Vec::with_capacity(48 + entries);
    out.extend_from_slice(&[VERSION, kind]);
    for field in [
        message.term,
        message.index,
        message.log_term,
        message.commit,
        message.commit_term,
    ] {
        wire::put_varint(&mut out, field);
    }
    out.push(u8::from(message.reject));
    wire::put_varint(&mut out, message.reject_hint);
    wire::put_bytes(&mut out, read_context(message));
    if kind == 1 {
        wire::put_varint(&mut out, message.entries.len() as u64);
        for entry in &message.entries {
            entry::encode_framed(entry, &mut out);
        }
    }
    Some(out.into())
}

/// The context: raft keeps a read's name in an entry and everything else's in a field of its own.
fn read_context(message: &Message) -> &[u8] {
    match message.get_msg_type() {
        MessageType::MsgReadIndex | MessageType::MsgReadIndexResp => {
            message.entries.first().map_or(&[], |entry| &entry.data)
        }
        _ => &message.context,
    }
}

fn decode_raft(
    kind: u8,
    from: PeerId,
    to: PeerId,
    reader: &mut Reader<'_>,
) -> Result<Message, Misbehaviour> {
    let (_, kind) = *KINDS
        .iter()
        .find(|(number, _)| *number == kind)
        .ok_or(Misbehaviour::Malformed("unknown kind of message"))?;
    let mut message = Message {
        from: from.get(),
        to: to.get(),
        ..Message::default()
    };
    message.set_msg_type(kind);
    message.term = reader.varint().map_err(cut_short)?;
    message.index = reader.varint().map_err(cut_short)?;
    message.log_term = reader.varint().map_err(cut_short)?;
    message.commit = reader.varint().map_err(cut_short)?;
    message.commit_term = reader.varint().map_err(cut_short)?;
    message.reject = match reader.u8().map_err(cut_short)? {
        0 => false,
        1 => true,
        _ => return Err(Misbehaviour::Malformed("neither yes nor no")),
    };
    message.reject_hint = reader.varint().map_err(cut_short)?;
    let context = Bytes::copy_from_slice(reader.bytes(CONTEXT_BYTES_MAX).map_err(cut_short)?);
    match kind {
        MessageType::MsgReadIndex | MessageType::MsgReadIndexResp => {
            message.entries = vec![Entry {
                data: context,
                ..Entry::default()
            }]
            .into();
        }
        MessageType::MsgAppend => {
            message.context = context;
            message.entries = decode_entries(message.index, reader)?.into();
        }
        _ => message.context = context,
    }
    Ok(message)
}

fn decode_entries(before: u64, reader: &mut Reader<'_>) -> Result<Vec<Entry>, Misbehaviour> {
    let count_max = reader.rest().len() / entry::FRAMED_BYTES_MIN;
    let count = reader.length(count_max).map_err(cut_short)?;
    entry::decode_framed(before, count, reader)
}

impl SnapshotChunk {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(64 + self.bytes.len());
        out.extend_from_slice(&[VERSION, SNAPSHOT_CHUNK]);
        wire::put_varint(&mut out, self.term);
        self.manifest.encode(&mut out);
        wire::put_varint(&mut out, self.number);
        wire::put_bytes(&mut out, &self.bytes);
        out.into()
    }
}

fn decode_chunk(reader: &mut Reader<'_>) -> Result<SnapshotChunk, Misbehaviour> {
    Ok(SnapshotChunk {
        term: reader.varint().map_err(cut_short)?,
        manifest: Manifest::decode(reader).map_err(cut_short)?,
        number: reader.varint().map_err(cut_short)?,
        bytes: Bytes::copy_from_slice(reader.bytes(SNAPSHOT_CHUNK_BYTES_MAX).map_err(cut_short)?),
    })
}

impl SnapshotAck {
    pub(super) fn encode(self) -> Bytes {
        let mut out = vec![VERSION, SNAPSHOT_ACK];
        for field in [self.term, self.index, self.next] {
            wire::put_varint(&mut out, field);
        }
        out.into()
    }
}

fn decode_ack(reader: &mut Reader<'_>) -> Result<SnapshotAck, Misbehaviour> {
    Ok(SnapshotAck {
        term: reader.varint().map_err(cut_short)?,
        index: reader.varint().map_err(cut_short)?,
        next: reader.varint().map_err(cut_short)?,
    })
}

/// Any bytes at all as a message and as what a group stores, for fuzzing: none may panic, and messages must come back.
#[doc(hidden)]
pub fn decode_any_raft_bytes(bytes: &[u8]) {
    let [Some(from), Some(to)] = [PeerId::new(1), PeerId::new(2)] else {
        return;
    };
    if let Ok(RaftMessage::Raft(message)) = RaftMessage::decode(from, to, bytes) {
        let again = encode_raft(&message).expect("a kind that was decoded");
        assert_eq!(again, bytes, "one message, one spelling");
    }
    let _ = entry::decode(1, &Bytes::copy_from_slice(bytes));
    super::snapshot::decode_any(bytes);
    let _ = super::recovery::decode_hard_state(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entries_beyond_the_last_index_are_refused() {
        let [from, to] = [1, 2].map(|id| PeerId::new(id).unwrap());
        let mut append = Message {
            index: u64::MAX - 1,
            entries: vec![Entry::default(); 2].into(),
            ..Message::default()
        };
        append.set_msg_type(MessageType::MsgAppend);
        let bytes = encode_raft(&append).unwrap();
        let refused = RaftMessage::decode(from, to, &bytes).unwrap_err();
        assert!(refused.to_string().contains("last index"), "{refused}");
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            decode_any_raft_bytes(&bytes);
        }

        /// Bytes that begin like a message get further.
        #[test]
        fn bytes_that_begin_right_decode_or_are_refused(
            kind in 0..40_u8,
            bytes in proptest::collection::vec(0..4_u8, 0..64),
        ) {
            decode_any_raft_bytes(&[&[VERSION, kind], bytes.as_slice()].concat());
        }

        #[test]
        fn messages_come_back(
            kind in 0..KINDS.len(),
            fields: [u32; 5],
            reject: bool,
            hint: u32,
            batches in proptest::collection::vec(proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..4), 0..4),
        ) {
            let [from, to] = [1, 2].map(|id| PeerId::new(id).unwrap());
            let mut message = Message { from: 1, to: 2, reject, reject_hint: hint.into(), ..Message::default() };
            message.set_msg_type(KINDS[kind].1);
            [message.term, message.index, message.log_term, message.commit, message.commit_term] =
                fields.map(u64::from);
            match message.get_msg_type() {
                MessageType::MsgAppend => {
                    let entries = batches.into_iter().zip(message.index + 1..).map(|(batch, index)| {
                        let mut commands = Vec::new();
                        batch.iter().for_each(|command| entry::put_command(&mut commands, command));
                        Entry { index, term: 3, ..entry::of(commands) }
                    });
                    message.entries = entries.collect::<Vec<_>>().into();
                }
                MessageType::MsgReadIndex | MessageType::MsgReadIndexResp => {
                    let data = Bytes::from_static(b"name");
                    message.entries = vec![Entry { data, ..Entry::default() }].into();
                }
                _ => message.context = Bytes::from_static(b"context"),
            }
            let payload = encode_raft(&message).unwrap();
            prop_assert_eq!(RaftMessage::decode(from, to, &payload), Ok(RaftMessage::Raft(message)));
            for cut in 0..payload.len() {
                prop_assert!(RaftMessage::decode(from, to, &payload[..cut]).is_err());
            }
        }
    }
}
