//! A model of a Solana cluster: block hashes that expire, forks that are abandoned, transactions that get lost.

use std::collections::{BTreeMap, BTreeSet};

use peaberry_chain::primitives::{B256, keccak256};
use peaberry_chain::wallet::SolanaKey;
use peaberry_chain::{SolanaAddress, TxId};

/// How many blocks a block hash dates transactions.
pub(super) const VALID_BLOCKS: u64 = 150;
/// What is final lies so deep.
pub(super) const FINALITY: u64 = 6;

/// Whose account it is.
pub(super) fn key() -> SolanaKey {
    SolanaKey::from_bytes(&[7; 32])
}

/// The slot of a block: some stay empty.
pub(super) const fn slot_of(height: u64) -> u64 {
    height + height / 5
}

/// The height of the block in a slot.
pub(super) fn height_of(slot: u64) -> Option<u64> {
    let near = slot * 5 / 6;
    (near.saturating_sub(1)..=near + 1).find(|height| slot_of(*height) == slot)
}

/// A transaction, as its bytes say: one transfer of lamports, whose number is what it is for.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) signature: [u8; 64],
    pub(super) payload: u64,
    pub(super) blockhash: B256,
}

impl Sent {
    /// One signature, and a message of one transfer: a header of three bytes, three accounts, the block hash, and at its end
    /// the lamports.
    pub(super) fn decode(raw: &[u8]) -> Option<Self> {
        let signature = raw.get(1..65)?.try_into().ok()?;
        let blockhash = B256::try_from(raw.get(165..197)?).ok()?;
        let payload = u64::from_le_bytes(*raw.last_chunk()?);
        Some(Self {
            signature,
            payload,
            blockhash,
        })
    }
}

#[derive(Debug)]
pub(super) struct Made {
    pub(super) hash: B256,
    pub(super) parent: B256,
    /// The signatures in it, with what they pay for.
    sent: Vec<([u8; 64], u64)>,
}

#[derive(Debug, Default)]
pub(super) struct Cluster {
    blocks: Vec<Made>,
    made_count: u64,
    pool: BTreeMap<[u8; 64], Sent>,
    pub(super) final_height: u64,
    /// Where the ledger of one of the nodes begins: of what was before it knows nothing.
    pub(super) first_slot: u64,
    /// The heights between which the account cannot pay.
    pub(super) poor: (u64, u64),
    /// What honest nodes have taken, ever.
    pub(super) taken: BTreeSet<[u8; 64]>,
    /// Every block hash that there ever was, with the height up to which it dates transactions.
    pub(super) dated: BTreeMap<B256, u64>,
}

impl Cluster {
    pub(super) fn height(&self) -> u64 {
        self.blocks.len() as u64
    }

    pub(super) fn block(&self, height: u64) -> Option<&Made> {
        self.blocks
            .get(usize::try_from(height.checked_sub(1)?).ok()?)
    }

    /// The height of the block with this hash, on the cluster's own fork.
    pub(super) fn height_with(&self, hash: B256) -> Option<u64> {
        let height = self.dated.get(&hash)? - VALID_BLOCKS;
        self.block(height).filter(|made| made.hash == hash)?;
        Some(height)
    }

    pub(super) fn is_poor(&self, height: u64) -> bool {
        (self.poor.0..self.poor.1).contains(&height)
    }

    /// The next block; `takes` says which of those that wait reach its maker.
    pub(super) fn mine(&mut self, mut takes: impl FnMut() -> bool) {
        let height = self.height() + 1;
        let mut block = Vec::new();
        let pool = std::mem::take(&mut self.pool);
        for (signature, sent) in pool {
            let dated = self.height_with(sent.blockhash);
            let is_valid = dated.is_some_and(|at| at + VALID_BLOCKS >= height);
            if !is_valid || self.find(signature).is_some() {
                continue;
            }
            if takes() && !self.is_poor(height) {
                block.push((signature, sent.payload));
            } else {
                self.pool.insert(signature, sent);
            }
        }
        self.made_count += 1;
        let parent = self.blocks.last().map_or(B256::ZERO, |made| made.hash);
        let mut seed = parent.to_vec();
        seed.extend(self.made_count.to_be_bytes());
        let hash = keccak256(seed);
        self.dated.insert(hash, height + VALID_BLOCKS);
        self.blocks.push(Made {
            hash,
            parent,
            sent: block,
        });
        self.final_height = self.final_height.max(height.saturating_sub(FINALITY));
    }

    /// Abandons the newest blocks that are not final; their transactions may come again while they are valid.
    pub(super) fn abandon(&mut self, depth: u64) {
        let depth = depth.min(self.height() - self.final_height);
        let keep = self.blocks.len() - usize::try_from(depth).unwrap_or(0);
        drop(self.blocks.split_off(keep));
    }

    /// Blocks that have no room for what waits, so many that it expires.
    pub(super) fn congest(&mut self) {
        (0..VALID_BLOCKS + FINALITY + 2).for_each(|_| self.mine(|| false));
    }

    /// What waits is included, and long final and past its time when a node begins from a snapshot: it has none of that.
    pub(super) fn begin_anew(&mut self) {
        self.mine(|| true);
        self.congest();
        self.first_slot = slot_of(self.height());
    }

    pub(super) fn forget(&mut self) {
        self.pool.pop_first();
    }

    pub(super) fn take(&mut self, sent: Sent) {
        self.taken.insert(sent.signature);
        self.pool.insert(sent.signature, sent);
    }

    /// The height of its block.
    pub(super) fn find(&self, signature: [u8; 64]) -> Option<u64> {
        let found = self
            .blocks
            .iter()
            .rposition(|made| made.sent.iter().any(|(one, _)| *one == signature));
        found.map(|at| at as u64 + 1)
    }

    pub(super) fn holds(&self, id: TxId) -> bool {
        matches!(id, TxId::Solana(signature) if self.find(signature).is_some())
    }

    pub(super) fn is_final(&self, id: TxId) -> bool {
        let TxId::Solana(signature) = id else {
            return false;
        };
        self.find(signature)
            .is_some_and(|height| height <= self.final_height)
    }

    pub(super) fn count(&self, payload: u64) -> usize {
        let all = self.blocks.iter().flat_map(|made| &made.sent);
        all.filter(|(_, paid)| *paid == payload).count()
    }
}

pub(super) fn account() -> SolanaAddress {
    key().solana_address()
}
