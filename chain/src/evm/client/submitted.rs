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
    pub(super) fn remember(&mut self, transaction: B256, claim: Claim) {
        if self.claims.insert(transaction, claim).is_some() {
            return;
        }
        self.order.push_back(transaction);
        if self.order.len() > SUBMITTED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.claims.remove(&oldest);
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
            let claim = Claim { sender, nonce: 1 };
            // Sent as often as its owner likes, it is one.
            submitted.remember(hash(number), claim);
            submitted.remember(hash(number), claim);
        }
        assert_eq!(submitted.claims.len(), SUBMITTED_MAX);
        assert_eq!(submitted.order.len(), SUBMITTED_MAX);
        assert!(submitted.claim(hash(0)).is_none());
        assert!(submitted.claim(hash(1)).is_some());
    }
}
