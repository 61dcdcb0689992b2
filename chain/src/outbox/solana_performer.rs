//! Acting on Solana.

use alloy_primitives::B256;
use async_trait::async_trait;

use super::record::EntryId;
use super::request::{Ask, Found, Performer, SolanaSight, SolanaView};
use crate::solana::{Commitment, SignatureStatus, SignedTransaction, SolanaClient};
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
            Ask::LookSolana { wanted, .. } => look(self, wanted).await.map(Found::Solana),
            Ask::Fees | Ask::Gas(_) | Ask::Sign { .. } | Ask::Look { .. } => {
                Err(ChainError::Unsupported {
                    family: ChainFamily::Solana,
                    what: "nonces and gas",
                })
            }
        }
    }
}

/// The final block first: whoever has come to it and knows nothing of a transaction says that it is in no block below.
async fn look(
    client: &SolanaClient,
    wanted: Vec<(EntryId, [u8; 64])>,
) -> Result<SolanaView, ChainError> {
    let rpc = client.rpc();
    let final_head = rpc.height(Commitment::Finalized).await?;
    let mut view = SolanaView {
        final_height: final_head.height,
        latest_slot: final_head.slot,
        sights: Vec::with_capacity(wanted.len()),
    };
    let mut open = Vec::new();
    for (entry, signature) in wanted {
        let sighting = rpc.sighting(&signature).await?;
        view.latest_slot = view.latest_slot.max(sighting.as_of);
        let Some(status) = &sighting.status else {
            // The ignorance of a node that is behind the final block says nothing, nor of several that do not say since when
            // they keep all: what others show of other transactions is not to suffer for that.
            let known = sighting.ignorance_at(final_head.slot);
            if let Some(known) = known.filter(|known| known.since != Some(u64::MAX)) {
                let as_of = known.as_of;
                match known.since {
                    Some(since) => view
                        .sights
                        .push((entry, SolanaSight::Missing { as_of, since })),
                    None => open.push((entry, as_of)),
                }
            }
            continue;
        };
        if sighting.as_of >= final_head.slot
            && let Some(sight) = included(client, status).await?
        {
            view.sights.push((entry, sight));
        }
    }
    if !open.is_empty() {
        // Behind the statuses: what a node throws away meanwhile makes it younger.
        let since = rpc.first_slot().await?;
        let missing = open.into_iter();
        let missing = missing.map(|(entry, as_of)| (entry, SolanaSight::Missing { as_of, since }));
        view.sights.extend(missing);
    }
    Ok(view)
}

/// `None` where there is no block to name yet.
async fn included(
    client: &SolanaClient,
    status: &SignatureStatus,
) -> Result<Option<SolanaSight>, ChainError> {
    let is_final = status.commitment == Commitment::Finalized;
    let block = client.rpc().block(status.slot).await?;
    let block_hash = match block {
        Some(block) => block.hash,
        // The status is kept longer than the block, and it is over.
        None if is_final => B256::ZERO,
        // At commitment `processed`.
        None => return Ok(None),
    };
    Ok(Some(SolanaSight::Included {
        slot: status.slot,
        block_hash,
        is_final,
        failure: status.failure.clone(),
    }))
}
