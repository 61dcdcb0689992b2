//! EVM chains.

mod receipt;
mod rpc;

pub use receipt::{FeeHistory, Receipt, SeenTransaction};
pub use rpc::EvmRpc;
