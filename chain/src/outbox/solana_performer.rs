//! Acting on Solana.

use alloy_primitives::B256;
use async_trait::async_trait;

use super::request::{Ask, Found, Performer, SolanaSight, SolanaView};
use crate::solana::{Commitment, SignedTransaction, SolanaClient};
use crate::{ChainClient, ChainError, ChainFamily, ChainId};

#[async_trait]
impl Performer for SolanaClient {
    fn chain_id(&self) -> ChainId {
        ChainClient::chain_id(self)
    }

    async fn perform(&self, ask: Ask) -> Result<Found, ChainError> {
        match ask {
            Ask::SignSolana(intent) => {
                let before = self.rpc().height(Commitment::Finalized).await?;
                let signed = self.sign(&intent).await?;
                Ok(Found::SignedSolana {
                    raw: signed.raw().clone(),
                    signature: signed.signature(),
                    last_valid_height: signed.last_valid_height(),
                    signed_slot: before.slot,
                })
            }
            Ask::Broadcast {
                raw,
                last_valid_height,
            } => {
                let signed = SignedTransaction::from_raw(raw, last_valid_height)?;
                self.broadcast(&signed).await?;
                Ok(Found::Broadcast)
            }
            Ask::LookSolana { wanted, .. } => {
                let final_head = self.rpc().height(Commitment::Finalized).await?;
                let mut latest_slot = final_head.slot;
                let mut sights = Vec::with_capacity(wanted.len());
                let mut known_since: Option<u64> = None;
                for (entry, signature) in wanted {
                    let sighting = self.rpc().sighting(&signature).await?;
                    let (status, as_of) = (sighting.status, sighting.as_of);
                    known_since = known_since.max(sighting.known_since);
                    latest_slot = latest_slot.max(as_of);
                    if as_of < final_head.slot {
                        // A node that is behind the final block: its ignorance says nothing.
                        continue;
                    }
                    let Some(status) = status else {
                        sights.push((entry, None));
                        continue;
                    };
                    let is_final = status.commitment == Commitment::Finalized;
                    let block = self.rpc().block(status.slot).await?;
                    let block_hash = match block {
                        Some(block) => block.hash,
                        // The status is kept longer than the block, and it is over.
                        None if is_final => B256::ZERO,
                        // At commitment `processed` there is no block to name yet.
                        None => continue,
                    };
                    let sight = SolanaSight {
                        slot: status.slot,
                        block_hash,
                        is_success: status.failure.is_none(),
                        is_final,
                    };
                    sights.push((entry, Some(sight)));
                }
                let first_slot = match known_since {
                    Some(since) => since,
                    None => self.rpc().first_slot().await?,
                };
                Ok(Found::Solana(SolanaView {
                    final_height: final_head.height,
                    latest_slot,
                    first_slot,
                    sights,
                }))
            }
            Ask::Fees | Ask::Gas(_) | Ask::Sign { .. } | Ask::Look { .. } => {
                Err(ChainError::Unsupported {
                    family: ChainFamily::Solana,
                    what: "nonces and gas",
                })
            }
        }
    }
}
