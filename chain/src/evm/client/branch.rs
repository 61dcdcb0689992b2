//! Blocks that were followed down from the final one: whoever asks again goes on from there.

use std::collections::{BTreeMap, VecDeque};

use alloy_primitives::B256;

use crate::Block;

// Blocks that are remembered, oldest forgotten first.
const BLOCKS_MAX: usize = 256;

/// Blocks by their hash, which fixes their number and their parent.
#[derive(Default)]
pub(super) struct Branch {
    blocks: BTreeMap<B256, Block>,
    order: VecDeque<B256>,
}

impl Branch {
    pub(super) fn remember(&mut self, block: Block) {
        if self.blocks.insert(block.hash, block).is_some() {
            return;
        }
        self.order.push_back(block.hash);
        if self.order.len() > BLOCKS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.blocks.remove(&oldest);
        }
    }

    pub(super) fn block(&self, hash: B256) -> Option<Block> {
        self.blocks.get(&hash).copied()
    }
}
