//! Acting on EVM chains.

use std::collections::BTreeMap;

use alloy_primitives::{Address as EvmAddress, B256};
use async_trait::async_trait;
use futures_util::future::{join_all, join3, try_join_all, try_join4};
use futures_util::stream::{self, StreamExt as _};
use peaberry_core::mutant;

use super::record::EntryId;
use super::request::{AccountView, Ask, Found, Performer, Place, Sight, Wanted};
use crate::evm::{EvmClient, EvmRpc, Receipt, SignedTransaction};
use crate::{Block, BlockAt, ChainClient, ChainError, ChainFamily, ChainId, Finality};

/// So far below the final block its branch is followed.
const BRANCH_MAX: u64 = 64;
/// Blocks of that branch that are asked for at once.
const BRANCH_AT_ONCE: usize = 8;
/// Older attempts that are asked about at once.
const ATTEMPTS_AT_ONCE: usize = 8;

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
                asks_final_nonce,
            } => look(self, account, &wanted, &blocks, asks_final_nonce)
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
/// is at least as new as the final block, whose branch is then asked for, 64 blocks at most and some at once. A third, seldom,
/// is about nonces that are used at the final block and whose transactions nobody found.
async fn look(
    client: &EvmClient,
    account: EvmAddress,
    wanted: &[Wanted],
    blocks: &[(u64, B256)],
    asks_final_nonce: bool,
) -> Result<AccountView, ChainError> {
    let rpc = client.rpc();
    let (final_block, latest, latest_nonce, pending_nonce) = try_join4(
        final_head(client),
        client.head(Finality::Latest),
        rpc.nonce(account, BlockAt::Latest),
        rpc.nonce(account, BlockAt::Pending),
    )
    .await?;
    let sights = wanted.iter().map(|one| sight(client, one, latest_nonce));
    let is_due = |block: &Block| {
        asks_final_nonce || blocks.iter().any(|(number, _)| *number <= block.number)
    };
    let (places, sights, final_nonce) = join3(
        places(client, final_block, blocks),
        join_all(sights),
        nonce_at(client, account, final_block.filter(is_due)),
    )
    .await;
    let places = places?;
    let is_missing = |first: &First| matches!(first, First::NoReceipt(_));
    let final_nonce = match final_nonce {
        Ok(None) if sights.iter().any(is_missing) => nonce_at(client, account, final_block).await,
        known => known,
    };
    let used = match final_nonce {
        Ok(nonce) => Ok(final_block.map(|block| (block, nonce))),
        // Of nodes that do not agree perhaps one has no state of it and one lies, and each refuses in words of its own what it
        // has thrown away: that proves nothing, and everything else still counts.
        Err(error) if is_ignorance(&error) => Err(error),
        Err(error) => return Err(error),
    };
    let confirmed = wanted
        .iter()
        .zip(sights)
        .map(async |(one, first)| match first {
            First::Known(sight) => (Ok(sight), Vec::new()),
            First::NoReceipt(failure) => confirm(client, one, failure, &used, latest.number).await,
        });
    let told = told_apart(wanted, join_all(confirmed).await);
    Ok(AccountView {
        final_number: final_block.map(|block| block.number),
        latest_number: latest.number,
        latest_nonce,
        pending_nonce,
        final_nonce: used.ok().flatten().and_then(|(_, nonce)| nonce),
        places,
        sights: told.sights,
        failures: told.failures,
        lacking: told.lacking,
    })
}

/// What is to be told of each entry.
#[derive(Default)]
struct Told {
    sights: Vec<(EntryId, Sight)>,
    failures: Vec<(EntryId, ChainError)>,
    lacking: Vec<(EntryId, Vec<B256>)>,
}

/// What was seen, and what could not be looked for now: one entry's failure is no other's.
fn told_apart(wanted: &[Wanted], found: Vec<Confirmed>) -> Told {
    let mut told = Told::default();
    for (one, (sight, lacking)) in wanted.iter().zip(found) {
        match sight {
            Ok(sight) => told.sights.push((one.entry, sight)),
            Err(error) => {
                told.failures.push((one.entry, error));
                if !lacking.is_empty() {
                    told.lacking.push((one.entry, lacking));
                }
            }
        }
    }
    told
}

/// Whether this is what is said by nodes that do not know, or do not know alike; in whatever words, which differ from one to the
/// next. It says nothing of the chain.
const fn is_ignorance(error: &ChainError) -> bool {
    matches!(
        error,
        ChainError::NoQuorum { .. } | ChainError::Refused { .. } | ChainError::NotFound { .. }
    )
}

