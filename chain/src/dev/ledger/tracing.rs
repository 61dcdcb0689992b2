//! Looking into an execution: it is played once more.

use alloy_primitives::B256;

use super::super::CallTrace;
use super::super::execution::{self, Call};
use super::{At, Ledger};
use crate::evm::NodeError;

impl Ledger {
    /// What called what in an included transaction: it is played once more, behind those before it in its block.
    pub(in super::super) fn trace(&self, hash: B256) -> Option<CallTrace> {
        let (place, block, included) = self.place(hash)?;
        let before = block.included.get(..place.index)?.iter();
        let before = before.map(|included| included.transaction.environment());
        let parent = self.view(place.number.checked_sub(1)?);
        let environment = self.environment(&block.header);
        let transaction = included.transaction.environment();
        execution::trace(parent, &self.rules, &environment, before, transaction).ok()
    }

    /// What a call at a block would call.
    pub(in super::super) fn trace_call(
        &mut self,
        call: &Call,
        at: At,
    ) -> Result<CallTrace, NodeError> {
        let gas_limit = call.gas.unwrap_or(self.options.block_gas_limit);
        let gas_limit = gas_limit.min(self.options.block_gas_limit);
        self.with_context(at, |view, rules, block| {
            execution::trace_call(view, rules, block, call, gas_limit)
                .map_err(|error| execution::invalid(error, call))
        })?
    }
}
