#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod account;
mod address;
mod amount;
mod asset;
#[cfg(feature = "http")]
mod batching;
#[cfg(feature = "bindings")]
pub mod bindings;
mod block;
mod chain_id;
mod client;
#[cfg(feature = "contract")]
pub mod contract;
mod deadline;
#[cfg(feature = "dev")]
pub mod dev;
mod error;
pub mod evm;
pub mod follow;
#[cfg(test)]
mod hostile;
#[cfg(feature = "http")]
mod http;
mod intent;
mod log;
mod multi;
pub mod one_node;
pub mod outbox;
mod signer;
#[cfg(feature = "solana")]
pub mod solana;
mod status;
#[cfg(feature = "https")]
mod tls;
mod transaction_id;
#[cfg(any(feature = "http", feature = "solana"))]
mod transport;
mod wait;
#[cfg(feature = "wallet")]
pub mod wallet;

pub use account::AccountId;
pub use address::{Address, SolanaAddress};
pub use alloy_primitives as primitives;
pub use alloy_primitives::Address as EvmAddress;
pub use amount::Amount;
pub use asset::Asset;
#[cfg(feature = "http")]
#[doc(hidden)]
pub use batching::read_any_batch;
pub use block::{Block, BlockAt, Finality, FinalityPolicy};
pub use chain_id::{ChainFamily, ChainId};
pub use client::ChainClient;
pub use error::{ChainError, Revert, Sent};
#[cfg(feature = "http")]
pub use http::{HttpEndpoint, HttpOptions};
pub use intent::{CallRequest, Estimate, Intent};
pub use log::{Log, LogFilter, LogRange};
pub use multi::{Holding, MultiChain};
pub use signer::{Payload, Signature, Signer};
pub use status::TransactionStatus;
#[cfg(feature = "https")]
pub use tls::TlsRoots;
pub use transaction_id::TxId;
#[cfg(any(feature = "http", feature = "solana"))]
pub use transport::{RpcTransport, TransportFailure};
