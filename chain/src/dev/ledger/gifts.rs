//! Balances that somebody has set, as tests of other chains want it.

use alloy_primitives::{Address, U256};

use super::super::state::Replaced;
use super::Ledger;

/// What was there before, so that a snapshot can bring it back; in order, and of blocks that the chain still has. Without a
/// snapshot nothing is kept: what an undone block had goes with its state.
#[derive(Debug, Default)]
pub(super) struct Gifts(Vec<Replaced>);

impl Gifts {
    pub(super) const fn count(&self) -> usize {
        self.0.len()
    }
}

impl Ledger {
    /// From the end of the newest block on `account` has so much. Its header keeps the root of the state before; the next
    /// block's has it all.
    pub(in super::super) fn set_balance(&mut self, account: Address, balance: U256) {
        let height = self.height();
        let replaced = self.state.set_balance(account, height, balance);
        if self.snapshots.are_there() {
            self.gifts.0.push(replaced);
        }
    }

    /// What was set in blocks that are undone is undone with them.
    pub(super) fn forget_gifts(&mut self) {
        let height = self.height();
        while self.gifts.0.last().is_some_and(|one| one.height > height) {
            self.gifts.0.pop();
        }
    }

    /// Undoes all but the first `count`.
    pub(super) fn take_back_gifts(&mut self, count: usize) {
        while self.gifts.0.len() > count {
            if let Some(replaced) = self.gifts.0.pop() {
                self.state.put_back(replaced);
            }
        }
        if !self.snapshots.are_there() {
            self.gifts.0.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::DevOptions;
    use super::*;

    /// However often a balance is set, only what a snapshot may want back is kept.
    #[test]
    fn gifts_are_kept_for_snapshots_alone() {
        let mut ledger = Ledger::new(DevOptions::default());
        let give = |ledger: &mut Ledger, wei: u64| {
            ledger.set_balance(Address::repeat_byte(1), U256::from(wei));
        };
        for wei in 0..100 {
            give(&mut ledger, wei);
        }
        assert_eq!(ledger.gifts.count(), 0);
        let snapshot = ledger.snapshot();
        give(&mut ledger, 1);
        give(&mut ledger, 2);
        assert_eq!(ledger.gifts.count(), 2);
        assert!(ledger.revert_to(snapshot));
        assert_eq!(ledger.gifts.count(), 0);
        let balance = ledger.state.balance(Address::repeat_byte(1), 0);
        assert_eq!(balance, U256::from(99));
    }
}
