//! A node that stays on a fork which the others have left: what it says is stale, and contradicts them.

use peaberry_chain::Block;
use peaberry_chain::primitives::{Address, B256};

use super::model::{Model, Pool, Rejection, Sealed, Transaction, first_free};

/// The chain of such a node.
#[derive(Debug)]
pub(super) struct DeadFork {
    pub(super) chain: Vec<Sealed>,
    /// What was final when it was left behind: nothing more becomes so there.
    pub(super) final_number: Option<u64>,
    /// What it was given: it passes nothing on.
    pool: Pool,
    /// The tip of the others when it was left behind.
    left_at: u64,
    /// It ends with its first block that is not the others'.
    pub(super) is_orphan: bool,
}

impl DeadFork {
    /// The chain as it is, before the others leave it.
    pub(super) fn of(model: &Model) -> Self {
        Self {
            chain: model.chain.clone(),
            final_number: model.tip().checked_sub(model.finality),
            pool: model.pool.clone(),
            left_at: model.tip(),
            is_orphan: false,
        }
    }

    /// The chain up to this number, where it has another block than the others, with what they include later if anything.
    /// Nothing comes to it any more. `None` where there is none under it.
    pub(super) fn orphaned(model: &mut Model, number: u64) -> Option<Self> {
        let parent = model.sealed(number.checked_sub(1)?)?.clone();
        let mut chain: Vec<Sealed> = model.chain.clone();
        let later = chain.split_off(usize::try_from(number).ok()?);
        let mut nonces = parent.nonces.clone();
        let mut chosen = Vec::new();
        let later = later.iter().skip(1).flat_map(|sealed| &sealed.transactions);
        for transaction in later.chain(model.pool.values()) {
            let next = nonces.entry(transaction.from).or_default();
            if transaction.nonce == *next && chosen.len() < 2 {
                *next += 1;
                chosen.push(transaction.clone());
            }
        }
        chain.push(model.seal_on(parent.block, chosen, nonces));
        Some(Self {
            chain,
            final_number: number.checked_sub(model.finality),
            pool: Pool::new(),
            left_at: number,
            is_orphan: true,
        })
    }

    pub(super) fn tip(&self) -> Option<Block> {
        self.chain.last().map(|sealed| sealed.block)
    }

    pub(super) fn nonce(&self, account: Address) -> u64 {
        self.chain.last().map_or(0, |sealed| sealed.nonce(account))
    }

    pub(super) fn pending_nonce(&self, account: Address) -> u64 {
        first_free(&self.pool, account, self.nonce(account))
    }

    pub(super) fn submit(&mut self, transaction: Transaction) -> Result<(), Rejection> {
        if transaction.nonce < self.nonce(transaction.from) {
            return Err(Rejection::NonceTooLow);
        }
        self.pool
            .insert((transaction.from, transaction.nonce), transaction);
        Ok(())
    }

    /// One more block of what waits here, as if it were the chain.
    pub(super) fn grow(&mut self, model: &mut Model) {
        let Some(tip) = self.chain.last() else {
            return;
        };
        let mut nonces = tip.nonces.clone();
        let mut chosen = Vec::new();
        for ((from, nonce), transaction) in &self.pool {
            let next = nonces.entry(*from).or_default();
            if *nonce == *next && chosen.len() < 2 {
                *next += 1;
                chosen.push(transaction.clone());
            }
        }
        self.pool
            .retain(|(from, nonce), _| nonces.get(from).is_none_or(|next| nonce >= next));
        let sealed = model.seal_on(tip.block, chosen, nonces);
        self.chain.push(sealed);
    }

    pub(super) fn by_hash(&self, model: &Model, hash: B256) -> Option<&Sealed> {
        let number = model.forks.get(&hash)?.block.number;
        let sealed = self.chain.get(usize::try_from(number).ok()?)?;
        (sealed.block.hash == hash).then_some(sealed)
    }

    /// Whether it was left so far behind that the others have made final what it does not have.
    pub(super) fn is_long(&self, model: &Model) -> bool {
        model.tip() > self.left_at + model.finality
    }

    /// Whether it has another block where the others will soon have a final one: whoever asks it for that by number, as is done
    /// where finality goes by depth, is misled.
    pub(super) fn is_soon_final(&self, model: &Model) -> bool {
        let final_number = model.tip().saturating_sub(model.finality);
        let mut soon = final_number..=final_number + 8;
        soon.any(|number| {
            let at = usize::try_from(number).unwrap_or(usize::MAX);
            let (own, others) = (self.chain.get(at), model.sealed(number));
            own.zip(others)
                .is_some_and(|(own, others)| own.block.hash != others.block.hash)
        })
    }

    /// Whether reading ranges of final blocks by their numbers is no longer safe with this node among others.
    pub(super) fn is_far_off(&self, model: &Model) -> bool {
        let final_number = model.tip().saturating_sub(model.finality);
        final_number > self.final_number.unwrap_or(0) + 56
    }
}
