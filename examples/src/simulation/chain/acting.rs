//! Acting for the outbox through the shipped client.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use peaberry_chain::evm::{EvmClient, Fees, SignedTransaction};
use peaberry_chain::outbox::{Ask, Found, Performer};
use peaberry_chain::{ChainError, ChainId};

use super::faults::Faults;
use super::model::Transaction;
use super::reached;

/// Acts through the shipped client, but for the cost of real signatures.
pub(super) struct Acting {
    pub(super) client: EvmClient,
    pub(super) faults: Arc<Mutex<Faults>>,
}

#[async_trait]
impl Performer for Acting {
    fn chain_id(&self) -> ChainId {
        super::chain()
    }

    async fn perform(&self, ask: Ask) -> Result<Found, ChainError> {
        let Ask::Sign { from, transaction } = ask else {
            return self.client.perform(ask).await;
        };
        let Fees::Eip1559 { fee_max, tip_max } = transaction.fees else {
            panic!("the model has base fees");
        };
        let payload = if transaction.to == Some(from) {
            0
        } else {
            transaction.value.to::<u64>()
        };
        if self.faults.lock().chance(60) {
            self.faults.lock().count(reached::SIGNER_FAILED);
            return Err(ChainError::Signer {
                address: from.into(),
                reason: "nobody is there to confirm".into(),
            });
        }
        // As a remote signer's: no two signatures are alike.
        let salt = self.faults.lock().salt();
        let fees = (fee_max, tip_max);
        let gas = transaction.gas_limit;
        let raw = Transaction::encode(from, transaction.nonce, fees, gas, payload, salt);
        Ok(Found::Signed(SignedTransaction::from_raw(raw)))
    }
}
