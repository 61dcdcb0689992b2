//! What a node knows of the chain when it is asked.

use peaberry_chain::BlockAt;
use peaberry_chain::evm::SeenTransaction;
use peaberry_chain::primitives::{Address, B256};

use super::dead_fork::DeadFork;
use super::model::{Model, Sealed, Transaction, find};

/// The chain as a node sees it: a few blocks late, or on a fork that the others have left.
pub(super) struct View<'a> {
    pub(super) model: &'a Model,
    pub(super) fork: Option<&'a DeadFork>,
    pub(super) lag: u64,
}

/// What a node is asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Latest,
    /// Neither new nor final: nothing of ours asks for it.
    Safe,
    Final,
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
            None => {
                let sealed = self.model.forks.get(&hash);
                sealed.filter(|sealed| sealed.block.number <= self.tip())
            }
        }
    }

    pub(super) fn at(&self, at: BlockAt) -> Option<&'a Sealed> {
        let tip = self.tip();
        let number = match at {
            BlockAt::Latest | BlockAt::Pending => tip,
            BlockAt::Final => return self.head(Tag::Final),
            BlockAt::Number(number) if number <= tip => number,
            BlockAt::Number(_) => return None,
            BlockAt::Hash(hash) => return self.by_hash(hash),
        };
        self.sealed(number)
    }

    /// The block that a tag stands for.
    pub(super) fn head(&self, tag: Tag) -> Option<&'a Sealed> {
        let finality = self.model.finality;
        let number = match (tag, self.fork) {
            (Tag::Latest, _) => self.tip(),
            (Tag::Safe, _) => self.tip().checked_sub(finality / 2)?,
            (Tag::Final, Some(fork)) => fork.final_number?,
            (Tag::Final, None) => self.tip().checked_sub(finality)?,
        };
        self.sealed(number)
    }

    /// A transaction, included or waiting.
    pub(super) fn transaction(&self, hash: B256) -> Option<SeenTransaction> {
        let (block_hash, one) = match self.find(hash) {
            Some((sealed, one)) => (Some(sealed.block.hash), one),
            None => (None, self.model.pool.values().find(|one| one.hash == hash)?),
        };
        Some(SeenTransaction {
            hash,
            from: one.from,
            nonce: one.nonce,
            block_hash,
        })
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
