//! What a node knows of the chain when it is asked.

use peaberry_chain::BlockAt;
use peaberry_chain::primitives::{Address, B256};

use super::dead_fork::DeadFork;
use super::model::{Model, Sealed, Transaction, find};

/// The chain as a node sees it: a few blocks late, or on a fork that the others have left.
pub(super) struct View<'a> {
    pub(super) model: &'a Model,
    pub(super) fork: Option<&'a DeadFork>,
    pub(super) lag: u64,
    /// Takes what is merely safe for final: a bug.
    pub(super) safe_is_final: bool,
}

impl<'a> View<'a> {
    pub(super) fn chain(&self) -> &'a [Sealed] {
        match self.fork {
            Some(fork) => &fork.chain,
            None => &self.model.chain,
        }
    }

    pub(super) fn tip(&self) -> u64 {
        let lag = if self.fork.is_some() { 0 } else { self.lag };
        (self.chain().len() as u64 - 1).saturating_sub(lag)
    }

    pub(super) fn sealed(&self, number: u64) -> Option<&'a Sealed> {
        self.chain().get(usize::try_from(number).ok()?)
    }

    pub(super) fn by_hash(&self, hash: B256) -> Option<&'a Sealed> {
        match self.fork {
            Some(fork) => fork.by_hash(self.model, hash),
            None => self.model.forks.get(&hash),
        }
    }

    pub(super) fn at(&self, at: BlockAt) -> Option<&'a Sealed> {
        let tip = self.tip();
        let number = match at {
            BlockAt::Latest | BlockAt::Pending => tip,
            BlockAt::Final => self.final_number()?,
            BlockAt::Number(number) if number <= tip => number,
            BlockAt::Number(_) => return None,
            BlockAt::Hash(hash) => return self.by_hash(hash),
        };
        self.sealed(number)
    }

    fn final_number(&self) -> Option<u64> {
        if let Some(fork) = self.fork {
            return fork.final_number;
        }
        let finality = self.model.finality;
        let depth = if self.safe_is_final {
            finality / 2
        } else {
            finality
        };
        self.tip().checked_sub(depth)
    }

    /// The first nonce that is neither used nor waits, where the node is not late.
    pub(super) fn pending_nonce(&self, account: Address) -> Option<u64> {
        match self.fork {
            Some(fork) => Some(fork.pending_nonce(account)),
            None => (self.lag == 0).then(|| self.model.pending_nonce(account)),
        }
    }

    /// Where a transaction is.
    pub(super) fn find(&self, hash: B256) -> Option<(&'a Sealed, &'a Transaction)> {
        // Without a search for what was never included anywhere.
        self.model.was_included.get(&hash)?;
        find(self.chain(), hash, self.tip())
    }
}
