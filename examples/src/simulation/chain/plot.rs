//! What liars hold to for long: one story, told to whoever asks, and the truth of everything else.

use std::collections::BTreeMap;

use peaberry_chain::Block;
use peaberry_chain::primitives::{Address, B256, keccak256};

use super::model::Model;
use super::reached;

/// A story that a liar does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Story {
    /// Nobody has ever heard of some transactions, and there are no receipts of them.
    NoReceipts,
    /// One block is the final one.
    OneFinalBlock,
    /// There are no logs in some ranges of blocks.
    NoLogs,
    /// An account's nonce is one number.
    OneNonce,
    /// The chain has ended in an orphan, and that is final.
    OnOrphan,
    /// Receipts and logs were thrown away, in words that nobody else uses.
    Refusals,
    /// None: it does not answer.
    Silence,
}

impl Story {
    pub(super) const ALL: [Self; 7] = [
        Self::NoReceipts,
        Self::OneFinalBlock,
        Self::NoLogs,
        Self::OneNonce,
        Self::OnOrphan,
        Self::Refusals,
        Self::Silence,
    ];

    /// The name under which it is counted.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::NoReceipts => reached::STORY_NO_RECEIPTS,
            Self::OneFinalBlock => reached::STORY_ONE_FINAL_BLOCK,
            Self::NoLogs => reached::STORY_NO_LOGS,
            Self::OneNonce => reached::STORY_ONE_NONCE,
            Self::OnOrphan => reached::STORY_ON_ORPHAN,
            Self::Refusals => reached::STORY_REFUSALS,
            Self::Silence => reached::STORY_SILENCE,
        }
    }
}

/// When a story is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Telling {
    pub(super) story: Story,
    /// From this of the world's actions on.
    pub(super) from: u64,
    /// Also when all others are well again, to the end of the world.
    pub(super) is_endless: bool,
    /// Who tells it seems to have come no farther than the honest node that is behind.
    pub(super) is_modest: bool,
    /// What makes up its details.
    pub(super) seed: u64,
}

/// A story that is being told, by all liars of a world alike.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) story: Story,
    pub(super) is_modest: bool,
    seed: u64,
    /// What was named once is named again.
    final_block: Option<Block>,
    nonces: BTreeMap<Address, u64>,
}

/// Blocks of one range of which a story speaks.
const RANGE: u64 = 8;

impl Plot {
    pub(super) const fn new(telling: Telling) -> Self {
        Self {
            story: telling.story,
            is_modest: telling.is_modest,
            seed: telling.seed,
            final_block: None,
            nonces: BTreeMap::new(),
        }
    }

    /// Whether the story speaks of what has this number: of everything, or of half.
    fn is_about(&self, number: u64) -> bool {
        let is_about_all = self.seed.is_multiple_of(2);
        is_about_all || fastrand::Rng::with_seed(self.seed ^ number).bool()
    }

    /// Whether it speaks of this transaction.
    pub(super) fn is_about_transaction(&self, hash: B256) -> bool {
        let (number, _) = hash.0.split_first_chunk().expect("a hash has 32 bytes");
        self.is_about(u64::from_be_bytes(*number))
    }

    /// Whether it speaks of the logs of this block.
    pub(super) fn is_about_block(&self, number: u64) -> bool {
        self.is_about(number / RANGE)
    }

    /// The final block of the story.
    pub(super) fn final_block(&mut self, model: &Model) -> Block {
        if let Some(block) = self.final_block {
            return block;
        }
        let mut dice = fastrand::Rng::with_seed(self.seed);
        let tip = model.tip();
        let at = |number| model.sealed(number).map(|sealed| sealed.block);
        let truth = at(tip.saturating_sub(model.finality)).expect("there is a first block");
        let forged = |block: Block| Block {
            hash: keccak256(block.hash),
            ..block
        };
        let block = match dice.u8(..4) {
            0 => forged(truth),
            1 => forged(Block {
                number: tip + dice.u64(1..2_000),
                ..truth
            }),
            // It is on the chain now, and may be undone.
            2 => at(tip).unwrap_or(truth),
            _ => at(tip.saturating_sub(model.finality + dice.u64(1..80))).unwrap_or(truth),
        };
        *self.final_block.insert(block)
    }

    /// The story's final block, where it was named before.
    pub(super) fn named(&self, is_it: impl FnOnce(Block) -> bool) -> Option<Block> {
        self.final_block.filter(|block| is_it(*block))
    }

    /// The account's nonce in the story.
    pub(super) fn nonce(&mut self, account: Address, truth: u64) -> u64 {
        let mut dice = fastrand::Rng::with_seed(self.seed ^ u64::from(account[0]));
        let told = self.nonces.entry(account);
        *told.or_insert_with(|| match dice.u8(..5) {
            0 => 0,
            1 => truth,
            2 | 3 => truth + dice.u64(1..6),
            _ => dice.u64(..),
        })
    }
}
