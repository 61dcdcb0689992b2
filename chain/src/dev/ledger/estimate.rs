//! How much gas a call would take.

use revm::context::result::ExecutionResult;
use revm::context::{BlockEnv, CfgEnv};

use super::super::execution::{self, Call, refused};
use super::super::state::View;
use super::{At, Ledger};
use crate::evm::NodeError;

// What a plain transfer takes.
const TRANSFER_GAS: u64 = 21_000;
// What a contract gets along with a payment.
const STIPEND: u64 = 2_300;

impl Ledger {
    /// The lowest gas limit with which `call` succeeds, found by bisection.
    pub(in super::super) fn estimate(&mut self, call: &Call, at: At) -> Result<u64, NodeError> {
        let limit = self.options.block_gas_limit;
        let limit = limit.min(self.transaction_gas_max().unwrap_or(limit));
        let asked = call.gas.filter(|gas| *gas >= TRANSFER_GAS);
        let highest = asked.unwrap_or(limit).min(limit);
        self.with_context(at, |view, rules, block| {
            let highest = affordable(view, call, highest)?;
            bisect(view, rules, block, call, highest)
        })?
    }
}

/// How much gas the sender can pay for, where the call names a price.
fn affordable(view: View<'_>, call: &Call, highest: u64) -> Result<u64, NodeError> {
    let balance = view.state.balance(call.from, view.height);
    let Some(left) = balance.checked_sub(call.value) else {
        return Err(refused("insufficient funds for transfer"));
    };
    let Some(fee_max) = call.fee_max.filter(|fee| *fee > 0) else {
        return Ok(highest);
    };
    let gas = left / alloy_primitives::U256::from(fee_max);
    Ok(u64::try_from(gas).unwrap_or(u64::MAX).min(highest))
}

fn bisect(
    view: View<'_>,
    rules: &CfgEnv,
    block: &BlockEnv,
    call: &Call,
    highest: u64,
) -> Result<u64, NodeError> {
    let run = |gas: u64| execution::call(view, rules, block, call, gas);
    let succeeds = |gas: u64| run(gas).is_ok_and(|done| done.result.is_success());
    let is_transfer = call.data.is_empty()
        && call
            .to
            .is_some_and(|to| view.state.code(to, view.height).is_empty());
    if is_transfer && highest >= TRANSFER_GAS && succeeds(TRANSFER_GAS) {
        return Ok(TRANSFER_GAS);
    }
    let result = run(highest)
        .map_err(|error| execution::invalid(error, call))?
        .result;
    let gas = match result {
        ExecutionResult::Success { gas, .. } => gas,
        ExecutionResult::Revert { output, .. } => return Err(execution::reverted(output)),
        ExecutionResult::Halt { reason, .. } => {
            let words = execution::halt_words(&reason);
            let is_gas = words == "out of gas";
            return Err(refused(match is_gas {
                true => format!("gas required exceeds allowance ({highest})"),
                false => words,
            }));
        }
    };
    let (mut fails, mut works) = (gas.tx_gas_used().saturating_sub(1), highest);
    // A contract keeps one part of 64 back from each call (EIP-150): nearly always this is enough, and close.
    let likely = gas.total_gas_spent().saturating_add(STIPEND);
    let likely = likely.saturating_add(likely / 63 + 1);
    if likely < works {
        if succeeds(likely) {
            works = likely;
        } else {
            fails = likely;
        }
    }
    while fails + 1 < works {
        let middle = fails + (works - fails) / 2;
        if succeeds(middle) {
            works = middle;
        } else {
            fails = middle;
        }
    }
    Ok(works)
}
