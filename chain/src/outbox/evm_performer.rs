//! Acting on EVM chains.

use std::collections::BTreeMap;

use alloy_primitives::{Address as EvmAddress, B256};
use async_trait::async_trait;
use futures_util::future::{try_join_all, try_join3, try_join4};

use super::record::EntryId;
use super::request::{AccountView, Ask, Found, Performer, Place, Sight, Wanted};
use crate::evm::{EvmClient, EvmRpc, SignedTransaction};
use crate::{Block, BlockAt, ChainClient, ChainError, ChainFamily, ChainId, Finality};

/// So far below the final block its branch is followed.
const BRANCH_MAX: u64 = 64;

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

/// In two rounds of questions: where the chain and the account stand, and what that means for what is on its way. The second
/// is at least as new as the final block, whose branch is then asked for parent by parent, 64 at most.
async fn look(
    client: &EvmClient,
    account: EvmAddress,
    wanted: &[Wanted],
    blocks: &[(u64, B256)],
) -> Result<AccountView, ChainError> {
    let rpc = client.rpc();
    let (final_block, latest, latest_nonce, pending_nonce) = try_join4(
        final_head(client),
        client.head(Finality::Latest),
        rpc.nonce(account, BlockAt::Latest),
        rpc.nonce(account, BlockAt::Pending),
    )
    .await?;
    let sights = wanted.iter().map(async |one| {
        let sight = sight(client, one, latest_nonce).await?;
        Ok::<(EntryId, Sight), ChainError>((one.entry, sight))
    });
    let is_due = |block: &Block| blocks.iter().any(|(number, _)| *number <= block.number);
    let (places, sights, final_nonce) = try_join3(
        places(client, final_block, blocks),
        try_join_all(sights),
        nonce_at(client, account, final_block.filter(is_due)),
    )
    .await?;
    let is_missing = sights.iter().any(|(_, sight)| *sight == Sight::Missing);
    let final_nonce = match final_nonce {
        None if is_missing => nonce_at(client, account, final_block).await?,
        known => known,
    };
    Ok(AccountView {
        final_number: final_block.map(|block| block.number),
        latest_number: latest.number,
        latest_nonce,
        pending_nonce,
        final_nonce,
        places,
        sights,
    })
}

async fn final_head(client: &EvmClient) -> Result<Option<Block>, ChainError> {
    match client.head(Finality::Final).await {
        Ok(block) => Ok(Some(block)),
        Err(ChainError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The account's nonce at the end of a block; `None` from a node that has no state of it: everything else still counts.
async fn nonce_at(
    client: &EvmClient,
    account: EvmAddress,
    block: Option<Block>,
) -> Result<Option<u64>, ChainError> {
    let Some(block) = block else {
        return Ok(None);
    };
    let nonce = client.rpc().nonce(account, BlockAt::Hash(block.hash));
    match nonce.await {
        Ok(nonce) => Ok(Some(nonce)),
        Err(ChainError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn places(
    client: &EvmClient,
    final_block: Option<Block>,
    blocks: &[(u64, B256)],
) -> Result<Vec<Place>, ChainError> {
    let rpc = client.rpc();
    let branch = match final_block {
        Some(block) => branch_of(&**rpc, block, blocks).await?,
        None => BTreeMap::new(),
    };
    let places = blocks.iter().map(async |(number, hash)| {
        match branch.get(number) {
            Some(own) if own == hash => return Ok(Place::Final),
            Some(_) => return Ok(Place::Gone),
            None => {}
        }
        Ok(match rpc.block(BlockAt::Number(*number)).await? {
            Some(block) if block.hash == *hash => Place::Canonical,
            Some(_) => Place::Gone,
            None => Place::Beyond,
        })
    });
    try_join_all(places).await
}

/// Numbers and hashes of the final block's branch, as far down as there are blocks to place, and not too far: what is found
/// by number may come from a node on a fork that the others have left.
async fn branch_of(
    rpc: &dyn EvmRpc,
    final_block: Block,
    blocks: &[(u64, B256)],
) -> Result<BTreeMap<u64, B256>, ChainError> {
    let mut branch = BTreeMap::new();
    let near = blocks.iter().map(|(number, _)| *number).filter(|number| {
        let distance = final_block.number.checked_sub(*number);
        distance.is_some_and(|distance| distance <= BRANCH_MAX)
    });
    let Some(lowest) = near.min() else {
        return Ok(branch);
    };
    branch.insert(final_block.number, final_block.hash);
    let mut block = final_block;
    while block.number > lowest {
        branch.insert(block.number - 1, block.parent);
        if block.number - 1 == lowest {
            break;
        }
        match rpc.block(BlockAt::Hash(block.parent)).await? {
            Some(parent) if parent.number.checked_add(1) == Some(block.number) => block = parent,
            // A node that has less: what lies below is looked for by number.
            _ => break,
        }
    }
    Ok(branch)
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
            let reason = match receipt.is_success {
                true => None,
                false => client.reason_of(*hash).await,
            };
            return Ok(Sight::Included {
                transaction: *hash,
                block_number: receipt.block_number,
                block_hash: receipt.block_hash,
                is_success: receipt.is_success,
                reason,
            });
        }
    }
    Ok(Sight::Missing)
}
