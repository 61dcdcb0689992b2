//! Blocks by the clock, as somebody asks for while the chain runs.

use std::num::NonZeroU64;
use std::time::Duration;

use futures_channel::mpsc;

use super::super::Mining;
use super::super::execution::refused;
use super::Ledger;
use crate::evm::NodeError;

/// How often a block is made by itself, and who makes it: a chain has no clock.
#[derive(Debug, Default)]
pub(super) struct Interval {
    every_s: Option<NonZeroU64>,
    // Told when that changes. A signal that lies there already says it, too.
    keeper: Option<mpsc::Sender<()>>,
}

impl Ledger {
    /// When blocks are made from now on, and not by the clock.
    pub(in super::super) fn set_mining(&mut self, mining: Mining) {
        self.mining = mining;
        self.change_interval(None);
    }

    pub(in super::super) fn makes_each_transaction_its_block(&self) -> bool {
        self.mining == Mining::EachTransaction
    }

    /// As Anvil has it: what waits is included at once where this is new, and whoever wants no block for each transaction
    /// where there was none changes nothing.
    pub(in super::super) fn set_automine(&mut self, is_wanted: bool) {
        match (self.mining, is_wanted) {
            (Mining::EachTransaction, false) => self.set_mining(Mining::OnDemand),
            (Mining::OnDemand, true) => {
                self.set_mining(Mining::EachTransaction);
                if self.has_work() {
                    self.mine(None);
                }
            }
            (Mining::EachTransaction, true) | (Mining::OnDemand, false) => {}
        }
    }

    /// A block every so many seconds, and for no transaction; never by itself for zero.
    pub(in super::super) fn set_interval(&mut self, every_s: u64) -> Result<(), NodeError> {
        let every_s = NonZeroU64::new(every_s);
        let keeper = self.interval.keeper.as_ref();
        if every_s.is_some() && keeper.is_none_or(mpsc::Sender::is_closed) {
            let words =
                "this chain has no clock: serve it by DevServer, or run DevChain::mine_by_interval";
            return Err(refused(words));
        }
        self.mining = Mining::OnDemand;
        self.change_interval(every_s);
        Ok(())
    }

    pub(in super::super) const fn interval_s(&self) -> Option<u64> {
        match self.interval.every_s {
            Some(every_s) => Some(every_s.get()),
            None => None,
        }
    }

    pub(in super::super) fn interval(&self) -> Option<Duration> {
        self.interval_s().map(Duration::from_secs)
    }

    /// A signal whenever the interval changes; ends when another asks for it.
    pub(in super::super) fn keep_interval(&mut self) -> mpsc::Receiver<()> {
        let (keeper, changes) = mpsc::channel(0);
        self.interval.keeper = Some(keeper);
        changes
    }

    fn change_interval(&mut self, every_s: Option<NonZeroU64>) {
        self.interval.every_s = every_s;
        if let Some(keeper) = &mut self.interval.keeper {
            // A keeper that is gone is noticed when the next interval is asked for.
            drop(keeper.try_send(()));
        }
    }
}
