//! What the outbox wants to know or have done, and what came of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use alloy_primitives::{Address as EvmAddress, B256, Bytes};
use async_trait::async_trait;

use super::record::EntryId;
use crate::evm::{Fees, SignedTransaction, Transaction};
use crate::{CallRequest, ChainError, ChainId, Intent, Revert, SolanaAddress};

/// Something for a [`Performer`] to do. Plain data: it may be lost, done twice, or done late, and nothing breaks.
#[derive(Clone, Debug)]
pub struct Request {
    /// Goes back with the answer.
    pub number: u64,
    /// On which chain.
    pub chain: ChainId,
    /// What.
    pub ask: Ask,
}

/// What is asked of a chain.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a performer must be able to do all of it"
)]
pub enum Ask {
    /// What gas costs now.
    Fees,
    /// How much gas a call may use.
    Gas(CallRequest),
    /// Have this signed by its sender.
    Sign {
        /// Whose nonce it is.
        from: EvmAddress,
        /// What to sign.
        transaction: Transaction,
    },
    /// Give these bytes to the chain. They are in the journal.
    Broadcast {
        /// The signed transaction.
        raw: Bytes,
        /// Until when a Solana transaction is valid; zero elsewhere.
        last_valid_height: u64,
    },
    /// How an account stands, and what became of its transactions.
    Look {
        /// The account.
        account: EvmAddress,
        /// Its transactions that are not known to be included.
        wanted: Vec<Wanted>,
        /// Numbers and hashes of blocks in which others were seen.
        blocks: Vec<(u64, B256)>,
        /// Whether the account's nonce at the final block is wanted in any case.
        asks_final_nonce: bool,
    },
    /// Have what this is on Solana signed, with a fresh block hash.
    SignSolana(Intent),
    /// What became of these transactions of a Solana account.
    LookSolana {
        /// The account.
        account: SolanaAddress,
        /// Signatures of its open entries.
        wanted: Vec<(EntryId, [u8; 64])>,
    },
}

/// A transaction to look for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The entry.
    pub entry: EntryId,
    /// Its nonce.
    pub nonce: u64,
    /// The hashes of all its attempts: any of them may have been included.
    pub attempts: Vec<B256>,
    /// Of a node whose own newest block is above this, ignorance says nothing: it may have thrown the receipt away. Not of
    /// the quorum's newest, which is no higher than that of a node that is behind.
    pub newest_max: u64,
    /// Those of them of which earlier looks have [said](AccountView::lacking) that there is no receipt: not asked for again.
    pub lacking: BTreeSet<B256>,
}

/// What a [`Performer`] found or did.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the outbox must look at every answer"
)]
pub enum Found {
    /// To [`Ask::Fees`].
    Fees(Fees),
    /// To [`Ask::Gas`].
    Gas(u64),
    /// To [`Ask::Sign`].
    Signed(SignedTransaction),
    /// To [`Ask::Broadcast`]: the node has it.
    Broadcast,
    /// To [`Ask::Look`].
    Account(AccountView),
    /// To [`Ask::SignSolana`].
    SignedSolana {
        /// The signed transaction.
        raw: Bytes,
        /// Its first signature.
        signature: [u8; 64],
        /// The last block height that may include it.
        last_valid_height: u64,
        /// A final slot from before it was signed.
        signed_slot: u64,
    },
    /// To [`Ask::LookSolana`].
    Solana(SolanaView),
}

/// How an EVM account stands. Places, sights and the final nonce are read after all the others.
#[derive(Clone, Debug)]
pub struct AccountView {
    /// The number of the newest final block; `None` while there is none.
    pub final_number: Option<u64>,
    /// The number of the newest block.
    pub latest_number: u64,
    /// The nonce that the next transaction to be included must have.
    pub latest_nonce: u64,
    /// The first nonce that the node has no transaction for.
    pub pending_nonce: u64,
    /// The account's nonce at the end of the final block, read by that block's hash; asked for only if that is wanted, if
    /// something is missing below the latest nonce, or if a block asked about is not above the final one. `None` where the node has no state of it.
    pub final_nonce: Option<u64>,
    /// Where the blocks asked about lie, in their order.
    pub places: Vec<Place>,
    /// What was seen of each entry asked about that could be looked for.
    pub sights: Vec<(EntryId, Sight)>,
    /// Why each of the others could not be looked for now; also where a node refuses, in whatever words.
    pub failures: Vec<(EntryId, ChainError)>,
    /// Of entries that failed, attempts of which there is no receipt up to a final block that has used their nonce: they are in
    /// no block, then or later. What was found of some shall not be lost with an answer about another.
    pub lacking: Vec<(EntryId, Vec<B256>)>,
}

