//! Log entries, on disk and on the wire.
//!
//! On disk: kind (1 byte), term (varint), command. In a message the command has its length before it. The index is not
//! written: an entry's place gives it.

use bytes::Bytes;
use peaberry_core::wire::{self, Reader};
use raft::eraftpb::Entry;

use super::config::COMMAND_BYTES_LIMIT;
use super::event::Misbehaviour;

/// What raft itself appends when a term begins.
const EMPTY: u8 = 0;
/// An application's command; it may be empty too.
const COMMAND: u8 = 1;

/// Tells an application's command from raft's own empty entry, in memory.
const COMMAND_CONTEXT: Bytes = Bytes::from_static(b"c");

/// The entry of a command, to be proposed.
pub(super) fn command(command: Bytes) -> Entry {
    Entry {
        data: command,
        context: COMMAND_CONTEXT,
        ..Entry::default()
    }
}

/// Whether `entry` holds an application's command.
pub(super) fn is_command(entry: &Entry) -> bool {
    !entry.context.is_empty()
}

/// What `entry` takes in memory, about.
pub(super) fn cost(entry: &Entry) -> usize {
    entry.data.len() + size_of::<Entry>()
}

/// Appends `entry` as it is stored.
pub(super) fn encode(entry: &Entry, out: &mut Vec<u8>) {
    out.push(if is_command(entry) { COMMAND } else { EMPTY });
    wire::put_varint(out, entry.term);
    out.extend_from_slice(&entry.data);
}

/// Reads the entry stored at `index`.
pub(super) fn decode(index: u64, stored: &Bytes) -> Result<Entry, Misbehaviour> {
    let mut reader = Reader::new(stored);
    let mut entry = decode_head(index, &mut reader)?;
    if entry.context.is_empty() && !reader.rest().is_empty() {
        return Err(Misbehaviour::Malformed("raft's own entry carries data"));
    }
    entry.data = stored.slice_ref(reader.rest());
    Ok(entry)
}

fn decode_head(index: u64, reader: &mut Reader<'_>) -> Result<Entry, Misbehaviour> {
    let malformed = |_| Misbehaviour::Malformed("entry is cut short");
    let context = match reader.u8().map_err(malformed)? {
        EMPTY => Bytes::new(),
        COMMAND => COMMAND_CONTEXT,
        _ => return Err(Misbehaviour::Malformed("unknown kind of entry")),
    };
    let term = reader.varint().map_err(malformed)?;
    Ok(Entry {
        index,
        term,
        context,
        ..Entry::default()
    })
}

/// Appends `entry` as it travels.
pub(super) fn encode_framed(entry: &Entry, out: &mut Vec<u8>) {
    out.push(if is_command(entry) { COMMAND } else { EMPTY });
    wire::put_varint(out, entry.term);
    wire::put_bytes(out, &entry.data);
}

/// Reads `count` entries from `first` on. Their commands are copied, all into one allocation: slices of the message
/// would keep the transport's whole read buffer alive for as long as they stay in the log.
pub(super) fn decode_framed(
    first: u64,
    count: usize,
    reader: &mut Reader<'_>,
) -> Result<Vec<Entry>, Misbehaviour> {
    let malformed = |_| Misbehaviour::Malformed("entries are cut short");
    let bytes = Bytes::copy_from_slice(reader.rest());
    let whole = reader.rest().len();
    let mut entries = Vec::with_capacity(count);
    for index in (first..).take(count) {
        let mut entry = decode_head(index, reader)?;
        let command = reader.bytes(COMMAND_BYTES_LIMIT).map_err(malformed)?;
        if entry.context.is_empty() && !command.is_empty() {
            return Err(Misbehaviour::Malformed("raft's own entry carries data"));
        }
        let end = whole - reader.rest().len();
        entry.data = bytes.slice(end - command.len()..end);
        entries.push(entry);
    }
    Ok(entries)
}

/// The fewest bytes an entry takes in a message: kind, term, length.
pub(super) const FRAMED_BYTES_MIN: usize = 3;
