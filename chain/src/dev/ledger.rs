//! The chain itself: blocks, the state beneath them, and what waits.
//!
//! Decides and does nothing else: time comes with the call that makes a block, and what is random in a block comes from
//! its parent's hash. The same calls make the same chain, hash for hash.

mod admission;
mod block_at;
mod estimate;
mod fees;
mod filters;
mod gifts;
mod interval;
mod logs;
mod making;
mod snapshots;
mod tracing;

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::{B256, Bytes};
use revm::context::CfgEnv;

pub(super) use block_at::At;
pub(super) use filters::{News, Watched};

use super::execution::{self, Call};
use super::offered::Offered;
use super::pool::Pool;
use super::sealed::{Included, Sealed};
use super::state::{BlockHashes, State, View};
use super::{DevOptions, Mining, Rejection, Undone};
use crate::evm::NodeError;
use filters::Filters;
use gifts::Gifts;
use interval::Interval;
use snapshots::Snapshots;

/// Where a transaction stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) number: u64,
    pub(super) index: usize,
}

#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) options: DevOptions,
    mining: Mining,
    rules: CfgEnv,
    chain: Chain,
    state: State,
    pub(super) pool: Pool,
    // How often the chain was rewound: what is made afterwards differs from what was undone.
    forks: u64,
    // The time of the next block, where somebody has said it.
    next_timestamp_s: Option<u64>,
    snapshots: Snapshots,
    filters: Filters,
    gifts: Gifts,
    interval: Interval,
    // Who wants to be told that there are new blocks; a signal that lies there already says it, too.
    #[cfg(feature = "dev-ws")]
    watchers: Vec<futures_channel::mpsc::Sender<()>>,
}

/// The blocks, each the child of the one before; never empty.
#[derive(Debug, Default)]
struct Chain {
    blocks: Vec<Sealed>,
    numbers: BTreeMap<B256, u64>,
    places: BTreeMap<B256, Place>,
}

impl BlockHashes for Chain {
    fn hash(&self, number: u64) -> Option<B256> {
        self.get(number).map(|block| block.hash)
    }
}

impl Chain {
    fn get(&self, number: u64) -> Option<&Sealed> {
        self.blocks.get(usize::try_from(number).ok()?)
    }

    fn head(&self) -> &Sealed {
        self.blocks.last().expect("a chain has a first block")
    }

    fn push(&mut self, block: Sealed) {
        let number = block.header.number;
        self.numbers.insert(block.hash, number);
        for (index, included) in block.included.iter().enumerate() {
            let place = Place { number, index };
            self.places.insert(included.transaction.hash, place);
        }
        self.blocks.push(block);
    }

    fn pop(&mut self) -> Option<Sealed> {
        if self.blocks.len() <= 1 {
            return None;
        }
        let block = self.blocks.pop()?;
        self.numbers.remove(&block.hash);
        for included in &block.included {
            self.places.remove(&included.transaction.hash);
        }
        Some(block)
    }
}

impl Ledger {
    pub(super) fn new(options: DevOptions) -> Self {
        assert!(options.chain != 0, "no chain has the number zero");
        assert!(
            options.block_time_s != 0,
            "a block is later than its parent"
        );
        let mut ledger = Self {
            mining: options.mining,
            rules: execution::rules(options.hardfork, options.chain),
            chain: Chain::default(),
            state: State::genesis(&options.accounts),
            pool: Pool::default(),
            forks: 0,
            next_timestamp_s: None,
            snapshots: Snapshots::default(),
            filters: Filters::default(),
            gifts: Gifts::default(),
            interval: Interval::default(),
            #[cfg(feature = "dev-ws")]
            watchers: Vec::new(),
            options,
        };
        let genesis = ledger.genesis();
        ledger.chain.push(genesis);
        ledger
    }

    pub(super) fn head(&self) -> &Sealed {
        self.chain.head()
    }

    pub(super) fn height(&self) -> u64 {
        self.head().header.number
    }

    /// The block `number` of the chain as it is now.
    pub(super) fn numbered(&self, number: u64) -> Option<&Sealed> {
        self.chain.get(number)
    }

    /// The block of this hash, if the chain has it.
    pub(super) fn hashed(&self, hash: B256) -> Option<&Sealed> {
        self.chain.get(*self.chain.numbers.get(&hash)?)
    }

    /// Where an included transaction stands.
    pub(super) fn place(&self, hash: B256) -> Option<(Place, &Sealed, &Included)> {
        let place = *self.chain.places.get(&hash)?;
        let block = self.chain.get(place.number)?;
        Some((place, block, block.included.get(place.index)?))
    }

    pub(super) const fn state(&self) -> &State {
        &self.state
    }

    fn view(&self, height: u64) -> View<'_> {
        View {
            state: &self.state,
            height,
            hashes: &self.chain,
        }
    }

    /// Takes a transaction into the mempool, and makes a block of it where that is the custom.
    pub(super) fn submit(&mut self, raw: &[u8]) -> Result<B256, Rejection> {
        let transaction = Arc::new(Offered::decode(raw)?);
        let hash = transaction.hash;
        self.admit(transaction)?;
        self.filters.waits(hash);
        if self.mining == Mining::EachTransaction && self.has_work() {
            self.mine(None);
        }
        Ok(hash)
    }

    /// What a contract answers at a block.
    pub(super) fn call(&mut self, call: &Call, at: At) -> Result<Bytes, NodeError> {
        let gas_limit = call.gas.unwrap_or(self.options.block_gas_limit);
        let gas_limit = gas_limit.min(self.options.block_gas_limit);
        self.with_context(at, |view, rules, block| {
            let transacted = execution::call(view, rules, block, call, gas_limit);
            execution::answer_of(transacted, call)
        })?
    }

    /// Undoes the newest `depth` blocks; the first block stays. What they held, in order.
    pub(super) fn rewind(&mut self, depth: u64, undone: Undone) -> Vec<Arc<Offered>> {
        let mut transactions = Vec::new();
        for _ in 0..depth {
            let Some(block) = self.chain.pop() else {
                break;
            };
            self.filters.undone(&block);
            let block = block.included.into_iter().rev();
            transactions.extend(block.map(|included| included.transaction));
        }
        transactions.reverse();
        self.state.rewind(self.height());
        self.forget_gifts();
        self.forks += 1;
        if undone == Undone::Return {
            for transaction in &transactions {
                self.pool.restore(transaction.clone());
            }
        }
        transactions
    }

    /// A signal whenever there are new blocks.
    #[cfg(feature = "dev-ws")]
    pub(super) fn watch(&mut self) -> futures_channel::mpsc::Receiver<()> {
        let (watcher, signals) = futures_channel::mpsc::channel(0);
        self.watchers.push(watcher);
        signals
    }

    #[cfg(feature = "dev-ws")]
    fn tell_watchers(&mut self) {
        self.watchers
            .retain_mut(|watcher| watcher.try_send(()).is_ok() || !watcher.is_closed());
    }

    /// The time of the next block, unless it is before its parent's.
    pub(super) const fn set_next_timestamp(&mut self, timestamp_s: u64) {
        self.next_timestamp_s = Some(timestamp_s);
    }

    /// Whether the next block's time was set.
    pub(super) const fn has_next_timestamp(&self) -> bool {
        self.next_timestamp_s.is_some()
    }
}
