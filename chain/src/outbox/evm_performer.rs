//! Acting on EVM chains.

use alloy_primitives::{Address as EvmAddress, B256};
use async_trait::async_trait;
use futures_util::future::{try_join_all, try_join3};

use super::record::EntryId;
use super::request::{AccountView, Ask, Found, Performer, Sight, Wanted};
use crate::evm::{EvmClient, SignedTransaction};
use crate::{BlockAt, ChainClient, ChainError, ChainFamily, ChainId, Finality};

#[async_trait]
impl Performer for EvmClient {
    fn chain_id(&self) -> ChainId {
        ChainClient::chain_id(self)
    }

    async fn perform(&self, ask: Ask) -> Result<Found, ChainError> {
        match ask {
            Ask::Fees => self.fees().await.map(Found::Fees),
            Ask::Gas(request) => self.gas_limit(&request).await.map(Found::Gas),
            Ask::Sign { from, transaction } => {
                self.sign(from, &transaction).await.map(Found::Signed)
            }
            Ask::Broadcast { raw, .. } => {
                let raw = SignedTransaction::from_raw(raw);
                self.rpc().broadcast(raw.raw()).await?;
                Ok(Found::Broadcast)
            }
            Ask::Look {
                account,
                wanted,
                blocks,
            } => look(self, account, &wanted, &blocks)
                .await
                .map(Found::Account),
            Ask::SignSolana(_) | Ask::LookSolana { .. } => Err(ChainError::Unsupported {
                family: ChainFamily::Evm,
                what: "what was asked",
            }),
        }
    }
}

/// Finality is asked for first: what is read after it is at least as new.
async fn look(
    client: &EvmClient,
    account: EvmAddress,
    wanted: &[Wanted],
    blocks: &[(u64, B256)],
) -> Result<AccountView, ChainError> {
    let rpc = client.rpc();
    let final_block = match client.head(Finality::Final).await {
        Ok(block) => Some(block),
        Err(ChainError::NotFound { .. }) => None,
        Err(error) => return Err(error),
    };
    let (latest, latest_nonce, pending_nonce) = try_join3(
        client.head(Finality::Latest),
        rpc.nonce(account, BlockAt::Latest),
        rpc.nonce(account, BlockAt::Pending),
    )
    .await?;
    let canonical = blocks.iter().map(async |(number, hash)| {
        let block = rpc.block(BlockAt::Number(*number)).await?;
        Ok::<bool, ChainError>(block.is_some_and(|block| block.hash == *hash))
    });
    let canonical = try_join_all(canonical).await?;
    let sights = wanted.iter().map(async |one| {
        let sight = sight(client, one, latest_nonce).await?;
        Ok::<(EntryId, Sight), ChainError>((one.entry, sight))
    });
    let sights = try_join_all(sights).await?;
    let is_missing = sights.iter().any(|(_, sight)| *sight == Sight::Missing);
    let is_wanted = |at: u64| is_missing || blocks.iter().any(|(number, _)| *number <= at);
    let final_nonce = match final_block.filter(|block| is_wanted(block.number)) {
        Some(block) => match rpc.nonce(account, BlockAt::Hash(block.hash)).await {
            Ok(nonce) => Some(nonce),
            // A node that has no state of that block: everything else still counts.
            Err(ChainError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        },
        None => None,
    };
    Ok(AccountView {
        final_number: final_block.map(|block| block.number),
        latest_number: latest.number,
        latest_nonce,
        pending_nonce,
        final_nonce,
        canonical,
        sights,
    })
}

async fn sight(
    client: &EvmClient,
    wanted: &Wanted,
    latest_nonce: u64,
) -> Result<Sight, ChainError> {
    if wanted.nonce >= latest_nonce {
        return Ok(Sight::Ahead);
    }
    // The newest attempt is the likeliest; an older one may have won all the same.
    for hash in wanted.attempts.iter().rev() {
        if let Some(receipt) = client.rpc().receipt(*hash).await? {
            return Ok(Sight::Included {
                transaction: *hash,
                block_number: receipt.block_number,
                block_hash: receipt.block_hash,
                is_success: receipt.is_success,
            });
        }
    }
    Ok(Sight::Missing)
}
