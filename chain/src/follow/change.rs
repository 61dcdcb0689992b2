//! What a follower tells.

use std::time::Duration;

use alloy_primitives::{B256, Bytes};
use peaberry_core::wire::{Reader, put_bytes, put_varint};

use super::ring::{RingError, put_block, put_log, read_block, read_log};
use super::walk::Step;
use crate::{Block, ChainError, Log};

/// Logs of one change, at most.
const LOGS_MAX: usize = 1 << 20;

/// One step of the chain, numbered from 1 without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its number: what is acknowledged.
    pub number: u64,
    /// What has changed.
    pub kind: ChangeKind,
}

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "who follows a chain must handle every change"
)]
pub enum ChangeKind {
    /// The chain has grown. Its first block's parent is the tip as it was.
    Added {
        /// The number of the first block: the block's own, except where final blocks are read many at once.
        first: u64,
        /// The block, or the last of them.
        block: Block,
        /// The logs that match, in the chain's order.
        logs: Vec<Log>,
    },
    /// The tip is gone, with the logs that came with it; its parent is the tip again.
    Removed {
        /// The block.
        block: Block,
        /// The logs that came with it.
        logs: Vec<Log>,
    },
    /// Everything up to this block stays.
    Finalized {
        /// The block.
        block: Block,
    },
}

/// Why a follower has stopped for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// The number of the block that was final.
    pub number: u64,
    /// Its hash as it was followed.
    pub was: B256,
    /// What the chain has there now; `None` if that is unknown.
    pub is: Option<B256>,
}

/// That a chain cannot be followed now, because its node is unreachable, limits us, or fails. Nothing is lost: it is looked
/// at again and again.
#[derive(Clone, Debug)]
pub struct Stall {
    /// How long every look has failed by now.
    pub lasts: Duration,
    /// How the last one failed.
    pub why: ChainError,
}

/// What [`Changes`](super::Changes) tells.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "who follows a chain must handle all of it"
)]
pub enum Notice {
    /// The chain has changed: to be acknowledged.
    Change(Change),
    /// Every look has failed for [`FollowConfig::stalled_after`](super::FollowConfig::stalled_after): told once, and not
    /// kept over a restart.
    Stalled(Stall),
    /// A look has succeeded behind [`Stalled`](Self::Stalled).
    Resumed,
}

/// A command to a [`Follow`](super::Follow).
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "these are all there are")]
pub enum FollowCommand {
    /// Everything up to this change has been dealt with, durably: it is never told again.
    Acknowledge(u64),
    /// The chain may have a new block: look now.
    Wake,
    /// The answer to [`FollowEvent::Walk`].
    Answer {
        /// The walk's number.
        number: u64,
        /// What was found.
        result: Box<Result<Step, ChainError>>,
    },
}

/// What a [`Follow`](super::Follow) tells.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a driver must handle all of them")]
pub enum FollowEvent {
    /// For [`step_along`](super::step_along).
    Walk(super::Walk),
    /// A change, in the store. After a restart those that were not acknowledged come again, the same, in order.
    Change(Change),
    /// A final block has changed: either the chain or the node is broken. Nothing is told any more, also after a restart.
    Alarm(Alarm),
    /// Every look has failed for so long: told once. The next one that succeeds ends it.
    Stalled(Stall),
    /// A look has succeeded behind [`Stalled`](Self::Stalled): it goes on where it was.
    Resumed,
}

pub(super) fn encode(kind: &ChangeKind) -> Vec<u8> {
    let mut out = Vec::new();
    let (tag, first, block, logs) = match kind {
        ChangeKind::Added { first, block, logs } => (0, *first, block, logs.as_slice()),
        ChangeKind::Removed { block, logs } => (1, block.number, block, logs.as_slice()),
        ChangeKind::Finalized { block } => (2, block.number, block, [].as_slice()),
    };
    out.push(tag);
    put_varint(&mut out, first);
    put_block(&mut out, block);
    put_varint(&mut out, logs.len() as u64);
    for log in logs {
        put_log(&mut out, log);
    }
    out
}

/// Reads what [`encode`] wrote. Total: any bytes give a change or an error.
pub(super) fn decode(bytes: &[u8]) -> Result<ChangeKind, RingError> {
    let mut reader = Reader::new(bytes);
    let tag = reader.u8()?;
    let first = reader.varint()?;
    let block = read_block(&mut reader)?;
    let logs = read_logs(&mut reader)?;
    reader.finish()?;
    match tag {
        0 => Ok(ChangeKind::Added { first, block, logs }),
        1 if first == block.number => Ok(ChangeKind::Removed { block, logs }),
        2 if first == block.number && logs.is_empty() => Ok(ChangeKind::Finalized { block }),
        _ => Err(RingError::Field("change")),
    }
}

pub(super) fn read_logs(reader: &mut Reader<'_>) -> Result<Vec<Log>, RingError> {
    let count = reader.length(LOGS_MAX)?;
    // Not reserved at once: a short input may claim a long list.
    let mut logs = Vec::new();
    for _ in 0..count {
        logs.push(read_log(reader)?);
    }
    Ok(logs)
}

pub(super) fn put_data(out: &mut Vec<u8>, data: &Bytes) {
    put_bytes(out, data);
}

#[cfg(test)]
mod tests;
