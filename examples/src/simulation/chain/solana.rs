//! A model of a Solana cluster: block hashes that expire, forks that are abandoned, transactions that get lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use peaberry_chain::outbox::{Ask, EntryId, Found, Performer, SolanaSight, SolanaView};
use peaberry_chain::primitives::{B256, keccak256};
use peaberry_chain::{ChainError, ChainId, Intent, Sent, TxId};

use super::faults::Faults;
use super::reached;

/// How many blocks a block hash dates transactions.
const VALID_BLOCKS: u64 = 12;
/// What is final lies so deep.
pub(super) const FINALITY: u64 = 6;

#[derive(Clone, Debug)]
struct Waiting {
    payload: u64,
    last_valid: u64,
}

#[derive(Debug, Default)]
pub(super) struct Cluster {
    /// The signatures in each block, with what they pay for.
    blocks: Vec<Vec<([u8; 64], u64)>>,
    pool: BTreeMap<[u8; 64], Waiting>,
    final_height: u64,
    /// Where the node's ledger begins: of what was before it knows nothing.
    pub(super) first_slot: u64,
}

impl Cluster {
    pub(super) fn height(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// The next block; `takes` says which of those that wait reach its maker.
    pub(super) fn mine(&mut self, mut takes: impl FnMut() -> bool) {
        let height = self.height() + 1;
        let mut block = Vec::new();
        let pool = std::mem::take(&mut self.pool);
        for (signature, waiting) in pool {
            if waiting.last_valid < height || self.find(signature).is_some() {
                continue;
            }
            if takes() {
                block.push((signature, waiting.payload));
            } else {
                self.pool.insert(signature, waiting);
            }
        }
        self.blocks.push(block);
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
        self.first_slot = self.height();
    }

    pub(super) fn forget(&mut self) {
        self.pool.pop_first();
    }

    fn find(&self, signature: [u8; 64]) -> Option<u64> {
        let found = self
            .blocks
            .iter()
            .position(|block| block.iter().any(|(one, _)| *one == signature));
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
            .is_some_and(|slot| slot <= self.final_height)
    }

    pub(super) fn count(&self, payload: u64) -> usize {
        let all = self.blocks.iter().flatten();
        all.filter(|(_, paid)| *paid == payload).count()
    }
}

/// Acts on the cluster.
pub(super) struct Acting {
    pub(super) cluster: Arc<Mutex<Cluster>>,
    pub(super) faults: Arc<Mutex<Faults>>,
}

fn timed_out(sent: Sent) -> ChainError {
    ChainError::TimedOut {
        doing: "a question",
        after: std::time::Duration::from_secs(1),
        sent,
    }
}

impl Acting {
    fn loses(&self, fault: &'static str) -> bool {
        let mut faults = self.faults.lock();
        let loses = faults.chance(40);
        if loses {
            faults.count(fault);
        }
        loses
    }

    fn sign(&self, intent: &Intent) -> Found {
        let Intent::Transfer { amount, .. } = intent else {
            panic!("only transfers are submitted");
        };
        let payload = amount.to_u64().expect("payloads are small");
        let height = self.cluster.lock().height();
        let mut raw = payload.to_be_bytes().to_vec();
        raw.extend(height.to_be_bytes());
        Found::SignedSolana {
            signature: signature_of(&raw),
            raw: raw.into(),
            last_valid_height: height + VALID_BLOCKS,
            signed_slot: height.saturating_sub(FINALITY),
        }
    }

    fn broadcast(&self, raw: &[u8], last_valid: u64) {
        let payload = raw
            .first_chunk()
            .map_or(0, |bytes| u64::from_be_bytes(*bytes));
        // A leader that never hears of it: Solana has no mempool that keeps it.
        if self.loses(reached::SOLANA_LOST) || self.faults.lock().chance(400) {
            return;
        }
        let waiting = Waiting {
            payload,
            last_valid,
        };
        self.cluster.lock().pool.insert(signature_of(raw), waiting);
    }

    fn look(&self, wanted: &[(EntryId, [u8; 64])]) -> SolanaView {
        let cluster = self.cluster.lock();
        let sight = |signature: [u8; 64]| {
            let slot = cluster.find(signature)?;
            if slot < cluster.first_slot {
                return None;
            }
            Some(SolanaSight {
                slot,
                block_hash: B256::left_padding_from(&slot.to_be_bytes()),
                is_success: true,
                is_final: slot <= cluster.final_height,
            })
        };
        SolanaView {
            final_height: cluster.final_height,
            latest_slot: cluster.height(),
            first_slot: cluster.first_slot,
            sights: wanted
                .iter()
                .map(|(entry, signature)| (*entry, sight(*signature)))
                .collect(),
        }
    }
}

fn signature_of(raw: &[u8]) -> [u8; 64] {
    let half = keccak256(raw);
    let mut signature = [0; 64];
    let (first, second) = signature.split_at_mut(32);
    first.copy_from_slice(half.as_slice());
    second.copy_from_slice(half.as_slice());
    signature
}

#[async_trait]
impl Performer for Acting {
    fn chain_id(&self) -> ChainId {
        ChainId::SOLANA
    }

    async fn perform(&self, ask: Ask) -> Result<Found, ChainError> {
        if self.loses(reached::QUESTION_LOST) {
            return Err(timed_out(Sent::No));
        }
        let found = match ask {
            Ask::SignSolana(intent) => self.sign(&intent),
            Ask::Broadcast {
                raw,
                last_valid_height,
            } => {
                self.broadcast(&raw, last_valid_height);
                Found::Broadcast
            }
            Ask::LookSolana { wanted, .. } => Found::Solana(self.look(&wanted)),
            other => panic!("not a question about Solana: {other:?}"),
        };
        if self.loses(reached::ANSWER_LOST) {
            return Err(timed_out(Sent::Maybe(None)));
        }
        Ok(found)
    }
}
