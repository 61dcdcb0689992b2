//! A Solana node in the process: litesvm behind an [`RpcTransport`], for tests and examples.
//!
//! It answers what [`SolanaRpc`](peaberry_chain::solana::SolanaRpc) asks, in the JSON of a validator. Time stands still
//! until [`advance`](LiteSvmNode::advance) lets slots pass; a block hash is valid for 150 of them, and a block is
//! final under 32. litesvm knows one block hash at a time, so the node changes it only when it expires.
#![deny(missing_docs)]

mod answer;
mod ledger;

use std::fmt;

use async_trait::async_trait;
use parking_lot::Mutex;
use peaberry_chain::primitives::Bytes;
use peaberry_chain::{RpcTransport, SolanaAddress, TransportFailure};

use ledger::Ledger;

/// The first 32 bytes of the chain, which name it.
pub const GENESIS_HASH: [u8; 32] = [7; 32];

/// A Solana node on litesvm.
pub struct LiteSvmNode {
    ledger: Mutex<Ledger>,
}

impl Default for LiteSvmNode {
    fn default() -> Self {
        Self::new()
    }
}

impl LiteSvmNode {
    /// A cluster at slot 100, with the token programs and without accounts.
    #[must_use]
    pub fn new() -> Self {
        Self {
            ledger: Mutex::new(Ledger::new()),
        }
    }

    /// Gives `lamports` to `address`.
    ///
    /// # Panics
    ///
    /// litesvm refuses: less than an account's rent.
    pub fn airdrop(&self, address: SolanaAddress, lamports: u64) {
        self.ledger.lock().airdrop(address, lamports);
    }

    /// Lets `slots` slots pass, each with a block.
    pub fn advance(&self, slots: u64) {
        self.ledger.lock().advance(slots);
    }

    /// How many transactions were included.
    #[must_use]
    pub fn included(&self) -> usize {
        self.ledger.lock().included()
    }
}

#[async_trait]
impl RpcTransport for LiteSvmNode {
    async fn exchange(&self, request: Bytes) -> Result<Bytes, TransportFailure> {
        Ok(answer::answer(&mut self.ledger.lock(), &request).into())
    }
}

impl fmt::Debug for LiteSvmNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiteSvmNode")
    }
}
