//! Slots, blocks and transactions around litesvm's accounts.

use std::collections::BTreeMap;

use litesvm::LiteSVM;
use peaberry_chain::SolanaAddress;
use solana_transaction::versioned::VersionedTransaction;
use solana_transaction_error::TransactionError;

const FIRST_SLOT: u64 = 100;
const FINAL_BELOW: u64 = 32;
const HASH_VALID_FOR: u64 = 150;
const HISTORY: usize = 100_000;

pub(crate) struct Ledger {
    pub(crate) svm: LiteSVM,
    pub(crate) slot: u64,
    hash_expires_after: u64,
    included: BTreeMap<Vec<u8>, Included>,
}

/// Where a transaction was included, and how it failed there, if it did.
#[derive(Clone)]
pub(crate) struct Included {
    pub(crate) slot: u64,
    pub(crate) error: Option<TransactionError>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        let mut svm = LiteSVM::new().with_transaction_history(HISTORY);
        svm.warp_to_slot(FIRST_SLOT);
        Self {
            svm,
            slot: FIRST_SLOT,
            hash_expires_after: FIRST_SLOT + HASH_VALID_FOR,
            included: BTreeMap::new(),
        }
    }

    pub(crate) fn airdrop(&mut self, address: SolanaAddress, lamports: u64) {
        let given = self.svm.airdrop(&address.0.into(), lamports);
        given.expect("enough for an account's rent");
    }

    pub(crate) fn advance(&mut self, slots: u64) {
        self.slot += slots;
        self.svm.warp_to_slot(self.slot);
        if self.slot > self.hash_expires_after {
            self.svm.expire_blockhash();
            self.hash_expires_after = self.slot + HASH_VALID_FOR;
        }
    }

    pub(crate) const fn last_valid_height(&self) -> u64 {
        self.hash_expires_after
    }

    pub(crate) const fn final_slot(&self) -> u64 {
        self.slot - FINAL_BELOW
    }

    pub(crate) fn included(&self) -> usize {
        self.included.len()
    }

    pub(crate) fn find(&self, signature: &[u8]) -> Option<&Included> {
        self.included.get(signature)
    }

    /// The hash of a slot's block: any will do, as long as it is the slot's own.
    pub(crate) fn hash_of(slot: u64) -> [u8; 32] {
        let mut hash = [0xb1; 32];
        hash[..8].copy_from_slice(&slot.to_be_bytes());
        hash
    }

    /// Tries a transaction and, where that goes well, includes it; as a validator does after its preflight.
    pub(crate) fn send(
        &mut self,
        transaction: VersionedTransaction,
    ) -> Result<(), TransactionError> {
        self.svm
            .simulate_transaction(transaction.clone())
            .map_err(|failed| failed.err)?;
        let signature = transaction.signatures.first().map(|s| s.as_ref().to_vec());
        let sent = self.svm.send_transaction(transaction);
        let included = Included {
            slot: self.slot,
            error: sent.err().map(|failed| failed.err),
        };
        self.included
            .insert(signature.unwrap_or_default(), included);
        Ok(())
    }

    /// Tries a transaction without looking at its signatures and block hash.
    pub(crate) fn simulate(
        &self,
        mut transaction: VersionedTransaction,
    ) -> Result<u64, TransactionError> {
        transaction
            .message
            .set_recent_blockhash(self.svm.latest_blockhash());
        let svm = self.svm.clone().with_sigverify(false);
        match svm.simulate_transaction(transaction) {
            Ok(simulated) => Ok(simulated.meta.compute_units_consumed),
            Err(failed) => Err(failed.err),
        }
    }
}
