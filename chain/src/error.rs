//! Why a chain did not do as told, and whether anything may have been sent.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Bytes, U256};

use crate::{Address, ChainFamily, ChainId, TxId};

/// Why a call failed. [`may_have_been_sent`](Self::may_have_been_sent) answers what matters before trying again.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// Not an address, or one with a wrong checksum. Nothing was sent.
    #[error("{text:?} is no address: {reason}")]
    InvalidAddress {
        /// The beginning of the text.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Not a CAIP-2 chain id. Nothing was sent.
    #[error("{text:?} is no chain id: {reason}")]
    InvalidChainId {
        /// The beginning of the text.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Not a URL of an endpoint. Nothing was sent. The URL itself may hold a key, so it is not repeated.
    #[error("the endpoint's URL cannot be used: {reason}")]
    InvalidUrl {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Not certificates of authorities. Nothing was sent.
    #[error("the authorities of TLS cannot be used: {reason}")]
    InvalidRoots {
        /// What is wrong with them.
        reason: String,
    },
    /// Not a transaction's id. Nothing was sent.
    #[error("{text:?} is no transaction id: expected 32 bytes of hex or 64 of base 58")]
    InvalidTxId {
        /// The beginning of the text.
        text: String,
    },
    /// Not an amount of so many decimals. Nothing was sent.
    #[error("{text:?} is no amount with {decimals} decimals")]
    InvalidAmount {
        /// The beginning of the text.
        text: String,
        /// How many digits may stand behind the point.
        decimals: u8,
    },
    /// An amount went over its bounds, or below zero. Nothing was sent.
    #[error("the amount does not fit {bits} bits")]
    AmountOverflow {
        /// How many there are.
        bits: u16,
    },
    /// Two amounts of different kinds cannot be added. Nothing was sent.
    #[error("amounts of {left} and of {right} decimals do not add up")]
    DecimalsDiffer {
        /// Those of the first.
        left: u8,
        /// Those of the second.
        right: u8,
    },
    /// An address of another family than the chain's. Nothing was sent.
    #[error("{address} is no address of {chain}")]
    WrongFamily {
        /// The address.
        address: Address,
        /// The chain.
        chain: ChainId,
    },
    /// A transaction id of another family than the chain's. Nothing was sent.
    #[error("{transaction} is no transaction of {chain}")]
    WrongTransactionFamily {
        /// The transaction.
        transaction: TxId,
        /// The chain.
        chain: ChainId,
    },
    /// The node serves another chain than expected. Nothing was sent.
    #[error("the node serves {found}, not {expected}: check its address")]
    WrongChain {
        /// The chain asked for.
        expected: ChainId,
        /// The node's.
        found: ChainId,
    },
    /// No client for this chain is here. Nothing was sent.
    #[error("no client for {chain}: add one first")]
    UnknownChain {
        /// The chain.
        chain: ChainId,
    },
    /// No signer for this account is here. Nothing was sent.
    #[error("no signer for {address}: add one first")]
    NoSigner {
        /// The account.
        address: Address,
    },
    /// The signer refused or failed. Nothing was sent.
    #[error("the signer of {address} did not sign: {reason}")]
    Signer {
        /// Its account.
        address: Address,
        /// What it said.
        reason: String,
    },
    /// A seed phrase, derivation path, key or keystore file is not valid, or its password is wrong. Nothing was sent.
    /// The message never holds any of the secret.
    #[error("the wallet cannot use this {what}: {reason}")]
    Wallet {
        /// What was given.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The chain has no such thing. Nothing was sent.
    #[error("{family} has no counterpart for {what}")]
    Unsupported {
        /// The kind of chain.
        family: ChainFamily,
        /// What was asked for.
        what: &'static str,
    },
    /// What was asked for is not there: a block reorganised away, a contract without code. Nothing was sent.
    #[error("{what} is not there")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// The account cannot pay. Nothing was sent.
    #[error("the account cannot pay{}: {detail}", account.map(|account| format!(" ({account})")).unwrap_or_default())]
    InsufficientFunds {
        /// Who, where known.
        account: Option<Address>,
        /// What is missing, or the node's words.
        detail: String,
    },
    /// A contract undid the call. Nothing was sent: it was only tried.
    #[error("the call would be reverted: {0}")]
    Reverted(Revert),
    /// A node has already used the nonce. This transaction itself may have used it: ask for the status of every
    /// attempt before concluding anything.
    #[error("the nonce is below the account's next: it may be this very transaction that used it")]
    NonceTooLow {
        /// The attempt, where known.
        transaction: Option<TxId>,
    },
    /// The node holds another transaction of this nonce and wants a higher fee to replace it. This one was not taken.
    #[error("the fee is too low to take the place of the transaction that waits with this nonce")]
    ReplacementUnderpriced,
    /// The node finds the fee too low, also without a rival. This one was not taken.
    #[error("the node takes no transaction of so low a fee: {message}")]
    FeeTooLow {
        /// The node's words.
        message: String,
    },
    /// A transaction's block hash is too old for it to be included any more (Solana). This one was not taken now;
    /// an earlier attempt with the same bytes may have been.
    #[error("the transaction has expired")]
    Expired {
        /// The attempt, where known.
        transaction: Option<TxId>,
    },
    /// The very same transaction was submitted before: the same transfer, dated by the same block (Solana). Nothing more
    /// was sent: to do it twice, try again after the next block; otherwise ask for its status.
    #[error("{transaction} was submitted already: to do the same twice, wait for the next block")]
    AlreadySubmitted {
        /// The transaction.
        transaction: TxId,
    },
    /// No node of this chain takes this transaction, now or later: its gas limit is over a block's or too low for its bytes,
    /// it is malformed, or for another chain. Only words that are known to mean this become this. It was not taken.
    #[error("the transaction is not valid on its chain: {message}")]
    InvalidTransaction {
        /// The node's words.
        message: String,
    },
    /// The node said no, in words that this crate does not know.
    #[error("the node refused {doing}: {message} (code {code})")]
    Refused {
        /// The method.
        doing: &'static str,
        /// JSON-RPC's error code.
        code: i64,
        /// The node's words, cut at a bound.
        message: String,
        /// Whether a transaction may be on its way all the same.
        sent: Sent,
    },
    /// A range of blocks holds more than the node gives at once. Ask for less. Nothing was sent.
    #[error("the node refuses so wide a range of blocks: {message}")]
    RangeTooWide {
        /// The node's words.
        message: String,
    },
    /// Too many requests: wait. The node did not look at this one.
    #[error("the node limits our rate: wait {} ms", retry_after.as_millis())]
    RateLimited {
        /// As long as the node asks for, within bounds.
        retry_after: Duration,
    },
    /// No answer in time.
    #[error("no answer to {doing} within {} ms", after.as_millis())]
    TimedOut {
        /// The method.
        doing: &'static str,
        /// How long we waited.
        after: Duration,
        /// Whether a transaction may be on its way.
        sent: Sent,
    },
    /// The node could not be reached, or the connection broke.
    #[error("no connection for {doing}")]
    Connection {
        /// The method.
        doing: &'static str,
        /// Whether a transaction may be on its way.
        sent: Sent,
        /// What the transport said.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The answer is not what the method answers.
    #[error("the answer to {doing} makes no sense: {reason}")]
    Malformed {
        /// The method.
        doing: &'static str,
        /// What is wrong with it.
        reason: String,
        /// Whether a transaction may be on its way.
        sent: Sent,
    },
    /// The answer is larger than we read.
    #[error("the answer to {doing} is over the limit of {bytes_max} bytes")]
    TooLarge {
        /// The method.
        doing: &'static str,
        /// The limit.
        bytes_max: usize,
        /// Whether a transaction may be on its way.
        sent: Sent,
    },
    /// The nodes asked do not agree. Nothing was sent.
    #[error("only {agreed} of {asked} nodes agree on {doing}, {wanted} are wanted")]
    NoQuorum {
        /// The method.
        doing: &'static str,
        /// The size of the largest group of equal answers.
        agreed: usize,
        /// How many were asked.
        asked: usize,
        /// How many equal answers it takes.
        wanted: usize,
    },
    /// Of several nodes too few say that they have taken a transaction: they may lie, and it may be on its way all the same.
    /// Ask for its status.
    #[error("only {taken} nodes have taken {transaction}, {wanted} are wanted")]
    TakenByFew {
        /// How many say so.
        taken: usize,
        /// How many it takes.
        wanted: usize,
        /// The transaction.
        transaction: TxId,
        /// What the others said.
        #[source]
        source: Arc<Self>,
    },
    /// The node is behind its chain, or still starting: wait, or ask another. Nothing was sent.
    #[error("the node is not in step with its chain: {message}")]
    NotSynced {
        /// The node's words.
        message: String,
    },
    /// A transaction larger than the chain takes: do less in one. Nothing was sent.
    #[error("the transaction of {bytes} bytes is over the chain's limit of {bytes_max}")]
    TransactionTooLarge {
        /// Its size.
        bytes: usize,
        /// The chain's limit.
        bytes_max: usize,
    },
    /// The call takes more gas than one transaction of the chain may use (EIP-7825), or than a block of it holds: do less in
    /// one. Nothing was sent.
    #[error(
        "the call takes {gas} gas, over the limit of {gas_max} for one transaction: do less in one"
    )]
    GasOverLimit {
        /// What it was estimated to take.
        gas: u64,
        /// The chain's limit.
        gas_max: u64,
    },
    /// A contract's ABI does not fit: not an ABI, no such function, arguments of other types, an answer or event that
    /// does not decode. Nothing was sent.
    #[error("{what} does not fit the contract's ABI: {reason}")]
    Abi {
        /// The function, event or file.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store failed; whether this changed anything its own error says.
    #[error("the store failed")]
    Storage(#[from] peaberry_core::StorageError),
}

/// Whether a node may have got a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Certainly not: none was on its way, or it never left, or the node refused it.
    No,
    /// Perhaps, and perhaps this one. A lost answer is not a failure: ask for its status.
    Maybe(Option<TxId>),
}

impl ChainError {
    /// Whether a transaction of the call that failed may have reached a node. If so, do not sign another in its place:
    /// ask for the status of [`transaction`](Self::transaction).
    #[must_use]
    pub const fn may_have_been_sent(&self) -> bool {
        matches!(self.sent(), Sent::Maybe(_))
    }

    /// The transaction that may have been sent, where its id is known.
    #[must_use]
    pub const fn transaction(&self) -> Option<TxId> {
        match self.sent() {
            Sent::Maybe(transaction) => transaction,
            Sent::No => None,
        }
    }

    /// Whether asking the same again, later, may go better. Of a submission only when nothing may have been sent.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::RateLimited { .. }
                | Self::TimedOut { .. }
                | Self::Connection { .. }
                | Self::Malformed { .. }
                | Self::NoQuorum { .. }
                | Self::NotSynced { .. }
        )
    }

    const fn sent(&self) -> Sent {
        match self {
            Self::Refused { sent, .. }
            | Self::TimedOut { sent, .. }
            | Self::Connection { sent, .. }
            | Self::Malformed { sent, .. }
            | Self::TooLarge { sent, .. } => *sent,
            Self::TakenByFew { transaction, .. } => Sent::Maybe(Some(*transaction)),
            Self::NonceTooLow { transaction } | Self::Expired { transaction } => {
                Sent::Maybe(*transaction)
            }
            _ => Sent::No,
        }
    }
}

/// What a contract said when it undid a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Revert {
    /// `revert("…")` or `require(…, "…")`: its text, cut at a bound.
    Message(String),
    /// `Panic(code)`: Solidity's own checks; 0x11 is an overflow.
    Panic(U256),
    /// A custom error, still encoded: decode it with the contract's ABI.
    Custom {
        /// The first four bytes.
        selector: [u8; 4],
        /// Everything, selector included, cut at a bound.
        data: Bytes,
    },
    /// A custom error whose ABI is known.
    Decoded {
        /// The error's name.
        name: String,
        /// Its arguments as text.
        arguments: Vec<String>,
        /// Everything, selector included, cut at a bound.
        data: Bytes,
    },
    /// A program's error on Solana: which instruction, and what it says.
    Instruction {
        /// Its place in the transaction.
        index: u8,
        /// The error.
        error: String,
    },
    /// Out of gas, or no reason given.
    Unexplained(String),
}

impl fmt::Display for Revert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => write!(f, "{message:?}"),
            Self::Panic(code) => write!(f, "panic {code:#x}"),
            Self::Custom { selector, data } => write!(
                f,
                "error {} with {} bytes",
                alloy_primitives::hex::encode_prefixed(selector),
                data.len().saturating_sub(selector.len())
            ),
            Self::Decoded {
                name, arguments, ..
            } => write!(f, "{name}({})", arguments.join(", ")),
            Self::Instruction { index, error } => write!(f, "instruction {index}: {error}"),
            Self::Unexplained(message) => f.write_str(message),
        }
    }
}
