//! Transactions that wait for a block.
//!
//! The rules are geth's: one transaction for each nonce, another takes its place only for a tenth more of both fees,
//! and what lies behind a gap waits until the gap is filled.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};

use super::Rejection;
use super::offered::Offered;

/// How much more both fees must be to take the place of a transaction that waits, in percent.
pub(super) const PRICE_BUMP_PERCENT: u128 = 10;
// As many as geth keeps altogether: 4096 and 1024 slots of 32 KiB.
const TRANSACTIONS_MAX: usize = 5120;
// Of one account behind a gap.
const QUEUED_MAX: usize = 64;

#[derive(Clone, Debug, Default)]
pub(super) struct Pool {
    waiting: BTreeMap<Address, BTreeMap<u64, Waiting>>,
    places: BTreeMap<B256, (Address, u64)>,
    arrivals: u64,
}

#[derive(Clone, Debug)]
struct Waiting {
    transaction: Arc<Offered>,
    // Who comes first is served first, among equal tips.
    arrival: u64,
}

/// What the pool has to know of a sender.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    pub(super) next_nonce: u64,
    pub(super) balance: U256,
}

impl Pool {
    /// Takes `transaction`, and gives back what it replaces.
    pub(super) fn add(
        &mut self,
        transaction: Arc<Offered>,
        sender: Sender,
    ) -> Result<Option<B256>, Rejection> {
        let nonce = transaction.nonce();
        if self.places.contains_key(&transaction.hash) {
            return Err(Rejection::AlreadyKnown);
        }
        if nonce < sender.next_nonce {
            return Err(Rejection::NonceTooLow {
                next: sender.next_nonce,
                nonce,
            });
        }
        let held = self.waiting.get(&transaction.from);
        let rival = held.and_then(|held| held.get(&nonce));
        // What waits of the same sender without a gap must be paid, too; not what this would replace.
        let pending = sender.next_nonce..self.next_nonce(transaction.from, sender.next_nonce);
        let others = held
            .into_iter()
            .flat_map(|held| held.range(pending.clone()))
            .filter(|(other, _)| **other != nonce);
        let spent = others.fold(U256::ZERO, |sum, (_, waiting)| {
            sum.saturating_add(waiting.transaction.cost_max())
        });
        let cost = spent.saturating_add(transaction.cost_max());
        if cost > sender.balance {
            return Err(Rejection::InsufficientFunds {
                balance: sender.balance,
                cost,
            });
        }
        let replaced = match rival {
            Some(rival) if !pays_enough(&transaction, &rival.transaction) => {
                return Err(Rejection::ReplacementUnderpriced);
            }
            Some(rival) => Some(rival.transaction.hash),
            None if self.is_full_for(transaction.from, nonce, sender.next_nonce) => {
                return Err(Rejection::Full);
            }
            None => None,
        };
        if let Some(replaced) = replaced {
            self.places.remove(&replaced);
        }
        self.insert(transaction);
        Ok(replaced)
    }

    /// Takes back what has been in a block, without its place in the queue: nobody's rival unless one came since.
    pub(super) fn restore(&mut self, transaction: Arc<Offered>) {
        let held = self.waiting.entry(transaction.from).or_default();
        if !held.contains_key(&transaction.nonce()) {
            self.insert(transaction);
        }
    }

    pub(super) fn get(&self, hash: B256) -> Option<&Arc<Offered>> {
        let (from, nonce) = self.places.get(&hash)?;
        Some(&self.waiting.get(from)?.get(nonce)?.transaction)
    }

    /// The nonce behind those of `from` that wait without a gap.
    pub(super) fn next_nonce(&self, from: Address, next_nonce: u64) -> u64 {
        let held = self.waiting.get(&from);
        let in_row = held.into_iter().flat_map(|held| held.range(next_nonce..));
        in_row.fold(
            next_nonce,
            |next, (nonce, _)| {
                if *nonce == next { next + 1 } else { next }
            },
        )
    }

    /// Forgets what `from` has used or can no longer use below `next_nonce`.
    pub(super) fn forget_below(&mut self, from: Address, next_nonce: u64) {
        if let Some(held) = self.waiting.get_mut(&from) {
            let kept = held.split_off(&next_nonce);
            let gone = std::mem::replace(held, kept);
            for waiting in gone.into_values() {
                self.places.remove(&waiting.transaction.hash);
            }
            if held.is_empty() {
                self.waiting.remove(&from);
            }
        }
    }

    /// Forgets one transaction. Whether there was such a one.
    pub(super) fn remove(&mut self, hash: B256) -> bool {
        let Some((from, nonce)) = self.places.remove(&hash) else {
            return false;
        };
        if let Some(held) = self.waiting.get_mut(&from) {
            held.remove(&nonce);
            if held.is_empty() {
                self.waiting.remove(&from);
            }
        }
        true
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.places.clear();
    }

    pub(super) fn senders(&self) -> impl Iterator<Item = Address> {
        self.waiting.keys().copied()
    }

    /// Every transaction, by sender and nonce.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Offered>> {
        let all = self.waiting.values().flatten();
        all.map(|(_, waiting)| &waiting.transaction)
    }

    /// The order in which a block takes them: each sender's by nonce, among senders the highest tip first.
    pub(super) fn queue(&self, base_fee: u64, next_nonce: impl Fn(Address) -> u64) -> Queue {
        let mut queue = Queue {
            base_fee,
            heads: BTreeMap::new(),
        };
        for from in self.waiting.keys() {
            queue.push(self, *from, next_nonce(*from));
        }
        queue
    }

    fn insert(&mut self, transaction: Arc<Offered>) {
        let (from, nonce) = (transaction.from, transaction.nonce());
        self.places.insert(transaction.hash, (from, nonce));
        let waiting = Waiting {
            transaction,
            arrival: self.arrivals,
        };
        self.arrivals += 1;
        self.waiting.entry(from).or_default().insert(nonce, waiting);
    }

    fn is_full_for(&self, from: Address, nonce: u64, next_nonce: u64) -> bool {
        let pending = self.next_nonce(from, next_nonce);
        let held = self.waiting.get(&from);
        let queued = held.map_or(0, |held| held.range(pending..).count());
        self.places.len() >= TRANSACTIONS_MAX || (nonce > pending && queued >= QUEUED_MAX)
    }
}

fn pays_enough(transaction: &Offered, rival: &Offered) -> bool {
    let is_more = |offered: u128, held: u128| {
        let wanted = held.saturating_mul(100 + PRICE_BUMP_PERCENT) / 100;
        offered > held && offered >= wanted
    };
    is_more(transaction.fee_max(), rival.fee_max())
        && is_more(transaction.tip_max(), rival.tip_max())
}

/// Of each sender the next transaction, the best paying first.
pub(super) struct Queue {
    base_fee: u64,
    heads: BTreeMap<(Reverse<u128>, u64), Arc<Offered>>,
}

impl Queue {
    /// The next transaction; its sender has none in the queue after it until [`push`](Self::push).
    pub(super) fn pop(&mut self) -> Option<Arc<Offered>> {
        self.heads.pop_first().map(|(_, transaction)| transaction)
    }

    /// Lines up the transaction of `from` with this nonce, if one waits that can pay the base fee.
    pub(super) fn push(&mut self, pool: &Pool, from: Address, nonce: u64) {
        let next = pool.waiting.get(&from).and_then(|held| held.get(&nonce));
        if let Some(waiting) = next
            && let Some(tip) = waiting.transaction.tip(self.base_fee)
        {
            let place = (Reverse(tip), waiting.arrival);
            self.heads.insert(place, waiting.transaction.clone());
        }
    }
}
