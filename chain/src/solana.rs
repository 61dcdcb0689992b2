//! Solana: transfers of SOL and tokens, over any [`RpcTransport`](crate::RpcTransport).
//!
//! The wire format is our own: legacy messages, as small as the official crates' and without their hundred
//! dependencies. Other instructions than transfers are sent by [`SolanaClient::submit_instructions`].

mod any;
mod client;
mod compute_budget;
mod holdings;
mod instruction;
mod json;
mod message;
mod network;
mod plan;
mod program_address;
mod program_of;
mod quorum;
mod refusal;
mod rpc;
pub mod system;
pub mod token;
mod transaction;

#[doc(hidden)]
pub use any::read_any_answer;
pub use client::SolanaClient;
pub use instruction::{AccountMeta, Instruction};
pub use message::Message;
pub use network::{PriorityFee, SolanaNetwork};
pub use program_address::find_program_address;
pub use quorum::SolanaQuorum;
pub use rpc::{
    ANSWER_BYTES_MAX, Account, Blockhash, Commitment, Height, SignatureStatus, Simulation,
    SolanaRpc,
};
pub use transaction::{SignedTransaction, TRANSACTION_BYTES_MAX};

/// So many blocks beyond its own a block's hash dates transactions (`MAX_PROCESSING_AGE` of the runtime).
const VALID_BLOCKS: u64 = 150;
