//! An EVM chain in the process: what examples, tests and simulations run on.
//!
//! It executes with revm by the rules of Ethereum's latest hardforks, and takes transactions by geth's: a mempool that
//! holds back what lies behind a gap in the nonces, a tenth more for a replacement, base fees by EIP-1559. Blocks are
//! made when they are asked for or for each transaction, and can be undone again. Headers are whole: the roots of state,
//! transactions and receipts are what their names say, and a block's hash is its header's.
//!
//! Nothing in it looks at a clock or draws a random number: the same calls make the same chain, hash for hash.
//!
//! What it does not play: blob transactions (EIP-4844), withdrawals, and the contracts of the system that beacon roots
//! and block hashes are written into (EIP-4788, EIP-2935).

mod any;
mod chain;
mod execution;
mod json_rpc;
mod ledger;
mod node;
mod offered;
mod options;
mod pool;
mod rejection;
mod sealed;
#[cfg(feature = "dev-http")]
mod server;
mod state;
mod trace;

#[doc(hidden)]
pub use any::offer_any_bytes;
pub use chain::DevChain;
pub use json_rpc::{ANSWER_BYTES_MAX, BATCH_MAX, REQUEST_BYTES_MAX};
pub use options::{DevOptions, Hardfork, Mining, Undone};
pub use rejection::Rejection;
#[cfg(feature = "dev-http")]
pub use server::DevServer;
pub use trace::{CallKind, CallTrace, TRACE_BYTES_MAX};
