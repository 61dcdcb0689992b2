//! EVM chains: what is asked of a node, and transactions before and after they are signed.

mod client;
mod erc20;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "http")]
mod json;
#[cfg(feature = "http")]
mod json_rpc;
#[cfg(feature = "http")]
mod kept_logs;
mod network;
#[cfg(feature = "ws")]
mod new_heads;
mod quorum;
#[cfg(feature = "http")]
mod reason;
mod receipt;
mod refusal;
mod revert;
mod rpc;
#[cfg(test)]
pub(crate) mod scripted;
mod transaction;
mod view;

pub(crate) use client::call_of;
pub use client::{EvmClient, SIGNED_WITHIN};
#[cfg(feature = "http")]
pub use http::HttpTransport;
#[cfg(feature = "http")]
pub use json_rpc::{ANSWER_WITHIN, JsonRpc};
pub use network::{EvmNetwork, FeeModel, TRANSACTION_GAS_MAX};
#[cfg(feature = "ws")]
#[doc(hidden)]
pub use new_heads::hear_any_bytes;
#[cfg(feature = "ws")]
pub use new_heads::{NewHeads, NewHeadsOptions};
pub use quorum::{Dissent, QuorumRpc};
pub use receipt::{FeeHistory, Receipt, SeenTransaction};
pub(crate) use receipt::{RECEIPTS_KEPT, receipts_known};
pub use refusal::{Asked, NodeError};
pub use revert::decode_revert;
pub use rpc::EvmRpc;
pub use transaction::{Fees, SignedTransaction, Transaction};
pub use view::{EvmNode, EvmView};