async fn final_head(client: &EvmClient) -> Result<Option<Block>, ChainError> {
    match client.head(Finality::Final).await {
        Ok(block) => Ok(Some(block)),
        Err(ChainError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The account's nonce at the end of a block; `None` from a node that has no state of it.
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
        // Down there only nodes are witnesses to which it is final.
        let is_below = final_block.is_some_and(|block| *number <= block.number);
        let there = match is_below {
            true => client.final_block(*number).await,
            false => rpc.block(BlockAt::Number(*number)).await,
        };
        match there {
            Ok(Some(block)) if block.hash == *hash => Ok(Place::Canonical),
            Ok(Some(_)) => Ok(Place::Gone),
            Ok(None) => Ok(Place::Beyond),
            // Where one block lies is nothing to the others.
            Err(error) if is_ignorance(&error) => Ok(Place::Beyond),
            Err(error) => Err(error),
        }
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
    let near = blocks.iter().map(|(number, _)| *number).filter(|number| {
        let distance = final_block.number.checked_sub(*number);
        distance.is_some_and(|distance| distance <= BRANCH_MAX)
    });
    let Some(lowest) = near.min() else {
        return Ok(BTreeMap::new());
    };
    let mut branch = Branch::from(final_block);
    // By number some can be asked for at once. Each is of this branch that the one above names as its parent.
    let numbers = (lowest + 1..final_block.number).rev();
    let asked = numbers.map(|number| rpc.block(BlockAt::Number(number)));
    let mut asked = stream::iter(asked).buffered(BRANCH_AT_ONCE);
    while branch.lowest > lowest
        && let Some(found) = asked.next().await
        && branch.grow(found)?
    {}
    drop(asked);
    // Where a node is on another fork the parents lead on.
    while branch.lowest > lowest && branch.grow(rpc.block(BlockAt::Hash(branch.parent)).await)? {}
    Ok(branch.hashes)
}

/// A block and what is known to lie below it.
struct Branch {
    hashes: BTreeMap<u64, B256>,
    /// The lowest block whose hash is known; it was not asked for yet.
    lowest: u64,
    parent: B256,
}

impl Branch {
    fn from(top: Block) -> Self {
        let mut branch = Self {
            hashes: BTreeMap::from([(top.number, top.hash)]),
            lowest: top.number,
            parent: top.hash,
        };
        branch.add_parent_of(top);
        branch
    }

    fn add_parent_of(&mut self, block: Block) {
        if let Some(below) = block.number.checked_sub(1) {
            self.hashes.insert(below, block.parent);
            (self.lowest, self.parent) = (below, block.parent);
        }
    }

    /// Whether this is the next block below, which shows the one under it.
    fn grow(&mut self, found: Result<Option<Block>, ChainError>) -> Result<bool, ChainError> {
        match found {
            Ok(Some(block)) if (block.number, block.hash) == (self.lowest, self.parent) => {
                self.add_parent_of(block);
                Ok(true)
            }
            Err(error) if !is_ignorance(&error) => Err(error),
            // A node that has less: what lies below is looked for by number.
            _ => Ok(false),
        }
    }
}

/// What the first questions about an entry have shown.
enum First {
    Known(Sight),
    /// None of its attempts has a receipt as far as nodes know, and why one of them could not be asked for.
    NoReceipt(Option<ChainError>),
}

async fn sight(client: &EvmClient, wanted: &Wanted, latest_nonce: u64) -> First {
    if wanted.nonce >= latest_nonce {
        return First::Known(Sight::Ahead);
    }
    // The newest attempt is the likeliest; an older one may have won all the same.
    let Some((newest, older)) = wanted.attempts.split_last() else {
        return First::NoReceipt(None);
    };
    let mut failure = None;
    for some in std::iter::once(std::slice::from_ref(newest)).chain(older.rchunks(ATTEMPTS_AT_ONCE))
    {
        let asked = some.iter().map(|hash| client.rpc().receipt(*hash));
        for (hash, receipt) in some.iter().zip(join_all(asked).await) {
            match receipt {
                Ok(Some(receipt)) => return First::Known(included(client, *hash, &receipt).await),
                Ok(None) => {}
                // Another may be there all the same.
                Err(error) => failure = Some(error),
            }
        }
    }
    First::NoReceipt(failure)
}

async fn included(client: &EvmClient, transaction: B256, receipt: &Receipt) -> Sight {
    let reason = match receipt.is_success {
        true => None,
        false => client.reason_of(transaction).await,
    };
    Sight::Included {
        transaction,
        block_number: receipt.block_number,
        block_hash: receipt.block_hash,
        is_success: receipt.is_success,
        reason,
    }
}

/// What is concluded; and where that has failed, of which attempts there is no receipt.
type Confirmed = (Result<Sight, ChainError>, Vec<B256>);

/// Whether what nobody found is really missing, where its nonce is used at the final block: who has that block must say of
/// each attempt that there is no receipt. A node that has not come there finds none of what is included, either.
async fn confirm(
    client: &EvmClient,
    wanted: &Wanted,
    failure: Option<ChainError>,
    used: &Result<Option<(Block, Option<u64>)>, ChainError>,
    newest: u64,
) -> Confirmed {
    let seen = |sight| (failure.clone().map_or(Ok(sight), Err), Vec::new());
    let final_block = match used {
        Err(error) => return (Err(error.clone()), Vec::new()),
        Ok(None) => return seen(Sight::Ahead),
        Ok(Some((_, None))) => return seen(Sight::Undecided),
        Ok(Some((_, Some(nonce)))) if *nonce <= wanted.nonce => return seen(Sight::Ahead),
        Ok(Some((block, Some(_)))) => *block,
    };
    if mutant::is_planted("evm_ignorance_taken_for_no_receipt") {
        return seen(Sight::Missing);
    }
    // Where all have come beyond that the outbox gives up no nonce for it, but says that nobody may know any more. What is said
    // then is no word on what is there, and counts in no look for which it is.
    let is_in_time = newest <= wanted.newest_max;
    let open = wanted.attempts.iter().copied();
    let open = open.filter(|one| !is_in_time || !wanted.lacking.contains(one));
    let open: Vec<B256> = open.collect();
    let newest_max = if is_in_time {
        wanted.newest_max
    } else {
        u64::MAX
    };
    let told = client.rpc().lacks_receipts(&open, final_block, newest_max);
    let told = told.await;
    let is_known = |one: &Result<bool, ChainError>| matches!(one, Ok(false));
    if told.iter().any(is_known) {
        return seen(Sight::Undecided);
    }
    let lacking = open.iter().zip(&told).filter(|(_, told)| told.is_ok());
    let lacking = lacking.filter(|_| is_in_time);
    let lacking = lacking.map(|(hash, _)| *hash).collect();
    match told.into_iter().find_map(Result::err) {
        Some(error) => (Err(error), lacking),
        None => (Ok(Sight::Missing), lacking),
    }
}
