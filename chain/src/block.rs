//! Where in the chain, and how certain.

use std::fmt;

use alloy_primitives::B256;

/// A block of a chain.
///
/// Two blocks of one number and different hashes are different blocks: follow a chain by hash and parent, never by
/// number alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Block {
    /// Its height; on Solana the slot.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
    /// The hash of the block before it. Of the first block zero.
    pub parent: B256,
    /// Seconds since 1970-01-01 UTC, as its maker says.
    pub timestamp_s: u64,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {} ({})", self.number, self.hash)
    }
}

/// The block at whose end a question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockAt {
    /// The newest. It may be gone in a moment.
    Latest,
    /// The newest, and what waits in the node's mempool on top of it.
    Pending,
    /// The newest that is final as the client's [`FinalityPolicy`] says.
    Final,
    /// The one of this number on the chain as it is now.
    Number(u64),
    /// This very one; an error where it has been reorganised away.
    Hash(B256),
}

/// How certain a block shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finality {
    /// The newest block.
    Latest,
    /// Buried under this many blocks; `Depth(0)` is [`Latest`](Self::Latest).
    Depth(u64),
    /// Final as the client's [`FinalityPolicy`] says: it never changes, or the chain is broken.
    Final,
}

/// When a chain's block is final.
///
/// The tag `safe` is never taken for final: what it promises differs between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FinalityPolicy {
    /// The node says so by the tag `finalized`.
    Finalized,
    /// For chains without that tag: under this many blocks. Choose it deeper than any reorganisation you would survive.
    Depth(u64),
}
