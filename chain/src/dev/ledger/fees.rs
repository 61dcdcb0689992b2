//! What gas costs, and has cost.

use alloy_primitives::U256;

use super::super::execution::refused;
use super::super::sealed::Sealed;
use super::{At, Ledger};
use crate::evm::{FeeHistory, NodeError};

/// The most blocks whose fees are told at once.
const HISTORY_BLOCKS_MAX: u64 = 1024;
const PERCENTILES_MAX: usize = 100;
const TIP_BLOCKS: u64 = 20;
// What is offered where nobody has offered anything yet.
const TIP_FIRST: u128 = 1_000_000_000;

impl Ledger {
    /// Base fees and tips of up to `blocks` blocks, the newest of them at `at`; and how full they were, from 0 to 1. Of none
    /// nothing is told, not even the fee to come.
    pub(in super::super) fn fee_history(
        &self,
        blocks: u64,
        at: At,
        percentiles: &[f64],
    ) -> Result<(FeeHistory, Vec<f64>), NodeError> {
        let is_valid = percentiles.iter().all(|one| (0.0..=100.0).contains(one))
            && percentiles.is_sorted()
            && percentiles.len() <= PERCENTILES_MAX;
        if !is_valid {
            return Err(refused("invalid reward percentile"));
        }
        let newest = self.expect_number(at)?;
        if blocks == 0 {
            let history = FeeHistory {
                oldest_block: 0,
                base_fees: Vec::new(),
                tips: Vec::new(),
            };
            return Ok((history, Vec::new()));
        }
        let blocks = blocks.min(HISTORY_BLOCKS_MAX).min(newest + 1);
        let oldest_block = newest + 1 - blocks;
        let told = || (oldest_block..=newest).filter_map(|number| self.numbered(number));
        let next = match self.numbered(newest + 1) {
            Some(block) => block.base_fee(),
            None => self.next_base_fee(),
        };
        let base_fees = told().map(Sealed::base_fee).chain([next]);
        let history = FeeHistory {
            oldest_block,
            base_fees: base_fees.map(U256::from).collect(),
            tips: match percentiles {
                [] => Vec::new(),
                _ => told().map(|block| tips_at(block, percentiles)).collect(),
            },
        };
        let ratio = |block: &Sealed| block.header.gas_used as f64 / block.header.gas_limit as f64;
        Ok((history, told().map(ratio).collect()))
    }

    /// A tip with which one is included soon: the median of those paid lately.
    pub(in super::super) fn suggested_tip(&self) -> u128 {
        let height = self.height();
        let lately = height.saturating_sub(TIP_BLOCKS - 1)..=height;
        let mut tips: Vec<u128> = lately
            .filter_map(|number| self.numbered(number))
            .flat_map(|block| paid_tips(block).map(|(tip, _)| tip))
            .collect();
        tips.sort_unstable();
        let median = tips.get(tips.len() / 2).copied();
        median.unwrap_or(TIP_FIRST).max(self.options.tip_min)
    }
}

/// Each transaction's tip for a unit of gas, and its gas.
fn paid_tips(block: &Sealed) -> impl Iterator<Item = (u128, u64)> {
    let base_fee = u128::from(block.base_fee());
    let included = block.included.iter();
    included.map(move |one| (one.gas_price.saturating_sub(base_fee), one.gas_used))
}

/// The tips below which so many percent of the block's gas lie.
fn tips_at(block: &Sealed, percentiles: &[f64]) -> Vec<U256> {
    let mut tips: Vec<(u128, u64)> = paid_tips(block).collect();
    tips.sort_unstable();
    percentiles
        .iter()
        .map(|percentile| {
            let threshold = block.header.gas_used as f64 * percentile / 100.0;
            let mut gas = 0_u64;
            let reached = tips.iter().find(|(_, used)| {
                gas += used;
                gas as f64 >= threshold
            });
            let tip = reached.or_else(|| tips.last()).map_or(0, |(tip, _)| *tip);
            U256::from(tip)
        })
        .collect()
}
