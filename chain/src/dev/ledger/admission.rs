//! What the mempool takes.

use std::sync::Arc;

use alloy_consensus::Transaction;
use alloy_primitives::Address;

use super::super::offered::Offered;
use super::super::pool::Sender;
use super::super::{Hardfork, Rejection};
use super::Ledger;
use crate::evm::TRANSACTION_GAS_MAX;

// EIP-3860.
const INIT_CODE_BYTES_MAX: usize = 49_152;
const DELEGATION: &[u8] = &[0xef, 0x01, 0x00];

impl Ledger {
    pub(super) fn admit(&mut self, transaction: Arc<Offered>) -> Result<(), Rejection> {
        self.check_form(&transaction)?;
        self.check_gas(&transaction)?;
        let height = self.height();
        let from = transaction.from;
        let code = self.state.code(from, height);
        if !code.is_empty() && !code.starts_with(DELEGATION) {
            return Err(Rejection::SenderHasCode(from));
        }
        let sender = Sender {
            next_nonce: self.state.nonce(from, height),
            balance: self.state.balance(from, height),
        };
        self.pool.add(transaction, sender).map(drop)
    }

    /// What can be said without looking at the chain.
    fn check_form(&self, offered: &Offered) -> Result<(), Rejection> {
        let transaction = &offered.envelope;
        if let Some(have) = transaction.chain_id()
            && have != self.options.chain
        {
            let want = self.options.chain;
            return Err(Rejection::WrongChain { have, want });
        }
        if offered.nonce() == u64::MAX {
            return Err(Rejection::NonceMax);
        }
        if offered.tip_max() > offered.fee_max() {
            return Err(Rejection::TipAboveFee {
                tip: offered.tip_max(),
                fee_max: offered.fee_max(),
            });
        }
        if offered.tip_max() < self.options.tip_min {
            return Err(Rejection::Underpriced {
                tip: offered.tip_max(),
                minimum: self.options.tip_min,
            });
        }
        let bytes = transaction.input().len();
        if transaction.is_create() && bytes > INIT_CODE_BYTES_MAX {
            let bytes_max = INIT_CODE_BYTES_MAX;
            return Err(Rejection::InitCodeTooLarge { bytes, bytes_max });
        }
        match transaction.authorization_list() {
            Some(_) if self.options.hardfork < Hardfork::Prague => {
                Err(Rejection::Unsupported("set code transactions"))
            }
            Some([]) => Err(Rejection::SetCode("have an empty auth list")),
            _ => Ok(()),
        }
    }

    fn check_gas(&self, offered: &Offered) -> Result<(), Rejection> {
        let gas = offered.envelope.gas_limit();
        if gas > self.options.block_gas_limit {
            return Err(Rejection::OverBlockGas);
        }
        if let Some(cap) = self.transaction_gas_max()
            && gas > cap
        {
            return Err(Rejection::OverTransactionGas { cap, gas });
        }
        let intrinsic = self
            .rules
            .gas_params
            .initial_tx_gas_for_tx(offered.environment(), None);
        let minimum = intrinsic.initial_total_gas();
        if gas < minimum {
            return Err(Rejection::IntrinsicGas { gas, minimum });
        }
        let minimum = intrinsic.floor_gas;
        if gas < minimum {
            return Err(Rejection::FloorGas { gas, minimum });
        }
        Ok(())
    }

    pub(in super::super) fn transaction_gas_max(&self) -> Option<u64> {
        (self.options.hardfork >= Hardfork::Osaka).then_some(TRANSACTION_GAS_MAX)
    }

    /// The next nonce of `account`, behind what waits without a gap.
    pub(in super::super) fn pending_nonce(&self, account: Address) -> u64 {
        let next_nonce = self.state.nonce(account, self.height());
        self.pool.next_nonce(account, next_nonce)
    }
}
