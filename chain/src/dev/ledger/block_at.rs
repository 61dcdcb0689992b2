//! Naming a block, and what a call at it sees.

use alloy_primitives::B256;
use revm::context::{BlockEnv, CfgEnv};

use super::super::execution::refused;
use super::super::sealed::Sealed;
use super::super::state::{State, View};
use super::Ledger;
use crate::BlockAt;
use crate::evm::NodeError;

/// The block at whose end a question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum At {
    Earliest,
    Latest,
    Pending,
    Safe,
    Final,
    Number(u64),
    Hash(B256),
}

impl From<BlockAt> for At {
    fn from(at: BlockAt) -> Self {
        match at {
            BlockAt::Latest => Self::Latest,
            BlockAt::Pending => Self::Pending,
            BlockAt::Final => Self::Final,
            BlockAt::Number(number) => Self::Number(number),
            BlockAt::Hash(hash) => Self::Hash(hash),
        }
    }
}

impl Ledger {
    /// The number of the block, if the chain has it; of the pending one that of its parent.
    pub(in super::super) fn number(&self, at: At) -> Option<u64> {
        let head = self.height();
        match at {
            At::Earliest => Some(0),
            At::Latest | At::Pending => Some(head),
            At::Safe => Some(head.saturating_sub(self.options.safe_depth)),
            At::Final => Some(head.saturating_sub(self.options.finalized_depth)),
            At::Number(number) => (number <= head).then_some(number),
            At::Hash(hash) => self.hashed(hash).map(|block| block.header.number),
        }
    }

    /// The block, other than the pending one.
    pub(in super::super) fn block(&self, at: At) -> Option<&Sealed> {
        self.numbered(self.number(at)?)
    }

    /// As [`number`](Self::number), where a block must be.
    pub(in super::super) fn expect_number(&self, at: At) -> Result<u64, NodeError> {
        let missing = match at {
            At::Hash(_) => "header for hash not found",
            _ => "header not found",
        };
        self.number(at).ok_or_else(|| refused(missing))
    }

    /// Reads the state at the end of a block.
    pub(in super::super) fn at<T>(
        &mut self,
        at: At,
        read: impl FnOnce(&State, u64) -> T,
    ) -> Result<T, NodeError> {
        self.with_context(at, |view, _, _| read(view.state, view.height))
    }

    /// Asks at the end of a block, in that block's circumstances.
    pub(super) fn with_context<T>(
        &mut self,
        at: At,
        ask: impl FnOnce(View<'_>, &CfgEnv, &BlockEnv) -> T,
    ) -> Result<T, NodeError> {
        let number = self.expect_number(at)?;
        if at == At::Pending {
            let pending = self.assemble_pending();
            let block = self.environment(&pending.header);
            let answer = ask(self.view(number + 1), &self.rules, &block);
            self.state.rewind(number);
            return Ok(answer);
        }
        let header = &self
            .numbered(number)
            .expect("the number is a block's")
            .header;
        Ok(ask(
            self.view(number),
            &self.rules,
            &self.environment(header),
        ))
    }
}