/// Where a block lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the outbox must look at each")]
pub enum Place {
    /// On the final block's own branch: parent by parent, each found by its hash, the final block leads to it.
    Final,
    /// A node has it at its number.
    Canonical,
    /// The chain has another there.
    Gone,
    /// The node has no block of that number, or too few say which: it is behind, or the chain has become shorter.
    Beyond,
}

/// What was seen of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the outbox must look at each")]
pub enum Sight {
    /// Its nonce is not used yet on this chain, as far as nodes know that have come to the final block.
    Ahead,
    /// One of its attempts is included.
    Included {
        /// Which.
        transaction: B256,
        /// The number of its block.
        block_number: u64,
        /// The hash of its block.
        block_hash: B256,
        /// Whether it was carried out.
        is_success: bool,
        /// Why it was undone, where the node can say.
        reason: Option<Revert>,
    },
    /// Its nonce is used at the final block, and by none of its attempts as far as nodes know that have that block on their
    /// chain ([`lacks_receipts`](crate::evm::EvmView::lacks_receipts)).
    Missing,
    /// Its nonce is used, and too few nodes say by what: they have no state of the final block, have not come to it, or may have
    /// thrown the receipt away. As a rule the next look knows more.
    Undecided,
}

/// How a Solana account's transactions stand.
#[derive(Clone, Debug)]
pub struct SolanaView {
    /// The height of the newest final block, read before the statuses.
    pub final_height: u64,
    /// The slot of the newest block.
    pub latest_slot: u64,
    /// What was seen of each entry asked about; nothing of one where a node that is behind the final block was asked.
    pub sights: Vec<(EntryId, SolanaSight)>,
}

/// What was seen of a Solana transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the outbox must look at each")]
pub enum SolanaSight {
    /// It is included.
    Included {
        /// Its slot.
        slot: u64,
        /// The hash of its block; zero if the block is final and the node did not keep it.
        block_hash: B256,
        /// Whether its block is final.
        is_final: bool,
        /// Why it failed; `None` if it was carried out.
        failure: Option<Revert>,
    },
    /// Whoever was asked about it, as of the final block or later, knows nothing of it. About another entry others may be
    /// believed: what they say of their ledgers makes this sight neither older nor younger.
    Missing {
        /// The slot they have come to.
        as_of: u64,
        /// The oldest slot that they have in their ledgers, read after the status; zero where nothing is missing.
        since: u64,
    },
}

/// Acts for an outbox on one chain. Callable concurrently.
///
/// An implementer promises what [`ChainClient`](crate::ChainClient) does about time, size and errors, and that what it
/// found was read in the order that [`AccountView`] and [`SolanaView`] say. It decides nothing and stores nothing.
#[async_trait]
pub trait Performer: Send + Sync {
    /// The chain.
    fn chain_id(&self) -> ChainId;

    /// Does `ask`, once.
    ///
    /// # Errors
    ///
    /// Those of [`ChainClient`](crate::ChainClient). After [`Ask::Broadcast`], ask
    /// [`may_have_been_sent`](ChainError::may_have_been_sent).
    async fn perform(&self, ask: Ask) -> Result<Found, ChainError>;
}

#[async_trait]
impl<P: Performer + ?Sized> Performer for Arc<P> {
    fn chain_id(&self) -> ChainId {
        (**self).chain_id()
    }

    async fn perform(&self, ask: Ask) -> Result<Found, ChainError> {
        (**self).perform(ask).await
    }
}
