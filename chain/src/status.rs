//! What became of a transaction.

use crate::{Block, Revert, TxId};

/// Where a transaction is in its life, as one client sees it now.
///
/// Only [`Final`](Self::Final), and the others once they say that they are final, stay so: a reorganisation turns
/// `Included` into `Pending` or `Unknown` again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// The node knows nothing of it. It may be on its way, dropped, or never sent: not a failure.
    Unknown,
    /// In the node's mempool.
    Pending,
    /// Carried out in a block that may still be reorganised away.
    Included {
        /// The block.
        block: Block,
        /// How many blocks lie on top of it.
        depth: u64,
    },
    /// Carried out in a block that is final.
    Final {
        /// The block.
        block: Block,
    },
    /// It can no longer happen: another transaction took its nonce, in a block that is final. How far that can be trusted,
    /// each client says.
    Replaced {
        /// The other one, where known.
        by: Option<TxId>,
    },
    /// It can no longer happen: it expired (on Solana: its block hash) before it was included.
    Dropped,
    /// Included, its fee paid, and everything else undone.
    Reverted {
        /// The block.
        block: Block,
        /// How many blocks lie on top of it.
        depth: u64,
        /// Whether that block is final.
        is_final: bool,
        /// Why, where the node can say. On EVM chains from a trace, or, of nodes that do not trace, by trying the call
        /// again on the state before its block: what earlier transactions of the same block did is not seen then. Three
        /// questions more at most; `None` where they find nothing, fail, or take longer than half a second. On Solana it is
        /// written beside the transaction.
        reason: Option<Revert>,
    },
}

impl TransactionStatus {
    /// Whether nothing about it will change any more.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        match self {
            Self::Final { .. } | Self::Replaced { .. } | Self::Dropped => true,
            Self::Reverted { is_final, .. } => *is_final,
            Self::Unknown | Self::Pending | Self::Included { .. } => false,
        }
    }

    /// The block it is in.
    #[must_use]
    pub const fn block(&self) -> Option<Block> {
        match self {
            Self::Included { block, .. } | Self::Final { block } | Self::Reverted { block, .. } => {
                Some(*block)
            }
            Self::Unknown | Self::Pending | Self::Replaced { .. } | Self::Dropped => None,
        }
    }
}
