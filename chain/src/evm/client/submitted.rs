//! What a client has sent, so that it can say later that something else took its place.

use std::collections::{BTreeMap, VecDeque};

use alloy_primitives::{Address, B256, Signature};

// Transactions that are remembered, oldest forgotten first.
const SUBMITTED_MAX: usize = 4096;

#[derive(Default)]
pub(super) struct Submitted {
    claims: BTreeMap<B256, Claim>,
    order: VecDeque<B256>,
}

/// The place in an account's order that a transaction takes, or another.
#[derive(Clone, Copy)]
pub(super) struct Claim {
    pub(super) sender: Sender,
    pub(super) nonce: u64,
    /// It is in no block up to this final one; the first has no transactions.
    pub(super) above: u64,
}

#[derive(Clone, Copy)]
pub(super) enum Sender {
    Known(Address),
    /// Told by its signature, which takes longer than sending does and is seldom asked for.
    Signed {
        signature: Signature,
        digest: B256,
    },
}

impl Sender {
    /// `None` where the signature is nobody's: no chain takes such a transaction.
    pub(super) fn address(&self) -> Option<Address> {
        match self {
            Self::Known(address) => Some(*address),
            Self::Signed { signature, digest } => {
                signature.recover_address_from_prehash(digest).ok()
            }
        }
    }
}

impl Submitted {
    /// What is remembered already stays as it is: who sends it again now knows no more of when it was sent first.
    pub(super) fn remember(&mut self, transaction: B256, claim: Claim) {
        if self.claims.contains_key(&transaction) {
            return;
        }
        self.claims.insert(transaction, claim);
        self.order.push_back(transaction);
        if self.order.len() > SUBMITTED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.claims.remove(&oldest);
        }
    }

    /// Its nonce is free at the end of this final block.
    pub(super) fn is_free_at(&mut self, transaction: B256, final_number: u64) {
        if let Some(claim) = self.claims.get_mut(&transaction) {
            claim.above = claim.above.max(final_number);
        }
    }

    pub(super) fn claim(&self, transaction: B256) -> Option<Claim> {
        self.claims.get(&transaction).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_remembered_up_to_a_bound() {
        let mut submitted = Submitted::default();
        let hash = |number: usize| B256::from(alloy_primitives::U256::from(number));
        for number in 0..=SUBMITTED_MAX {
            let sender = Sender::Known(Address::ZERO);
            let claim = |above| Claim {
                sender,
                nonce: 1,
                above,
            };
            // Sent as often as its owner likes, it is one, and as old as it was.
            submitted.remember(hash(number), claim(2));
            submitted.remember(hash(number), claim(9));
        }
        assert_eq!(submitted.claims.len(), SUBMITTED_MAX);
        assert_eq!(submitted.order.len(), SUBMITTED_MAX);
        assert!(submitted.claim(hash(0)).is_none());
        let above = |submitted: &Submitted| submitted.claim(hash(1)).unwrap().above;
        assert_eq!(above(&submitted), 2);
        for (seen, known) in [(7, 7), (5, 7)] {
            submitted.is_free_at(hash(1), seen);
            assert_eq!(above(&submitted), known);
        }
    }
}
