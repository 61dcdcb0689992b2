//! Log entries, on disk and on the wire.
//!
//! An entry holds the commands that were proposed together, each with its length (varint) before it, or nothing: what
//! raft itself appends when a term begins. So raft-rs, the disk and the network work once for a crowd of commands.
//!
//! On disk: kind (1 byte), term (varint), commands. In a message the commands have their length before them. The index
//! is not written: an entry's place gives it.

use bytes::Bytes;
use peaberry_core::wire::{self, Reader, WireError};
use raft::eraftpb::Entry;

use super::config::COMMAND_BYTES_LIMIT;
use super::event::Misbehaviour;

/// What raft itself appends when a term begins.
const EMPTY: u8 = 0;
/// Commands of an application, at least one.
const COMMANDS: u8 = 1;

const BEYOND_THE_END: Misbehaviour =
    Misbehaviour::Malformed("entries beyond the last index there can be");

/// The longest entry in bytes: the longest command and its length.
const ENTRY_BYTES_LIMIT: usize = COMMAND_BYTES_LIMIT + 8;

/// Appends `command` to the commands of an entry.
pub(super) fn put_command(commands: &mut Vec<u8>, command: &[u8]) {
    wire::put_bytes(commands, command);
}

/// The entry of `commands`, to be proposed.
pub(super) fn of(commands: Vec<u8>) -> Entry {
    Entry {
        data: commands.into(),
        ..Entry::default()
    }
}

/// The commands of `entry` in their order.
pub(super) fn commands(entry: &Entry) -> impl Iterator<Item = &[u8]> {
    let mut reader = Reader::new(&entry.data);
    std::iter::from_fn(move || {
        if reader.rest().is_empty() {
            return None;
        }
        // An entry is checked when it is decoded, and written whole when it is proposed.
        reader.bytes(COMMAND_BYTES_LIMIT).ok()
    })
}

/// What `entry` takes in memory, about.
pub(super) fn cost(entry: &Entry) -> usize {
    entry.data.len() + size_of::<Entry>()
}

const fn kind(entry: &Entry) -> u8 {
    if entry.data.is_empty() {
        EMPTY
    } else {
        COMMANDS
    }
}

/// Appends `entry` as it is stored.
pub(super) fn encode(entry: &Entry, out: &mut Vec<u8>) {
    out.push(kind(entry));
    wire::put_varint(out, entry.term);
    out.extend_from_slice(&entry.data);
}

/// Reads the entry stored at `index`.
pub(super) fn decode(index: u64, stored: &Bytes) -> Result<Entry, Misbehaviour> {
    let mut reader = Reader::new(stored);
    let (kind, term) = decode_head(&mut reader)?;
    check_commands(kind, reader.rest())?;
    Ok(Entry {
        index,
        term,
        data: stored.slice_ref(reader.rest()),
        ..Entry::default()
    })
}

fn decode_head(reader: &mut Reader<'_>) -> Result<(u8, u64), Misbehaviour> {
    let kind = reader.u8().map_err(cut_short)?;
    Ok((kind, reader.varint().map_err(cut_short)?))
}

const fn cut_short(_: WireError) -> Misbehaviour {
    Misbehaviour::Malformed("an entry is cut short")
}

fn check_commands(kind: u8, commands: &[u8]) -> Result<(), Misbehaviour> {
    match (kind, commands) {
        (EMPTY, []) => Ok(()),
        (EMPTY, _) => Err(Misbehaviour::Malformed("raft's own entry carries data")),
        (COMMANDS, []) => Err(Misbehaviour::Malformed("an entry without commands")),
        (COMMANDS, commands) => {
            let mut reader = Reader::new(commands);
            while !reader.rest().is_empty() {
                reader.bytes(COMMAND_BYTES_LIMIT).map_err(cut_short)?;
            }
            Ok(())
        }
        _ => Err(Misbehaviour::Malformed("unknown kind of entry")),
    }
}

/// Appends `entry` as it travels.
pub(super) fn encode_framed(entry: &Entry, out: &mut Vec<u8>) {
    out.push(kind(entry));
    wire::put_varint(out, entry.term);
    wire::put_bytes(out, &entry.data);
}

/// Reads `count` entries behind the index `before`. Their commands are copied: slices of the message would keep the transport's
/// whole read buffer alive for as long as they stay in the log.
pub(super) fn decode_framed(
    before: u64,
    count: usize,
    reader: &mut Reader<'_>,
) -> Result<Vec<Entry>, Misbehaviour> {
    let mut entries = Vec::with_capacity(count);
    let mut index = before;
    for _ in 0..count {
        index = index.checked_add(1).ok_or(BEYOND_THE_END)?;
        let (kind, term) = decode_head(reader)?;
        let commands = reader.bytes(ENTRY_BYTES_LIMIT).map_err(cut_short)?;
        check_commands(kind, commands)?;
        entries.push(Entry {
            index,
            term,
            data: Bytes::copy_from_slice(commands),
            ..Entry::default()
        });
    }
    Ok(entries)
}

/// The fewest bytes an entry takes in a message: kind, term, length.
pub(super) const FRAMED_BYTES_MIN: usize = 3;
