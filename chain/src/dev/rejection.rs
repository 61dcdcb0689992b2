//! Why the mempool does not take a transaction.

use alloy_primitives::U256;

/// Why a transaction was not taken. The words are geth's: what reads them there reads them here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The bytes are no transaction.
    #[error("transaction could not be decoded: {0}")]
    Malformed(String),
    /// This chain does not play such transactions.
    #[error("transaction type not supported: {0}")]
    Unsupported(&'static str),
    /// It is larger than any node takes.
    #[error("oversized data: transaction size {bytes}, limit 131072")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Its signature is nobody's.
    #[error("invalid sender")]
    InvalidSender,
    /// It is for another chain.
    #[error("invalid chain id for signer: have {have} want {want}")]
    WrongChain {
        /// The chain it names.
        have: u64,
        /// This chain.
        want: u64,
    },
    /// It waits already.
    #[error("already known")]
    AlreadyKnown,
    /// Its sender has used the nonce.
    #[error("nonce too low: next nonce {next}, tx nonce {nonce}")]
    NonceTooLow {
        /// The sender's next.
        next: u64,
        /// Its own.
        nonce: u64,
    },
    /// No account has so many transactions (EIP-2681).
    #[error("nonce has max value")]
    NonceMax,
    /// Another waits with its nonce, and both fees would have to be a tenth higher.
    #[error("replacement transaction underpriced")]
    ReplacementUnderpriced,
    /// Its tip is lower than the mempool takes.
    #[error("transaction underpriced: gas tip cap {tip}, minimum needed {minimum}")]
    Underpriced {
        /// Its tip.
        tip: u128,
        /// The least.
        minimum: u128,
    },
    /// It offers more tip than fee.
    #[error(
        "max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas: {tip}, maxFeePerGas: {fee_max}"
    )]
    TipAboveFee {
        /// The most it offers as a tip.
        tip: u128,
        /// The most it offers at all.
        fee_max: u128,
    },
    /// Its gas limit does not even pay for its bytes.
    #[error("intrinsic gas too low: gas {gas}, minimum needed {minimum}")]
    IntrinsicGas {
        /// Its limit.
        gas: u64,
        /// What its bytes cost.
        minimum: u64,
    },
    /// Its gas limit is below the floor that call data has (EIP-7623).
    #[error("insufficient gas for floor data gas cost: gas {gas}, minimum needed {minimum}")]
    FloorGas {
        /// Its limit.
        gas: u64,
        /// The floor.
        minimum: u64,
    },
    /// Its gas limit is over a block's.
    #[error("exceeds block gas limit")]
    OverBlockGas,
    /// Its gas limit is over a transaction's (EIP-7825).
    #[error("transaction gas limit too high (cap: {cap}, tx: {gas})")]
    OverTransactionGas {
        /// The highest limit.
        cap: u64,
        /// Its own.
        gas: u64,
    },
    /// The code it would run to create a contract is too long (EIP-3860).
    #[error("max initcode size exceeded: code size {bytes}, limit {bytes_max}")]
    InitCodeTooLarge {
        /// Its length.
        bytes: usize,
        /// The longest.
        bytes_max: usize,
    },
    /// It may set no code, or none but in a call (EIP-7702).
    #[error("set code transaction must not {0}")]
    SetCode(&'static str),
    /// Its sender is a contract (EIP-3607).
    #[error("sender not an eoa: address {0}")]
    SenderHasCode(alloy_primitives::Address),
    /// Its sender cannot pay for it, together with what waits of the same sender without a gap.
    #[error("insufficient funds for gas * price + value: balance {balance}, tx cost {cost}, overshot {}", cost.saturating_sub(*balance))]
    InsufficientFunds {
        /// What the sender has.
        balance: U256,
        /// What all of it may cost.
        cost: U256,
    },
    /// Too much waits already, of this sender or of all.
    #[error("txpool is full")]
    Full,
}
