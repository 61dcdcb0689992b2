//! How blocks lie in the store.

use alloy_primitives::{B256, Bytes};
use peaberry_core::wire::{Reader, WireError, put_bytes, put_varint};
use peaberry_core::{Batch, Channel, Subspace};

use super::change::{put_data, read_logs};
use crate::{Address, Block, Log, SolanaAddress, TxId};

const DATA_BYTES_MAX: usize = 16 << 20;
const TOPICS_MAX: usize = 4;
/// Where the application says how far it is, in its own batches. The follower never writes it: it would set back what was
/// committed in the meantime.
pub(super) const CURSOR: &[u8] = b"c";
/// Where the follower says how far it was told that the application is.
pub(super) const ACKNOWLEDGED: &[u8] = b"a";

/// Why bytes are no stored block or change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// They do not read.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A field has a value that it cannot have.
    #[error("the {0} makes no sense")]
    Field(&'static str),
}

/// A block of the ring with its logs, for when it is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) block: Block,
    pub(super) logs: Vec<Log>,
}

impl Stored {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_block(&mut out, &self.block);
        put_varint(&mut out, self.logs.len() as u64);
        for log in &self.logs {
            put_log(&mut out, log);
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RingError> {
        let mut reader = Reader::new(bytes);
        let stored = Self {
            block: read_block(&mut reader)?,
            logs: read_logs(&mut reader)?,
        };
        reader.finish()?;
        Ok(stored)
    }
}

/// Acknowledges changes in the application's own batch: what it wrote because of them and the acknowledgement are
/// durable together, so that each change takes effect exactly once.
///
/// Only for an application on the same store; any other is told a change again after a crash between its writes and
/// [`FollowCommand::Acknowledge`](super::FollowCommand::Acknowledge), and looks at the change's number.
#[derive(Clone, Debug)]
pub struct Cursor {
    space: Subspace,
}

impl Cursor {
    /// The cursor of the follower on `channel`.
    #[must_use]
    pub fn of(channel: Channel) -> Self {
        Self {
            space: Subspace::of(channel),
        }
    }

    /// Everything up to the change `number` has been dealt with once `batch` is committed. Then tell the follower, too, so
    /// that it goes on.
    pub fn acknowledge(&self, batch: &mut Batch, number: u64) {
        self.space.put(batch, CURSOR, &number.to_be_bytes());
    }
}

pub(super) fn put_block(out: &mut Vec<u8>, block: &Block) {
    put_varint(out, block.number);
    out.extend_from_slice(block.hash.as_slice());
    out.extend_from_slice(block.parent.as_slice());
    put_varint(out, block.timestamp_s);
}

pub(super) fn read_block(reader: &mut Reader<'_>) -> Result<Block, RingError> {
    Ok(Block {
        number: reader.varint()?,
        hash: reader.array::<32>()?.into(),
        parent: reader.array::<32>()?.into(),
        timestamp_s: reader.varint()?,
    })
}

pub(super) fn put_log(out: &mut Vec<u8>, log: &Log) {
    match log.address {
        Address::Evm(address) => put_bytes(out, address.as_slice()),
        Address::Solana(address) => put_bytes(out, &address.0),
    }
    put_varint(out, log.topics.len() as u64);
    for topic in &log.topics {
        out.extend_from_slice(topic.as_slice());
    }
    put_data(out, &log.data);
    put_varint(out, log.block_number);
    out.extend_from_slice(log.block_hash.as_slice());
    match log.transaction {
        TxId::Evm(hash) => put_bytes(out, hash.as_slice()),
        TxId::Solana(signature) => put_bytes(out, &signature),
    }
    put_varint(out, log.transaction_index);
    put_varint(out, log.index);
}

pub(super) fn read_log(reader: &mut Reader<'_>) -> Result<Log, RingError> {
    let address = match reader.bytes(32)? {
        bytes if bytes.len() == 20 => Address::Evm(alloy_primitives::Address::from_slice(bytes)),
        bytes => Address::Solana(SolanaAddress(array(bytes, "address")?)),
    };
    let count = reader.length(TOPICS_MAX)?;
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        topics.push(B256::from(reader.array::<32>()?));
    }
    let data = Bytes::copy_from_slice(reader.bytes(DATA_BYTES_MAX)?);
    let block_number = reader.varint()?;
    let block_hash = reader.array::<32>()?.into();
    let transaction = match reader.bytes(64)? {
        bytes if bytes.len() == 32 => TxId::Evm(B256::from_slice(bytes)),
        bytes => TxId::Solana(array(bytes, "transaction")?),
    };
    Ok(Log {
        address,
        topics,
        data,
        block_number,
        block_hash,
        transaction,
        transaction_index: reader.varint()?,
        index: reader.varint()?,
    })
}

fn array<const N: usize>(bytes: &[u8], field: &'static str) -> Result<[u8; N], RingError> {
    bytes
        .try_into()
        .map_err(|_another_length| RingError::Field(field))
}
