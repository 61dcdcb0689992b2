//! What of another answer only a liar gives, or a node on a fork that the chain has left for good.

use crate::evm::Receipt;
use crate::{Block, BlockAt};

/// A node that contradicts a quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dissent {
    /// The name under which the node was added.
    pub node: String,
    /// The question.
    pub doing: &'static str,
}

/// Two answers about what a hash fixes, or what is final. Whoever lacks it may be behind.
pub(super) fn is_other<T: PartialEq>(agreed: Option<&T>, other: Option<&T>) -> bool {
    agreed
        .zip(other)
        .is_some_and(|(agreed, other)| agreed != other)
}

/// Two answers to the question for one block. By its number honest nodes may have two, for as long as a fork lasts; what one
/// hash stands for is the same everywhere, and no other number is an answer.
pub(super) fn is_other_block(at: BlockAt, agreed: Option<&Block>, other: Option<&Block>) -> bool {
    match (at, other) {
        (BlockAt::Number(number), Some(other)) if other.number == number => is_other(
            agreed.filter(|agreed| agreed.hash == other.hash),
            Some(other),
        ),
        _ => is_other(agreed, other),
    }
}

/// Two receipts of one transaction. It may lie in two blocks, for as long as a fork lasts, and do another thing in each; in
/// one block it does one thing, and whose it is and what it calls is the same everywhere.
pub(super) fn is_other_receipt(agreed: Option<&Receipt>, other: Option<&Receipt>) -> bool {
    agreed.zip(other).is_some_and(|(agreed, other)| {
        let fixed = |one: &Receipt| (one.transaction, one.from, one.to, one.contract);
        let is_same_block = agreed.block_hash == other.block_hash;
        fixed(agreed) != fixed(other) || (is_same_block && agreed != other)
    })
}
